//! A real Kafka, and clients for the tests.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::{PATIENCE, eventually};

/// A broker started by `scripts/kafka`; it stops when this is dropped, or when the test process ends in whatever way.
pub(crate) struct Kafka {
    pub(crate) process: Child,
    pub(crate) brokers: String,
}

impl Kafka {
    /// Starts a broker. `port` 0 is a free one; `data` keeps its data there; `settings` are `KEY=VALUE`.
    pub(crate) fn start(port: u16, data: Option<&Path>, settings: &[&str]) -> Kafka {
        let mut arguments = vec!["--port".to_owned(), port.to_string()];
        if let Some(data) = data {
            arguments.extend(["--data".to_owned(), data.display().to_string()]);
        }
        for setting in settings {
            arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        Kafka::start_with(&arguments)
    }

    /// Starts a broker with these arguments of `scripts/kafka`.
    pub(crate) fn start_with(arguments: &[String]) -> Kafka {
        let mut process = Command::new("scripts/kafka")
            .arg("--until-stdin-closes")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("scripts/kafka can be run");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("kafka is ready at ").map(str::to_owned));
        let brokers = ready.expect("the broker starts (it says above why not)");
        Kafka { process, brokers }
    }
}

impl Kafka {
    /// Sends a signal to the broker, by its name.
    pub(crate) fn signal(&self, name: &str) {
        let broker = self.process_id().to_string();
        assert!(Command::new("kill").args(["-s", name, &broker]).status().unwrap().success());
    }

    /// The broker's process. It is the script's only child that is called java.
    pub(crate) fn process_id(&self) -> u32 {
        let script = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{script}/task/{script}/children")).unwrap();
        let is_broker = |pid: &&str| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|command| command.trim() == "java")
        };
        children.split_whitespace().find(is_broker).expect("the broker runs").parse().unwrap()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A node of a cluster: its port, and the arguments of `scripts/kafka` that start it.
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) arguments: Vec<String>,
}

/// The nodes of a cluster, with their data in `folder`. None of them is ready before most are.
pub(crate) fn cluster(brokers: usize, folder: &Path) -> Vec<Node> {
    let controllers: Vec<String> = (0..brokers).map(|_| free_port().to_string()).collect();
    let node = |number: usize| {
        let (port, data) = (free_port(), folder.join(format!("broker-{number}")));
        let arguments = [
            ["--port", &port.to_string()],
            ["--data", &data.display().to_string()],
            ["--node", &number.to_string()],
            ["--controller-port", &controllers.join(",")],
            // A broker that was killed is replaced as leader soon, and not each time the machine is busy.
            ["--set", "broker.session.timeout.ms=6000"],
        ];
        Node { port, arguments: arguments.as_flattened().iter().map(|&argument| argument.to_owned()).collect() }
    };
    (1..=brokers).map(node).collect()
}

/// Starts all nodes of a cluster.
pub(crate) fn start_all(nodes: &[Node]) -> Vec<Kafka> {
    thread::scope(|scope| {
        let starting: Vec<_> = nodes.iter().map(|node| scope.spawn(|| Kafka::start_with(&node.arguments))).collect();
        starting.into_iter().map(|kafka| kafka.join().unwrap()).collect()
    })
}

/// A port that stays free while its broker is away: below the range from which the kernel gives out its own.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 11_000) as u16;
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start + next) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The brokers of this test run: those of `WEIR_TEST_BROKERS`, or one that is started for it.
pub(crate) fn brokers() -> &'static str {
    static BROKERS: OnceLock<(String, Option<Kafka>)> = OnceLock::new();
    let (brokers, _) = BROKERS.get_or_init(|| match std::env::var("WEIR_TEST_BROKERS") {
        Ok(brokers) => (brokers, None),
        Err(_) => {
            // Members that start together join in one generation, as with Kafka's own default of three seconds: a test
            // that wants a rebalance makes one.
            // As by Kafka's default, a topic is created when somebody asks for it: weir must not be the one.
            let settings = ["group.initial.rebalance.delay.ms=1000", "auto.create.topics.enable=true"];
            let kafka = Kafka::start(0, None, &settings);
            (kafka.brokers.clone(), Some(kafka))
        }
    });
    brokers
}

/// A name that no other test has.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Creates a topic on one broker.
pub(crate) fn create_topic(brokers: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    create_replicated_topic(brokers, name, partitions, 1, settings);
    // A broker that is busy answers for some time that there is no such topic.
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    eventually(&format!("topic {name} has leaders"), || {
        let metadata = consumer.fetch_metadata(None, PATIENCE).ok()?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name)?;
        let led = found.partitions().iter().filter(|partition| partition.leader() >= 0).count();
        (led == partitions as usize).then_some(())
    });
}

/// Creates a topic on so many brokers.
pub(crate) fn create_replicated_topic(
    brokers: &str,
    name: &str,
    partitions: i32,
    replicas: i32,
    settings: &[(&str, &str)],
) {
    create(brokers, NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)), settings);
}

/// Creates a topic, each partition on the brokers that are given for it.
pub(crate) fn create_topic_on(brokers: &str, name: &str, partitions: &[&[i32]]) {
    create(brokers, NewTopic::new(name, partitions.len() as i32, TopicReplication::Variable(partitions)), &[]);
}

fn create(brokers: &str, topic: NewTopic<'_>, settings: &[(&str, &str)]) {
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    administer(brokers, async |admin, options| admin.create_topics([&topic], options).await);
}

/// Deletes a topic.
pub(crate) fn delete_topic(brokers: &str, name: &str) {
    administer(brokers, async |admin, options| admin.delete_topics(&[name], options).await);
}

/// Deletes a topic and creates it again: its offsets begin at 0.
pub(crate) fn recreate_topic(brokers: &str, name: &str, partitions: i32) {
    delete_topic(brokers, name);
    create_topic(brokers, name, partitions, &[]);
}

/// Lets a topic have so many partitions, which are more than it has.
pub(crate) fn add_partitions(brokers: &str, name: &str, partitions: usize) {
    let partitions = NewPartitions::new(name, partitions);
    administer(brokers, async |admin, options| admin.create_partitions([&partitions], options).await);
}

/// Whether a topic exists. The question creates none.
pub(crate) fn topic_exists(brokers: &str, name: &str) -> bool {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let metadata = consumer.fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().any(|topic| topic.name() == name)
}

/// The broker that leads a partition.
pub(crate) fn leader(brokers: &str, topic: &str, partition: i32) -> i32 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let metadata = client.fetch_metadata(Some(topic), PATIENCE).unwrap();
    metadata.topics()[0].partitions().iter().find(|found| found.id() == partition).unwrap().leader()
}

/// The committed offset of a group in a partition.
pub(crate) fn committed(brokers: &str, group: &str, topic: &str, partition: i32) -> Option<i64> {
    match commits(brokers, group, topic, partition).elements()[0].offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }
}

/// The commit of a group in a partition, with its metadata.
pub(crate) fn commits(brokers: &str, group: &str, topic: &str, partition: i32) -> TopicPartitionList {
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition(topic, partition);
    member(brokers, group).committed_offsets(partitions, PATIENCE).unwrap()
}

/// Commits for a group that has no member.
pub(crate) fn commit(brokers: &str, group: &str, commits: &TopicPartitionList) {
    member(brokers, group).commit(commits, CommitMode::Sync).unwrap();
}

fn member(brokers: &str, group: &str) -> BaseConsumer {
    ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap()
}

/// Deletes the records of partitions before these offsets.
pub(crate) fn delete_records(brokers: &str, topic: &str, before: &[(i32, i64)]) {
    let mut offsets = TopicPartitionList::new();
    for &(partition, offset) in before {
        offsets.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    }
    administer(brokers, async |admin, options| {
        let deleted = admin.delete_records(&offsets, options).await?;
        Ok(deleted.elements().iter().map(|element| element.error()).collect())
    });
}

/// Changes a setting of a topic.
pub(crate) fn alter_topic(brokers: &str, name: &str, key: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
    administer(brokers, async |admin, options| admin.alter_configs([&change], options).await);
}

/// Has an admin client do something, all of which must succeed.
fn administer<T: Debug, E: Debug>(
    brokers: &str,
    act: impl AsyncFnOnce(&AdminClient<DefaultClientContext>, &AdminOptions) -> KafkaResult<Vec<Result<T, E>>>,
) {
    let admin = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let done = runtime.block_on(act(&admin, &options)).unwrap();
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

/// A record to produce, or one that came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) timestamp: i64,
}

impl Record {
    /// The last header of this name, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().rfind(|(key, _)| key == name)?;
        std::str::from_utf8(value).ok()
    }

    /// The value as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(self.value.as_ref().expect("a value")).expect("JSON")
    }
}

/// The keys of records, as text, in their order.
pub(crate) fn keys(records: &[Record]) -> Vec<String> {
    let key = |record: &Record| String::from_utf8(record.key.clone().expect("a key")).expect("UTF-8");
    records.iter().map(key).collect()
}

/// Produces records, waiting until the brokers have them all. Partition -1 is any.
pub(crate) fn produce(brokers: &str, topic: &str, records: impl IntoIterator<Item = Record>) {
    send(&producer(brokers), topic, records);
}

/// A producer for [`send`].
pub(crate) fn producer(brokers: &str) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("message.max.bytes", "20000000")
        .create()
        .unwrap()
}

/// Produces records in one transaction, which is committed or aborted.
pub(crate) fn produce_in_transaction(
    brokers: &str,
    topic: &str,
    records: impl IntoIterator<Item = Record>,
    committed: bool,
) {
    let producer = open_transaction(brokers, topic, records);
    let end = if committed { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) };
    end.unwrap();
}

/// Produces records in a transaction that stays open.
pub(crate) fn open_transaction(brokers: &str, topic: &str, records: impl IntoIterator<Item = Record>) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("transactional.id", unique("transaction"))
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, topic, records);
    producer
}

/// Produces records by this producer, waiting until the brokers have them all. Partition -1 is any.
pub(crate) fn send(producer: &BaseProducer, topic: &str, records: impl IntoIterator<Item = Record>) {
    for record in records {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut outgoing: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).headers(headers);
        outgoing.key = record.key.as_deref();
        outgoing.payload = record.value.as_deref();
        outgoing.partition = (record.partition >= 0).then_some(record.partition);
        outgoing.timestamp = (record.timestamp > 0).then_some(record.timestamp);
        loop {
            match producer.send(outgoing) {
                Ok(()) => break,
                Err((_, again)) => {
                    outgoing = again;
                    producer.poll(Duration::from_millis(10));
                }
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(PATIENCE).expect("everything is produced");
}

/// Reads what is committed in a topic, all partitions, from the start on and on.
pub(crate) struct Reader {
    consumer: BaseConsumer,
    topic: String,
}

impl Reader {
    /// A reader of `topic` from its start.
    pub(crate) fn new(brokers: &str, topic: &str) -> Reader {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let mut assignment = TopicPartitionList::new();
        for partition in metadata.topics()[0].partitions() {
            assignment.add_partition_offset(topic, partition.id(), Offset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        Reader { consumer, topic: topic.into() }
    }

    /// The next record, if one comes in time. A broker that is away is waited for.
    pub(crate) fn next(&self, timeout: Duration) -> Option<Record> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left) {
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                Some(message) => return Some(record(&message.expect("the brokers are there"))),
                None if left.is_zero() => return None,
                None => {}
            }
        }
    }

    /// The next `count` records.
    pub(crate) fn take(&self, count: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            let next = self.next(PATIENCE);
            let read = records.len();
            records.push(next.unwrap_or_else(|| panic!("{}: {read} records of {count}, then no more", self.topic)));
        }
        records
    }

    /// Reads until each of these records has come, by key, however often.
    pub(crate) fn await_all(&self, records: &[Record]) {
        let mut missing: BTreeSet<String> = keys(records).into_iter().collect();
        while let Some(first) = missing.first() {
            let next = self.next(PATIENCE);
            let next =
                next.unwrap_or_else(|| panic!("{}: {} records are missing: {first}…", self.topic, missing.len()));
            missing.remove(&keys(&[next])[0]);
        }
    }

    /// Everything that comes until the end of each partition as it is now.
    pub(crate) fn rest(&self) -> Vec<Record> {
        // Assigned anew, every partition reports its end. Offsets can't: a transaction's markers have some, too.
        let mut assignment = TopicPartitionList::new();
        for element in self.consumer.position().unwrap().elements() {
            let next = match element.offset() {
                Offset::Offset(next) => Offset::Offset(next),
                _ => Offset::Beginning,
            };
            assignment.add_partition_offset(&self.topic, element.partition(), next).unwrap();
        }
        self.consumer.assign(&assignment).unwrap();
        let mut records = Vec::new();
        let mut unread: BTreeSet<i32> = assignment.elements().iter().map(|element| element.partition()).collect();
        while !unread.is_empty() {
            match self.consumer.poll(PATIENCE) {
                Some(Ok(message)) => records.push(record(&message)),
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    unread.remove(&partition);
                }
                Some(Err(error)) => panic!("{}: {error}", self.topic),
                None => panic!("{}: the end doesn't come", self.topic),
            }
        }
        records
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| headers.iter().collect::<Vec<_>>()).unwrap_or_default();
    Record {
        partition: message.partition(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers
            .into_iter()
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect(),
        timestamp: message.timestamp().to_millis().unwrap_or(0),
    }
}
