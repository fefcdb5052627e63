//! Processes that outlive xtask. Their start time is recorded, so that a reused process id is never trusted or killed.
//! Their mark finds them even if the record is lost.

// Both are tested on Linux.
#[cfg(target_os = "linux")]
mod linux;
#[cfg(any(test, not(target_os = "linux")))]
mod portable;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger::cause::in_words;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(all(test, target_os = "linux"))]
pub use linux::parse_stat;
#[cfg(not(target_os = "linux"))]
use portable as system;

use crate::failure::{Failure, Result};
use crate::files::own::read_own_text;
use crate::files::{to_json, write_atomically};
use crate::signal::Stop;
use crate::wait;

/// Identifies a process, even if its id is reused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process id.
    pub pid: u32,
    /// The start time: on Linux in clock ticks since boot (field 22 of proc(5)'s stat), elsewhere in seconds since the
    /// Unix epoch.
    pub start_ticks: u64,
    /// The id of the boot it started in. Empty except on Linux, where the start time depends on the boot.
    pub boot: String,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP, for example by a drill or a debugger.
    Paused,
    /// It is exiting, a zombie or gone.
    Gone,
}

/// A measure of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// The resident memory now.
    Resident,
    /// The peak of the resident memory.
    Peak,
}

/// The record of a process that we started. Its file exists as long as the process should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `kafka-lab.process/1`.
    pub schema: String,
    /// The process.
    pub identity: Identity,
    /// The settings it was started with. If they change, it must be restarted.
    pub settings: String,
    /// The command line, quoted for a shell.
    pub command: String,
    /// The start in ms since the Unix epoch.
    pub started_ms: u64,
    /// The class-data archive that it writes on a normal exit, and the archive's place in the cache.
    #[serde(default)]
    pub trains: Option<(PathBuf, PathBuf)>,
}

const SCHEMA: &str = "kafka-lab.process/1";

impl Started {
    /// The record of process `pid`, which was just started.
    ///
    /// # Errors
    /// It has already ended.
    pub fn of(pid: u32, settings: String, command: String, trains: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        let Stat { start_ticks, .. } =
            system::stat(pid).ok_or_else(|| Failure::step(format!("process {pid} ended at once")))?;
        let identity = Identity { pid, start_ticks, boot: system::boot_id() };
        Ok(Started { schema: SCHEMA.into(), identity, settings, command, started_ms: crate::system::now_ms(), trains })
    }

    /// Reads a record; `None` if it is missing or malformed. The mark still finds the process.
    pub fn read(path: &Path) -> Option<Self> {
        let started: Started = serde_json::from_str(&read_own_text(path).ok()??).ok()?;
        (started.schema == SCHEMA).then_some(started)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &to_json(self))
    }
}

/// What the system reports about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its state.
    life: Life,
    /// Whether only its exit code is left, and its files are closed.
    over: bool,
    /// Its start time, as in [`Identity::start_ticks`].
    start_ticks: u64,
}

/// Whether process `pid` exists and is not exiting.
pub fn is_alive(pid: u32) -> bool {
    system::stat(pid).is_some_and(|stat| stat.life != Life::Gone)
}

impl Identity {
    /// The current state of the process.
    pub fn life(&self) -> Life {
        self.stat().map_or(Life::Gone, |stat| stat.life)
    }

    fn stat(&self) -> Option<Stat> {
        system::stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks && self.boot == system::boot_id())
    }

    /// Whether it has ended and its files, locks and ports are closed.
    pub fn is_over(&self) -> bool {
        self.stat().is_none_or(|stat| stat.over)
    }

    /// Its memory in KiB; `None` once it is gone, or if the system does not report it.
    pub fn memory_kib(&self, which: Memory) -> Option<u64> {
        let kib = system::memory_kib(self.pid, which)?;
        (self.life() != Life::Gone).then_some(kib)
    }

    /// Sends `signal` and returns whether the process existed.
    ///
    /// # Errors
    /// The system refuses, for example for another user's process.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        // Held until the signal is sent: after `resume_paused`, nothing is paused any more.
        let mut paused = PAUSED.lock().unwrap_or_else(PoisonError::into_inner);
        match signal {
            Signal::STOP => paused.push(self.clone()),
            Signal::CONT => paused.retain(|other| other != self),
            _ => {}
        }
        match system::signal(self, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(Failure::step(format!("cannot signal process {}: {}", self.pid, in_words(error)))),
        }
    }

    /// Sends SIGTERM, then SIGKILL after `grace`, and waits until it is over. Returns whether SIGTERM was enough.
    ///
    /// # Errors
    /// It cannot be signalled, SIGKILL does not end it, or an interruption.
    pub fn end(&self, grace: Duration, stop: &Stop, status: &dyn Fn(&str)) -> Result<bool> {
        self.signal(Signal::TERM)?;
        // A paused process handles the signal only once it continues.
        self.signal(Signal::CONT)?;
        let begin = Instant::now();
        while !self.is_over() {
            if begin.elapsed() > grace + Duration::from_secs(10) {
                let what = format!("process {} does not end, even after SIGKILL", self.pid);
                return Err(Failure::step(what).fix(format!(
                    "it waits in the kernel, as for a disk that does not answer: `cat /proc/{}/wchan` names the place; \
                     rerun when it is gone",
                    self.pid
                )));
            }
            if begin.elapsed() > grace {
                status(&format!("pid {} did not end within {} s: SIGKILL", self.pid, grace.as_secs()));
                self.signal(Signal::KILL)?;
            }
            wait::pause(stop, Duration::from_millis(20))?;
        }
        Ok(begin.elapsed() <= grace)
    }
}

/// The processes that this command has paused and not resumed.
static PAUSED: Mutex<Vec<Identity>> = Mutex::new(Vec::new());

/// Resumes what this command has paused, and lets it pause nothing more: the last act of a command that a second
/// signal ends, so that nothing stands still for good.
pub fn resume_paused() {
    let paused = PAUSED.lock().unwrap_or_else(PoisonError::into_inner);
    for identity in paused.iter() {
        // It may have ended.
        let _ = system::signal(identity, Signal::CONT);
    }
    std::mem::forget(paused);
}

/// Every process of a lab with `mark` among its arguments.
pub fn marked(mark: &str) -> Vec<Identity> {
    with_mark(|arg| arg == mark.as_bytes())
}

/// Every process of a lab with an argument that `ours` accepts, except zombies.
pub fn with_mark(ours: impl Fn(&[u8]) -> bool) -> Vec<Identity> {
    with_arguments(|args| is_started_by_a_lab(args) && args.iter().any(|arg| ours(arg)))
}

/// Whether a command line is of a program that a lab starts: Java, the clients', or what starts them. An argument alone
/// is no proof: an editor or a search may have it too.
fn is_started_by_a_lab(args: &[&[u8]]) -> bool {
    let name = |at: usize| args.get(at).and_then(|arg| arg.rsplit(|byte| *byte == b'/').next()).unwrap_or_default();
    let is_one_of = |at: usize, names: &[&str]| names.iter().any(|one| one.as_bytes() == name(at));
    // Of a script in Java's place, the interpreter comes first.
    is_one_of(0, &["setsid", "nohup", "env"]) || (0..2).any(|at| is_one_of(at, &["java", "clients"]))
}

/// Every process with an argument that `ours` accepts, except zombies.
pub fn with_argument(ours: impl Fn(&[u8]) -> bool) -> Vec<Identity> {
    with_arguments(|args| args.iter().any(|arg| ours(arg)))
}

/// Every process whose arguments, including the program, `ours` accepts, except zombies.
pub fn with_arguments(ours: impl Fn(&[&[u8]]) -> bool) -> Vec<Identity> {
    let boot = system::boot_id();
    let ours = |pid: u32, line: Vec<u8>| {
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let stat = system::stat(pid).filter(|_| ours(&args))?;
        Some(Identity { pid, start_ticks: stat.start_ticks, boot: boot.clone() })
    };
    system::command_lines().filter_map(|(pid, line)| ours(pid, line)).collect()
}

/// The living process of a service: the recorded one, or else one with its mark.
pub fn find(record: Option<&Started>, mark: &str) -> Option<Identity> {
    let recorded = record.map(|started| started.identity.clone()).filter(|identity| identity.life() != Life::Gone);
    let ours = recorded.filter(|identity| bears(identity, mark));
    ours.or_else(|| marked(mark).into_iter().find(|identity| identity.life() != Life::Gone))
}

/// Whether a process has `mark` as one of its arguments. A record alone is no proof: anyone can write one. A process
/// that was just started has no arguments for a moment.
pub fn bears(identity: &Identity, mark: &str) -> bool {
    let line = system::command_lines().find(|(pid, _)| *pid == identity.pid).map(|(_, line)| line);
    line.is_some_and(|line| {
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        line.is_empty() || is_started_by_a_lab(&args) && args.contains(&mark.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Cmd, Exec, RealExec};

    /// A shell under the name of a program, with an argument.
    fn running(program: &str, mark: &str) -> Started {
        let dir = std::env::temp_dir().join(format!("{mark}-{program}"));
        std::fs::create_dir_all(&dir).unwrap();
        let program = dir.join(program);
        let _ = std::os::unix::fs::symlink("/bin/sh", &program);
        let name = program.to_str().unwrap().to_string();
        let cmd = Cmd::new(&name, Duration::ZERO).args(["-c", "while :; do sleep 0.05; done", mark]);
        let pid = RealExec.start(&cmd, Path::new("/dev/null")).unwrap();
        // Until the shell runs, the arguments are those of setsid(1), or for a moment none.
        let deadline = Instant::now() + Duration::from_secs(10);
        let begins = format!("{name}\0").into_bytes();
        while !std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().starts_with(&begins) && Instant::now() < deadline
        {
            wait::pause(&Stop::default(), Duration::from_millis(1)).unwrap();
        }
        std::fs::remove_dir_all(&dir).unwrap();
        Started::of(pid, String::new(), cmd.to_string(), None).unwrap()
    }

    fn sleeper(mark: &str) -> Started {
        running("java", mark)
    }

    fn mark(name: &str) -> String {
        format!("kafka-lab-test-{}-{name}", std::process::id())
    }

    #[test]
    fn a_started_process_leads_its_own_session_and_ends_on_request() {
        let started = sleeper(&mark("session"));
        let line = std::fs::read_to_string(format!("/proc/{}/stat", started.identity.pid)).unwrap();
        let session = line[line.rfind(')').unwrap() + 1..].split_whitespace().nth(3).unwrap().to_string();
        // The shell may not have called setsid(2) yet.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut leads = session == started.identity.pid.to_string();
        while !leads && Instant::now() < deadline {
            wait::pause(&Stop::default(), Duration::from_millis(10)).unwrap();
            let line = std::fs::read_to_string(format!("/proc/{}/stat", started.identity.pid)).unwrap();
            leads = line[line.rfind(')').unwrap() + 1..].split_whitespace().nth(3)
                == Some(&started.identity.pid.to_string());
        }
        assert!(leads, "it does not lead its own session");
        assert!(started.identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap());
        assert_eq!(started.identity.life(), Life::Gone);
    }

    #[test]
    fn another_process_of_the_same_id_is_neither_trusted_nor_signalled() {
        let started = sleeper(&mark("reused"));
        let mut other = started.identity.clone();
        other.start_ticks += 1;
        assert_eq!(other.life(), Life::Gone);
        assert!(!other.signal(Signal::KILL).unwrap());
        let mut earlier_boot = started.identity.clone();
        earlier_boot.boot = "another".into();
        assert_eq!(earlier_boot.life(), Life::Gone);
        assert_eq!(started.identity.life(), Life::Running);
        let (now, peak) = (started.identity.memory_kib(Memory::Resident), started.identity.memory_kib(Memory::Peak));
        assert!(now.unwrap() > 0 && now <= peak, "{now:?} {peak:?}");
        assert_eq!(other.memory_kib(Memory::Resident), None);
        started.identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
    }

    #[test]
    fn a_process_without_record_is_found_by_its_mark() {
        let mark = mark("stray");
        let started = sleeper(&mark);
        assert_eq!(find(None, &mark).as_ref(), Some(&started.identity));
        assert_eq!(find(None, &format!("{mark}-other")), None);
        started.identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
        assert_eq!(find(Some(&started), &mark), None);
    }

    #[test]
    fn a_mark_alone_makes_no_process_ours_and_a_thread_of_the_kernel_is_none() {
        let mark = mark("foreign");
        let theirs = running("editor", &mark);
        assert_eq!(find(None, &mark), None);
        assert!(!bears(&theirs.identity, &mark));
        theirs.identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
        let with =
            |program: &[&str]| is_started_by_a_lab(&program.iter().map(|arg| arg.as_bytes()).collect::<Vec<_>>());
        assert!(
            with(&["/opt/jdk/bin/java"]) && with(&["/bin/sh", "/opt/wrapped/java", "-X"]) && with(&["setsid", "x"])
        );
        assert!(!with(&["perl", "-e", "java"]) && !with(&["grep", "-r", "clients"]) && !with(&[]));
    }

    #[test]
    fn a_paused_process_is_seen_as_paused_and_still_ends() {
        let started = sleeper(&mark("paused"));
        assert!(started.identity.signal(Signal::STOP).unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while started.identity.life() != Life::Paused && Instant::now() < deadline {
            wait::pause(&Stop::default(), Duration::from_millis(5)).unwrap();
        }
        assert_eq!(started.identity.life(), Life::Paused);
        started.identity.end(Duration::from_secs(10), &Stop::default(), &|_| {}).unwrap();
        assert_eq!(started.identity.life(), Life::Gone);
    }

    #[test]
    fn the_portable_functions_see_the_same() {
        let mark = mark("portable");
        let started = sleeper(&mark);
        let pid = started.identity.pid;
        let seen = portable::stat(pid).unwrap();
        let now = crate::system::now_ms() / 1000;
        assert!(seen.life == Life::Running && !seen.over && seen.start_ticks.abs_diff(now) < 60, "{seen:?} at {now}");
        let line = portable::command_lines().find(|(other, _)| *other == pid).map(|(_, line)| line);
        assert!(
            line.as_ref().is_some_and(|line| line.split(|byte| *byte == 0).any(|arg| arg == mark.as_bytes())),
            "{line:?}"
        );
        assert!(portable::memory_kib(pid, Memory::Resident).is_some_and(|kib| kib > 0));
        // There, the start is in seconds. Another start means another process.
        let identity = Identity { start_ticks: seen.start_ticks, boot: String::new(), ..started.identity.clone() };
        let other = Identity { start_ticks: seen.start_ticks + 1, ..identity.clone() };
        assert_eq!(portable::signal(&other, Signal::KILL), Err(rustix::io::Errno::SRCH));
        portable::signal(&identity, Signal::STOP).unwrap();
        let until = |life: Life| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while portable::stat(pid).map_or(Life::Gone, |stat| stat.life) != life && Instant::now() < deadline {
                wait::pause(&Stop::default(), Duration::from_millis(5)).unwrap();
            }
            assert_eq!(portable::stat(pid).map_or(Life::Gone, |stat| stat.life), life);
        };
        until(Life::Paused);
        portable::signal(&identity, Signal::KILL).unwrap();
        until(Life::Gone);
        assert_eq!(portable::signal(&identity, Signal::KILL), Err(rustix::io::Errno::SRCH));
    }
}
