//! Processes as Linux tells of them: proc(5), and pidfds for signals.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Identity, Life, Memory, Stat};

/// Which boot this is.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

/// What it says of a process; `None` when there is none.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name, in parentheses, may hold spaces and parentheses itself: what counts comes after the last one.
///
/// Fields are those of proc(5): 3 the state, 20 the threads, 22 the start, 23 the virtual memory. On its way out a
/// process gives its memory back well before it counts as dead, and its files, locks and ports after that, thread by thread.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let (threads, start_ticks, memory) = (number(20)?, number(22)?, number(23)?);
    let (life, over) = match *fields.first()? {
        "Z" | "X" | "x" => (Life::Gone, threads <= 1),
        "T" | "t" => (Life::Paused, false),
        _ if memory == 0 => (Life::Gone, false),
        _ => (Life::Running, false),
    };
    Some(Stat { life, over, start_ticks })
}

/// A process's memory in KiB.
pub fn memory_kib(pid: u32, which: Memory) -> Option<u64> {
    let field = match which {
        Memory::Resident => "VmRSS:",
        Memory::Peak => "VmHWM:",
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Sends `signal`. The pidfd pins the process while its start is compared, so that the signal cannot reach a later process
/// of the same id.
pub fn signal(identity: &Identity, signal: Signal) -> Result<(), Errno> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Errno::SRCH)?;
    if identity.life() == Life::Gone {
        return Err(Errno::SRCH);
    }
    pidfd_send_signal(&fd, signal)
}

/// Every process, and its arguments as they are kept: each ends with a zero byte. One after the other is read, so that what
/// the caller asks of a process comes right after its line.
pub fn command_lines() -> impl Iterator<Item = (u32, Vec<u8>)> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    pids.filter_map(|pid| Some((pid, fs::read(format!("/proc/{pid}/cmdline")).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_the_last_parenthesis() {
        let line = |state: &str, threads: u32, memory: u32| {
            format!(
                "1234 (a (b) c) {state} 1 1234 1234 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 {threads} 0 98765 {memory} 10 18446744073709551615"
            )
        };
        let stat = |life, over| Some(Stat { life, over, start_ticks: 98765 });
        assert_eq!(parse_stat(&line("S", 1, 1000)), stat(Life::Running, false));
        assert_eq!(parse_stat(&line("T", 1, 1000)), stat(Life::Paused, false));
        // Dying, and dead while other threads of it still close files.
        assert_eq!(parse_stat(&line("D", 1, 0)), stat(Life::Gone, false));
        assert_eq!(parse_stat(&line("Z", 3, 0)), stat(Life::Gone, false));
        assert_eq!(parse_stat(&line("Z", 1, 0)), stat(Life::Gone, true));
        assert_eq!(parse_stat("garbage"), None);
        assert_eq!(parse_stat("1 (x) S 1"), None);
    }
}
