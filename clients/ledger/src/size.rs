//! The size limits of a value in Kafka's message format (KIP-98), to the byte.

/// The largest batch that brokers and topics accept by default, in bytes: Kafka's `message.max.bytes`, and a topic's
/// `max.message.bytes`.
pub const MESSAGE_MAX_BYTES: usize = 1_048_588;

/// Size of a batch without its records, in bytes.
pub const BATCH_OVERHEAD: usize = 61;

/// The longest value that fits into [`MESSAGE_MAX_BYTES`], in bytes.
pub const VALUE_SIZE_MAX: usize = 1_048_516;

/// The largest batch that a producer of ours makes of several records, in bytes. More in a request costs everybody less
/// for each record. Brokers return batches whole, whatever the fetch size (KIP-74), so a consumer needs room for them.
pub const BATCH_BYTES: usize = 524_288;

/// Largest size of a record beside its value, in bytes: attributes, three lengths, two deltas, the number of headers.
const RECORD_OVERHEAD: usize = 36;

/// Records of `value_size` bytes that certainly fit into a batch of `batch` bytes, but at least one.
pub fn records(batch: usize, value_size: usize) -> u32 {
    let room = batch.saturating_sub(BATCH_OVERHEAD);
    u32::try_from(room / (value_size + RECORD_OVERHEAD)).unwrap_or(u32::MAX).max(1)
}

/// Size of a batch with one record, in bytes, for a value of `value_size` bytes without key and headers.
pub const fn batch_of_one(value_size: usize) -> usize {
    // Attributes, the two deltas and the number of headers are 0, the key's length is -1: a byte each.
    let record = 5 + length(value_size) + value_size;
    BATCH_OVERHEAD + length(record) + record
}

/// The longest value that fits into a batch of `batch` bytes.
pub fn longest_value(batch: usize) -> usize {
    let mut size = batch.saturating_sub(BATCH_OVERHEAD);
    while size > 0 && batch_of_one(size) > batch {
        size -= 1;
    }
    size
}

/// Size of a length field, in bytes: a zig-zag varint.
const fn length(number: usize) -> usize {
    let (mut left, mut bytes) = (number * 2, 1);
    while left >= 128 {
        left >>= 7;
        bytes += 1;
    }
    bytes
}

/// Why a value of `value_size` bytes is too large, as text to follow its name. `None` if brokers accept it.
pub fn too_large(value_size: usize) -> Option<String> {
    (value_size > VALUE_SIZE_MAX).then(|| {
        format!(
            "is {value_size}, must be {VALUE_SIZE_MAX} or less: brokers take batches of up to \
             {MESSAGE_MAX_BYTES} bytes (Kafka's default message.max.bytes), and the largest value fills one alone"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_kafkas_to_the_byte() {
        assert_eq!(batch_of_one(VALUE_SIZE_MAX), MESSAGE_MAX_BYTES);
        assert_eq!(batch_of_one(VALUE_SIZE_MAX + 1), MESSAGE_MAX_BYTES + 1);
        assert_eq!((too_large(VALUE_SIZE_MAX), too_large(VALUE_SIZE_MAX + 1).is_some()), (None, true));
    }

    #[test]
    fn lengths_take_more_bytes_where_they_grow() {
        assert_eq!([0, 63, 64, 8191, 8192, 1_048_575, 1_048_576].map(length), [1, 1, 2, 2, 3, 3, 4]);
        assert_eq!([0, 1, 57, 58, 63, 64].map(batch_of_one), [68, 69, 125, 127, 132, 134]);
    }

    #[test]
    fn as_many_records_as_certainly_fit_and_at_least_one() {
        assert_eq!([0, 1, 100, 1_000_000].map(|size| records(0, size)), [1; 4]);
        assert_eq!(records(BATCH_OVERHEAD + 5 * 136, 100), 5);
        assert_eq!(records(BATCH_OVERHEAD + 5 * 136 - 1, 100), 4);
        for size in [0, 90, 100, 5000] {
            // No length field is longer than 5 bytes, nor is any delta within a batch.
            let count = records(BATCH_BYTES, size) as usize;
            assert!(BATCH_OVERHEAD + count * (batch_of_one(size) - BATCH_OVERHEAD + 2 * 4) <= BATCH_BYTES, "{size}");
        }
    }

    #[test]
    fn the_longest_value_of_a_batch_is_the_longest() {
        for batch in [0, 67, 68, 100, 125, 126, 127, 1000, 8300, 65_536, MESSAGE_MAX_BYTES] {
            let size = longest_value(batch);
            assert!(size == 0 || batch_of_one(size) <= batch, "{batch}");
            assert!(batch_of_one(size + 1) > batch, "{batch}");
        }
    }
}
