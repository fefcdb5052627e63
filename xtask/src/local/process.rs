//! Processes that outlive us: recorded with their start time, so that a reused process id is never trusted or killed,
//! and marked, so that one whose record was lost is found all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, IoContext, Result};
use crate::signal::Stop;
use crate::state::{to_json, write_atomically};
use crate::wait;

/// A process that cannot be confused with another of the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of proc(5)'s stat).
    pub start_ticks: u64,
    /// The boot it started in.
    pub boot: String,
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It is stopped by SIGSTOP, as by a drill or a debugger.
    Paused,
    /// It is gone, or only its exit code is left.
    Gone,
}

/// Which memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// What it has resident now.
    Resident,
    /// The most that it ever had resident.
    Peak,
}

/// What we wrote down when we started a process. The file is there as long as the process should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// `kafka-lab.process/1`.
    pub schema: String,
    /// Which process it is.
    pub identity: Identity,
    /// All settings it was started with; others mean that it must be restarted.
    pub settings: String,
    /// The command line, pasteable.
    pub command: String,
    /// ms since the Unix epoch.
    pub started_ms: u64,
    /// The class-data archive that it writes when it ends by itself, and where that is kept from then on.
    #[serde(default)]
    pub trains: Option<(PathBuf, PathBuf)>,
}

const SCHEMA: &str = "kafka-lab.process/1";

impl Started {
    /// A record of `pid`, which we just started.
    ///
    /// # Errors
    /// It is gone already.
    pub fn of(pid: u32, settings: String, command: String, trains: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        let Stat { start_ticks, .. } =
            stat(pid).ok_or_else(|| Failure::step(format!("process {pid} ended at once")))?;
        let identity = Identity { pid, start_ticks, boot: boot_id() };
        Ok(Started { schema: SCHEMA.into(), identity, settings, command, started_ms: crate::state::now_ms(), trains })
    }

    /// Reads a record. One that cannot be understood counts as none: the mark finds the process.
    pub fn read(path: &Path) -> Option<Self> {
        let started: Started = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
        (started.schema == SCHEMA).then_some(started)
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &to_json(self))
    }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

/// What proc(5)'s stat says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Its state letter, field 3.
    state: char,
    /// How many threads it has, field 20.
    threads: u64,
    /// When it started, field 22.
    start_ticks: u64,
    /// Its virtual memory in bytes, field 23. On its way out a process gives this back well before it counts as dead.
    vsize: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name, in parentheses, may hold spaces and parentheses itself: what counts comes after the last one.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse().ok();
    let state = fields.first()?.chars().next()?;
    Some(Stat { state, threads: number(20)?, start_ticks: number(22)?, vsize: number(23)? })
}

impl Stat {
    fn is_zombie(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }

    fn is_alive(self) -> bool {
        !self.is_zombie() && self.vsize > 0
    }
}

/// Whether there is a process `pid`, and it is not on its way out.
pub fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(Stat::is_alive)
}

impl Identity {
    /// What the process does now.
    pub fn life(&self) -> Life {
        match self.stat() {
            Some(Stat { state: 'T' | 't', .. }) => Life::Paused,
            Some(stat) if stat.is_alive() => Life::Running,
            _ => Life::Gone,
        }
    }

    fn stat(&self) -> Option<Stat> {
        stat(self.pid).filter(|stat| stat.start_ticks == self.start_ticks && self.boot == boot_id())
    }

    /// Whether it is over: gone, and its files, locks and ports closed. The kernel does that after it has taken the memory, thread by thread.
    pub fn is_over(&self) -> bool {
        self.stat().is_none_or(|stat| stat.is_zombie() && stat.threads <= 1)
    }

    /// Its memory in KiB; `None` once it is gone.
    pub fn memory_kib(&self, which: Memory) -> Option<u64> {
        let field = match which {
            Memory::Resident => "VmRSS:",
            Memory::Peak => "VmHWM:",
        };
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        if self.life() == Life::Gone { None } else { line.trim().trim_end_matches(" kB").parse().ok() }
    }

    /// Sends `signal`; returns whether the process was there. The pidfd pins the process while its start time is
    /// compared, so that the signal cannot reach a later process of the same id.
    ///
    /// # Errors
    /// The system refuses, as for another user's process.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(false) };
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(false) };
        if self.life() == Life::Gone {
            return Ok(false);
        }
        match pidfd_send_signal(&fd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(Failure::step(format!("cannot signal process {}: {error}", self.pid))),
        }
    }

    /// SIGTERM, then SIGKILL after `grace`, until it is over. Returns whether it ended by itself.
    ///
    /// # Errors
    /// It cannot be signalled, does not even end by SIGKILL, or an interruption.
    pub fn end(&self, grace: Duration, stop: &Stop, status: &dyn Fn(&str)) -> Result<bool> {
        self.signal(Signal::TERM)?;
        // A paused process takes the signal when it goes on.
        self.signal(Signal::CONT)?;
        let begin = Instant::now();
        while !self.is_over() {
            if begin.elapsed() > grace + Duration::from_secs(10) {
                return Err(Failure::step(format!("process {} does not end, not even by SIGKILL", self.pid)));
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

/// Every process that has `mark` as one of its arguments.
pub fn marked(mark: &str) -> Vec<Identity> {
    with_argument(|arg| arg == mark.as_bytes())
}

/// Every process with an argument that `ours` knows, zombies left out.
pub fn with_argument(ours: impl Fn(&[u8]) -> bool) -> Vec<Identity> {
    let boot = boot_id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        if line.split(|byte| *byte == 0).any(&ours)
            && let Some(Stat { start_ticks, .. }) = stat(pid)
        {
            found.push(Identity { pid, start_ticks, boot: boot.clone() });
        }
    }
    found
}

/// The living process of a service: the recorded one, or else the one that bears its mark.
pub fn find(record: Option<&Started>, mark: &str) -> Option<Identity> {
    let recorded = record.map(|started| started.identity.clone()).filter(|identity| identity.life() != Life::Gone);
    recorded.or_else(|| marked(mark).into_iter().find(|identity| identity.life() != Life::Gone))
}

/// Removes a file; that it is absent is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).cannot("remove", path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Cmd, Exec, RealExec};

    fn sleeper(mark: &str) -> Started {
        let cmd = Cmd::new("sh", Duration::ZERO).args(["-c", "while :; do sleep 0.05; done", mark]);
        let pid = RealExec.start(&cmd, Path::new("/dev/null")).unwrap();
        // The kernel says that a program was started a moment before its arguments can be read.
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() && Instant::now() < deadline {
            wait::pause(&Stop::default(), Duration::from_millis(1)).unwrap();
        }
        Started::of(pid, String::new(), cmd.to_string(), None).unwrap()
    }

    fn mark(name: &str) -> String {
        format!("kafka-lab-test-{}-{name}", std::process::id())
    }

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        let line =
            "1234 (a (b) c) S 1 1234 1234 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 1000 10 18446744073709551615";
        let stat = Stat { state: 'S', threads: 1, start_ticks: 98765, vsize: 1000 };
        assert_eq!(parse_stat(line), Some(stat));
        let dying = "1234 (java) D 1 1234 1234 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 98765 0 0 18446744073709551615";
        assert_eq!(parse_stat(dying), Some(Stat { state: 'D', vsize: 0, ..stat }));
        assert_eq!(parse_stat("garbage"), None);
        assert_eq!(parse_stat("1 (x) S 1"), None);
    }

    #[test]
    fn a_started_process_leads_its_own_session_and_ends_on_request() {
        let started = sleeper(&mark("session"));
        let line = fs::read_to_string(format!("/proc/{}/stat", started.identity.pid)).unwrap();
        let session = line[line.rfind(')').unwrap() + 1..].split_whitespace().nth(3).unwrap().to_string();
        // The record is taken right after the fork, maybe before setsid(2); by now the shell runs.
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut leads = session == started.identity.pid.to_string();
        while !leads && Instant::now() < deadline {
            wait::pause(&Stop::default(), Duration::from_millis(10)).unwrap();
            let line = fs::read_to_string(format!("/proc/{}/stat", started.identity.pid)).unwrap();
            leads = line[line.rfind(')').unwrap() + 1..].split_whitespace().nth(3)
                == Some(&started.identity.pid.to_string());
        }
        assert!(leads, "it is not the leader of a session of its own");
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
}
