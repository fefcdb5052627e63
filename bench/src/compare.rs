//! Compares two results. Absolute figures of two runs differ with the machine, so each client is also compared with the
//! reference of its own run. Pure; a person judges.

use crate::report::{REFERENCE, milliseconds, of_role};
use crate::result::{Bench, Regime, Role, Round, Throughput};
use crate::stats::Spread;
use crate::table::{Table, rate};

/// How a figure changed.
fn change(old: Spread, new: Spread) -> &'static str {
    if new.min > old.max {
        "higher"
    } else if new.max < old.min {
        "lower"
    } else {
        "ranges overlap"
    }
}

fn row(name: String, figure: &str, old: Spread, new: Spread, show: impl Fn(f64) -> String) -> Vec<String> {
    let ratio = format!("{:.2}", new.median / old.median);
    vec![name, figure.into(), show(old.median), show(new.median), ratio, change(old, new).into()]
}

/// A client's rate as a multiple of the reference's, round by round.
fn relative(regime: &Regime, result: &Throughput) -> Option<Spread> {
    let reference = of_role(regime, result.role).into_iter().find(|one| one.name.starts_with(REFERENCE))?;
    if reference.name == result.name {
        return None;
    }
    let rate = |round: &Round| round.delivered as f64 / round.seconds;
    let times = |own: &Round| {
        let beside = reference.rounds.iter().find(|beside| beside.round == own.round)?;
        Some(rate(own) / rate(beside))
    };
    Spread::of(result.rounds.iter().filter_map(times))
}

/// What both runs measured, side by side, and what must be known to read it.
pub fn compare(old: &Bench, new: &Bench) -> (Table, Vec<String>) {
    let mut table = Table::new(&["client", "figure", "old", "new", "new / old", "change"]);
    let mut remarks = Vec::new();
    if (&old.machine.processor, old.machine.cores) != (&new.machine.processor, new.machine.cores) {
        remarks.push("the machines differ: only multiples of the reference can be compared".to_owned());
    }
    for regime in &new.regimes {
        let Some(before) = old.regimes.iter().find(|before| before.name == regime.name) else { continue };
        if before.setup != regime.setup {
            remarks.push(format!(
                "{}: the conditions differ: {:?}, and now {:?}",
                regime.name.name(),
                before.setup,
                regime.setup
            ));
        }
        for role in [Role::Producer, Role::Consumer] {
            for result in of_role(regime, role) {
                let Some(was) = of_role(before, role).into_iter().find(|was| was.name == result.name) else { continue };
                let name = format!("{}, {}: {}", regime.name.name(), role.name(), result.name);
                if was.command != result.command || was.settings != result.settings {
                    remarks.push(format!("{name}: its settings differ"));
                }
                let decimals = |value: f64| format!("{value:.2}");
                let mut add = |figure: &str, old: Option<Spread>, new: Option<Spread>, show: fn(f64) -> String| {
                    if let (Some(old), Some(new)) = (old, new) {
                        table.rows.push(row(name.clone(), figure, old, new, show));
                    }
                };
                add("msg/s", was.rate(), result.rate(), rate);
                add(&format!("× {REFERENCE}"), relative(before, was), relative(regime, result), decimals);
                add("CPU s per million", was.cpu_per_million(), result.cpu_per_million(), decimals);
                add("peak MiB", was.peak_mib(), result.peak_mib(), decimals);
            }
        }
        for result in &regime.latency {
            let was = before.latency.iter().find(|was| was.name == result.name);
            let p99 = |latency| milliseconds(latency, |round| Some(round.p99_us));
            if let (Some(old), Some(new)) = (was.and_then(p99), p99(result)) {
                let name = format!("{}, latency: {}", regime.name.name(), result.name);
                table.rows.push(row(name, "p99 ms", old, new, |value| format!("{value:.1}")));
            }
        }
    }
    (table, remarks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_change_is_one_if_the_ranges_are_apart() {
        let spread = |min, max| Spread { median: f64::midpoint(min, max), min, max };
        assert_eq!(change(spread(1.0, 2.0), spread(2.5, 3.0)), "higher");
        assert_eq!(change(spread(2.5, 3.0), spread(1.0, 2.0)), "lower");
        assert_eq!(change(spread(1.0, 2.0), spread(2.0, 3.0)), "ranges overlap");
    }

    #[test]
    fn both_runs_stand_side_by_side() {
        let (old, mut new) = (sample::bench(), sample::bench());
        new.regimes[0].throughput[0] = sample::throughput("ours", Role::Producer, &[0.25, 0.25, 0.25]);
        let (table, remarks) = compare(&old, &new);
        assert_eq!(table.rows[0], ["real, producer: ours", "msg/s", "300 000", "1 200 000", "4.00", "higher"]);
        assert_eq!(table.rows[1][1..5], ["× rdkafka_performance", "0.50", "2.00", "4.00"]);
        assert!(table.rows.iter().any(|row| row[1] == "p99 ms") && remarks.is_empty(), "{table:?} {remarks:?}");
        new.machine.cores = 64;
        new.regimes[0].setup.size = 1000;
        new.regimes[0].throughput[0].command = "another".into();
        assert_eq!(compare(&old, &new).1.len(), 3);
    }
}
