//! The producer: sends stamped messages to every partition and tracks the outcome of each.
//!
//! One thread both queues messages and handles librdkafka's delivery reports, so there is no contention and no
//! allocation per message. Only librdkafka retries. The producer never resends a message itself, since that would
//! create duplicates.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ledger::cause::in_words;
use ledger::lines::{
    self, LINE_INTERVALS_MAX, Milestone, ProducerStart, ProducerState, Reason, SendPartition, SendStream, SendTotals,
    StateEvent,
};
use ledger::sent::{SendLedger, SendOutcome};
use ledger::size;
use ledger::stamp::{Encoder, ProducerId, RunId};
use rdkafka::producer::{Producer, PurgeConfig};

use crate::bootstrap::Bootstrap;
use crate::cli::ProducerArgs;
use crate::context::{LabContext, LabProducer};
use crate::metadata::{self, TopicState, answering_broker, topic_state};
use crate::native::topic_setting::topic_setting;
use crate::native::{DeliveryReport, ErrorCode, ProducerEvent, ProducerEvents, Topic};
use crate::output::Output;
use crate::pace::{Pacer, Partitioner, Spread};
use crate::random::random;
use crate::settings::{self, Sizes};
use crate::state;
use crate::stop::Stop;
use crate::time::now_ms;
use crate::verifiable;

/// How long messages in flight are awaited after a signal. Kubernetes kills a pod 30 s after SIGTERM.
const FLUSH_WITHIN: Duration = Duration::from_secs(25);

/// How long delivery reports are awaited after a fatal error.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Renewing a handle: how long to wait without sending until nothing is in flight, how long the new handle may take to
/// find the topic, and when to retry if either fails.
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
const RENEW_WITHIN: Duration = Duration::from_secs(5);
const RENEW_AGAIN: Duration = Duration::from_secs(30);

/// How long a producer waits when no partition accepts a message.
const WAITS_FOR: Duration = Duration::from_millis(5);

/// Messages sent between two looks at delivery reports and the clock.
const BURST: u64 = 64;

/// Maximum number of epochs reported separately; older ones are only in the totals.
const EPOCHS_KEPT: usize = 64;

/// Timeout of the query for the topic's limits.
const LIMITS_WITHIN: Duration = Duration::from_secs(2);

/// Acknowledged messages per text line.
const LINE_EVERY: u64 = 1000;

/// The state that delivery reports update.
#[derive(Debug, Default)]
struct DeliveryTally {
    /// The current epoch's streams, by partition.
    streams: Vec<SendLedger>,
    /// Messages of the current epoch that are not settled.
    unsettled: u64,
    /// Partitions whose messages are all settled since this was last checked.
    idle: Vec<usize>,
    /// Acked messages of all epochs.
    acked: u64,
    /// Failed deliveries by error name.
    errors: BTreeMap<Cow<'static, str>, u64>,
    /// Whether a delivery failed since this was last checked.
    failed: bool,
    /// Whether a batch was rejected for its size.
    too_large: bool,
}

impl DeliveryTally {
    fn settle(&mut self, report: &DeliveryReport<'_>, topic: &str, output: &Output) {
        let DeliveryReport { outcome, code, partition, opaque: sequence, .. } = *report;
        if output.is_verifiable() {
            output.verifiable(verifiable(topic, report));
        }
        if let Ok(number) = usize::try_from(partition)
            && let Some(stream) = self.streams.get_mut(number)
        {
            stream.settle(sequence as u64, outcome);
            self.unsettled = self.unsettled.saturating_sub(1);
            if stream.in_flight() == 0 {
                self.idle.push(number);
            }
        }
        if outcome == SendOutcome::Acked {
            output.progressed(Milestone::Acked, partition);
            self.acked += 1;
            if self.acked.is_multiple_of(LINE_EVERY) {
                output.text(format_args!("{topic}: {} messages published", self.acked));
            }
        }
        if code != ErrorCode::NONE {
            self.failed = true;
            self.too_large |= code == ErrorCode::TOO_LARGE;
            let name = code.name();
            output.log_throttled(
                &name,
                format_args!("{topic}: delivery to partition {partition} failed: {name} ({})", code.description()),
            );
            *self.errors.entry(name).or_default() += 1;
        }
    }

    fn in_flight(&self) -> u64 {
        self.streams.iter().map(SendLedger::in_flight).sum()
    }
}

/// A delivery report as Kafka's verifiable producer prints it.
fn verifiable<'a>(topic: &'a str, report: &DeliveryReport<'a>) -> verifiable::VerifiableEvent<'a> {
    // All values are stamps, which are text.
    let value = std::str::from_utf8(report.value).unwrap_or_default();
    if report.outcome == SendOutcome::Acked {
        let (partition, offset) = (report.partition, report.offset);
        verifiable::VerifiableEvent::ProducerSendSuccess { key: None, value, topic, partition, offset }
    } else {
        let (exception, message) = (report.code.name(), report.code.description());
        verifiable::VerifiableEvent::ProducerSendError { topic, key: None, value, exception, message }
    }
}

/// A librdkafka producer. An epoch has one or several in turn; each starts when all messages of the former are settled.
struct Handle {
    client: Arc<LabProducer>,
    topic: Topic<LabProducer>,
    /// The events of this handle only, so that a late report is never settled in another epoch.
    reports: ProducerEvents<LabProducer>,
    encoder: Encoder,
    /// The broker that answered for the topic, which gets further queries.
    answering_broker: i32,
    bootstrap: Arc<Bootstrap>,
    /// When to renew the handle.
    renewal: Instant,
    /// Number of partitions. Updated by a thread of its own, since queries can take long.
    partitions: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// The result of offering a message.
enum SendAttempt {
    Yes,
    /// Every partition waits for its current batch.
    Waits,
    Full,
    NotNow(ErrorCode),
    /// librdkafka will never accept it.
    Never(ErrorCode),
}

/// Why sending stopped.
enum StopReason {
    /// Everything was sent, or a signal arrived.
    Finished,
    /// Nothing is in flight, and the handle should be renewed.
    Renewal,
    /// librdkafka reported a fatal error.
    Fatal,
    /// A batch was larger than the brokers accept.
    TooLarge,
    /// librdkafka rejects a message for good.
    Refused(ErrorCode),
}

struct Session<'a> {
    args: &'a ProducerArgs,
    output: &'a Arc<Output>,
    context: LabContext,
    stop: &'a Stop,
    run: RunId,
    producer: ProducerId,
    epoch: u32,
    sizes: Sizes,
    linger: Duration,
    tally: DeliveryTally,
    past: VecDeque<(u32, Vec<SendLedger>)>,
    folded: Vec<SendTotals>,
    folded_epochs: u64,
    sent: u64,
    partitioner: Partitioner,
    queue_full: u64,
    began: Instant,
    next_checkpoint: Instant,
    topic_id: Option<String>,
}

/// Sends until the count is reached or a signal arrives, then waits for messages in flight. Returns 0 if everything
/// sent was acked.
///
/// # Errors
/// If librdkafka rejects its settings.
pub fn run(args: &ProducerArgs, output: &Arc<Output>, stop: &Stop) -> Result<u8> {
    let now = Instant::now();
    let sizes = Sizes::of_values(args.longest_value());
    let linger = Duration::from_millis(args.linger_ms);
    fastrand::seed(random());
    let mut session = Session {
        args,
        output,
        context: LabContext::new(Arc::clone(output), &args.target.brokers),
        stop,
        run: args.run.unwrap_or_else(RunId::random),
        // Not from the generator that the run id comes from: one seed would determine both.
        producer: ProducerId(random() as u32),
        epoch: 0,
        sizes,
        linger,
        tally: DeliveryTally::default(),
        past: VecDeque::new(),
        folded: Vec::new(),
        folded_epochs: 0,
        sent: 0,
        partitioner: Partitioner::new(sizes.limits(), args.count, args.rate, linger),
        queue_full: 0,
        began: now,
        next_checkpoint: now + Duration::from_secs(1),
        topic_id: None,
    };
    let reason = session.send_all()?;
    session.report(StateEvent::End, Some(reason));
    let totals = session.totals();
    session.report_totals(&totals);
    output.verifiable(verifiable::VerifiableEvent::ShutdownComplete);
    output.verifiable(verifiable::VerifiableEvent::ToolData {
        sent: totals.sent,
        acked: totals.acked,
        target_throughput: if args.rate == 0 { -1 } else { args.rate.into() },
        avg_throughput: totals.acked as f64 / session.began.elapsed().as_secs_f64().max(0.001),
    });
    Ok(u8::from(totals.acked < totals.sent || matches!(reason, Reason::Fatal | Reason::Error)))
}

impl Session<'_> {
    /// Sends everything, with as many handles as it takes, and returns why it ended.
    fn send_all(&mut self) -> Result<Reason> {
        let (mut handle, partitions) = match self.begin(None)? {
            Ok(begun) => begun,
            Err(reason) => return Ok(reason),
        };
        self.announce(&handle, partitions);
        let mut pacer = Pacer::new(self.args.rate, self.began, self.linger);
        loop {
            let ended = match self.send_and_settle(&mut handle, &mut pacer) {
                StopReason::Renewal => {
                    self.renew(&mut handle);
                    continue;
                }
                StopReason::Finished => Some(self.end_reason()),
                StopReason::Refused(code) => {
                    self.report_refused(code);
                    Some(Reason::Error)
                }
                StopReason::TooLarge => self.shrink_to_fit(&handle),
                StopReason::Fatal => self.abandon_handle(&handle),
            };
            if let Some(reason) = ended {
                return Ok(reason);
            }
            handle = match self.begin(None) {
                Ok(Ok((handle, _))) => handle,
                Ok(Err(reason)) => return Ok(reason),
                Err(error) => {
                    let topic = &self.args.target.topic;
                    self.output.log(format_args!("{topic}: cannot create a new producer handle: {error:#}"));
                    return Ok(Reason::Fatal);
                }
            };
        }
    }

    /// Prints the start line and the first state, before the first message is sent.
    fn announce(&mut self, handle: &Handle, partitions: usize) {
        let topic = self.args.target.topic.as_str();
        let fetch = |within| handle.client.client().fetch_metadata(Some(topic), within);
        self.topic_id = metadata::topic_id(&*handle.client, topic, fetch, || self.finished());
        self.began = Instant::now();
        self.next_checkpoint = self.began + Duration::from_secs(1);
        self.output.json(&ProducerStart {
            schema: lines::PRODUCER.into(),
            event: StateEvent::Start,
            time_ms: now_ms(),
            run: self.run,
            producer: self.producer,
            topic: topic.to_owned(),
            brokers: self.args.target.brokers.clone(),
            partitions,
            rate: self.args.rate,
            count: self.args.count,
            value_size: self.args.value_size,
            pid: std::process::id(),
        });
        self.output.text(format_args!(
            "{topic}: start publishing messages to {partitions} partitions, run {}, producer {}",
            self.run, self.producer
        ));
        self.output.verifiable(verifiable::VerifiableEvent::StartupComplete);
        // If the process dies within its first second, the state file must already name this producer.
        self.report(StateEvent::Checkpoint, None);
        // Without this line, nobody could tell whose messages these are.
        self.output.flush();
    }

    /// Sends until it must stop, then waits for what is in flight.
    fn send_and_settle(&mut self, handle: &mut Handle, pacer: &mut Pacer) -> StopReason {
        let stopped = self.send(handle, pacer);
        if !matches!(stopped, StopReason::Fatal) {
            self.settle(handle, None);
        }
        // Messages in flight can still fail after the last one was sent: all are settled then, but not all are acked.
        match stopped {
            _ if handle.client.client().fatal_error().is_some() => StopReason::Fatal,
            _ if self.tally.too_large => StopReason::TooLarge,
            stopped => stopped,
        }
    }

    /// Replaces the handle by a new one of the same epoch, or tries again later.
    fn renew(&mut self, handle: &mut Handle) {
        match self.begin(Some(RENEW_WITHIN)) {
            Ok(Ok((renewed, _))) => {
                *handle = renewed;
                let topic = &self.args.target.topic;
                self.output
                    .log(format_args!("{topic}: going on with a new librdkafka handle; no messages are in flight"));
            }
            // The old handle still knows the topic.
            _ => handle.renewal = Instant::now() + self.renewal_retry(),
        }
    }

    /// Ends an epoch in which a batch was too large, and makes batches smaller. Returns why that is impossible.
    fn shrink_to_fit(&mut self, handle: &Handle) -> Option<Reason> {
        self.close_epoch();
        if self.finished() {
            return Some(self.end_reason());
        }
        // If the topic's limit is unknown, assume the smallest possible batch: one message.
        let smallest = size::batch_of_one(self.sizes.value);
        let limit = self.limit(handle).unwrap_or(smallest);
        if limit >= self.sizes.batch.max(smallest) || limit < smallest {
            self.report_too_large(limit);
            return Some(Reason::Error);
        }
        self.shrink(limit);
        None
    }

    /// Ends the epoch of a handle that failed for good. Returns a reason if there is nothing left to send.
    fn abandon_handle(&mut self, handle: &Handle) -> Option<Reason> {
        self.settle(handle, Some(SETTLE_WITHIN));
        let error = handle.client.client().fatal_error();
        let (code, why) = error.map_or((std::borrow::Cow::from("_FATAL"), String::new()), |(code, why)| {
            (ErrorCode::from(code).name(), why)
        });
        self.output.log(format_args!(
            "{}: librdkafka reports a fatal error for this producer handle: {code}: {why}; continuing with epoch {}",
            self.args.target.topic,
            self.epoch + 1
        ));
        self.close_epoch();
        self.finished().then(|| self.end_reason())
    }

    /// Opens a handle, waits for its topic, and limits batches to the topic's size limit. Returns the handle and the
    /// number of partitions, or the reason why it ended instead, or was not done `within` that time.
    fn begin(&mut self, within: Option<Duration>) -> Result<Result<(Handle, usize), Reason>> {
        let deadline = within.map(|within| Instant::now() + within);
        loop {
            let mut handle = self.open()?;
            let Some(partitions) = self.wait_for_topic(&mut handle, deadline) else {
                return Ok(Err(self.end_reason()));
            };
            match self.limit(&handle) {
                Some(limit) if limit < size::batch_of_one(self.sizes.value) => {
                    self.report_too_large(limit);
                    return Ok(Err(Reason::Error));
                }
                Some(limit) if limit < self.sizes.batch => self.shrink(limit),
                _ => {
                    handle.renewal = Instant::now() + Duration::from_secs(self.args.renew_after);
                    self.partitioner.restart();
                    return Ok(Ok((handle, partitions)));
                }
            }
        }
    }

    /// The topic's maximum batch size in bytes, if the brokers report it.
    fn limit(&self, handle: &Handle) -> Option<usize> {
        let topic = &self.args.target.topic;
        let stopped = || self.finished();
        match topic_setting(
            &*handle.client,
            topic,
            "max.message.bytes",
            handle.answering_broker,
            LIMITS_WITHIN,
            stopped,
        ) {
            Ok(bytes) => bytes.parse().ok(),
            Err(error) => {
                self.output.log_throttled(
                    "limit",
                    format_args!("{topic}: cannot get max.message.bytes, assuming Kafka's default: {error:#}"),
                );
                None
            }
        }
    }

    fn shrink(&mut self, limit: usize) {
        let topic = &self.args.target.topic;
        self.output.log(format_args!(
            "{topic}: max.message.bytes is {limit}; limiting batches to that size, which reduces throughput"
        ));
        self.sizes.batch = limit;
        self.partitioner.set_limits(self.sizes.limits());
    }

    fn report_refused(&self, code: ErrorCode) {
        let (topic, size, why) = (&self.args.target.topic, self.sizes.value, code.description());
        self.output.log(format_args!("{topic}: cannot send values of up to {size} bytes: {why}"));
    }

    fn report_too_large(&self, limit: usize) {
        let (topic, size) = (&self.args.target.topic, self.sizes.value);
        let (needed, most) = (size::batch_of_one(size), size::longest_value(limit));
        self.output.log(format_args!(
            "{topic}: cannot send values of up to {size} bytes: one needs a batch of {needed} bytes, but \
             the topic or its brokers accept {limit} at most; raise the topic's max.message.bytes, or set \
             --value-size to {most} or less"
        ));
    }

    fn finished(&self) -> bool {
        self.stop.requested() || self.output.broken() || (self.args.count > 0 && self.sent >= self.args.count)
    }

    fn end_reason(&self) -> Reason {
        if self.output.broken() {
            Reason::Error
        } else if self.stop.requested() {
            Reason::Signal
        } else {
            Reason::Count
        }
    }

    /// Opens a handle for the current epoch.
    fn open(&mut self) -> Result<Handle> {
        let target = &self.args.target;
        let (acks, idempotent) = (self.args.acks, !self.args.no_idempotence);
        let mut config = settings::producer(&target.brokers, acks, idempotent, self.sizes, self.linger);
        if self.args.no_create_topic {
            // A producer's metadata query creates the topic unless told otherwise.
            config.set("allow.auto.create.topics", "false");
        }
        let client: Arc<LabProducer> = Arc::new(config.create_with_context(self.context.clone())?);
        let topic = Topic::open(Arc::clone(&client), &target.topic)?;
        let reports = ProducerEvents::of(Arc::clone(&client))?;
        let encoder = Encoder::new(self.run, self.producer, self.epoch, self.args.value_size.unwrap_or(0));
        let bootstrap = Arc::new(Bootstrap::of(&target.brokers, self.context.clone())?);
        let renewal = Instant::now();
        let (partitions, closed) = Default::default();
        Ok(Handle { client, topic, reports, encoder, answering_broker: -1, bootstrap, renewal, partitions, closed })
    }

    /// Waits until the topic has partitions. Querying it creates it, unless `--no-create-topic` is set. Returns `None`
    /// if stopped, or at the deadline.
    fn wait_for_topic(&mut self, handle: &mut Handle, deadline: Option<Instant>) -> Option<usize> {
        let topic = &self.args.target.topic;
        let mut logged = String::new();
        let count = loop {
            if self.finished() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            self.poll_events(handle, Duration::ZERO);
            let answer = handle.client.client().fetch_metadata(Some(topic), Duration::from_millis(500));
            handle.bootstrap.on_answer(&*handle.client, &answer);
            let state = match answer {
                Ok(metadata) => match topic_state(&metadata, topic) {
                    TopicState::Partitions(count, _) => {
                        handle.answering_broker = answering_broker(&metadata);
                        break count;
                    }
                    TopicState::NotYet(why) => why.into_owned(),
                },
                Err(_) => format!("no broker of {} answers yet", self.args.target.brokers),
            };
            if state != logged {
                self.output.log(format_args!("{topic}: waiting for the topic: {state}"));
                logged = state;
            }
            self.checkpoint_if_due();
            self.stop.sleep(Duration::from_millis(50));
        };
        handle.partitions.store(count, Ordering::Relaxed);
        let (client, partitions, closed) =
            (Arc::clone(&handle.client), Arc::clone(&handle.partitions), Arc::clone(&handle.closed));
        let bootstrap = Arc::clone(&handle.bootstrap);
        let (topic, output) = (topic.clone(), Arc::clone(self.output));
        let watch = move || {
            while !closed.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_secs(1));
                let answer = client.client().fetch_metadata(Some(&topic), Duration::from_secs(1));
                bootstrap.on_answer(&*client, &answer);
                let Ok(metadata) = answer else { continue };
                match topic_state(&metadata, &topic) {
                    // Kafka never removes partitions, except by deleting the topic.
                    TopicState::Partitions(count, _) => drop(partitions.fetch_max(count, Ordering::Relaxed)),
                    TopicState::NotYet(why) => output.log_throttled("topic", format_args!("{topic}: {why}")),
                }
            }
        };
        let watching = std::thread::Builder::new().name("partitions".into()).spawn(watch);
        if let Err(error) = watching {
            // Without the thread, only partitions added later go unnoticed: not worth failing for.
            self.output.log(format_args!("partitions added later will not be noticed: {}", in_words(&error)));
        }
        Some(count)
    }

    /// Sends until everything is sent or something stops it.
    fn send(&mut self, handle: &mut Handle, pacer: &mut Pacer) -> StopReason {
        while !self.finished() {
            if std::mem::take(&mut self.tally.failed) {
                if handle.client.client().fatal_error().is_some() {
                    return StopReason::Fatal;
                }
                if self.tally.too_large {
                    return StopReason::TooLarge;
                }
            }
            self.checkpoint_if_due();
            if Instant::now() >= handle.renewal && self.drain(handle) {
                return StopReason::Renewal;
            }
            let now = Instant::now();
            let left = if self.args.count == 0 { u64::MAX } else { self.args.count - self.sent };
            let due = pacer.due(now);
            let spread = if pacer.is_behind(due) { Spread::InBatches } else { Spread::Evenly };
            let burst = due.min(BURST).min(left);
            let sent_ms = now_ms();
            let mut wait = if burst == 0 { pacer.wait(now) } else { Duration::ZERO };
            let mut events_within = Duration::ZERO;
            for _ in 0..burst {
                match self.send_one(handle, spread, now, sent_ms) {
                    SendAttempt::Yes => pacer.sent(),
                    // Only a report helps. One that keeps its rate need not wake up for each, unless latency counts.
                    SendAttempt::Waits if spread == Spread::InBatches || self.linger <= WAITS_FOR => {
                        events_within = WAITS_FOR;
                        break;
                    }
                    SendAttempt::Waits => {
                        wait = WAITS_FOR;
                        break;
                    }
                    SendAttempt::Full => {
                        self.queue_full += 1;
                        wait = Duration::from_millis(1);
                        break;
                    }
                    SendAttempt::NotNow(code) => {
                        let topic = &self.args.target.topic;
                        let name = code.name();
                        self.output.log_throttled(
                            &name,
                            format_args!(
                                "{topic}: librdkafka accepts no messages now: {name} ({})",
                                code.description()
                            ),
                        );
                        self.tally.failed = true;
                        wait = Duration::from_millis(50);
                        break;
                    }
                    SendAttempt::Never(code) => return StopReason::Refused(code),
                }
            }
            std::thread::sleep(wait);
            self.poll_events(handle, events_within);
        }
        StopReason::Finished
    }

    /// Pauses sending until nothing is in flight, for a limited time. Returns whether that succeeded.
    fn drain(&mut self, handle: &mut Handle) -> bool {
        let deadline = Instant::now() + DRAIN_WITHIN;
        while self.in_flight() > 0 && Instant::now() < deadline && !self.stop.requested() {
            std::thread::sleep(Duration::from_millis(1));
            self.poll_events(handle, Duration::ZERO);
        }
        handle.renewal = Instant::now() + self.renewal_retry();
        self.in_flight() == 0
    }

    fn renewal_retry(&self) -> Duration {
        RENEW_AGAIN.min(Duration::from_secs(self.args.renew_after))
    }

    /// Handles all pending events. Waits for the first one `within` that time.
    fn poll_events(&mut self, handle: &Handle, mut within: Duration) {
        let (tally, output, context, topic) =
            (&mut self.tally, self.output, &self.context, self.args.target.topic.as_str());
        // Each event is a batch of reports, an error, or a log line.
        while handle.reports.take(std::mem::take(&mut within), |event| match event {
            ProducerEvent::Report(report) => tally.settle(&report, topic, output),
            ProducerEvent::Error { code, why } => {
                tally.failed = true;
                context.on_error(code, &why);
            }
            ProducerEvent::Log { facility, message } => context.on_log(&facility, &message),
        }) {}
        self.tally.idle.drain(..).for_each(|partition| self.partitioner.settled(partition));
    }

    /// Offers one message to the partition whose turn it is. Changes nothing unless it is accepted.
    fn send_one(&mut self, handle: &mut Handle, spread: Spread, now: Instant, sent_ms: u64) -> SendAttempt {
        let partitions = handle.partitions.load(Ordering::Relaxed).max(1);
        let tally = &mut self.tally;
        if tally.streams.len() < partitions {
            tally.streams.resize_with(partitions, SendLedger::default);
        }
        let in_flight = |p: usize| tally.streams[p].in_flight();
        let Some(partition) = self.partitioner.pick(partitions, now, spread, tally.unsettled, in_flight) else {
            return SendAttempt::Waits;
        };
        let sequence = tally.streams[partition].next_sequence();
        // These casts fit: Kafka's partition numbers have 32 bits, and a pointer holds the sequence.
        let value = handle.encoder.encode(fastrand::u32(0..1_000_000), partition as u32, sequence, sent_ms);
        match handle.topic.produce(partition as i32, value, sent_ms.cast_signed(), sequence as usize) {
            Ok(()) => {
                tally.streams[partition].accepted();
                tally.unsettled += 1;
                self.partitioner.assigned(partition);
                self.sent += 1;
                SendAttempt::Yes
            }
            Err(ErrorCode::QUEUE_FULL) => SendAttempt::Full,
            Err(code @ (ErrorCode::TOO_LARGE | ErrorCode::INVALID)) => SendAttempt::Never(code),
            Err(code) => {
                if code == ErrorCode::UNKNOWN_PARTITION {
                    // The topic was recreated with fewer partitions. The watching thread raises the number again if
                    // there are more.
                    handle.partitions.fetch_min(partition, Ordering::Relaxed);
                }
                SendAttempt::NotNow(code)
            }
        }
    }

    /// Waits for messages in flight: up to `limit`, or up to [`FLUSH_WITHIN`] after a signal. Whatever is left is
    /// unknown.
    fn settle(&mut self, handle: &Handle, limit: Option<Duration>) {
        let mut deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            if self.in_flight() == 0 {
                return;
            }
            if limit.is_none() && handle.client.client().fatal_error().is_some() {
                return;
            }
            if deadline.is_none() && (self.stop.requested() || self.output.broken()) {
                deadline = Some(Instant::now() + FLUSH_WITHIN);
                let topic = &self.args.target.topic;
                self.output.log(format_args!("{topic}: waiting for {} messages in flight", self.in_flight()));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            self.checkpoint_if_due();
            std::thread::sleep(Duration::from_millis(2));
            self.poll_events(handle, Duration::ZERO);
        }
        handle.client.purge(PurgeConfig::default().queue().inflight());
        let deadline = Instant::now() + Duration::from_millis(500);
        while self.in_flight() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
            self.poll_events(handle, Duration::ZERO);
        }
        self.tally.streams.iter_mut().for_each(SendLedger::abandon);
    }

    fn in_flight(&self) -> u64 {
        self.tally.in_flight()
    }

    fn close_epoch(&mut self) {
        let mut streams = std::mem::take(&mut self.tally.streams);
        (self.tally.failed, self.tally.too_large, self.tally.unsettled) = (false, false, 0);
        streams.iter_mut().for_each(SendLedger::abandon);
        let streams_each = streams.len().max(1);
        self.past.push_back((self.epoch, streams));
        self.epoch += 1;
        // Keep fewer epochs with many partitions, so that a line stays within its limit.
        let kept = (state::STREAMS_MAX / streams_each).clamp(1, EPOCHS_KEPT);
        if self.past.len() > kept
            && let Some((_, streams)) = self.past.pop_front()
        {
            if self.folded.len() < streams.len() {
                self.folded.resize_with(streams.len(), SendTotals::default);
            }
            self.folded_epochs += 1;
            for (sum, stream) in self.folded.iter_mut().zip(&streams) {
                sum.add(stream);
            }
        }
    }

    fn checkpoint_if_due(&mut self) {
        let now = Instant::now();
        if now >= self.next_checkpoint {
            self.next_checkpoint = now + Duration::from_secs(1);
            self.report(StateEvent::Checkpoint, None);
        }
    }

    fn by_partition(&self) -> Vec<SendTotals> {
        let tally = &self.tally;
        let mut sums = self.folded.clone();
        for streams in self.past.iter().map(|(_, streams)| streams).chain([&tally.streams]) {
            if sums.len() < streams.len() {
                sums.resize_with(streams.len(), SendTotals::default);
            }
            for (sum, stream) in sums.iter_mut().zip(streams) {
                sum.add(stream);
            }
        }
        sums
    }

    fn totals(&self) -> SendTotals {
        let mut totals = SendTotals::default();
        self.by_partition().iter().for_each(|sum| totals.add_totals(sum));
        totals
    }

    fn report(&self, event: StateEvent, reason: Option<Reason>) {
        if !self.output.wants_state() {
            return;
        }
        let partitions = self.by_partition();
        let tally = &self.tally;
        let streams = self.past.iter().map(|(epoch, streams)| (*epoch, streams)).chain([(self.epoch, &tally.streams)]);
        let streams = streams.flat_map(|(epoch, streams)| {
            streams
                .iter()
                .enumerate()
                .map(move |(partition, stream)| SendStream::new(self.producer, epoch, partition as i32, stream))
        });
        let mut totals = SendTotals::default();
        partitions.iter().for_each(|sum| totals.add_totals(sum));
        let state = ProducerState {
            schema: lines::PRODUCER.into(),
            event,
            time_ms: now_ms(),
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            run: self.run,
            producer: self.producer,
            reason,
            totals,
            partitions: partitions
                .iter()
                .enumerate()
                .map(|(partition, sum)| SendPartition {
                    partition: partition as i32,
                    sent: sum.sent,
                    acked: sum.acked,
                    not_persisted: sum.not_persisted,
                    unknown: sum.unknown,
                })
                .collect(),
            streams: streams.collect(),
            folded_epochs: self.folded_epochs,
            errors: tally.errors.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
            queue_full: self.queue_full,
            topic_id: self.topic_id.clone(),
        };
        self.output.state(&state.fitted(LINE_INTERVALS_MAX));
    }

    fn report_totals(&self, totals: &SendTotals) {
        let topic = &self.args.target.topic;
        for (partition, sum) in self.by_partition().iter().enumerate() {
            self.output.text(format_args!(
                "{topic}: partition {partition}: {} sent, {} acked, {} not persisted, {} unknown",
                sum.sent, sum.acked, sum.not_persisted, sum.unknown
            ));
        }
        self.output.text(format_args!(
            "{topic}: {} messages published of {} sent, {} not persisted, {} unknown",
            totals.acked, totals.sent, totals.not_persisted, totals.unknown
        ));
    }
}
