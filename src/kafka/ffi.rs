//! The calls that librdkafka has and rdkafka doesn't wrap. All the unsafe code of the Kafka side is here.
//! [`ask`] has the questions of an admin client.

pub(crate) mod ask;

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

/// Commits whose result can be awaited with a deadline.
///
/// rdkafka's `commit` reports nothing in its asynchronous form and waits without bound in the other. Here the result
/// comes to a queue of its own.
pub(crate) struct CommitQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; this one has a single owner.
unsafe impl Send for CommitQueue {}

impl CommitQueue {
    /// A queue for the results of one consumer. It must be dropped before that consumer.
    pub(crate) fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> CommitQueue {
        // SAFETY: the handle is alive, since `consumer` is borrowed.
        let queue = unsafe { rd::rd_kafka_queue_new(consumer.client().native_ptr()) };
        CommitQueue { queue: NonNull::new(queue).expect("librdkafka aborts rather than return no queue") }
    }

    /// Asks for a commit; the result comes through [`CommitQueue::poll`].
    pub(crate) fn start<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        offsets: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        // SAFETY: both handles are alive; librdkafka copies the list; without a callback the result is an event.
        let code = unsafe {
            rd::rd_kafka_commit_queue(
                consumer.client().native_ptr(),
                offsets.ptr(),
                self.queue.as_ptr(),
                None,
                std::ptr::null_mut(),
            )
        };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(KafkaError::ConsumerCommit(code)),
        }
    }

    /// The result of a commit that was started, if it arrives in time.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Result<(), KafkaError>> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is owned by us until destroyed below.
        let event = NonNull::new(unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), millis) })?;
        // SAFETY: the event is alive; the list belongs to it and is only read.
        let code = unsafe {
            let list = rd::rd_kafka_event_topic_partition_list(event.as_ptr());
            let mut code = rd::rd_kafka_event_error(event.as_ptr());
            if !list.is_null() && (*list).cnt > 0 {
                let elements = std::slice::from_raw_parts((*list).elems, (*list).cnt as usize);
                let failed = elements.iter().find(|e| RDKafkaErrorCode::from(e.err) != RDKafkaErrorCode::NoError);
                code = failed.map_or(code, |element| element.err);
            }
            rd::rd_kafka_event_destroy(event.as_ptr());
            code
        };
        Some(match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(KafkaError::ConsumerCommit(code)),
        })
    }
}

impl Drop for CommitQueue {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// The end of a partition as the last fetch saw it: the offset that the next record will have. No request is sent.
pub(crate) fn cached_high_watermark<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the handle is alive, and the pointers are to locals.
    let code = unsafe {
        rd::rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &mut low, &mut high)
    };
    (RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError && high >= 0).then_some(high)
}

/// Sets how long a new group of an embedded broker waits for further members; 3 s unless set.
pub(crate) fn set_mock_rebalance_delay(owner: &BaseProducer<DefaultProducerContext>, delay_ms: i32) {
    // SAFETY: the handle is alive; the cluster, if there is one, lives as long as it.
    unsafe {
        let cluster = rd::rd_kafka_handle_mock_cluster(owner.client().native_ptr());
        if !cluster.is_null() {
            rd::rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, delay_ms);
        }
    }
}

/// A message's headers, if it has any.
fn headers(message: &BorrowedMessage<'_>) -> Option<NonNull<rd::rd_kafka_headers_t>> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the message is alive, and the pointer is to a local.
    let code = unsafe { rd::rd_kafka_message_headers(message.ptr(), &mut headers) };
    if RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError { NonNull::new(headers) } else { None }
}

/// The value of a record's last header of this name.
pub(crate) fn last_header(message: &BorrowedMessage<'_>, name: &str) -> Option<Vec<u8>> {
    let (headers, name) = (headers(message)?, CString::new(name).ok()?);
    let (mut value, mut length) = (std::ptr::null(), 0);
    // SAFETY: the headers live as long as the message, and the value, copied here, as long as they; a header without
    // a value has a null pointer.
    unsafe {
        let code = rd::rd_kafka_header_get_last(headers.as_ptr(), name.as_ptr(), &mut value, &mut length);
        let found = RDKafkaErrorCode::from(code) == RDKafkaErrorCode::NoError && !value.is_null();
        found.then(|| std::slice::from_raw_parts(value.cast(), length).to_vec())
    }
}

/// Takes all headers of these names from a record.
pub(crate) fn remove_headers(message: &mut BorrowedMessage<'_>, names: &[&str]) {
    let Some(headers) = headers(message) else { return };
    for name in names.iter().filter_map(|&name| CString::new(name).ok()) {
        // SAFETY: the headers live as long as the message, which nobody else uses meanwhile; a name that isn't there is
        // reported, and that's fine.
        unsafe { rd::rd_kafka_header_remove(headers.as_ptr(), name.as_ptr()) };
    }
}

/// What a header takes beside its name and value: librdkafka counts two lengths of up to 5 bytes.
const HEADER_OVERHEAD: usize = 10;

/// The most bytes that a record's headers take.
pub(crate) fn header_bytes(message: &BorrowedMessage<'_>) -> usize {
    let Some(headers) = headers(message) else { return 0 };
    // SAFETY: the headers live as long as the message and are only read; a name is a C string.
    unsafe {
        let mut bytes = 0;
        for at in 0.. {
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            let code = rd::rd_kafka_header_get_all(headers.as_ptr(), at, &mut name, &mut value, &mut length);
            if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
                break;
            }
            bytes += CStr::from_ptr(name).count_bytes() + length + HEADER_OVERHEAD;
        }
        bytes
    }
}
