//! The consumer: one task per partition, each with its own queue and ledger. With many partitions, several share a task
//! and its queue, so that one limit covers everything fetched and not yet accounted for.
//!
//! Partitions are read from explicit offsets, without a group and without committed positions (see [`crate::native`]).
//! A second client queries metadata and offsets, so that slow answers do not delay records.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use ledger::lines::{
    self, ConsumerStart, ConsumerState, LINE_INTERVALS_MAX, Milestone, Reason, ReceivePartition, ReceiveStream,
    ReceiveTotals, Span, StateEvent,
};
use ledger::received::{Counts, PartitionLedger, Record};
use ledger::stamp::{self, RunId, Value};
use rdkafka::consumer::Consumer;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::batches::{self, PartitionRead};
use crate::bootstrap::Bootstrap;
use crate::cli::{ConsumerArgs, StartFrom};
use crate::context::{LabConsumer, LabContext};
use crate::listener::librdkafka_in_words;
use crate::memory;
use crate::metadata::{self, TopicState, topic_state};
use crate::native::{Buffer, ErrorCode, Fetched, MessageBatch, Queue, Topic};
use crate::output::Output;
use crate::stop::Stop;
use crate::sync::lock;
use crate::time::now_ms;
use crate::verifiable::{self, RecordSet, TopicPartition};
use crate::watchdog::Watchdog;
use crate::{offsets, settings, state};

/// librdkafka can lose a queue's wake-up (rust-rdkafka #840), so each task also polls this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often the number of partitions is queried. An added partition is read within twice this time.
const PARTITIONS_EVERY: Duration = Duration::from_secs(1);

/// After this many intervals without an arrival, the client that reads is queried too.
const QUIET: u32 = 3;

/// How often errors, idle time and output are checked.
const TICK: Duration = Duration::from_millis(100);

/// Timeout of the last query for offsets when the consumer ends.
const LAST_OFFSETS_WITHIN: Duration = Duration::from_secs(3);

/// Timeout for explaining gaps.
const EXPLAINED_WITHIN: Duration = Duration::from_secs(30);
/// How long an error counts as current. While it persists, librdkafka repeats it ten times a second, with pauses of a
/// few seconds if a broker is unreachable.
const STUCK_FOR: Duration = Duration::from_secs(5);

/// Maximum number of concurrent offset queries if one query for all partitions fails.
const ASKING_MAX: usize = 16;

/// Records of a partition per text line.
const LINE_EVERY: u64 = 1000;

/// A partition being read.
struct Partition {
    end: Option<i64>,
    ledger: Mutex<PartitionLedger>,
    stuck: Mutex<Option<ReadError>>,
}

/// Why a partition cannot be read, and when librdkafka last reported it.
struct ReadError {
    why: Cow<'static, str>,
    at: Instant,
    /// librdkafka reports it only once.
    once: bool,
}

impl Partition {
    /// Records an error that prevents reading.
    fn set_read_error(&self, code: ErrorCode) {
        let once = code == ErrorCode::NOT_AUTHORIZED;
        *lock(&self.stuck) = Some(ReadError { why: code.name(), at: Instant::now(), once });
    }

    /// Clears the error after a successful read.
    fn clear_read_error(&self) {
        *lock(&self.stuck) = None;
    }

    fn stuck(&self) -> Option<String> {
        let stuck = lock(&self.stuck);
        stuck.as_ref().filter(|s| s.once || s.at.elapsed() < STUCK_FOR).map(|s| s.why.to_string())
    }
}

/// Partitions that share a queue, and the task that reads it.
struct PartitionGroup {
    queue: Queue<LabConsumer>,
    /// The partitions still being read.
    reading: Mutex<BTreeMap<i32, Arc<Partition>>>,
}

/// Shared by all tasks.
struct Shared {
    args: ConsumerArgs,
    output: Arc<Output>,
    query_client: Arc<LabConsumer>,
    /// Of the query client; the client that reads has its own.
    bootstrap: Arc<Bootstrap>,
    topic: Arc<Topic<LabConsumer>>,
    /// The topic's id at start, if known.
    topic_id: Option<String>,
}

/// The result of processing a batch of one partition.
enum BatchOutcome {
    More,
    /// The end offset was reached.
    Done,
    /// The next offset is outside the log, or the log was truncated below it. librdkafka has stopped reading and gives
    /// this reason.
    OutOfRange(String),
}

/// Reads until every end offset is reached or a signal arrives. Returns 0 then, or 1 if it gave up.
///
/// # Errors
/// If librdkafka rejects its settings or refuses to read a partition.
pub async fn run(args: ConsumerArgs, output: Arc<Output>, mut stop: Stop) -> Result<u8> {
    let context = LabContext::new(Arc::clone(&output), &args.target.brokers);
    let query_client: Arc<LabConsumer> =
        Arc::new(settings::consumer_query(&args.target.brokers).create_with_context(context.clone())?);
    let bootstrap = Arc::new(Bootstrap::of(&args.target.brokers, context.clone())?);
    let began = Instant::now();
    let startup = Startup { args: &args, output: &output, query_client: &query_client, bootstrap: &bootstrap, began };
    let found = tokio::select! {
        found = startup.partitions() => found,
        () = stop.wait() => Err(Reason::Signal),
    };
    let (Known { count, servers }, spans) = match found {
        Ok(found) => found,
        Err(reason) => {
            let partitions = BTreeMap::new();
            StateReporter { output: &output, run: args.run, began, topic_id: None }.report(
                &partitions,
                None,
                StateEvent::End,
                Some(reason),
                &BTreeMap::new(),
            );
            output.text(format_args!("{}: stopped before reading anything", args.target.topic));
            return Ok(u8::from(reason != Reason::Signal));
        }
    };
    output.json(&ConsumerStart {
        schema: lines::CONSUMER.into(),
        event: StateEvent::Start,
        time_ms: now_ms(),
        topic: args.target.topic.clone(),
        run: args.run,
        pid: std::process::id(),
        partitions: spans.clone(),
    });
    let queues = settings::queues(spans.len());
    memory::reserve(settings::RESERVED_BYTES);
    let client: Arc<LabConsumer> =
        Arc::new(settings::consumer(&args.target.brokers, spans.len(), servers).create_with_context(context.clone())?);
    let topic = Arc::new(Topic::open(Arc::clone(&client), &args.target.topic)?);
    let (name, stopped) = (args.target.topic.clone(), stop.clone());
    let topic_id = blocking_query(&query_client, move |query_client| {
        metadata::topic_id(
            query_client,
            &name,
            |within| query_client.fetch_metadata(Some(&name), within),
            || stopped.requested(),
        )
    });
    let topic_id = topic_id.await?;
    let shared = Arc::new(Shared { args, output, query_client, bootstrap, topic, topic_id });
    let groups = (0..queues)
        .map(|_| Ok(Arc::new(PartitionGroup { queue: Queue::new(Arc::clone(&client))?, reading: Mutex::default() })));
    let groups = groups.collect::<Result<_>>()?;
    let began = Instant::now();
    let mut reading = ReadSession { shared, partitions: BTreeMap::new(), groups, tasks: JoinSet::new(), began };
    reading.shared.output.verifiable(verifiable::VerifiableEvent::StartupComplete);
    for span in spans {
        reading.begin(span)?;
    }
    reading.start_tasks();
    reading.report_assigned();
    let reason = reading.until_done(&client, count, &mut stop).await?;
    reading.end(reason, &mut stop).await;
    Ok(u8::from(!matches!(reason, Reason::End | Reason::Signal)))
}

/// Runs a blocking query on its own thread.
async fn blocking_query<T: Send + 'static>(
    query_client: &Arc<LabConsumer>,
    query: impl FnOnce(&LabConsumer) -> T + Send + 'static,
) -> Result<T> {
    let query_client = Arc::clone(query_client);
    Ok(spawn_blocking(move || query(&query_client)).await?)
}

/// What a broker tells about the topic.
#[derive(Clone, Copy)]
struct Known {
    /// Number of its partitions.
    count: usize,
    /// Number of brokers.
    servers: usize,
}

/// The number of partitions of the topic, and of brokers. A client that reaches no broker gets its bootstrap addresses
/// again.
async fn partition_count(
    client: &Arc<LabConsumer>,
    bootstrap: &Arc<Bootstrap>,
    topic: &str,
    within: Duration,
) -> Result<Known> {
    let (topic, bootstrap) = (topic.to_owned(), Arc::clone(bootstrap));
    blocking_query(client, move |client| {
        let answer = client.fetch_metadata(Some(&topic), within);
        bootstrap.on_answer(client, &answer);
        let answer = answer.map_err(|error| anyhow!("no broker answers: {}", librdkafka_in_words(&error)))?;
        match topic_state(&answer, &topic) {
            TopicState::Partitions(count, _) => Ok(Known { count, servers: answer.brokers().len() }),
            TopicState::NotYet(why) => Err(anyhow!("{why}")),
        }
    })
    .await?
}

/// The first offset and the end offset of a partition.
async fn watermarks(
    query_client: &Arc<LabConsumer>,
    topic: &str,
    partition: i32,
    within: Duration,
) -> Result<(i64, i64)> {
    let topic = topic.to_owned();
    Ok(blocking_query(query_client, move |query_client| query_client.fetch_watermarks(&topic, partition, within))
        .await??)
}

/// The same for many partitions, with one or two requests to each broker.
async fn all_watermarks(
    query_client: &Arc<LabConsumer>,
    topic: &str,
    partitions: &[i32],
    within: Duration,
) -> Result<BTreeMap<i32, (i64, i64)>> {
    let (topic, partitions) = (topic.to_owned(), partitions.to_vec());
    blocking_query(query_client, move |query_client| {
        offsets::of_partitions(query_client, &topic, partitions.into_iter(), within)
    })
    .await?
}

/// Determines where to start reading.
struct Startup<'a> {
    args: &'a ConsumerArgs,
    output: &'a Arc<Output>,
    query_client: &'a Arc<LabConsumer>,
    bootstrap: &'a Arc<Bootstrap>,
    began: Instant,
}

impl Startup<'_> {
    /// The number of partitions of the topic, and the spans to read. Waits for a topic that does not exist yet.
    async fn partitions(&self) -> Result<(Known, Vec<Span>), Reason> {
        let topic = &self.args.target.topic;
        let highest = self.args.start.iter().chain(&self.args.end).map(|p| p.partition).max().unwrap_or(-1);
        let mut logged = String::new();
        let known = loop {
            let state = match partition_count(self.query_client, self.bootstrap, topic, Duration::from_secs(1)).await {
                Ok(known) if i32::try_from(known.count).is_ok_and(|count| count > highest) => break known,
                Ok(Known { count, .. }) => {
                    format!("it has {count} partitions, but partition {highest} was requested")
                }
                Err(error) => error.to_string(),
            };
            self.wait(&mut logged, state).await?;
        };
        let all = 0..i32::try_from(known.count).unwrap_or(i32::MAX);
        let read: Vec<i32> = all.filter(|p| self.args.end.is_empty() || self.args.end_of(*p).is_some()).collect();
        let unknown: Vec<i32> = read.iter().copied().filter(|p| self.args.start_of(*p).is_none()).collect();
        let starts = self.starts_of(unknown, &mut logged).await?;
        let spans = read.into_iter().filter_map(|partition| {
            let start = self.args.start_of(partition).or_else(|| starts.get(&partition).copied())?;
            Some(Span { partition, start, end: self.args.end_of(partition) })
        });
        Ok((known, spans.collect()))
    }

    /// Start offsets of partitions that `--start` does not list.
    async fn starts_of(&self, partitions: Vec<i32>, logged: &mut String) -> Result<BTreeMap<i32, i64>, Reason> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        loop {
            match all_watermarks(self.query_client, &self.args.target.topic, &partitions, Duration::from_secs(2)).await
            {
                Ok(known) => {
                    let start = |(low, high)| if self.args.from == StartFrom::Beginning { low } else { high };
                    return Ok(known.into_iter().map(|(partition, both)| (partition, start(both))).collect());
                }
                Err(error) => self.wait(logged, format!("its offsets are not known yet: {error:#}")).await?,
            }
        }
    }

    /// Logs what it is waiting for, if that changed, and waits a little.
    async fn wait(&self, logged: &mut String, state: String) -> Result<(), Reason> {
        if state != *logged {
            self.output.log(format_args!("{}: waiting for the topic: {state}", self.args.target.topic));
            *logged = state;
        }
        while self.query_client.poll(Duration::ZERO).is_some() {}
        if self.output.broken() {
            return Err(Reason::Error);
        }
        if !self.args.end.is_empty() && self.began.elapsed() >= Duration::from_secs(self.args.idle_timeout) {
            return Err(Reason::Idle);
        }
        sleep(Duration::from_millis(200)).await;
        Ok(())
    }
}

/// All partitions being read.
struct ReadSession {
    shared: Arc<Shared>,
    partitions: BTreeMap<i32, Arc<Partition>>,
    groups: Vec<Arc<PartitionGroup>>,
    tasks: JoinSet<Result<()>>,
    began: Instant,
}

impl ReadSession {
    /// Starts reading a partition.
    fn begin(&mut self, span: Span) -> Result<()> {
        let shared = &self.shared;
        let ledger = PartitionLedger::new(span.partition, span.start, shared.args.run);
        let partition = Partition { end: span.end, ledger: Mutex::new(ledger), stuck: Mutex::default() };
        let partition = Arc::new(partition);
        self.partitions.insert(span.partition, Arc::clone(&partition));
        shared.output.text(format_args!(
            "{}: start receiving messages from Partition {}",
            shared.args.target.topic, span.partition
        ));
        if span.end.is_none_or(|end| end > span.start) {
            let group = &self.groups[span.partition.unsigned_abs() as usize % self.groups.len()];
            lock(&group.reading).insert(span.partition, partition);
            shared.topic.start(&group.queue, span.partition, span.start)?;
        }
        Ok(())
    }

    /// Starts the tasks that account for fetched records.
    fn start_tasks(&mut self) {
        for group in &self.groups {
            self.tasks.spawn(read(Arc::clone(&self.shared), Arc::clone(group)));
        }
    }

    async fn until_done(&mut self, client: &Arc<LabConsumer>, count: usize, stop: &mut Stop) -> Result<Reason> {
        let bounded = !self.shared.args.end.is_empty();
        let idle_timeout = Duration::from_secs(self.shared.args.idle_timeout);
        let (found, mut partitions) = mpsc::channel(1);
        // Dropped with this function, which ends the watching task.
        let (_watched, unwatched) = watch::channel(());
        let watchdog = Arc::<Watchdog>::default();
        let stopped = stop.clone();
        Watchdog::watch(&watchdog, Arc::clone(&self.shared.output), move || stopped.requested())?;
        let reader = (
            Arc::clone(client),
            Arc::new(Bootstrap::of(&self.shared.args.target.brokers, LabContext::clone(client.context()))?),
        );
        tokio::spawn(watch_partitions(Arc::clone(&self.shared), reader, Arc::clone(&watchdog), found, unwatched));
        let mut known = i32::try_from(count)?;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_checkpoint = self.began + Duration::from_secs(1);
        let (mut last_sum, mut last_progress) = (0, Instant::now());
        loop {
            if bounded && self.tasks.is_empty() {
                return Ok(Reason::End);
            }
            tokio::select! {
                Some(task) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(error) = task? {
                        self.shared.output.log(format_args!("{}: {error:#}", self.shared.args.target.topic));
                        return Ok(Reason::Error);
                    }
                }
                () = stop.wait() => return Ok(Reason::Signal),
                Some(count) = partitions.recv() => {
                    while known < count {
                        self.begin(Span { partition: known, start: 0, end: None })?;
                        known += 1;
                        self.report_assigned();
                    }
                }
                _ = tick.tick() => {
                    if let Some(reason) = self.poll_errors(client) {
                        return Ok(reason);
                    }
                    let now = Instant::now();
                    let sum = self.progress();
                    watchdog.beat(sum);
                    if sum != last_sum {
                        (last_sum, last_progress) = (sum, now);
                    } else if bounded && now.duration_since(last_progress) >= idle_timeout {
                        return Ok(Reason::Idle);
                    }
                    if now >= next_checkpoint {
                        next_checkpoint = now + Duration::from_secs(1);
                        let (partitions, topic) = (&self.partitions, Some(&*self.shared.topic));
                        self.reporter().report(partitions, topic, StateEvent::Checkpoint, None, &BTreeMap::new());
                    }
                }
            }
        }
    }

    /// Handles the clients' errors, and returns why they cannot continue.
    fn poll_errors(&self, client: &LabConsumer) -> Option<Reason> {
        // The context logs errors; this only takes them from the queues.
        while client.poll(Duration::ZERO).is_some() {}
        while self.shared.query_client.poll(Duration::ZERO).is_some() {}
        let Shared { output, args, .. } = &*self.shared;
        if output.broken() {
            return Some(Reason::Error);
        }
        let (code, why) = client.client().fatal_error()?;
        output.log(format_args!(
            "{}: librdkafka reports a fatal error: {}: {why}",
            args.target.topic,
            ErrorCode::from(code).name()
        ));
        Some(Reason::Fatal)
    }

    /// Prints the assigned partitions as Kafka's verifiable consumer does.
    fn report_assigned(&self) {
        self.shared
            .output
            .verifiable(verifiable::VerifiableEvent::PartitionsAssigned { partitions: self.topic_partitions() });
    }

    fn topic_partitions(&self) -> Vec<TopicPartition<'_>> {
        let topic = self.shared.args.target.topic.as_str();
        self.partitions.keys().map(|partition| TopicPartition { topic, partition: *partition }).collect()
    }

    /// A number that changes whenever something arrives.
    fn progress(&self) -> u64 {
        let one = |p: &Arc<Partition>| {
            let ledger = lock(&p.ledger);
            ledger.counts().records + ledger.counts().redelivered + ledger.counts().offset_gaps
        };
        self.partitions.values().map(one).sum()
    }

    /// Stops reading and prints the final lines.
    async fn end(mut self, reason: Reason, stop: &mut Stop) {
        self.tasks.shutdown().await;
        if self.shared.output.wants_state() && reason == Reason::End {
            tokio::select! {
                () = self.explain_gaps() => {}
                () = stop.wait() => {}
            }
        }
        let offsets = if self.shared.output.wants_state() { self.last_offsets().await } else { BTreeMap::new() };
        self.reporter().report(&self.partitions, None, StateEvent::End, Some(reason), &offsets);
        let topic = &self.shared.args.target.topic;
        let mut totals = Counts::default();
        for (partition, state) in &self.partitions {
            let ledger = lock(&state.ledger);
            totals.add(ledger.counts());
            self.shared.output.text(format_args!("{topic}: partition {partition}: {}", summary(ledger.counts())));
        }
        self.shared.output.text(format_args!("{topic}: {}", summary(&totals)));
        self.shared
            .output
            .verifiable(verifiable::VerifiableEvent::PartitionsRevoked { partitions: self.topic_partitions() });
        self.shared.output.verifiable(verifiable::VerifiableEvent::ShutdownComplete);
    }

    /// Asks the brokers to explain offsets at which a bounded read got no record.
    async fn explain_gaps(&self) {
        let deadline = Instant::now() + EXPLAINED_WITHIN;
        let mut queries = JoinSet::new();
        for (number, partition) in self.partitions.iter().filter(|(_, partition)| partition.end.is_some()) {
            let (number, partition) = (*number, Arc::clone(partition));
            let (query_client, topic) = (Arc::clone(&self.shared.query_client), self.shared.args.target.topic.clone());
            let range = {
                let ledger = lock(&partition.ledger);
                (ledger.start.unsigned_abs(), ledger.next.unsigned_abs())
            };
            let Some(gaps) = lock(&partition.ledger).gaps().filter(|gaps| !gaps.is_empty()).cloned() else { continue };
            queries.spawn_blocking(move || {
                let seen = PartitionRead { topic: &topic, partition: number, range, gaps: &gaps };
                let explained = batches::explain(&query_client, &seen, deadline);
                lock(&partition.ledger).explained = Some(explained);
            });
        }
        // If that fails, gaps stay unexplained, and the verdict reports it.
        while queries.join_next().await.is_some() {}
    }

    /// Current first and end offsets of each partition that answers in time.
    async fn last_offsets(&self) -> BTreeMap<i32, (i64, i64)> {
        let (query_client, topic) = (&self.shared.query_client, &self.shared.args.target.topic);
        let partitions: Vec<i32> = self.partitions.keys().copied().collect();
        let deadline = Instant::now() + LAST_OFFSETS_WITHIN;
        if let Ok(known) = all_watermarks(query_client, topic, &partitions, LAST_OFFSETS_WITHIN / 2).await {
            return known;
        }
        // One unresponsive broker delays the answer for all partitions, so query each separately.
        let mut queries = JoinSet::new();
        for share in partitions.chunks(partitions.len().div_ceil(ASKING_MAX).max(1)) {
            let (query_client, topic, share) = (Arc::clone(query_client), topic.clone(), share.to_vec());
            queries.spawn(async move {
                let mut known = Vec::new();
                for partition in share {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    known.push((partition, watermarks(&query_client, &topic, partition, left).await));
                }
                known
            });
        }
        let mut known = BTreeMap::new();
        while let Some(answers) = queries.join_next().await {
            let answers = answers.unwrap_or_default().into_iter();
            known.extend(answers.filter_map(|(partition, offsets)| Some((partition, offsets.ok()?))));
        }
        known
    }

    fn reporter(&self) -> StateReporter<'_> {
        let Shared { output, args, topic_id, .. } = &*self.shared;
        StateReporter { output, run: args.run, began: self.began, topic_id: topic_id.as_deref() }
    }
}

/// Prints the consumer's state.
struct StateReporter<'a> {
    output: &'a Output,
    run: Option<RunId>,
    began: Instant,
    topic_id: Option<&'a str>,
}

impl StateReporter<'_> {
    fn report(
        &self,
        partitions: &BTreeMap<i32, Arc<Partition>>,
        topic: Option<&Topic<LabConsumer>>,
        event: StateEvent,
        reason: Option<Reason>,
        offsets: &BTreeMap<i32, (i64, i64)>,
    ) {
        if !self.output.wants_state() {
            return;
        }
        let mut totals = Counts::default();
        let (mut rows, mut streams) = (Vec::new(), Vec::new());
        let streams_each = state::STREAMS_MAX / partitions.len().max(1);
        for (number, partition) in partitions {
            let known = match offsets.get(number) {
                Some((low, high)) => (Some(*low), Some(*high)),
                None => topic.map_or((None, None), |topic| topic.cached_offsets(*number)),
            };
            let ledger = lock(&partition.ledger);
            totals.add(ledger.counts());
            let mut row = ReceivePartition::new(&ledger, partition.end, known);
            row.stuck = partition.stuck();
            // Without room for all streams, report the latest.
            let left_out = ledger.streams().len().saturating_sub(streams_each);
            row.folded_streams += left_out as u64;
            rows.push(row);
            streams.extend(ledger.streams().iter().skip(left_out).map(|stream| ReceiveStream::new(*number, stream)));
        }
        let state = ConsumerState {
            schema: lines::CONSUMER.into(),
            event,
            time_ms: now_ms(),
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            run: self.run,
            reason,
            totals: ReceiveTotals::from(&totals),
            partitions: rows,
            streams,
            topic_id: self.topic_id.map(str::to_owned),
        };
        self.output.state(&state.fitted(LINE_INTERVALS_MAX));
    }
}

fn summary(counts: &Counts) -> String {
    let mut text = format!(
        "{} records, {} received, {} missing, {} duplicate, {} out of order",
        counts.records, counts.received, counts.missing, counts.duplicate, counts.out_of_order
    );
    let rest = [
        (counts.corrupt, "corrupt"),
        (counts.misrouted, "misrouted"),
        (counts.copied, "copied by others"),
        (counts.other_runs, "of other runs"),
        (counts.foreign, "foreign"),
        (counts.redelivered, "redelivered"),
        (counts.offset_gaps, "offsets without a record"),
    ];
    for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

/// Queries the number of partitions until the receiver is gone, and sends it unless the read is bounded. Either client
/// may have lost all brokers. The one that reads is queried only while nothing arrives, since each query takes a
/// contended lock in librdkafka.
async fn watch_partitions(
    shared: Arc<Shared>,
    (reader, bootstrap): (Arc<LabConsumer>, Arc<Bootstrap>),
    watchdog: Arc<Watchdog>,
    found: mpsc::Sender<i32>,
    mut unwatched: watch::Receiver<()>,
) {
    let topic = &shared.args.target.topic;
    let within = Duration::from_secs(1);
    let (mut before, mut quiet) = (0, 0);
    loop {
        tokio::select! {
            _ = unwatched.changed() => return,
            () = sleep(PARTITIONS_EVERY) => {}
        }
        let arrived = watchdog.arrived();
        quiet = if arrived == before { quiet + 1 } else { 0 };
        before = arrived;
        if quiet >= QUIET {
            let mut asking = std::pin::pin!(partition_count(&reader, &bootstrap, topic, within));
            // The answer does not matter. Seconds in which the whole process was suspended do not count.
            for second in 0.. {
                if timeout(within, &mut asking).await.is_ok() {
                    break;
                }
                watchdog.waited(second);
            }
        }
        // Brokers that are down are logged elsewhere.
        if let Ok(known) = partition_count(&shared.query_client, &shared.bootstrap, topic, within).await
            && let Ok(count) = i32::try_from(known.count)
            && shared.args.end.is_empty()
            && found.send(count).await.is_err()
        {
            return;
        }
    }
}

/// Reads a group's partitions until each reaches its end offset, or forever.
async fn read(shared: Arc<Shared>, group: Arc<PartitionGroup>) -> Result<()> {
    let bounded = !shared.args.end.is_empty();
    let mut buffer = Buffer::default();
    // Work beside reading: stopping partitions, and finding out where to resume.
    let mut aside: JoinSet<Result<()>> = JoinSet::new();
    while !bounded || !lock(&group.reading).is_empty() {
        let (mut done, mut lost, mut any) = (Vec::new(), Vec::new(), false);
        {
            let mut batch = group.queue.take(&mut buffer);
            while let Some(number) = batch.partition() {
                any = true;
                let partition = lock(&group.reading).get(&number).cloned();
                // Leftover records of a partition that is done.
                let Some(partition) = partition else {
                    batch.drain(|_| ());
                    continue;
                };
                match account_for(&shared, &partition, number, &mut batch) {
                    BatchOutcome::More => {}
                    BatchOutcome::Done => {
                        lock(&group.reading).remove(&number);
                        done.push(number);
                    }
                    BatchOutcome::OutOfRange(why) => lost.push((number, partition, why)),
                }
            }
        }
        if !done.is_empty() {
            let shared = Arc::clone(&shared);
            aside.spawn_blocking(move || {
                done.into_iter().for_each(|number| shared.topic.stop(number));
                Ok(())
            });
        }
        for (number, partition, why) in lost {
            aside.spawn(resume(Arc::clone(&shared), Arc::clone(&group), partition, number, why));
        }
        if any {
            // Otherwise a full queue would starve other partitions on this thread.
            tokio::task::yield_now().await;
            while let Some(ended) = aside.try_join_next() {
                ended??;
            }
        } else {
            tokio::select! {
                Some(ended) = aside.join_next(), if !aside.is_empty() => ended??,
                // The timeout covers lost wake-ups.
                _ = timeout(LOOK_EVERY, group.queue.ready().notified()) => {}
            }
        }
    }
    while let Some(ended) = aside.join_next().await {
        ended??;
    }
    Ok(())
}

/// Resumes a partition at which librdkafka has stopped.
async fn resume(
    shared: Arc<Shared>,
    group: Arc<PartitionGroup>,
    partition: Arc<Partition>,
    number: i32,
    why: String,
) -> Result<()> {
    // Stopping blocks on librdkafka's thread.
    let stopping = Arc::clone(&shared);
    spawn_blocking(move || stopping.topic.stop(number)).await?;
    match recover(&shared, &partition, number, &why).await? {
        Some(offset) => shared.topic.start(&group.queue, number, offset),
        None => {
            lock(&group.reading).remove(&number);
            Ok(())
        }
    }
}

/// Accounts for the fetched messages of one partition.
fn account_for(shared: &Shared, partition: &Partition, number: i32, batch_of: &mut MessageBatch<'_>) -> BatchOutcome {
    let topic = &shared.args.target.topic;
    let reached = |next: i64| partition.end.is_some_and(|end| next >= end);
    let (mut done, mut out_of_range) = (false, None);
    let mut batch: Option<RecordSet<'_>> = None;
    let mut ledger = lock(&partition.ledger);
    let mut stuck = None;
    batch_of.drain(|fetched| match fetched {
        _ if done => {}
        Fetched::Record { offset, .. } if reached(offset) => {
            // The offsets up to the end hold no record.
            ledger.reached(partition.end.unwrap_or(offset));
            done = true;
        }
        Fetched::Record { offset, value, created_ms, keyed, leader_epoch } => {
            stuck = Some(ErrorCode::NONE);
            ledger.record(Record { offset, value, created_ms, keyed, leader_epoch });
            shared.output.progressed(Milestone::Received, number);
            if shared.output.is_verifiable() {
                print_verifiable(shared, number, offset, value, &mut batch);
            }
            let records = ledger.counts().records;
            if records.is_multiple_of(LINE_EVERY) && shared.output.is_text() {
                let last = preview(value);
                shared
                    .output
                    .text(format_args!("{topic}: received {records} messages from partition {number}, last ({last})"));
            }
            done = reached(ledger.next);
        }
        Fetched::End { offset } => {
            stuck = Some(ErrorCode::NONE);
            ledger.reached(partition.end.map_or(offset, |end| offset.min(end)));
            done = reached(offset);
        }
        Fetched::Error { code: ErrorCode::AUTO_OFFSET_RESET, why } => {
            out_of_range = Some(String::from_utf8_lossy(why).into_owned());
        }
        Fetched::Error { code, why } => {
            stuck = Some(code);
            let (name, why) = (code.name(), String::from_utf8_lossy(why));
            shared.output.log_throttled(
                &format!("{number} {name}"),
                format_args!("{topic}: cannot read partition {number} at offset {}: {name} ({why})", ledger.next),
            );
        }
    });
    match stuck {
        None => {}
        Some(ErrorCode::NONE) => partition.clear_read_error(),
        Some(code) => partition.set_read_error(code),
    }
    if let Some(set) = batch {
        shared
            .output
            .verifiable(verifiable::VerifiableEvent::RecordsConsumed { count: set.count, partitions: vec![set] });
    }
    match (done, out_of_range) {
        (true, _) => BatchOutcome::Done,
        (_, Some(why)) => BatchOutcome::OutOfRange(why),
        _ => BatchOutcome::More,
    }
}

/// Prints a record as Kafka's verifiable consumer does, and adds it to the batch printed after it.
fn print_verifiable<'a>(
    shared: &'a Shared,
    partition: i32,
    offset: i64,
    value: Option<&[u8]>,
    batch: &mut Option<RecordSet<'a>>,
) {
    let topic = shared.args.target.topic.as_str();
    let text = value.map(String::from_utf8_lossy);
    let value = text.as_deref();
    shared.output.verifiable(verifiable::VerifiableEvent::RecordData { key: None, value, topic, partition, offset });
    let empty = RecordSet { topic, partition, count: 0, min_offset: offset, max_offset: offset };
    let set = batch.get_or_insert(empty);
    (set.count, set.max_offset) = (set.count + 1, offset);
}

/// Handles an offset that librdkafka cannot read, for the reason `why`: finds out what happened to the log, records it,
/// and returns where to resume, or `None` if the end is reached.
async fn recover(shared: &Shared, partition: &Partition, number: i32, why: &str) -> Result<Option<i64>> {
    let topic = &shared.args.target.topic;
    let (low, high) = loop {
        match watermarks(&shared.query_client, topic, number, Duration::from_secs(2)).await {
            Ok(known) => break known,
            Err(error) => {
                shared.output.log_throttled(
                    "watermarks",
                    format_args!("{topic}: partition {number}: cannot get offsets: {error}"),
                );
                sleep(Duration::from_millis(200)).await;
            }
        }
    };
    let mut ledger = lock(&partition.ledger);
    let next = ledger.next;
    if next < low {
        let low = partition.end.map_or(low, |end| low.min(end));
        shared.output.log(format_args!(
            "{topic}: partition {number}: the log start moved, offsets {next} to {} are gone; continuing at {low}",
            low - 1
        ));
        ledger.start_moved_to(low);
    } else if next > high {
        let what = format!(
            "partition {number} ends at offset {high}, below the next offset to read, {next}: recreated or truncated"
        );
        ledger.log_restarted_at(low);
        if partition.end.is_some() {
            return Err(anyhow!(what));
        }
        shared.output.log(format_args!("{topic}: {what}; reading it again from offset {low}"));
    } else {
        // The offset is inside the log, but the log was truncated: the leader's epoch history shows it (KIP-320), or a
        // leader had less for a while.
        ledger.log_truncated(low);
        let what = format!("partition {number} was truncated below the next offset to read, {next} ({why})");
        if partition.end.is_some_and(|end| high < end) {
            return Err(anyhow!(what));
        }
        shared.output.log(format_args!("{topic}: {what}; reading it again from offset {}", ledger.next));
    }
    Ok(partition.end.is_none_or(|end| ledger.next < end).then_some(ledger.next))
}

/// A short form of a value for text lines: the number of a stamped value, or the beginning of another.
fn preview(value: Option<&[u8]>) -> String {
    match (stamp::parse(value), value) {
        (Value::Stamped(stamp), _) => format!("0.{:06}", stamp.number),
        (_, None) => "null".into(),
        (_, Some(bytes)) => {
            let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(24)]).into_owned();
            beginning.chars().map(|c| if c.is_control() { '.' } else { c }).collect()
        }
    }
}
