//! Questions that rdkafka's admin client doesn't put: what may this client do? And what librdkafka says about its
//! connections meanwhile, which rdkafka reads only for consumers and producers.

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::queue::{Event, Queue, millis};

/// What a client may do with one topic or group.
pub(crate) enum Allowed {
    /// These operations, by Kafka's own numbers.
    Operations(Vec<rd::rd_kafka_AclOperation_t>),
    /// The brokers don't even tell whether it exists.
    Nothing,
    /// The brokers gave no answer to that: it doesn't exist, or they are too old.
    Unknown,
}

impl Allowed {
    /// Whether an operation is known to be denied.
    pub(crate) fn denies(&self, operation: rd::rd_kafka_AclOperation_t) -> bool {
        match self {
            Allowed::Operations(operations) => !operations.contains(&operation),
            Allowed::Nothing => true,
            Allowed::Unknown => false,
        }
    }
}

/// Asks what the client may do with each of these topics; the answers are in their order.
pub(crate) fn allowed_on_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<Vec<Allowed>, KafkaError> {
    let (names, mut pointers) = c_strings(topics);
    let (queue, options) = (Queue::new(client), Options::new(client, Question::Topics, timeout));
    // SAFETY: the handles are alive, librdkafka copies the names, and the collection is destroyed once.
    unsafe {
        let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd::rd_kafka_DescribeTopics(client.native_ptr(), collection, options.0.as_ptr(), queue.as_ptr());
        rd::rd_kafka_TopicCollection_destroy(collection);
    }
    let event = answer(&queue, timeout)?;
    let mut answers: Vec<Allowed> = names.iter().map(|_| Allowed::Unknown).collect();
    // SAFETY: the event is alive, and all that is read here belongs to it.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut count = 0;
        let described = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for at in 0..count {
            let topic = *described.add(at);
            let (error, mut operations) = (rd::rd_kafka_TopicDescription_error(topic), 0);
            let list = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut operations);
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic));
            if let Some(at) = names.iter().position(|asked| asked.as_c_str() == name) {
                answers[at] = allowed(error, list, operations);
            }
        }
    }
    Ok(answers)
}

/// Asks what the client may do with a consumer group, which needn't exist.
pub(crate) fn allowed_on_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> Result<Allowed, KafkaError> {
    let (_names, mut pointers) = c_strings(&[group]);
    let (queue, options) = (Queue::new(client), Options::new(client, Question::Groups, timeout));
    // SAFETY: the handles are alive, and librdkafka copies the name.
    unsafe {
        rd::rd_kafka_DescribeConsumerGroups(
            client.native_ptr(),
            pointers.as_mut_ptr(),
            pointers.len(),
            options.0.as_ptr(),
            queue.as_ptr(),
        );
    }
    let event = answer(&queue, timeout)?;
    // SAFETY: the event is alive, and all that is read here belongs to it.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.as_ptr());
        let mut count = 0;
        let described = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        if count == 0 {
            return Ok(Allowed::Unknown);
        }
        let (error, mut operations) = (rd::rd_kafka_ConsumerGroupDescription_error(*described), 0);
        let list = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(*described, &mut operations);
        Ok(allowed(error, list, operations))
    }
}

/// Hands what librdkafka has to say (log lines, errors of connections) to the client's context. An admin client has
/// nobody else who does.
pub(crate) fn serve_main_queue<C: ClientContext>(client: &Client<C>) {
    let queue = Queue::main(client);
    while let Some(event) = queue.poll(Duration::ZERO) {
        hand_on(client, &event);
    }
}

/// Hands what librdkafka has to say to the client's context.
pub(super) fn hand_on<C: ClientContext>(client: &Client<C>, event: &Event) {
    let event = event.as_ptr();
    // SAFETY: the event is alive, and the texts belong to it.
    unsafe {
        match rd::rd_kafka_event_type(event) {
            rd::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut text, mut level) = (std::ptr::null(), std::ptr::null(), 0);
                if rd::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) == 0 {
                    let level = log_level(level);
                    client.context().log(level, string(facility).trim(), string(text).trim());
                }
            }
            rd::RD_KAFKA_EVENT_ERROR => {
                let error = KafkaError::Global(rd::rd_kafka_event_error(event).into());
                client.context().error(error, string(rd::rd_kafka_event_error_string(event)).trim());
            }
            _ => {}
        }
    }
}

/// The answer to the one question that was asked on this queue.
fn answer(queue: &Queue, timeout: Duration) -> Result<Event, KafkaError> {
    // The request has the timeout itself; what is added lets its own error come.
    let event = queue.poll(timeout + Duration::from_secs(1));
    let event = event.ok_or(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut))?;
    event.error().map_err(KafkaError::AdminOp)?;
    Ok(event)
}

enum Question {
    Topics,
    Groups,
}

struct Options(NonNull<rd::rd_kafka_AdminOptions_t>);

impl Options {
    fn new<C: ClientContext>(client: &Client<C>, question: Question, timeout: Duration) -> Options {
        let operation = match question {
            Question::Topics => rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            Question::Groups => rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
        };
        // SAFETY: the handle is alive, and the options until they are dropped; without a buffer no text is written.
        unsafe {
            let options = rd::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
            let options = Options(NonNull::new(options).expect("both questions are known to librdkafka"));
            rd::rd_kafka_AdminOptions_set_request_timeout(options.0.as_ptr(), millis(timeout), std::ptr::null_mut(), 0);
            let error = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.0.as_ptr(), 1);
            if !error.is_null() {
                rd::rd_kafka_error_destroy(error);
            }
            options
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

/// # Safety
/// `error` is null or alive, and `list` is null or `count` operations long.
unsafe fn allowed(
    error: *const rd::rd_kafka_error_t,
    list: *const rd::rd_kafka_AclOperation_t,
    count: usize,
) -> Allowed {
    // SAFETY: as the caller promises; `rd_kafka_error_code` takes null for no error.
    let code = RDKafkaErrorCode::from(unsafe { rd::rd_kafka_error_code(error) });
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed => Allowed::Nothing,
        RDKafkaErrorCode::NoError if !list.is_null() => {
            // SAFETY: as the caller promises.
            Allowed::Operations(unsafe { std::slice::from_raw_parts(list, count) }.to_vec())
        }
        _ => Allowed::Unknown,
    }
}

/// C strings, and pointers to them that are valid as long as they are. A name with a zero byte, which no topic has,
/// becomes an empty one.
fn c_strings(names: &[&str]) -> (Vec<CString>, Vec<*const c_char>) {
    let names: Vec<CString> = names.iter().map(|&name| CString::new(name).unwrap_or_default()).collect();
    let pointers = names.iter().map(|name| name.as_ptr()).collect();
    (names, pointers)
}

/// # Safety
/// `text` is a C string.
pub(super) unsafe fn string(text: *const c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// By the numbers of syslog.
fn log_level(level: i32) -> RDKafkaLogLevel {
    match level {
        ..=3 => RDKafkaLogLevel::Error,
        4 => RDKafkaLogLevel::Warning,
        5..=6 => RDKafkaLogLevel::Info,
        _ => RDKafkaLogLevel::Debug,
    }
}
