//! Reads the values of a partition in sequence.

use std::ops::Range;

use super::format::{CHECKSUM, MARK_AT, Stamp, Value, add, checksum_of, decimal, parse, read_number};

/// Longest value, in bytes, to keep for comparison with the next one. There is a reader for each partition, and there
/// may be many. Longer values are parsed each time, which takes less time than their checksums.
const KEPT_MAX: usize = 2048;

/// Reads the values of one partition like [`parse`], but faster if a value is the successor of the last one from the
/// same producer.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    last: Option<LastValue>,
}

/// The last value that could be read.
#[derive(Clone, Debug)]
struct LastValue {
    stamp: Stamp,
    /// The text from the mark to the checksum.
    text: Vec<u8>,
    /// Position of the sequence in the text.
    sequence_at: Range<usize>,
    /// Position of the time in the text.
    sent_at: Range<usize>,
}

impl Reader {
    /// The stamp of a value of the same stream: it has the next sequence, any number and time, and is otherwise the
    /// same as the last one. `None` means only that the value must be [read](Reader::read).
    #[inline]
    pub fn follow(&mut self, value: Option<&[u8]>) -> Option<&Stamp> {
        let follows = match (&mut self.last, value) {
            (Some(last), Some(bytes)) => last.next(bytes).is_some(),
            _ => false,
        };
        if !follows {
            self.last = None;
        }
        self.last.as_ref().map(|last| &last.stamp)
    }

    /// Parses the value, so that the next one can follow it.
    pub fn read(&mut self, value: Option<&[u8]>) -> Value {
        let read = parse(value);
        self.last = match (read, value) {
            (Value::Stamped(stamp), Some(bytes)) => LastValue::of(stamp, bytes),
            _ => None,
        };
        read
    }
}

impl LastValue {
    fn of(stamp: Stamp, value: &[u8]) -> Option<Self> {
        let text = value.get(MARK_AT..value.len().checked_sub(CHECKSUM)?).filter(|text| text.len() <= KEPT_MAX)?;
        // Sequence and time are between the sixth and the eighth space; the mark contains the first two.
        let mut spaces = (0..text.len()).filter(|at| text[*at] == b' ').skip(5);
        let (before, between, behind) = (spaces.next()?, spaces.next()?, spaces.next()?);
        Some(Self { stamp, text: text.to_vec(), sequence_at: before + 1..between, sent_at: between + 1..behind })
    }

    /// Advances to the given value if it is the successor. Returns `None` if it differs in more than number, sequence
    /// and time, or is damaged. The state is invalid then.
    #[inline]
    fn next(&mut self, value: &[u8]) -> Option<()> {
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
        (*checksum == checksum_of(covered)).then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::super::format::tests::encoder;
    use super::super::{Encoder, ProducerId};
    use super::*;

    #[test]
    fn a_long_value_is_not_kept() {
        for (size, kept) in [(KEPT_MAX, true), (1_000_000, false)] {
            let (mut encoder, mut reader) = (encoder(size), Reader::default());
            for sequence in 0..3 {
                let value = encoder.encode(1, 0, sequence, 1 + sequence);
                let followed = reader.follow(Some(value)).is_some();
                assert_eq!(followed, kept && sequence > 0, "{size} {sequence}");
                if !followed {
                    assert!(matches!(reader.read(Some(value)), Value::Stamped(stamp) if stamp.sequence == sequence));
                }
            }
            assert_eq!(reader.last.is_some(), kept);
        }
    }

    #[test]
    fn a_reader_says_of_every_value_what_parse_says_whatever_came_before() {
        let (mut stamped, mut follow) = (0, 0);
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut encoders = [encoder(0), Encoder::new("a".parse().unwrap(), ProducerId(1), 0, 120)];
            let mut reader = Reader::default();
            // Often close to one more digit, and often in the same millisecond as the one before.
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
                    // A valid checksum is no reason to trust the rest.
                    if random.bool() && value.len() > CHECKSUM {
                        value.truncate(value.len() - CHECKSUM);
                        value.extend(checksum_of(&value));
                    }
                }
                let followed = reader.follow(Some(&value)).copied();
                let read = followed.map_or_else(|| reader.read(Some(&value)), Value::Stamped);
                assert_eq!(read, parse(Some(&value)), "seed {seed}: {}", String::from_utf8_lossy(&value));
                stamped += u32::from(matches!(read, Value::Stamped(_)));
                follow += u32::from(followed.is_some());
            }
        }
        assert!(stamped > 300 * 30, "only {stamped} could be read");
        assert!(follow > stamped / 8, "only {follow} of {stamped} followed");
    }
}
