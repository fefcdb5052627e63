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
//! | [`lines`] | both sides as JSON lines |
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
//! - *foreign*: not one of our records; *corrupt*: ours, but damaged; *misrouted*: ours, in a partition its producer did not choose.
//! - *claim*: the last complete line of a producer. One that ended speaks for all it sent; one that died speaks for what the line says, and of
//!   everything after it nothing is promised.
//!
//! # What `pass` proves
//!
//! For a run, a range of offsets for each partition, the claims of its producers and the state of one consumer: every sequence that some
//! producer called acked is in the log exactly once, whole, in its partition and after all lower ones of its stream; nothing called not
//! persisted is there; and nothing is there that nobody sent.
//!
//! | obligation | carried by | held to it by |
//! | --- | --- | --- |
//! | A stamp that reads back is the one that was written: CRC-32C over all bytes. | [`stamp::parse`], and [`stamp::Reader`] with the same result | `every_changed_byte_and_every_cut_is_noticed`, `a_reader_says_of_every_value_what_parse_says…` |
//! | Sequences are dense: the next one is used up only when the queue takes the record. | [`sent::SendLedger::accepted`] | `what_was_sent_is_always_acked_not_persisted_unknown_or_in_flight` |
//! | No two processes share a stream: each draws its own producer number, and each handle is an epoch of its own. | [`stamp::ProducerId`], [`judge::judge`] (two claims of one number are a doubt) | `a_producer_started_again_in_the_same_run_is_another_producer` (clients) |
//! | Each offset is counted once; an offset read again changes nothing else. | [`received::PartitionLedger::record`] | `a_consumer_that_reads_again_counts_nothing_twice` |
//! | Late is not duplicate, and neither hides a missing one. | `Stream::arrive` in [`received`] | `any_mess_is_counted_as_the_naive_model_counts_it` |
//! | No set forgets silently: a full one clears `exact`, here and in the lines. | [`intervals::IntervalSet::insert`], [`lines::ProducerState::fitted`] | `a_stream_with_too_many_holes…`, `a_full_set_makes_the_verdict_inconclusive` |
//! | All of the range was read: from its start or before, to its end or beyond, one record for each offset. | `Judge::coverage` in [`judge`] | `what_the_reader_loses_is_no_excuse`, `what_cannot_be_told_is_inconclusive` |
//! | acked ⊆ received and not persisted ∩ received = ∅, by set and not by count. | `Judge::compare` in [`judge`] | `every_generated_corruption_is_caught_and_named`, ten thousand of them |
//! | A producer that died is held to its last complete line and to nothing after it. | [`judge::Claim`], [`lines::ProducerState`] | `a_dead_producer_and_its_successor_are_judged_each_by_its_own_word` |
//! | A line that does not agree with itself or with another proves nothing. | `Judge::told`, `Judge::seen` in [`judge`] | `what_contradicts_itself_is_no_proof` |
//! | No alarm without a fault, with producers that died, unknown fates and offsets read again. | all of it | `clean_logs_raise_no_alarm` |
//!
//! What is assumed, and has to be true outside this crate:
//!
//! - The end offsets were taken after the last producer had flushed or was dead, and are the brokers' (xtask's steps).
//! - The topic holds no transactions and is not compacted, so that each offset has one record.
//! - librdkafka's message status is right, and only librdkafka retries.
//! - Damage is an accident: CRC-32C finds every burst of up to 32 bits, and of other damage all but one in four thousand million.
//! - A record so damaged that our mark is gone cannot be told from somebody else's. It is found as *missing* when it was acked; when nobody
//!   promised it, its loss breaks no promise.

pub mod intervals;
pub mod judge;
pub mod lines;
pub mod received;
pub mod sent;
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
