//! The calls that librdkafka has and rdkafka doesn't wrap, or wraps at a price that each record would pay. All the unsafe
//! code of the Kafka side is here.
//!
//! - `queue`: librdkafka's queues, and the events that come through them
//! - [`fetch`], [`record`]: records as they were fetched, many at a time, and one of them
//! - [`group`]: what comes through the queue of a consumer's group
//! - [`positions`]: offsets with leader epochs
//! - [`headers`], [`produce`]: records out, delivery reports in
//! - [`ask`]: the questions of an admin client
//!
//! What they all rest on: a handle is destroyed once, by the value that owns it; what belongs to a client goes before it,
//! which its owner sees to by the order of its fields, or a borrow; a pointer into a message or an event isn't kept longer
//! than that.

pub(crate) mod ask;
pub(crate) mod fetch;
pub(crate) mod group;
pub(crate) mod headers;
pub(crate) mod positions;
pub(crate) mod produce;
mod queue;
pub(crate) mod record;

use std::ffi::CString;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, DefaultProducerContext, Producer};

use super::position::TopicPartition;
use queue::Queue;

/// Commits whose result can be awaited with a deadline.
///
/// rdkafka's `commit` reports nothing in its asynchronous form and waits without bound in the other. Here the result
/// comes to a queue of its own.
pub(crate) struct CommitQueue(Queue);

impl CommitQueue {
    /// A queue for the results of one consumer; it unparks the calling thread. It must be dropped before that consumer.
    pub(crate) fn new<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> CommitQueue {
        CommitQueue(Queue::new(consumer.client()).waking(std::thread::current()))
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
                self.0.as_ptr(),
                None,
                std::ptr::null_mut(),
            )
        };
        match RDKafkaErrorCode::from(code) {
            RDKafkaErrorCode::NoError => Ok(()),
            code => Err(KafkaError::ConsumerCommit(code)),
        }
    }

    /// The result of a commit that was started, if it arrives in time: the partitions whose offsets the group refuses, or an
    /// error if it has taken none.
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        let event = self.0.poll(timeout)?;
        // SAFETY: the event is alive; the list belongs to it and is only read.
        let (refused, asked) = unsafe {
            let list = rd::rd_kafka_event_topic_partition_list(event.as_ptr());
            let elements = match list.as_ref() {
                Some(list) if list.cnt > 0 => std::slice::from_raw_parts(list.elems, list.cnt as usize),
                _ => &[],
            };
            let refused = elements.iter().filter_map(|element| {
                let code = RDKafkaErrorCode::from(element.err);
                let partition = || TopicPartition { topic: ask::string(element.topic), partition: element.partition };
                (code != RDKafkaErrorCode::NoError).then(|| (partition(), KafkaError::ConsumerCommit(code)))
            });
            (refused.collect::<Vec<_>>(), elements.len())
        };
        if asked > refused.len() {
            return Some(Ok(refused));
        }
        Some(match refused.into_iter().next() {
            Some((_, error)) => Err(error),
            None => event.error().map(|()| Vec::new()).map_err(KafkaError::ConsumerCommit),
        })
    }
}

/// The generation of the group that a consumer last joined, unless the coordinator has said that it is over. Asks librdkafka's
/// main thread, which answers at once.
pub(crate) fn group_generation<C: ClientContext>(client: &Client<C>) -> Option<i32> {
    // SAFETY: the handle is alive; what it returns is destroyed once.
    unsafe {
        let metadata = rd::rd_kafka_consumer_group_metadata(client.native_ptr());
        if metadata.is_null() {
            return None;
        }
        // With the classic protocol a generation that is over leaves -1. With the new protocol the generation is the member's
        // epoch: 0 until the coordinator has taken it in.
        let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata);
        rd::rd_kafka_consumer_group_metadata_destroy(metadata);
        (generation > 0).then_some(generation)
    }
}

/// The id of the cluster, if the client learns it within `timeout`. rdkafka's own call leaks the text.
pub(crate) fn cluster_id<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Option<String> {
    // SAFETY: the handle is alive; the text is copied, and then freed once by the library that made it.
    unsafe {
        let id = rd::rd_kafka_clusterid(client.native_ptr(), queue::millis(timeout));
        if id.is_null() {
            return None;
        }
        let text = ask::string(id);
        rd::rd_kafka_mem_free(client.native_ptr(), id.cast());
        Some(text)
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
