//! Processes on systems other than Linux. The kind backend needs them there, for its drills and to find leftovers.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use sysinfo::{ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

use super::{Identity, Life, Memory, Stat};

/// Empty: a start time in seconds since the Unix epoch does not depend on the boot.
#[cfg(not(target_os = "linux"))]
pub fn boot_id() -> String {
    String::new()
}

fn ask<T>(pid: u32, answer: impl FnOnce(&sysinfo::Process) -> T) -> Option<T> {
    let (mut system, pid) = (System::new(), sysinfo::Pid::from_u32(pid));
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    system.process(pid).map(answer)
}

/// The status of a process; `None` if it does not exist.
pub fn stat(pid: u32) -> Option<Stat> {
    ask(pid, |process| {
        let life = match process.status() {
            ProcessStatus::Zombie | ProcessStatus::Dead => Life::Gone,
            ProcessStatus::Stop => Life::Paused,
            _ => Life::Running,
        };
        Stat { life, over: life == Life::Gone, start_ticks: process.start_time() }
    })
}

/// A process's memory in KiB. The peak is not available.
pub fn memory_kib(pid: u32, which: Memory) -> Option<u64> {
    (which == Memory::Resident).then(|| ask(pid, |process| process.memory() / 1024)).flatten()
}

/// Sends `signal`. The id could pass to another process just before the signal; these systems cannot prevent that.
pub fn signal(identity: &Identity, signal: Signal) -> Result<(), Errno> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    match stat(identity.pid) {
        Some(stat) if stat.start_ticks == identity.start_ticks && stat.life != Life::Gone => kill_process(pid, signal),
        _ => Err(Errno::SRCH),
    }
}

/// Every process with its arguments, each followed by a zero byte.
pub fn command_lines() -> impl Iterator<Item = (u32, Vec<u8>)> {
    let mut system = System::new();
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let line = |process: &sysinfo::Process| {
        process.cmd().iter().flat_map(|arg| [arg.as_encoded_bytes(), b"\0"].concat()).collect::<Vec<u8>>()
    };
    let lines: Vec<_> = system.processes().iter().map(|(pid, process)| (pid.as_u32(), line(process))).collect();
    lines.into_iter()
}
