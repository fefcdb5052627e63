//! The ledger: what was sent, what became of it, what arrived, and the verdict over all of it. No Kafka, no clock, no
//! files.
//!
//! Everything here is a pure function of its input, so that tests can compare it with a naive model on thousands of
//! generated logs. The clients fill the ledgers and print them as lines; xtask reads the lines and judges.
//!
//! | module | purpose |
//! | --- | --- |
//! | [`stamp`] | what a record's value contains; writing and reading it |
//! | [`intervals`] | sets of sequence numbers |
//! | [`sent`] | the producer's side: acked, not persisted, unknown |
//! | [`received`] | the consumer's side: received, missing, duplicate, out of order |
//! | [`lines`] | the JSON lines: both sides, queries to brokers, verdicts |
//! | [`judge`] | the verdict |
//! | [`size`] | how large a value may be |
//! | [`cause`] | errors in words, for both programs |
//!
//! # Terms
//!
//! These terms have only this meaning:
//!
//! - *sent*: given a sequence number and accepted by librdkafka's queue. It is always true that
//!   `sent = acked + not_persisted + unknown + in flight`.
//! - *acked*: confirmed by the brokers; *not_persisted*: certainly never written; *unknown*: may or may not be in the
//!   log.
//! - *received*: a sequence that arrived, counted once; *duplicate*: a sequence that arrived again at another offset of
//!   the log.
//! - *missing*: a sequence below the highest one received that has not arrived. If it arrives later, it is
//!   *out_of_order*, no longer missing, and not a duplicate.
//! - *redelivered*: an offset that was read before. The reader causes that, not the log, so it counts neither as
//!   received nor as duplicate.
//! - *unread*: a sequence that may lie where nobody read: neither received nor missing.
//! - *foreign*: not one of our records; *copied*: a value of ours that someone else wrote again; *corrupt*: ours, but
//!   damaged; *misrouted*: ours, in a partition that its producer did not choose.
//! - *claim*: the last complete line of a producer, and how its process ended. A producer that ended normally claims
//!   everything it sent. One that was killed claims what the line says and promises nothing about what it did later.
//!   One that was told to stop owes its last line, and one that exits before it is done is a fault.
//! - *witness*: another consumer that read during the run. What it saw was in the log once.
//!
//! # What `pass` proves
//!
//! For a run, a range of offsets for each partition, the claims of its producers and the state of one consumer: every
//! sequence that some producer called acked is in the log exactly once, whole, in its partition and after all lower
//! ones of its stream; nothing called not persisted is there; nothing that a witness saw is gone; and nothing is there
//! that nobody sent. The only offsets without a record are those that the brokers' batches explain: transaction
//! markers, and compacted records.
//!
//! For running clients ([`judge::judge_running`]) it proves less: that consumer has read every sequence that a running
//! producer called acked so far, from the topic that both started with. It says nothing about producers that are gone.
//!
//! | obligation | implemented by | tested by |
//! | --- | --- | --- |
//! | A stamp that reads back is the one that was written: CRC-32C over all bytes. | [`stamp::parse`], and [`stamp::Reader`] with the same result | `every_changed_byte_and_every_cut_is_noticed`, `a_reader_says_of_every_value_what_parse_says…` |
//! | Sequences are dense: one is used up only if the queue accepts the record. | [`sent::SendLedger::accepted`] | `what_was_sent_is_always_acked_not_persisted_unknown_or_in_flight` |
//! | No two processes share a stream: each draws its own producer number, and each handle is an epoch of its own. | [`stamp::ProducerId`], [`judge::judge`] (two claims with one number are a doubt) | `a_producer_started_again_in_the_same_run_is_another_producer` (clients) |
//! | Each offset is counted once; reading it again changes nothing else. | [`received::PartitionLedger::record`] | `a_consumer_that_reads_again_counts_nothing_twice` |
//! | Late is not duplicate, and neither hides a missing one. | `Stream::arrive` in [`received`] | `any_mess_is_counted_as_the_naive_model_counts_it` |
//! | No set loses elements silently: a full one clears `exact`, here and in the lines. | [`intervals::IntervalSet::insert`], [`lines::ProducerState::fitted`] | `a_stream_with_too_many_holes…`, `a_full_set_makes_the_verdict_inconclusive` |
//! | The whole range was read, with one record for each offset or a reason why there is none. | `RunJudge::coverage`, `RunJudge::gaps` in `judge/run.rs` | `what_the_reader_loses_is_no_excuse`, `what_cannot_be_told_is_inconclusive`, `what_others_do_in_the_topic_is_theirs` |
//! | acked ⊆ received and not persisted ∩ received = ∅, by set and not by count. | `Findings::compare` in `judge/streams.rs` | `every_generated_corruption_is_caught_and_named`, ten thousand of them |
//! | A truncated, replaced or trimmed log is reported as such, and the account afterwards is of the log as it is. | [`received::PartitionLedger::log_truncated`], [`received::PartitionLedger::log_restarted_at`], [`received::PartitionLedger::start_moved_to`] | `a_log_that_was_cut_back_is_counted_anew`, `what_retention_took_is_unread_and_not_missing` |
//! | A producer that died is held to its last complete line and nothing later; how it ended is part of its claim. | [`judge::Claim`], [`judge::HowEnded`] | `a_dead_producer_and_its_successor_are_judged_each_by_its_own_word`, `what_cannot_be_told_is_inconclusive` |
//! | A line that contradicts itself, its parts or another line proves nothing. | `Findings::is_consistent`, `Findings::received_set`, `Findings::producer_adds_up`, `Findings::consumer_adds_up` in `judge/streams.rs` | `what_contradicts_itself_is_no_proof` |
//! | Running clients are judged by set, stream by stream, up to end offsets taken after the claims. | [`judge::judge_running`] | the tests in `tests/running.rs` |
//! | Records of others do not count as ours, copies of our values included. | [`received::Record`] | `a_value_of_ours_that_somebody_wrote_again_is_a_copy` |
//! | No false alarms, with producers that died, unknown outcomes and offsets read again. | all of it | `clean_logs_raise_no_alarm` |
//!
//! Assumptions that must hold outside this crate:
//!
//! - The end offsets were taken after the last producer had flushed or was dead, and are the brokers' (xtask's steps).
//! - The brokers' batches are right about which offsets are markers and which were compacted (`clients/src/batches.rs`
//!   fetches them).
//! - Someone who writes a value of ours again does so in another millisecond, or with a key. If the topic has
//!   `message.timestamp.type=LogAppendTime`, a copy without a key is indistinguishable from a duplicate and counts as
//!   one.
//! - librdkafka's message status is right, and only librdkafka retries.
//! - Damage is accidental: CRC-32C detects every burst of up to 32 bits, and all other damage but one in four thousand
//!   million.
//! - A record so damaged that our mark is gone looks like someone else's. If it was acked, it is found as *missing*; if
//!   nobody promised it, its loss breaks no promise.
#![warn(clippy::too_many_lines)]
#![warn(missing_docs)]

pub mod cause;
pub mod intervals;
pub mod judge;
pub mod lines;
pub mod received;
pub mod sent;
pub mod size;
pub mod stamp;

/// Whether records are parsed and accounted for. Always true, except in the program that `cargo bench --bench ledger`
/// compares with itself: a build without the ledger would also differ in its code layout.
#[cfg(not(feature = "unaccounted"))]
const fn accounts() -> bool {
    true
}

/// As above. Reads the variable once.
#[cfg(feature = "unaccounted")]
fn accounts() -> bool {
    static ACCOUNTS: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("KAFKA_LAB_UNACCOUNTED").is_none());
    *ACCOUNTS
}
