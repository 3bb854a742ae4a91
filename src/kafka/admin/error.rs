//! What brokers may not let a client do, and why they give no answer.

use std::fmt;

use rdkafka::bindings::rd_kafka_AclOperation_t;
use rdkafka::error::KafkaError;

use crate::kafka::settings::KafkaConfig;
use crate::kafka::trouble::Trouble;

/// Something that the brokers let a client do or not, in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Consume from a topic, or be a member of a group.
    Read,
    /// Produce to a topic, or run a transaction under an id.
    Write,
}

impl Operation {
    /// As `kafka-acls.sh` calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Read => "READ",
            Operation::Write => "WRITE",
        }
    }

    pub(super) fn native(self) -> rd_kafka_AclOperation_t {
        match self {
            Operation::Read => rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE,
        }
    }
}

/// What rights are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resource::Topic(name) => write!(f, "topic {name}"),
            Resource::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// Why the brokers gave no answer, or not the one that is needed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No broker answered.
    #[error("no answer from the brokers at {brokers}: {trouble}")]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// Why, as far as librdkafka said it.
        trouble: Trouble,
    },
    /// The client lacks a right.
    #[error(
        "no {} on {resource}: grant it, by kafka-acls.sh --add --allow-principal {principal} --operation {} --{resource}",
        operation.as_str(), operation.as_str()
    )]
    Denied {
        /// What it may not do.
        operation: Operation,
        /// With what.
        resource: Resource,
        /// Who it is.
        principal: String,
    },
    /// A topic isn't there.
    #[error("topic {topic:?} doesn't exist: create it, or correct its name")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// A topic can't be described.
    #[error("topic {topic:?} can't be described")]
    Topic {
        /// Its name.
        topic: String,
        /// What the broker says.
        source: KafkaError,
    },
    /// A topic can't be created.
    #[error("topic {topic:?} can't be created")]
    NotCreated {
        /// Its name.
        topic: String,
        /// What the broker says.
        source: KafkaError,
    },
    /// The client can't be made: a wrong property, a certificate that can't be read.
    #[error("no Kafka client with these properties")]
    Client {
        /// What librdkafka says.
        source: KafkaError,
    },
}

impl AdminError {
    /// The client may not be a member of its group.
    pub fn group_denied(config: &KafkaConfig) -> AdminError {
        let resource = Resource::Group(config.group_id.clone());
        AdminError::Denied { operation: Operation::Read, resource, principal: principal(config) }
    }
}

/// Who the brokers take the client for. Only for SASL does it know; of a certificate, they have rules that make the name.
pub(super) fn principal(config: &KafkaConfig) -> String {
    format!("User:{}", config.property("sasl.username").unwrap_or_else(|| "NAME".into()))
}
