//! Commands that are killed or interrupted at random moments: the next command converges, and nothing is left.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{REDIRECTIONS, redirected, tempfile, text_of};
use crate::common::lab::Lab;
use crate::common::wait_for;

/// A limit for the end of a command after a signal: a drill mends first.
const ENDS: Duration = Duration::from_secs(90);

/// A limit for a whole command.
const LIMIT: Duration = Duration::from_secs(240);

const DRILL: &[&str] = &["drill", "leader-pause-long"];
const VERIFY: &[&str] = &["verify", "--messages", "4000"];

/// Random numbers whose seed is printed. `KAFKA_LAB_SEED` sets it.
fn random() -> fastrand::Rng {
    let seed = std::env::var("KAFKA_LAB_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    eprintln!("KAFKA_LAB_SEED={seed} repeats these moments");
    fastrand::Rng::with_seed(seed)
}

/// The command of a lab.
fn command(lab: &Lab, args: &[&str]) -> Command {
    match args {
        ["up", rest @ ..] => lab.up_command(rest),
        args => lab.command(args),
    }
}

/// Runs a command and sends it `signals`, each after a time. Returns the exit code, or the negative signal: `expected`,
/// or that of a command that was faster. A drill that had little time to be seen may not be able to tell.
#[track_caller]
fn struck(command: &mut Command, signals: &[(Duration, Signal)], expected: i32) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let mut output = tempfile();
    let (stdout, stderr) = (output.try_clone().unwrap(), output.try_clone().unwrap());
    let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    for (after, signal) in signals {
        let due = Instant::now() + *after;
        while Instant::now() < due && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
        if child.try_wait().unwrap().is_none() {
            kill_process(pid, *signal).unwrap();
        }
    }
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > ENDS {
            child.kill().unwrap();
            panic!("{command:?} goes on for {ENDS:?} after {signals:?}: {}", text_of(&mut output));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = text_of(&mut output);
    assert!(!text.contains("panicked") && status.code() != Some(101), "{command:?}: {text}");
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
    let is_drill = command.get_args().any(|arg| arg == "drill");
    // On a busy machine, a signal can come before the program has begun.
    let had_not_begun = text.is_empty() && signals.iter().any(|(_, signal)| code == -signal.as_raw());
    let allowed = [expected, 0].contains(&code) || (is_drill && code == 7) || had_not_begun;
    assert!(allowed, "{command:?} after {signals:?}: exit code {code}: {text}");
    code
}

/// Processes that name the lab's folder or its brokers.
fn of_the_lab(lab: &Lab) -> Vec<(u32, String)> {
    let (folder, address) = (lab.folder().to_str().unwrap().to_string(), format!("127.0.0.1:{}", lab.base));
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let line = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = String::from_utf8_lossy(&fs::read(entry.path().join("cmdline")).ok()?).replace('\0', " ");
        (line.contains(&folder) || line.contains(&address)).then_some((pid, line))
    };
    entries.filter_map(line).collect()
}

#[track_caller]
fn nothing_paused(lab: &Lab, what: &str) {
    for (pid, line) in of_the_lab(lab) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("", |(_, rest)| &rest[..1]);
        assert!(state != "T", "{what}: {pid} is paused: {line}");
    }
}

/// Runs the next command, which must work, and looks at what it left.
#[track_caller]
fn next(lab: &Lab, args: &[&str], what: &str) {
    let mut output = tempfile();
    let (stdout, stderr) = (output.try_clone().unwrap(), output.try_clone().unwrap());
    let began = Instant::now();
    let code = command(lab, args).stdout(stdout).stderr(stderr).status().unwrap().code();
    assert_eq!(code, Some(0), "{what}, then {args:?}: {}", text_of(&mut output));
    assert!(began.elapsed() < LIMIT, "{what}, then {args:?}: {:?}", began.elapsed());
    if args[0] == "teardown" {
        lab.assert_nothing_left();
        return;
    }
    nothing_paused(lab, what);
    // Programs of a killed command end by themselves.
    let mut left = Vec::new();
    wait_for(&format!("six processes after {what}"), 90, || {
        left = of_the_lab(lab);
        left.len() == 6
    });
}

/// Kills a command at random moments.
fn killed(lab: &Lab, random: &mut fastrand::Rng, args: &[&str], times: usize) {
    for n in 0..times {
        if args[0] != "up" {
            next(lab, &["up"], "before");
        }
        let began = Instant::now();
        let whole = Duration::from_secs(match args[0] {
            "up" => 9,
            "teardown" => 5,
            "verify" => 9,
            _ => 25,
        });
        let after = whole.mul_f64(random.f64());
        let code = struck(&mut command(lab, args), &[(after, Signal::KILL)], -Signal::KILL.as_raw());
        let what = format!("{args:?} killed after {after:?}, exit code {code}");
        let then = match (args[0], random.u8(0..4)) {
            ("verify", _) => VERIFY,
            ("drill", 0) => &["drill", "leader-kill"],
            ("up", 0 | 1) | (_, 0) => &["teardown"],
            _ => &["up"],
        };
        next(lab, then, &what);
        if args[0] == "up" && then[0] == "up" {
            next(lab, &["teardown"], &what);
        }
        eprintln!("{} of {times}: {what}, then {then:?}, {:.0?} in all", n + 1, began.elapsed());
    }
}

/// Interrupts a command at random moments, with one signal or two.
fn interrupted(lab: &Lab, random: &mut fastrand::Rng, args: &[&str], signals: &[Signal], twice: &[bool]) {
    for (signal, twice) in signals.iter().flat_map(|signal| twice.iter().map(move |twice| (*signal, *twice))) {
        next(lab, &["up"], "before");
        let whole = match args[0] {
            "drill" => Duration::from_secs(20),
            "verify" => Duration::from_secs(6),
            _ => Duration::from_millis(1500),
        };
        let mut moments = vec![(whole.mul_f64(random.f64()), signal)];
        if twice {
            moments.push((Duration::from_millis(random.u64(1..2_000)), signal));
        }
        let code = struck(&mut command(lab, args), &moments, 130);
        let what = format!("{args:?} after {moments:?}: exit code {code}");
        nothing_paused(lab, &what);
        next(lab, &["up"], &what);
        eprintln!("{what}");
    }
}

#[test]
fn a_command_that_is_struck_at_a_random_moment_leaves_nothing_to_the_next() {
    let (lab, mut random) = (Lab::new("moments"), random());
    killed(&lab, &mut random, &["up"], 1);
    killed(&lab, &mut random, VERIFY, 1);
    interrupted(&lab, &mut random, DRILL, &[Signal::TERM], &[true]);
    lab.teardown();
}

#[test]
fn a_drill_that_is_interrupted_twice_while_a_broker_is_paused_leaves_none_paused() {
    let lab = Lab::new("paused");
    lab.up(&["--no-clients"]);
    let mut drill = crate::common::start(&mut lab.command(&["drill", "leader-pause-long"]));
    let pid = Pid::from_raw(i32::try_from(drill.id()).unwrap()).unwrap();
    let paused = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T "));
    wait_for("a paused broker", 60, || of_the_lab(&lab).iter().any(|(pid, _)| paused(pid)));
    for _ in 0..2 {
        kill_process(pid, Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(drill.wait().unwrap().code(), Some(130));
    nothing_paused(&lab, "interrupted twice");
    lab.teardown();
}

#[test]
#[ignore = "a long form"]
fn up_and_teardown_killed_at_many_moments() {
    let (lab, mut random) = (Lab::new("killed-up"), random());
    killed(&lab, &mut random, &["up"], 25);
    killed(&lab, &mut random, &["teardown"], 10);
    // The last round may have ended with a teardown.
    next(&lab, &["teardown"], "the last round");
}

#[test]
#[ignore = "a long form"]
fn verify_and_drill_killed_at_many_moments() {
    let (lab, mut random) = (Lab::new("killed-drill"), random());
    killed(&lab, &mut random, VERIFY, 10);
    killed(&lab, &mut random, DRILL, 10);
    // The last round may have ended with a teardown.
    next(&lab, &["teardown"], "the last round");
}

#[test]
#[ignore = "a long form"]
fn every_command_interrupted_once_and_twice_by_each_signal() {
    let (lab, mut random) = (Lab::new("signals"), random());
    for args in [&["up"][..], VERIFY, &["teardown"], DRILL] {
        interrupted(&lab, &mut random, args, &[Signal::INT, Signal::TERM, Signal::HUP], &[false, true]);
    }
    lab.teardown();
}

#[test]
#[ignore = "a long form"]
fn every_command_with_an_output_that_goes_nowhere() {
    let lab = Lab::new("nowhere");
    lab.up(&[]);
    let mut count = 0;
    for args in [
        &["status"][..],
        &["status", "--format", "json"],
        VERIFY,
        &["verify", "--format", "json", "--messages", "4000"],
        &["up"],
        &["up", "--format", "json"],
        &["up", "--dry-run"],
        &["logs"],
        &["clients", "logs"],
        &["clients", "scale", "consumer", "1"],
        &["clients", "stop"],
        &["clients", "start"],
        &["kafka-topics", "--", "--list"],
        &["zookeeper-shell", "--", "ls", "/brokers/ids"],
        &["kubectl", "--", "version"],
        &["drill", "--list"],
        &["drill", "producer-kill"],
        &["teardown"],
        &["up"],
    ] {
        for redirection in REDIRECTIONS {
            let (code, ran) = redirected(LIMIT, &command(&lab, args), redirection);
            let what = format!("{args:?} {redirection}: exit code {code}");
            assert!(code != 101 && !ran.stderr.contains("panicked"), "{what}: {ran:?}");
            let unheard = redirection.contains(">/dev/full") && !redirection.starts_with('2');
            // Kafka's own tools and kubectl have codes of their own.
            let own = ["kafka-topics", "zookeeper-shell", "kubectl"].contains(&args[0]);
            let wanted = own || code == 0 || (code == 1 && (unheard || redirection.contains("head")));
            assert!(wanted, "{what}: {ran:?}");
            if args[0] == "teardown" || args == ["clients", "stop"] {
                next(&lab, &["up"], &what);
            } else {
                lab.run(&["status"]).expect(0);
            }
            count += 1;
        }
    }
    eprintln!("{count} outputs that go nowhere");
    lab.teardown();
}
