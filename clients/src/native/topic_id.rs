//! Queries the id of a topic (KIP-516), which tells a recreated topic from the one before.

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rdkafka::bindings as rdk;

use super::{NativeClient, Owned};

/// The answer of brokers that know no topic ids.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The id of `topic`, as Kafka's tools print it; `None` if the brokers know no ids. Queries `broker`, which has just
/// answered another query. librdkafka would ask the controller instead, and fail while that is down.
///
/// # Errors
/// If the broker does not answer within `timeout`, or there is no such topic.
pub fn topic_id(client: &impl NativeClient, topic: &str, broker: i32, timeout: Duration) -> Result<Option<String>> {
    let name = CString::new(topic)?;
    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.native();
    // SAFETY: the client is valid while it is borrowed, and each `Owned` keeps its librdkafka object alive. The names
    // are copied.
    let (queue, event) = unsafe {
        let queue = Owned::new(rdk::rd_kafka_queue_new(client), rdk::rd_kafka_queue_destroy)?;
        let operation = rdk::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options =
            Owned::new(rdk::rd_kafka_AdminOptions_new(client, operation), rdk::rd_kafka_AdminOptions_destroy)?;
        rdk::rd_kafka_AdminOptions_set_request_timeout(options.get(), ms, ptr::null_mut(), 0);
        rdk::rd_kafka_AdminOptions_set_broker(options.get(), broker, ptr::null_mut(), 0);
        let topics = Owned::new(
            rdk::rd_kafka_TopicCollection_of_topic_names([name.as_ptr()].as_mut_ptr(), 1),
            rdk::rd_kafka_TopicCollection_destroy,
        )?;
        rdk::rd_kafka_DescribeTopics(client, topics.get(), options.get(), queue.get());
        let event = rdk::rd_kafka_queue_poll(queue.get(), ms.saturating_add(500));
        (queue, event)
    };
    let event = Owned::new(event, rdk::rd_kafka_event_destroy).context("no answer in time")?;
    // SAFETY: the event and its contents live until `event` is dropped. Strings are copied, and null pointers are
    // checked.
    let id = unsafe {
        let failed = rdk::rd_kafka_event_error_string(event.get());
        let result = rdk::rd_kafka_event_DescribeTopics_result(event.get());
        if result.is_null() {
            bail!("{}", text(failed));
        }
        let mut count = 0;
        let topics = rdk::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        if topics.is_null() || count != 1 {
            bail!("{}", text(failed));
        }
        let error = rdk::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() && text(rdk::rd_kafka_error_name(error)) != "NO_ERROR" {
            bail!("{}", text(rdk::rd_kafka_error_string(error)));
        }
        text(rdk::rd_kafka_Uuid_base64str(rdk::rd_kafka_TopicDescription_topic_id(*topics)))
    };
    drop(event);
    drop(queue);
    // Kafka prints ids in URL-safe base64.
    let id = id.replace('+', "-").replace('/', "_");
    Ok((!id.is_empty() && id != NONE).then_some(id))
}

/// A copy of a C string; empty for null.
///
/// # Safety
/// The pointer must be null or point to a C string.
unsafe fn text(string: *const std::ffi::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: guaranteed by the caller.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
