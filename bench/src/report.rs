//! A result as tables. Pure.

use crate::result::{Bench, Latency, Limit, Quantiles, Regime, Role, Throughput};
use crate::stats::Spread;
use crate::table::{Table, rate};

/// Everybody is compared with librdkafka's own benchmark, which has the same librdkafka as ours.
pub const REFERENCE: &str = "rdkafka_performance";

/// How many cores others may keep busy before a line says so.
const QUIET: f64 = 0.1;

/// The results of a role.
pub fn of_role(regime: &Regime, role: Role) -> Vec<&Throughput> {
    regime.throughput.iter().filter(|result| result.role == role && !result.rounds.is_empty()).collect()
}

fn spread(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    match spread {
        Some(Spread { median, min, max }) => format!("{} ({}–{})", show(median), show(min), show(max)),
        None => "–".into(),
    }
}

fn decimals(count: usize) -> impl Fn(f64) -> String {
    move |value| format!("{value:.count$}")
}

/// Clients of a role beside each other.
pub fn throughput(regime: &Regime, role: Role) -> Table {
    let times = format!("× {REFERENCE}");
    let mut table = Table::new(&[role.name(), "msg/s", &times, "CPU s per million", "peak MiB", "others' cores"]);
    let results = of_role(regime, role);
    let reference = results.iter().find(|result| result.name.starts_with(REFERENCE)).and_then(|result| result.rate());
    for result in results {
        let ratio = match (result.rate(), reference) {
            (Some(own), Some(reference)) => format!("{:.2}", own.median / reference.median),
            _ => "–".into(),
        };
        let name = if result.void.is_some() { format!("{} (void)", result.name) } else { result.name.clone() };
        table.rows.push(vec![
            name,
            spread(result.rate(), rate),
            ratio,
            spread(result.cpu_per_million(), decimals(2)),
            spread(result.peak_mib(), decimals(0)),
            spread(result.others(), decimals(2)),
        ]);
    }
    table
}

/// A quantile over the rounds, in milliseconds. `None` unless every round has it.
pub fn milliseconds(latency: &Latency, quantile: impl Fn(&Quantiles) -> Option<u64>) -> Option<Spread> {
    let all: Option<Vec<f64>> = latency.rounds.iter().map(|round| Some(quantile(round)? as f64 / 1000.0)).collect();
    Spread::of(all?)
}

/// Latencies beside each other.
pub fn latency(regime: &Regime) -> Table {
    let mut table = Table::new(&["latency", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms"]);
    for result in regime.latency.iter().filter(|result| !result.rounds.is_empty()) {
        let of = |quantile: fn(&Quantiles) -> Option<u64>| spread(milliseconds(result, quantile), decimals(1));
        table.rows.push(vec![
            result.name.clone(),
            of(|round| Some(round.p50_us)),
            of(|round| round.p90_us),
            of(|round| Some(round.p99_us)),
            of(|round| Some(round.p999_us)),
            of(|round| round.max_us),
        ]);
    }
    table
}

/// The limits of the machine.
pub fn limits(limits: &[Limit]) -> Table {
    let mut table = Table::new(&["limit", "value", "how"]);
    for limit in limits {
        let value = if limit.value >= 1000.0 { rate(limit.value) } else { format!("{:.2}", limit.value) };
        table.rows.push(vec![limit.name.clone(), format!("{value} {}", limit.unit), limit.how.clone()]);
    }
    table
}

/// What must be read beside the tables of a regime, a sentence each.
pub fn remarks(regime: &Regime) -> Vec<String> {
    let mut remarks = Vec::new();
    for result in &regime.throughput {
        if let Some(why) = &result.void {
            remarks.push(format!("void: {} ({}): {why}", result.name, result.role.name()));
        }
    }
    for absent in &regime.not_run {
        let fix = absent.fix.as_ref().map_or_else(String::new, |fix| format!("; fix: {fix}"));
        remarks.push(format!("not run: {}: {}{fix}", absent.name, absent.why));
    }
    for failed in &regime.failed {
        remarks.push(format!(
            "failed: {} ({}), round {}: {}",
            failed.name,
            failed.role.name(),
            failed.round,
            failed.why
        ));
    }
    let busy = regime.throughput.iter().filter_map(|result| Some((result, result.others()?.median)));
    if let Some((worst, cores)) = busy.max_by(|(_, a), (_, b)| a.total_cmp(b)).filter(|(_, cores)| *cores > QUIET) {
        remarks.push(format!(
            "the machine was not quiet: during {} ({}) something else kept {cores:.2} cores busy",
            worst.name,
            worst.role.name()
        ));
    }
    remarks
}

/// The conditions of a regime in one sentence.
pub fn conditions(regime: &Regime) -> String {
    let setup = &regime.setup;
    let pinned = match (&setup.server_cores, &setup.client_core) {
        (Some(servers), Some(client)) => {
            format!(", files in memory, servers on cores {servers}, clients on core {client}")
        }
        _ => String::new(),
    };
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let messages = regime.throughput.iter().map(|result| result.messages).max().unwrap_or(0);
    format!(
        "{} × {}, {} × {} bytes, acks=all, idempotent, no compression, medians (and ranges) of {} after one that does \
         not count{pinned}",
        plural(usize::try_from(setup.partitions).unwrap_or(0), "partition"),
        plural(setup.replicas, "replica"),
        crate::table::count(messages as f64),
        setup.size,
        plural(usize::try_from(setup.rounds).unwrap_or(0), "round"),
    )
}

/// The tables of a regime that have rows.
pub fn tables(regime: &Regime) -> Vec<Table> {
    let all = [throughput(regime, Role::Producer), throughput(regime, Role::Consumer), latency(regime)];
    all.into_iter().filter(|table| !table.rows.is_empty()).collect()
}

/// Everything as text.
pub fn text(bench: &Bench) -> String {
    let machine = &bench.machine;
    let mut text = format!(
        "{}, {} cores, {} MiB, Linux {}, load {:.1} before; commit {}\n",
        machine.processor, machine.cores, machine.memory_mib, machine.kernel, machine.load, bench.commit
    );
    if !bench.limits.is_empty() {
        text += &format!("\n{}", limits(&bench.limits).text());
    }
    for regime in &bench.regimes {
        text += &format!("\n{}: {}\n", regime.name.name(), conditions(regime));
        for table in tables(regime) {
            text += &format!("\n{}", table.text());
        }
        for remark in remarks(regime) {
            text += &format!("\n{remark}\n");
        }
    }
    text
}

#[cfg(test)]
pub mod sample {
    //! A result to test with.
    use super::*;
    use crate::result::{BENCH, Machine, NotRun, RegimeName, Round, Setup};

    pub fn round((at, seconds): (usize, f64)) -> Round {
        Round {
            round: u32::try_from(at + 1).unwrap_or(u32::MAX),
            seconds,
            wall_s: seconds + 0.1,
            cpu_s: 0.2,
            busy_cores: 0.3,
            peak_kib: 8192,
            delivered: 300_000,
            servers_cpu_s: 1.0,
            others_cpu_s: 0.0,
        }
    }

    pub fn throughput(name: &str, role: Role, seconds: &[f64]) -> Throughput {
        let text = |text: &str| text.to_owned();
        Throughput {
            name: text(name),
            role,
            version: text("1.0"),
            command: format!("{name} -b BROKERS"),
            settings: text(""),
            timed: text("by the program"),
            messages: 300_000,
            rounds: seconds.iter().copied().enumerate().map(round).collect(),
            void: None,
        }
    }

    pub fn bench() -> Bench {
        let text = |text: &str| text.to_owned();
        let machine =
            Machine { processor: text("A processor"), cores: 2, memory_mib: 1000, kernel: text("6.1"), load: 0.1 };
        let quantiles =
            |p50_us| Quantiles { p50_us, p90_us: Some(2000), p99_us: 3000, p999_us: 4000, max_us: Some(9000) };
        let latency = Latency {
            name: text("ours"),
            version: text("1.0"),
            command: text("ours"),
            settings: text(""),
            timed: text("open loop"),
            messages: 1000,
            rounds: vec![quantiles(1000), quantiles(1500)],
        };
        let setup = Setup {
            brokers: 3,
            replicas: 3,
            partitions: 4,
            size: 100,
            rounds: 3,
            server_cores: None,
            client_core: None,
        };
        let regime = Regime {
            name: RegimeName::Real,
            setup,
            throughput: vec![
                throughput("ours", Role::Producer, &[1.0, 0.5, 2.0]),
                throughput("rdkafka_performance -P", Role::Producer, &[0.5, 0.5, 0.6]),
                throughput("kcat -P", Role::Producer, &[]),
                throughput("ours", Role::Consumer, &[0.3]),
            ],
            latency: vec![latency],
            not_run: vec![NotRun { name: text("kcat"), why: text("it is missing"), fix: Some(text("apt-get it")) }],
            failed: Vec::new(),
        };
        let limit = Limit { name: text("memory"), value: 9.25, unit: text("GB/s"), how: text("copies") };
        let (schema, commit) = (text(BENCH), text("0123abc"));
        Bench { schema, time_ms: 0, commit, machine, limits: vec![limit], regimes: vec![regime] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_stand_beside_each_other() {
        let bench = sample::bench();
        let table = throughput(&bench.regimes[0], Role::Producer);
        let column = |at: usize| table.rows.iter().map(|row| row[at].as_str()).collect::<Vec<_>>();
        assert_eq!(column(0), ["ours", "rdkafka_performance -P"]);
        assert_eq!(column(1), ["300 000 (150 000–600 000)", "600 000 (500 000–600 000)"]);
        assert_eq!(column(2), ["0.50", "1.00"]);
        assert_eq!(column(3)[0], "0.67 (0.67–0.67)");
        let reading = throughput(&bench.regimes[0], Role::Consumer);
        assert_eq!(reading.rows[0][2], "–", "without a reference there is no ratio");
        assert_eq!(latency(&bench.regimes[0]).rows[0][1], "1.2 (1.0–1.5)");
    }

    #[test]
    fn who_is_absent_or_void_is_said() {
        let mut bench = sample::bench();
        bench.regimes[0].throughput[0].void = Some("it waited".into());
        bench.regimes[0].throughput[0].rounds.iter_mut().for_each(|round| round.others_cpu_s = 0.9 * round.wall_s);
        let text = text(&bench);
        for line in ["void: ours (producer): it waited", "not run: kcat: it is missing; fix: apt-get it", "ours (void)"]
        {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.contains("something else kept 0.90 cores busy"), "{text}");
        assert!(text.contains("4 partitions × 3 replicas, 300 000 × 100 bytes"), "{text}");
    }
}
