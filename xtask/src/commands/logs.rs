//! `logs` and `clients logs`.

use crate::cli::{ClientLogs, Logs};
use crate::commands::session::Session;
use crate::drivers;
use crate::failure::{Exit, Result};
use crate::task::{Tail, Whose};

impl Session<'_> {
    /// `logs`: of one process, or of all.
    ///
    /// # Errors
    /// Nothing is up, or there is no such process.
    pub fn logs(&self, args: &Logs) -> Result<Exit> {
        let whose = args.process.clone().map_or(Whose::All, Whose::One);
        self.print_logs(&whose, Tail { lines: args.lines, follow: args.follow })
    }

    /// `clients logs`: of the producer and the consumer.
    ///
    /// # Errors
    /// Nothing is up.
    pub(super) fn client_logs(&self, args: &ClientLogs) -> Result<Exit> {
        self.print_logs(&Whose::Clients, Tail { lines: args.lines, follow: args.follow })
    }

    fn print_logs(&self, whose: &Whose, tail: Tail) -> Result<Exit> {
        let (lab, _) = self.recorded()?;
        drivers::of(lab.backend).logs(&lab, whose, tail, self.stop)
    }
}
