//! The delivery stamp: what the producer writes into a record's value, and how it is read back.
//!
//! It is one line of text, so that `kafka-console-consumer` shows something readable:
//!
//! ```text
//! 0.332517 kl2 demo 9f3c01aa 0 2 41 1732347335123 ........ 5d0f9e21
//! number   magic run producer epoch partition sequence sent-ms [filler] crc32c
//! ```
//!
//! Fields are separated by one space. `producer` is a random 32-bit number, eight hexadecimal digits, drawn by each
//! process; `epoch` counts the producer handles of that process from 0. So a restarted producer never continues the
//! sequences of its predecessor, and neither has to know about the other. `sequence` is dense from 0 for each (run,
//! producer, epoch, partition). The last field is the CRC-32C of all bytes before it, including the space: the checksum
//! that Kafka's record batches use (KIP-98), which CPUs have an instruction for. There is no key and there are no
//! headers, so only the value has to survive.

mod encoder;
mod format;
mod reader;

pub use self::encoder::Encoder;
pub use self::format::{MAGIC, ProducerId, RUN_MAX, RunId, Stamp, Value, parse, sent_ms_of};
pub use self::reader::Reader;
