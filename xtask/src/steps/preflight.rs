//! Preflight: finds every problem of this machine, each with its fix, before anything is changed.

use crate::config::Lab;
use crate::exec::noexec;
use crate::failure::{Exit, Failure, Result};
use crate::findings::{Findings, install_line};
use crate::task::{Ctx, Outcome, Task};

/// Returns the preview of [`run`].
pub fn preview(ctx: &Ctx<'_>) -> Vec<String> {
    ctx.driver.preview_preflight(ctx.lab)
}

/// Runs every check.
///
/// # Errors
/// All problems in one failure, with exit code 3.
pub fn run(task: &Task<'_>) -> Result<Outcome> {
    let findings = look(task)?;
    if findings.problems.is_empty() {
        let mut outcome = Outcome::passed(findings.notes.join(", "));
        outcome.warnings = findings.warnings;
        return Ok(outcome);
    }
    let lines: Vec<String> = findings
        .problems
        .iter()
        .map(|problem| match &problem.fix {
            Some(fix) => format!("\n  - {}\n    fix: {fix}", problem.what),
            None => format!("\n  - {}\n    fix: {}", problem.what, install_line(&problem.packages)),
        })
        .collect();
    let count = findings.problems.len();
    let what = format!(
        "this machine lacks {}:{}",
        if count == 1 { "one thing".into() } else { format!("{count} things") },
        lines.concat()
    );
    let failure = Failure::new(Exit::Preflight, what);
    let packages = findings.packages();
    Err(if packages.is_empty() || !cfg!(target_os = "linux") {
        failure
    } else {
        failure.fix(format!("cargo xtask up --fix, which runs: {}", install_line(&packages)))
    })
}

/// Runs every check and returns the findings.
///
/// # Errors
/// An interruption. Everything else is a finding.
pub fn look(task: &Task<'_>) -> Result<Findings> {
    find(task, Findings::default())
}

/// Runs every check without changing anything, not even to try, and returns the findings.
///
/// # Errors
/// As [`look`].
pub fn inspect(task: &Task<'_>) -> Result<Findings> {
    find(task, Findings { look_only: true, ..Findings::default() })
}

fn find(task: &Task<'_>, mut findings: Findings) -> Result<Findings> {
    task.ctx.driver.preflight(task, &mut findings)?;
    buildable(task.lab(), &mut findings);
    Ok(findings)
}

/// The clients' program must run where cargo builds it. librdkafka's makefiles, which run below cargo's target folder,
/// do not support spaces in paths.
fn buildable(lab: &Lab, findings: &mut Findings) {
    let target = &lab.env.target;
    if noexec(target) {
        findings.problem(
            format!("no program runs from {}: its disk is mounted with noexec", target.display()),
            "move the project, or set CARGO_TARGET_DIR to a folder on another disk",
        );
    }
    if target.to_string_lossy().contains(char::is_whitespace) && !lab.clients_program().exists() {
        findings.problem(
            format!("librdkafka cannot be built in {}: the path contains a space", target.display()),
            "move the project, or set CARGO_TARGET_DIR to a path without spaces",
        );
    }
}
