//! Explains offsets at which a reader got no record. librdkafka does not show this, so the record batches are fetched
//! from the brokers.
//!
//! It uses one request, Fetch version 4, which all brokers from 0.11 to 4.x support (KIP-98, KIP-896), and the batch
//! layout of `DefaultRecordBatch` in Kafka's clients. A crate for the whole protocol would be far more code.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ledger::intervals::IntervalSet;
use ledger::lines::Explained;
use rdkafka::consumer::Consumer;

use crate::context::LabConsumer;

/// Fetch size in bytes; a larger first batch is returned whole (KIP-74).
const FETCH_BYTES: i32 = 256 * 1024;

/// Maximum response size, in bytes: many times a broker's largest batch.
const ANSWER_MAX: usize = 128 * 1024 * 1024;

/// Timeout of one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Delay before the leader is looked up again.
const AGAIN: Duration = Duration::from_millis(100);

/// Size of a batch's header, in bytes.
const HEADER: usize = 61;

const FETCH: i16 = 1;
const VERSION: i16 = 4;
const CORRELATION: i32 = 1;

/// What a reader got from a partition.
#[derive(Clone, Copy, Debug)]
pub struct PartitionRead<'a> {
    pub topic: &'a str,
    pub partition: i32,
    /// The range of offsets that was read, half-open.
    pub range: (u64, u64),
    /// The offsets in it without a record.
    pub gaps: &'a IntervalSet,
}

/// Fetches the batches around every gap from the partition's leader, until `deadline`. What cannot be determined by
/// then counts as `unknown`.
pub fn explain(asker: &LabConsumer, read: &PartitionRead<'_>, deadline: Instant) -> Explained {
    let mut explained = Explained::default();
    let (mut log, mut leader) = (FetchedBatches::default(), None);
    for &(from, to) in read.gaps.intervals() {
        let mut at = from;
        while at < to {
            if !log.reaches(at) {
                match fetch(asker, read, &mut leader, at, deadline) {
                    Some(fetched) => log = fetched,
                    None => {
                        explained.unknown += to - at;
                        break;
                    }
                }
            }
            at = log.explain(at, to, read, &mut explained);
        }
    }
    explained
}

/// Fetches batches from the leader, starting with the one that contains `offset`.
fn fetch(
    asker: &LabConsumer,
    read: &PartitionRead<'_>,
    leader: &mut Option<TcpStream>,
    offset: u64,
    deadline: Instant,
) -> Option<FetchedBatches> {
    while Instant::now() < deadline {
        let answer = match leader {
            Some(stream) => request_batches(stream, read, offset),
            None => match connect(asker, read) {
                Ok(stream) => request_batches(leader.insert(stream), read, offset),
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(batches) if !batches.is_empty() => return Some(FetchedBatches { from: offset, batches }),
            // The leader changed, or the log does not reach there yet.
            _ => *leader = None,
        }
        std::thread::sleep(AGAIN);
    }
    None
}

fn connect(asker: &LabConsumer, read: &PartitionRead<'_>) -> Result<TcpStream> {
    let metadata = asker.fetch_metadata(Some(read.topic), ANSWER_WITHIN)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    let leader =
        partitions.filter(|p| p.id() == read.partition).map(|p| p.leader()).next().context("partition not found")?;
    let broker = metadata.brokers().iter().find(|broker| broker.id() == leader).context("no leader")?;
    let port = u16::try_from(broker.port())?;
    let address = (broker.host(), port).to_socket_addrs()?.next().context("leader's host resolves to no address")?;
    let stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

fn request_batches(stream: &mut TcpStream, read: &PartitionRead<'_>, offset: u64) -> Result<Vec<RecordBatch>> {
    stream.write_all(&request(read.topic, read.partition, offset)?)?;
    let mut size = [0; 4];
    stream.read_exact(&mut size)?;
    let size = usize::try_from(i32::from_be_bytes(size))?;
    if size > ANSWER_MAX {
        bail!("answer is too large: {size} bytes");
    }
    let mut answer = vec![0; size];
    stream.read_exact(&mut answer)?;
    Ok(batches(records(&mut Decoder(&answer))?))
}

/// A Fetch request for a partition from `offset` on, including open and aborted transactions.
fn request(topic: &str, partition: i32, offset: u64) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let string = |text: &str, body: &mut Vec<u8>| -> Result<()> {
        body.extend(i16::try_from(text.len())?.to_be_bytes());
        body.extend(text.as_bytes());
        Ok(())
    };
    body.extend(FETCH.to_be_bytes());
    body.extend(VERSION.to_be_bytes());
    body.extend(CORRELATION.to_be_bytes());
    string("kafka-lab-batches", &mut body)?;
    // Replica id: none; max wait: 0; min bytes: 0; max bytes; isolation level: read uncommitted.
    body.extend((-1_i32).to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(FETCH_BYTES.to_be_bytes());
    body.push(0);
    // One topic, one partition.
    body.extend(1_i32.to_be_bytes());
    string(topic, &mut body)?;
    body.extend(1_i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i64::try_from(offset)?.to_be_bytes());
    body.extend(FETCH_BYTES.to_be_bytes());
    let mut request = i32::try_from(body.len())?.to_be_bytes().to_vec();
    request.append(&mut body);
    Ok(request)
}

/// The batches in a Fetch response, as bytes.
fn records<'a>(answer: &mut Decoder<'a>) -> Result<&'a [u8]> {
    if answer.i32()? != CORRELATION {
        bail!("unexpected correlation ID");
    }
    // Throttle time, number of topics, topic name, number of partitions, partition.
    answer.take(4 + 4)?;
    let name = usize::from(answer.u16()?);
    answer.take(name + 4 + 4)?;
    let error = answer.u16()?;
    if error != 0 {
        bail!("Kafka error {error}");
    }
    // High watermark, last stable offset, aborted transactions (16 bytes each).
    answer.take(8 + 8)?;
    let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(aborted.checked_mul(16).context("too many aborted transactions")?)?;
    let size = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(size)
}

/// Reads Kafka's wire types from a byte slice.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (front, rest) =
            self.0.split_at_checked(count).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// A zig-zag varint, as in Protocol Buffers.
    fn varint(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        bail!("varint is too long");
    }
}

/// A batch of records.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RecordBatch {
    /// The offsets that it covers, half-open.
    range: (u64, u64),
    contents: BatchContents,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum BatchContents {
    /// A transaction's commit or abort marker.
    Marker,
    /// Records at these offsets.
    Records(IntervalSet),
    /// This many records, compressed.
    Compressed(u64),
    /// A layout from before transactions.
    Unknown,
}

/// Decodes the complete batches in these bytes; a partial batch at the end is dropped.
fn batches(bytes: &[u8]) -> Vec<RecordBatch> {
    let mut rest = Decoder(bytes);
    std::iter::from_fn(|| batch(&mut rest).ok()).collect()
}

fn batch(rest: &mut Decoder<'_>) -> Result<RecordBatch> {
    let base = u64::try_from(rest.i64()?)?;
    let size = usize::try_from(rest.i32()?)?;
    let whole = rest.take(size)?;
    let mut fields = Decoder(whole);
    fields.take(4)?;
    let [magic] = fields.array()?;
    if magic != 2 {
        return Ok(RecordBatch { range: (base, base + 1), contents: BatchContents::Unknown });
    }
    fields.take(4)?;
    let attributes = fields.u16()?;
    let covers = u64::try_from(fields.i32()?)? + 1;
    fields.take(HEADER - 27 - 4)?;
    let count = u64::try_from(fields.i32()?)?;
    let contents = match attributes {
        control if control & 0x20 != 0 => BatchContents::Marker,
        compressed if compressed & 0x07 != 0 => BatchContents::Compressed(count),
        _ => BatchContents::Records(offsets(&mut fields, base, count)?),
    };
    Ok(RecordBatch { range: (base, base + covers), contents })
}

/// The offsets of uncompressed records.
fn offsets(records: &mut Decoder<'_>, base: u64, count: u64) -> Result<IntervalSet> {
    let mut intervals: Vec<(u64, u64)> = Vec::new();
    for _ in 0..count {
        let size = usize::try_from(records.varint()?)?;
        let mut fields = Decoder(records.take(size)?);
        fields.take(1)?;
        fields.varint()?;
        let offset = base + u64::try_from(fields.varint()?)?;
        match intervals.last_mut() {
            Some(last) if last.1 == offset => last.1 += 1,
            _ => intervals.push((offset, offset + 1)),
        }
    }
    IntervalSet::try_from(intervals).map_err(anyhow::Error::msg)
}

/// The batches of one Fetch response.
#[derive(Debug, Default)]
struct FetchedBatches {
    from: u64,
    batches: Vec<RecordBatch>,
}

impl FetchedBatches {
    /// Whether this offset is covered.
    fn reaches(&self, offset: u64) -> bool {
        self.from <= offset && self.batches.last().is_some_and(|last| offset < last.range.1)
    }

    /// Explains the offsets of a gap from `at` on, as far as one batch covers them. Returns where that ends.
    fn explain(&self, at: u64, to: u64, read: &PartitionRead<'_>, explained: &mut Explained) -> u64 {
        let Some(batch) = self.batches.iter().find(|batch| at < batch.range.1) else { return to };
        let (base, end) = batch.range;
        if at < base {
            // Between two batches: compaction removed a whole batch.
            let until = base.min(to);
            explained.compacted += until - at;
            return until;
        }
        let until = end.min(to);
        let gap = IntervalSet::span(at, until);
        match &batch.contents {
            BatchContents::Marker => explained.markers += gap.count(),
            BatchContents::Unknown => explained.unknown += gap.count(),
            BatchContents::Records(there) => {
                let hidden = there.intersection(&gap).count();
                explained.hidden += hidden;
                explained.compacted += gap.count() - hidden;
            }
            // If all records that it holds were delivered, compaction removed the others. If none was removed, the
            // records are there and were hidden.
            BatchContents::Compressed(count) => {
                let inside = read.gaps.intersection(&IntervalSet::span(base, end)).count();
                let whole = read.range.0 <= base && end <= read.range.1;
                if whole && end - base == inside + count {
                    explained.compacted += gap.count();
                } else if *count == end - base {
                    explained.hidden += gap.count();
                } else {
                    explained.unknown += gap.count();
                }
            }
        }
        until
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    /// A batch that covers `covers` offsets from `base` on, with records at these offset deltas.
    fn encoded(base: i64, attributes: u16, covers: i32, deltas: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.push(2);
        body.extend([0; 4]);
        body.extend(attributes.to_be_bytes());
        body.extend((covers - 1).to_be_bytes());
        body.extend([0; HEADER - 27 - 4]);
        body.extend((deltas.len() as i32).to_be_bytes());
        for delta in deltas {
            // Length, attributes, timestamp delta, offset delta, and a value that is ignored; numbers are zig-zag
            // varints.
            body.extend([2 * 5, 0, 0, 2 * delta, 1, 1]);
        }
        let mut batch = base.to_be_bytes().to_vec();
        batch.extend((body.len() as i32).to_be_bytes());
        batch.extend(body);
        batch
    }

    fn set(intervals: &[(u64, u64)]) -> IntervalSet {
        intervals.to_vec().try_into().unwrap()
    }

    fn explained(log: &[u8], from: u64, range: (u64, u64), gaps: &[(u64, u64)]) -> Explained {
        let gaps = set(gaps);
        let (fetched, mut explained) = (FetchedBatches { from, batches: batches(log) }, Explained::default());
        let read = PartitionRead { topic: "t", partition: 0, range, gaps: &gaps };
        for &(from, to) in gaps.intervals() {
            let mut at = from;
            while at < to {
                assert!(fetched.reaches(at), "{at}");
                let until = fetched.explain(at, to, &read, &mut explained);
                assert!(until > at);
                at = until;
            }
        }
        explained
    }

    #[test]
    fn markers_compaction_and_records_that_were_hidden_are_told_apart() {
        // Records at 10, 11, 13 of 10..15; a marker at 15; a missing batch 16..20; records at 20 to 22.
        let log = [encoded(10, 0, 5, &[0, 1, 3]), encoded(15, 0x30, 1, &[0]), encoded(20, 0, 3, &[0, 1, 2])].concat();
        let all = explained(&log, 10, (10, 23), &[(12, 13), (14, 20)]);
        assert_eq!(all, Explained { markers: 1, compacted: 1 + 1 + 4, ..Explained::default() });
        let hidden = explained(&log, 10, (10, 23), &[(11, 13), (21, 22)]);
        assert_eq!(hidden, Explained { hidden: 2, compacted: 1, ..Explained::default() });
    }

    #[test]
    fn of_a_compressed_batch_the_number_of_records_tells() {
        let log = encoded(10, 2, 5, &[0, 1, 3]);
        let told = |range, gaps: &[(u64, u64)]| explained(&log, 10, range, gaps);
        assert_eq!(told((10, 15), &[(12, 13), (14, 15)]), Explained { compacted: 2, ..Explained::default() });
        assert_eq!(told((10, 15), &[(12, 15)]), Explained { unknown: 3, ..Explained::default() }, "one is hidden");
        assert_eq!(told((10, 13), &[(12, 13)]), Explained { unknown: 1, ..Explained::default() }, "read in part");
        let full = encoded(10, 2, 3, &[0, 1, 2]);
        let gaps: &[(u64, u64)] = &[(11, 12)];
        assert_eq!(explained(&full, 10, (10, 13), gaps), Explained { hidden: 1, ..Explained::default() });
    }

    #[test]
    fn what_is_cut_off_or_no_batch_is_left_out() {
        let log = [encoded(0, 0, 2, &[0, 1]), encoded(2, 0, 2, &[0, 1])].concat();
        for cut in 0..log.len() {
            let whole = batches(&log[..cut]);
            assert_eq!(whole.len(), usize::from(cut >= log.len() / 2), "{cut}");
        }
        assert_eq!(batches(&log).len(), 2);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bent = log.clone();
            let at = random.usize(0..bent.len());
            bent[at] = random.u8(..);
            let _ = batches(&bent);
        }
    }

    #[test]
    fn an_answer_is_read_to_its_records_and_an_error_is_one() {
        let mut answer = CORRELATION.to_be_bytes().to_vec();
        answer.extend([0; 4]);
        answer.extend([0, 0, 0, 1, 0, 4]);
        answer.extend(b"test");
        answer.extend([0, 0, 0, 1, 0, 0, 0, 3]);
        let error_at = answer.len();
        answer.extend([0, 0]);
        answer.extend([0; 16]);
        answer.extend([0, 0, 0, 1]);
        answer.extend([7; 16]);
        answer.extend([0, 0, 0, 2, 8, 9]);
        assert_eq!(records(&mut Decoder(&answer)).unwrap(), [8, 9]);
        for cut in 0..answer.len() {
            assert!(records(&mut Decoder(&answer[..cut])).is_err(), "{cut}");
        }
        answer[error_at + 1] = 6;
        assert!(records(&mut Decoder(&answer)).is_err());
        assert_eq!(request("test", 3, 5).unwrap().len(), 4 + 2 + 2 + 4 + 2 + 17 + 17 + 4 + 6 + 4 + 16);
    }
}
