//! The advice of a failure, followed as it is printed.

use std::process::Command;
use std::time::Duration;

use super::within;
use crate::common::Ran;

/// The commands of the first way out of each `fix:` line, in order.
pub fn commands(ran: &Ran) -> Vec<String> {
    let fixes = ran.stderr.lines().filter_map(|line| line.trim_start().strip_prefix("fix: "));
    let mut found: Vec<String> = Vec::new();
    for fix in fixes {
        // One way is enough.
        let first = fix.split_once("; or ").or_else(|| fix.split_once(", or ")).map_or(fix, |(first, _)| first);
        let quoted = first.split('`').skip(1).step_by(2).filter(|word| is_command(word)).map(ToString::to_string);
        let quoted: Vec<String> = quoted.collect();
        let line = if is_command(first) { vec![first.to_string()] } else { quoted };
        found.extend(line.into_iter().filter(|line| !found.contains(line)).collect::<Vec<_>>());
    }
    found
}

fn is_command(text: &str) -> bool {
    ["cargo xtask ", "rm ", "kill ", "mv "].iter().any(|program| text.starts_with(program))
}

/// Runs one of [`commands`] by a shell, as if cargo were `command`, whose environment it gets. `more` is added to
/// `up`.
pub fn follow(line: &str, command: &Command, more: &str) -> Ran {
    let mut shell = Command::new("sh");
    let line = match line.strip_prefix("cargo xtask up") {
        Some(rest) if !rest.contains("--port-base") => format!("cargo xtask up{rest} {more}"),
        _ => line.to_string(),
    };
    let program = command.get_program().to_str().unwrap();
    shell.args(["-c", &line.replace("cargo xtask", &format!("'{program}'"))]);
    for (key, value) in command.get_envs() {
        shell.env(key, value.unwrap_or_default());
    }
    within(Duration::from_secs(180), &mut shell)
}
