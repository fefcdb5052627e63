//! The machine: what it is, and how busy its processors were.

use std::path::Path;

use crate::result::Machine;

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// What this machine is.
pub fn describe() -> Machine {
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    Machine {
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
        cores: cores(),
        memory_mib: memory.trim_end_matches(" kB").parse().unwrap_or(0) / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        load: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
    }
}

/// The number of cores that we may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// CPU seconds, from some moment on.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// Of the whole machine.
    pub machine: f64,
    /// Of some processes.
    pub processes: f64,
    /// Of ourselves.
    pub us: f64,
}

impl Busy {
    /// What was used until now.
    pub fn now(pids: &[u32]) -> Self {
        let of = |pid: &str| {
            let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
            cpu_seconds(&stat)
        };
        Self {
            machine: machine_ticks(&read("/proc/stat")) as f64 / rustix::param::clock_ticks_per_second() as f64,
            processes: pids.iter().map(|pid| of(&pid.to_string())).sum(),
            us: of("self"),
        }
    }

    /// What was used since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            machine: self.machine - earlier.machine,
            processes: self.processes - earlier.processes,
            us: self.us - earlier.us,
        }
    }
}

/// User and system time in `/proc/PID/stat`, without children.
pub fn cpu_seconds(stat: &str) -> f64 {
    process_ticks(stat) as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// The same in ticks.
fn process_ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// The time in `/proc/stat` that processes took, and that a hypervisor took. Interrupts are nobody's: on loopback they
/// are the work of those who are measured.
fn machine_ticks(stat: &str) -> u64 {
    let line = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is in user already.
    fields.iter().take(8).enumerate().filter(|(at, _)| !(3..=6).contains(at)).map(|(_, ticks)| ticks).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_where_the_kernel_writes_them() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 7 9 20 0 1 0 900 1000 200 184";
        assert_eq!(process_ticks(stat), 200);
        assert_eq!(machine_ticks("cpu  10 1 20 1000 500 2 3 4 9 9\ncpu0 1"), 35);
        assert_eq!((process_ticks(""), machine_ticks("")), (0, 0));
    }

    #[test]
    fn this_machine_is_described() {
        let machine = describe();
        assert!(machine.cores > 0 && machine.memory_mib > 100 && !machine.kernel.is_empty(), "{machine:?}");
        let before = Busy::now(&[std::process::id()]);
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 100 {}
        let busy = Busy::now(&[std::process::id()]).since(before);
        assert!(busy.us > 0.01 && busy.machine >= 0.01 && busy.processes > 0.01, "{busy:?}");
    }
}
