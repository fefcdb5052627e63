//! Runs one drill: load, fault, recovery, the final account, and the evidence that the fault struck.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ledger::lines::Gap;
use ledger::stamp::RunId;

use crate::brokers::{create_lasting_topic, create_topic, end_offsets, topics};
use crate::drill::client_logs::ClientLogs;
use crate::drill::closing::{FinalAccount, close};
use crate::drill::control::Without;
use crate::drill::faults::{self, Fault, LoadKind, Scenario};
use crate::drill::inject::Injector;
use crate::drill::load::Load;
use crate::drill::mend::mend;
use crate::drill::observations::Observations;
use crate::drill::outcome::{
    Conclusion, DrillOutcome, DrillResult, FaultResult, Finished, Peaks, SCHEMA, UNKNOWN_COMMIT, Unfinished,
};
use crate::drill::proof::CLOCK_MS;
use crate::drill::timing;
use crate::drill::watch::{Clock, Watch};
use crate::events::{Event, StepState};
use crate::exec::Cmd;
use crate::failure::{Exit, Failure, Result};
use crate::files::{self, write_atomically};
use crate::local::servers;
use crate::service::Service;
use crate::sha256;
use crate::signal::Stop;
use crate::steps::{check, serve};
use crate::system::now_ms;
use crate::task::{self, Ctx, Task};
use crate::wait::Poll;

/// How long the load runs before a fault.
const WARM_UP: Duration = Duration::from_secs(2);

/// How long the consumer of a soak may take to catch up before the next fault.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the brokers may take to answer with end offsets.
const OFFSETS_TIMEOUT: Duration = Duration::from_secs(60);

/// How to run the drills of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Messages a second, over all partitions.
    pub rate: u32,
    /// Whether to keep the drill's topic.
    pub keep_topic: bool,
    /// What to leave out, as a control.
    pub without: Without,
}

/// A drill as a step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drill {
    /// What to break.
    pub scenario: Scenario,
    /// How to run it.
    pub options: Options,
    /// The outcome of an earlier run that stands for this one (`--resume`).
    pub recorded: Option<DrillOutcome>,
}

/// Runs a drill as a step, unless its outcome is already recorded. A broken promise is an outcome too, and so is a
/// drill that cannot be finished, so that the next drill runs.
///
/// # Errors
/// An interruption.
pub fn step(task: &Task<'_>, drill: Drill) -> Result<task::Outcome> {
    if let Some(outcome) = drill.recorded {
        let skipped = task::Outcome::skipped(format!("already recorded, {}", outcome.words()));
        return Ok(task::Outcome { exit: outcome.exit(), ..skipped });
    }
    let result = match run(task, drill.scenario, drill.options) {
        Ok(finished) => DrillResult::Finished(Box::new(finished)),
        Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
        Err(failure) => DrillResult::Unfinished(Box::new(Unfinished {
            schema: SCHEMA,
            commit: commit(task.ctx, &task.log),
            backend: task.lab().backend,
            kafka: task.lab().release.to_string(),
            drill: drill.scenario.name(),
            conclusion: Conclusion::unfinished(&failure),
            without: drill.options.without.parts(),
            error: failure.message.clone(),
            failure: if failure.log.is_none() { failure.log(&task.log) } else { failure },
        })),
    };
    let Conclusion { kept, exit, .. } = *result.conclusion();
    let state = if kept { StepState::Passed } else { StepState::Failed };
    let ended = task::Outcome::new(state, result.headline());
    Ok(task::Outcome { exit, drill: Some(Box::new(result)), ..ended })
}

/// Runs a drill and mends what it broke, even if it is interrupted.
fn run(task: &Task<'_>, scenario: Scenario, Options { rate, keep_topic, without }: Options) -> Result<Finished> {
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
    let marker = task.lab().state.join("drill");
    clean_up_killed(task, &marker)?;
    require_servers(task)?;
    write_atomically(&marker, &load.topic)?;
    (task.tell)(&Event::DrillBegun {
        drill: scenario.name(),
        topic: load.topic.clone(),
        promised: scenario.promise().words(),
        rate,
        clients: load.dir(task),
    });
    let drilled = drill(task, scenario, &mut load);
    // What interrupted the drill must not interrupt the mending.
    let stop = Stop::default();
    let ctx = task.ctx.with_stop(&stop);
    let after = Task { ctx: &ctx, log: task.log.clone(), status: task.status, tell: task.tell };
    load.kill();
    let mended = mend(&after, None, Without::default());
    let deleted = match keep_topic {
        true => Ok(String::new()),
        false => topics(&after, &["--delete", "--if-exists", "--topic", &load.topic]),
    };
    // The marker stays if the next drill has something to clean up.
    let cleared = match mended.is_ok() && deleted.is_ok() {
        true => files::remove_file(&marker),
        false => Ok(()),
    };
    let drilled = match (drilled, mended) {
        (Err(failure), Err(broken)) => {
            let message = format!("{}; mending failed too: {}", failure.message, broken.message);
            return Err(Failure { message, ..failure }.fix(task.lab().xtask("up")));
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

/// Cleans up after a drill that was killed: its clients, the servers that it broke, and the topic that `marker` names.
fn clean_up_killed(task: &Task<'_>, marker: &Path) -> Result<()> {
    servers::end_strays(task)?;
    // Anything but a run id was not written by a drill.
    let left = fs::read_to_string(marker).ok().and_then(|text| text.parse::<RunId>().ok());
    let Some(topic) = left else { return Ok(()) };
    (task.status)("mending what a killed drill broke");
    mend(task, None, Without::default())?;
    serve::serving(task)?;
    (task.status)("removing its topic");
    topics(task, &["--delete", "--if-exists", "--topic", topic.as_str()])?;
    files::remove_file(marker)
}

/// Requires every server to be healthy: a drill does not mend what it did not break, and its result would mean nothing.
fn require_servers(task: &Task<'_>) -> Result<()> {
    for server in Service::servers(task.lab()) {
        check::healthy(task, server).map_err(|failure| match failure.exit {
            // It is no fault that the drill found.
            Exit::Fault => Failure { exit: Exit::Step, ..failure },
            _ => failure,
        })?;
    }
    Ok(())
}

fn drill(task: &Task<'_>, scenario: Scenario, load: &mut Load) -> Result<Finished> {
    let without = load.without;
    let warm_up = if without.any() { Duration::ZERO } else { WARM_UP };
    let clock = Clock::start(now_ms);
    let mut topic_ids = Vec::new();
    start_load(task, scenario, load, &mut topic_ids, warm_up)?;
    let mut struck = Vec::new();
    match scenario {
        Scenario::One(fault) => struck.push(inject(task, fault, load, clock)?),
        Scenario::Soak { seed, duration } => {
            let end = Instant::now() + duration;
            for fault in faults::schedule(seed, task.lab().backend, task.lab().release.mode) {
                if Instant::now() >= end {
                    break;
                }
                // A restarted consumer reads the run from its beginning. It shows the current state once it has caught
                // up.
                let ends = end_offsets(task, &load.topic, OFFSETS_TIMEOUT)?;
                load.reads_beyond(task, &ends.offsets, without.timeout(CATCH_UP_TIMEOUT))?;
                struck.push(inject(task, fault, load, clock)?);
                task.pause(warm_up)?;
            }
        }
    }
    if let Some(last) = struck.last_mut() {
        last.peaks = load.sample_memory();
    }
    let account = close(task, load, &mut topic_ids)?;
    if let [one] = &mut struck[..] {
        let mut ids = topic_ids.into_iter();
        (one.observed.topic_id.before, one.observed.topic_id.after) = (ids.next(), ids.next_back());
    }
    // Gaps are told apart by the wall clock over the whole drill.
    let moved = struck.iter().map(|one| one.observed.clock_moved_ms).chain([clock.moved_ms()]).max().unwrap_or(0);
    struck.iter_mut().for_each(|one| one.observed.clock_moved_ms = moved);
    Ok(conclude(task, scenario, load, account, struck))
}

/// Creates the topic, starts the clients and waits until messages flow, as far as the scenario wants that.
fn start_load(
    task: &Task<'_>,
    scenario: Scenario,
    load: &mut Load,
    topic_ids: &mut Vec<String>,
    warm_up: Duration,
) -> Result<()> {
    let (kind, without) = (scenario.load(), load.without);
    (task.status)("starting the load");
    if kind == LoadKind::WithoutTopic {
        load.before = (0..task.lab().facts.brokers.partitions).map(|partition| (partition, 0)).collect();
    } else {
        if matches!(scenario, Scenario::Soak { .. }) {
            create_lasting_topic(task, &load.topic)?;
        }
        create_topic(task, &load.topic)?;
        let ends = end_offsets(task, &load.topic, OFFSETS_TIMEOUT)?;
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
        task.pause(warm_up)?;
    }
    Ok(())
}

/// Injects a fault under observation, until everything is mended and in sync again and the load continues.
fn inject(task: &Task<'_>, fault: &'static Fault, load: &mut Load, clock: Clock) -> Result<FaultResult> {
    let watch = Watch::new(clock);
    let began_ms = clock.wall_ms();
    let injected = std::thread::scope(|scope| {
        scope.spawn(|| watch.poll_coordinator(task));
        scope.spawn(|| watch.sample_processes());
        let injected = inject_watched(task, fault, load, &watch);
        watch.end();
        injected
    });
    let (mut observed, stuck) = injected?;
    observed.clock_moved_ms = watch.clock_moved_ms();
    (observed.registrations, observed.paused) = watch.seen();
    let struck_ms = if observed.struck_ms.is_some() { observed.wall.0 } else { began_ms };
    let mended_after_ms = observed.struck_ms.map_or(0, |struck| observed.mended_ms.saturating_sub(struck));
    observed.wall = (struck_ms, struck_ms + mended_after_ms);
    let brokers = observed.struck_brokers();
    let missing = |ids: &BTreeMap<u32, String>| brokers.iter().any(|id| !ids.contains_key(id));
    let after = observed.registrations.iter().filter(|seen| observed.struck_ms.is_some_and(|hit| seen.from_ms >= hit));
    let gone = after.filter(|seen| seen.sessions.as_ref().is_some_and(missing)).map(|seen| seen.from_ms);
    let detected_after_ms = gone.min().zip(observed.struck_ms).map(|(at, hit)| at - hit);
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
        observed,
        proofs: fault.proofs,
    })
}

/// Does the same, and returns the partitions in which the load does not continue.
fn inject_watched(
    task: &Task<'_>,
    fault: &'static Fault,
    load: &mut Load,
    watch: &Watch,
) -> Result<(Observations, Vec<u32>)> {
    let (without, topic) = (load.without, load.topic.clone());
    // The registrations before the first move must be known.
    task.wait(task.lab().release.mode.noun(), OFFSETS_TIMEOUT, Duration::from_millis(10), || {
        Ok(Poll::unless((!watch.has_asked()).then(|| "it has not been asked yet".into())))
    })?;
    let mut injector = Injector::new(task, load, watch, fault)?;
    fault.moves.iter().try_for_each(|action| injector.perform(*action))?;
    injector.observe_new_leader()?;
    mend(task, Some(&topic), without)?;
    (task.tell)(&Event::DrillMended { drill: fault.name });
    let ends = end_offsets(task, &topic, without.timeout(OFFSETS_TIMEOUT))?;
    let stuck = injector.after(&ends.offsets)?;
    Ok((injector.observed, stuck))
}

fn conclude(
    task: &Task<'_>,
    scenario: Scenario,
    load: &Load,
    account: FinalAccount,
    mut struck: Vec<FaultResult>,
) -> Finished {
    let ClientLogs { gaps, ends, readers, .. } = account.logs;
    let calm_gap_ms = struck.first().map_or(0, |first| timing::calm(&gaps, first.struck_ms));
    for place in 0..struck.len() {
        let until = struck.get(place + 1).map_or(u64::MAX, |next| next.struck_ms);
        // The gap of the next fault begins at the last message before it, which is a moment before that fault.
        let here = gaps.iter().filter(|gap| gap.from_ms.saturating_add(2 * timing::LEAST_GAP_MS) < until);
        let here: Vec<Gap> = here.cloned().collect();
        let one = &mut struck[place];
        // Times by a clock that was moved say nothing.
        if one.observed.clock_moved_ms <= CLOCK_MS {
            one.partitions = timing::partitions(&here, account.partitions, one.struck_ms);
        }
        one.observed.gaps = here;
        (one.observed.ends, one.observed.readers) = (ends.clone(), readers.clone());
        one.observed.run_start = load.before.iter().copied().collect();
        one.evidence = one.proofs.iter().map(|proof| proof.judge(&one.observed)).collect();
    }
    let promised = scenario.promise();
    let (seed, duration_s) = scenario.schedule();
    let conclusion = Conclusion::finished(promised, &account.report, &struck, &account.faults);
    Finished {
        schema: SCHEMA,
        commit: commit(task.ctx, &task.log),
        backend: task.lab().backend,
        kafka: task.lab().release.to_string(),
        drill: scenario.name(),
        seed,
        duration_s,
        topic: load.topic.clone(),
        rate: load.rate,
        promised: promised.words(),
        conclusion,
        without: load.without.parts(),
        faults: account.faults,
        final_read: account.read,
        calm_gap_ms,
        struck,
        errors: account.errors,
        ledger: account.report,
    }
}

/// Returns the commit of the checkout, with `+` and a digest of the uncommitted changes if there are any;
/// [`UNKNOWN_COMMIT`] outside a repository.
pub fn commit(ctx: &Ctx<'_>, log: &Path) -> String {
    let git = |words: &[&str]| {
        let cmd = Cmd::new("git", Duration::from_secs(20)).arg("-C").arg(&ctx.lab.env.repo).args(words);
        ctx.exec.capture(&cmd, log, ctx.stop).ok().filter(|output| output.code == Some(0)).map(|output| output.stdout)
    };
    let unknown = || UNKNOWN_COMMIT.to_string();
    let Some(head) = git(&["describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]) else {
        return unknown();
    };
    let head = head.trim();
    if !head.ends_with('+') {
        return head.to_string();
    }
    // Text and binary files alike, whatever the user's settings make of a diff.
    let changes = git(&["diff", "HEAD", "--binary", "--no-color", "--no-ext-diff", "--no-textconv"]);
    changes.map_or_else(unknown, |changes| format!("{head}{:.8}", sha256::of(changes)))
}
