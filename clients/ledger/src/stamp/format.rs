//! The contents of a stamp, and its text format.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The word that marks a record as ours. Its digit is the version of the format.
pub const MAGIC: &str = "kl2";

/// The magic with its two spaces, and its position after the eight bytes of the number.
pub(super) const MARK: &[u8] = b" kl2 ";
pub(super) const MARK_AT: usize = 8;

/// Length of the checksum, in hexadecimal digits. A value ends with it.
pub(super) const CHECKSUM: usize = 8;

/// Maximum length of a run ID, in bytes.
pub const RUN_MAX: usize = 32;

/// Maximum digits of a decimal field, so that arithmetic never overflows.
const DIGITS_MAX: usize = 15;

/// The ID of one run of the lab: 1 to 32 of `a-z`, `0-9` and `-`.
///
/// Stored inline, so that reading a record does not allocate.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId {
    len: u8,
    bytes: [u8; RUN_MAX],
}

impl RunId {
    /// A random run ID of eight hexadecimal digits.
    pub fn random() -> Self {
        // Eight hexadecimal digits are always a valid run ID; the fallback is never used.
        Self::from_bytes(&hex_digits(fastrand::u32(..))).unwrap_or(Self { len: 0, bytes: [0; RUN_MAX] })
    }

    /// Parses a run ID; `None` if it is invalid.
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let legal = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if text.is_empty() || text.len() > RUN_MAX || !text.iter().all(legal) {
            return None;
        }
        let mut bytes = [0; RUN_MAX];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { len: text.len() as u8, bytes })
    }

    /// The run ID as text.
    pub fn as_str(&self) -> &str {
        // `from_bytes` accepts only ASCII.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::from_bytes(text.as_bytes())
            .ok_or_else(|| format!("a run ID has 1 to {RUN_MAX} of a-z, 0-9 and '-'; for example demo-1"))
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

/// The random number of one producer process, printed as eight hexadecimal digits.
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
        hex(text.as_bytes())
            .map(Self)
            .ok_or_else(|| "a producer number has eight hexadecimal digits, 0-9 and a-f".into())
    }
}

impl<'de> Deserialize<'de> for ProducerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The contents of a stamp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// The number that people see, times 1 000 000: 0 to 999 999.
    pub number: u32,
    /// The run.
    pub run: RunId,
    /// The process that sent the record.
    pub producer: ProducerId,
    /// The producer handle within that process, from 0.
    pub epoch: u32,
    /// The partition the producer chose.
    pub partition: u32,
    /// Dense from 0 for each (run, producer, epoch, partition).
    pub sequence: u64,
    /// When it was passed to librdkafka, in milliseconds since the Unix epoch.
    pub sent_ms: u64,
}

/// The kinds of record values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Ours and intact.
    Stamped(Stamp),
    /// Has our magic, but the checksum or a field is invalid.
    Corrupt,
    /// Someone else's: typed by hand, empty, null or binary.
    Foreign,
}

/// Parses a record's value; `None` is a null value. Does not allocate, and accepts any bytes.
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
    if *checksum != checksum_of(covered) {
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

/// The sent time in a value with our mark, in ms since the Unix epoch, even if its checksum is invalid. `None` if there
/// is none.
pub fn sent_ms_of(value: Option<&[u8]>) -> Option<u64> {
    decimal(value?.get(MARK_AT + MARK.len()..)?.split(|b| *b == b' ').nth(5)?)
}

pub(super) fn decimal(text: &[u8]) -> Option<u64> {
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
        Some(value * 16 + u32::from(digit))
    })
}

/// Two hexadecimal digits for each byte value.
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

/// The checksum of these bytes, as it is written at the end of a value.
#[inline]
pub(super) fn checksum_of(covered: &[u8]) -> [u8; CHECKSUM] {
    hex_digits(crc32c::crc32c(covered))
}

/// The number as text, modulo 1 000 000. Written as an integer, because rounding a float can print 1.000000.
pub(super) fn number_text(number: u32) -> [u8; MARK_AT] {
    let digit = |scale| b'0' + (number / scale % 10) as u8;
    [b'0', b'.', digit(100_000), digit(10_000), digit(1_000), digit(100), digit(10), digit(1)]
}

pub(super) fn read_number(text: &[u8; MARK_AT]) -> Option<u32> {
    u32::try_from(decimal(text.strip_prefix(b"0.")?)?).ok()
}

/// Adds to a decimal number in place. False when the sum has more digits; they are void then.
pub(super) fn add(digits: &mut [u8], mut amount: u64) -> bool {
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
pub(super) mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::super::Encoder;
    use super::*;

    pub(in super::super) fn encoder(size: usize) -> Encoder {
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
        let largest = 10_u64.pow(DIGITS_MAX as u32) - 1;
        let mut encoder = encoder(0);
        let value = encoder.encode(0, 0, largest, 1);
        assert!(matches!(parse(Some(value)), Value::Stamped(stamp) if stamp.sequence == largest));
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
        let accent = "0.3 kl2 é".as_bytes();
        for value in [None, Some(&b""[..]), Some(b"hello"), Some(b"0.332517"), Some(&[0xff; 4000]), Some(accent)] {
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
            "0.332517 kl2 demo 9f3c01aa 0 0 1000000000000000 1 ",
            "0.332517 kl2 demo 9f3c01aa 0  0 1 ",
        ];
        for text in fields {
            let mut value = text.as_bytes().to_vec();
            value.extend(checksum_of(&value));
            assert_eq!(parse(Some(&value)), Value::Corrupt, "{text}");
        }
    }

    #[test]
    fn checksums_are_crc32c_in_hexadecimal() {
        // The check value of the catalogue of CRC algorithms (CRC-32/ISCSI).
        assert_eq!(&checksum_of(b"123456789"), b"e3069283");
        assert_eq!(&hex_digits(0x01ab_cdef), b"01abcdef");
        assert_eq!(hex(b"01abcdef"), Some(0x01ab_cdef));
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
    fn run_ids_are_short_and_plain() {
        assert!("a-1".parse::<RunId>().is_ok());
        for bad in ["", "A", "a b", "ä", &"a".repeat(33)] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
        assert_eq!(RunId::random().as_str().len(), 8);
        assert_eq!(format!("{:?}", "a-1".parse::<RunId>()), "Ok(a-1)");
    }
}
