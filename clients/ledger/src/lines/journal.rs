//! The journal of a lab, to which xtask's commands add what they do, and which the observer reads.

use serde::{Deserialize, Serialize};

use super::marked::SchemaName;

/// Schema of a [`JournalEntry`].
pub const JOURNAL: &str = "kafka-lab.journal/1";

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalEntry<L> {
    /// [`JOURNAL`].
    pub schema: SchemaName,
    /// When it happened: ms by CLOCK_MONOTONIC, which is the same for all processes of a machine.
    pub clock_ms: u64,
    /// The command.
    pub command: String,
    /// What happened: a line of docs/schema/xtask.json.
    pub line: L,
}
