//! What the tool itself survives: interruptions at every step, servers that die, full and read-only disks, odd paths.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::common::clients::Clients;
use crate::common::lab::Lab;
use crate::common::report::Report;
use crate::common::strike::strike;
use crate::common::{Dir, run, wait_for};

/// The events that count as a command's steps.
const STEPS: &[&str] = &["started"];

/// The limit for a command to end after an interruption or the death of a server.
const SOON: Duration = Duration::from_secs(20);

/// The limit for an interrupted drill, which first repairs the lab: a killed broker returns once ZooKeeper has expired
/// its session.
const MENDED: Duration = Duration::from_secs(90);

/// The events to interrupt a drill at: a drill is one step with many statuses.
const MOMENTS: &[&str] = &["started", "status"];

/// Sends `signal` at the `nth` of `events` and checks the exit code. Returns whether the event occurred.
#[track_caller]
fn interrupted(command: &mut Command, events: &[&str], nth: usize, signal: Signal) -> bool {
    interrupted_within(SOON, command, events, nth, signal)
}

/// Like [`interrupted`], with a limit for the command to end.
#[track_caller]
fn interrupted_within(limit: Duration, command: &mut Command, events: &[&str], nth: usize, signal: Signal) -> bool {
    let struck = strike(command, events, |count, _| count == nth, |pid| kill_process(pid, signal).unwrap());
    let allowed: &[i32] = match (struck.hit, signal) {
        (false, _) => &[0],
        // The command may have just finished.
        (true, Signal::INT) if struck.last => &[130, 0],
        (true, Signal::INT) => &[130],
        (true, _) => &[-Signal::KILL.as_raw()],
    };
    assert!(allowed.contains(&struck.ran.code), "{signal:?} at step {nth}: {:?}", struck.ran);
    assert!(struck.elapsed < limit, "{signal:?} at step {nth}: ended after {:?}", struck.elapsed);
    struck.hit
}

/// Checks that the lab has no other processes than its six, and none of them twice.
#[track_caller]
fn assert_no_strays(lab: &Lab, when: &str) {
    let lines = lab.processes();
    for name in ["zookeeper", "kafka-0", "kafka-1", "kafka-2", "producer", "consumer"] {
        let marks = [format!("mark={}/{name} ", lab.folder().display()), format!("/logs/{name}.log ")];
        let many = lines.iter().filter(|line| marks.iter().any(|mark| line.contains(mark))).count();
        assert!(many <= 1, "{when}: {many} of {name}: {lines:#?}");
    }
    assert!(lines.len() <= 6, "{when}: {lines:#?}");
}

/// Interrupts `up` at its first step, reruns it and interrupts it at its second, and so on; then completes it.
fn up_converges_after(signal: Signal, lab: &Lab) {
    let mut steps = 0;
    while interrupted(&mut lab.up_command(&[]), STEPS, steps + 1, signal) {
        steps += 1;
        assert_no_strays(lab, &format!("{signal:?} at step {steps} of up"));
    }
    assert_eq!(steps, 13, "steps of up");
    let up = lab.up(&[]);
    for title in ["zookeeper", "kafka-0", "kafka-1", "kafka-2", "topic test", "producer", "consumer"] {
        assert_eq!(up.state(title), "unchanged", "{title} in {}", up.0);
    }
    assert_eq!(lab.processes().len(), 6, "{:#?}", lab.processes());
}

/// Interrupts `teardown` likewise, then completes it.
fn teardown_converges_after(signal: Signal, lab: &Lab) {
    let mut nth = 1;
    while lab.folder().exists() && interrupted(&mut lab.command(&["teardown"]), STEPS, nth, signal) {
        assert_no_strays(lab, &format!("{signal:?} at step {nth} of teardown"));
        nth += 1;
    }
    assert!(nth > 6, "teardown was over after {nth} interruptions");
    lab.run(&["teardown"]).expect(0);
    lab.assert_nothing_left();
}

#[test]
fn up_and_teardown_interrupted_at_every_step_then_run_again_converge() {
    for (name, signal) in [("int", Signal::INT), ("kill", Signal::KILL)] {
        let lab = Lab::new(name);
        up_converges_after(signal, &lab);
        // `up` also works after an interrupted teardown.
        interrupted(&mut lab.command(&["teardown"]), STEPS, 4, signal);
        lab.up(&[]);
        assert_eq!(lab.processes().len(), 6, "{:#?}", lab.processes());
        if signal == Signal::KILL {
            lab.verify(0);
        }
        teardown_converges_after(signal, &lab);
    }
}

/// Interrupts at a few moments; with `KAFKA_LAB_MOMENTS=all`, at every moment with both signals.
#[test]
fn a_drill_interrupted_at_any_moment_mends_or_leaves_it_to_the_next() {
    let lab = Lab::new("drilled");
    lab.up(&["--no-clients"]);
    let all = std::env::var("KAFKA_LAB_MOMENTS").is_ok_and(|value| value == "all");
    let (stride, turns) = if all { (1, 2) } else { (5, 1) };
    for turn in 0..turns {
        let signal = |moment: usize| [Signal::INT, Signal::KILL][(moment + turn) % 2];
        let mut moment = stride;
        let drill = || lab.command(&["drill", "leader-kill"]);
        while interrupted_within(MENDED, &mut drill(), MOMENTS, moment, signal(moment)) {
            let left: Vec<_> = lab.processes().into_iter().filter(|line| line.contains("/logs/drills/")).collect();
            assert!(signal(moment) == Signal::KILL || left.is_empty(), "{moment}: {left:#?}");
            moment += stride;
        }
        eprintln!("a drill was interrupted up to moment {}", moment - stride);
        assert!(moment > 10, "a drill had no more than {moment} moments");
        // The last drill was not interrupted: it kept its promise and removed what the others had left.
        assert_eq!(lab.run(&["kafka-topics", "--", "--list"]).expect(0).stdout.trim(), "test");
        assert_eq!(lab.processes().len(), 4, "{:#?}", lab.processes());
    }
    lab.verify(0);
    lab.teardown();
}

#[test]
fn a_server_that_dies_under_up_is_the_cause_and_nothing_hangs() {
    let lab = Lab::new("dies");
    for (step, victim) in [("kafka-0", "zookeeper"), ("brokers serve", "zookeeper"), ("topic test", "kafka-1")] {
        let struck = strike(
            &mut lab.up_command(&["--no-clients"]),
            STEPS,
            |_, title| title == step,
            |_| {
                lab.kill(victim);
            },
        );
        assert!(struck.hit, "{step}: {:?}", struck.ran);
        // With two of three brokers, a message may get through before the death is noticed.
        if struck.ran.code != 0 || victim == "zookeeper" {
            let report = Report::of(&struck.ran, 4);
            let cause = format!("{victim} (pid ");
            let steps = report.0["steps"].as_array().unwrap();
            let named = |step: &Value| step["failure"]["what"].as_str().is_some_and(|what| what.starts_with(&cause));
            assert!(steps.iter().any(named), "{step}: {}", report.0);
            assert!(struck.elapsed < SOON, "{step}: ended after {:?}", struck.elapsed);
        }
    }
    lab.up(&["--no-clients"]);
    lab.teardown();
}

/// Ends a server outside xtask, which leaves its record, so that it counts as died.
fn end(lab: &Lab, server: &str) {
    let pid = lab.pid(server);
    kill_process(pid, Signal::TERM).unwrap();
    let proc = format!("/proc/{}/fd", pid.as_raw_nonzero());
    wait_for("its end", 30, || std::fs::read_dir(&proc).is_err());
}

#[test]
fn wrong_server_data_is_reported_at_once_with_its_fix() {
    let lab = Lab::new("data");
    lab.up(&["--no-clients"]);
    let data = |server: &str| lab.folder().join(server).join("data");
    let refused = |words: &[&str]| {
        let begin = std::time::Instant::now();
        run(&mut lab.up_command(&["--no-clients"])).expect(4).says(words);
        assert!(begin.elapsed() < SOON, "{words:?}: after {:?}", begin.elapsed());
    };
    let teardown = format!("`cargo xtask teardown --name {}`, then `cargo xtask up --name {}`", lab.name, lab.name);

    end(&lab, "kafka-1");
    let meta = data("kafka-1").join("meta.properties");
    let own = std::fs::read_to_string(&meta).unwrap();
    std::fs::write(&meta, own.replace("broker.id=1", "broker.id=2")).unwrap();
    refused(&["kafka-1 has another broker's data: its meta.properties has broker.id=2", &teardown]);
    let cluster = own.lines().find_map(|line| line.strip_prefix("cluster.id=")).unwrap();
    std::fs::write(&meta, own.replace(cluster, &"A".repeat(cluster.len()))).unwrap();
    refused(&["its data and ZooKeeper's belong to two Kafka clusters", "(The Cluster ID ", &teardown]);
    std::fs::write(&meta, &own).unwrap();

    let lock = std::fs::OpenOptions::new().write(true).open(data("kafka-1").join(".lock")).unwrap();
    rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(&["another process uses its data (Failed to acquire lock", "fix: end the other process"]);
    drop(lock);

    let aside = lab.folder().join("aside");
    std::fs::rename(data("kafka-1"), &aside).unwrap();
    std::fs::write(data("kafka-1"), "no folder").unwrap();
    refused(&["its data cannot be written", "fix: make the folder writable and owned by its user"]);
    std::fs::remove_file(data("kafka-1")).unwrap();
    std::fs::rename(&aside, data("kafka-1")).unwrap();
    lab.up(&["--no-clients"]);

    // A ZooKeeper that knows less than the running brokers have seen rejects them, and they wait.
    let kept = |name: &str| {
        let aside = lab.folder().join(name);
        end(&lab, "zookeeper");
        std::fs::rename(data("zookeeper"), &aside).unwrap();
        aside
    };
    let emptied = kept("kept");
    for _ in 0..2 {
        refused(&["ZooKeeper has lost its data", "kafka-0, kafka-1, kafka-2 still have theirs", &teardown]);
    }
    std::fs::create_dir_all(data("zookeeper").join("version-2")).unwrap();
    std::fs::write(data("zookeeper").join("version-2/snapshot.0"), "of another").unwrap();
    refused(&["ZooKeeper has lost its data, or has another cluster's", &teardown]);
    std::fs::remove_dir_all(data("zookeeper")).unwrap();
    std::fs::rename(&emptied, data("zookeeper")).unwrap();
    lab.up(&["--no-clients"]);

    // A full disk leaves a log without its header, with which ZooKeeper does not start.
    end(&lab, "zookeeper");
    let headless = data("zookeeper").join("version-2/log.7fffffff");
    std::fs::write(&headless, "ZK").unwrap();
    run(&mut lab.up_command(&["--no-clients"])).expect(0).says(&["log.7fffffff, which a full disk left empty"]);
    assert!(!headless.exists());

    // A paused server is known to give no answer, so no tool waits for it. The proof may: Kafka moves the leaders.
    let of_kafka = ["kafka-1 is paused", "kafka-1 is paused: kafka-topics could wait for its answer"];
    let of_zookeeper = ["zookeeper (pid", "ZooKeeper does not answer: it accepts connections"];
    for (server, words) in [("kafka-1", of_kafka), ("zookeeper", of_zookeeper)] {
        kill_process(lab.pid(server), Signal::STOP).unwrap();
        lab.run(&["verify"]).expect(5).says(&words);
        kill_process(lab.pid(server), Signal::CONT).unwrap();
    }
    wait_for("a lab that passes again", 60, || lab.run(&["verify"]).code == 0);
    end(&lab, "zookeeper");
    std::fs::write(&headless, format!("ZKLG{}", "\0".repeat(8))).unwrap();
    for entry in std::fs::read_dir(data("zookeeper").join("version-2")).unwrap() {
        std::fs::write(entry.unwrap().path(), "garbled, and longer than the header of a log").unwrap();
    }
    refused(&[&teardown]);
    lab.teardown();
}

/// A small file system mounted on a folder, unmounted when the test ends.
pub struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    /// Mounts it; `None` without permission.
    pub fn mounted(at: &'a Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).stderr(Stdio::null());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Disk(at));
        }
        eprintln!("skipped: only root can mount a small disk");
        None
    }

    fn remount(&self, how: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.0).status().unwrap();
        assert!(status.success(), "remount,{how}");
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.0).status();
    }
}

/// Writes until the disk is full.
pub fn fill(file: &Path) {
    let mut file = std::fs::File::create(file).unwrap();
    let block = vec![0; 1024 * 1024];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
}

#[test]
fn a_full_disk_is_reported_before_and_while_it_fills() {
    let folder = Dir::new("full");
    {
        let Some(_disk) = Disk::mounted(&folder.0, "8m") else { return };
        let lab = Lab::at(Dir(folder.0.join("state")), "small");
        let words = ["MiB are free in ", "the lab's data needs 512 MiB", "XDG_STATE_HOME"];
        run(&mut lab.up_command(&[])).expect(3).says(&words);
        lab.assert_nothing_left();
    }

    let Some(_disk) = Disk::mounted(&folder.0, "700m") else { return };
    let lab = Lab::at(Dir(folder.0.join("state")), "fills");
    let filler = folder.0.join("filler");
    let zookeeper = |_, title: &str| title == "zookeeper";
    let struck = strike(&mut lab.up_command(&["--no-clients"]), STEPS, zookeeper, |_| fill(&filler));
    assert!(struck.hit);
    let report = Report::of(&struck.ran, 4);
    // Either xtask or a server got the error, or xtask found the disk full after a server died silently.
    let causes = ["No space left on device", "no space is left on the disk of "];
    assert!(causes.iter().any(|cause| report.0.to_string().contains(cause)), "{}", report.0);
    assert!(struck.elapsed < Duration::from_secs(60), "ended after {:?}", struck.elapsed);
    // teardown works on a full disk.
    lab.run(&["teardown"]).expect(0);
    lab.assert_nothing_left();
    // With free space, up works again.
    std::fs::remove_file(&filler).unwrap();
    lab.up(&[]);
    // A client that ends for want of space says so in its log, for those who come when there is space again.
    let log = folder.0.join("log");
    let args = ["consumer", "--topic", "test", "--verifiable", "--log-file", log.to_str().unwrap()];
    let mut client = Clients::of(&lab).command(&args).stdout(Stdio::null()).spawn().unwrap();
    wait_for("records in the log", 60, || std::fs::metadata(&log).is_ok_and(|log| log.len() > 10_000));
    fill(&filler);
    assert_eq!(client.wait().unwrap().code(), Some(1));
    let text = std::fs::read_to_string(&log).unwrap();
    let (others, last) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(last.contains("cannot be written: No space left on device; stopping"), "{last}");
    assert!(others.lines().all(|line| line.starts_with('2') || line.starts_with('{')), "a torn line: {others}");
    std::fs::remove_file(&filler).unwrap();
    lab.teardown();
}

#[test]
fn a_read_only_state_folder_is_reported_and_works_once_it_is_writable() {
    let folder = Dir::new("read-only");
    let Some(disk) = Disk::mounted(&folder.0, "8m") else { return };
    let lab = Lab::at(Dir(folder.0.join("state")), "read-only");
    std::fs::create_dir(folder.0.join("state")).unwrap();
    disk.remount("ro");
    let words = ["cannot create ", "Read-only file system", "make it writable, or set XDG_STATE_HOME"];
    run(&mut lab.up_command(&[])).expect(3).says(&words);
    lab.run(&["verify"]).expect(6);
    lab.run(&["teardown"]).expect(0);
    disk.remount("rw");
    lab.assert_nothing_left();
}

#[test]
fn a_long_path_with_spaces_and_non_ascii_letters_works() {
    let part = "Ordner mit Leerzeichen, 日本語 & 'Anführung' $HOME ".replace(',', "") + &"lang ".repeat(20);
    let long = format!("{}/{}/{}", part.trim(), part.trim(), part.trim());
    let folder = Dir::new("long");
    let lab = Lab::at(Dir(folder.0.join(long)), "long");
    assert!(lab.folder().as_os_str().len() > 450);
    lab.up(&[]);
    wait_for("the clients' counts", 30, || lab.folder().join("consumer/state.json").exists());
    assert_no_strays(&lab, "long path");
    assert_eq!(lab.processes().len(), 6, "{:#?}", lab.processes());
    lab.run(&["status"]).expect(0);
    lab.teardown();

    // A name that no file system accepts is refused, with the reason.
    let far = Lab::at(Dir(folder.0.join("x".repeat(300))), "far");
    run(&mut far.up_command(&[])).expect(3).says(&["File name too long", "XDG_STATE_HOME"]);
    far.assert_nothing_left();
}
