//! Files that are damaged: no panic, no hang, nobody else's process harmed, and a way out that works as printed.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::damage::{Damage, STATE};
use super::{Planted, advice, soon};
use crate::common::Ran;

/// Where a file of [`STATE`] is.
fn path_of(state: &std::path::Path, name: &str, file: &str) -> std::path::PathBuf {
    state.join("kafka-lab").join(name).join(file.replace("NAME", name))
}

/// The documented exit codes of a command that nobody interrupts, except 1.
const DOCUMENTED: [i32; 7] = [0, 2, 3, 4, 5, 6, 7];

#[track_caller]
fn is_told(ran: &Ran, what: &str) {
    assert!(DOCUMENTED.contains(&ran.code), "{what}: {ran:?}");
    assert!(ran.code == 0 || ran.stderr.contains("fix: "), "{what}: no way out: {ran:?}");
}

/// One command where each file of a lab that is dead is damaged in turn, then `teardown`, by the advice if it needs
/// that.
fn on_a_dead_lab(args: &[&str]) {
    let mut count = 0;
    for (file, damages) in STATE {
        for damage in *damages {
            let lab = Planted::new("damaged");
            let what = format!("{file} {damage:?}, {args:?}");
            for (name, text) in [("kafka-1/process.json", "{}"), ("producer/state.json", "{}"), ("drill", "drill-1")] {
                fs::create_dir_all(lab.file(name).parent().unwrap()).unwrap();
                fs::write(lab.file(name), text).unwrap();
            }
            let path = path_of(&lab.state.0, "lab", file);
            if let (Damage::Says(..), Ok(text)) = (damage, fs::read_to_string(&path)) {
                // As `up` writes it.
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                fs::write(&path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
            }
            let precious = lab.precious();
            damage.inflict(&path, &precious);
            let ran = soon(&mut lab.command(args));
            is_told(&ran, &what);
            let mut last = soon(&mut lab.command(&["teardown"]));
            for _ in 0..2 {
                if last.code == 0 {
                    break;
                }
                // `up` would start servers, and what is left of the way out is the removal.
                let lines = advice::commands(&last).into_iter().filter(|line| !line.starts_with("cargo xtask up"));
                for line in lines {
                    advice::follow(&line, &lab.command(&[]), "");
                }
                last = soon(&mut lab.command(&["teardown"]));
            }
            assert_eq!(last.code, 0, "{what}, teardown: {last:?}");
            lab.is_precious();
            assert_eq!(fs::metadata(&precious).unwrap().permissions().mode() & 0o777, 0o644, "{what}");
            assert!(!lab.file("").exists(), "{what}: {last:?}");
            count += 1;
        }
    }
    assert!(count >= 40, "{count} damages");
}

#[test]
fn status_tells_of_each_damage() {
    on_a_dead_lab(&["status"]);
}

#[test]
fn verify_tells_of_each_damage() {
    on_a_dead_lab(&["verify"]);
}

#[test]
fn a_preview_of_up_tells_of_each_damage() {
    on_a_dead_lab(&["up", "--dry-run"]);
}

#[cfg(feature = "lab")]
mod of_a_running_lab {
    use std::path::PathBuf;
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process, test_kill_process};

    use super::super::damage::Damage::{Cut, Empty, Folder, Garbled, Gone, Names};
    use super::super::{cache_of_its_own, within};
    use super::*;
    use crate::common::lab::Lab;
    use crate::common::wait_for;

    /// Damage to files that only the start of a server reads, by a folder of the lab's or the cache.
    const AT_START: &[(&str, &[Damage])] = &[
        ("kafka-1/server.properties", &[Cut, Gone]),
        ("kafka-1/process.json", &[Cut, Gone]),
        ("kafka-1/data/meta.properties", &[Cut, Empty, Garbled]),
        ("CACHE/kafka-3.3.2-*/kafka-clients-3.3.2.jar", &[Cut, Garbled, Gone]),
        ("CACHE/kafka-3.3.2-*/checked", &[Cut, Folder]),
        ("CACHE/class-data/kafka-*.jsa", &[Cut, Garbled, Empty, Folder]),
        ("CACHE/class-data/kafka-*.jsa.checked", &[Cut, Gone]),
        ("CACHE/lock", &[Folder]),
    ];

    /// A limit for each command: `verify` may wait for clients twice.
    const LIMIT: Duration = Duration::from_secs(150);

    /// A lab with a cache of its own, and somebody else's process.
    struct Case {
        lab: Lab,
        cache: PathBuf,
        other: std::process::Child,
    }

    impl Case {
        fn new(name: &str) -> Self {
            let lab = Lab::new(name);
            let cache = cache_of_its_own(&lab.state.0);
            Case { lab, cache, other: Command::new("sleep").arg("6000").spawn().unwrap() }
        }

        fn command(&self, args: &[&str]) -> Command {
            let mut command = match args {
                ["up", rest @ ..] => self.lab.up_command(rest),
                args => self.lab.command(args),
            };
            command.env("XDG_CACHE_HOME", &self.cache);
            command
        }

        #[track_caller]
        fn run(&self, args: &[&str]) -> Ran {
            within(LIMIT, &mut self.command(args))
        }

        /// The path of a file; `CACHE` and one `*` are filled in.
        fn path(&self, file: &str) -> PathBuf {
            let Some(file) = file.strip_prefix("CACHE/") else {
                return path_of(&self.lab.state.0, &self.lab.name, file);
            };
            let mut path = self.cache.join("kafka-lab");
            for part in file.split('/') {
                let (before, after) = part.split_once('*').unwrap_or((part, ""));
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
                let mut names = names.filter(|name| name.starts_with(before) && name.ends_with(after));
                let found = names.next().filter(|_| part.contains('*'));
                path.push(found.unwrap_or_else(|| part.into()));
            }
            path
        }

        /// Damages a file and tries every command; `teardown` last.
        fn try_all(&mut self, file: &str, damage: Damage, dies: bool) {
            let what = format!("{file} {damage:?}");
            // Without flags: as the user would go on.
            let mut ran = self.run(&["up"]);
            if ran.code != 0 {
                // What was in the cache is there still: `teardown` leaves that alone.
                self.follow(&ran, &what);
                ran = self.run(&["up"]);
            }
            assert_eq!(ran.code, 0, "before {what}: {ran:?}");
            let precious = self.lab.state.0.join("precious");
            fs::write(&precious, "precious").unwrap();
            let inflict = |case: &Case| {
                damage.inflict(&case.path(file), &precious);
                if dies {
                    let pid = case
                        .lab
                        .processes()
                        .iter()
                        .find(|line| line.contains("/kafka-1 "))
                        .map(|line| line.split(' ').next().unwrap().parse().unwrap());
                    let pid = Pid::from_raw(pid.unwrap()).unwrap();
                    kill_process(pid, Signal::KILL).unwrap();
                    wait_for("its death", 30, || test_kill_process(pid).is_err());
                }
            };
            inflict(self);
            for args in [&["status"][..], &["verify", "--messages", "1000"]] {
                is_told(&self.run(args), &format!("{what}, {args:?}"));
                self.harmed_nobody(&what);
            }
            let mut up = self.run(&["up"]);
            is_told(&up, &format!("{what}, up"));
            for _ in 0..2 {
                if up.code != 0 {
                    self.follow(&up, &what);
                    up = self.run(&["up"]);
                }
            }
            assert_eq!(up.code, 0, "{what}: the advice does not help: {up:?}");
            let verify = self.run(&["verify", "--messages", "1000"]);
            assert_eq!(verify.code, 0, "{what}, after up: {verify:?}");

            inflict(self);
            let mut teardown = self.run(&["teardown"]);
            if teardown.code != 0 {
                self.follow(&teardown, &what);
                teardown = self.run(&["teardown"]);
            }
            assert_eq!(teardown.code, 0, "{what}, teardown: {teardown:?}");
            assert_eq!(self.lab.processes(), Vec::<String>::new(), "{what}: {teardown:?}");
            assert!(!self.lab.folder().exists(), "{what}: {teardown:?}");
            assert_eq!(fs::read_to_string(&precious).unwrap(), "precious", "{what}");
            self.harmed_nobody(&what);
            eprintln!("held: {what}");
        }

        fn follow(&self, ran: &Ran, what: &str) {
            let base = format!("--backend local --port-base {}", self.lab.base);
            for line in advice::commands(ran) {
                eprintln!("{what}: following `{line}`");
                advice::follow(&line, &self.command(&[]), &base);
            }
        }

        #[track_caller]
        fn harmed_nobody(&mut self, what: &str) {
            assert!(self.other.try_wait().unwrap().is_none(), "{what}: somebody else's process was ended");
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.other.id())).unwrap();
            assert!(!stat.contains(") T "), "{what}: somebody else's process was paused");
        }
    }

    impl Drop for Case {
        fn drop(&mut self) {
            let _ = self.command(&["teardown"]).output();
            let _ = self.other.kill();
            let _ = self.other.wait();
        }
    }

    /// Tries a share of the damages on a lab that runs.
    fn on_a_running_lab(name: &str, wanted: impl Fn(usize) -> bool) {
        let mut case = Case::new(name);
        let state = STATE.iter().map(|row| (row, false));
        let all = state.chain(AT_START.iter().map(|row| (row, true)));
        let all = all.flat_map(|((file, damages), dies)| damages.iter().map(move |damage| (*file, *damage, dies)));
        let mut count = 0;
        // To repeat some only.
        let only = std::env::var("KAFKA_LAB_DAMAGE").unwrap_or_default();
        let all = all.filter(|(file, damage, _)| format!("{file} {damage:?}").contains(&only));
        for (_, (file, damage, dies)) in all.enumerate().filter(|(n, _)| wanted(*n)) {
            case.try_all(file, damage, dies);
            count += 1;
        }
        // The record names somebody else's process, with everything but the mark.
        case.try_all("kafka-1/process.json", Names(case.other.id()), false);
        eprintln!("{} damages of a running lab, 6 commands each", count + 1);
    }

    #[test]
    #[ignore = "a long form"]
    fn each_damage_to_a_running_lab_has_a_way_out_1() {
        on_a_running_lab("damage-1", |n| n % 2 == 0);
    }

    #[test]
    #[ignore = "a long form"]
    fn each_damage_to_a_running_lab_has_a_way_out_2() {
        on_a_running_lab("damage-2", |n| n % 2 == 1);
    }
}
