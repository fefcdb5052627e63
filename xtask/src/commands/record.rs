//! `record`: builds and starts the observer, a program of its own (`observer/`), which asks the brokers.

use crate::cli::RecordArgs;
use crate::commands::bench::release;
use crate::commands::session::Session;
use crate::exec::{Exec, RealExec};
use crate::failure::{Failure, Result};
use crate::show::{print_text, tell};
use crate::state::JOURNAL_FILE;
use crate::task::Ctx;
use crate::words::quoted;

impl Session<'_> {
    /// `record`; returns the observer's exit code.
    ///
    /// # Errors
    /// The lab is not up, the file exists, or cargo cannot be started.
    pub fn record(&self, args: &RecordArgs) -> Result<i32> {
        if let Some(out) = args.out.as_ref().filter(|out| out.symlink_metadata().is_ok()) {
            let what = format!("{} exists, and a recording is never written over", out.display());
            return Err(Failure::usage(what).fix("give --out another name, or remove the file"));
        }
        let (lab, jars) = self.recorded()?;
        let build = release(self.env, "build").args(["--quiet", "--package", "observer"]);
        let mut observer = release(self.env, "run").args(["--quiet", "--package", "observer", "--"]);
        observer = observer.args(subject(&self.ctx(&lab, &jars, self.stop)));
        if let Some(seconds) = args.duration {
            observer = observer.arg(format!("--duration={seconds}"));
        }
        if let Some(out) = &args.out {
            let out = std::path::absolute(out).unwrap_or_else(|_| out.clone());
            observer = observer.arg("--out").arg(out);
        }
        if self.global.dry_run {
            print_text(&format!("{build}\n{observer}\n"));
            return Ok(0);
        }
        tell("record: building the observer");
        match RealExec.attached(&build)? {
            0 => {}
            failed => return Ok(failed),
        }
        let until = if args.duration.is_some() { "until the time is over" } else { "until Ctrl-C" };
        if let Some(out) = &args.out {
            tell(&format!("record: writing {} {until}", quoted(out.as_os_str())));
        }
        RealExec.attached_until(&observer, self.stop)
    }
}

/// Returns the arguments that say which lab is observed.
pub(super) fn subject(ctx: &Ctx<'_>) -> Vec<String> {
    let lab = ctx.lab;
    let mut args = vec![
        format!("--lab={}", lab.name),
        format!("--backend={}", lab.backend),
        format!("--kafka={}", lab.release),
        format!("--topic={}", lab.facts.topic),
        format!("--journal={}", lab.state.join(JOURNAL_FILE).display()),
    ];
    args.extend(lab.broker_ids().map(|id| format!("--broker={id}={}", lab.broker_address(id))));
    let files = ctx.driver.state_files(lab).into_iter();
    args.extend(files.map(|(client, file)| format!("--client={client}={}", file.display())));
    if lab.release.mode.has_quorum() {
        args.push("--quorum".into());
    }
    args
}
