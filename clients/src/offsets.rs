//! The first and the end offset of every partition, asked of the brokers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::cli::OffsetsArgs;
use crate::context::LabContext;
use crate::metadata::{TopicState, topic_state};
use crate::native;
use crate::output::Output;
use crate::producer::TOPIC_ID_WITHIN;
use crate::report::{self, OffsetsLine, PartitionOffsets};
use crate::settings;

/// Prints one line; returns 0 when it has the offsets.
///
/// # Errors
/// Never for brokers that do not answer: the line says why.
pub fn run(args: &OffsetsArgs, output: &Arc<Output>) -> Result<u8> {
    let answer = ask(args, output);
    let topic = args.target.topic.as_str();
    let (topic_id, partitions, error) = match answer {
        Ok((id, partitions)) => (id, Some(partitions), None),
        Err(error) => (None, None, Some(format!("{error:#}"))),
    };
    let code = u8::from(error.is_some());
    output.json(&OffsetsLine { schema: report::OFFSETS, topic, topic_id, partitions, error });
    Ok(code)
}

fn ask(args: &OffsetsArgs, output: &Arc<Output>) -> Result<(Option<String>, Vec<PartitionOffsets>)> {
    let deadline = Instant::now() + Duration::from_millis(args.timeout_ms);
    let left = || deadline.saturating_duration_since(Instant::now());
    let client: BaseConsumer<LabContext> =
        settings::question(&args.target.brokers).create_with_context(LabContext::new(Arc::clone(output)))?;
    let metadata = client
        .fetch_metadata(Some(&args.target.topic), left())
        .map_err(|error| anyhow!("no broker of {} answered: {error}", args.target.brokers))?;
    let count = match topic_state(&metadata, &args.target.topic) {
        TopicState::Partitions(count, _) => count,
        TopicState::NotYet(why) => return Err(anyhow!("topic {}: {why}", args.target.topic)),
    };
    // What is deleted and made again while it is asked about has two ids.
    let id = native::topic_id(&client, &args.target.topic, left().min(TOPIC_ID_WITHIN))?;
    let partitions: Result<_> = (0..i32::try_from(count)?)
        .map(|partition| {
            loop {
                // A partition may be between two leaders; ask until the time is up.
                match client.fetch_watermarks(&args.target.topic, partition, left().min(Duration::from_secs(2))) {
                    Ok((low, high)) => {
                        break Ok(PartitionOffsets { partition, low, high });
                    }
                    Err(error) if left().is_zero() => {
                        break Err(anyhow!("partition {partition}: {error}"));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        })
        .collect();
    Ok((id, partitions?))
}
