//! Safe wrappers for librdkafka calls that the rdkafka crate does not wrap. All unsafe code of the lab is here and in
//! [`crate::memory`].
//!
//! Reading uses librdkafka's simple consumer (`rd_kafka_consume_start_queue`) instead of `assign`. `assign` needs a
//! `group.id`, and a client with a `group.id` looks up its group coordinator. The brokers would then create
//! `__consumer_offsets`, fifty partitions on every replica, while the lab is starting, for a group that nobody uses.
//! The simple consumer also starts and stops each partition on its own, so that a partition added later does not
//! disturb the others, and several partitions can share a queue, so that one limit covers everything fetched and not
//! yet read.
//!
//! Sending uses `rd_kafka_produceva` on a topic handle: the wrapped call copies the topic name and looks it up, under a
//! lock, for every message. Delivery reports are taken from librdkafka's events directly: the wrapped call converts a
//! broker's error code to a Rust enum, and codes newer than the library are not values of that enum.
#![expect(unsafe_code, reason = "calls into librdkafka, a C library; every block says why it is sound")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use ledger::sent::SendOutcome;
use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::{RDKafka, RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic};
use tokio::sync::Notify;

use crate::sync::lock;

pub mod topic_id;
pub mod topic_setting;

/// Maximum number of messages taken from a queue at once.
pub const BATCH: usize = 256;

/// The same functions as in the bindings, but with error codes as plain integers: the bindings' enum knows only the
/// codes of its time.
mod ffi {
    use super::{c_int, rdk};

    unsafe extern "C" {
        pub fn rd_kafka_last_error() -> c_int;
        pub fn rd_kafka_error_code(error: *const rdk::rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_event_error(event: *mut rdk::rd_kafka_event_t) -> c_int;
        pub fn rd_kafka_message_status(message: *const rdk::rd_kafka_message_t) -> c_int;
        pub fn rd_kafka_ConfigResource_error(resource: *const rdk::rd_kafka_ConfigResource_t) -> c_int;
    }
}

/// A client that owns a librdkafka handle.
///
/// # Safety
/// [`NativeClient::native`] must return a handle of a librdkafka client that stays valid as long as the value.
pub unsafe trait NativeClient: Send + Sync + 'static {
    /// The librdkafka handle. Valid as long as the client.
    fn native(&self) -> *mut RDKafka;
}

// SAFETY: the producer destroys its handle when dropped, not before.
unsafe impl<C: ProducerContext + 'static> NativeClient for BaseProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

// SAFETY: the consumer destroys its handle when dropped, not before.
unsafe impl<C: ConsumerContext + 'static> NativeClient for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

/// An error code of librdkafka or of a broker, including codes newer than this librdkafka.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode(c_int);

impl From<RDKafkaRespErr> for ErrorCode {
    fn from(code: RDKafkaRespErr) -> Self {
        Self(code as c_int)
    }
}

impl From<RDKafkaErrorCode> for ErrorCode {
    fn from(code: RDKafkaErrorCode) -> Self {
        Self(code as c_int)
    }
}

impl ErrorCode {
    pub const NONE: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as c_int);
    /// The producer's queue is full.
    pub const QUEUE_FULL: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL as c_int);
    /// A message or its batch exceeds the limits of librdkafka, the broker or the topic.
    pub const TOO_LARGE: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as c_int);
    /// librdkafka rejects the call.
    pub const INVALID: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_ARG as c_int);
    pub const ALL_BROKERS_DOWN: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int);
    /// The topic has no such partition, as far as librdkafka knows.
    pub const UNKNOWN_PARTITION: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as c_int);
    const END: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF as c_int);
    /// The next offset to read is not in the log. librdkafka has stopped reading.
    pub const AUTO_OFFSET_RESET: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as c_int);
    /// This client is not authorized to read the topic. Reported only once.
    pub const NOT_AUTHORIZED: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as c_int);

    /// The name that librdkafka and Kafka use: `_MSG_TIMED_OUT` (librdkafka's own codes, with an underscore),
    /// `NOT_ENOUGH_REPLICAS` (a broker's), or `ERR_` and the number for codes that this librdkafka does not know.
    pub fn name(self) -> Cow<'static, str> {
        self.table_entry().map_or_else(|| format!("ERR_{}", self.0).into(), |(name, _)| name.into())
    }

    /// librdkafka's description of the error.
    pub fn description(self) -> Cow<'static, str> {
        let unknown = || format!("unknown to this librdkafka (Kafka error {})", self.0).into();
        self.table_entry().map_or_else(unknown, |(_, text)| text.into())
    }

    /// Name and description from librdkafka's table. `rd_kafka_err2name` would write unknown codes to a buffer that the
    /// thread's next call overwrites.
    fn table_entry(self) -> Option<(&'static str, &'static str)> {
        let (mut table, mut count) = (ptr::null(), 0);
        // SAFETY: both pointers are valid for the call, which returns the address and length of a static table.
        unsafe { rdk::rd_kafka_get_err_descs(&raw mut table, &raw mut count) };
        (0..count).find_map(|at| {
            // SAFETY: `at` is within the table. The entry's code is read as an integer; its strings are null or static.
            unsafe {
                let entry: *const rdk::rd_kafka_err_desc = table.add(at);
                let code = (&raw const (*entry).code).cast::<c_int>().read();
                let (name, text) = ((*entry).name, (*entry).desc);
                (code == self.0 && !name.is_null()).then(|| (text_of(name), text_of(text)))
            }
        })
    }
}

/// A static string of librdkafka.
///
/// # Safety
/// The pointer must be null or point to a C string that is never changed or freed.
unsafe fn text_of(text: *const c_char) -> &'static str {
    if text.is_null() {
        return "";
    }
    // SAFETY: guaranteed by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("UNKNOWN")
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The delivery report of one message.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryReport<'a> {
    pub outcome: SendOutcome,
    /// [`ErrorCode::NONE`] on success.
    pub code: ErrorCode,
    pub partition: i32,
    /// Negative if the broker did not report it.
    pub offset: i64,
    /// The opaque value passed to [`Topic::produce`].
    pub opaque: usize,
    /// The message's value.
    pub value: &'a [u8],
}

/// An event of a producer.
#[derive(Debug)]
pub enum ProducerEvent<'a> {
    Report(DeliveryReport<'a>),
    /// An error that does not concern a single message.
    Error {
        code: ErrorCode,
        /// librdkafka's description.
        why: Cow<'a, str>,
    },
    /// A line of librdkafka's log.
    Log {
        /// The part of librdkafka that logged it.
        facility: Cow<'a, str>,
        message: Cow<'a, str>,
    },
}

/// The event queue of a producer.
pub struct ProducerEvents<O: NativeClient> {
    queue: NonNull<rdk::rd_kafka_queue_t>,
    _owner: Arc<O>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<O: NativeClient> Send for ProducerEvents<O> {}

impl<O: NativeClient> ProducerEvents<O> {
    /// The events of `owner`.
    ///
    /// # Errors
    /// If librdkafka has no such queue.
    pub fn of(owner: Arc<O>) -> Result<Self> {
        // SAFETY: the client's handle is valid while `owner` lives, which outlives the value created here.
        let queue = unsafe { rdk::rd_kafka_queue_get_main(owner.native()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("librdkafka has no event queue"))?;
        Ok(Self { queue, _owner: owner })
    }

    /// Takes one event, such as a batch of reports, and passes its contents to `sink`. Returns false if there was none
    /// `within` that time, in whole milliseconds.
    pub fn take(&self, within: Duration, mut sink: impl FnMut(ProducerEvent<'_>)) -> bool {
        let ms = c_int::try_from(within.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue is valid, and we own the event.
        let event = unsafe { rdk::rd_kafka_queue_poll(self.queue.as_ptr(), ms) };
        let Some(event) = NonNull::new(event) else { return false };
        let event = Owned(event, rdk::rd_kafka_event_destroy);
        let event = event.get();
        // SAFETY: the event, its messages and its strings are valid until the end of this function, and `sink` keeps
        // none of them.
        unsafe {
            match rdk::rd_kafka_event_type(event) {
                rdk::RD_KAFKA_EVENT_DR => {
                    while let Some(message) = NonNull::new(rdk::rd_kafka_event_message_next(event).cast_mut()) {
                        sink(ProducerEvent::Report(report(message)));
                    }
                }
                rdk::RD_KAFKA_EVENT_ERROR => {
                    let why = rdk::rd_kafka_event_error_string(event);
                    sink(ProducerEvent::Error { code: ErrorCode(ffi::rd_kafka_event_error(event)), why: text_in(why) });
                }
                rdk::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut message, mut level) = (ptr::null(), ptr::null(), 0);
                    if rdk::rd_kafka_event_log(event, &raw mut facility, &raw mut message, &raw mut level) == 0 {
                        sink(ProducerEvent::Log { facility: text_in(facility), message: text_in(message) });
                    }
                }
                _ => {}
            }
        }
        true
    }
}

impl<O: NativeClient> Drop for ProducerEvents<O> {
    fn drop(&mut self) {
        // SAFETY: we own this reference to the queue, and it is not used again.
        unsafe { rdk::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// A librdkafka object that is destroyed when dropped.
struct Owned<T>(NonNull<T>, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    fn new(pointer: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self> {
        Ok(Self(NonNull::new(pointer).context("librdkafka is out of memory")?, destroy))
    }

    fn get(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from librdkafka together with its destructor. It is destroyed once, here, and not
        // used again.
        unsafe { (self.1)(self.get()) }
    }
}

/// The text of a C string; empty for null.
///
/// # Safety
/// The pointer must be null or point to a C string that outlives the result.
unsafe fn text_in<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: guaranteed by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// Reads one delivery report.
///
/// # Safety
/// The message must be from a delivery report and outlive the result.
unsafe fn report<'a>(message: NonNull<RDKafkaMessage>) -> DeliveryReport<'a> {
    let message = message.as_ptr();
    // SAFETY: the message is valid. It is never referenced as a whole, and its code is read as an integer, since a
    // broker may have sent any.
    unsafe {
        let outcome = match ffi::rd_kafka_message_status(message) {
            status if status == rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED as c_int => {
                SendOutcome::Acked
            }
            status if status == rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED as c_int => {
                SendOutcome::NotPersisted
            }
            _ => SendOutcome::Unknown,
        };
        DeliveryReport {
            outcome,
            code: code_of(message),
            partition: (*message).partition,
            offset: (*message).offset,
            opaque: (*message)._private as usize,
            value: value_of(message).unwrap_or_default(),
        }
    }
}

/// The error code in a message, whatever its number.
///
/// # Safety
/// The message must be valid.
unsafe fn code_of(message: *const RDKafkaMessage) -> ErrorCode {
    // SAFETY: the field is a C enum, that is, an int, and is only read as an integer.
    ErrorCode(unsafe { (&raw const (*message).err).cast::<c_int>().read() })
}

/// The value in a message; `None` for a null value.
///
/// # Safety
/// The message must outlive the result.
unsafe fn value_of<'a>(message: *const RDKafkaMessage) -> Option<&'a [u8]> {
    // SAFETY: payload and len describe the record's value, which lives as long as the message.
    unsafe {
        let (payload, length) = ((*message).payload, (*message).len);
        (!payload.is_null()).then(|| std::slice::from_raw_parts(payload.cast_const().cast::<u8>(), length))
    }
}

/// A topic handle of a client.
///
/// Dropping it never blocks: partitions that are still being read are stopped on another thread.
pub struct Topic<O: NativeClient> {
    topic: NonNull<RDKafkaTopic>,
    name: CString,
    /// Partitions being read. librdkafka itself would allow starting one twice.
    reading: Mutex<BTreeSet<i32>>,
    owner: Arc<O>,
}

// SAFETY: librdkafka's handles may be used from several threads at once (its INTRODUCTION.md, "Threads and callbacks").
unsafe impl<O: NativeClient> Send for Topic<O> {}
// SAFETY: as above.
unsafe impl<O: NativeClient> Sync for Topic<O> {}

impl<O: NativeClient> Topic<O> {
    /// A handle for the topic `name`, which need not exist.
    ///
    /// # Errors
    /// If librdkafka rejects the name.
    pub fn open(owner: Arc<O>, name: &str) -> Result<Self> {
        let name = CString::new(name)?;
        // SAFETY: the client's handle is valid while `owner` lives, the name is copied, and a null configuration means
        // defaults.
        let topic = unsafe { rdk::rd_kafka_topic_new(owner.native(), name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(|| anyhow!("librdkafka rejects topic {name:?}"))?;
        Ok(Self { topic, name, reading: Mutex::default(), owner })
    }

    pub fn owner(&self) -> &Arc<O> {
        &self.owner
    }

    /// Queues a message without a key. `time_ms` is in ms since the Unix epoch. The delivery report returns `opaque`.
    ///
    /// # Errors
    /// librdkafka's code if the message was not queued, most often [`ErrorCode::QUEUE_FULL`].
    pub fn produce(&self, partition: i32, value: &[u8], time_ms: i64, opaque: usize) -> Result<(), ErrorCode> {
        use rdk::rd_kafka_vtype_t as Type;
        use rdk::rd_kafka_vu_s__bindgen_ty_1 as Of;
        let bytes =
            rdk::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: value.as_ptr().cast_mut().cast(), size: value.len() };
        // Written in place: each argument is mostly padding, which is not worth copying for every message.
        let message = [
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_RKT, u: Of { rkt: self.topic.as_ptr() } },
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_PARTITION, u: Of { i32_: partition } },
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_MSGFLAGS, u: Of { i: rdk::RD_KAFKA_MSG_F_COPY } },
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_VALUE, u: Of { mem: bytes } },
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_TIMESTAMP, u: Of { i64_: time_ms } },
            rdk::rd_kafka_vu_t { vtype: Type::RD_KAFKA_VTYPE_OPAQUE, u: Of { ptr: opaque as *mut c_void } },
        ];
        // SAFETY: the topic is valid, and each argument has the type that its tag says. RD_KAFKA_MSG_F_COPY makes
        // librdkafka copy the value before it returns. The opaque is never dereferenced. We own the error and destroy
        // it.
        unsafe {
            let error = rdk::rd_kafka_produceva(self.owner.native(), message.as_ptr(), message.len());
            if error.is_null() {
                return Ok(());
            }
            let code = ErrorCode(ffi::rd_kafka_error_code(error));
            rdk::rd_kafka_error_destroy(error);
            Err(code)
        }
    }

    /// Starts fetching `partition` at `offset` into `queue`.
    ///
    /// # Errors
    /// If the partition is already being read, or librdkafka refuses (a negative offset).
    pub fn start(&self, queue: &Queue<O>, partition: i32, offset: i64) -> Result<()> {
        if !lock(&self.reading).insert(partition) {
            return Err(anyhow!("partition {partition} is already being read"));
        }
        // SAFETY: topic and queue are valid. librdkafka keeps its own reference to the queue.
        let started =
            unsafe { rdk::rd_kafka_consume_start_queue(self.topic.as_ptr(), partition, offset, queue.queue.as_ptr()) };
        if started == 0 {
            return Ok(());
        }
        let code = last_error();
        lock(&self.reading).remove(&partition);
        Err(anyhow!("cannot read partition {partition} from offset {offset}: {}", code.description()))
    }

    /// Stops fetching `partition` and discards what was fetched. Blocks without a limit until librdkafka's thread has
    /// handled it, so do not call this on a thread that others wait for.
    pub fn stop(&self, partition: i32) {
        if lock(&self.reading).contains(&partition) {
            // SAFETY: the topic is valid.
            unsafe { rdk::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
            // Only now it may be started again.
            lock(&self.reading).remove(&partition);
        }
    }

    /// The first offset and the end offset as last seen by fetching, without a query; `None` if unknown.
    pub fn cached_offsets(&self, partition: i32) -> (Option<i64>, Option<i64>) {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: all pointers are valid for the call, which writes only to `low` and `high`.
        unsafe {
            rdk::rd_kafka_get_watermark_offsets(
                self.owner.native(),
                self.name.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
            );
        }
        let known = |offset: i64| (offset >= 0).then_some(offset);
        (known(low), known(high))
    }
}

impl<O: NativeClient> Drop for Topic<O> {
    fn drop(&mut self) {
        let partitions = std::mem::take(&mut *lock(&self.reading));
        let rest = TopicTeardown { topic: self.topic, partitions, owner: ManuallyDrop::new(Arc::clone(&self.owner)) };
        if rest.partitions.is_empty() {
            return rest.destroy();
        }
        // If no thread can be started, the handle leaks, which hardly matters to a process out of threads.
        let _ = std::thread::Builder::new().name("stopping".into()).spawn(move || rest.destroy());
    }
}

/// What remains to be freed when a topic handle is dropped.
struct TopicTeardown<O: NativeClient> {
    topic: NonNull<RDKafkaTopic>,
    partitions: BTreeSet<i32>,
    /// Dropped only by `destroy`: a client must outlive its topics.
    owner: ManuallyDrop<Arc<O>>,
}

// SAFETY: as for the topic.
unsafe impl<O: NativeClient> Send for TopicTeardown<O> {}

impl<O: NativeClient> TopicTeardown<O> {
    fn destroy(self) {
        // SAFETY: we own the handle and do not use it again. Its client is still alive, since `owner` is dropped after
        // this.
        unsafe {
            for partition in &self.partitions {
                rdk::rd_kafka_consume_stop(self.topic.as_ptr(), *partition);
            }
            rdk::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
        drop(ManuallyDrop::into_inner(self.owner));
    }
}

/// Adds broker addresses to those that a client knows.
pub fn add_brokers(client: &impl NativeClient, addresses: &CStr) {
    // SAFETY: the handle is valid while `client` lives. The string is zero-terminated, and librdkafka copies it.
    unsafe { rdk::rd_kafka_brokers_add(client.native(), addresses.as_ptr()) };
}

/// The error code of the last failed call on this thread.
fn last_error() -> ErrorCode {
    // SAFETY: takes no arguments.
    ErrorCode(unsafe { ffi::rd_kafka_last_error() })
}

/// What a fetch queue delivers.
#[derive(Debug, Clone, Copy)]
pub enum Fetched<'a> {
    /// A record.
    Record {
        offset: i64,
        /// `None` for a null value.
        value: Option<&'a [u8]>,
        /// When its producer created it, in ms since the Unix epoch. `None` if the broker replaced it by its own time,
        /// or there is none.
        created_ms: Option<i64>,
        keyed: bool,
        /// The epoch of the leader that appended its batch; `None` in logs without epochs.
        leader_epoch: Option<i32>,
    },
    /// The end of the partition. The next record will have this offset.
    End { offset: i64 },
    /// Fetching failed. librdkafka continues on its own, except after `_AUTO_OFFSET_RESET`.
    Error {
        code: ErrorCode,
        /// librdkafka's description; may be empty.
        why: &'a [u8],
    },
}

/// A queue of fetched records of one or several partitions.
pub struct Queue<O: NativeClient> {
    queue: NonNull<rdk::rd_kafka_queue_t>,
    ready: Arc<Notify>,
    _owner: Arc<O>,
}

// SAFETY: librdkafka's queues may be used from several threads at once.
unsafe impl<O: NativeClient> Send for Queue<O> {}
// SAFETY: as above.
unsafe impl<O: NativeClient> Sync for Queue<O> {}

/// Called by librdkafka when the queue is no longer empty.
unsafe extern "C" fn on_ready(_client: *mut RDKafka, opaque: *mut c_void) {
    // SAFETY: the opaque is the Notify that the queue keeps alive until it has disabled this callback.
    let ready = unsafe { &*opaque.cast_const().cast::<Notify>() };
    ready.notify_one();
}

impl<O: NativeClient> Queue<O> {
    /// An empty queue.
    ///
    /// # Errors
    /// If librdkafka cannot create one.
    pub fn new(owner: Arc<O>) -> Result<Self> {
        // SAFETY: the client's handle is valid while `owner` lives, which outlives the value created here.
        let queue = unsafe { rdk::rd_kafka_queue_new(owner.native()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("librdkafka cannot create a queue"))?;
        let ready = Arc::new(Notify::new());
        let opaque = Arc::as_ptr(&ready).cast_mut().cast();
        // SAFETY: the queue is valid. The callback's opaque stays valid until `drop` has disabled the callback.
        unsafe { rdk::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_ready), opaque) };
        Ok(Self { queue, ready, _owner: owner })
    }

    /// Notified when there is something to read. Wake-ups can be lost, so wait with a timeout.
    pub fn ready(&self) -> &Notify {
        &self.ready
    }

    /// Takes up to [`BATCH`] fetched messages, without waiting.
    pub fn take<'b>(&self, buffer: &'b mut Buffer) -> MessageBatch<'b> {
        let messages = &mut buffer.0;
        messages.clear();
        messages.reserve(BATCH);
        // SAFETY: the buffer has room for BATCH pointers, and librdkafka returns how many it wrote.
        unsafe {
            let taken = rdk::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), BATCH);
            messages.set_len(usize::try_from(taken).unwrap_or(0).min(BATCH));
        }
        let batch = MessageBatch { messages, at: 0 };
        // SAFETY: each pointer is a message that we own until the batch is dropped. The sort is stable, so messages of
        // a partition stay in order; usually there is only one partition.
        batch.messages.sort_by_key(|message| unsafe { (**message).partition });
        batch
    }
}

impl<O: NativeClient> Drop for Queue<O> {
    fn drop(&mut self) {
        // SAFETY: the queue is valid and not used again. Partitions that still fetch into it have their own references.
        // The callback is disabled before its opaque is released; librdkafka calls it under the lock that disabling
        // takes.
        unsafe {
            rdk::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            rdk::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Memory for a batch. Empty while no batch borrows it.
#[derive(Default)]
pub struct Buffer(Vec<*mut RDKafkaMessage>);

// SAFETY: it holds no pointers unless a batch borrows it, and a batch stays on its thread.
unsafe impl Send for Buffer {}

/// Messages taken from a queue, grouped by partition.
pub struct MessageBatch<'b> {
    messages: &'b mut Vec<*mut RDKafkaMessage>,
    /// Messages before this index are destroyed.
    at: usize,
}

impl MessageBatch<'_> {
    /// The partition of the next messages; `None` if there are no more.
    pub fn partition(&self) -> Option<i32> {
        // SAFETY: each pointer from `at` on is a message that we own.
        self.messages.get(self.at).map(|message| unsafe { (**message).partition })
    }

    /// Passes each message of [`MessageBatch::partition`] to `sink`. Returns how many there were.
    pub fn drain(&mut self, mut sink: impl FnMut(Fetched<'_>)) -> usize {
        let (from, partition) = (self.at, self.partition());
        while self.at < self.messages.len() && self.partition() == partition {
            // SAFETY: we own the message, and what is read from it is not used after it is destroyed. If `sink` panics,
            // it is destroyed with the rest.
            unsafe { sink(read(self.messages[self.at])) };
            self.destroy_next();
        }
        self.at - from
    }

    fn destroy_next(&mut self) {
        let message = self.messages[self.at];
        self.at += 1;
        // SAFETY: we own the message and do not use it again.
        unsafe { rdk::rd_kafka_message_destroy(message) };
    }
}

impl Drop for MessageBatch<'_> {
    fn drop(&mut self) {
        while self.at < self.messages.len() {
            self.destroy_next();
        }
        self.messages.clear();
    }
}

/// Reads one message.
///
/// # Safety
/// The message must come from a consumer's queue and outlive the result.
unsafe fn read<'a>(message: *const RDKafkaMessage) -> Fetched<'a> {
    // SAFETY: the message is valid. It is never referenced as a whole, since its code may not be a value of the
    // bindings' enum.
    unsafe {
        let offset = (*message).offset;
        match code_of(message) {
            ErrorCode::NONE => {
                let mut kind = rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                let time = rdk::rd_kafka_message_timestamp(message, &raw mut kind);
                let created = kind == rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME;
                let epoch = rdk::rd_kafka_message_leader_epoch(message);
                Fetched::Record {
                    offset,
                    value: value_of(message),
                    created_ms: created.then_some(time),
                    keyed: !(*message).key.is_null(),
                    leader_epoch: (epoch >= 0).then_some(epoch),
                }
            }
            ErrorCode::END => Fetched::End { offset },
            // Errors have their description in place of a value.
            code => Fetched::Error { code, why: value_of(message).unwrap_or_default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    /// A message as librdkafka would return it, with any number as its code, even if that is no value of its type.
    fn message(code: c_int, value: &[u8]) -> MaybeUninit<RDKafkaMessage> {
        let mut message = MaybeUninit::<RDKafkaMessage>::zeroed();
        let raw = message.as_mut_ptr();
        // SAFETY: the fields are written through raw pointers. The code is written as an integer and only read as one.
        unsafe {
            (&raw mut (*raw).err).cast::<c_int>().write(code);
            (&raw mut (*raw).offset).write(7);
            (&raw mut (*raw).payload).write(value.as_ptr().cast_mut().cast());
            (&raw mut (*raw).len).write(value.len());
        }
        message
    }

    #[test]
    fn a_code_newer_than_the_library_is_a_number_with_a_name() {
        for number in [4242, -4242, c_int::MAX, c_int::MIN] {
            let message = message(number, b"");
            // SAFETY: the message lives until the end of the block.
            let Fetched::Error { code, .. } = (unsafe { read(message.as_ptr()) }) else { panic!("{number}") };
            assert_eq!(code.name(), format!("ERR_{number}"));
            assert!(code.description().contains(&number.to_string()));
            assert_ne!(code, ErrorCode::AUTO_OFFSET_RESET);
        }
        let (first, second) = (ErrorCode(4242).name(), ErrorCode(4243).name());
        assert_eq!((first.as_ref(), second.as_ref()), ("ERR_4242", "ERR_4243"), "each keeps its own");
    }

    #[test]
    fn known_codes_have_librdkafkas_names_and_words() {
        let known = [
            (ErrorCode::TOO_LARGE, "MSG_SIZE_TOO_LARGE", "Broker: Message size too large"),
            (ErrorCode::QUEUE_FULL, "_QUEUE_FULL", "Local: Queue full"),
            (ErrorCode::NONE, "NO_ERROR", "Success"),
        ];
        for (code, name, text) in known {
            assert_eq!((code.name().as_ref(), code.description().as_ref()), (name, text));
        }
    }

    #[test]
    fn an_error_has_librdkafkas_words_and_an_end_is_none() {
        let (end, error) = (message(ErrorCode::END.0, b""), message(ErrorCode::TOO_LARGE.0, b"why"));
        // SAFETY: the messages live until the end of the block.
        unsafe {
            assert!(matches!(read(end.as_ptr()), Fetched::End { offset: 7 }));
            assert!(matches!(read(error.as_ptr()), Fetched::Error { code: ErrorCode::TOO_LARGE, why: b"why" }));
        }
    }
}
