//! Disturbs a command at one of its steps.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::Value;

use super::Ran;

/// The result of a disturbed command.
pub struct Struck {
    /// Whether the step was reached.
    pub hit: bool,
    /// Whether no other event came after it.
    pub last: bool,
    pub ran: Ran,
    /// The time from the blow to the end.
    pub elapsed: Duration,
}

/// Runs a command with `--format json`. At the first of `events` that `wanted` accepts, by its number from 1 and its
/// step's title, calls `blow` with the process id.
pub fn strike(
    command: &mut Command,
    events: &[&str],
    wanted: impl Fn(usize, &str) -> bool,
    blow: impl Fn(Pid),
) -> Struck {
    command.args(["--format", "json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    let (mut steps, mut hit, mut blown_at, mut stdout) = (0, None, 0, String::new());
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        // The last line may be cut short.
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let counts = events.iter().any(|name| event["event"] == *name);
        steps += usize::from(counts);
        if counts && hit.is_none() && wanted(steps, event["step"].as_str().unwrap()) {
            blow(pid);
            (hit, blown_at) = (Some(Instant::now()), steps);
        }
        stdout = stdout + &line + "\n";
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let status = child.wait().unwrap();
    let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or(0));
    Struck {
        hit: hit.is_some(),
        last: blown_at == steps,
        ran: Ran { code, stdout, stderr },
        elapsed: hit.map_or(Duration::ZERO, |hit| hit.elapsed()),
    }
}
