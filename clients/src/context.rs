//! Forwards librdkafka's logs and errors to the client's output.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};

use crate::listener::why_no_broker;
use crate::native::ErrorCode;
use crate::output::Output;
use crate::sync::lock;

/// An rdkafka consumer that logs through [`LabContext`].
pub type LabConsumer = BaseConsumer<LabContext>;

/// An rdkafka producer that logs through [`LabContext`].
pub type LabProducer = BaseProducer<LabContext>;

/// How often a client asks what listens at the addresses where it finds no broker.
const EXPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Words with which librdkafka guesses at the cause of answers that are none of Kafka's: of HTTP it says "increase
/// receive.message.max.bytes". [`LabContext::explain`] looks instead.
const GUESSES: [&str; 2] = ["receive.message.max.bytes", "might be caused by"];

/// The context of every client. Logs errors and warnings, each kind at most once every ten seconds.
#[derive(Debug, Clone)]
pub struct LabContext {
    output: Arc<Output>,
    brokers: Arc<str>,
    /// When the addresses were asked last.
    explained: Arc<Mutex<Option<Instant>>>,
}

impl LabContext {
    /// The context of a client with the bootstrap addresses `brokers`.
    pub fn new(output: Arc<Output>, brokers: &str) -> Self {
        Self { output, brokers: brokers.into(), explained: Arc::default() }
    }

    /// Logs that no broker answers, and what listens at their addresses instead. A thread of its own finds that out,
    /// because the caller has other things to do.
    pub fn explain(&self) {
        let mut explained = lock(&self.explained);
        if explained.is_some_and(|at| at.elapsed() < EXPLAIN_EVERY) {
            return;
        }
        *explained = Some(Instant::now());
        let (output, brokers) = (Arc::clone(&self.output), Arc::clone(&self.brokers));
        let look = move || {
            output.log_throttled(
                "down",
                match why_no_broker(&brokers) {
                    Some(why) => format!("no broker can be reached; retrying: {why}"),
                    None => "no broker could be reached; now one answers; retrying".into(),
                },
            );
        };
        if std::thread::Builder::new().name("explain".into()).spawn(look).is_err() {
            self.output.log_throttled("down", "no broker can be reached; retrying");
        }
    }
}

impl LabContext {
    /// Handles a line of librdkafka's log.
    pub fn on_log(&self, facility: &str, message: &str) {
        // These are also reported as errors, with a code.
        if !matches!(facility, "FAIL" | "ERROR") && !is_guess(message) {
            self.output.log_throttled(facility, format_args!("librdkafka {facility}: {message}"));
        }
    }

    /// Handles an error that does not concern a single message.
    pub fn on_error(&self, code: ErrorCode, reason: &str) {
        // librdkafka's own text counts addresses, some of them twice: "0/3 brokers are down".
        if code == ErrorCode::ALL_BROKERS_DOWN || is_guess(reason) {
            self.explain();
            return;
        }
        let kind = code.name();
        self.output.log_throttled(&kind, format_args!("librdkafka {kind}: {reason}"));
    }
}

fn is_guess(text: &str) -> bool {
    GUESSES.iter().any(|guess| text.contains(guess))
}

impl ClientContext for LabContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.on_log(facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(code) => self.on_error(ErrorCode::from(code), reason),
            None => self.output.log_throttled("librdkafka", format_args!("librdkafka: {error}: {reason}")),
        }
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for LabContext {}

/// [`crate::native::ProducerEvents`] handles delivery reports. This is called only for messages that a closed producer
/// left behind.
impl ProducerContext for LabContext {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}
