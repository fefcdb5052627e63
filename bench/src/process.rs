//! Runs programs and measures what they took: CPU by wait4(2), peak memory from /proc.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use wait4::Wait4;

use crate::machine;
use crate::stop::{Interrupted, Stop};

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// After this time a process that was told to end is killed.
const END_WITHIN: Duration = Duration::from_secs(60);

/// Which of our variables a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variables {
    /// Where programs and files are: variables such as COUNT mean something to the clients that are measured.
    Few,
    /// All: builds need proxies and caches.
    All,
}

/// A program that runs in a process group of its own, so that Ctrl-C reaches it only through us.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    begin: Instant,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    peak_kib: u64,
    samples: Vec<Sample>,
}

/// The CPU seconds that a process had used at a time since its start.
type Sample = (f64, f64);

/// How a program ran.
#[derive(Debug)]
pub struct Ran {
    pub stdout: String,
    pub wall_s: f64,
    /// User and system time of the process and its children.
    pub cpu_s: f64,
    /// Peak resident memory of the process.
    pub peak_kib: u64,
    samples: Vec<Sample>,
}

impl Ran {
    /// How many cores the process kept busy in the busiest period of `seconds`. What it measures of itself is such a
    /// period; its start and its end are not.
    pub fn busy(&self, seconds: f64) -> f64 {
        busiest(&self.samples, seconds)
    }
}

fn busiest(samples: &[Sample], seconds: f64) -> f64 {
    let Some(last) = samples.last() else { return 0.0 };
    let share = |(at, (begin, before)): (usize, &Sample)| {
        let end = samples[at..].iter().find(|(time, _)| time - begin >= seconds).unwrap_or(last);
        (end.1 - before) / (end.0 - begin).max(seconds)
    };
    samples.iter().enumerate().map(share).fold(0.0, f64::max)
}

fn reading(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read before an error is what there is.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(argv: &[String], variables: Variables, more: &[(&str, &Path)]) -> Result<Self> {
        let (program, args) = argv.split_first().context("no program to run")?;
        let mut command = Command::new(program);
        if variables == Variables::Few {
            command.env_clear();
            for name in ["PATH", "HOME", "TMPDIR", "TZ"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
            command.env("LC_ALL", "C.UTF-8");
        }
        command.args(args).envs(more.iter().copied()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let (stdout, stderr) = (reading(child.stdout.take()), reading(child.stderr.take()));
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, child, begin, stdout, stderr, peak_kib: 0, samples: Vec::new() })
    }

    fn signal(&self, signal: Signal) {
        // The group exists as long as the child was not waited for.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Whether it has ended. A process that was not waited for yet is a zombie.
    fn ended(&mut self) -> bool {
        let dir = Path::new("/proc").join(self.child.id().to_string());
        let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        // The peak only grows, so what was seen last is it but for the last milliseconds.
        if let Some(peak) = peak_kib(&read("status")) {
            self.peak_kib = peak;
        }
        let stat = read("stat");
        self.samples.push((self.begin.elapsed().as_secs_f64(), machine::cpu_seconds(&stat)));
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It failed, did not end within the time or was interrupted; then it is ended.
    pub fn finish(mut self, within: Duration, stop: &Stop) -> Result<Ran> {
        let mut cut: Option<(anyhow::Error, Instant)> = None;
        while !self.ended() {
            match &cut {
                None if stop.requested() => {
                    self.signal(Signal::INT);
                    cut = Some((Interrupted.into(), Instant::now()));
                }
                None if self.begin.elapsed() > within => {
                    self.signal(Signal::TERM);
                    let what = anyhow!("{} did not end within {} s", self.name, within.as_secs());
                    cut = Some((what, Instant::now()));
                }
                Some((_, since)) if since.elapsed() > END_WITHIN => self.signal(Signal::KILL),
                _ => {}
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let wall_s = self.begin.elapsed().as_secs_f64();
        let used = self.child.wait4().with_context(|| format!("cannot wait for {}", self.name))?;
        let text = |read: JoinHandle<String>| read.join().unwrap_or_default();
        let (stdout, stderr) = (text(self.stdout), text(self.stderr));
        if let Some((why, _)) = cut {
            return Err(why);
        }
        if !used.status.success() {
            let said = if stderr.trim().is_empty() { &stdout } else { &stderr };
            let lines: Vec<&str> = said.lines().collect();
            bail!("{} ended with {}: {}", self.name, used.status, lines[lines.len().saturating_sub(8)..].join("\n"));
        }
        let cpu_s = (used.rusage.utime + used.rusage.stime).as_secs_f64();
        Ok(Ran { stdout, wall_s, cpu_s, peak_kib: self.peak_kib, samples: self.samples })
    }
}

/// Runs a program to its end.
///
/// # Errors
/// As [`Running::finish`].
pub fn run(argv: &[String], variables: Variables, within: Duration, stop: &Stop) -> Result<Ran> {
    Running::start(argv, variables, &[])?.finish(within, stop)
}

fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A program on PATH.
pub fn find(name: &str) -> Option<String> {
    let paths = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|path| path.is_file())?;
    found.into_os_string().into_string().ok()
}

/// Words as arguments.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn sh(script: &str, within_ms: u64) -> Result<Ran> {
        run(&words(&["sh", "-c", script]), Variables::Few, Duration::from_millis(within_ms), &Stop::default())
    }

    #[test]
    fn a_program_and_its_children_are_measured() {
        let ran = sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done", 60_000).unwrap();
        assert_eq!(ran.stdout, "done\n");
        assert!(ran.cpu_s > 0.02 && ran.cpu_s < ran.wall_s * 1.5 && ran.peak_kib > 100, "{ran:?}");
        let child = sh("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; true", 60_000).unwrap();
        assert!(child.cpu_s > 0.02, "{child:?}");
    }

    #[test]
    fn the_busiest_period_is_found_wherever_it_is() {
        // A second of waiting, two of work on one core, a second of waiting.
        let samples: Vec<Sample> =
            (0..=40).map(|at| f64::from(at) / 10.0).map(|t| (t, (t - 1.0).clamp(0.0, 2.0))).collect();
        let near = |seconds, expected: f64| (busiest(&samples, seconds) - expected).abs() < 0.01;
        assert!(near(2.0, 1.0) && near(1.0, 1.0) && near(4.0, 0.5) && near(100.0, 0.02));
        assert_eq!((busiest(&[], 1.0), busiest(&[(0.0, 0.0)], 1.0)), (0.0, 0.0));
    }

    #[test]
    fn what_fails_says_why_and_what_hangs_is_ended() {
        let why = |ran: Result<Ran>| ran.unwrap_err().to_string();
        assert!(why(sh("echo no broker >&2; exit 3", 60_000)).contains("exit status: 3: no broker"));
        assert_eq!(why(sh("sleep 300", 200)), "sh did not end within 0 s");
        assert!(
            why(run(&words(&["/nowhere/x"]), Variables::Few, Duration::ZERO, &Stop::default())).contains("/nowhere/x")
        );
    }

    #[test]
    fn the_clients_variables_do_not_reach_a_program_that_is_measured() {
        let ran = sh("echo ${CARGO_MANIFEST_DIR:-unset} ${LC_ALL}", 60_000).unwrap();
        assert_eq!(ran.stdout, "unset C.UTF-8\n");
    }
}
