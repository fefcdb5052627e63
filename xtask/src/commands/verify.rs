//! `verify`: runs the checks of [`plan::verify`], and prints the account.

use crate::account;
use crate::cli::{Format, VerifyArgs};
use crate::commands::session::Session;
use crate::failure::{Exit, Failure, Result};
use crate::junit::{self, Suite};
use crate::plan;
use crate::report;
use crate::run::StepEnd;
use crate::show::print_text;
use crate::task::Outcome;

impl Session<'_> {
    /// `verify`.
    ///
    /// # Errors
    /// The lab is not up.
    pub fn verify(&self, verify: &VerifyArgs) -> Result<Exit> {
        if verify.messages == Some(0) {
            return Err(Failure::usage("--messages 0: a check without messages proves nothing"));
        }
        let junit = verify.junit.as_deref().filter(|_| !self.global.dry_run);
        junit::reported(junit, "verify", |suite| self.checked(verify, suite))
    }

    /// Runs the checks, adds them to `suite`, and prints the account.
    fn checked(&self, verify: &VerifyArgs, suite: &mut Suite) -> Result<Exit> {
        let (lab, jars) = self.recorded()?;
        let plan = plan::verify(&lab, verify.messages.unwrap_or(lab.settings.flow.messages));
        if self.global.dry_run {
            return Ok(self.dry_run("verify", &lab, &jars, &plan));
        }
        let report = self.run("verify", &lab, &jars, &plan);
        suite.add_steps(&report);
        if lab.format == Format::Json {
            report::json("verify", &self.ctx(&lab, &jars, self.stop), &report);
            return Ok(report.exit());
        }
        for result in &report.steps {
            if let StepEnd::Done(Outcome { flow: Some(flow), .. }) = &result.end {
                print_text(&format!("\n{}", account::table(flow)));
            }
        }
        let verdict = match report.exit() {
            Exit::Ok => "pass",
            Exit::Inconclusive => "inconclusive",
            Exit::Interrupted => "interrupted",
            Exit::NotUp => "the lab is not up",
            Exit::Fault => "fail",
            Exit::Step | Exit::Preflight | Exit::Usage | Exit::Unexpected => "not finished",
        };
        print_text(&format!("\nverify: {verdict}\n"));
        Ok(report.exit())
    }
}
