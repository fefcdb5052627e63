//! The calls of librdkafka that the rdkafka crate does not wrap, behind safe types. All unsafe code of the lab is here and in
//! [`crate::memory`].
//!
//! Reading uses librdkafka's simple consumer (`rd_kafka_consume_start_queue`) instead of `assign`: `assign` needs a `group.id`, and a client
//! with a `group.id` asks for its group coordinator at once, on which the brokers create `__consumer_offsets`, fifty partitions on every
//! replica, while the lab is starting and for a group nobody uses. Each partition is also started and stopped by itself, so that one added
//! later disturbs no other, and several can share a queue, so that what is fetched and not yet read has one limit for all. Sending uses `rd_kafka_produceva` on a topic handle: the wrapped call copies the topic name and looks it up, under a
//! lock, for every message. Delivery reports are taken from librdkafka's events themselves: the wrapped call makes a Rust enum of a broker's error
//! code, and a code that is newer than the library is no value of that enum.
#![expect(unsafe_code, reason = "calls into librdkafka, a C library; every block says why it is sound")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, anyhow};
use ledger::sent::Outcome;
use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::{RDKafka, RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic};
use tokio::sync::Notify;

use crate::sync::lock;

pub mod topic_id;
pub mod topic_setting;

/// Messages taken from a queue at a time.
pub const BATCH: usize = 256;

/// The same calls as the bindings have, but with error codes as the numbers that they are: the bindings' enum knows the codes of its own day only.
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
    /// The handle; valid as long as the client.
    fn native(&self) -> *mut RDKafka;
}

// SAFETY: the producer destroys its handle when it is dropped, and not before.
unsafe impl<C: ProducerContext + 'static> NativeClient for BaseProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

// SAFETY: the consumer destroys its handle when it is dropped, and not before.
unsafe impl<C: ConsumerContext + 'static> NativeClient for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

/// An error code of librdkafka or of a broker, also one that is newer than this librdkafka.
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
    /// No error.
    pub const NONE: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR as c_int);
    /// The producer's queue takes no more for now.
    pub const QUEUE_FULL: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__QUEUE_FULL as c_int);
    /// A message, or the batch it is in, is larger than librdkafka's settings, the broker or the topic allow.
    pub const TOO_LARGE: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE as c_int);
    /// librdkafka does not take such a call at all.
    pub const INVALID: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__INVALID_ARG as c_int);
    /// No broker can be reached.
    pub const ALL_BROKERS_DOWN: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int);
    /// The topic has no such partition, as far as librdkafka knows.
    pub const UNKNOWN_PARTITION: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION as c_int);
    /// The end of a partition was reached.
    const END: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF as c_int);
    /// The offset to read next is not in the log; librdkafka has stopped.
    pub const AUTO_OFFSET_RESET: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET as c_int);
    /// The topic is not to be read by this client. ProducerEvent once only.
    pub const NOT_AUTHORIZED: Self = Self(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED as c_int);

    /// Its name as librdkafka and Kafka write it: `_MSG_TIMED_OUT` (a client's own, with underscore) or `NOT_ENOUGH_REPLICAS` (a broker's); of one
    /// that this librdkafka does not know, `ERR_` and its number.
    pub fn name(self) -> Cow<'static, str> {
        self.table_entry().map_or_else(|| format!("ERR_{}", self.0).into(), |(name, _)| name.into())
    }

    /// Kafka's explanation of it.
    pub fn description(self) -> Cow<'static, str> {
        let unknown = || format!("unknown to this librdkafka (Kafka error {})", self.0).into();
        self.table_entry().map_or_else(unknown, |(_, text)| text.into())
    }

    /// Its name and explanation in librdkafka's table. Not by `rd_kafka_err2name`, which writes those of unknown codes into a buffer that the next call
    /// on the thread overwrites.
    fn table_entry(self) -> Option<(&'static str, &'static str)> {
        let (mut table, mut count) = (ptr::null(), 0);
        // SAFETY: both pointers are valid for the call, which gives the address and length of a static table.
        unsafe { rdk::rd_kafka_get_err_descs(&raw mut table, &raw mut count) };
        (0..count).find_map(|at| {
            // SAFETY: `at` is in the table. Its entries are read as a C program would: the code as a number, and strings that are null or static.
            unsafe {
                let entry: *const rdk::rd_kafka_err_desc = table.add(at);
                let code = (&raw const (*entry).code).cast::<c_int>().read();
                let (name, text) = ((*entry).name, (*entry).desc);
                (code == self.0 && !name.is_null()).then(|| (text_of(name), text_of(text)))
            }
        })
    }
}

/// A static string of librdkafka's.
///
/// # Safety
/// The pointer must be null or that of a C string that is never changed nor freed.
unsafe fn text_of(text: *const c_char) -> &'static str {
    if text.is_null() {
        return "";
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("UNKNOWN")
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// What became of one message that was handed to librdkafka.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryReport<'a> {
    /// Written or not.
    pub outcome: Outcome,
    /// The error, or [`ErrorCode::NONE`].
    pub code: ErrorCode,
    /// Where it went.
    pub partition: i32,
    /// Its offset there; negative when the broker did not tell.
    pub offset: i64,
    /// What was handed over with it.
    pub opaque: usize,
    /// Its value.
    pub value: &'a [u8],
}

/// What a producer has to tell.
#[derive(Debug)]
pub enum ProducerEvent<'a> {
    /// A delivery report.
    Report(DeliveryReport<'a>),
    /// Something went wrong that concerns no single message.
    Error {
        /// What.
        code: ErrorCode,
        /// In librdkafka's words.
        why: Cow<'a, str>,
    },
    /// A line of librdkafka's log.
    Log {
        /// Which part of librdkafka says it.
        facility: Cow<'a, str>,
        /// What it says.
        message: Cow<'a, str>,
    },
}

/// Where a producer's delivery reports come from.
pub struct ProducerEvents<O: NativeClient> {
    queue: NonNull<rdk::rd_kafka_queue_t>,
    _owner: Arc<O>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl<O: NativeClient> Send for ProducerEvents<O> {}

impl<O: NativeClient> ProducerEvents<O> {
    /// Those of `owner`.
    ///
    /// # Errors
    /// When librdkafka has no such queue.
    pub fn of(owner: Arc<O>) -> Result<Self> {
        // SAFETY: the client's handle is valid while `owner` lives, and that is as long as what is made here.
        let queue = unsafe { rdk::rd_kafka_queue_get_main(owner.native()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("librdkafka has no event queue"))?;
        Ok(Self { queue, _owner: owner })
    }

    /// Takes one event, a batch of reports say, without waiting, and gives what is in it to `sink`. Returns false when there was none.
    pub fn take(&self, mut sink: impl FnMut(ProducerEvent<'_>)) -> bool {
        // SAFETY: the queue is valid; the event is ours then.
        let event = unsafe { rdk::rd_kafka_queue_poll(self.queue.as_ptr(), 0) };
        let Some(event) = NonNull::new(event) else { return false };
        let event = Owned(event, rdk::rd_kafka_event_destroy);
        let event = event.get();
        // SAFETY: the event is valid until the end of this function, and so are its messages and strings, of which `sink` keeps nothing.
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
        // SAFETY: the reference to the queue is ours and is not used again.
        unsafe { rdk::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// An object of librdkafka's, destroyed when dropped, a panic included.
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
        // SAFETY: the pointer came from librdkafka with its own destructor, is destroyed here once, and is not used again.
        unsafe { (self.1)(self.get()) }
    }
}

/// A string of an event.
///
/// # Safety
/// The pointer must be null or that of a C string that lives as long as the result.
unsafe fn text_in<'a>(text: *const c_char) -> Cow<'a, str> {
    if text.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// What one delivery report says.
///
/// # Safety
/// The message must be that of a delivery report and live as long as the result.
unsafe fn report<'a>(message: NonNull<RDKafkaMessage>) -> DeliveryReport<'a> {
    let message = message.as_ptr();
    // SAFETY: the message is valid. No reference to all of it is made and its code is read as a number, since a broker may have sent any.
    unsafe {
        let outcome = match ffi::rd_kafka_message_status(message) {
            status if status == rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED as c_int => Outcome::Acked,
            status if status == rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED as c_int => {
                Outcome::NotPersisted
            }
            _ => Outcome::Unknown,
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

/// The code in a message, whichever number it is.
///
/// # Safety
/// The message must be valid.
unsafe fn code_of(message: *const RDKafkaMessage) -> ErrorCode {
    // SAFETY: the field is a C enum, which is an int; nothing but a number is made of it.
    ErrorCode(unsafe { (&raw const (*message).err).cast::<c_int>().read() })
}

/// The value in a message; `None` for a null value.
///
/// # Safety
/// The message must be valid as long as the result.
unsafe fn value_of<'a>(message: *const RDKafkaMessage) -> Option<&'a [u8]> {
    // SAFETY: payload and len describe the record's value, which lives as long as the message.
    unsafe {
        let (payload, length) = ((*message).payload, (*message).len);
        (!payload.is_null()).then(|| std::slice::from_raw_parts(payload.cast_const().cast::<u8>(), length))
    }
}

/// A topic of a client.
///
/// Dropping it never waits: partitions that are still read are stopped on a thread of their own.
pub struct Topic<O: NativeClient> {
    topic: NonNull<RDKafkaTopic>,
    name: CString,
    /// Partitions that are read. librdkafka itself would let one be started twice.
    reading: Mutex<BTreeSet<i32>>,
    owner: Arc<O>,
}

// SAFETY: librdkafka's handles may be used from any thread, at the same time (its INTRODUCTION.md, "Threads and callbacks").
unsafe impl<O: NativeClient> Send for Topic<O> {}
// SAFETY: as above.
unsafe impl<O: NativeClient> Sync for Topic<O> {}

impl<O: NativeClient> Topic<O> {
    /// A handle on the topic called `name`, which need not exist.
    ///
    /// # Errors
    /// When librdkafka refuses the name.
    pub fn open(owner: Arc<O>, name: &str) -> Result<Self> {
        let name = CString::new(name)?;
        // SAFETY: the client's handle is valid while `owner` lives, the name is copied, and a null configuration asks for the default.
        let topic = unsafe { rdk::rd_kafka_topic_new(owner.native(), name.as_ptr(), ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(|| anyhow!("librdkafka rejects topic {name:?}"))?;
        Ok(Self { topic, name, reading: Mutex::default(), owner })
    }

    /// The client this is a topic of.
    pub fn owner(&self) -> &Arc<O> {
        &self.owner
    }

    /// Queues a message with this value, this time in ms since the Unix epoch, and no key. `opaque` comes back with the delivery report.
    ///
    /// # Errors
    /// librdkafka's code when the queue does not take it: [`ErrorCode::QUEUE_FULL`] above all. Nothing was queued then.
    pub fn produce(&self, partition: i32, value: &[u8], time_ms: i64, opaque: usize) -> Result<(), ErrorCode> {
        use rdk::rd_kafka_vtype_t as Type;
        use rdk::rd_kafka_vu_s__bindgen_ty_1 as Of;
        let bytes =
            rdk::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: value.as_ptr().cast_mut().cast(), size: value.len() };
        let message = [
            (Type::RD_KAFKA_VTYPE_RKT, Of { rkt: self.topic.as_ptr() }),
            (Type::RD_KAFKA_VTYPE_PARTITION, Of { i32_: partition }),
            (Type::RD_KAFKA_VTYPE_MSGFLAGS, Of { i: rdk::RD_KAFKA_MSG_F_COPY }),
            (Type::RD_KAFKA_VTYPE_VALUE, Of { mem: bytes }),
            (Type::RD_KAFKA_VTYPE_TIMESTAMP, Of { i64_: time_ms }),
            (Type::RD_KAFKA_VTYPE_OPAQUE, Of { ptr: opaque as *mut c_void }),
        ]
        .map(|(vtype, u)| rdk::rd_kafka_vu_t { vtype, u });
        // SAFETY: the topic is valid, and each part has the type that is text_in; RD_KAFKA_MSG_F_COPY makes librdkafka copy the value before it
        // returns; the opaque is never dereferenced. An error is ours to destroy.
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
    /// When the partition is being read already, or librdkafka refuses, because the offset is negative.
    pub fn start(&self, queue: &Queue<O>, partition: i32, offset: i64) -> Result<()> {
        if !lock(&self.reading).insert(partition) {
            return Err(anyhow!("partition {partition} is already being read"));
        }
        // SAFETY: topic and queue are valid. librdkafka keeps a reference of its own to what is behind the queue.
        let started =
            unsafe { rdk::rd_kafka_consume_start_queue(self.topic.as_ptr(), partition, offset, queue.queue.as_ptr()) };
        if started == 0 {
            return Ok(());
        }
        let code = last_error();
        lock(&self.reading).remove(&partition);
        Err(anyhow!("cannot read partition {partition} from offset {offset}: {}", code.description()))
    }

    /// Stops fetching `partition`, and throws away what was fetched. Waits, without a limit, for librdkafka's thread, which may be busy: not for a
    /// thread that others wait for.
    pub fn stop(&self, partition: i32) {
        if lock(&self.reading).contains(&partition) {
            // SAFETY: the topic is valid.
            unsafe { rdk::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
            // Only now may it be started again.
            lock(&self.reading).remove(&partition);
        }
    }

    /// The first and the end offset that fetching has told of lately, without asking the brokers; `None` where it has not.
    pub fn cached_offsets(&self, partition: i32) -> (Option<i64>, Option<i64>) {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: all pointers are valid for the call, which only writes to `low` and `high`.
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
        // Without a thread it all stays as it is, which costs memory of a process that has no threads left.
        let _ = std::thread::Builder::new().name("stopping".into()).spawn(move || rest.destroy());
    }
}

/// What is left of a topic when its handle is dropped.
struct TopicTeardown<O: NativeClient> {
    topic: NonNull<RDKafkaTopic>,
    partitions: BTreeSet<i32>,
    /// Dropped by `destroy` only: a client must outlive its topics.
    owner: ManuallyDrop<Arc<O>>,
}

// SAFETY: as of the topic.
unsafe impl<O: NativeClient> Send for TopicTeardown<O> {}

impl<O: NativeClient> TopicTeardown<O> {
    fn destroy(self) {
        // SAFETY: the handle is ours and is not used again; its client is still alive, since `owner` is dropped after this.
        unsafe {
            for partition in &self.partitions {
                rdk::rd_kafka_consume_stop(self.topic.as_ptr(), *partition);
            }
            rdk::rd_kafka_topic_destroy(self.topic.as_ptr());
        }
        drop(ManuallyDrop::into_inner(self.owner));
    }
}

/// Gives a client addresses of brokers, beside those it knows.
pub fn add_brokers(client: &impl NativeClient, addresses: &CStr) {
    // SAFETY: the handle is valid while `client` lives; the text ends with a zero byte, and librdkafka copies it.
    unsafe { rdk::rd_kafka_brokers_add(client.native(), addresses.as_ptr()) };
}

/// The code of the call that failed last on this thread.
fn last_error() -> ErrorCode {
    // SAFETY: takes no arguments.
    ErrorCode(unsafe { ffi::rd_kafka_last_error() })
}

/// What a partition's queue gives.
#[derive(Debug, Clone, Copy)]
pub enum Fetched<'a> {
    /// A record.
    Record {
        /// Its offset.
        offset: i64,
        /// Its value; `None` for a null value.
        value: Option<&'a [u8]>,
        /// When its producer made it, in ms since the Unix epoch; `None` where the broker wrote its own time over it, or there is none.
        created_ms: Option<i64>,
        /// Whether it has a key.
        keyed: bool,
        /// The epoch of the leader that appended its batch; `None` in logs that have none.
        leader_epoch: Option<i32>,
    },
    /// The end of the partition was reached: this is the offset the next record will have.
    End {
        /// The end offset.
        offset: i64,
    },
    /// Fetching failed. librdkafka goes on by itself, except after `_AUTO_OFFSET_RESET`.
    Error {
        /// What failed.
        code: ErrorCode,
        /// librdkafka's own words for it; empty where it has none.
        why: &'a [u8],
    },
}

/// Where what is fetched of one or several partitions waits to be read.
pub struct Queue<O: NativeClient> {
    queue: NonNull<rdk::rd_kafka_queue_t>,
    ready: Arc<Notify>,
    _owner: Arc<O>,
}

// SAFETY: librdkafka's queues may be used from any thread, at the same time.
unsafe impl<O: NativeClient> Send for Queue<O> {}
// SAFETY: as above.
unsafe impl<O: NativeClient> Sync for Queue<O> {}

/// Called by librdkafka when the queue was empty and is not any more.
unsafe extern "C" fn on_ready(_client: *mut RDKafka, opaque: *mut c_void) {
    // SAFETY: the opaque is the Notify that the queue keeps alive until it has switched this callback off.
    let ready = unsafe { &*opaque.cast_const().cast::<Notify>() };
    ready.notify_one();
}

impl<O: NativeClient> Queue<O> {
    /// An empty one.
    ///
    /// # Errors
    /// When librdkafka makes none.
    pub fn new(owner: Arc<O>) -> Result<Self> {
        // SAFETY: the client's handle is valid while `owner` lives, and that is as long as what is made here.
        let queue = unsafe { rdk::rd_kafka_queue_new(owner.native()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("librdkafka cannot create a queue"))?;
        let ready = Arc::new(Notify::new());
        let opaque = Arc::as_ptr(&ready).cast_mut().cast();
        // SAFETY: the queue is valid. The callback's opaque stays valid until `drop` has switched the callback off.
        unsafe { rdk::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_ready), opaque) };
        Ok(Self { queue, ready, _owner: owner })
    }

    /// ProducerEvent whenever there is something to read again. Wake-ups can be lost, so wait for it with a limit.
    pub fn ready(&self) -> &Notify {
        &self.ready
    }

    /// Takes up to [`BATCH`] of what has been fetched, without waiting.
    pub fn take<'b>(&self, buffer: &'b mut Buffer) -> MessageBatch<'b> {
        let messages = &mut buffer.0;
        messages.clear();
        messages.reserve(BATCH);
        // SAFETY: the buffer has room for BATCH pointers and librdkafka says how many it wrote.
        unsafe {
            let taken = rdk::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, messages.as_mut_ptr(), BATCH);
            messages.set_len(usize::try_from(taken).unwrap_or(0).min(BATCH));
        }
        let batch = MessageBatch { messages, at: 0 };
        // Those of a partition stay in their order. Mostly they all are of one.
        // SAFETY: each pointer is a message that is ours until the batch is dropped.
        batch.messages.sort_by_key(|message| unsafe { (**message).partition });
        batch
    }
}

impl<O: NativeClient> Drop for Queue<O> {
    fn drop(&mut self) {
        // SAFETY: the queue is valid, and is not used again; partitions that are still fetched into it have references of their own. The callback is off
        // before its opaque is released: librdkafka calls it under the lock that switching it off takes.
        unsafe {
            rdk::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            rdk::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

/// Room for a batch. Empty but for the time of one.
#[derive(Default)]
pub struct Buffer(Vec<*mut RDKafkaMessage>);

// SAFETY: there are no pointers in it while it is not borrowed by a batch, and a batch stays on its thread.
unsafe impl Send for Buffer {}

/// Messages that were taken from a queue, partition by partition.
pub struct MessageBatch<'b> {
    messages: &'b mut Vec<*mut RDKafkaMessage>,
    /// Those before it are destroyed.
    at: usize,
}

impl MessageBatch<'_> {
    /// Of which partition the next messages are; `None` when there are no more.
    pub fn partition(&self) -> Option<i32> {
        // SAFETY: each pointer from `at` on is a message that is ours.
        self.messages.get(self.at).map(|message| unsafe { (**message).partition })
    }

    /// Gives each of the messages that are of [`MessageBatch::partition`] to `sink`. Returns how many there were.
    pub fn drain(&mut self, mut sink: impl FnMut(Fetched<'_>)) -> usize {
        let (from, partition) = (self.at, self.partition());
        while self.at < self.messages.len() && self.partition() == partition {
            // SAFETY: the pointer is a message that is ours; what is read of it is not used after it is destroyed. Should `sink` panic, it is destroyed
            // with the rest.
            unsafe { sink(read(self.messages[self.at])) };
            self.destroy_next();
        }
        self.at - from
    }

    fn destroy_next(&mut self) {
        let message = self.messages[self.at];
        self.at += 1;
        // SAFETY: the message is ours, and is not used again.
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

/// What one message says.
///
/// # Safety
/// The message must come from a consumer's queue, and live as long as the result.
unsafe fn read<'a>(message: *const RDKafkaMessage) -> Fetched<'a> {
    // SAFETY: the message is valid. No reference to all of it is made, since its code may be none that the bindings' enum has.
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
            // What is text_in of an error is where a value would be.
            code => Fetched::Error { code, why: value_of(message).unwrap_or_default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use super::*;

    /// A message as librdkafka would hand it over, with any number as its code, which may make it no value of its type.
    fn message(code: c_int, value: &[u8]) -> MaybeUninit<RDKafkaMessage> {
        let mut message = MaybeUninit::<RDKafkaMessage>::zeroed();
        let raw = message.as_mut_ptr();
        // SAFETY: the fields are written through their own pointers; the code as a number, and it is only ever read as one.
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
