//! Disks that are full, of bytes or of inodes, at many moments.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::advice;
use crate::common::lab::Lab;
use crate::common::strike::strike;
use crate::common::{Dir, run};
use crate::survive::{Disk, fill};

/// A limit for a command after its disk is full.
const LIMIT: Duration = Duration::from_secs(150);

/// What there is no more of.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Bytes,
    Inodes,
}

impl Lack {
    /// Takes all of it, in a folder.
    fn take(self, at: &Path) {
        match self {
            Lack::Bytes => fill(at),
            Lack::Inodes => {
                fs::create_dir(at).unwrap();
                let mut n = 0;
                while fs::write(at.join(format!("{n}")), "").is_ok() {
                    n += 1;
                }
            }
        }
    }

    fn give_back(at: &Path) {
        let _ = fs::remove_file(at).or_else(|_| fs::remove_dir_all(at));
    }
}

/// Every record and state file of the lab, except those being written.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
}

/// Fills the disk at the `nth` step of a command.
#[track_caller]
fn at(lab: &Lab, disk: &Path, lack: Lack, args: &[&str], nth: usize) {
    let what = format!("no {lack:?} from step {nth} of {args:?}");
    let filler = disk.join("filler");
    let mut command = match args {
        ["up", rest @ ..] => lab.up_command(rest),
        args => lab.command(args),
    };
    let struck = strike(&mut command, &["started"], |n, _| n == nth, |_| lack.take(&filler));
    assert!(struck.hit, "{what}: {:?}", struck.ran);
    let ran = struck.ran;
    assert!(struck.elapsed < LIMIT, "{what}: {:?}", struck.elapsed);
    assert!(![101, 1].contains(&ran.code) && !ran.stderr.contains("panicked"), "{what}: {ran:?}");
    if args[0] == "verify" && ran.code == 0 {
        let report = ran.json("kafka-lab.report/1").pop().unwrap();
        assert_eq!(report["flow"]["verdict"], "pass", "{what}: {report}");
    }
    let mut records = Vec::new();
    files(&lab.folder(), &mut records);
    for file in records {
        let text = fs::read_to_string(&file).unwrap();
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{what}: {} has {text:?}", file.display());
    }
    if nth.is_multiple_of(2) {
        // `teardown` works without a free byte or inode.
        lab.run(&["teardown"]).expect(0);
        assert_eq!(lab.processes(), Vec::<String>::new(), "{what}");
        assert!(!lab.folder().exists(), "{what}");
    }
    Lack::give_back(&filler);
    let mut up = run(&mut lab.up_command(&[]));
    if up.code != 0 {
        let lines = advice::commands(&up);
        assert!(!lines.is_empty(), "{what}, up says not what to do: {up:?}");
        let base = format!("--backend local --port-base {}", lab.base);
        for line in lines {
            eprintln!("{what}: following `{line}`");
            advice::follow(&line, &lab.command(&[]), &base);
        }
        up = run(&mut lab.up_command(&[]));
    }
    assert_eq!(up.code, 0, "{what}, after freeing: {up:?}");
    let verify = lab.run(&["verify"]);
    if verify.code != 0 {
        assert!(!advice::commands(&verify).is_empty(), "{what}, verify says not what to do: {verify:?}");
        eprintln!(
            "{what}: verify after freeing: {}",
            verify.stderr.lines().rev().take(8).collect::<Vec<_>>().join("|")
        );
    }
    eprintln!("held: {what}, exit code {}", ran.code);
    lab.run(&["teardown"]).expect(0);
}

/// A lab on a small disk; `None` without permission to mount one.
fn on_a_small_disk(name: &str, test: impl Fn(&Lab, &Path)) {
    let folder = Dir::new(name);
    let Some(_disk) = Disk::mounted(&folder.0, "800m,nr_inodes=3000") else { return };
    let lab = Lab::at(Dir(folder.0.join("state")), name);
    test(&lab, &folder.0);
    drop(lab);
}

#[test]
fn inodes_that_run_out_while_brokers_start_are_told() {
    on_a_small_disk("inodes", |lab, disk| at(lab, disk, Lack::Inodes, &["up", "--no-clients"], 8));
}

#[test]
#[ignore = "a long form"]
fn a_disk_that_is_full_at_many_moments_makes_no_false_pass_and_leaves_a_way_out() {
    on_a_small_disk("bytes", |lab, disk| {
        for nth in 1..=13 {
            let lack = if nth % 3 == 0 { Lack::Inodes } else { Lack::Bytes };
            at(lab, disk, lack, &["up"], nth);
        }
        for (nth, lack) in [(2, Lack::Bytes), (9, Lack::Inodes), (13, Lack::Bytes)] {
            lab.up(&[]);
            at(lab, disk, lack, &["verify"], nth);
        }
        for (nth, lack) in [(1, Lack::Bytes), (6, Lack::Inodes)] {
            lab.up(&[]);
            at(lab, disk, lack, &["teardown"], nth);
        }
        lab.up(&[]);
        at(lab, disk, Lack::Bytes, &["drill", "leader-kill"], 3);
    });
}
