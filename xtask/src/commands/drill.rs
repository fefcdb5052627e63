//! `drill …`: breaks the lab on purpose, and reports whether every promise was kept.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::backend::{Backend, Reach};
use crate::cli::{DrillArgs, Format};
use crate::commands::session::Session;
use crate::config::Lab;
use crate::coordination::Release;
use crate::drill::control::Without;
use crate::drill::faults::{FAULTS, Fault, Scenario, by_name};
use crate::drill::outcome::{DrillResult, RecordedDrill};
use crate::drill::run::{Drill, Options, commit};
use crate::drill::text;
use crate::failure::{Exit, Failure, IoContext, Result};
use crate::files::own::{open_regular, open_regular_with};
use crate::journal::Journal;
use crate::junit::{self, Suite};
use crate::plan::{self, Plan};
use crate::run::{self, StepEnd};
use crate::show::{self, print_json, print_text};
use crate::system::lack_of_space;
use crate::task::{Ctx, Outcome};
use crate::words::closest;

/// The file of `drill matrix`, in the working directory.
const MATRIX: &str = "drills.jsonl";

/// The names that stand for several faults.
pub const SEVERAL: [&str; 3] = ["all", "matrix", "soak"];

/// The bytes of a message in a log: 105 were measured, 100 of them the value.
const BYTES: u64 = 120;

impl Session<'_> {
    /// `drill …`.
    ///
    /// # Errors
    /// Nothing is up, a fault's name is wrong, or a drill could not be finished.
    pub fn drill(&self, args: &DrillArgs) -> Result<Exit> {
        if args.list {
            print_text(&text::list());
            return Ok(Exit::Ok);
        }
        // Wrong arguments are reported before a missing lab.
        scenarios(args, None)?;
        let junit = args.junit.as_deref().filter(|_| !self.global.dry_run);
        junit::reported(junit, "drill", |suite| self.drilled(args, suite))
    }

    /// Runs the drills, adds them to `suite`, and prints the results.
    fn drilled(&self, args: &DrillArgs, suite: &mut Suite) -> Result<Exit> {
        let out = out_file(args)?;
        let (lab, jars) = self.recorded()?;
        let plan = drill_plan(args, out.as_deref(), &self.ctx(&lab, &jars, self.stop))?;
        if self.global.dry_run {
            return Ok(self.dry_run("drill", &lab, &jars, &plan));
        }
        for scenario in scenarios(args, Some((lab.backend, lab.release)))? {
            enough_disk(&lab, scenario, args.rate)?;
        }
        if let Some(file) = &out {
            // Before anything breaks.
            open_results(file).map_err(|failure| Failure { exit: Exit::Usage, ..failure })?;
        }
        let _lock = self.lock("drill")?;
        // Another command may have changed the lab, or the file, while we waited for the lock.
        let (lab, jars) = self.recorded()?;
        let stop = self.stop.next_plan();
        let ctx = self.ctx(&lab, &jars, &stop);
        let plan = drill_plan(args, out.as_deref(), &ctx)?;
        let journal = Journal::of("drill", &lab);
        let events = show::events("drill", &lab.name, self.global, self.env, journal.clone());
        let mut take = |outcome: &Outcome| match &outcome.drill {
            Some(result) => {
                journal.add(result);
                publish(result, lab.format, out.as_deref())
            }
            None => Ok(()),
        };
        let report = run::run(&plan, &ctx, &events, &lab.logs().join("steps").join("drill"), &mut take);
        suite.add_steps(&report);
        let exit = report.exit();
        let unfinished = report.steps.into_iter().filter_map(|step| match step.end {
            StepEnd::Done(Outcome { drill: Some(result), .. }) => result.failure(),
            _ => None,
        });
        // The failure that stopped the plan or a drill is reported in full, unless another drill found something worse.
        match report.failures.into_iter().chain(unfinished).find(|failure| failure.exit == exit) {
            Some(failure) => Err(failure),
            None => Ok(exit),
        }
    }
}

/// The file that each result is appended to.
fn out_file(args: &DrillArgs) -> Result<Option<PathBuf>> {
    let matrix = args.faults.iter().any(|name| name == "matrix").then(|| MATRIX.into());
    match args.out.clone().or(matrix) {
        None if args.resume => {
            Err(Failure::usage("--resume needs a file to continue").fix("--out FILE, or `drill matrix`"))
        }
        out => Ok(out),
    }
}

/// Plans the drills that `args` ask for. With `--resume`, those that `out` already has are skipped steps.
fn drill_plan(args: &DrillArgs, out: Option<&Path>, ctx: &Ctx<'_>) -> Result<Plan> {
    let lab = ctx.lab;
    let scenarios = scenarios(args, Some((lab.backend, lab.release)))?;
    let brokers = &lab.facts.brokers;
    if brokers.count != 3 || brokers.replication_factor != 3 || brokers.min_insync_replicas != 2 {
        let what = format!(
            "kafka.yml has {} brokers, replication factor {} and min.insync.replicas {}: drills promise for 3, 3 and 2",
            brokers.count, brokers.replication_factor, brokers.min_insync_replicas
        );
        return Err(Failure::usage(what).fix("set them as the committed kafka.yml does, and run `cargo xtask up`"));
    }
    let combined = lab.facts.coordinator.count == 0;
    let (scenarios, left_out): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| !(combined && scenario.needs_controllers()));
    if let Some(scenario) = left_out.iter().find(|scenario| args.faults.iter().any(|name| name == scenario.name())) {
        let what = format!("{} needs controllers of their own; here the brokers are the controllers", scenario.name());
        return Err(Failure::usage(what).fix("use a StatefulSet controller, as the committed kraft/kafka.yml does"));
    }
    let mut done = match out.filter(|_| args.resume) {
        Some(file) => recorded(file, &commit(ctx, Path::new("/dev/null")), (lab.backend, lab.release))?,
        None => Vec::new(),
    };
    let options = Options { rate: args.rate, keep_topic: args.keep_topic, without: Without::of(&args.without) };
    let drills = scenarios.into_iter().map(|scenario| {
        // Each recorded drill stands for one.
        let found = done.iter().position(|done| done.is(scenario, options.rate, &options.without.parts()));
        Drill { scenario, options, recorded: found.and_then(|at| done.swap_remove(at).outcome()) }
    });
    Ok(plan::drill(&drills.collect::<Vec<_>>()))
}

/// Returns the faults that drills can cause on a lab.
pub(super) fn offered(lab: &Lab) -> Vec<&'static Fault> {
    let combined = lab.facts.coordinator.count == 0;
    let runs = |fault: &&'static Fault| {
        fault.runs_on(lab.backend)
            && fault.not_in(lab.release.mode).is_none()
            && !(combined && Scenario::One(fault).needs_controllers())
    };
    FAULTS.iter().filter(runs).collect()
}

/// Prints the result of a drill and appends it to the file.
fn publish(result: &DrillResult, format: Format, out: Option<&Path>) -> Result<()> {
    match (format, result) {
        (Format::Json, result) => print_json(result),
        (Format::Text, DrillResult::Finished(drill)) => print_text(&format!("{}\n", drill.text())),
        (Format::Text, DrillResult::Unfinished(_)) => {}
    }
    out.map_or(Ok(()), |file| append(file, result))
}

/// Checks the free disk space for a soak, whose topic keeps every message on every replica.
fn enough_disk(lab: &Lab, scenario: Scenario, rate: u32) -> Result<()> {
    let (Scenario::Soak { duration, .. }, Reach::Processes) = (scenario, lab.backend.reaches()) else { return Ok(()) };
    let need = duration
        .as_secs()
        .saturating_mul(rate.into())
        .saturating_mul(BYTES)
        .saturating_mul(lab.facts.brokers.replication_factor.into());
    match lack_of_space(&lab.state, need, "this soak") {
        Some(lack) => {
            Err(Failure::new(Exit::Preflight, lack)
                .fix("free some space, or use a lower --rate or a shorter --duration"))
        }
        None => Ok(()),
    }
}

/// Where and with which Kafka drills run.
type Place = (Backend, Release);

/// Reads the drills of this commit and place from a file: those that were kept or broken.
fn recorded(file: &Path, commit: &str, (backend, kafka): Place) -> Result<Vec<RecordedDrill>> {
    let found = match open_regular(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found.cannot("read", file)?,
    };
    let lines = BufReader::new(found).lines().collect::<std::io::Result<Vec<_>>>().cannot("read", file)?;
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<RecordedDrill>(line).ok());
    Ok(lines.filter(|line| line.is_of(commit, backend, kafka) && line.outcome().is_some()).collect())
}

/// Opens the file of results to add to it; creates it if it is absent.
fn open_results(file: &Path) -> Result<fs::File> {
    let opened = open_regular_with(file, fs::OpenOptions::new().create(true).append(true)).cannot("write", file);
    opened.map_err(|failure| failure.fix_unless_known("`--out FILE` names a file in a folder that exists"))
}

fn append(file: &Path, drill: &impl Serialize) -> Result<()> {
    let mut out = open_results(file)?;
    let line = serde_json::to_string(drill).map_err(|error| Failure::step(error.to_string()))?;
    writeln!(out, "{line}").cannot("write", file)
}

/// Returns what `args` ask for, in order. With a `place`, `all` has the faults that it allows.
fn scenarios(args: &DrillArgs, place: Option<Place>) -> Result<Vec<Scenario>> {
    let runs = |fault: &Fault| {
        place.is_none_or(|(backend, release)| fault.runs_on(backend) && fault.not_in(release.mode).is_none())
    };
    if args.faults.is_empty() {
        return Err(
            Failure::usage("which fault? Name one or more, or `all`, `matrix`, `soak`").fix("cargo xtask drill --list")
        );
    }
    let soak = Scenario::Soak { seed: args.seed, duration: Duration::from_secs(args.duration) };
    let mut scenarios = Vec::new();
    for name in &args.faults {
        match (name.as_str(), by_name(name)) {
            ("all" | "matrix", _) => scenarios.extend(FAULTS.iter().filter(|fault| runs(fault)).map(Scenario::One)),
            ("soak", _) => scenarios.push(soak),
            (_, Some(fault)) if runs(fault) => scenarios.push(Scenario::One(fault)),
            (_, Some(fault)) => {
                let fix = "`cargo xtask drill --list` shows where each can be done";
                let why = place.and_then(|(_, release)| Some((release, fault.not_in(release.mode)?)));
                let what = match (why, place) {
                    (Some((release, why)), _) => {
                        format!("{} cannot be done with Kafka {release}, which this lab runs: {why}", fault.name)
                    }
                    (None, Some((backend, _))) => {
                        format!("{} cannot be done on {backend}, where this lab runs", fault.name)
                    }
                    (None, None) => format!("{} cannot be done", fault.name),
                };
                return Err(Failure::usage(what).fix(fix));
            }
            (_, None) => {
                let names = FAULTS.iter().map(|fault| fault.name).chain(SEVERAL);
                let fix = match closest(name, names) {
                    Some(meant) => format!("did you mean {meant}? `cargo xtask drill --list` lists all"),
                    None => "`cargo xtask drill --list` lists all".into(),
                };
                return Err(Failure::usage(format!("there is no fault {name}")).fix(fix));
            }
        }
    }
    Ok(std::iter::repeat_n(scenarios, args.rounds as usize).flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::releases::RELEASES;
    use crate::drill::outcome::{Conclusion, DrillOutcome, SCHEMA, Unfinished};

    /// The course's Kafka on a backend.
    fn place(backend: Backend) -> Place {
        (backend, Release::default())
    }

    #[test]
    fn drills_with_a_verdict_at_this_commit_and_backend_are_skipped() {
        let file = std::env::temp_dir().join(format!("kafka-lab-finished-{}", std::process::id()));
        let _ = fs::remove_file(&file);
        assert!(recorded(&file, "c1", place(Backend::Local)).unwrap().is_empty());
        let line = |drill, failure: Failure| Unfinished {
            schema: SCHEMA,
            commit: "c1".into(),
            backend: Backend::Local,
            kafka: Release::default().to_string(),
            drill,
            conclusion: Conclusion::unfinished(&failure),
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
        let done = recorded(&file, "c1", place(Backend::Local)).unwrap();
        let names: Vec<_> = done.iter().map(|done| (done.drill.as_str(), done.outcome().unwrap())).collect();
        let (kept, broken) = (DrillOutcome::Kept, DrillOutcome::Broken);
        assert_eq!(names, [("leader-kill", kept), ("soak", kept), ("leader-kill", broken)]);
        let [.., other] = RELEASES;
        assert!(recorded(&file, "c1", (Backend::Local, other)).unwrap().is_empty(), "another Kafka, other drills");
        let soak = |seed, seconds| Scenario::Soak { seed, duration: Duration::from_secs(seconds) };
        let kill = Scenario::One(by_name("leader-kill").unwrap());
        assert!(done[0].is(kill, 200, &[]) && !done[0].is(kill, 300, &[]) && !done[0].is(soak(1, 60), 200, &[]));
        assert!(
            done[1].is(soak(1, 60), 200, &[])
                && !done[1].is(soak(2, 60), 200, &[])
                && !done[1].is(soak(1, 61), 200, &[])
        );
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn rounds_repeat_what_the_backend_allows_in_order() {
        let args = |faults: &[&str], rounds| DrillArgs {
            faults: faults.iter().map(ToString::to_string).collect(),
            rounds,
            list: false,
            rate: 200,
            out: None,
            resume: false,
            keep_topic: false,
            junit: None,
            without: Vec::new(),
            seed: 1,
            duration: 1,
        };
        let titles = |scenarios: Vec<Scenario>| scenarios.into_iter().map(Scenario::name).collect::<Vec<_>>();
        let twice = scenarios(&args(&["leader-kill", "soak"], 2), Some(place(Backend::Local))).unwrap();
        assert_eq!(titles(twice), ["leader-kill", "soak", "leader-kill", "soak"]);
        let on_kind = titles(scenarios(&args(&["all"], 1), Some(place(Backend::Kind))).unwrap());
        assert!(on_kind.contains(&"pod-delete") && !on_kind.contains(&"leader-kill"), "{on_kind:?}");
        assert_eq!(scenarios(&args(&["leader-kill"], 1), Some(place(Backend::Kind))).unwrap_err().exit, Exit::Usage);
        let [.., kraft] = RELEASES;
        let all = titles(scenarios(&args(&["all"], 1), Some((Backend::Local, kraft))).unwrap());
        assert!(all.contains(&"active-controller-kill") && all.contains(&"leader-kill"), "{all:?}");
        assert!(!all.contains(&"zookeeper-kill") && !all.contains(&"controller-kill"), "{all:?}");
        let refused = scenarios(&args(&["zookeeper-kill"], 1), Some((Backend::Local, kraft))).unwrap_err();
        assert!(refused.message.contains("it breaks ZooKeeper, which KRaft does not have"), "{refused}");
        assert_eq!(scenarios(&args(&["no-such"], 1), None).unwrap_err().exit, Exit::Usage);
        for (typed, meant) in [("leader-kil", "leader-kill"), ("sok", "soak"), ("kill-leader", "leader-kill")] {
            let fix = scenarios(&args(&[typed], 1), None).unwrap_err().fix.unwrap();
            assert!(fix.starts_with(&format!("did you mean {meant}? ")), "{typed}: {fix}");
        }
        assert!(!scenarios(&args(&["zzz"], 1), None).unwrap_err().fix.unwrap().contains("did you mean"));
    }
}
