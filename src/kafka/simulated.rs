//! Errors of librdkafka for the simulator of the worker loop.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::KafkaError;
use super::producer::TransactionError;

/// What can go wrong in a simulated world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Denied,
    Unreadable,
    Refused,
    RefusedMate,
    Purged,
    PurgedInFlight,
    QueueFull,
    WrongState,
    Rebalancing,
    Busy,
    UnknownTopic,
    FencedInstance,
}

/// The error that librdkafka gives for it.
pub(crate) fn fault(fault: Fault) -> KafkaError {
    KafkaError::MessageProduction(match fault {
        Fault::Denied => Code::TopicAuthorizationFailed,
        Fault::Unreadable => Code::BadMessage,
        Fault::Refused => Code::InvalidRecord,
        Fault::RefusedMate => Code::InvalidDifferentRecord,
        Fault::Purged => Code::PurgeQueue,
        Fault::PurgedInFlight => Code::PurgeInflight,
        Fault::QueueFull => Code::QueueFull,
        Fault::WrongState => Code::State,
        Fault::Rebalancing => Code::RebalanceInProgress,
        Fault::Busy => Code::Outdated,
        Fault::UnknownTopic => Code::UnknownTopicOrPartition,
        Fault::FencedInstance => Code::FencedInstanceId,
    })
}

/// Another producer, or the brokers, have ended this producer's transactions.
pub(crate) fn fenced() -> TransactionError {
    TransactionError::Fenced { id: String::new(), source: fault(Fault::WrongState) }
}

/// The coordinator hasn't answered.
pub(crate) fn retriable() -> TransactionError {
    TransactionError::Retriable(fault(Fault::Busy))
}
