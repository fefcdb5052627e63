//! `dashboard`, `replay` and `report`: build and start the page's program (`page/`), which serves it.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::{DashboardArgs, ReplayArgs, ReportArgs, ServeArgs};
use crate::commands::bench::release;
use crate::commands::drill::offered;
use crate::commands::record::subject;
use crate::commands::session::Session;
use crate::config::Lab;
use crate::exec::{Cmd, Exec, RealExec};
use crate::failure::{Exit, Failure, Result};
use crate::show::{print_text, tell};

/// Programs that open an address in the user's browser, on Linux and on macOS.
const OPENERS: [&str; 2] = ["xdg-open", "open"];

/// Something that the page offers to do. The page's program reads it (`page/src/actions.rs`).
#[derive(Serialize)]
struct Action<'a> {
    action: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
    title: String,
    about: &'a str,
    /// The command as people type it.
    line: String,
    command: Vec<String>,
}

impl Session<'_> {
    /// `dashboard`; returns the program's exit code.
    ///
    /// # Errors
    /// The lab is not up, the file exists, or cargo cannot be started.
    pub fn dashboard(&self, args: &DashboardArgs) -> Result<i32> {
        if let Some(out) = args.out.as_ref().filter(|out| out.symlink_metadata().is_ok()) {
            let what = format!("{} exists, and a recording is never written over", out.display());
            return Err(Failure::usage(what).fix("give --out another name, or remove the file"));
        }
        let (lab, jars) = self.recorded()?;
        let mut page = page(self, "dashboard").args(subject(&self.ctx(&lab, &jars, self.stop)));
        page = self.served(page, &args.serve)?.arg(format!("--actions={}", actions(&lab)?));
        if let Some(out) = &args.out {
            page = page.arg("--out").arg(absolute(out));
        }
        self.show_page(&page)
    }

    /// `replay`; returns the program's exit code.
    ///
    /// # Errors
    /// The file does not exist, or cargo cannot be started.
    pub fn replay(&self, args: &ReplayArgs) -> Result<i32> {
        let page = page(self, "replay").arg(existing(&args.file)?);
        self.show_page(&self.served(page, &args.serve)?)
    }

    /// `report`; returns the program's exit code.
    ///
    /// # Errors
    /// The file does not exist, or cargo cannot be started.
    pub fn report(&self, args: &ReportArgs) -> Result<i32> {
        let page = page(self, "report").arg(existing(&args.file)?).arg("--out").arg(absolute(&args.out));
        self.show_page(&page)
    }

    /// Adds the flags of a page that is served.
    fn served(&self, page: Cmd, args: &ServeArgs) -> Result<Cmd> {
        let page = page.arg(format!("--port={}", args.port));
        if !args.open {
            return Ok(page);
        }
        match OPENERS.iter().find_map(|name| self.env.find(name)) {
            Some(program) => Ok(page.arg("--open").arg(program)),
            None => {
                let what = "--open: neither xdg-open nor open is on PATH";
                Err(Failure::usage(what).fix("leave --open out, and open the address that is printed"))
            }
        }
    }

    /// Builds the program and runs it until it ends.
    fn show_page(&self, page: &Cmd) -> Result<i32> {
        let build = release(self.env, "build").args(["--quiet", "--package", "page"]);
        if self.global.dry_run {
            print_text(&format!("{build}\n{page}\n"));
            return Ok(0);
        }
        tell("page: building it");
        match RealExec.attached(&build)? {
            0 => RealExec.attached_until(page, self.stop),
            failed => Ok(failed),
        }
    }
}

fn page(session: &Session<'_>, command: &str) -> Cmd {
    release(session.env, "run").args(["--quiet", "--package", "page", "--", command])
}

/// The program runs in the project's folder.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

fn existing(file: &Path) -> Result<PathBuf> {
    match file.metadata() {
        Ok(_) => Ok(absolute(file)),
        Err(error) => {
            let what = format!("cannot read {}: {}", file.display(), ledger::cause::in_words(error));
            Err(Failure::usage(what).fix("`cargo xtask record --out FILE` writes a recording"))
        }
    }
}

/// Returns what the page offers to do to a lab, as JSON.
fn actions(lab: &Lab) -> Result<String> {
    let this = std::env::current_exe().map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))?;
    let action = |action, fault, title: String, about, line: &str| {
        let words = line.split(' ').map(str::to_owned).chain(["--name".into(), lab.name.clone()]);
        let command = std::iter::once(this.display().to_string()).chain(words).collect();
        Action { action, fault, title, about, line: lab.xtask(line), command }
    };
    let clients = [
        ("clients-start", "Start the clients", "starts the producer and the consumer of clients.yml", "clients start"),
        ("clients-stop", "Stop the clients", "the producer flushes, and both write their last counts", "clients stop"),
    ];
    let clients = clients.map(|(name, title, about, line)| action(name, None, title.into(), about, line));
    let verify = action("verify", None, "Verify".into(), "runs every check, with messages of its own", "verify");
    let drills = offered(lab).into_iter().map(|fault| {
        action(
            "drill",
            Some(fault.name),
            format!("Drill {}", fault.name),
            fault.breaks,
            &format!("drill {}", fault.name),
        )
    });
    let all: Vec<Action<'_>> = clients.into_iter().chain([verify]).chain(drills).collect();
    serde_json::to_string(&all).map_err(|error| Failure::new(Exit::Unexpected, error.to_string()))
}
