//! Writes the values of a producer.

use std::ops::Range;

use super::format::{CHECKSUM, MAGIC, MARK, MARK_AT, ProducerId, RunId, add, checksum_of, number_text};

/// Memory for kept values, in bytes. The last value of each partition is kept to build the next one, as long as they
/// are few or short.
const KEPT_BYTES: usize = 4_194_304;

/// Writes the values of one (run, producer, epoch).
#[derive(Debug)]
pub struct Encoder {
    /// `" kl2 RUN PRODUCER EPOCH "`, the same in every record.
    middle: String,
    size: usize,
    /// The last value of each partition, or of each group of partitions. Most of the next one is the same.
    last: Vec<LastWritten>,
    /// Maximum length of `last`.
    kept: usize,
}

impl Encoder {
    /// An encoder for values of `size` bytes, or of the stamp's own size if that is larger.
    pub fn new(run: RunId, producer: ProducerId, epoch: u32, size: usize) -> Self {
        let middle = format!(" {MAGIC} {run} {producer} {epoch} ");
        Self { middle, size, last: Vec::new(), kept: (KEPT_BYTES / size.max(1)).max(1) }
    }

    /// The smallest value size, in bytes, that fits every stamp of this run: up to 4 digits of epoch and of partition,
    /// and 12 of sequence.
    pub fn minimum_size(run: RunId) -> usize {
        let number_and_mark = MARK_AT + MARK.len();
        let fields = [run.as_str().len(), 8, 4, 4, 12, 13];
        number_and_mark + fields.iter().map(|len| len + 1).sum::<usize>() + CHECKSUM
    }

    /// Encodes the value of one record. `number` is taken modulo 1 000 000; `sent_ms` is in milliseconds since the Unix
    /// epoch.
    pub fn encode(&mut self, number: u32, partition: u32, sequence: u64, sent_ms: u64) -> &[u8] {
        let at = partition as usize % self.kept;
        if self.last.len() <= at {
            self.last.resize_with(at + 1, LastWritten::default);
        }
        let written = &mut self.last[at];
        if written.partition != partition || !written.advance(sequence, sent_ms) {
            *written = LastWritten::new(&self.middle, self.size, partition, sequence, sent_ms);
        }
        written.finish(number)
    }
}

/// The last value.
#[derive(Debug, Default)]
struct LastWritten {
    text: Vec<u8>,
    partition: u32,
    sequence: u64,
    /// Position of the sequence in the text.
    sequence_at: Range<usize>,
    sent_ms: u64,
    /// Position of the time in the text.
    sent_at: Range<usize>,
}

impl LastWritten {
    /// Everything but number and checksum, for which space is left.
    fn new(middle: &str, size: usize, partition: u32, sequence: u64, sent_ms: u64) -> Self {
        let before = format!("{:MARK_AT$}{middle}{partition} ", "");
        let sequence_at = before.len()..before.len() + sequence.to_string().len();
        let mut text = format!("{before}{sequence} {sent_ms} ").into_bytes();
        let sent_at = sequence_at.end + 1..text.len() - 1;
        // Filler is a field of its own, which may be empty, so that every size above the stamp's own is possible. With
        // or without filler, a space comes last.
        let length = text.len().max(size.saturating_sub(CHECKSUM));
        text.resize(length - 1, b'.');
        text.push(b' ');
        text.extend_from_slice(&[0; CHECKSUM]);
        Self { text, partition, sequence, sequence_at, sent_ms, sent_at }
    }

    /// Advances to `sequence`, if that is the next one and neither it nor the time needs more digits. Otherwise the
    /// text is invalid.
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
        let checksum = checksum_of(&self.text[..end]);
        self.text[end..].copy_from_slice(&checksum);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use super::super::format::tests::encoder;
    use super::LastWritten;

    #[test]
    fn the_next_value_is_made_of_the_last_one() {
        let mut written = LastWritten::new(" kl2 r 00000001 0 ", 100, 3, 8, 1_000);
        assert!(written.advance(9, 1_007));
        assert_eq!(written.finish(5), LastWritten::new(" kl2 r 00000001 0 ", 100, 3, 9, 1_007).finish(5));
        assert!(!written.advance(9, 1_007) && !written.advance(11, 1_007), "not the next one");
        assert!(!LastWritten::default().advance(1, 5), "there is none to make it of");
    }

    #[test]
    fn long_values_are_not_kept_for_every_partition() {
        let mut used = encoder(1_000_000);
        for sequence in 0..3 {
            for partition in 0..20 {
                let fresh = encoder(1_000_000).encode(7, partition, sequence, 1).to_vec();
                assert_eq!(used.encode(7, partition, sequence, 1), fresh);
            }
        }
        let kept: usize = used.last.iter().map(|written| written.text.len()).sum();
        assert!(kept <= super::KEPT_BYTES, "{kept}");
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
}
