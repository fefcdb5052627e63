//! `drill …`: breaks the lab on purpose, and tells whether every promise was kept.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::backend::Backend;
use crate::cli::{Drill as Args, Format};
use crate::commands::lab::Session;
use crate::config::Lab;
use crate::drill::control::{Part, Without};
use crate::drill::faults::{FAULTS, Fault, Scenario, named};
use crate::drill::outcome::{Drill, Outcome as End, SCHEMA, Unfinished};
use crate::drill::run::{commit, run};
use crate::drill::told;
use crate::exec::RealExec;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::private_dir;
use crate::local::jars::Jars;
use crate::progress::Ended;
use crate::progress::{Progress, print_json, print_text};
use crate::step::Step;
use crate::steps::build;
use crate::system::lack_of_space;
use crate::task::{Ctx, Outcome, State, Task};
use serde::{Deserialize, Serialize};

/// Where `drill matrix` keeps its results, in the working folder.
const MATRIX: &str = "drills.jsonl";

/// What a message of a drill takes in a log: 105 were measured, of which the value is 100.
const BYTES: u64 = 120;

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
        let up = Ctx::new(&lab, &jars, &RealExec, self.stop);
        Step::LabIsUp.run(&Task { ctx: &up, log: logs.join("lab-is-up.log"), status: &|_| {} })?;
        let progress = Progress::new("drill", &lab.name, lab.format, self.env);
        let without = Without::of(&args.without);
        let (mut worst, mut unfinished) = (Exit::Ok, None);
        let mut done = Vec::new();
        let out = args.out.clone().or_else(|| args.faults.iter().any(|name| name == "matrix").then(|| MATRIX.into()));
        if args.resume && out.is_none() {
            return Err(Failure::usage("--resume needs a file to go on from").fix("--out FILE, or `drill matrix`"));
        }
        if let (Some(file), true) = (&out, args.resume) {
            let ctx = Ctx::new(&lab, &jars, &RealExec, self.stop);
            let task = Task { ctx: &ctx, log: logs.join("commit.log"), status: &|_| {} };
            done = finished(file, &commit(&task), lab.backend)?;
        }
        // A checkout that has not been up yet has no clients, and what changed since belongs to the drill.
        self.build_clients(&lab, &jars, &progress, &logs)?;
        for (place, scenario) in scenarios.into_iter().enumerate() {
            let title = scenario.name();
            if let Some(found) = done.iter().position(|done| done.is(scenario, args.rate, &without.parts())) {
                let said = match done.swap_remove(found).kept {
                    true => "there already",
                    false => {
                        worst = Exit::Fault;
                        "there already, NOT as promised"
                    }
                };
                progress.say(&format!(" - {title:18} left out: {said}"));
                continue;
            }
            progress.started(place, title);
            let status = |text: &str| progress.status(place, text);
            let stop = self.stop.next_plan();
            let ctx = Ctx::new(&lab, &jars, &RealExec, &stop);
            let log = logs.join(format!("{:02}-{title}.log", place + 1));
            let result = run(
                &Task { ctx: &ctx, log: log.clone(), status: &status },
                scenario,
                args.rate,
                args.keep_topic,
                without,
            );
            let ended = match &result {
                Ok(drill) if drill.kept => Ended::Done(Outcome::new(State::Passed, drill.proof())),
                Ok(drill) => Ended::Failed(broken(drill).log(&log)),
                Err(failure) => Ended::Failed(failure.clone()),
            };
            progress.finished(place, title, &ended);
            let drill = match result {
                Ok(drill) => drill,
                Err(failure) if failure.exit == Exit::Interrupted => return Err(failure),
                Err(failure) => {
                    let after = Task { ctx: &ctx, log, status: &status };
                    let (commit, backend, error) = (commit(&after), lab.backend, failure.what.as_str());
                    let outcome = if failure.exit == Exit::Fault { End::Broken } else { End::CouldNotTell };
                    let without = without.parts();
                    let line = Unfinished {
                        schema: SCHEMA,
                        commit,
                        backend,
                        drill: title,
                        outcome,
                        kept: false,
                        without,
                        error,
                    };
                    if lab.format == Format::Json {
                        print_json(&line);
                    }
                    if let Some(file) = &out {
                        append(file, &line)?;
                    }
                    unfinished.get_or_insert(failure);
                    continue;
                }
            };
            match lab.format {
                Format::Json => print_json(&drill),
                Format::Text => print_text(&format!("{}\n", drill.text())),
            }
            if let Some(file) = &out {
                append(file, &drill)?;
            }
            if let Ended::Failed(failure) = ended {
                // That one could not tell does not hide that another's promise was broken.
                worst = if worst == Exit::Fault { worst } else { failure.exit };
            }
        }
        match unfinished {
            Some(failure) if worst != Exit::Fault => Err(failure),
            _ => Ok(worst),
        }
    }

    fn build_clients(&self, lab: &Lab, jars: &Jars, progress: &Progress, logs: &Path) -> Result<()> {
        let (place, title) = (0, "clients build");
        progress.started(place, title);
        let status = |text: &str| progress.status(place, text);
        let ctx = Ctx::new(lab, jars, &RealExec, self.stop);
        let built = build::clients(&Task { ctx: &ctx, log: logs.join("clients-build.log"), status: &status });
        let ended = built.clone().map_or_else(Ended::Failed, Ended::Done);
        progress.finished(place, title, &ended);
        built.map(drop)
    }
}

/// A soak keeps all it sends, on every replica.
fn enough_disk(lab: &Lab, scenario: Scenario, rate: u32) -> Result<()> {
    let (Scenario::Soak { duration, .. }, Backend::Local) = (scenario, lab.backend) else { return Ok(()) };
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

/// A drill that a file has. Only what tells it from others.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Done {
    drill: String,
    seed: Option<u64>,
    duration_s: Option<u64>,
    rate: u32,
    kept: bool,
    #[serde(default)]
    without: Vec<Part>,
}

impl Done {
    /// Whether it is what would be done now.
    fn is(&self, scenario: Scenario, rate: u32, without: &[Part]) -> bool {
        (self.drill.as_str(), (self.seed, self.duration_s), self.rate, &self.without[..])
            == (scenario.name(), scenario.schedule(), scenario.rate(rate), without)
    }
}

/// The drills that a file has of this commit on this backend, each as often as its promise was seen to be kept or broken.
fn finished(file: &Path, commit: &str, backend: Backend) -> Result<Vec<Done>> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.cannot("read", file)?,
    };
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let backend = backend.to_string();
    let of_this = lines.filter(|line| line["commit"] == commit && line["backend"] == backend.as_str());
    let of_this = of_this.filter(|line| line["error"].is_null() && line["outcome"] != "could_not_tell");
    Ok(of_this.filter_map(|line| serde_json::from_value(line).ok()).collect())
}

fn append(file: &Path, drill: &impl Serialize) -> Result<()> {
    let mut out = fs::OpenOptions::new().create(true).append(true).open(file).cannot("write", file)?;
    let line = serde_json::to_string(drill).map_err(|error| Failure::step(error.to_string()))?;
    writeln!(out, "{line}").cannot("write", file)
}

fn broken(drill: &Drill) -> Failure {
    let (exit, what) = match drill.outcome {
        End::CouldNotTell => (Exit::Inconclusive, format!("could not tell whether it is {}", drill.promised)),
        _ => (Exit::Fault, format!("promised was {}", drill.promised)),
    };
    let stuck = drill.struck.iter().filter_map(|struck| struck.stands_still());
    let not_seen = drill.struck.iter().flat_map(|struck| struck.not_seen());
    let reasons = drill.ledger.reasons.iter().cloned().chain(drill.faults.iter().cloned()).chain(stuck).chain(not_seen);
    let reasons: Vec<String> = reasons.map(|reason| format!("\n  - {reason}")).collect();
    Failure::new(exit, format!("{what}{}", reasons.concat()))
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

    #[test]
    fn what_came_to_a_verdict_at_this_commit_and_backend_is_not_done_again() {
        let file = std::env::temp_dir().join(format!("kafka-lab-finished-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        assert_eq!(finished(&file, "c1", Backend::Local).unwrap(), []);
        let (schema, backend) = (SCHEMA, Backend::Local);
        let line = |commit: &str, backend, drill, error| Unfinished {
            schema,
            commit: commit.into(),
            backend,
            drill,
            outcome: End::CouldNotTell,
            kept: false,
            without: Vec::new(),
            error,
        };
        append(&file, &line("c1", backend, "leader-kill", "a broker does not start")).unwrap();
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
        let done = finished(&file, "c1", backend).unwrap();
        let names: Vec<_> = done.iter().map(|done| (done.drill.as_str(), done.kept)).collect();
        assert_eq!(names, [("leader-kill", true), ("soak", true), ("leader-kill", false)]);
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
