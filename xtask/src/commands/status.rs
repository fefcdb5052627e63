//! `status`: shows what runs and whether it serves.

use crate::cli::Format;
use crate::commands::session::Session;
use crate::failure::{Exit, Result};
use crate::plan;
use crate::report;
use crate::show::print_text;

impl Session<'_> {
    /// `status`.
    ///
    /// # Errors
    /// The lab is not up.
    pub fn status(&self) -> Result<Exit> {
        let (mut lab, jars) = self.recorded()?;
        let plan = plan::status(&lab);
        if self.global.dry_run {
            return Ok(self.dry_run("status", &lab, &jars, &plan));
        }
        // `status` does not wait for what is missing.
        let timeouts = &mut lab.settings.timeouts_s;
        (timeouts.broker, timeouts.pods, timeouts.clients) = (3, 3, 6);
        let report = self.run("status", &lab, &jars, &plan);
        let ctx = self.ctx(&lab, &jars, self.stop);
        match lab.format {
            Format::Json => report::json("status", &ctx, &report),
            Format::Text => print_text(&format!("\n{}", report::endpoints(&ctx, true))),
        }
        Ok(match report.exit() {
            Exit::Step => Exit::Fault,
            exit => exit,
        })
    }
}
