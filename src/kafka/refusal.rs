//! What a failed delivery is about: it decides who has to do something about it.

use rdkafka::types::RDKafkaErrorCode as Code;

use super::KafkaError;

/// What a failed delivery is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryFailure {
    /// The record, or another one of its batch: the topic doesn't take it, whenever it is sent.
    Record,
    /// Only another record of its batch: this one may be sent again.
    BatchMate,
    /// The topic: it is gone, or the client may not write to it. Any record would fail until that changes.
    Topic,
    /// Nobody: the record was dropped on purpose, before it was sent and before its transaction is aborted.
    Purged,
    /// The same after it was sent: the brokers may still receive it.
    PurgedInFlight,
    /// The transaction that the record belongs to is over.
    Transaction,
    /// The producer. It can't go on.
    Client,
}

impl DeliveryFailure {
    /// What this error of a delivery is about.
    pub fn of(error: &KafkaError) -> DeliveryFailure {
        match error.rdkafka_error_code() {
            Some(
                Code::InvalidRecord
                | Code::InvalidTimestamp
                | Code::InvalidMessage
                | Code::InvalidMessageSize
                | Code::MessageSizeTooLarge
                | Code::PolicyViolation,
            ) => DeliveryFailure::Record,
            Some(Code::InvalidDifferentRecord) => DeliveryFailure::BatchMate,
            Some(
                Code::TopicAuthorizationFailed
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::UnknownTopicId
                | Code::UnknownPartition
                | Code::InvalidTopic
                | Code::UnsupportedForMessageFormat
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend,
            ) => DeliveryFailure::Topic,
            Some(Code::PurgeQueue) => DeliveryFailure::Purged,
            Some(Code::PurgeInflight) => DeliveryFailure::PurgedInFlight,
            Some(
                Code::Fatal
                | Code::InvalidProducerEpoch
                | Code::InvalidProducerIdMapping
                | Code::InvalidTransactionalState
                | Code::UnknownProducerId
                | Code::OutOfOrderSequenceNumber
                | Code::Inconsistent,
            ) => DeliveryFailure::Transaction,
            _ => DeliveryFailure::Client,
        }
    }
}

/// Whether data of a partition could not be read, and librdkafka goes on after it.
pub(crate) fn is_unreadable(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BadMessage
                | Code::BadCompression
                | Code::Underflow
                | Code::InvalidMessage
                | Code::NotImplemented
                | Code::UnsupportedCompressionType
                | Code::AutoOffsetReset
        )
    )
}
