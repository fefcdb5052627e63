//! What librdkafka says on its own, brought to the one output.

use std::sync::Arc;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::output::Output;

/// The context of every client: errors and warnings become dated remarks, at most one of a kind every ten seconds.
#[derive(Debug, Clone)]
pub struct LabContext {
    output: Arc<Output>,
}

impl LabContext {
    /// Remarks go to `output`.
    pub fn new(output: Arc<Output>) -> Self {
        Self { output }
    }
}

impl ClientContext for LabContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        // These come a second time as errors, with a code.
        if !matches!(facility, "FAIL" | "ERROR") {
            self.output.remark_of_kind(facility, format_args!("librdkafka {facility}: {message}"));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            // librdkafka's own words count addresses, some of them twice: "0/3 brokers are down".
            self.output.remark_of_kind("down", "no broker can be reached; trying again");
            return;
        }
        let kind = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| format!("{code:?}"));
        self.output.remark_of_kind(&kind, format_args!("librdkafka {kind}: {reason}"));
    }

    fn stats_raw(&self, _statistics: &[u8]) {}
}

impl ConsumerContext for LabContext {}
