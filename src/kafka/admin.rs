//! What the topics are like (do they exist, how many partitions, how large a record they take), and whether the
//! brokers let this client do what it has to.

mod create;
mod error;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::Quiet;
use super::consumer::TopicPartition;
use super::ffi::ask::{self, Isolation, TopicAnswer};
use super::settings::KafkaConfig;
use super::trouble::Trouble;
use crate::route::RouteConfig;

use error::principal;

pub use error::{AdminError, Operation, Resource};

/// Kafka's default for a topic's `max.message.bytes`.
const DEFAULT_MAX_MESSAGE_BYTES: usize = 1_048_588;

/// What a record batch of one record adds to the key, the value and the headers: 61 bytes for the batch, some varints
/// for the record, and librdkafka counts a record before it knows the final size.
const RECORD_OVERHEAD: usize = 512;

/// How long one question to the brokers may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The pause before a question is put again whose connection broke.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// How long librdkafka relies on what it knows of a topic's leaders. Its own default is 15 minutes, and for a topic that
/// was deleted and created again it would ask the wrong brokers for so long.
const LEADERS_AGE: Duration = Duration::from_secs(10);

/// The properties that give the client a certificate.
const CERTIFICATES: [&str; 3] = ["ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location"];

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The number of its partitions.
    pub partitions: i32,
    /// The largest batch of records it takes, in bytes.
    pub max_message_bytes: usize,
    /// What distinguishes it from another topic of the same name, before or after it. `None`: the brokers have no ids.
    pub id: Option<TopicId>,
    /// Whether it is compacted, and so refuses records without a key.
    pub is_compacted: bool,
    /// How many milliseconds before now a record's timestamp may be; `None`: any number of them, or unknown.
    pub timestamp_before_max_ms: Option<i64>,
    /// The same for a timestamp after now.
    pub timestamp_after_max_ms: Option<i64>,
}

/// The identity of a topic, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicId(pub u128);

/// The two fields of the metadata of weir's commits.
const TOPIC_FIELD: &str = "topic-id=";
const CLUSTER_FIELD: &str = " cluster-id=";

impl TopicId {
    /// The metadata of a commit for this topic of a cluster.
    pub(crate) fn commit_metadata(self, cluster_id: &str) -> String {
        format!("{TOPIC_FIELD}{:032x}{CLUSTER_FIELD}{cluster_id}", self.0)
    }

    /// Parses [`TopicId::commit_metadata`]. `None`: another program wrote the metadata, or they name another cluster, where
    /// the same topic has another id. Tools that mirror clusters copy commits with their metadata.
    pub(crate) fn from_commit_metadata(metadata: &[u8], cluster_id: &str) -> Option<TopicId> {
        let fields = std::str::from_utf8(metadata).ok()?.strip_prefix(TOPIC_FIELD)?;
        let (id, cluster) = fields.split_once(CLUSTER_FIELD)?;
        (cluster == cluster_id).then(|| u128::from_str_radix(id, 16).ok().map(TopicId))?
    }
}

/// What the brokers say about the topics that are needed: what those are like that can be described, and everything that
/// is wrong.
#[derive(Debug, Default)]
pub struct TopicSurvey {
    /// By name.
    pub topics: BTreeMap<String, Topic>,
    /// Those of them whose configuration is unknown.
    pub unconfigured: BTreeSet<String>,
    /// Topics that don't exist or can't be described, and rights that are missing.
    pub errors: Vec<AdminError>,
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
        Topic {
            partitions: 1,
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            id: None,
            is_compacted: false,
            timestamp_before_max_ms: None,
            timestamp_after_max_ms: None,
        }
    }
}

impl Topic {
    /// Whether it takes a record of this timestamp; both are in milliseconds since 1970. A topic refuses what is too long ago
    /// or too far ahead.
    pub(crate) fn takes_timestamp(&self, millis: i64, now_ms: i64) -> bool {
        self.timestamp_before_max_ms.is_none_or(|most| now_ms.saturating_sub(millis) < most)
            && self.timestamp_after_max_ms.is_none_or(|most| millis.saturating_sub(now_ms) < most)
    }

    /// This topic, with what its configuration says; where it says nothing, Kafka's defaults stay.
    fn configured<'v>(self, value: impl Fn(&str) -> Option<&'v str>) -> Topic {
        let number = |name: &str| value(name).and_then(|value| value.parse::<i64>().ok());
        // With the time of appending the broker writes timestamps itself, and looks at none.
        let is_checked = value("message.timestamp.type") != Some("LogAppendTime");
        let bound = |name: &str| number(name).filter(|&bound| is_checked && bound < i64::MAX);
        Topic {
            max_message_bytes: number("max.message.bytes")
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(self.max_message_bytes),
            is_compacted: value("cleanup.policy")
                .is_some_and(|policies| policies.split(',').any(|policy| policy.trim() == "compact")),
            timestamp_before_max_ms: bound("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: bound("message.timestamp.after.max.ms"),
            ..self
        }
    }

    /// This topic with the configuration of `other`.
    pub(crate) fn configured_as(self, other: &Topic) -> Topic {
        Topic { partitions: self.partitions, id: self.id, ..*other }
    }

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
    /// Topics of which only their description is needed.
    described: BTreeSet<String>,
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
    /// assertion. Whoever joins the group learns it anyway.
    pub fn of_topics(self) -> Needs {
        Needs { group: false, ..self }
    }

    /// That these topics can be described, and nothing else.
    pub fn to_describe(names: &[String]) -> Needs {
        Needs { described: names.iter().cloned().collect(), ..Needs::default() }
    }

    /// What has to be allowed on a topic.
    fn operations(&self, topic: &str) -> impl Iterator<Item = Operation> {
        let needed = [(Operation::Read, &self.inputs), (Operation::Write, &self.outputs)];
        needed.into_iter().filter(|(_, of)| of.contains(topic)).map(|(operation, _)| operation)
    }

    /// Every topic, once.
    pub fn topics(&self) -> Vec<String> {
        let all: BTreeSet<&String> = [&self.inputs, &self.outputs, &self.described].into_iter().flatten().collect();
        all.into_iter().cloned().collect()
    }
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
    isolation: Isolation,
    /// The topics whose configuration can't be read, as the log says already.
    unread: Mutex<BTreeSet<String>>,
}

impl Admin {
    /// Makes the client; nothing is sent yet.
    pub fn new(config: &KafkaConfig) -> Result<Admin, AdminError> {
        let mut properties = config.admin();
        properties.set("metadata.max.age.ms", LEADERS_AGE.as_millis().to_string());
        let client =
            properties.create_with_context(Quiet::default()).map_err(|source| AdminError::Client { source })?;
        let isolation = match config.property("isolation.level").as_deref() {
            Some("read_uncommitted") => Isolation::ReadUncommitted,
            _ => Isolation::ReadCommitted,
        };
        Ok(Admin {
            client,
            brokers: config.brokers.clone(),
            group: config.group_id.clone(),
            principal: principal(config),
            has_certificate: CERTIFICATES.iter().any(|name| config.property(name).is_some()),
            embedded: OnceLock::new(),
            isolation,
            unread: Mutex::default(),
        })
    }

    /// Describes the topics that are needed, and says which of them aren't there and which rights are missing: every
    /// mistake, not only the first. Blocks for up to 5 s a question.
    pub async fn look(&self, needs: &Needs) -> Result<BTreeMap<String, Topic>, Vec<AdminError>> {
        match self.survey(needs).await {
            Ok(TopicSurvey { topics, errors, .. }) if errors.is_empty() => Ok(topics),
            Ok(TopicSurvey { errors, .. }) => Err(errors),
            Err(error) => Err(vec![error]),
        }
    }

    /// Describes topics by name; every mistake is returned, not only the first. Blocks for up to 5 s a question.
    pub async fn describe(&self, names: &[String]) -> Result<BTreeMap<String, Topic>, Vec<AdminError>> {
        self.look(&Needs::to_describe(names)).await
    }

    /// Asks about all topics at once: one question for what they are like and what is allowed, one for their
    /// configurations. Fails when no broker answers. Blocks for up to 5 s a question.
    pub async fn survey(&self, needs: &Needs) -> Result<TopicSurvey, AdminError> {
        let topics = needs.topics();
        let mut survey = TopicSurvey::default();
        if !topics.is_empty() {
            let (broker, answers) = self.ask_patiently(&topics)?;
            for (name, answer) in topics.into_iter().zip(answers) {
                match read_answer(&name, &answer, needs.operations(&name), &self.principal) {
                    Ok(topic) => drop(survey.topics.insert(name, topic)),
                    Err(errors) => survey.errors.extend(errors),
                }
            }
            self.configure(&mut survey, needs, broker).await;
        }
        if needs.group && !self.is_embedded() {
            // A broker that can't say what is allowed will say so where it counts.
            let allowed = ask::allowed_on_group(self.client.inner(), &self.group, TIMEOUT);
            if allowed.is_ok_and(|allowed| allowed.denies(Operation::Read.native())) {
                let resource = Resource::Group(self.group.clone());
                survey.errors.push(denied(Operation::Read, resource, &self.principal));
            }
        }
        Ok(survey)
    }

    /// Asks, at once, where these partitions end for this client's consumers. No partition may be named twice; those
    /// whose end isn't known at the moment are left out. Blocks for up to 5 s.
    pub fn ends(&self, partitions: &[TopicPartition]) -> Result<HashMap<TopicPartition, i64>, KafkaError> {
        let ends = ask::ends(self.client.inner(), partitions, self.isolation, TIMEOUT);
        ask::serve_main_queue(self.client.inner());
        ends
    }

    /// Puts the question again as long as only a connection breaks: a broker that restarts is no outage.
    fn ask_patiently(&self, topics: &[String]) -> Result<(Option<i32>, Vec<TopicAnswer>), AdminError> {
        let asked = Instant::now();
        loop {
            let answer = self.ask(topics);
            ask::serve_main_queue(self.client.inner());
            match answer {
                Ok(answer) => {
                    self.client.inner().context().forget();
                    return Ok(answer);
                }
                Err(_) if asked.elapsed() < TIMEOUT => std::thread::sleep(RETRY_PAUSE),
                Err(_) => return Err(self.unreachable()),
            }
        }
    }

    fn ask(&self, topics: &[String]) -> Result<(Option<i32>, Vec<TopicAnswer>), KafkaError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        ask::describe_topics(self.client.inner(), &names, TIMEOUT)
    }

    /// Adds what the topics' configurations say. Where the brokers don't (no right to describe configurations, an
    /// embedded broker), Kafka's defaults stay.
    async fn configure(&self, survey: &mut TopicSurvey, needs: &Needs, broker: Option<i32>) {
        survey.unconfigured = survey.topics.keys().cloned().collect();
        if survey.topics.is_empty() || self.is_embedded() {
            return;
        }
        let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).broker_id(broker);
        let asked: Vec<_> = survey.topics.keys().map(|name| ResourceSpecifier::Topic(name)).collect();
        // The answers are in the order of the question.
        let answer = self.client.describe_configs(&asked, &options);
        let answers = match tokio::time::timeout(TIMEOUT * 2, answer).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return tracing::debug!(%error, "the topics' configurations can't be asked for"),
            Err(_) => return tracing::warn!("a question about the topics' configurations has no end; it is dropped"),
        };
        for ((name, topic), answer) in survey.topics.iter_mut().zip(answers) {
            match answer {
                Ok(resource) => {
                    *topic = topic.configured(|name| resource.get(name).and_then(|entry| entry.value.as_deref()));
                    survey.unconfigured.remove(name);
                }
                // What an input refuses concerns whoever produces to it.
                Err(code) if !needs.inputs.contains(name) || needs.outputs.contains(name) => {
                    self.log_unread(name, code);
                }
                Err(_) => {}
            }
        }
    }

    fn log_unread(&self, topic: &str, code: RDKafkaErrorCode) {
        if self.unread.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned()) {
            let principal = &self.principal;
            tracing::info!(
                topic, %code, principal,
                "the topic's configuration can't be read, Kafka's defaults are assumed: grant DESCRIBE_CONFIGS on it"
            );
        }
    }

    /// Whether this is librdkafka's mock cluster. It hangs up at a question that it doesn't know, each time, until the
    /// timeout.
    fn is_embedded(&self) -> bool {
        let ask = || self.client.inner().fetch_cluster_id(TIMEOUT).is_some_and(|id| id.starts_with("mockCluster"));
        *self.embedded.get_or_init(ask)
    }

    fn unreachable(&self) -> AdminError {
        let trouble = match self.client.inner().context().trouble() {
            Trouble::CertificateRefused if !self.has_certificate => Trouble::NoCertificate,
            trouble => trouble,
        };
        AdminError::Unreachable { brokers: self.brokers.clone(), trouble }
    }
}

/// What an answer about a topic means for a client that needs these operations on it.
fn read_answer(
    name: &str,
    answer: &TopicAnswer,
    operations: impl Iterator<Item = Operation>,
    principal: &str,
) -> Result<Topic, Vec<AdminError>> {
    let resource = || Resource::Topic(name.into());
    let denied: Vec<AdminError> = operations
        .filter(|operation| answer.allowed.denies(operation.native()))
        .map(|operation| denied(operation, resource(), principal))
        .collect();
    match answer.partitions {
        _ if !denied.is_empty() => Err(denied),
        Ok(partitions) if partitions > 0 => Ok(Topic { partitions, id: answer.id.map(TopicId), ..Topic::default() }),
        Ok(_) | Err(RDKafkaErrorCode::UnknownTopicOrPartition) => Err(vec![AdminError::NoTopic { topic: name.into() }]),
        Err(code) => Err(vec![AdminError::Topic { topic: name.into(), source: KafkaError::MetadataFetch(code) }]),
    }
}

fn denied(operation: Operation, resource: Resource, principal: &str) -> AdminError {
    AdminError::Denied { operation, resource, principal: principal.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::ffi::ask::Allowed;

    #[test]
    fn the_partition_follows_the_input_or_the_key() {
        let topic = |partitions| Topic { partitions, ..Topic::default() };
        assert_eq!(topic(4).partition_for(3, 4, Some(b"k")), Some(3), "same counts: same partition");
        assert_eq!(topic(6).partition_for(3, 4, Some(b"k")), None, "other counts: by key");
        assert_eq!(topic(2).partition_for(3, 4, None), Some(1), "no key: by the input's partition");
    }

    fn answer(partitions: Result<i32, RDKafkaErrorCode>, allowed: Allowed) -> TopicAnswer {
        TopicAnswer { partitions, id: Some(7), allowed }
    }

    #[test]
    fn an_answer_about_a_topic_is_what_it_is_like_or_everything_that_is_wrong() {
        use Operation::{Read, Write};
        let only = |operation: Operation| Allowed::Operations(vec![operation.native()]);
        let read = |answer: &TopicAnswer, needed: &[Operation]| {
            let read = read_answer("t", answer, needed.iter().copied(), "User:me");
            read.map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let described = Topic { partitions: 3, id: Some(TopicId(7)), ..Topic::default() };
        assert_eq!(read(&answer(Ok(3), only(Read)), &[Read]), Ok(described));
        assert_eq!(read(&answer(Ok(3), Allowed::Unknown), &[Read, Write]), Ok(described), "older brokers say nothing");
        assert_eq!(read(&answer(Ok(3), only(Write)), &[]), Ok(described));

        let no_write = read(&answer(Ok(3), only(Read)), &[Read, Write]).unwrap_err();
        assert!(no_write.starts_with("no WRITE on topic t: grant it") && no_write.contains("User:me"), "{no_write}");
        let hidden = answer(Err(RDKafkaErrorCode::TopicAuthorizationFailed), Allowed::Nothing);
        let both = read(&hidden, &[Read, Write]).unwrap_err();
        assert!(both.contains("no READ on topic t") && both.contains("no WRITE on topic t"), "{both}");
        assert!(read(&hidden, &[]).unwrap_err().contains("can't be described"));

        for gone in [Err(RDKafkaErrorCode::UnknownTopicOrPartition), Ok(0)] {
            let gone = read(&answer(gone, Allowed::Unknown), &[Read]).unwrap_err();
            assert_eq!(gone, "topic \"t\" doesn't exist: create it, or correct its name");
        }
    }

    #[test]
    fn a_configuration_says_what_a_topic_refuses() {
        let configured = |settings: &[(&str, &'static str)]| {
            let settings: BTreeMap<_, _> = settings.iter().copied().collect();
            Topic::default().configured(|name| settings.get(name).copied())
        };
        assert_eq!(configured(&[]), Topic::default(), "no answer: Kafka's defaults");
        for (policy, is_compacted) in
            [("delete", false), ("compact", true), ("compact,delete", true), ("delete, compact", true)]
        {
            assert_eq!(configured(&[("cleanup.policy", policy)]).is_compacted, is_compacted, "{policy}");
        }
        let bounds = [
            ("max.message.bytes", "100"),
            ("message.timestamp.before.max.ms", "9223372036854775807"),
            ("message.timestamp.after.max.ms", "3600000"),
        ];
        let topic = configured(&bounds);
        assert_eq!(topic.max_message_bytes, 100);
        assert_eq!((topic.timestamp_before_max_ms, topic.timestamp_after_max_ms), (None, Some(3_600_000)));
        let append = [&bounds[..], &[("message.timestamp.type", "LogAppendTime")]].concat();
        assert_eq!(configured(&append).timestamp_after_max_ms, None, "the broker writes the timestamps");
    }
}
