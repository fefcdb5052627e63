//! The JSON lines of the clients, of queries to brokers, of verdicts and of the journal: the contract between the
//! clients' program, xtask, the observer and all other readers. Each line is declared here once, and is written and
//! read with these types.
//!
//! Each line is one object that begins with `{"schema":"kafka-lab.NAME/1",` so that it can be told from other output
//! that it is mixed with. Fields are added to a schema without a new version; readers ignore unknown fields. Times are
//! in milliseconds: `time_ms` since the Unix epoch, `elapsed_ms` since the process started its work. Intervals are
//! half-open pairs `[from, to)`. Counters never decrease, except `missing`, `unread` and `in_flight`, and those of a
//! partition whose log was recreated or truncated. The terms are those of [`crate`]. docs/schema/lines.json is the same
//! contract for programs; tests keep both in step.
//!
//! The last `"checkpoint"` or `"end"` of a producer or a consumer is also in its `--state-file`, in any format;
//! `clients state` prints it. Every state contains its sets whole, since the last one is what a process that died
//! promised. They are small as long as nothing goes wrong.

mod journal;
mod marked;
mod questions;
mod states;
mod verdicts;

pub use self::journal::{JOURNAL, JournalEntry};
pub use self::marked::{Line, SchemaName};
pub use self::questions::{
    BrokerInfo, METADATA, Metadata, OFFSETS, Offsets, PROBE, PartitionInfo, Probe, ProbeEvent, TopicInfo, Watermarks,
};
pub use self::states::{
    CONSUMER, ConsumerStart, ConsumerState, GAP, Gap, LINE_INTERVALS_MAX, Milestone, PRODUCER, ProducerStart,
    ProducerState, Reason, ReceivePartition, ReceiveStream, ReceiveTotals, SendPartition, SendStream, SendTotals, Span,
    StateEvent,
};
pub use self::verdicts::{Evidence, Finding, Kind, LEDGER, RUNNING, Report, Row, Standing, Verdict};
pub use crate::received::Explained;
