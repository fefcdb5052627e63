//! The ledger: what was sent, what became of it, what arrived, and the verdict over all of it. No Kafka, no clock, no files.
//!
//! Everything here is a function of what it is told, so that it can be held against a naive model with thousands of made-up logs. The clients
//! fill the ledgers and print them as lines; xtask reads the lines and judges.
//!
//! | module | its one job |
//! | --- | --- |
//! | [`stamp`] | what a record's value says, written and read |
//! | [`intervals`] | sets of sequence numbers |
//! | [`sent`] | a producer's side: acked, not persisted, unknown |
//! | [`received`] | a consumer's side: received, missing, duplicate, out of order |
//! | [`lines`] | the JSON lines: both sides, the questions to brokers, the verdict |
//! | [`judge`] | the verdict |
//!
//! # Words
//!
//! Used nowhere in any other sense:
//!
//! - *sent*: given a sequence number and accepted by librdkafka's queue. `sent = acked + not_persisted + unknown + in flight`, always.
//! - *acked*: the brokers confirmed it; *not_persisted*: librdkafka is sure it was never written; *unknown*: it may or may not be in the log.
//! - *received*: a sequence that arrived, counted once; *duplicate*: a sequence that arrived again at another offset of the log.
//! - *missing*: a sequence below the highest one received that has not arrived. When it does arrive it is *out_of_order*, no longer missing,
//!   and not a duplicate.
//! - *redelivered*: an offset read before. That is the reader's doing, not the log's, so it is neither received nor duplicate.
//! - *unread*: a sequence that may lie where nobody read: neither received nor missing.
//! - *foreign*: not one of our records; *copied*: a value of ours that somebody else wrote again; *corrupt*: ours, but damaged; *misrouted*: ours, in
//!   a partition its producer did not choose.
//! - *claim*: the last complete line of a producer, and how the process went. One that ended speaks for all it sent; one that was killed speaks for
//!   what the line says, and of everything after it nothing is promised. One that was told to end owes its last line, and one that ended in mid-work
//!   is a fault.
//! - *witness*: another consumer that read while the run went on. What it saw was in the log once.
//!
//! # What `pass` proves
//!
//! For a run, a range of offsets for each partition, the claims of its producers and the state of one consumer: every sequence that some
//! producer called acked is in the log exactly once, whole, in its partition and after all lower ones of its stream; nothing called not
//! persisted is there; nothing that a witness saw is gone; and nothing is there that nobody sent. Offsets without a record are those that the brokers'
//! batches explain: transaction markers, and what compaction took.
//!
//! For clients that run ([`judge::judge_running`]) it proves less: every sequence that a producer that runs called acked so far has been read by
//! that consumer, from the topic that both began with. Of producers that are gone it says nothing.
//!
//! | obligation | carried by | held to it by |
//! | --- | --- | --- |
//! | A stamp that reads back is the one that was written: CRC-32C over all bytes. | [`stamp::parse`], and [`stamp::Reader`] with the same result | `every_changed_byte_and_every_cut_is_noticed`, `a_reader_says_of_every_value_what_parse_says…` |
//! | Sequences are dense: the next one is used up only when the queue takes the record. | [`sent::SendLedger::accepted`] | `what_was_sent_is_always_acked_not_persisted_unknown_or_in_flight` |
//! | No two processes share a stream: each draws its own producer number, and each handle is an epoch of its own. | [`stamp::ProducerId`], [`judge::judge`] (two claims of one number are a doubt) | `a_producer_started_again_in_the_same_run_is_another_producer` (clients) |
//! | Each offset is counted once; an offset read again changes nothing else. | [`received::PartitionLedger::record`] | `a_consumer_that_reads_again_counts_nothing_twice` |
//! | Late is not duplicate, and neither hides a missing one. | `Stream::arrive` in [`received`] | `any_mess_is_counted_as_the_naive_model_counts_it` |
//! | No set forgets silently: a full one clears `exact`, here and in the lines. | [`intervals::IntervalSet::insert`], [`lines::ProducerState::fitted`] | `a_stream_with_too_many_holes…`, `a_full_set_makes_the_verdict_inconclusive` |
//! | All of the range was read: from its start or before, to its end or beyond, one record for each offset or a reason why there is none. | `RunJudge::coverage`, `RunJudge::gaps` in `judge/run.rs` | `what_the_reader_loses_is_no_excuse`, `what_cannot_be_told_is_inconclusive`, `what_others_do_in_the_topic_is_theirs` |
//! | acked ⊆ received and not persisted ∩ received = ∅, by set and not by count. | `Findings::compare` in `judge/streams.rs` | `every_generated_corruption_is_caught_and_named`, ten thousand of them |
//! | A log that was cut back, replaced or trimmed is told as what it is, and the account afterwards is of the log as it is. | [`received::PartitionLedger::log_truncated`], [`received::PartitionLedger::log_restarted_at`], [`received::PartitionLedger::start_moved_to`] | `a_log_that_was_cut_back_is_counted_anew`, `what_retention_took_is_unread_and_not_missing` |
//! | A producer that died is held to its last complete line and to nothing after it; how it went is part of its claim. | [`judge::Claim`], [`judge::Went`] | `a_dead_producer_and_its_successor_are_judged_each_by_its_own_word`, `what_cannot_be_told_is_inconclusive` |
//! | A line that does not agree with itself, its parts or another proves nothing. | `Findings::told`, `Findings::seen`, `Findings::producer_adds_up`, `Findings::consumer_adds_up` in `judge/streams.rs` | `what_contradicts_itself_is_no_proof` |
//! | Running clients are judged by set, stream by stream, up to end offsets that are younger than the claims. | [`judge::judge_running`] | the tests in `tests/running.rs` |
//! | What others wrote is theirs, copies of our values included. | [`received::Record`] | `a_value_of_ours_that_somebody_wrote_again_is_a_copy` |
//! | No alarm without a fault, with producers that died, unknown fates and offsets read again. | all of it | `clean_logs_raise_no_alarm` |
//!
//! What is assumed, and has to be true outside this crate:
//!
//! - The end offsets were taken after the last producer had flushed or was dead, and are the brokers' (xtask's steps).
//! - The brokers' batches say truly which offsets are markers and which were compacted (`clients/src/batches.rs` asks for them).
//! - Somebody who writes a value of ours again does so at another millisecond, or with a key. Where the topic has
//!   `message.timestamp.type=LogAppendTime` a copy without a key cannot be told from a duplicate, and counts as one.
//! - librdkafka's message status is right, and only librdkafka retries.
//! - Damage is an accident: CRC-32C finds every burst of up to 32 bits, and of other damage all but one in four thousand million.
//! - A record so damaged that our mark is gone cannot be told from somebody else's. It is found as *missing* when it was acked; when nobody
//!   promised it, its loss breaks no promise.
#![warn(clippy::too_many_lines)]
#![warn(missing_docs)]

pub mod intervals;
pub mod judge;
pub mod lines;
pub mod received;
pub mod sent;
pub mod size;
pub mod stamp;

/// Whether what comes is parsed and accounted for. Always, but in the program that `cargo bench --bench ledger` compares with itself: one built
/// without the ledger would also differ in where all its other code lies.
#[cfg(not(feature = "unaccounted"))]
const fn accounts() -> bool {
    true
}

/// As said above; the variable is looked at once.
#[cfg(feature = "unaccounted")]
fn accounts() -> bool {
    static ACCOUNTS: std::sync::LazyLock<bool> =
        std::sync::LazyLock::new(|| std::env::var_os("KAFKA_LAB_UNACCOUNTED").is_none());
    *ACCOUNTS
}
