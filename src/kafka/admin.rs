//! What the topics are like (do they exist, how many partitions, how large a record they take), and whether the
//! brokers let this client do what it has to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::bindings::rd_kafka_AclOperation_t;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::Quiet;
use super::ffi::ask;
use super::settings::KafkaConfig;
use super::trouble::Trouble;
use crate::route::RouteConfig;

/// Kafka's default for a topic's `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// What a record batch of one record adds to the key, the value and the headers: 61 bytes for the batch, some varints
/// for the record, and librdkafka counts a record before it knows the final size.
const RECORD_OVERHEAD: usize = 512;

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The properties that give the client a certificate.
const CERTIFICATES: [&str; 3] = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];

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

    /// Where a record goes that was made of one out of `partition` of a topic with `input_partitions`; `None`: by key.
    ///
    /// The same partition where the counts match, so that the order of a partition is kept; else by key, as Java
    /// clients do it; a record without a key follows its input partition.
    pub fn partition_for(&self, partition: i32, input_partitions: i32, key: Option<&[u8]>) -> Option<i32> {
        if self.partitions == input_partitions {
            Some(partition)
        } else if key.is_some() {
            None
        } else {
            Some(partition % self.partitions)
        }
    }
}

/// What routes need of the brokers: topics to read from, topics to write to, and membership in the group.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    inputs: BTreeSet<String>,
    outputs: BTreeSet<String>,
    group: bool,
}

impl Needs {
    /// What these routes need.
    pub fn of<'a>(routes: impl IntoIterator<Item = &'a RouteConfig>) -> Needs {
        let mut needs = Needs::default();
        for route in routes {
            needs.inputs.extend(route.input.topics.iter().cloned());
            needs.outputs.extend(route.outputs().into_iter().cloned());
            needs.group = true;
        }
        needs
    }

    /// Only what they need of the topics, for a process that is to live. When a group's coordinator goes away while
    /// librdkafka 2.12 asks it what is allowed, it may destroy that question twice, and ends the process by an
    /// assertion. Whoever joins the group is told anyway.
    pub fn of_topics(self) -> Needs {
        Needs { group: false, ..self }
    }

    /// Every topic, once.
    pub fn topics(&self) -> Vec<String> {
        self.inputs.union(&self.outputs).cloned().collect()
    }
}

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

    fn native(self) -> rd_kafka_AclOperation_t {
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
fn principal(config: &KafkaConfig) -> String {
    format!("User:{}", config.property("sasl.username").unwrap_or_else(|| "NAME".into()))
}

/// A client that asks the brokers about topics.
pub struct Admin {
    client: AdminClient<Quiet>,
    brokers: String,
    group: String,
    principal: String,
    has_certificate: bool,
    /// Asked once: it doesn't change.
    embedded: OnceLock<bool>,
}

impl Admin {
    /// Makes the client; nothing is sent yet.
    pub fn new(config: &KafkaConfig) -> Result<Admin, AdminError> {
        let client =
            config.admin().create_with_context(Quiet::default()).map_err(|source| AdminError::Client { source })?;
        Ok(Admin {
            client,
            brokers: config.brokers.clone(),
            group: config.group_id.clone(),
            principal: principal(config),
            has_certificate: CERTIFICATES.iter().any(|name| config.property(name).is_some()),
            embedded: OnceLock::new(),
        })
    }

    /// Describes the topics that are needed, and says which of them aren't there and which rights are missing: every
    /// mistake, not only the first. Blocks for up to 5 s a question.
    pub async fn look(&self, needs: &Needs) -> Result<BTreeMap<String, Topic>, Vec<AdminError>> {
        let mut errors = self.missing_rights(needs);
        if matches!(errors.as_slice(), [AdminError::Unreachable { .. }]) {
            return Err(errors);
        }
        // A topic that may not be seen would be told of twice.
        let mut rest = needs.topics();
        rest.retain(|name| {
            let is_about = |error: &AdminError| match error {
                AdminError::Denied { resource: Resource::Topic(topic), .. } => topic == name,
                _ => false,
            };
            !errors.iter().any(is_about)
        });
        match self.describe(&rest).await {
            Ok(topics) if errors.is_empty() => Ok(topics),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.extend(more);
                Err(errors)
            }
        }
    }

    /// The rights that the client lacks, as far as the brokers tell; or that they can't be reached. Blocks for up to
    /// 5 s a question.
    pub fn missing_rights(&self, needs: &Needs) -> Vec<AdminError> {
        match self.ask_rights(needs) {
            Ok(missing) => missing
                .into_iter()
                .map(|(operation, resource)| AdminError::Denied {
                    operation,
                    resource,
                    principal: self.principal.clone(),
                })
                .collect(),
            Err(error) => vec![error],
        }
    }

    fn ask_rights(&self, needs: &Needs) -> Result<Vec<(Operation, Resource)>, AdminError> {
        let client = self.client.inner();
        let topics = needs.topics();
        if let Some(first) = topics.first()
            && let Err(error @ AdminError::Unreachable { .. }) = self.partitions(first)
        {
            return Err(error);
        }
        let mut missing = Vec::new();
        if self.is_embedded() {
            return Ok(missing);
        }
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        // A broker that can't say what is allowed will say so where it counts.
        let allowed = ask::allowed_on_topics(client, &names, TIMEOUT).unwrap_or_default();
        for (topic, allowed) in topics.into_iter().zip(allowed) {
            let needed = [(Operation::Read, &needs.inputs), (Operation::Write, &needs.outputs)];
            let denied =
                needed.iter().filter(|(operation, of)| of.contains(&topic) && allowed.denies(operation.native()));
            missing.extend(denied.map(|&(operation, _)| (operation, Resource::Topic(topic.clone()))));
        }
        if needs.group {
            let allowed = ask::allowed_on_group(client, &self.group, TIMEOUT).unwrap_or(ask::Allowed::Unknown);
            if allowed.denies(Operation::Read.native()) {
                missing.push((Operation::Read, Resource::Group(self.group.clone())));
            }
        }
        Ok(missing)
    }

    /// Whether this is librdkafka's mock cluster. It hangs up at a question that it doesn't know, each time, until the
    /// timeout.
    fn is_embedded(&self) -> bool {
        let ask = || self.client.inner().fetch_cluster_id(TIMEOUT).is_some_and(|id| id.starts_with("mockCluster"));
        *self.embedded.get_or_init(ask)
    }

    /// The number of partitions of a topic. Blocks for up to 5 s.
    pub fn partitions(&self, topic: &str) -> Result<i32, AdminError> {
        let answer = self.client.inner().fetch_metadata(Some(topic), TIMEOUT);
        ask::serve_main_queue(self.client.inner());
        let metadata = answer.map_err(|_| self.unreachable())?;
        self.client.inner().context().forget();
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
        if self.is_embedded() {
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

    fn unreachable(&self) -> AdminError {
        let trouble = match self.client.inner().context().trouble() {
            Trouble::CertificateRefused if !self.has_certificate => Trouble::NoCertificate,
            trouble => trouble,
        };
        AdminError::Unreachable { brokers: self.brokers.clone(), trouble }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_follows_the_input_or_the_key() {
        let topic = |partitions| Topic { partitions, ..Topic::default() };
        assert_eq!(topic(4).partition_for(3, 4, Some(b"k")), Some(3), "same counts: same partition");
        assert_eq!(topic(6).partition_for(3, 4, Some(b"k")), None, "other counts: by key");
        assert_eq!(topic(2).partition_for(3, 4, None), Some(1), "no key: by the input's partition");
    }
}
