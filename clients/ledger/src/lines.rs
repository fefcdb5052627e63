//! The JSON lines of the clients, of the questions to brokers and of the verdict: the contract between the clients'
//! program, xtask and whoever else reads them. Each line is declared here once; it is written and read with these types.
//!
//! Each line is one object that begins `{"schema":"kafka-lab.NAME/1",` so that it can be told from other output it was
//! mixed with. Fields are added to a schema without a new number; readers ignore what they do not know. Times are
//! milliseconds: `time_ms` since the Unix epoch, `elapsed_ms` since the process began its work. Intervals are half-open
//! pairs `[from, to)`. Counters never go down, except `missing`, `unread` and `in_flight`, and those of a partition whose
//! log turns out to be another one than was read. The words are those of [`crate`]. docs/schema/lines.json says the same
//! to programs, and tests hold both together.
//!
//! The last `"checkpoint"` or `"end"` of a producer or a consumer is also in its `--state-file`, in any format;
//! `clients state` prints it. Every state has its sets whole, since the last one of a process that died is its promise;
//! they are small as long as nothing goes wrong.

mod marked;
mod questions;
mod states;
mod verdicts;

pub use self::marked::{Line, Schema};
pub use self::questions::{
    BrokerInfo, METADATA, Metadata, OFFSETS, Offsets, PROBE, PartitionInfo, Probe, ProbeEvent, TopicInfo, Watermarks,
};
pub use self::states::{
    CONSUMER, ConsumerStart, ConsumerState, Event, GAP, Gap, LINE_INTERVALS_MAX, Milestone, PRODUCER, ProducerStart,
    ProducerState, Reason, ReceivePartition, ReceiveStream, ReceiveTotals, SendPartition, SendStream, SendTotals, Span,
};
pub use self::verdicts::{Evidence, Finding, Kind, LEDGER, RUNNING, Report, Row, Standing, Verdict};
pub use crate::received::Explained;
