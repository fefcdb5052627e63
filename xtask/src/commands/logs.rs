//! `logs` and `clients logs`: print the lab's logs.

use crate::cli::{ClientLogsArgs, LogsArgs};
use crate::commands::session::Session;
use crate::drivers;
use crate::failure::{Exit, Result};
use crate::task::{LogSource, Tail};

impl Session<'_> {
    /// `logs`: of one process or all.
    ///
    /// # Errors
    /// The lab is not up, or the process does not exist.
    pub fn logs(&self, args: &LogsArgs) -> Result<Exit> {
        let source = args.process.clone().map_or(LogSource::All, LogSource::One);
        self.print_logs(&source, Tail { lines: args.lines, follow: args.follow })
    }

    /// `clients logs`: of the producer and the consumer.
    ///
    /// # Errors
    /// The lab is not up.
    pub(super) fn client_logs(&self, args: &ClientLogsArgs) -> Result<Exit> {
        self.print_logs(&LogSource::Clients, Tail { lines: args.lines, follow: args.follow })
    }

    fn print_logs(&self, source: &LogSource, tail: Tail) -> Result<Exit> {
        let (lab, _) = self.recorded()?;
        drivers::of(lab.backend).logs(&lab, source, tail, self.stop)
    }
}
