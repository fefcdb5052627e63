//! Sends one message and receives it back, as soon as the brokers allow it.
//!
//! This is on the critical path of a lab's start, so nothing waits for a timer: metadata is polled every few
//! milliseconds, and the producer id is fetched and the consumer connects while the topic is still being created.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ledger::cause::in_words;
use ledger::lines::{self, PROBE, ProbeEvent};
use ledger::sent::SendOutcome;
use ledger::stamp::{Encoder, ProducerId, RunId};
use rdkafka::consumer::Consumer;
use rdkafka::producer::Producer;

use crate::cli::ProbeArgs;
use crate::context::{LabConsumer, LabContext, LabProducer};
use crate::listener::why_no_broker;
use crate::metadata::{TopicState, topic_state};
use crate::native::{Buffer, Fetched, ProducerEvent, ProducerEvents, Queue, Topic};
use crate::output::Output;
use crate::random::random;
use crate::settings;
use crate::sync::lock;
use crate::time::now_ms;

/// Interval between metadata queries: short enough to lose no time, long enough to leave starting brokers their CPU.
const ASK_EVERY: Duration = Duration::from_millis(25);

/// Timeout of one query, so that brokers that come up later are tried too.
const ANSWER_WITHIN: Duration = Duration::from_millis(1000);

/// The status until a broker answers.
const ANY_BROKER: &str = "a broker to answer";

struct ProbeRun<'a> {
    args: &'a ProbeArgs,
    output: &'a Arc<Output>,
    context: LabContext,
    began: Instant,
    deadline: Instant,
    status: Mutex<String>,
}

/// Prints lines as things happen; returns 0 if the message came back in time.
///
/// # Errors
/// Never because of brokers that do not answer: the last line reports what it was waiting for.
pub fn run(args: &ProbeArgs, output: &Arc<Output>) -> Result<u8> {
    let began = Instant::now();
    let deadline = began + Duration::from_millis(args.timeout_ms);
    let context = LabContext::new(Arc::clone(output), &args.target.brokers);
    let probe = ProbeRun { args, output, context, began, deadline, status: Mutex::default() };
    match probe.run_to_end() {
        Ok(()) => Ok(0),
        Err(error) => {
            probe.print(lines::Probe { error: Some(in_words(format!("{error:#}"))), ..probe.line(ProbeEvent::Error) });
            Ok(1)
        }
    }
}

impl ProbeRun<'_> {
    fn run_to_end(&self) -> Result<()> {
        let (brokers, topic) = (&self.args.target.brokers, self.args.target.topic.as_str());
        let producer: Arc<LabProducer> =
            Arc::new(settings::probe_producer(brokers).create_with_context(self.context.clone())?);
        let reports = ProducerEvents::of(Arc::clone(&producer))?;
        let consumer: Arc<LabConsumer> =
            Arc::new(settings::probe_consumer(brokers).create_with_context(self.context.clone())?);
        self.warm_up(&consumer);

        let partition = self.wait_for_leader(&producer, &reports)?;
        let sent = Topic::open(Arc::clone(&producer), topic)?;
        fastrand::seed(random());
        let mut encoder = Encoder::new(RunId::random(), ProducerId(random() as u32), 0, 0);
        let sent_ms = now_ms();
        let value = encoder.encode(fastrand::u32(0..1_000_000), u32::try_from(partition)?, 0, sent_ms);
        self.send(&reports, &sent, partition, value, sent_ms)?;
        self.set_status("acknowledgement by every in-sync replica");
        let offset = self.wait_for_ack(&reports)?;
        let on = u32::try_from(partition).ok();
        self.print(lines::Probe { partition: on, offset: Some(offset), ..self.line(ProbeEvent::Acked) });

        let received = Topic::open(Arc::clone(&consumer), topic)?;
        let queue = Queue::new(Arc::clone(&consumer))?;
        received.start(&queue, partition, offset)?;
        let mut buffer = Buffer::default();
        self.set_status("the message to arrive");
        let mut back = false;
        while !back {
            self.in_time()?;
            let taken = queue.take(&mut buffer).drain(|fetched| {
                back |= matches!(fetched, Fetched::Record { value: Some(bytes), .. } if bytes == value);
            });
            if taken == 0 {
                consumer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        self.print(lines::Probe { partition: on, offset: Some(offset), ..self.line(ProbeEvent::Received) });
        // Closing the handles properly takes librdkafka some hundred milliseconds; the process exits here anyway.
        std::mem::forget((queue, received, sent, reports));
        Ok(())
    }

    /// Lets the consumer connect and learn the leaders while the producer waits for them.
    fn warm_up(&self, consumer: &Arc<LabConsumer>) {
        let (consumer, topic, deadline) = (Arc::clone(consumer), self.args.target.topic.clone(), self.deadline);
        std::thread::spawn(move || {
            while Instant::now() < deadline {
                if let Ok(metadata) = consumer.fetch_metadata(Some(&topic), ANSWER_WITHIN)
                    && let TopicState::Partitions(_, Some(partition)) = topic_state(&metadata, &topic)
                    // Querying offsets connects to the leader.
                    && consumer.fetch_watermarks(&topic, partition, ANSWER_WITHIN).is_ok()
                {
                    break;
                }
                std::thread::sleep(ASK_EVERY * 2);
            }
        });
    }

    fn wait_for_leader(&self, producer: &LabProducer, reports: &ProducerEvents<LabProducer>) -> Result<i32> {
        let topic = self.args.target.topic.as_str();
        self.set_status(ANY_BROKER);
        loop {
            self.poll_events(reports);
            match producer.client().fetch_metadata(Some(topic), ANSWER_WITHIN.min(self.left())) {
                Ok(metadata) => match topic_state(&metadata, topic) {
                    TopicState::Partitions(_, Some(partition)) => return Ok(partition),
                    TopicState::Partitions(..) => self.set_status("a partition leader"),
                    TopicState::NotYet(why) => {
                        let brokers = metadata.brokers().len();
                        self.set_status(&format!("topic {topic}: {why} ({brokers} brokers known)"));
                    }
                },
                // The last query may have been cut short by the timeout; the previous status is the better reason.
                Err(_) => {
                    self.in_time()?;
                    self.set_status(ANY_BROKER);
                }
            }
            self.in_time()?;
            std::thread::sleep(ASK_EVERY);
        }
    }

    fn send(
        &self,
        reports: &ProducerEvents<LabProducer>,
        topic: &Topic<LabProducer>,
        partition: i32,
        value: &[u8],
        sent_ms: u64,
    ) -> Result<()> {
        while let Err(code) = topic.produce(partition, value, sent_ms.cast_signed(), 0) {
            self.set_status(&format!("librdkafka to accept the message: {}", code.name()));
            self.in_time()?;
            self.poll_events(reports);
            std::thread::sleep(ASK_EVERY);
        }
        Ok(())
    }

    fn wait_for_ack(&self, reports: &ProducerEvents<LabProducer>) -> Result<i64> {
        loop {
            std::thread::sleep(Duration::from_millis(1));
            match self.poll_events(reports) {
                Some((SendOutcome::Acked, _, offset)) => return Ok(offset),
                Some((_, why, _)) => return Err(anyhow!("the message was not acknowledged: {why}")),
                None => self.in_time()?,
            }
        }
    }

    /// Handles librdkafka's events. Returns the message's outcome, an explanation and its offset, once known.
    fn poll_events(&self, reports: &ProducerEvents<LabProducer>) -> Option<(SendOutcome, String, i64)> {
        let mut settled = None;
        while reports.take(Duration::ZERO, |event| match event {
            ProducerEvent::Report(report) => {
                let why = format!("{} ({})", report.code.name(), report.code.description());
                settled = Some((report.outcome, why, report.offset));
            }
            ProducerEvent::Error { code, why } => self.context.on_error(code, &why),
            ProducerEvent::Log { facility, message } => self.context.on_log(&facility, &message),
        }) {}
        settled
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn in_time(&self) -> Result<()> {
        if !self.left().is_zero() {
            return Ok(());
        }
        let status = lock(&self.status).clone();
        let why = if status == ANY_BROKER { why_no_broker(&self.args.target.brokers) } else { None };
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Err(anyhow!("timed out after {} ms waiting for {status}{why}", self.args.timeout_ms))
    }

    fn set_status(&self, status: &str) {
        let mut last = lock(&self.status);
        if *last != status {
            status.clone_into(&mut last);
            self.print(lines::Probe { status: Some(status.to_owned()), ..self.line(ProbeEvent::Waiting) });
        }
    }

    fn line(&self, event: ProbeEvent) -> lines::Probe {
        lines::Probe {
            schema: PROBE.into(),
            event,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: None,
            partition: None,
            offset: None,
            error: None,
        }
    }

    fn print(&self, line: lines::Probe) {
        self.output.json(&line);
    }
}
