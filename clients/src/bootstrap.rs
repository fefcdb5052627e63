//! Gives a client its bootstrap addresses again after it has lost all brokers.

use std::ffi::CString;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

use crate::context::LabContext;
use crate::native::{self, NativeClient};
use crate::sync::lock;

/// How long no broker may answer before the addresses are added again; doubles each time, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// Adds a client's bootstrap addresses again when no broker answers.
///
/// librdkafka (2.10 and newer) forgets every broker that a metadata response does not name. A newly started broker that
/// does not know the others yet names none, not even itself. librdkafka then falls back to its bootstrap addresses,
/// unless the timer for that is stopped by the same response (`rd_kafka_rebootstrap_tmr_stop`): from then on it never
/// connects again. A drill that kills all brokers ran into this on a busy machine. See librdkafka #5301.
pub struct Bootstrap {
    addresses: CString,
    context: LabContext,
    due: Mutex<Backoff>,
}

/// When to add the addresses again.
struct Backoff {
    at: Instant,
    pause: Duration,
}

impl Backoff {
    fn after(pause: Duration) -> Self {
        Self { at: Instant::now() + pause, pause }
    }
}

impl Bootstrap {
    /// For a client with these bootstrap addresses and this context.
    ///
    /// # Errors
    /// If they contain a zero byte.
    pub fn of(addresses: &str, context: LabContext) -> Result<Self> {
        Ok(Self { addresses: CString::new(addresses)?, context, due: Mutex::new(Backoff::after(PAUSE)) })
    }

    /// Call this with each metadata answer that `client` gets. Logs what is wrong with the addresses where none comes.
    pub fn on_answer(&self, client: &impl NativeClient, answer: &KafkaResult<Metadata>) {
        let mut due = lock(&self.due);
        if answer.as_ref().is_ok_and(|metadata| !metadata.brokers().is_empty()) {
            *due = Backoff::after(PAUSE);
        } else if Instant::now() >= due.at {
            native::add_brokers(client, &self.addresses);
            if answer.is_err() {
                self.context.explain();
            }
            *due = Backoff::after((due.pause * 2).min(PAUSE_MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]
    use std::sync::Arc;

    use rdkafka::consumer::Consumer;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::DefaultProducerContext;

    use super::*;
    use crate::context::LabConsumer;
    use crate::output::Output;
    use crate::settings;

    #[test]
    fn a_client_that_knows_no_broker_finds_one_again() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        let output = Arc::new(Output::new(crate::cli::Format::Json, None).unwrap());
        let context = LabContext::new(output, &cluster.bootstrap_servers());
        let bootstrap = Bootstrap::of(&cluster.bootstrap_servers(), context.clone()).unwrap();
        let mut config = settings::consumer_query("");
        config.remove("bootstrap.servers");
        let client: LabConsumer = config.create_with_context(context).unwrap();
        let began = Instant::now();
        let mut answers = Vec::new();
        while began.elapsed() < Duration::from_secs(60) && answers.last() != Some(&true) {
            let answer = client.fetch_metadata(None, Duration::from_millis(300));
            bootstrap.on_answer(&client, &answer);
            answers.push(answer.is_ok());
        }
        assert_eq!((answers.first(), answers.last()), (Some(&false), Some(&true)), "{}", answers.len());
    }
}
