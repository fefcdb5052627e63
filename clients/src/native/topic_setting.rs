//! Queries a topic's settings.

use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rdkafka::bindings as rdk;

use super::{ErrorCode, NativeClient, Owned, ffi, text_in};

/// The value of a topic's setting. Queries `broker`, which has just answered another query.
///
/// # Errors
/// If there is no answer `within` that time or before `stopped`, or it is an error.
pub fn topic_setting(
    client: &impl NativeClient,
    topic: &str,
    setting: &str,
    broker: i32,
    within: Duration,
    stopped: impl Fn() -> bool,
) -> Result<String> {
    let name = CString::new(topic)?;
    let began = Instant::now();
    let ms = i32::try_from(within.as_millis()).unwrap_or(i32::MAX);
    let client = client.native();
    // SAFETY: the client is valid while it is borrowed, and each `Owned` keeps its librdkafka object alive. The names
    // are copied.
    let event = unsafe {
        let queue = Owned::new(rdk::rd_kafka_queue_new(client), rdk::rd_kafka_queue_destroy)?;
        let operation = rdk::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        let options =
            Owned::new(rdk::rd_kafka_AdminOptions_new(client, operation), rdk::rd_kafka_AdminOptions_destroy)?;
        rdk::rd_kafka_AdminOptions_set_request_timeout(options.get(), ms, ptr::null_mut(), 0);
        rdk::rd_kafka_AdminOptions_set_broker(options.get(), broker, ptr::null_mut(), 0);
        let topics = rdk::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let resource =
            Owned::new(rdk::rd_kafka_ConfigResource_new(topics, name.as_ptr()), rdk::rd_kafka_ConfigResource_destroy)?;
        rdk::rd_kafka_DescribeConfigs(client, [resource.get()].as_mut_ptr(), 1, options.get(), queue.get());
        let mut event: *mut rdk::rd_kafka_event_t = ptr::null_mut();
        while event.is_null() && !stopped() && began.elapsed() < within + Duration::from_millis(100) {
            event = rdk::rd_kafka_queue_poll(queue.get(), 50);
        }
        event
    };
    let event = Owned::new(event, rdk::rd_kafka_event_destroy).context("no answer in time")?;
    let refused = |code: ErrorCode| if code == ErrorCode::NONE { Ok(()) } else { bail!("{}", code.description()) };
    // SAFETY: the event and its contents live until `event` is dropped. Strings are copied, and null pointers are
    // checked.
    unsafe {
        refused(ErrorCode(ffi::rd_kafka_event_error(event.get())))?;
        let result = rdk::rd_kafka_event_DescribeConfigs_result(event.get());
        let (mut resources, mut entries) = (0, 0);
        if result.is_null() {
            bail!("librdkafka has no result");
        }
        let resource = rdk::rd_kafka_DescribeConfigs_result_resources(result, &raw mut resources);
        if resource.is_null() || resources == 0 {
            bail!("the answer is empty");
        }
        refused(ErrorCode(ffi::rd_kafka_ConfigResource_error(*resource)))?;
        let settings = rdk::rd_kafka_ConfigResource_configs(*resource, &raw mut entries);
        for at in 0..if settings.is_null() { 0 } else { entries } {
            let entry = *settings.add(at);
            if text_in(rdk::rd_kafka_ConfigEntry_name(entry)) == setting {
                return Ok(text_in(rdk::rd_kafka_ConfigEntry_value(entry)).into_owned());
            }
        }
    }
    bail!("{setting} is not in the answer")
}
