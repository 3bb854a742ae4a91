//! What comes through the queue of a consumer's group: rebalances, errors, log lines.
//!
//! rdkafka takes one event per poll, says nothing of whether there are more, and loses the partition that an error is
//! about.

use std::ffi::CStr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::ask::{hand_on, string};
use super::queue::{Event, Queue};
use crate::kafka::position::TopicPartition;

/// What came through a group's queue and isn't only for the log.
#[derive(Debug)]
pub(crate) enum GroupOp {
    /// A rebalance: these partitions come.
    Assign(Vec<TopicPartition>),
    /// A rebalance: these partitions go.
    Revoke(Vec<TopicPartition>),
    /// A record whose partition isn't forwarded to a fetch queue.
    Stray(TopicPartition, i64),
    /// An error; of this partition, if it is about one. A partition of -1 stands for the whole topic.
    Error(KafkaError, Option<TopicPartition>),
    /// Nothing that the group's member has to do something about.
    Nothing,
}

/// The queue of a consumer's group. To be dropped before the consumer.
pub(crate) struct GroupQueue(Queue);

impl GroupQueue {
    /// The queue of this consumer's group; it unparks the calling thread.
    pub(crate) fn new<C: ClientContext>(client: &Client<C>) -> GroupQueue {
        GroupQueue(Queue::group(client).waking(std::thread::current()))
    }

    /// The next event, if there is one. Log lines and errors go to the client's context as well.
    pub(crate) fn next<C: ClientContext>(&self, client: &Client<C>) -> Option<GroupOp> {
        let event = self.0.poll(Duration::ZERO)?;
        hand_on(client, &event);
        // SAFETY: the event is alive.
        Some(match unsafe { rd::rd_kafka_event_type(event.as_ptr()) } {
            rd::RD_KAFKA_EVENT_REBALANCE => rebalance(&event),
            rd::RD_KAFKA_EVENT_FETCH => stray(&event),
            rd::RD_KAFKA_EVENT_ERROR => error(&event),
            _ => GroupOp::Nothing,
        })
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn rebalance(event: &Event) -> GroupOp {
    // SAFETY: the event is alive; the list and the names belong to it and are only read.
    let partitions = unsafe {
        match rd::rd_kafka_event_topic_partition_list(event.as_ptr()).as_ref() {
            Some(list) if list.cnt > 0 => std::slice::from_raw_parts(list.elems, list.cnt as usize)
                .iter()
                .map(|element| TopicPartition { topic: string(element.topic), partition: element.partition })
                .collect(),
            _ => Vec::new(),
        }
    };
    match event.error() {
        Err(RDKafkaErrorCode::AssignPartitions) => GroupOp::Assign(partitions),
        _ => GroupOp::Revoke(partitions),
    }
}

fn stray(event: &Event) -> GroupOp {
    // SAFETY: the event is alive, and the message belongs to it; a record has its topic.
    unsafe {
        let Some(message) = rd::rd_kafka_event_message_next(event.as_ptr()).as_ref() else { return GroupOp::Nothing };
        let topic = string(rd::rd_kafka_topic_name(message.rkt));
        GroupOp::Stray(TopicPartition { topic, partition: message.partition }, message.offset)
    }
}

fn error(event: &Event) -> GroupOp {
    let Err(code) = event.error() else { return GroupOp::Nothing };
    // SAFETY: the event is alive, and the text belongs to it; the partition is destroyed once.
    unsafe {
        if rd::rd_kafka_event_error_is_fatal(event.as_ptr()) != 0 {
            return GroupOp::Error(KafkaError::MessageConsumptionFatal(code), None);
        }
        let found = rd::rd_kafka_event_topic_partition(event.as_ptr());
        let partition = match found.as_ref() {
            Some(element) => {
                let partition = TopicPartition { topic: string(element.topic), partition: element.partition };
                rd::rd_kafka_topic_partition_destroy(found);
                Some(partition)
            }
            None => {
                let text = CStr::from_ptr(rd::rd_kafka_event_error_string(event.as_ptr()));
                subscribed_topic(&text.to_string_lossy())
            }
        };
        GroupOp::Error(KafkaError::MessageConsumption(code), partition)
    }
}

/// The topic of an error that is about a topic as a whole: librdkafka names it only in the text.
fn subscribed_topic(text: &str) -> Option<TopicPartition> {
    let (topic, _) = text.strip_prefix("Subscribed topic not available: ")?.split_once(':')?;
    Some(TopicPartition { topic: topic.into(), partition: -1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_of_an_error_is_in_its_text() {
        // The form is librdkafka's, in rd_kafka_propagate_consumer_topic_errors.
        let text = "Subscribed topic not available: a.topic: Broker: Unknown topic or partition";
        assert_eq!(subscribed_topic(text), Some(TopicPartition { topic: "a.topic".into(), partition: -1 }));
        assert_eq!(subscribed_topic("JoinGroup failed: Broker: Coordinator load in progress"), None);
    }
}
