//! One drill from its topic to its verdict: load, fault, recovery, the last messages, the judgement.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledger::judge::{Case, Report, Verdict, judge};
use ledger::stamp::RunId;
use serde::Serialize;

use crate::account::totals;
use crate::drill::faults::{self, Fault, Promise};
use crate::drill::load::{Load, Peaks, create_lasting_topic, create_topic, end_offsets};
use crate::drill::strike::{Strike, mend, topic_id, topics};
use crate::drill::timing::{self, Row};
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::local::process;
use crate::local::service::Service;
use crate::signal::Stop;
use crate::state::{Backend, now_ms, write_atomically};
use crate::step::Task;
use crate::steps::{check, serve, service};
use crate::tools::{clients, zookeeper};
use crate::wait;

/// The schema of [`Drill`].
pub const SCHEMA: &str = "kafka-lab.drill/1";

/// How long the load goes on before a fault.
const CALM: Duration = Duration::from_secs(2);

/// How long a producer may take to flush, and a consumer to read what is left.
const LAST: Duration = Duration::from_secs(60);

/// What a consumer that begins again reads in a second, at the least: two busy cores manage some hundred thousand messages.
const READS: u64 = 50_000;

/// How often ZooKeeper is asked who is registered. In pods each question is a program that takes some 0.3 s.
fn watch_every(backend: Backend) -> Duration {
    Duration::from_millis(if backend == Backend::Local { 50 } else { 500 })
}

/// What is drilled under one load.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// One fault.
    One(&'static Fault),
    /// Faults of a seed's schedule, until so much time has passed.
    Soak {
        /// The seed.
        seed: u64,
        /// How long.
        duration: Duration,
    },
}

impl Plan {
    /// The seed of a soak, and how long it is asked for in s.
    pub fn schedule(self) -> (Option<u64>, Option<u64>) {
        match self {
            Plan::One(_) => (None, None),
            Plan::Soak { seed, duration } => (Some(seed), Some(duration.as_secs())),
        }
    }

    /// Messages a second, where `asked` were asked for; 0 is as many as the brokers take.
    pub fn rate(self, asked: u32) -> u32 {
        if self.load() == faults::Load::Flat { 0 } else { asked }
    }

    /// What is there when the load begins.
    fn load(self) -> faults::Load {
        match self {
            Plan::One(fault) => fault.load,
            Plan::Soak { .. } => faults::Load::Steady,
        }
    }
}

/// How one fault went.
#[derive(Clone, Debug, Serialize)]
pub struct Struck {
    /// Its name.
    pub fault: &'static str,
    /// The brokers that were hit.
    pub brokers: BTreeSet<u32>,
    /// When it struck, in ms since the Unix epoch.
    pub struck_ms: u64,
    /// Until ZooKeeper had expired the session of a broker that was hit, in ms.
    pub detected_after_ms: Option<u64>,
    /// Until everything was mended and every replica in sync, in ms.
    pub mended_after_ms: u64,
    /// Each partition.
    pub partitions: Vec<Row>,
    /// The partitions in which nothing was acknowledged, or nothing received, when everything was mended: the load did not go on.
    pub stuck: Vec<u32>,
    /// The clients' peak memory until then.
    pub peaks: Peaks,
    /// Between which times servers were down, in ms since the Unix epoch.
    #[serde(skip)]
    down: Option<(u64, u64)>,
}

impl Struck {
    /// Where the load did not go on, in words.
    pub fn stands_still(&self) -> Option<String> {
        let text = || format!("the load did not go on in partitions {:?} after {} was mended", self.stuck, self.fault);
        (!self.stuck.is_empty()).then(text)
    }
}

/// How a drill went.
#[derive(Clone, Debug, Serialize)]
pub struct Drill {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The commit of this program, with `+` when there are changes beside it; `unknown` outside a repository.
    pub commit: String,
    /// Where the lab runs.
    pub backend: Backend,
    /// The fault's name, or `soak`.
    pub drill: &'static str,
    /// The seed of a soak's schedule.
    pub seed: Option<u64>,
    /// How long a soak was asked for, in s.
    pub duration_s: Option<u64>,
    /// The topic.
    pub topic: String,
    /// Messages a second, over all partitions; 0 is as many as the brokers take.
    pub rate: u32,
    /// What was promised.
    pub promised: &'static str,
    /// Whether it was kept.
    pub kept: bool,
    /// The longest gap between two messages of a partition before the first fault, in ms: how calm the machine was.
    pub calm_gap_ms: u64,
    /// What struck.
    pub struck: Vec<Struck>,
    /// Delivery reports that were not a plain success, by the name of their code.
    pub errors: BTreeMap<String, u64>,
    /// The verdict.
    pub ledger: Report,
}

/// A drill that came to no verdict: something could not be done.
#[derive(Debug, Serialize)]
pub struct Unfinished<'a> {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// As in [`Drill`].
    pub commit: String,
    /// As in [`Drill`].
    pub backend: Backend,
    /// As in [`Drill`].
    pub drill: &'static str,
    /// Never.
    pub kept: bool,
    /// What could not be done.
    pub error: &'a str,
}

/// Runs a drill and mends whatever it broke, also when it is interrupted. The drill's topic is deleted unless it is to be
/// kept for looking at.
///
/// # Errors
/// Something could not be done, or an interruption; a broken promise is no error but a [`Drill`] that says so.
pub fn run(task: &Task<'_>, plan: Plan, rate: u32, keep_topic: bool) -> Result<Drill> {
    let run: RunId = format!("drill-{:x}", now_ms()).parse().map_err(Failure::step)?;
    let rate = plan.rate(rate);
    let flags: &[&str] = match plan.load() {
        faults::Load::AcksOne => &["--acks", "1"],
        faults::Load::NotIdempotent => &["--no-idempotence"],
        _ => &[],
    };
    let topic = run.to_string();
    let (before, producers, consumers) = (Vec::new(), Vec::new(), Vec::new());
    let peaks = Peaks::default();
    let mut load = Load { run, topic, rate, flags, before, producers, consumers, peaks };
    let under_way = task.lab().state.join("drill");
    clear(task, &under_way)?;
    servers_run(task)?;
    write_atomically(&under_way, &load.topic)?;
    let drilled = drill(task, plan, &mut load);
    // What interrupted the drill must not interrupt this.
    let stop = Stop::default();
    let ctx = crate::step::Ctx::new(task.ctx.lab, task.ctx.jars, task.ctx.exec, &stop);
    if let Some(setup) = task.ctx.setup.get() {
        let _ = ctx.setup.set(setup.clone());
    }
    let after = Task { ctx: &ctx, log: task.log.clone(), status: task.status };
    load.kill();
    let mended = mend(&after, None);
    let deleted = match keep_topic {
        true => Ok(String::new()),
        false => topics(&after, &["--delete", "--if-exists", "--topic", &load.topic]),
    };
    // What is left for the next drill to do is written there.
    let cleared = match mended.is_ok() && deleted.is_ok() {
        true => process::remove_file(&under_way),
        false => Ok(()),
    };
    let drilled = match (drilled, mended) {
        (Err(failure), Err(broken)) => {
            let what = format!("{}; and what it broke is not mended: {}", failure.what, broken.what);
            return Err(Failure { what, ..failure }.fix(task.lab().xtask("up")));
        }
        (drilled, mended) => {
            let drilled = drilled?;
            mended?;
            drilled
        }
    };
    deleted?;
    cleared?;
    Ok(drilled)
}

/// Mends and removes what a drill left that was killed: its clients, the servers that it broke, and the topic that
/// `under_way` names.
fn clear(task: &Task<'_>, under_way: &Path) -> Result<()> {
    service::end_strays(task)?;
    // What is no name of ours was not written by a drill.
    let left = fs::read_to_string(under_way).ok().and_then(|text| text.parse::<RunId>().ok());
    let Some(topic) = left else { return Ok(()) };
    (task.status)("mending what a drill broke that was killed");
    mend(task, None)?;
    serve::serving(task)?;
    (task.status)("removing its topic");
    topics(task, &["--delete", "--if-exists", "--topic", topic.as_str()])?;
    process::remove_file(under_way)
}

/// What was broken before a drill is not its own to mend, and nothing could be told of the drill.
fn servers_run(task: &Task<'_>) -> Result<()> {
    for server in Service::servers(task.lab()) {
        check::healthy(task, server).map_err(|failure| match failure.exit {
            // A fault is what a drill itself finds.
            Exit::Fault => Failure { exit: Exit::Step, ..failure },
            _ => failure,
        })?;
    }
    Ok(())
}

fn drill(task: &Task<'_>, plan: Plan, load: &mut Load) -> Result<Drill> {
    let kind = plan.load();
    (task.status)("starting the load");
    let mut topic_ids = Vec::new();
    if kind == faults::Load::WithoutTopic {
        load.before = (0..task.lab().facts.brokers.partitions).map(|partition| (partition, 0)).collect();
    } else {
        if matches!(plan, Plan::Soak { .. }) {
            create_lasting_topic(task, &load.topic)?;
        }
        create_topic(task, &load.topic)?;
        topic_ids.extend(topic_id(task, &load.topic)?);
        load.before = end_offsets(task, &load.topic)?;
    }
    load.start_producer(task)?;
    if kind != faults::Load::WithoutConsumer {
        load.start_consumer(task)?;
    }
    if kind != faults::Load::WithoutTopic {
        load.flows(task, kind != faults::Load::WithoutConsumer)?;
        wait::pause(task.ctx.stop, CALM)?;
    }
    let mut struck = Vec::new();
    match plan {
        Plan::One(fault) => struck.push(strike(task, fault, load)?),
        Plan::Soak { seed, duration } => {
            let end = Instant::now() + duration;
            for fault in faults::schedule(seed, task.lab().backend) {
                if Instant::now() >= end {
                    break;
                }
                struck.push(strike(task, fault, load)?);
                wait::pause(task.ctx.stop, CALM)?;
            }
        }
    }
    if let Some(last) = struck.last_mut() {
        last.peaks = load.look_at_memory();
    }
    (task.status)("the producer flushes");
    load.end_producers(task, LAST)?;
    let after = end_offsets(task, &load.topic)?;
    topic_ids.extend(topic_id(task, &load.topic)?);
    (task.status)("the consumer reads what is left");
    // A log that begins anew has no such offsets.
    let records: u64 = after.iter().map(|(_, end)| end).sum();
    let patience = match topic_ids.windows(2).all(|ids| ids[0] == ids[1]) {
        true => LAST + Duration::from_secs(records / READS),
        false => Duration::from_secs(5),
    };
    load.drain(task, &after, patience)?;
    conclude(task, plan, load, &after, &topic_ids, struck)
}

/// One fault, until everything is mended and in sync again.
fn strike(task: &Task<'_>, fault: &'static Fault, load: &mut Load) -> Result<Struck> {
    let topic = load.topic.clone();
    let done = AtomicBool::new(false);
    let (outcome, seen) = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            // Each change of what is registered, with its time.
            let mut seen: Vec<(u64, BTreeSet<u32>)> = Vec::new();
            while !done.load(Ordering::SeqCst) {
                if let Ok(Some(dump)) = serve::dump(task) {
                    let ids = zookeeper::registered(&dump);
                    if seen.last().is_none_or(|(_, last)| *last != ids) {
                        seen.push((now_ms(), ids));
                    }
                }
                // Interrupted or not, `done` ends this.
                let _ = wait::pause(&Stop::default(), watch_every(task.lab().backend));
            }
            seen
        });
        let mut strike = Strike::new(task, load);
        let moved = fault.moves.iter().try_for_each(|step| strike.carry_out(*step));
        let (struck_ms, brokers, down) = (strike.struck_ms.unwrap_or_else(now_ms), strike.brokers, strike.down);
        let mended = moved.and_then(|()| mend(task, Some(&topic)));
        done.store(true, Ordering::SeqCst);
        (mended.map(|()| (struck_ms, brokers, down)), watcher.join().unwrap_or_default())
    });
    let (struck_ms, brokers, down) = outcome?;
    let mended_after_ms = now_ms().saturating_sub(struck_ms);
    let partitions: Vec<u32> = end_offsets(task, &topic)?.into_iter().map(|(partition, _)| partition).collect();
    let stuck = load.stuck(task, &partitions)?;
    let missing = |ids: &BTreeSet<u32>| brokers.iter().any(|id| !ids.contains(id));
    let detected = seen.iter().find(|(at, ids)| *at >= struck_ms && missing(ids)).map(|(at, _)| at - struck_ms);
    Ok(Struck {
        fault: fault.name,
        brokers,
        struck_ms,
        detected_after_ms: detected,
        mended_after_ms,
        partitions: Vec::new(),
        stuck,
        peaks: load.look_at_memory(),
        down,
    })
}

fn conclude(
    task: &Task<'_>,
    plan: Plan,
    load: &Load,
    after: &[(u32, u64)],
    topic_ids: &[String],
    mut struck: Vec<Struck>,
) -> Result<Drill> {
    let started = |partition| load.before.iter().find(|(p, _)| *p == partition).map_or(0, |(_, offset)| *offset);
    let ranges: Vec<(u32, u64, u64)> = after.iter().map(|(p, end)| (*p, started(*p), *end)).collect();
    let claims = load.claims();
    let Some(received) = load.received() else {
        return Err(Failure::step("the consumer said nothing").log(&load.dir(task)));
    };
    let ranges = clients::ranges(&ranges);
    let ledger = judge(&Case { topic_ids, ..Case::new(load.run, &load.topic, &ranges, &claims, &received) });
    let gaps = load.gaps();
    let partitions = u32::try_from(after.len()).unwrap_or(u32::MAX);
    let calm_gap_ms = struck.first().map_or(0, |first| timing::calm(&gaps, first.struck_ms));
    for place in 0..struck.len() {
        let until = struck.get(place + 1).map_or(u64::MAX, |next| next.struck_ms);
        // The last message before the next fault came a moment before it; the gap that follows is that one's.
        let here = gaps.iter().filter(|gap| gap.from_ms.saturating_add(2 * timing::LEAST_GAP_MS) < until);
        let here: Vec<_> = here.cloned().collect();
        struck[place].partitions = timing::rows(&here, partitions, struck[place].struck_ms);
    }
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in claims.iter().filter_map(|claim| claim.state.as_ref()).flat_map(|state| &state.errors) {
        *errors.entry(code.clone()).or_default() += count;
    }
    let (drill, promise) = match plan {
        Plan::One(fault) => (fault.name, fault.promise),
        Plan::Soak { .. } => ("soak", Promise::Pass),
    };
    let (seed, duration_s) = plan.schedule();
    let mut down = struck.iter().filter_map(|struck| struck.down);
    let stood_still = down.next().is_some_and(|down| timing::stood_still(&gaps, partitions, down));
    Ok(Drill {
        schema: SCHEMA,
        commit: commit(task),
        backend: task.lab().backend,
        drill,
        seed,
        duration_s,
        topic: load.topic.clone(),
        rate: load.rate,
        promised: promise.words(),
        kept: promise.is_kept(&ledger, stood_still) && struck.iter().all(|struck| struck.stuck.is_empty()),
        calm_gap_ms,
        struck,
        errors,
        ledger,
    })
}

/// The commit that a result belongs to.
pub fn commit(task: &Task<'_>) -> String {
    let words = ["describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"];
    let cmd = Cmd::new("git", Duration::from_secs(20)).arg("-C").arg(&task.lab().env.repo).args(words);
    match task.ctx.exec.capture(&cmd, &task.log, task.ctx.stop) {
        Ok(output) if output.code == Some(0) => output.stdout.trim().to_string(),
        _ => "unknown".into(),
    }
}

impl Drill {
    /// The drill for people.
    pub fn text(&self) -> String {
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
        let mut lines = Vec::new();
        for struck in &self.struck {
            let longest = |pick: fn(&Row) -> u64| struck.partitions.iter().map(pick).max().unwrap_or(0);
            let last = |pick: fn(&Row) -> Option<u64>| struck.partitions.iter().filter_map(pick).max();
            let least = format!("no gap of {} ms", timing::LEAST_GAP_MS);
            let hit = struck.brokers.iter().map(|id| format!(" kafka-{id}")).collect::<String>();
            lines.push(format!("{}:{hit}", struck.fault));
            if let Some(ms) = struck.detected_after_ms {
                lines.push(format!("  session gone        after {}", seconds(ms)));
            }
            for (what, ms) in [
                ("acknowledged again", last(|row| row.acked_after_ms)),
                ("received again", last(|row| row.received_after_ms)),
            ] {
                let after = ms.map_or(least.clone(), |ms| format!("after {} in every partition", seconds(ms)));
                lines.push(format!("  {what:18}  {after}"));
            }
            lines.push(format!(
                "  longest gap         {} between acknowledgements, {} between receipts",
                seconds(longest(|row| row.longest_ack_gap_ms)),
                seconds(longest(|row| row.longest_receive_gap_ms))
            ));
            lines.push(format!("  mended              after {}", seconds(struck.mended_after_ms)));
            lines.extend(struck.stands_still().map(|text| format!("  {text}")));
        }
        if self.seed.is_some()
            && let Some(peaks) = self.struck.last().map(|last| last.peaks)
        {
            let mib = |kib: u64| kib as f64 / 1024.0;
            lines.push(format!(
                "peak memory: producer {:.1} MiB, consumer {:.1} MiB",
                mib(peaks.producer_kib),
                mib(peaks.consumer_kib)
            ));
        }
        if !self.errors.is_empty() {
            let errors: Vec<String> = self.errors.iter().map(|(code, count)| format!("{count} {code}")).collect();
            lines.push(format!("delivery errors: {}", errors.join(", ")));
        }
        lines.push(totals(&self.ledger));
        let verdict = match self.ledger.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "fail",
            Verdict::Inconclusive => "inconclusive",
        };
        lines.extend(self.ledger.reasons.iter().map(|reason| format!("  - {reason}")));
        let kept = if self.kept { "as promised" } else { "NOT as promised" };
        lines.push(format!("verdict: {verdict}, {kept} ({})", self.promised));
        lines.join("\n") + "\n"
    }
}
