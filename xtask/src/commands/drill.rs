//! `drill …`: breaks the lab on purpose, and tells whether every promise was kept.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::backend::{Backend, Reach};
use crate::cli::{Drill as Args, Format};
use crate::commands::session::Session;
use crate::config::Lab;
use crate::drill::control::Without;
use crate::drill::faults::{FAULTS, Fault, Scenario, named};
use crate::drill::outcome::{Outcome, Record, Recorded, worst};
use crate::drill::run::{Options, commit, run};
use crate::drill::told;
use crate::events::{Event, Events, StepState};
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::private_dir;
use crate::local::jars::Jars;
use crate::run::StepEnd;
use crate::show::{self, print_json, print_text};
use crate::step::Step;
use crate::steps::build;
use crate::system::lack_of_space;
use crate::task::{self, Ctx, Task};
use serde::Serialize;

/// Where `drill matrix` keeps its results, in the working folder.
const MATRIX: &str = "drills.jsonl";

/// What a message of a drill takes in a log: 105 were measured, of which the value is 100.
const BYTES: u64 = 120;

/// The title of the step before the drills.
const CLIENTS_BUILD: &str = "clients build";

impl Session<'_> {
    /// `drill …`.
    ///
    /// # Errors
    /// Nothing is up, a fault's name is wrong, or something could not be done.
    pub fn drill(&self, args: &Args) -> Result<Exit> {
        if args.list {
            print_text(&told::list());
            return Ok(Exit::Ok);
        }
        // What cannot be meant is said before what is not there.
        scenarios(args, None)?;
        let (lab, _) = self.recorded()?;
        let scenarios = scenarios(args, Some(lab.backend))?;
        let brokers = &lab.facts.brokers;
        if brokers.count != 3 || brokers.replication_factor != 3 || brokers.min_insync_replicas != 2 {
            let what = format!(
                "kafka.yml has {} brokers, replication factor {} and min.insync.replicas {}: what drills promise needs 3, 3 and 2",
                brokers.count, brokers.replication_factor, brokers.min_insync_replicas
            );
            return Err(Failure::usage(what).fix("set them as the committed kafka.yml does, and say `cargo xtask up`"));
        }
        if self.global.dry_run {
            for scenario in &scenarios {
                print_text(&told::preview(*scenario, lab.backend));
            }
            return Ok(Exit::Ok);
        }
        for scenario in &scenarios {
            enough_disk(&lab, *scenario, args.rate)?;
        }
        let _lock = self.lock("drill")?;
        // What another command changed while we waited for the lock counts.
        let (lab, jars) = self.recorded()?;
        let logs = lab.logs().join("steps").join("drill");
        private_dir(&logs)?;
        let up = self.ctx(&lab, &jars, self.stop);
        Step::LabIsUp.run(&Task { ctx: &up, log: logs.join("lab-is-up.log"), status: &|_| {} })?;
        let out = args.out.clone().or_else(|| args.faults.iter().any(|name| name == "matrix").then(|| MATRIX.into()));
        let done = match (&out, args.resume) {
            (_, false) => Vec::new(),
            (None, true) => {
                return Err(Failure::usage("--resume needs a file to go on from").fix("--out FILE, or `drill matrix`"));
            }
            (Some(file), true) => {
                let task = Task { ctx: &up, log: logs.join("commit.log"), status: &|_| {} };
                recorded(file, &commit(&task), lab.backend)?
            }
        };
        let events = Events::to(vec![show::listener("drill", &lab.name, lab.format, self.env)]);
        let options = Options { rate: args.rate, keep_topic: args.keep_topic, without: Without::of(&args.without) };
        self.series(Series { lab: &lab, jars: &jars, events, logs, out, done, options }, scenarios)
    }

    /// Builds the clients, and drills one scenario after the other, as steps of one plan.
    fn series(&self, mut series: Series<'_>, scenarios: Vec<Scenario>) -> Result<Exit> {
        let begin = Instant::now();
        let titles = std::iter::once(CLIENTS_BUILD).chain(scenarios.iter().map(|scenario| scenario.name()));
        series.events.send(&Event::PlanBegun { steps: titles.map(String::from).collect() });
        // A checkout that has not been up yet has no clients, and what changed since belongs to the drill.
        let result = self.build_clients(&series).and_then(|()| self.each(&mut series, scenarios));
        let exit = result.as_ref().map_or_else(|failure| failure.exit, |exit| *exit) as i32;
        series.events.send(&Event::PlanEnded { exit, elapsed: begin.elapsed() });
        result
    }

    /// Drills one scenario after the other; returns what all of them come to.
    fn each(&self, series: &mut Series<'_>, scenarios: Vec<Scenario>) -> Result<Exit> {
        let (mut exit, mut hindered) = (Exit::Ok, None::<Failure>);
        for (place, scenario) in scenarios.into_iter().enumerate() {
            let title = scenario.name();
            if let Some(outcome) = series.take(scenario) {
                let why = format!("there already, {}", outcome.words());
                series.events.leave_out(place + 2, title, StepState::Skipped, &why);
                exit = worst(exit, outcome.exit());
                continue;
            }
            let stop = self.stop.next_plan();
            let ctx = self.ctx(series.lab, series.jars, &stop);
            let record = series.one(&ctx, place, scenario)?;
            exit = worst(exit, record.settled().exit);
            if let Record::Unfinished(drill) = record
                && hindered.as_ref().is_none_or(|failure| worst(failure.exit, drill.failure.exit) != failure.exit)
            {
                hindered = Some(drill.failure);
            }
        }
        // What hindered a drill is told in full, unless another drill found something worse.
        match hindered {
            Some(failure) if failure.exit == exit => Err(failure),
            _ => Ok(exit),
        }
    }

    fn build_clients(&self, series: &Series<'_>) -> Result<()> {
        let step = series.events.start(1, CLIENTS_BUILD);
        let status = |text: &str| step.status(text);
        let ctx = self.ctx(series.lab, series.jars, self.stop);
        let built = build::clients(&Task { ctx: &ctx, log: series.logs.join("clients-build.log"), status: &status });
        built.clone().map_or_else(StepEnd::Failed, StepEnd::Done).send(step);
        built.map(drop)
    }
}

/// A soak keeps all it sends, on every replica.
fn enough_disk(lab: &Lab, scenario: Scenario, rate: u32) -> Result<()> {
    let (Scenario::Soak { duration, .. }, Reach::Processes) = (scenario, lab.backend.reaches()) else { return Ok(()) };
    let need = duration
        .as_secs()
        .saturating_mul(rate.into())
        .saturating_mul(BYTES)
        .saturating_mul(lab.facts.brokers.replication_factor.into());
    match lack_of_space(&lab.state, need, "this soak") {
        Some(lack) => {
            Err(Failure::new(Exit::Preflight, lack).fix("make room, or ask for a lower --rate or a shorter --duration"))
        }
        None => Ok(()),
    }
}

/// The drills of one command, one after the other.
struct Series<'a> {
    lab: &'a Lab,
    jars: &'a Jars,
    events: Events,
    logs: PathBuf,
    /// Where each result is appended.
    out: Option<PathBuf>,
    /// What is there already.
    done: Vec<Recorded>,
    options: Options,
}

impl Series<'_> {
    /// How this ended that is there already, as often as it is there.
    fn take(&mut self, scenario: Scenario) -> Option<Outcome> {
        let Options { rate, without, .. } = self.options;
        let found = self.done.iter().position(|done| done.is(scenario, rate, &without.parts()))?;
        self.done.swap_remove(found).settled()
    }

    /// Drills one scenario, and tells how it went wherever that is asked for.
    fn one(&self, ctx: &Ctx<'_>, place: usize, scenario: Scenario) -> Result<Record> {
        let title = scenario.name();
        let log = self.logs.join(format!("{:02}-{title}.log", place + 1));
        let step = self.events.start(place + 2, title);
        let status = |text: &str| step.status(text);
        let record = run(&Task { ctx, log: log.clone(), status: &status }, scenario, self.options);
        let end = match record.as_ref().map_err(Clone::clone).and_then(Record::ended) {
            Ok(proof) => StepEnd::Done(task::Outcome::passed(proof)),
            Err(failure) if failure.log.is_none() => StepEnd::Failed(failure.log(&log)),
            Err(failure) => StepEnd::Failed(failure),
        };
        end.send(step);
        let record = record?;
        match (self.lab.format, &record) {
            (Format::Json, record) => print_json(record),
            (Format::Text, Record::Finished(drill)) => print_text(&format!("{}\n", drill.text())),
            (Format::Text, Record::Unfinished(_)) => {}
        }
        if let Some(file) = &self.out {
            append(file, &record)?;
        }
        Ok(record)
    }
}

/// The drills that a file has of this commit on this backend, each as often as its promise was seen to be kept or
/// broken.
fn recorded(file: &Path, commit: &str, backend: Backend) -> Result<Vec<Recorded>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.cannot("read", file)?,
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Recorded>(line).ok());
    Ok(lines.filter(|line| line.is_of(commit, backend) && line.settled().is_some()).collect())
}

fn append(file: &Path, drill: &impl Serialize) -> Result<()> {
    let mut out = fs::OpenOptions::new().create(true).append(true).open(file).cannot("write", file)?;
    let line = serde_json::to_string(drill).map_err(|error| Failure::step(error.to_string()))?;
    writeln!(out, "{line}").cannot("write", file)
}

/// What was asked for, in order; where the lab is known, of what can be done there.
fn scenarios(args: &Args, backend: Option<Backend>) -> Result<Vec<Scenario>> {
    let runs = |fault: &Fault| backend.is_none_or(|backend| fault.runs_on(backend));
    if args.faults.is_empty() {
        return Err(
            Failure::usage("which fault? Name one or more, or `all`, `matrix`, `soak`").fix("cargo xtask drill --list")
        );
    }
    let soak = Scenario::Soak { seed: args.seed, duration: Duration::from_secs(args.duration) };
    let mut scenarios = Vec::new();
    for name in &args.faults {
        match (name.as_str(), named(name)) {
            ("all" | "matrix", _) => scenarios.extend(FAULTS.iter().filter(|fault| runs(fault)).map(Scenario::One)),
            ("soak", _) => scenarios.push(soak),
            (_, Some(fault)) if runs(fault) => scenarios.push(Scenario::One(fault)),
            (_, Some(fault)) => {
                let here = backend.map(|backend| backend.to_string()).unwrap_or_default();
                return Err(Failure::usage(format!("{} cannot be done on {here}, where this lab runs", fault.name))
                    .fix("`cargo xtask drill --list` says where each can"));
            }
            (_, None) => {
                return Err(
                    Failure::usage(format!("there is no fault {name}")).fix("`cargo xtask drill --list` names all")
                );
            }
        }
    }
    Ok(std::iter::repeat_n(scenarios, args.rounds as usize).flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::outcome::{SCHEMA, Settled, Unfinished};

    #[test]
    fn what_came_to_a_verdict_at_this_commit_and_backend_is_not_done_again() {
        let file = std::env::temp_dir().join(format!("kafka-lab-finished-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        assert!(recorded(&file, "c1", Backend::Local).unwrap().is_empty());
        let line = |drill, failure: Failure| Unfinished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Local,
            drill,
            settled: Settled::unfinished(&failure),
            without: Vec::new(),
            error: failure.message.clone(),
            failure,
        };
        append(&file, &line("leader-kill", Failure::step("a broker does not start"))).unwrap();
        append(&file, &line("leader-kill", Failure::fault("producer-1 ended by itself"))).unwrap();
        let open = serde_json::json!({"commit": "c1", "backend": "local", "drill": "leader-kill", "seed": null, "duration_s": null,
            "rate": 200, "kept": false, "outcome": "could_not_tell"});
        append(&file, &open).unwrap();
        for (commit, backend, drill, seed, kept) in [
            ("c1", "local", "leader-kill", None, true),
            ("c1", "kind", "pod-delete", None, true),
            ("c2", "local", "soak", Some(1), true),
            ("c1", "local", "soak", Some(1), true),
            ("c1", "local", "leader-kill", None, false),
        ] {
            let duration_s = seed.map(|_| 60);
            let line = serde_json::json!({"commit": commit, "backend": backend, "drill": drill, "seed": seed, "duration_s": duration_s, "rate": 200, "kept": kept});
            append(&file, &line).unwrap();
        }
        append(&file, &"cut off").unwrap();
        let done = recorded(&file, "c1", Backend::Local).unwrap();
        let names: Vec<_> = done.iter().map(|done| (done.drill.as_str(), done.settled().unwrap())).collect();
        let (kept, broken) = (Outcome::Kept, Outcome::Broken);
        assert_eq!(names, [("leader-kill", kept), ("soak", kept), ("leader-kill", broken)]);
        let soak = |seed, seconds| Scenario::Soak { seed, duration: Duration::from_secs(seconds) };
        let kill = Scenario::One(named("leader-kill").unwrap());
        assert!(done[0].is(kill, 200, &[]) && !done[0].is(kill, 300, &[]) && !done[0].is(soak(1, 60), 200, &[]));
        assert!(
            done[1].is(soak(1, 60), 200, &[])
                && !done[1].is(soak(2, 60), 200, &[])
                && !done[1].is(soak(1, 61), 200, &[])
        );
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn rounds_repeat_what_can_be_done_there_in_order() {
        let args = |faults: &[&str], rounds| Args {
            faults: faults.iter().map(ToString::to_string).collect(),
            rounds,
            list: false,
            rate: 200,
            out: None,
            resume: false,
            keep_topic: false,
            without: Vec::new(),
            seed: 1,
            duration: 1,
        };
        let titles = |scenarios: Vec<Scenario>| scenarios.into_iter().map(Scenario::name).collect::<Vec<_>>();
        let twice = scenarios(&args(&["leader-kill", "soak"], 2), Some(Backend::Local)).unwrap();
        assert_eq!(titles(twice), ["leader-kill", "soak", "leader-kill", "soak"]);
        let on_kind = titles(scenarios(&args(&["all"], 1), Some(Backend::Kind)).unwrap());
        assert!(on_kind.contains(&"pod-delete") && !on_kind.contains(&"leader-kill"), "{on_kind:?}");
        assert_eq!(scenarios(&args(&["leader-kill"], 1), Some(Backend::Kind)).unwrap_err().exit, Exit::Usage);
        assert_eq!(scenarios(&args(&["no-such"], 1), None).unwrap_err().exit, Exit::Usage);
    }
}
