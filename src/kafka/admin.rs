//! What the topics are like: do they exist, how many partitions, how large a record they take.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::Quiet;
use super::settings::KafkaConfig;

/// Kafka's default for a topic's `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// What a record batch of one record adds to the key, the value and the headers: 61 bytes for the batch, some varints
/// for the record, and librdkafka counts a record before it knows the final size.
const RECORD_OVERHEAD: usize = 512;

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The number of its partitions.
    pub partitions: i32,
    /// The largest batch of records it takes, in bytes.
    pub max_message_bytes: usize,
}

/// How large the records may be that a producer sends to several topics.
#[derive(Clone, Debug)]
pub struct OutputLimits {
    smallest: usize,
    largest: usize,
}

impl Default for OutputLimits {
    fn default() -> OutputLimits {
        OutputLimits { smallest: DEFAULT_MAX_MESSAGE_BYTES, largest: DEFAULT_MAX_MESSAGE_BYTES }
    }
}

impl OutputLimits {
    /// The limits over all topics of a producer.
    pub fn over<'a>(topics: impl IntoIterator<Item = &'a Topic>) -> OutputLimits {
        let sizes: Vec<usize> = topics.into_iter().map(|topic| topic.max_message_bytes).collect();
        match (sizes.iter().min(), sizes.iter().max()) {
            (Some(&smallest), Some(&largest)) => OutputLimits { smallest, largest },
            _ => OutputLimits::default(),
        }
    }

    /// librdkafka's limit for one record, within the range that it accepts.
    pub(crate) fn message_max_bytes(&self) -> usize {
        self.largest.clamp(1_000, 1_000_000_000)
    }

    /// librdkafka's limit for a batch: its default, or less where a topic takes less.
    pub(crate) fn batch_size(&self) -> usize {
        self.smallest.saturating_sub(RECORD_OVERHEAD).clamp(1, 1_000_000)
    }
}

impl Default for Topic {
    fn default() -> Topic {
        Topic { partitions: 1, max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES }
    }
}

impl Topic {
    /// The most bytes that key, value and headers of one record may have together.
    pub fn record_bytes(&self) -> usize {
        self.max_message_bytes.saturating_sub(RECORD_OVERHEAD)
    }
}

/// Why the brokers gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No broker answered.
    #[error("no answer from the brokers at {brokers} ({last_words})")]
    Unreachable {
        /// The bootstrap servers.
        brokers: String,
        /// What librdkafka said last.
        last_words: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
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
    /// The client can't be made: a wrong property, a certificate that can't be read.
    #[error("no Kafka client with these properties")]
    Client {
        /// What librdkafka says.
        source: KafkaError,
    },
}

/// A client that asks the brokers about topics.
pub struct Admin {
    client: AdminClient<Quiet>,
    brokers: String,
}

impl Admin {
    /// Makes the client; nothing is sent yet.
    pub fn new(config: &KafkaConfig) -> Result<Admin, AdminError> {
        let client =
            config.admin().create_with_context(Quiet::default()).map_err(|source| AdminError::Client { source })?;
        Ok(Admin { client, brokers: config.brokers.clone() })
    }

    /// The number of partitions of a topic. Blocks for up to 5 s.
    pub fn partitions(&self, topic: &str) -> Result<i32, AdminError> {
        let metadata =
            self.client.inner().fetch_metadata(Some(topic), TIMEOUT).map_err(|source| self.unreachable(source))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(AdminError::NoTopic { topic: topic.into() });
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None if !found.partitions().is_empty() => Ok(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
            None | Some(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(AdminError::NoTopic { topic: topic.into() }),
            Some(code) => Err(AdminError::Topic { topic: topic.into(), source: KafkaError::MetadataFetch(code) }),
        }
    }

    /// Describes topics by name; every mistake is returned, not only the first. Blocks for up to 5 s a question.
    pub async fn describe(&self, names: &[String]) -> Result<BTreeMap<String, Topic>, Vec<AdminError>> {
        let (mut topics, mut errors) = (BTreeMap::new(), Vec::new());
        for name in names {
            match self.partitions(name) {
                Ok(partitions) => {
                    topics.insert(
                        name.clone(),
                        Topic { partitions, max_message_bytes: self.max_message_bytes(name).await },
                    );
                }
                Err(error @ AdminError::Unreachable { .. }) => return Err(vec![error]),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(topics) } else { Err(errors) }
    }

    /// A topic's size limit; Kafka's default where the broker won't say (no right to describe, an embedded broker).
    async fn max_message_bytes(&self, topic: &str) -> usize {
        // The embedded broker doesn't know the question and hangs up, each time, until the timeout.
        let cluster = self.client.inner().fetch_cluster_id(TIMEOUT);
        if cluster.is_some_and(|id| id.starts_with("mockCluster")) {
            return DEFAULT_MAX_MESSAGE_BYTES;
        }
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
        let asked = [ResourceSpecifier::Topic(topic)];
        let answer = match self.client.describe_configs(&asked, &options).await {
            Ok(mut resources) => resources.pop().unwrap_or(Err(RDKafkaErrorCode::Fail)),
            Err(error) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        let known = match &answer {
            Ok(resource) => resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse().ok()),
            Err(code) => {
                tracing::debug!(topic, %code, "the topic's max.message.bytes is unknown, assuming Kafka's default");
                None
            }
        };
        known.unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
    }

    fn unreachable(&self, source: KafkaError) -> AdminError {
        let last_words = self.client.inner().context().last_words();
        AdminError::Unreachable { brokers: self.brokers.clone(), last_words, source: Box::new(source) }
    }
}
