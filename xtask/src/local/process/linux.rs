//! Processes on Linux: proc(5), and pidfds for signals.

use std::fs;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Identity, Life, Memory, Stat};

/// Of the kernel's own threads, the flag `PF_KTHREAD` of linux/sched.h.
const OF_THE_KERNEL: u64 = 0x0020_0000;

/// The id of the current boot.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().into()
}

/// The status of a process; `None` if it does not exist.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Parses /proc/PID/stat. The command name, in parentheses, may itself contain spaces and parentheses. A thread of the
/// kernel is no process.
///
/// The fields of proc(5) are 3 for the state, 9 for the flags, 20 for the threads, 22 for the start and 23 for the
/// virtual memory. An exiting process releases its memory long before it is a zombie, and then its files, locks and
/// ports, thread by thread.
pub fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let (threads, start_ticks, memory) = (number(20)?, number(22)?, number(23)?);
    if number(9)? & OF_THE_KERNEL != 0 {
        return None;
    }
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

/// Sends `signal`. The pidfd pins the process while its start is compared, so that the signal cannot reach a later
/// process with the same id.
pub fn signal(identity: &Identity, signal: Signal) -> Result<(), Errno> {
    let pid = i32::try_from(identity.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    let fd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| Errno::SRCH)?;
    if identity.life() == Life::Gone {
        return Err(Errno::SRCH);
    }
    pidfd_send_signal(&fd, signal)
}

/// Every process with its arguments, each followed by a zero byte. Lazy, so that the caller examines a process right
/// after its command line was read.
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
        // Exiting, and a zombie whose other threads still close files.
        assert_eq!(parse_stat(&line("D", 1, 0)), stat(Life::Gone, false));
        assert_eq!(parse_stat(&line("Z", 3, 0)), stat(Life::Gone, false));
        assert_eq!(parse_stat(&line("Z", 1, 0)), stat(Life::Gone, true));
        let thread = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 2 0 0 20 0 1 0 3 0 0 18446744073709551615";
        assert_eq!(parse_stat(thread), None);
        assert_eq!(parse_stat("garbage"), None);
        assert_eq!(parse_stat("1 (x) S 1"), None);
    }
}
