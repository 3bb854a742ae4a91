//! The `[kafka]` section, and the client settings that weir owns.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use serde::Deserialize;

use super::admin::OutputLimits;

/// The `[kafka]` section.
#[derive(Clone, Debug, Deserialize)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port` separated by commas.
    pub brokers: String,
    /// The consumer group.
    pub group_id: String,
    /// How the clients call themselves.
    pub client_id: String,
    /// Any librdkafka property, passed through.
    #[serde(default)]
    pub properties: BTreeMap<String, Property>,
}

/// The value of a librdkafka property. librdkafka reads text; TOML may also say a number, a boolean, or
/// `{ file = PATH }`: the value is what that file holds, as secrets are mounted.
#[derive(Clone, Deserialize)]
#[serde(try_from = "WrittenValue")]
pub enum Property {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}

/// A property as it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a number, a boolean or { file = PATH }")]
enum WrittenValue {
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    Table(BTreeMap<String, String>),
}

impl TryFrom<WrittenValue> for Property {
    type Error = String;

    fn try_from(written: WrittenValue) -> Result<Property, String> {
        Ok(match written {
            WrittenValue::Boolean(value) => Property::Boolean(value),
            WrittenValue::Integer(value) => Property::Integer(value),
            WrittenValue::Float(value) => Property::Float(value),
            WrittenValue::Text(value) => Property::Text(value),
            WrittenValue::Table(table) => {
                let [("file", path)] = *table.iter().map(|(key, path)| (key.as_str(), path)).collect::<Vec<_>>() else {
                    return Err("a value, or { file = PATH } to read it from a file, is expected".into());
                };
                let text = std::fs::read_to_string(path).map_err(|error| format!("can't read {path}: {error}"))?;
                // An editor or `echo` leaves a line break, which is no part of a password.
                Property::Text(text.trim_end_matches(['\r', '\n']).to_owned())
            }
        })
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Property::Boolean(value) => value.fmt(f),
            Property::Integer(value) => value.fmt(f),
            Property::Float(value) => value.fmt(f),
            Property::Text(value) => value.fmt(f),
        }
    }
}

/// Passwords travel as properties: they must not reach a log by way of `{:?}`.
impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The properties that a promise of weir rests on, and what to use instead.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "kafka.brokers says it"),
    ("metadata.broker.list", "kafka.brokers says it"),
    ("group.id", "kafka.group_id says it"),
    ("client.id", "kafka.client_id says it"),
    ("enable.auto.commit", "weir commits what the brokers have acknowledged"),
    ("enable.auto.offset.store", "weir commits what the brokers have acknowledged"),
    ("enable.idempotence", "weir's producer is always idempotent"),
    ("enable.partition.eof", "weir doesn't use it"),
    ("allow.auto.create.topics", "weir creates no topics, so a misspelt name must not either"),
    ("acks", "weir always asks for all"),
    ("request.required.acks", "weir always asks for all"),
    ("message.timeout.ms", "a record is never given up, so nothing is lost"),
    ("delivery.timeout.ms", "a record is never given up, so nothing is lost"),
    ("delivery.report.only.error", "weir counts the acknowledgements"),
    ("batch.size", "weir keeps it below what the topics take"),
    ("message.max.bytes", "weir takes it from the topics"),
    ("retries", "a record is never given up, so nothing is lost"),
    ("message.send.max.retries", "a record is never given up, so nothing is lost"),
    ("partitioner", "weir uses murmur2_random, as Java clients do"),
    ("group.instance.id", "worker.static_membership takes it from worker.instance"),
    ("transaction.timeout.ms", "weir commits or aborts well before"),
    ("transactional.id", "weir names its own transactions"),
];

/// How long the brokers leave a transaction open that nobody ends: as long, a dead worker's offsets stay pending, and
/// whoever reads only what is committed waits.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection of a transactional producer may have nothing to do. It is well below the time that a transaction
/// has.
const IDLE_CONNECTION: Duration = Duration::from_secs(3);

/// How long a transactional producer waits at most before it connects again. librdkafka's default of 10 s would be longer than
/// the time that a transaction has, and each connection that was idle counts as a failed one.
const RECONNECT_BACKOFF: Duration = Duration::from_millis(100);

/// librdkafka's default for `session.timeout.ms`, and the brokers' own with `group.protocol = consumer`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// How much a consumer fetches ahead, in KiB: in all, and at least for each of its queues.
const QUEUED_KBYTES: usize = 16_384;
const LEAST_QUEUED_KBYTES: usize = 1_024;

/// How many bytes may wait in a producer, unless one record may be larger.
const QUEUE_BYTES: usize = 64 << 20;

/// What only a consumer takes; librdkafka warns when a producer gets it.
const CONSUMER_ONLY: &[&str] = &[
    "auto.offset.reset",
    "check.crcs",
    "fetch.",
    "group.",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "partition.assignment.strategy",
    "queued.",
    "session.timeout.ms",
];

/// What only a producer takes.
const PRODUCER_ONLY: &[&str] = &[
    "batch.",
    "compression.",
    "linger.ms",
    "message.send.max.retries",
    "queue.buffering.",
    "request.timeout.ms",
    "retries",
    "retry.backoff.",
    "sticky.partitioning.linger.ms",
];

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Consumer,
    Producer,
    Admin,
}

impl KafkaConfig {
    /// Adds what is wrong with this section to `mistakes`.
    pub fn check(&self, mistakes: &mut Vec<String>) {
        let mut brokers = self.brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty()).peekable();
        if brokers.peek().is_none() {
            mistakes.push("kafka.brokers is empty: say where the brokers are, such as \"localhost:9092\"".into());
        }
        for broker in brokers.filter(|broker| !is_address(broker)) {
            mistakes.push(format!("kafka.brokers: {broker:?} must be HOST:PORT, such as \"localhost:9092\""));
        }
        if self.group_id.trim().is_empty() {
            mistakes.push("kafka.group_id is empty: workers need a consumer group".into());
        }
        for (name, value) in &self.properties {
            let name = canonical(name);
            if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| *owned == name) {
                mistakes.push(format!("kafka.properties.\"{name}\" can't be set: {reason}"));
                continue;
            }
            // librdkafka knows its names and ranges best, but reports one mistake only. This creates no client.
            let alone = ClientConfig::new().set(name, value.to_string()).create_native_config();
            // The error's own words would show the value, which may be a secret in the wrong place; so do some reasons.
            mistakes.extend(alone.err().map(|error| match error {
                KafkaError::ClientConfig(_, reason, name, value) => {
                    let reason = reason.replace(&format!("\"{value}\""), "\"…\"");
                    format!("kafka.properties.\"{name}\": {reason}")
                }
                other => format!("kafka.properties: {other}"),
            }));
        }
    }

    /// The settings of a worker's consumer with so many fetch queues; `group_instance_id` makes it a static member.
    pub(crate) fn consumer(&self, group_instance_id: Option<&str>, queues: usize) -> ClientConfig {
        let mut config = self.base(Role::Consumer);
        if let Some(id) = group_instance_id {
            config.set("group.instance.id", id);
        }
        config
            .set("group.id", &self.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        // librdkafka's default, latest, loses the first records of a topic that is created after subscribing.
        default(&mut config, "auto.offset.reset", "earliest");
        // A worker that is faster than the fetcher would wait out the default of one second each time its local
        // queue was full.
        default(&mut config, "fetch.queue.backoff.ms", "5");
        // What is fetched ahead, in each queue: enough for full speed, and a bound on memory for the client as a whole.
        let queued = (QUEUED_KBYTES / queues.max(1)).max(LEAST_QUEUED_KBYTES);
        default(&mut config, "queued.max.messages.kbytes", &queued.to_string());
        // The new protocol refuses it: there the broker assigns.
        if config.get("group.protocol") != Some("consumer") {
            default(&mut config, "partition.assignment.strategy", "cooperative-sticky");
        }
        config
    }

    /// The settings of a consumer that reads ranges of topics and joins no group. `group` is whose commits it reads and
    /// writes.
    pub(crate) fn reader(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(None, 1);
        config
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            // What retention has taken since the range was looked up isn't there: the range goes on behind it.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            // A follower may report an end that comes before the leader's.
            .remove("client.rack");
        config
    }

    /// The settings of a worker's producer, for topics with these limits; with a transactional id its records are sent
    /// in transactions.
    pub(crate) fn producer(&self, limits: &OutputLimits, transactional_id: Option<&str>) -> ClientConfig {
        let mut config = self.base(Role::Producer);
        let most = limits.message_max_bytes().max(QUEUE_BYTES);
        if let Some(id) = transactional_id {
            config
                .set("transactional.id", id)
                // When the group's coordinator has died, librdkafka may wait for it for ever while it sends offsets
                // (confluentinc/librdkafka#5511): until the connection to any broker changes.
                // A connection that is closed when it is idle is such a change.
                .set("connections.max.idle.ms", IDLE_CONNECTION.as_millis().to_string())
                .set("reconnect.backoff.ms", RECONNECT_BACKOFF.as_millis().to_string())
                .set("reconnect.backoff.max.ms", RECONNECT_BACKOFF.as_millis().to_string())
                .set("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string());
        }
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A record is retried until the broker has it: nothing is lost to a long outage.
            .set("message.timeout.ms", "0")
            .set("partitioner", super::PARTITIONER)
            // Each record is measured against its own topic's limit before, which may be raised while the client runs.
            .set("message.max.bytes", most.to_string())
            // A topic refuses a produce request that is over its limit as a whole.
            .set("batch.size", limits.batch_size().to_string());
        // What may wait in the producer, so that memory stays bounded; one record of the largest size must fit.
        default(&mut config, "queue.buffering.max.kbytes", &(most / 1_024 + 1).to_string());
        // As often as weir looks at topics: it names partitions by what it knows of them, and the client has to know them, too.
        default(&mut config, "topic.metadata.refresh.interval.ms", "5000");
        // librdkafka sends a request per partition and linger. While there is more to read, 20 ms make batches of a thousand
        // records and more; whoever has nothing more to send flushes, so nothing waits that long.
        if config.get("queue.buffering.max.ms").is_none() {
            default(&mut config, "linger.ms", "20");
        }
        config
    }

    /// The settings of a client that only asks questions.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.base(Role::Admin)
    }

    fn base(&self, role: Role) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            // On brokers that create topics by themselves, as Kafka's default is, a question about a missing topic would
            // create it: librdkafka's default for producers and admin clients.
            .set("allow.auto.create.topics", "false")
            // The consumer reads librdkafka's log lines: they must come whatever level is shown, and begin with what
            // they are about.
            .set("log.thread.name", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        for (name, value) in &self.properties {
            let name = canonical(name);
            let is = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
            let meant = match role {
                Role::Consumer => !is(PRODUCER_ONLY),
                Role::Producer => !is(CONSUMER_ONLY),
                Role::Admin => !is(PRODUCER_ONLY) && !is(CONSUMER_ONLY),
            };
            if meant {
                config.set(name, value.to_string());
            }
        }
        config
    }

    /// After so long without a sign of a member its group continues without it.
    pub fn session_timeout(&self) -> Duration {
        let millis = self.property("session.timeout.ms").and_then(|value| value.parse().ok());
        millis.map_or(SESSION_TIMEOUT, Duration::from_millis)
    }

    /// The value of a property that the user set.
    pub fn property(&self, name: &str) -> Option<String> {
        // The last one: what comes from the environment is written with underscores, and sorts behind.
        self.properties.iter().rfind(|(set, _)| canonical(set) == name).map(|(_, value)| value.to_string())
    }
}

/// librdkafka's name of a property: an environment variable can't hold dots, and no property holds an underscore.
/// Whether librdkafka reads this as a broker: `PROTOCOL://` and the port may be absent.
fn is_address(broker: &str) -> bool {
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    let (host, port) = match address.rsplit_once(':') {
        // Without brackets the colons of an IPv6 address are its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (address, 9092_u16),
    };
    !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/') && port > 0
}

fn canonical(name: &str) -> String {
    name.replace('_', ".")
}

fn default(config: &mut ClientConfig, name: &str, value: &str) {
    if config.get(name).is_none() {
        config.set(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(properties: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "localhost:9092".into(),
            group_id: "g".into(),
            client_id: "c".into(),
            properties: properties.iter().map(|(k, v)| ((*k).into(), Property::Text((*v).into()))).collect(),
        }
    }

    fn mistakes(properties: &[(&str, &str)]) -> Vec<String> {
        let mut mistakes = Vec::new();
        config(properties).check(&mut mistakes);
        mistakes
    }

    #[test]
    fn any_property_passes_but_the_owned_ones() {
        assert_eq!(
            mistakes(&[("security.protocol", "sasl_ssl"), ("sasl_mechanism", "PLAIN"), ("linger.ms", "5")]),
            Vec::<String>::new()
        );
        assert!(mistakes(&[("acks", "1")])[0].contains("acks"));
        assert!(mistakes(&[("enable_auto_commit", "true")])[0].contains("enable.auto.commit"));
        assert!(mistakes(&[("no.such.property", "1")])[0].contains("no.such.property"));
        assert!(mistakes(&[("linger.ms", "soon")])[0].contains("linger.ms"));
        for name in ["sasl.oauthbearer.method", "security.protocol"] {
            let secret = mistakes(&[(name, "hunter2")]).concat();
            assert!(secret.contains(name) && !secret.contains("hunter2"), "{secret}");
        }
    }

    #[test]
    fn all_mistakes_are_named_at_once() {
        let found = mistakes(&[("linger.ms", "soon"), ("no.such", "1"), ("acks", "1"), ("security.protocol", "sll")]);
        for (name, found) in ["acks", "linger.ms", "no.such", "security.protocol"].iter().zip(&found) {
            assert!(found.contains(name), "{found}");
        }
        assert_eq!(found.len(), 4, "{found:?}");
    }

    #[test]
    fn brokers_are_hosts_with_ports() {
        let mistakes = |brokers: &str| {
            let mut mistakes = Vec::new();
            KafkaConfig { brokers: brokers.into(), ..config(&[]) }.check(&mut mistakes);
            mistakes.concat()
        };
        for brokers in ["b", "b:9092", "a:1, b:2,", "ssl://b:9093", "[::1]:9092", "::1", "10.0.0.1:9092"] {
            assert_eq!(mistakes(brokers), "", "{brokers}");
        }
        for (brokers, wrong) in [
            ("b:http", "b:http"),
            ("a:1,b:", "b:"),
            ("b:99999", "b:99999"),
            ("b:0", "b:0"),
            ("a:9092 b:9092", "a:9092 b:9092"),
            (":9092", ":9092"),
            ("http://b:9092/", "http://b:9092/"),
        ] {
            assert!(mistakes(brokers).contains(&format!("kafka.brokers: {wrong:?} must be HOST:PORT")), "{brokers}");
        }
        assert!(mistakes(" , ").contains("kafka.brokers is empty"));
    }

    #[test]
    fn the_codecs_and_security_protocols_are_built_in() {
        for (name, value) in [
            ("compression.type", "zstd"),
            ("compression.type", "gzip"),
            ("compression.type", "lz4"),
            ("compression.type", "snappy"),
            ("security.protocol", "ssl"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
        ] {
            assert_eq!(mistakes(&[(name, value)]), Vec::<String>::new(), "{name}={value}");
        }
    }

    #[test]
    fn a_property_goes_to_the_client_that_takes_it_and_overrides_a_default() {
        let config = config(&[("fetch.queue.backoff.ms", "9"), ("linger.ms", "7"), ("security.protocol", "ssl")]);
        let (consumer, producer) = (config.consumer(None, 1), config.producer(&OutputLimits::default(), None));
        assert_eq!(consumer.get("fetch.queue.backoff.ms"), Some("9"));
        assert_eq!(consumer.get("linger.ms"), None);
        assert_eq!(producer.get("linger.ms"), Some("7"));
        assert_eq!(producer.get("fetch.queue.backoff.ms"), None);
        for client in [consumer, producer, config.admin()] {
            assert_eq!(client.get("security.protocol"), Some("ssl"));
        }
    }

    #[test]
    fn no_client_creates_topics() {
        let config = config(&[]);
        let clients = [
            config.consumer(None, 1),
            config.reader("g"),
            config.producer(&OutputLimits::default(), None),
            config.producer(&OutputLimits::default(), Some("id")),
            config.admin(),
        ];
        for client in clients {
            assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
        }
        assert!(mistakes(&[("allow_auto_create_topics", "true")])[0].contains("weir creates no topics"));
    }

    #[test]
    fn the_queues_of_a_consumer_share_what_is_fetched_ahead() {
        let queued = |properties, queues| {
            let consumer = config(properties).consumer(None, queues);
            consumer.get("queued.max.messages.kbytes").map(str::to_owned)
        };
        assert_eq!(queued(&[], 1).as_deref(), Some("16384"));
        assert_eq!(queued(&[], 3).as_deref(), Some("5461"));
        assert_eq!(queued(&[], 100).as_deref(), Some("1024"), "each has room for a fetch");
        assert_eq!(queued(&[("queued.max.messages.kbytes", "99")], 3).as_deref(), Some("99"));
    }

    #[test]
    fn the_group_protocol_decides_about_assignor_and_instance() {
        let assignor =
            |properties| config(properties).consumer(None, 1).get("partition.assignment.strategy").map(str::to_owned);
        assert_eq!(assignor(&[]).as_deref(), Some("cooperative-sticky"));
        assert_eq!(assignor(&[("group.protocol", "classic")]).as_deref(), Some("cooperative-sticky"));
        assert_eq!(assignor(&[("group.protocol", "consumer")]), None);
        assert_eq!(config(&[]).consumer(Some("pod-1-3"), 1).get("group.instance.id"), Some("pod-1-3"));
    }

    #[test]
    fn the_session_timeout_is_what_the_user_sets_or_the_default() {
        assert_eq!(config(&[]).session_timeout(), Duration::from_secs(45));
        assert_eq!(config(&[("session_timeout_ms", "6000")]).session_timeout(), Duration::from_secs(6));
    }

    #[test]
    fn a_value_may_be_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hunter2 \r\n").unwrap();
        let read = |written: serde_json::Value| serde_json::from_value::<Property>(written).map(|p| p.to_string());
        assert_eq!(read(serde_json::json!({ "file": path })).unwrap(), "hunter2 ");
        let absent = read(serde_json::json!({ "file": folder.path().join("absent") })).unwrap_err().to_string();
        assert!(absent.contains("can't read") && absent.contains("absent"), "{absent}");
        for wrong in [serde_json::json!({}), serde_json::json!({ "value": "hunter2" }), serde_json::json!(["hunter2"])]
        {
            let error = read(wrong).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_reader_is_a_consumer_of_what_is_committed_and_of_nobody_else_s_group() {
        let properties = [
            ("security.protocol", "sasl_ssl"),
            ("isolation.level", "read_uncommitted"),
            ("auto.offset.reset", "latest"),
            ("client.rack", "a"),
        ];
        let reader = config(&properties).reader("g.redrive");
        for (name, value) in [
            ("security.protocol", Some("sasl_ssl")),
            ("group.id", Some("g.redrive")),
            ("isolation.level", Some("read_committed")),
            ("auto.offset.reset", Some("earliest")),
            ("enable.auto.commit", Some("false")),
            ("client.rack", None),
        ] {
            assert_eq!(reader.get(name), value, "{name}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let shown = format!("{:?}", config(&[("sasl.password", "hunter2")]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
