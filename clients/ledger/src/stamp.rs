//! The delivery stamp: what the producer writes into a record's value, and how it is read back.
//!
//! One line of text, so that `kafka-console-consumer` shows something a person can read:
//!
//! ```text
//! 0.332517 kl2 demo 9f3c01aa 0 2 41 1732347335123 ........ 5d0f9e21
//! number   magic run producer epoch partition sequence sent-ms [filler] crc32c
//! ```
//!
//! Fields are separated by one space. `producer` is a random 32-bit number, eight hexadecimal digits, drawn anew by every process; `epoch` counts the
//! producer handles of that process from 0. So a producer that is started again in the same run never continues the sequences of the one that
//! died, and neither has to know of the other; `sequence` is dense from 0 for each (run, producer, epoch, partition). The last field is the
//! CRC-32C of every byte before it, the space included: the checksum of Kafka's own record batches (KIP-98), for which processors have an
//! instruction. There is no key and there are no headers, so nothing but the value has to survive.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The word that marks a record as ours; its digit is the version of the format.
pub const MAGIC: &str = "kl2";

/// Where the magic stands, between its two spaces: after the eight bytes of the number.
const MARK: &[u8] = b" kl2 ";
const MARK_AT: usize = 8;

/// Hexadecimal digits of the checksum, with which a value ends.
const CHECKSUM: usize = 8;

/// Longest run id, in bytes.
pub const RUN_MAX: usize = 32;

/// Decimal fields are at most this long, so that arithmetic on them can never overflow.
const DIGITS_MAX: usize = 15;

/// The name of one run of the lab: 1 to 32 of `a-z`, `0-9` and `-`.
///
/// Kept inline, so that reading a record allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId {
    len: u8,
    bytes: [u8; RUN_MAX],
}

impl RunId {
    /// A random run id: eight hexadecimal digits.
    pub fn random() -> Self {
        // Eight hexadecimal digits always make a run id; the fallback is never taken.
        Self::from_bytes(&hex_digits(fastrand::u32(..))).unwrap_or(Self { len: 0, bytes: [0; RUN_MAX] })
    }

    /// The run id these bytes spell, or `None` when they spell none.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let legal = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > RUN_MAX || !text.iter().all(legal) {
            return None;
        }
        let mut bytes = [0; RUN_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { len: text.len() as u8, bytes })
    }

    /// The run id as text.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in, see `from_bytes`.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_bytes(text.as_bytes())
            .ok_or_else(|| format!("a run id is 1 to {RUN_MAX} of a-z, 0-9 and '-'; for example demo-1"))
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The random number of one producer process; printed as eight hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ProducerId(pub u32);

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl Serialize for ProducerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for ProducerId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        hex(text.as_bytes()).map(Self).ok_or_else(|| "a producer is eight hexadecimal digits, 0-9 and a-f".into())
    }
}

impl<'de> Deserialize<'de> for ProducerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What one stamped record says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The number a person sees, times 1 000 000: 0 to 999 999.
    pub number: u32,
    /// The run it belongs to.
    pub run: RunId,
    /// The process that sent it.
    pub producer: ProducerId,
    /// Which of that process's producer handles sent it, from 0.
    pub epoch: u32,
    /// The partition the producer chose.
    pub partition: u32,
    /// Dense from 0 per (run, producer, epoch, partition).
    pub sequence: u64,
    /// When it was handed to librdkafka, in milliseconds since the Unix epoch.
    pub sent_ms: u64,
}

/// What a record's value turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Ours, and whole.
    Stamped(Stamp),
    /// Bears our magic, but the checksum or a field does not hold.
    Corrupt,
    /// Somebody else's: typed by hand, empty, null, binary, of any size.
    Foreign,
}

/// Reads a record's value. Allocates nothing and accepts any bytes; `None` is a null value.
pub fn parse(value: Option<&[u8]>) -> Value {
    match value {
        Some(bytes) if bytes.get(MARK_AT..MARK_AT + MARK.len()) == Some(MARK) => {
            parse_marked(bytes).map_or(Value::Corrupt, Value::Stamped)
        }
        _ => Value::Foreign,
    }
}

fn parse_marked(bytes: &[u8]) -> Option<Stamp> {
    let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM>()?;
    if *checksum != hex_digits(crc32c::crc32c(covered)) {
        return None;
    }
    let mut fields = covered.get(MARK_AT + MARK.len()..)?.split(|b| *b == b' ');
    Some(Stamp {
        number: read_number(covered.first_chunk()?)?,
        run: RunId::from_bytes(fields.next()?)?,
        producer: ProducerId(hex(fields.next()?)?),
        epoch: u32::try_from(decimal(fields.next()?)?).ok()?,
        partition: u32::try_from(decimal(fields.next()?)?).ok()?,
        sequence: decimal(fields.next()?)?,
        sent_ms: decimal(fields.next()?)?,
    })
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0_u64, |value, b| b.is_ascii_digit().then(|| value * 10 + u64::from(b - b'0')))
}

fn hex(text: &[u8]) -> Option<u32> {
    if text.len() != 8 {
        return None;
    }
    text.iter().try_fold(0_u32, |value, b| {
        let digit = match b {
            b'0'..=b'9' => b - b'0',
            b'a'..=b'f' => b - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u32::from(digit))
    })
}

/// Reads the values of one partition, as [`parse`] does, and faster where a value is the one that the same producer sent next.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    last: Option<Last>,
}

/// The last value, if it could be read.
#[derive(Clone, Debug)]
struct Last {
    stamp: Stamp,
    /// Its text from the mark to the checksum.
    text: Vec<u8>,
    /// Where the sequence stands in the text.
    sequence_at: Range<usize>,
    /// Where the time stands in the text.
    sent_at: Range<usize>,
}

impl Reader {
    /// What [`parse`] says of the same value.
    #[inline]
    pub fn read(&mut self, value: Option<&[u8]>) -> Value {
        if let (Some(last), Some(bytes)) = (&mut self.last, value)
            && let Some(stamp) = last.next(bytes)
        {
            return Value::Stamped(stamp);
        }
        let read = parse(value);
        self.last = match (read, value) {
            (Value::Stamped(stamp), Some(bytes)) => Last::of(stamp, bytes),
            _ => None,
        };
        read
    }
}

impl Last {
    fn of(stamp: Stamp, value: &[u8]) -> Option<Self> {
        let text = value.get(MARK_AT..value.len().checked_sub(CHECKSUM)?)?;
        // Sequence and time stand between the sixth and the eighth space, the first two of which are the mark's.
        let mut spaces = (0..text.len()).filter(|at| text[*at] == b' ').skip(5);
        let (before, between, behind) = (spaces.next()?, spaces.next()?, spaces.next()?);
        Some(Self { stamp, text: text.to_vec(), sequence_at: before + 1..between, sent_at: between + 1..behind })
    }

    /// The stamp of a value that is this one's next, or has only another time, and makes it this one. `None` when it differs elsewhere or is damaged;
    /// this one is void then.
    #[inline]
    fn next(&mut self, value: &[u8]) -> Option<Stamp> {
        let (covered, checksum) = value.split_last_chunk::<CHECKSUM>()?;
        let (number, text) = covered.split_first_chunk::<MARK_AT>()?;
        if !add(&mut self.text[self.sequence_at.clone()], 1) {
            return None;
        }
        self.stamp.sequence += 1;
        if text != self.text {
            let time = text.get(self.sent_at.clone())?;
            self.stamp.sent_ms = decimal(time)?;
            self.text[self.sent_at.clone()].copy_from_slice(time);
            if text != self.text {
                return None;
            }
        }
        self.stamp.number = read_number(number)?;
        (*checksum == hex_digits(crc32c::crc32c(covered))).then_some(self.stamp)
    }
}

/// All bytes as two hexadecimal digits.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut all = [[0; 2]; 256];
    let mut byte = 0;
    while byte < all.len() {
        all[byte] = [digits[byte / 16], digits[byte % 16]];
        byte += 1;
    }
    all
};

fn hex_digits(value: u32) -> [u8; CHECKSUM] {
    let mut text = [0; CHECKSUM];
    for (pair, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        pair.copy_from_slice(&HEX[usize::from(byte)]);
    }
    text
}

/// The number as it is written, modulo 1 000 000. The digits are written as an integer: rounding a float can print 1.000000.
fn number_text(number: u32) -> [u8; MARK_AT] {
    let digit = |scale| b'0' + (number / scale % 10) as u8;
    [b'0', b'.', digit(100_000), digit(10_000), digit(1_000), digit(100), digit(10), digit(1)]
}

fn read_number(text: &[u8; MARK_AT]) -> Option<u32> {
    u32::try_from(decimal(text.strip_prefix(b"0.")?)?).ok()
}

/// Writes stamps for one (run, producer, epoch).
#[derive(Debug)]
pub struct Encoder {
    /// `" kl2 RUN PRODUCER EPOCH "`: the same for every record.
    middle: String,
    size: usize,
    /// The last value of each partition: most of the next one is the same.
    last: Vec<Written>,
}

impl Encoder {
    /// An encoder whose values are `size` bytes long, or as long as the stamp itself when that is longer.
    pub fn new(run: RunId, producer: ProducerId, epoch: u32, size: usize) -> Self {
        Self { middle: format!(" {MAGIC} {run} {producer} {epoch} "), size, last: Vec::new() }
    }

    /// The smallest value size, in bytes, that every stamp of this run fits into: up to 4 digits of epoch and of partition and 12 of sequence.
    pub fn minimum_size(run: RunId) -> usize {
        let number_and_mark = MARK_AT + MARK.len();
        let fields = [usize::from(run.len), 8, 4, 4, 12, 13];
        number_and_mark + fields.iter().map(|len| len + 1).sum::<usize>() + CHECKSUM
    }

    /// The value of one record. `number` is taken modulo 1 000 000; `sent_ms` is milliseconds since the Unix epoch.
    pub fn encode(&mut self, number: u32, partition: u32, sequence: u64, sent_ms: u64) -> &[u8] {
        let at = partition as usize;
        if self.last.len() <= at {
            self.last.resize_with(at + 1, Written::default);
        }
        let written = &mut self.last[at];
        if !written.advance(sequence, sent_ms) {
            *written = Written::new(&self.middle, self.size, partition, sequence, sent_ms);
        }
        written.finish(number)
    }
}

/// The value last written for a partition.
#[derive(Debug, Default)]
struct Written {
    text: Vec<u8>,
    sequence: u64,
    /// Where the sequence stands in the text.
    sequence_at: Range<usize>,
    sent_ms: u64,
    /// Where the time stands in the text.
    sent_at: Range<usize>,
}

impl Written {
    /// All but number and checksum, for which there is room.
    fn new(middle: &str, size: usize, partition: u32, sequence: u64, sent_ms: u64) -> Self {
        let before = format!("{:MARK_AT$}{middle}{partition} ", "");
        let sequence_at = before.len()..before.len() + sequence.to_string().len();
        let mut text = format!("{before}{sequence} {sent_ms} ").into_bytes();
        let sent_at = sequence_at.end + 1..text.len() - 1;
        // Filler takes a field of its own, which may be empty, so every size above the stamp's own can be met.
        let pad = size.saturating_sub(text.len() + CHECKSUM);
        if pad > 0 {
            text.resize(text.len() + pad - 1, b'.');
            text.push(b' ');
        }
        text.extend_from_slice(&[0; CHECKSUM]);
        Self { text, sequence, sequence_at, sent_ms, sent_at }
    }

    /// Makes this the value of `sequence`, if it is the next one, and neither it nor the time needs more digits. If not, the text is void.
    fn advance(&mut self, sequence: u64, sent_ms: u64) -> bool {
        let (Some(1), Some(passed)) = (sequence.checked_sub(self.sequence), sent_ms.checked_sub(self.sent_ms)) else {
            return false;
        };
        (self.sequence, self.sent_ms) = (sequence, sent_ms);
        !self.text.is_empty()
            && add(&mut self.text[self.sequence_at.clone()], 1)
            && add(&mut self.text[self.sent_at.clone()], passed)
    }

    fn finish(&mut self, number: u32) -> &[u8] {
        let end = self.text.len() - CHECKSUM;
        self.text[..MARK_AT].copy_from_slice(&number_text(number));
        let checksum = hex_digits(crc32c::crc32c(&self.text[..end]));
        self.text[end..].copy_from_slice(&checksum);
        &self.text
    }
}

/// Adds to a decimal number in place. False when the sum has more digits; they are void then.
fn add(digits: &mut [u8], mut amount: u64) -> bool {
    for digit in digits.iter_mut().rev() {
        if amount == 0 {
            return true;
        }
        let sum = u64::from(*digit - b'0') + amount % 10;
        *digit = b'0' + (sum % 10) as u8;
        amount = amount / 10 + sum / 10;
    }
    amount == 0
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::*;

    fn encoder(size: usize) -> Encoder {
        Encoder::new("demo".parse().unwrap(), ProducerId(0x9f3c_01aa), 3, size)
    }

    #[test]
    fn a_stamp_reads_back_as_it_was_written() {
        let Value::Stamped(stamp) = parse(Some(encoder(0).encode(332_517, 2, 41, 1_732_347_335_123))) else {
            panic!("not recognised");
        };
        assert_eq!(stamp.number, 332_517);
        assert_eq!(stamp.run.as_str(), "demo");
        assert_eq!((stamp.producer, stamp.epoch), (ProducerId(0x9f3c_01aa), 3));
        assert_eq!((stamp.partition, stamp.sequence, stamp.sent_ms), (2, 41, 1_732_347_335_123));
    }

    #[test]
    fn the_line_begins_with_the_number_and_stays_below_one() {
        assert!(encoder(0).encode(999_999, 0, 0, 1).starts_with(b"0.999999 kl2 demo 9f3c01aa 3 0 0 1 "));
        assert!(encoder(0).encode(7, 0, 0, 1).starts_with(b"0.000007 "));
    }

    #[test]
    fn every_size_from_the_minimum_is_met_and_read_back() {
        let minimum = Encoder::minimum_size("demo".parse().unwrap());
        for size in minimum..minimum + 200 {
            let mut encoder = encoder(size);
            let value = encoder.encode(1, 1_234, 123_456_789_012, 1_732_347_335_123);
            assert_eq!(value.len(), size);
            assert!(matches!(parse(Some(value)), Value::Stamped(s) if s.sequence == 123_456_789_012), "size {size}");
        }
        assert_eq!(Encoder::minimum_size("a".repeat(32).parse().unwrap()), 100);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_noticed() {
        let whole = encoder(100).encode(5, 2, 41, 1_732_347_335_123).to_vec();
        for at in 0..whole.len() {
            for change in 1..=255_u8 {
                let mut bent = whole.clone();
                bent[at] ^= change;
                let expected = if (8..13).contains(&at) { Value::Foreign } else { Value::Corrupt };
                assert_eq!(parse(Some(&bent)), expected, "byte {at} xor {change}");
            }
            let expected = if at < 13 { Value::Foreign } else { Value::Corrupt };
            assert_eq!(parse(Some(&whole[..at])), expected, "cut at {at}");
        }
    }

    #[test]
    fn what_others_write_is_foreign() {
        for value in
            [None, Some(&b""[..]), Some(b"hello"), Some(b"0.332517"), Some(&[0xff; 4000]), Some("0.3 kl2 é".as_bytes())]
        {
            assert_eq!(parse(value), Value::Foreign);
        }
    }

    #[test]
    fn a_good_checksum_over_bad_fields_is_corrupt_and_never_a_panic() {
        let fields = [
            "0.332517 kl2 ",
            "0.332517 kl2 demo 9f3c01aa 0 0 99999999999999999999 1 ",
            "0.332517 kl2 demo 9f3c01aa 4294967296 0 0 1 ",
            "0.332517 kl2 DEMO 9f3c01aa 0 0 0 1 ",
            "1.332517 kl2 demo 9f3c01aa 0 0 0 1 ",
        ];
        for text in fields {
            let mut value = text.as_bytes().to_vec();
            value.extend(hex_digits(crc32c::crc32c(&value)));
            assert_eq!(parse(Some(&value)), Value::Corrupt, "{text}");
        }
    }

    #[test]
    fn random_bytes_with_our_mark_never_panic() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes: Vec<u8> = (0..random.usize(0..80)).map(|_| random.u8(..)).collect();
            if bytes.len() >= 13 {
                bytes[8..13].copy_from_slice(MARK);
            }
            assert!(!matches!(parse(Some(&bytes)), Value::Stamped(_)));
        }
    }

    #[test]
    fn a_reader_says_of_every_value_what_parse_says_whatever_came_before() {
        let mut stamped = 0;
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut encoders = [encoder(0), Encoder::new("a".parse().unwrap(), ProducerId(1), 0, 120)];
            let mut reader = Reader::default();
            // Often near a number that has one digit more, and often of the same moment as the one before.
            let (mut sequence, mut sent_ms) = (random.choice([0, 5, 95, 999_990, 999_999_999_999_990]).unwrap(), 9);
            for _ in 0..60 {
                sequence += random.choice([1, 1, 1, 1, 0, 7]).unwrap();
                sent_ms += random.choice([0, 0, 0, 0, 1, 90]).unwrap();
                let which = usize::from(random.u8(0..10) == 0);
                let mut value = encoders[which].encode(random.u32(..), random.u32(0..2), sequence, sent_ms).to_vec();
                if random.u8(0..4) == 0 {
                    let at = random.usize(0..value.len());
                    match random.u8(0..5) {
                        0 => value[at] ^= 1 << random.u8(0..8),
                        1 => value.truncate(at),
                        2 => value.insert(at, random.choice(*b" 0.a").unwrap()),
                        3 => drop(value.remove(at)),
                        _ => value[at] = random.choice(*b" 0.a").unwrap(),
                    }
                    // A checksum that holds is no reason to believe the rest.
                    if random.bool() && value.len() > CHECKSUM {
                        value.truncate(value.len() - CHECKSUM);
                        value.extend(hex_digits(crc32c::crc32c(&value)));
                    }
                }
                let read = reader.read(Some(&value));
                assert_eq!(read, parse(Some(&value)), "seed {seed}: {}", String::from_utf8_lossy(&value));
                stamped += u32::from(matches!(read, Value::Stamped(_)));
            }
        }
        assert!(stamped > 300 * 30, "only {stamped} could be read");
    }

    #[test]
    fn what_an_encoder_wrote_before_does_not_show() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut used = encoder(100);
        let (mut sequence, mut sent_ms) = (0, 1);
        for _ in 0..5000 {
            sequence += random.choice([1, 1, 1, 1, 1, 9, 900]).unwrap();
            sent_ms += random.choice([0, 0, 0, 1, 1, 40, 9_999]).unwrap();
            let (number, partition) = (random.u32(..), random.u32(0..3));
            let fresh = encoder(100).encode(number, partition, sequence, sent_ms).to_vec();
            assert_eq!(used.encode(number, partition, sequence, sent_ms), fresh);
        }
        for (sequence, sent_ms) in
            [(9, 1), (10, 1), (99, 1), (100, 1), (0, 1), (u64::MAX, 1), (0, 5), (1, 4), (2, u64::MAX), (3, 0)]
        {
            let fresh = encoder(100).encode(0, 0, sequence, sent_ms).to_vec();
            assert_eq!(used.encode(0, 0, sequence, sent_ms), fresh);
        }
    }

    #[test]
    fn run_ids_are_short_and_plain() {
        assert!("a-1".parse::<RunId>().is_ok());
        for bad in ["", "A", "a b", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert_eq!(RunId::random().as_str().len(), 8);
    }
}
