//! One drill from its topic to its outcome: load, fault, recovery, the account, and what shows that it struck.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ledger::lines::Gap;
use ledger::stamp::RunId;

use crate::brokers::{create_lasting_topic, create_topic, end_offsets, topics};
use crate::coordination;
use crate::drill::closing::{Account, close};
use crate::drill::control::Without;
use crate::drill::evidence::Evidence;
use crate::drill::faults::{self, Fault, LoadKind, Scenario};
use crate::drill::last_words::LastWords;
use crate::drill::load::Load;
use crate::drill::mend::mend;
use crate::drill::outcome::{FaultResult, Finished, Outcome, Peaks, Record, SCHEMA, Settled, Unfinished};
use crate::drill::strike::Strike;
use crate::drill::timing;
use crate::drill::watch::{Clock, Watch};
use crate::events::StepState;
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::files::{self, write_atomically};
use crate::local::servers;
use crate::service::Service;
use crate::signal::Stop;
use crate::steps::{check, serve};
use crate::system::now_ms;
use crate::task::{self, Ctx, Task};
use crate::wait::Poll;

/// How long the load goes on before a fault.
const CALM: Duration = Duration::from_secs(2);

/// How long the consumer of a soak may take to catch up before the next fault.
const CAUGHT_UP: Duration = Duration::from_secs(600);

/// How long a question for end offsets may take while all goes on.
const OFFSETS: Duration = Duration::from_secs(60);

/// A drill as a step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// What is drilled.
    pub scenario: Scenario,
    /// How.
    pub options: Options,
    /// The outcome of an earlier run that stands for this one (`--resume`).
    pub recorded: Option<Outcome>,
}

/// The step of a drill: runs it, unless its outcome is already recorded. A drill whose promise is broken, or that could
/// not be done, is an outcome too, so that the next drill runs.
///
/// # Errors
/// An interruption.
pub fn step(task: &Task<'_>, drill: Drill) -> Result<task::Outcome> {
    if let Some(outcome) = drill.recorded {
        let skipped = task::Outcome::skipped(format!("already recorded, {}", outcome.words()));
        return Ok(task::Outcome { exit: outcome.exit(), ..skipped });
    }
    let record = run(task, drill.scenario, drill.options)?;
    let Settled { kept, exit, .. } = *record.settled();
    let state = if kept { StepState::Passed } else { StepState::Failed };
    let ended = task::Outcome::new(state, record.headline());
    Ok(task::Outcome { exit, drill: Some(Box::new(record)), ..ended })
}

/// How every scenario of a command is drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages a second, over all partitions.
    pub rate: u32,
    /// Whether the drill's topic is kept for looking at.
    pub keep_topic: bool,
    /// What is left out, as a control.
    pub without: Without,
}

/// Runs a drill and mends whatever it broke, also when it is interrupted. What could not be done is no error but a
/// [`Record`] that says so, as is a broken promise.
///
/// # Errors
/// An interruption.
fn run(task: &Task<'_>, scenario: Scenario, options: Options) -> Result<Record> {
    match mended(task, scenario, options) {
        Ok(drill) => Ok(Record::Finished(Box::new(drill))),
        Err(failure) if failure.exit == Exit::Interrupted => Err(failure),
        Err(failure) => Ok(Record::Unfinished(Box::new(Unfinished {
            schema: SCHEMA,
            commit: commit(task.ctx, &task.log),
            backend: task.lab().backend,
            drill: scenario.name(),
            settled: Settled::unfinished(&failure),
            without: options.without.parts(),
            error: failure.what.clone(),
            failure: if failure.log.is_none() { failure.log(&task.log) } else { failure },
        }))),
    }
}

/// A drill, and the mending of whatever it broke.
fn mended(task: &Task<'_>, scenario: Scenario, options: Options) -> Result<Finished> {
    let Options { rate, keep_topic, without } = options;
    let run: RunId = format!("drill-{:x}", now_ms()).parse().map_err(Failure::step)?;
    let rate = scenario.rate(rate);
    let flags: &[&str] = match scenario.load() {
        LoadKind::AcksOne => &["--acks", "1"],
        LoadKind::NotIdempotent => &["--no-idempotence"],
        LoadKind::WithoutTopic => &["--no-create-topic"],
        _ => &[],
    };
    let topic = run.to_string();
    let (before, producers, consumers) = (Vec::new(), Vec::new(), Vec::new());
    let peaks = Peaks::default();
    let mut load = Load { run, topic, rate, flags, before, producers, consumers, peaks, without };
    let under_way = task.lab().state.join("drill");
    clear(task, &under_way)?;
    servers_run(task)?;
    write_atomically(&under_way, &load.topic)?;
    let drilled = drill(task, scenario, &mut load);
    // What interrupted the drill must not interrupt this.
    let stop = Stop::default();
    let ctx = task.ctx.with_stop(&stop);
    let after = Task { ctx: &ctx, log: task.log.clone(), status: task.status };
    load.kill();
    let mended = mend(&after, None, Without::default());
    let deleted = match keep_topic {
        true => Ok(String::new()),
        false => topics(&after, &["--delete", "--if-exists", "--topic", &load.topic]),
    };
    // What is left for the next drill to do is written there.
    let cleared = match mended.is_ok() && deleted.is_ok() {
        true => files::remove_file(&under_way),
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
    servers::end_strays(task)?;
    // What is no name of ours was not written by a drill.
    let left = fs::read_to_string(under_way).ok().and_then(|text| text.parse::<RunId>().ok());
    let Some(topic) = left else { return Ok(()) };
    (task.status)("mending what a drill broke that was killed");
    mend(task, None, Without::default())?;
    serve::serving(task)?;
    (task.status)("removing its topic");
    topics(task, &["--delete", "--if-exists", "--topic", topic.as_str()])?;
    files::remove_file(under_way)
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

fn drill(task: &Task<'_>, scenario: Scenario, load: &mut Load) -> Result<Finished> {
    let (kind, without) = (scenario.load(), load.without);
    let calm = if without.any() { Duration::ZERO } else { CALM };
    let clock = Clock(Instant::now());
    (task.status)("starting the load");
    let mut topic_ids = Vec::new();
    if kind == LoadKind::WithoutTopic {
        load.before = (0..task.lab().facts.brokers.partitions).map(|partition| (partition, 0)).collect();
    } else {
        if matches!(scenario, Scenario::Soak { .. }) {
            create_lasting_topic(task, &load.topic)?;
        }
        create_topic(task, &load.topic)?;
        let ends = end_offsets(task, &load.topic, OFFSETS)?;
        topic_ids.extend(ends.topic_id);
        load.before = ends.offsets;
    }
    if !without.load {
        load.start_producer(task)?;
    }
    if kind != LoadKind::WithoutConsumer {
        load.start_consumer(task)?;
    }
    if kind != LoadKind::WithoutTopic && !without.load {
        load.flows(task, kind != LoadKind::WithoutConsumer)?;
        task.pause(calm)?;
    }
    let mut struck = Vec::new();
    match scenario {
        Scenario::One(fault) => struck.push(strike(task, fault, load, clock)?),
        Scenario::Soak { seed, duration } => {
            let end = Instant::now() + duration;
            for fault in faults::schedule(seed, task.lab().backend) {
                if Instant::now() >= end {
                    break;
                }
                // One that was started again reads the run from its beginning. What it knows is of now when it has got there.
                let ends = end_offsets(task, &load.topic, OFFSETS)?;
                load.reads_beyond(task, &ends.offsets, without.patience(CAUGHT_UP))?;
                struck.push(strike(task, fault, load, clock)?);
                task.pause(calm)?;
            }
        }
    }
    if let Some(last) = struck.last_mut() {
        last.peaks = load.sample_memory();
    }
    let account = close(task, load, &mut topic_ids)?;
    if let [one] = &mut struck[..] {
        let mut ids = topic_ids.into_iter();
        (one.seen.topic_id.before, one.seen.topic_id.after) = (ids.next(), ids.next_back());
    }
    Ok(conclude(task, scenario, load, account, struck))
}

/// One fault, until everything is mended and in sync again, and the load has gone on.
fn strike(task: &Task<'_>, fault: &'static Fault, load: &mut Load, clock: Clock) -> Result<FaultResult> {
    let topic = load.topic.clone();
    let watch = Watch::new(clock);
    let began = (clock.ms(), now_ms());
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| watch.registrations(task));
        scope.spawn(|| watch.processes());
        let outcome = struck(task, fault, load, &watch, &topic);
        watch.end();
        outcome
    });
    let (struck_ms, brokers, stuck, mut seen) = outcome?;
    (seen.registered, seen.stopped) = watch.seen();
    // Both clocks say how long it took.
    seen.clock_moved_ms = (clock.ms() - began.0).abs_diff(now_ms().saturating_sub(began.1));
    let struck_ms = struck_ms.unwrap_or(began.1);
    let mended_after_ms = seen.struck_ms.map_or(0, |struck| seen.mended_ms.saturating_sub(struck));
    seen.wall = (struck_ms, struck_ms + mended_after_ms);
    let missing = |ids: &BTreeMap<u32, String>| brokers.iter().any(|id| !ids.contains_key(id));
    let after = seen.registered.iter().filter(|registered| seen.struck_ms.is_some_and(|hit| registered.from_ms >= hit));
    let gone = after.filter(|registered| registered.sessions.as_ref().is_some_and(missing)).map(|seen| seen.from_ms);
    let detected_after_ms = gone.min().zip(seen.struck_ms).map(|(at, hit)| at - hit);
    Ok(FaultResult {
        fault: fault.name,
        brokers,
        struck_ms,
        detected_after_ms,
        mended_after_ms,
        partitions: Vec::new(),
        stuck,
        peaks: load.sample_memory(),
        evidence: Vec::new(),
        seen,
        proofs: fault.proofs,
    })
}

type Seen = (Option<u64>, BTreeSet<u32>, Vec<u32>, Evidence);

/// The same, while others look on.
fn struck(task: &Task<'_>, fault: &'static Fault, load: &mut Load, watch: &Watch, topic: &str) -> Result<Seen> {
    let without = load.without;
    // Who was registered before is known before the first move.
    task.wait(coordination::NAME, OFFSETS, Duration::from_millis(10), || {
        Ok(Poll::unless((!watch.has_asked()).then(|| "it has not been asked yet".into())))
    })?;
    let mut strike = Strike::new(task, load, watch, fault)?;
    fault.moves.iter().try_for_each(|step| strike.carry_out(*step))?;
    mend(task, Some(topic), without)?;
    let ends = end_offsets(task, topic, without.patience(OFFSETS))?;
    let partitions: Vec<u32> = ends.offsets.iter().map(|(partition, _)| *partition).collect();
    let stuck = if without.load { Vec::new() } else { strike.stuck(&partitions)? };
    strike.afterwards(&ends.offsets)?;
    Ok((strike.struck_ms, strike.brokers, stuck, strike.evidence))
}

fn conclude(
    task: &Task<'_>,
    scenario: Scenario,
    load: &Load,
    account: Account,
    mut struck: Vec<FaultResult>,
) -> Finished {
    let LastWords { gaps, ends, readers, .. } = account.words;
    let calm_gap_ms = struck.first().map_or(0, |first| timing::calm(&gaps, first.struck_ms));
    for place in 0..struck.len() {
        let until = struck.get(place + 1).map_or(u64::MAX, |next| next.struck_ms);
        // The last message before the next fault came a moment before it; the gap that follows is that one's.
        let here = gaps.iter().filter(|gap| gap.from_ms.saturating_add(2 * timing::LEAST_GAP_MS) < until);
        let here: Vec<Gap> = here.cloned().collect();
        let one = &mut struck[place];
        one.partitions = timing::rows(&here, account.partitions, one.struck_ms);
        one.seen.gaps = here;
        (one.seen.ends, one.seen.readers) = (ends.clone(), readers.clone());
        one.seen.run_start = load.before.iter().copied().collect();
        one.evidence = one.proofs.iter().map(|proof| proof.judge(&one.seen)).collect();
    }
    let promised = scenario.promise();
    let (seed, duration_s) = scenario.schedule();
    let settled = Settled::finished(promised, &account.report, &struck, &account.faults);
    Finished {
        schema: SCHEMA,
        commit: commit(task.ctx, &task.log),
        backend: task.lab().backend,
        drill: scenario.name(),
        seed,
        duration_s,
        topic: load.topic.clone(),
        rate: load.rate,
        promised: promised.words(),
        settled,
        without: load.without.parts(),
        faults: account.faults,
        final_read: account.read,
        calm_gap_ms,
        struck,
        errors: account.errors,
        ledger: account.report,
    }
}

/// The commit that a result belongs to.
pub fn commit(ctx: &Ctx<'_>, log: &Path) -> String {
    let words = ["describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"];
    let cmd = Cmd::new("git", Duration::from_secs(20)).arg("-C").arg(&ctx.lab.env.repo).args(words);
    match ctx.exec.capture(&cmd, log, ctx.stop) {
        Ok(output) if output.code == Some(0) => output.stdout.trim().to_string(),
        _ => "unknown".into(),
    }
}
