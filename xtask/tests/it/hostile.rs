//! The program where somebody planted links and pipes, where its output goes nowhere, and where records contradict what
//! is there. Nothing of the user's changes, nothing hangs, nothing panics. The tests that are ignored are the long
//! forms; docs/contributing.md has their command.

mod advice;
mod corrupt;
mod damage;
#[cfg(feature = "lab")]
mod full;
#[cfg(feature = "lab")]
mod moments;
mod planted;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Dir, Ran, xtask};

/// A command that takes longer hangs. Generous, because the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

/// Runs a command to its end; fails the test when it takes long or panics.
#[track_caller]
fn soon(command: &mut Command) -> Ran {
    within(SOON, command)
}

/// Likewise, with a limit of its own.
#[track_caller]
fn within(limit: Duration, command: &mut Command) -> Ran {
    let began = Instant::now();
    // Files, because a pipe that is full would hold the command up.
    let (mut stdout, mut stderr) = (tempfile(), tempfile());
    let outputs = (stdout.try_clone().unwrap(), stderr.try_clone().unwrap());
    let mut child = command.stdout(outputs.0).stderr(outputs.1).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > limit {
            child.kill().unwrap();
            panic!("{command:?} hangs: {}", text_of(&mut stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let ran = Ran { code: status.code().unwrap_or(-1), stdout: text_of(&mut stdout), stderr: text_of(&mut stderr) };
    assert!(ran.code != 101 && !ran.stderr.contains("panicked"), "{command:?}: {ran:?}");
    ran
}

/// A file without a name.
fn tempfile() -> fs::File {
    let dir = Dir::new("output");
    fs::File::options().read(true).write(true).create_new(true).open(dir.0.join("file")).unwrap()
}

/// What was written to a file.
fn text_of(file: &mut fs::File) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A state folder that holds a lab, `lab.json` of which says `record`.
struct Planted {
    state: Dir,
}

impl Planted {
    fn new(name: &str) -> Self {
        let state = Dir::new(name);
        fs::create_dir_all(state.0.join("kafka-lab/lab/kafka-0")).unwrap();
        for dir in ["kafka-lab", "kafka-lab/lab"] {
            fs::set_permissions(state.0.join(dir), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let planted = Planted { state };
        planted.record("local");
        planted
    }

    fn record(&self, backend: &str) {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").canonicalize().unwrap();
        let record = serde_json::json!({
            "schema": "kafka-lab.record/1", "backend": backend, "port_base": 21600, "manifests": manifests, "created_ms": 1,
        });
        fs::write(self.file("lab.json"), record.to_string()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state.0.join("kafka-lab/lab").join(name)
    }

    /// A file of the user's.
    fn precious(&self) -> PathBuf {
        let file = self.state.0.join("precious");
        fs::write(&file, "precious").unwrap();
        file
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = xtask(&self.state.0, [&["--name", "lab"], args].concat());
        without_engine(command.env("XDG_CACHE_HOME", self.state.0.join("cache")));
        command
    }

    fn is_precious(&self) {
        assert_eq!(fs::read_to_string(self.state.0.join("precious")).unwrap(), "precious");
    }
}

/// Hides the machine's engine: a purge would remove the images that others have in it.
fn without_engine(command: &mut Command) -> &mut Command {
    command.env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
}

/// A cache in `folder` with the jars of the user's own, which a test must not purge or damage.
#[cfg(feature = "lab")]
fn cache_of_its_own(folder: &Path) -> PathBuf {
    let theirs = Command::new("sh").args(["-c", "echo ${XDG_CACHE_HOME:-$HOME/.cache}"]).output().unwrap();
    let theirs = PathBuf::from(String::from_utf8(theirs.stdout).unwrap().trim()).join("kafka-lab");
    let cache = folder.join("cache");
    fs::create_dir_all(cache.join("kafka-lab")).unwrap();
    let jars = fs::read_dir(theirs).into_iter().flatten().flatten();
    for entry in jars.filter(|entry| entry.file_name().to_string_lossy().starts_with("kafka-3")) {
        let copied = Command::new("cp").arg("-r").arg(entry.path()).arg(cache.join("kafka-lab")).status();
        assert!(copied.unwrap().success());
    }
    cache
}

fn pipe(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
}

#[test]
fn a_link_in_place_of_a_file_of_the_lab_is_refused_and_its_target_stays() {
    for file in ["../lab.lock", "lab.json", "lab.json.partial"] {
        for args in [&["teardown"][..], &["status"], &["clients", "scale", "consumer", "2"]] {
            let planted = Planted::new("links");
            let (precious, link) = (planted.precious(), planted.file(file));
            let _ = fs::remove_file(&link);
            symlink(&precious, &link).unwrap();
            let ran = soon(&mut planted.command(args));
            planted.is_precious();
            let reads_it = file == "lab.json" || (file == "../lab.lock" && args[0] != "status");
            if reads_it && args[0] != "teardown" {
                assert!(ran.code != 0 && ran.stderr.contains("symbolic link"), "{file} {args:?}: {ran:?}");
            }
        }
    }
}

#[test]
fn a_pipe_in_place_of_a_file_of_the_lab_is_named_and_nobody_waits_for_it() {
    for file in ["../lab.lock", "lab.json", "kafka-0/process.json", "producer/state.json"] {
        for args in [&["teardown"][..], &["status"], &["verify"]] {
            let planted = Planted::new("pipes");
            let path = planted.file(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&path);
            pipe(&path);
            let ran = soon(&mut planted.command(args));
            if file == "lab.json" && args[0] != "teardown" {
                assert!(ran.code != 0 && ran.stderr.contains("not a regular file"), "{file} {args:?}: {ran:?}");
            }
        }
    }
}

#[test]
fn a_cache_that_leads_elsewhere_is_not_purged() {
    let planted = Planted::new("cache");
    let theirs = planted.state.0.join("theirs");
    for folder in ["kafka-notes", "images"] {
        fs::create_dir_all(theirs.join(folder)).unwrap();
        fs::write(theirs.join(folder).join("file"), "precious").unwrap();
    }
    fs::create_dir_all(planted.state.0.join("cache")).unwrap();
    symlink(&theirs, planted.state.0.join("cache/kafka-lab")).unwrap();
    let ran = soon(&mut planted.command(&["teardown", "--purge"]));
    for folder in ["kafka-notes", "images"] {
        assert!(theirs.join(folder).join("file").exists(), "{folder} is gone: {ran:?}");
    }
    assert!(ran.stderr.contains("symbolic link"), "{ran:?}");
}

#[test]
fn a_purge_takes_what_it_knows_and_leaves_the_rest() {
    let planted = Planted::new("purge");
    let cache = planted.state.0.join("cache/kafka-lab");
    fs::create_dir_all(cache.join("kafka-notes")).unwrap();
    fs::write(cache.join("kafka-notes/file"), "precious").unwrap();
    fs::create_dir_all(cache.join("class-data")).unwrap();
    soon(&mut planted.command(&["teardown", "--purge"])).expect(0);
    assert!(cache.join("kafka-notes/file").exists() && !cache.join("class-data").exists());
}

/// Commands that need no lab, or find a dead one, each with the exit codes it may have.
const COMMANDS: [(&[&str], &[i32]); 8] = [
    (&["status"], &[5, 6]),
    (&["verify"], &[5, 6]),
    (&["up", "--dry-run"], &[0]),
    (&["drill", "--list"], &[0]),
    (&["logs"], &[0]),
    (&["verify", "--format", "json"], &[5, 6]),
    (&["kubectl", "--", "version"], &[2]),
    (&["teardown"], &[0]),
];

/// Closed, full and cut-off outputs.
const REDIRECTIONS: [&str; 8] =
    [">&-", "2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>&1", "| head -n 1", "2>&1 | head -n 1", ">&- 2>&-"];

/// Runs a command by a shell with a redirection. Returns its own exit code.
fn redirected(limit: Duration, command: &Command, redirection: &str) -> (i32, Ran) {
    let dir = Dir::new("code");
    let file = dir.0.join("code");
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{{ \"$@\" 3>&-; echo $? >&3; }} 3>'{}' {redirection}", file.display())]);
    shell.arg("sh").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        shell.env(key, value.unwrap_or_default());
    }
    let ran = within(limit, shell.stdin(Stdio::null()));
    (fs::read_to_string(file).unwrap().trim().parse().unwrap(), ran)
}

#[test]
fn an_output_that_goes_nowhere_ends_no_command_in_a_panic() {
    for (args, codes) in COMMANDS {
        for redirection in REDIRECTIONS {
            let planted = Planted::new("output");
            let (code, ran) = redirected(SOON, &planted.command(args), redirection);
            assert!(!ran.stderr.contains("panicked"), "{args:?} {redirection}: {ran:?}");
            // A report that could not be written is no success. Rust opens a closed stream on /dev/null.
            let unheard = [">/dev/full", ">/dev/full 2>&1"].contains(&redirection);
            let silent = args[0] == "logs";
            let allowed = codes.contains(&code) && !(code == 0 && unheard && !silent) || (code == 1 && unheard);
            let cut = redirection.contains("head") && [0, 1].contains(&code);
            assert!(allowed || cut, "{args:?} {redirection}: exit code {code}, {ran:?}");
        }
    }
}

/// What needs servers.
#[cfg(feature = "lab")]
mod servers {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;
    use crate::common::lab::Lab;
    use crate::common::{run, wait_for};

    /// The process of a service, by its record.
    fn record(lab: &Lab, name: &str) -> serde_json::Value {
        let file = lab.folder().join(name).join("process.json");
        serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
    }

    fn pid(lab: &Lab, name: &str) -> Pid {
        Pid::from_raw(record(lab, name)["identity"]["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
    }

    fn timed(lab: &Lab, args: &[&str]) -> (Ran, Duration) {
        let began = Instant::now();
        let ran = lab.run(args);
        (ran, began.elapsed())
    }

    /// Twice what is promised for a quiet machine.
    const AT_ONCE: Duration = Duration::from_secs(10);
    const GONE: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_dead_or_paused_is_told_at_once_and_torn_down_quickly() {
        const BROKERS: [&str; 3] = ["kafka-0", "kafka-1", "kafka-2"];
        let everyone: Vec<&str> = BROKERS.into_iter().chain(["zookeeper"]).collect();
        for (which, signal) in [(&everyone[..], Signal::STOP), (&BROKERS, Signal::KILL)] {
            let lab = Lab::new("dead");
            lab.up(&[]);
            which.iter().for_each(|name| kill_process(pid(&lab, name), signal).unwrap());
            // A busy machine takes its time to stop a process.
            for name in which {
                let stat = format!("/proc/{}/stat", pid(&lab, name).as_raw_nonzero());
                let runs =
                    || fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") T ") && !text.contains(") Z "));
                wait_for("the signal", 30, || !runs());
            }
            let (ran, took) = timed(&lab, &["verify"]);
            assert_eq!(ran.code, 5, "{which:?} {signal:?}: {ran:?}");
            assert!(took < AT_ONCE, "{which:?} {signal:?}: verify took {took:?}\n{}", ran.stderr);
            let (ran, took) = timed(&lab, &["teardown"]);
            assert!(ran.code == 0 && took < GONE, "{which:?} {signal:?}: teardown took {took:?}\n{}", ran.stderr);
            lab.assert_nothing_left();
        }
    }

    #[test]
    fn a_record_that_names_another_process_kills_nobody_and_is_told() {
        let lab = Lab::new("foreign");
        lab.up(&["--no-clients"]);
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap();
        let start: u64 = stat.rsplit(") ").next().unwrap().split(' ').nth(19).unwrap().parse().unwrap();
        let mut forged = record(&lab, "kafka-1");
        forged["identity"]["pid"] = other.id().into();
        forged["identity"]["start_ticks"] = start.into();
        fs::write(lab.folder().join("kafka-1/process.json"), forged.to_string()).unwrap();
        let ran = lab.run(&["teardown"]);
        assert!(ran.code == 0 && ran.stderr.contains("left alone"), "{ran:?}");
        assert!(other.try_wait().unwrap().is_none(), "somebody else's process was ended");
        other.kill().unwrap();
        other.wait().unwrap();
        lab.assert_nothing_left();
    }

    #[test]
    fn a_purge_leaves_the_jars_that_a_lab_of_another_state_folder_runs_from() {
        let lab = Lab::new("user");
        let cache = cache_of_its_own(&lab.state.0);
        let with_cache = |mut command: Command| run(command.env("XDG_CACHE_HOME", &cache)).expect(0);
        with_cache(lab.up_command(&["--no-clients"]));
        let elsewhere = Dir::new("elsewhere");
        let mut purge = xtask(&elsewhere.0, ["teardown", "--purge"]);
        let ran = soon(without_engine(purge.env("XDG_CACHE_HOME", &cache)));
        assert!(ran.code == 0 && ran.stderr.contains("still used by"), "{ran:?}");
        with_cache(lab.command(&["verify"]));
        with_cache(lab.command(&["teardown"]));
        lab.assert_nothing_left();
    }

    #[test]
    fn a_folder_where_a_client_writes_its_state_is_told_by_up_and_by_status() {
        let lab = Lab::new("nostate");
        lab.up(&[]);
        let state = lab.folder().join("producer/state.json");
        // The client writes it again and again.
        wait_for("a folder in its place", 30, || {
            let _ = fs::remove_file(&state);
            fs::create_dir(&state).is_ok()
        });
        for (args, code) in [("status", 5), ("up", 4)] {
            let ran = lab.run(&[args]);
            let fix = format!("rm -r {}", state.display());
            assert!(ran.code == code && ran.stderr.contains(&fix), "{args}: {ran:?}");
        }
        fs::remove_dir(&state).unwrap();
        lab.run(&["up"]).expect(0);
        lab.verify(0);
        lab.teardown();
    }

    #[test]
    fn what_cannot_be_removed_is_named_and_everything_else_goes() {
        let lab = Lab::new("stuck");
        lab.up(&[]);
        let stuck = lab.folder().join("kafka-1/process.json");
        let attribute =
            |flag: &str| Command::new("chattr").arg(flag).arg(&stuck).status().is_ok_and(|status| status.success());
        if !attribute("+i") {
            eprintln!("left out: files cannot be made immutable here");
            return;
        }
        let ran = lab.run(&["teardown"]);
        assert!(attribute("-i"));
        assert!(ran.code == 4 && ran.stderr.contains("process.json"), "{ran:?}");
        assert_eq!(lab.processes(), Vec::<String>::new(), "{ran:?}");
        lab.teardown();
    }

    #[test]
    fn a_record_of_another_backend_leaves_a_way_out_that_works_as_printed() {
        let lab = Lab::new("contradicts");
        lab.up(&["--no-clients"]);
        let file = lab.folder().join("lab.json");
        let record = fs::read_to_string(&file).unwrap();
        fs::write(&file, record.replace("\"local\"", "\"kind\"")).unwrap();
        // No Docker engine answers here.
        let ran = soon(lab.command(&["teardown"]).env("DOCKER_HOST", "unix:///nowhere/docker.sock"));
        assert!(ran.code != 0, "{ran:?}");
        assert_eq!(lab.processes(), Vec::<String>::new(), "{ran:?}");
        let way_out =
            ran.stderr.split("forget the lab: ").nth(1).unwrap_or_else(|| panic!("{ran:?}")).lines().next().unwrap();
        assert!(way_out.starts_with("rm -r ") && way_out.contains(lab.folder().to_str().unwrap()), "{way_out}");
        assert!(Command::new("sh").args(["-c", way_out]).status().unwrap().success());
        lab.run(&["teardown"]).expect(0);
        lab.assert_nothing_left();
    }
}
