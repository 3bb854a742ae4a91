//! Questions that rdkafka's admin client doesn't put: do topics exist, what may this client do, where do partitions end?
//! And what librdkafka says about its connections meanwhile, which rdkafka reads only for consumers and producers.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::queue::{Event, Queue, millis};
use crate::kafka::consumer::TopicPartition;

/// What the brokers answer about one topic.
pub(crate) struct TopicAnswer {
    /// The number of its partitions, or why it can't be described.
    pub(crate) partitions: Result<i32, RDKafkaErrorCode>,
    /// What distinguishes it from another topic that had or gets the same name.
    pub(crate) id: Option<u128>,
    /// What this client may do with it.
    pub(crate) allowed: Allowed,
}

/// Which records count for the end of a partition: the consumer's `isolation.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// All of them.
    ReadUncommitted,
    /// Those before the first open transaction.
    ReadCommitted,
}

/// What a client may do with one topic or group.
pub(crate) enum Allowed {
    /// These operations, by Kafka's own numbers.
    Operations(Vec<rd::rd_kafka_AclOperation_t>),
    /// The brokers don't even say whether it exists.
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

/// Asks for all of these topics at once; the answers are in their order. Returns the number of the broker that was asked,
/// too. Blocks for up to twice the timeout.
///
/// Any broker will do; but left to itself the question goes to the one that librdkafka takes for the controller, and waits
/// for it even if it is gone or not known yet. So it goes to the broker that answers a first one, or to one that it names
/// where it answers as a bootstrap server, which has no number.
pub(crate) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    timeout: Duration,
) -> Result<(Option<i32>, Vec<TopicAnswer>), KafkaError> {
    let metadata = client.fetch_metadata(topics.first().copied(), timeout)?;
    let answering = Some(metadata.orig_broker_id()).filter(|&broker| broker >= 0);
    let broker = answering.or_else(|| metadata.brokers().first().map(|broker| broker.id()));
    let (names, mut pointers) = c_strings(topics);
    let (queue, options) = (Queue::new(client), Options::new(client, Question::Topics { broker }, timeout));
    // SAFETY: the handles are alive, librdkafka copies the names, and the collection is destroyed once.
    unsafe {
        let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd::rd_kafka_DescribeTopics(client.native_ptr(), collection, options.0.as_ptr(), queue.as_ptr());
        rd::rd_kafka_TopicCollection_destroy(collection);
    }
    let event = answer(&queue, timeout)?;
    let unanswered = || TopicAnswer { partitions: Err(RDKafkaErrorCode::Fail), id: None, allowed: Allowed::Unknown };
    let mut answers: Vec<TopicAnswer> = names.iter().map(|_| unanswered()).collect();
    let places: HashMap<&CStr, usize> = names.iter().enumerate().map(|(at, name)| (name.as_c_str(), at)).collect();
    // SAFETY: the event is alive, and all that is read here belongs to it.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.as_ptr());
        let mut count = 0;
        let described = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        for at in 0..count {
            let topic = *described.add(at);
            if topic.is_null() {
                continue;
            }
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic));
            if let Some(&at) = places.get(name) {
                answers[at] = topic_answer(topic);
            }
        }
    }
    Ok((broker, answers))
}

/// Asks, at once, where these partitions end: the offset that the next record will have, or with
/// [`Isolation::ReadCommitted`] the first that isn't committed yet. No partition may be named twice. Those that have no
/// end at the moment, for instance since they have no leader, are left out.
pub(crate) fn ends<C: ClientContext>(
    client: &Client<C>,
    partitions: &[TopicPartition],
    isolation: Isolation,
    timeout: Duration,
) -> Result<HashMap<TopicPartition, i64>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for TopicPartition { topic, partition } in partitions {
        // Not by `add_partition_offset`, which looks through the list each time.
        list.add_partition(topic, *partition).set_offset(Offset::End)?;
    }
    let (queue, options) = (Queue::new(client), Options::new(client, Question::Ends(isolation), timeout));
    // SAFETY: the handles are alive, and librdkafka copies the list.
    unsafe { rd::rd_kafka_ListOffsets(client.native_ptr(), list.ptr(), options.0.as_ptr(), queue.as_ptr()) };
    let event = answer(&queue, timeout)?;
    let mut ends = HashMap::with_capacity(partitions.len());
    // SAFETY: the event is alive, and all that is read here belongs to it.
    unsafe {
        let result = rd::rd_kafka_event_ListOffsets_result(event.as_ptr());
        let mut count = 0;
        let found = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for at in 0..count {
            let found = &*rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*found.add(at));
            if RDKafkaErrorCode::from(found.err) == RDKafkaErrorCode::NoError && found.offset >= 0 {
                let partition = TopicPartition { topic: string(found.topic), partition: found.partition };
                ends.insert(partition, found.offset);
            }
        }
    }
    Ok(ends)
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
    Topics { broker: Option<i32> },
    Groups,
    Ends(Isolation),
}

struct Options(NonNull<rd::rd_kafka_AdminOptions_t>);

impl Options {
    fn new<C: ClientContext>(client: &Client<C>, question: Question, timeout: Duration) -> Options {
        let operation = match question {
            Question::Topics { .. } => rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            Question::Groups => rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS,
            Question::Ends(_) => rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS,
        };
        // SAFETY: the handle is alive, and the options until they are dropped; without a buffer no text is written.
        unsafe {
            let options = rd::rd_kafka_AdminOptions_new(client.native_ptr(), operation);
            let options = Options(NonNull::new(options).expect("all questions are known to librdkafka"));
            let pointer = options.0.as_ptr();
            rd::rd_kafka_AdminOptions_set_request_timeout(pointer, millis(timeout), std::ptr::null_mut(), 0);
            let error = match question {
                Question::Ends(isolation) => rd::rd_kafka_AdminOptions_set_isolation_level(pointer, isolation.native()),
                Question::Topics { .. } | Question::Groups => {
                    rd::rd_kafka_AdminOptions_set_include_authorized_operations(pointer, 1)
                }
            };
            if !error.is_null() {
                rd::rd_kafka_error_destroy(error);
            }
            if let Question::Topics { broker: Some(broker) } = question {
                rd::rd_kafka_AdminOptions_set_broker(pointer, broker, std::ptr::null_mut(), 0);
            }
            options
        }
    }
}

impl Isolation {
    fn native(self) -> rd::rd_kafka_IsolationLevel_t {
        match self {
            Isolation::ReadUncommitted => rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
            Isolation::ReadCommitted => rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
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
/// `topic` is alive.
unsafe fn topic_answer(topic: *const rd::rd_kafka_TopicDescription_t) -> TopicAnswer {
    // SAFETY: as the caller promises; what is read belongs to the topic.
    unsafe {
        let (error, mut operations, mut partitions) = (rd::rd_kafka_TopicDescription_error(topic), 0, 0);
        let list = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut operations);
        rd::rd_kafka_TopicDescription_partitions(topic, &mut partitions);
        let partitions = match RDKafkaErrorCode::from(rd::rd_kafka_error_code(error)) {
            RDKafkaErrorCode::NoError => Ok(i32::try_from(partitions).unwrap_or(i32::MAX)),
            code => Err(code),
        };
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let half = |bits: i64| u128::from(bits.cast_unsigned());
        let id = (!id.is_null()).then(|| {
            half(rd::rd_kafka_Uuid_most_significant_bits(id)) << 64 | half(rd::rd_kafka_Uuid_least_significant_bits(id))
        });
        // Brokers before Kafka 2.8 know no ids, and send zeros.
        let id = id.filter(|&id| id != 0);
        TopicAnswer { partitions, id, allowed: allowed(error, list, operations) }
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
