//! Going back to the addresses that a client was given.

use std::ffi::CString;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

use crate::native::{self, NativeClient};

/// How long no broker answers before the addresses are given anew; twice as long each time after that, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// Gives a client its first addresses anew when no broker answers.
///
/// librdkafka forgets every broker that an answer does not name (from 2.10 on). A broker that has just been started, and was not told of the others yet,
/// names none, not even itself. librdkafka then begins with the first addresses again, unless the timer that does so is stopped by that very answer
/// (`rd_kafka_rebootstrap_tmr_stop`): from then on nobody is asked any more, for ever. A drill that kills all brokers met that on a
/// busy machine. See librdkafka #5301.
pub struct Bootstrap {
    addresses: CString,
    due: Mutex<Backoff>,
}

/// When the addresses are given anew, and how long it was put off.
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
    /// For a client of these addresses.
    ///
    /// # Errors
    /// When they contain a zero byte, and so are none.
    pub fn of(addresses: &str) -> Result<Self> {
        Ok(Self { addresses: CString::new(addresses)?, due: Mutex::new(Backoff::after(PAUSE)) })
    }

    /// What the brokers answered `client`, which has to ask them time and again.
    pub fn on_answer(&self, client: &impl NativeClient, answer: &KafkaResult<Metadata>) {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.as_ref().is_ok_and(|metadata| !metadata.brokers().is_empty()) {
            *due = Backoff::after(PAUSE);
        } else if Instant::now() >= due.at {
            native::add_brokers(client, &self.addresses);
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
    use crate::context::{LabConsumer, LabContext};
    use crate::output::Output;
    use crate::settings;

    #[test]
    fn a_client_that_knows_no_broker_finds_one_again() {
        let cluster: MockCluster<'_, DefaultProducerContext> = MockCluster::new(1).unwrap();
        let bootstrap = Bootstrap::of(&cluster.bootstrap_servers()).unwrap();
        let context = LabContext::new(Arc::new(Output::new(crate::cli::Format::Json, None).unwrap()));
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
