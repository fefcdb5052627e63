//! The calls of librdkafka that the rdkafka crate does not wrap, behind safe types. All unsafe code of the lab is here and in
//! [`crate::memory`].
//!
//! Reading uses librdkafka's simple consumer (`rd_kafka_consume_start_queue`) instead of `assign`: `assign` needs a `group.id`, and a client
//! with a `group.id` asks for its group coordinator at once, on which the brokers create `__consumer_offsets`, fifty partitions on every
//! replica, while the lab is starting and for a group nobody uses. Each partition is also started and stopped by itself, so that one added
//! later disturbs no other. Sending uses `rd_kafka_produceva` on a topic handle: the wrapped call copies the topic name and looks it up, under a
//! lock, for every message.
#![expect(unsafe_code, reason = "calls into librdkafka, a C library; every block says why it is sound")]

use std::ffi::{CStr, CString, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use ledger::sent::Outcome;
use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::{RDKafka, RDKafkaMessage, RDKafkaRespErr, RDKafkaTopic};
use tokio::sync::Notify;

mod topic_id;

pub use self::topic_id::topic_id;

/// Messages taken from a partition's queue at a time.
pub const BATCH: usize = 256;

/// A client that owns a librdkafka handle.
pub trait NativeClient: Send + Sync + 'static {
    /// The handle; valid as long as the client.
    fn native(&self) -> *mut RDKafka;
}

impl<C: ProducerContext + 'static> NativeClient for BaseProducer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

impl<C: ConsumerContext + 'static> NativeClient for BaseConsumer<C> {
    fn native(&self) -> *mut RDKafka {
        self.client().native_ptr()
    }
}

/// An error code of librdkafka or of a broker.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(pub RDKafkaRespErr);

impl Code {
    /// Its name as librdkafka and Kafka write it: `_MSG_TIMED_OUT` (a client's own, with underscore) or `NOT_ENOUGH_REPLICAS` (a broker's).
    pub fn name(self) -> &'static str {
        // SAFETY: rd_kafka_err2name returns a string from a static table, for any code, or a static buffer for codes it does not know.
        let name = unsafe { CStr::from_ptr(rdk::rd_kafka_err2name(self.0)) };
        name.to_str().unwrap_or("UNKNOWN")
    }

    /// Kafka's explanation of it.
    pub fn explained(self) -> &'static str {
        // SAFETY: as above, of rd_kafka_err2str.
        let text = unsafe { CStr::from_ptr(rdk::rd_kafka_err2str(self.0)) };
        text.to_str().unwrap_or("unknown error")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of a message in a delivery report, and the code of the error if there was one.
pub fn delivery(message: &BorrowedMessage<'_>) -> (Outcome, Code) {
    // SAFETY: the pointer is valid while `message` is borrowed, and belongs to a delivery report, which is what the call asks for.
    let (status, code) = unsafe { (rdk::rd_kafka_message_status(message.ptr()), (*message.ptr()).err) };
    let outcome = match status {
        rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Outcome::Acked,
        rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Outcome::NotPersisted,
        rdk::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Outcome::Unknown,
    };
    (outcome, Code(code))
}

/// A topic of a client.
pub struct Topic<O: NativeClient> {
    topic: NonNull<RDKafkaTopic>,
    name: CString,
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
        let topic = NonNull::new(topic).ok_or_else(|| anyhow!("librdkafka refuses topic {name:?}"))?;
        Ok(Self { topic, name, owner })
    }

    /// The client this is a topic of.
    pub fn owner(&self) -> &Arc<O> {
        &self.owner
    }

    /// Queues a message with this value, this time in ms since the Unix epoch, and no key. `opaque` comes back with the delivery report.
    ///
    /// # Errors
    /// librdkafka's code when the queue does not take it: `_QUEUE_FULL` above all. Nothing was queued then.
    pub fn produce(&self, partition: i32, value: &[u8], time_ms: i64, opaque: usize) -> Result<(), Code> {
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
        // SAFETY: the topic is valid, and each part has the type that is said; RD_KAFKA_MSG_F_COPY makes librdkafka copy the value before it
        // returns; the opaque is never dereferenced. An error is ours to destroy.
        unsafe {
            let error = rdk::rd_kafka_produceva(self.owner.native(), message.as_ptr(), message.len());
            if error.is_null() {
                return Ok(());
            }
            let code = Code(rdk::rd_kafka_error_code(error));
            rdk::rd_kafka_error_destroy(error);
            Err(code)
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
        // SAFETY: the handle is ours and is not used again; its client is still alive, since `owner` is dropped after this.
        unsafe { rdk::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
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
        code: Code,
        /// librdkafka's own words for it; empty where it has none.
        why: &'a [u8],
    },
}

/// Reads one partition from an offset on, through a queue of its own.
pub struct PartitionReader<O: NativeClient> {
    topic: Arc<Topic<O>>,
    partition: i32,
    queue: NonNull<rdk::rd_kafka_queue_t>,
    ready: Arc<Notify>,
    batch: Vec<*mut RDKafkaMessage>,
}

// SAFETY: librdkafka's queues may be used from any thread; the batch of pointers is empty except inside `drain`, which needs `&mut self`.
unsafe impl<O: NativeClient> Send for PartitionReader<O> {}

/// Called by librdkafka when the queue was empty and is not any more.
unsafe extern "C" fn on_ready(_client: *mut RDKafka, opaque: *mut c_void) {
    // SAFETY: the opaque is the Notify that the reader keeps alive until it has switched this callback off.
    let ready = unsafe { &*opaque.cast_const().cast::<Notify>() };
    ready.notify_one();
}

impl<O: NativeClient> PartitionReader<O> {
    /// Starts fetching `partition` at `offset`.
    ///
    /// # Errors
    /// When librdkafka refuses, because the offset is negative or the partition is being read already.
    pub fn start(topic: Arc<Topic<O>>, partition: i32, offset: i64) -> Result<Self> {
        // SAFETY: the client's handle is valid while the topic lives.
        let queue = unsafe { rdk::rd_kafka_queue_new(topic.owner.native()) };
        let queue = NonNull::new(queue).ok_or_else(|| anyhow!("librdkafka has no queue for partition {partition}"))?;
        let ready = Arc::new(Notify::new());
        // SAFETY: topic and queue are valid. The callback's opaque stays valid until `drop` has switched the callback off.
        let started = unsafe {
            rdk::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(on_ready), Arc::as_ptr(&ready).cast_mut().cast());
            rdk::rd_kafka_consume_start_queue(topic.topic.as_ptr(), partition, offset, queue.as_ptr())
        };
        let reader = Self { topic, partition, queue, ready, batch: Vec::with_capacity(BATCH) };
        if started == 0 {
            return Ok(reader);
        }
        // SAFETY: takes no arguments; the code is that of the failed call, on this thread.
        let code = Code(unsafe { rdk::rd_kafka_last_error() });
        Err(anyhow!("cannot read partition {partition} from offset {offset}: {}", code.explained()))
    }

    /// Told whenever there is something to read again. Wake-ups can be lost, so wait for it with a limit.
    pub fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }

    /// Takes up to [`BATCH`] of what has been fetched, without waiting, and gives each to `sink`. Returns how many there were.
    pub fn drain(&mut self, mut sink: impl FnMut(Fetched<'_>)) -> usize {
        // SAFETY: the buffer has room for BATCH pointers and librdkafka says how many it wrote.
        let taken = unsafe {
            let taken = rdk::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.batch.as_mut_ptr(), BATCH);
            let taken = usize::try_from(taken).unwrap_or(0).min(BATCH);
            self.batch.set_len(taken);
            taken
        };
        for message in self.batch.drain(..) {
            // SAFETY: each pointer is a message that is now ours; its value is not used after it is destroyed.
            unsafe {
                sink(read(&*message));
                rdk::rd_kafka_message_destroy(message);
            }
        }
        taken
    }
}

/// What one message says.
///
/// # Safety
/// The message must come from a consumer's queue.
unsafe fn read(message: &RDKafkaMessage) -> Fetched<'_> {
    let value = (!message.payload.is_null()).then(|| {
        // SAFETY: payload and len describe the record's value, or what is said of an error; it lives as long as the message.
        unsafe { std::slice::from_raw_parts(message.payload.cast_const().cast::<u8>(), message.len) }
    });
    match message.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
            let mut kind = rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            // SAFETY: the message is one from a consumer's queue, and the call writes only to `kind`.
            let (time, epoch) = unsafe {
                (rdk::rd_kafka_message_timestamp(message, &raw mut kind), rdk::rd_kafka_message_leader_epoch(message))
            };
            let created = kind == rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME;
            Fetched::Record {
                offset: message.offset,
                value,
                created_ms: created.then_some(time),
                keyed: !message.key.is_null(),
                leader_epoch: (epoch >= 0).then_some(epoch),
            }
        }
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Fetched::End { offset: message.offset },
        code => Fetched::Error { code: Code(code), why: value.unwrap_or_default() },
    }
}

impl<O: NativeClient> Drop for PartitionReader<O> {
    fn drop(&mut self) {
        // SAFETY: topic and queue are valid, and the queue is not used again. The callback is off before its opaque is released.
        unsafe {
            rdk::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            rdk::rd_kafka_consume_stop(self.topic.topic.as_ptr(), self.partition);
            rdk::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}
