//! Queries the first offset and the end offset of each partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use ledger::cause::in_words;
use ledger::lines::{OFFSETS, Offsets, Watermarks};
use rdkafka::consumer::Consumer;
use rdkafka::{Offset, TopicPartitionList};

use crate::cli::OffsetsArgs;
use crate::context::{LabConsumer, LabContext};
use crate::listener::{librdkafka_in_words, why_no_broker};
use crate::metadata::{TOPIC_ID_WITHIN, TopicState, answering_broker, topic_state};
use crate::native;
use crate::output::Output;
use crate::settings;

/// Prints one line; returns 0 if it has the offsets.
///
/// # Errors
/// Never because of brokers that do not answer: the line reports that.
pub fn run(args: &OffsetsArgs, output: &Arc<Output>) -> Result<u8> {
    let answer = query(args, output);
    let topic = args.target.topic.clone();
    let (topic_id, partitions, error) = match answer {
        Ok((id, partitions)) => (id, partitions, None),
        Err(error) => (None, Vec::new(), Some(in_words(format!("{error:#}")))),
    };
    let code = u8::from(error.is_some());
    output.json(&Offsets { schema: OFFSETS.into(), topic, topic_id, partitions, error });
    Ok(code)
}

fn query(args: &OffsetsArgs, output: &Arc<Output>) -> Result<(Option<String>, Vec<Watermarks>)> {
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let left = || deadline.saturating_duration_since(Instant::now());
    let context = LabContext::new(Arc::clone(output), &args.target.brokers);
    let client: LabConsumer = settings::query(&args.target.brokers).create_with_context(context)?;
    let metadata = client.fetch_metadata(Some(&args.target.topic), left()).map_err(|error| {
        let why = why_no_broker(&args.target.brokers).unwrap_or_else(|| librdkafka_in_words(&error));
        anyhow!("no broker of {} answered: {why}", args.target.brokers)
    })?;
    let count = match topic_state(&metadata, &args.target.topic) {
        TopicState::Partitions(count, _) => count,
        TopicState::NotYet(why) => return Err(anyhow!("topic {}: {why}", args.target.topic)),
    };
    // A topic that is recreated during this query has two ids.
    let broker = answering_broker(&metadata);
    let id = native::topic_id::topic_id(&client, &args.target.topic, broker, left().min(TOPIC_ID_WITHIN))?;
    let count = i32::try_from(count)?;
    let known = loop {
        // A partition may have no leader for a moment; retry until the timeout.
        match of_partitions(&client, &args.target.topic, 0..count, left().min(Duration::from_secs(2))) {
            Ok(known) => break known,
            Err(error) if left().is_zero() => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let marks = |(partition, (low, high))| -> Result<Watermarks> {
        Ok(Watermarks { partition: u32::try_from(partition)?, low: u64::try_from(low)?, high: u64::try_from(high)? })
    };
    Ok((id, known.into_iter().map(marks).collect::<Result<_>>()?))
}

/// The first offset and the end offset of each partition, with one request to each leader. Blocks.
///
/// # Errors
/// If any of them is not known within `within`.
pub fn of_partitions(
    client: &LabConsumer,
    topic: &str,
    partitions: impl Iterator<Item = i32> + Clone,
    within: Duration,
) -> Result<BTreeMap<i32, (i64, i64)>> {
    let began = Instant::now();
    let offsets_at = |place: Offset| -> Result<Vec<(i32, i64)>> {
        let mut list = TopicPartitionList::new();
        for partition in partitions.clone() {
            // Kafka's ListOffsets request takes these two special values in place of a timestamp.
            list.add_partition_offset(topic, partition, place)?;
        }
        let answer = client.offsets_for_times(list, within.saturating_sub(began.elapsed()))?;
        let offsets = answer.elements().into_iter().map(|one| {
            one.error().with_context(|| format!("partition {}", one.partition()))?;
            match one.offset() {
                Offset::Offset(offset) => Ok((one.partition(), offset)),
                _ => Err(anyhow!("partition {}: the offset is not known", one.partition())),
            }
        });
        offsets.collect()
    };
    let (first, end) = (offsets_at(Offset::Beginning)?, offsets_at(Offset::End)?);
    let end: BTreeMap<i32, i64> = end.into_iter().collect();
    let both = first.into_iter().filter_map(|(partition, low)| Some((partition, (low, *end.get(&partition)?))));
    let known: BTreeMap<i32, (i64, i64)> = both.collect();
    match partitions.into_iter().find(|partition| !known.contains_key(partition)) {
        Some(partition) => Err(anyhow!("partition {partition}: no answer")),
        None => Ok(known),
    }
}
