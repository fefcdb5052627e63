//! Forwards librdkafka's logs and errors to the client's output.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, ProducerContext};

use crate::native::ErrorCode;
use crate::output::Output;

/// An rdkafka consumer that logs through [`LabContext`].
pub type LabConsumer = BaseConsumer<LabContext>;

/// An rdkafka producer that logs through [`LabContext`].
pub type LabProducer = BaseProducer<LabContext>;

/// The context of every client. Logs errors and warnings, each kind at most once every ten seconds.
#[derive(Debug, Clone)]
pub struct LabContext {
    output: Arc<Output>,
}

impl LabContext {
    pub fn new(output: Arc<Output>) -> Self {
        Self { output }
    }
}

impl LabContext {
    /// Handles a line of librdkafka's log.
    pub fn on_log(&self, facility: &str, message: &str) {
        // These are also reported as errors, with a code.
        if !matches!(facility, "FAIL" | "ERROR") {
            self.output.log_throttled(facility, format_args!("librdkafka {facility}: {message}"));
        }
    }

    /// Handles an error that does not concern a single message.
    pub fn on_error(&self, code: ErrorCode, reason: &str) {
        if code == ErrorCode::ALL_BROKERS_DOWN {
            // librdkafka's own text counts addresses, some of them twice: "0/3 brokers are down".
            self.output.log_throttled("down", "no broker can be reached; retrying");
            return;
        }
        let kind = code.name();
        self.output.log_throttled(&kind, format_args!("librdkafka {kind}: {reason}"));
    }
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
