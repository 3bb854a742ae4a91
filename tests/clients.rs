//! weir's own consumer and producer on a real Kafka: what a worker rests on. Each test does as a worker does: it looks
//! through all queues without waiting, and parks when they are empty.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::types::RDKafkaErrorCode;
use weir::kafka::KafkaError;
use weir::kafka::admin::{Admin, AdminError, OutputLimits};
use weir::kafka::consumer::{
    Commit, Consumer, FetchError, FetchEvent, GroupEvent, Position, StartPoint, TopicPartition,
};
use weir::kafka::producer::{Outgoing, Producer, Step, Ticket, TransactionError};
use weir::kafka::reader::Reader;
use weir::kafka::settings::{KafkaConfig, Property};

use crate::support::kafka::{Record, brokers, create_topic, delete_records, produce, topic_exists, unique};
use crate::support::{PATIENCE, eventually};

/// How long a test parks at the most. A wake-up that is lost takes that long.
const PARK: Duration = Duration::from_secs(30);

const BY_THE_BROKER: &[(&str, &str)] = &[("group.protocol", "consumer")];

fn config(brokers: &str, group: &str, properties: &[(&str, &str)]) -> KafkaConfig {
    let properties = properties.iter().map(|&(name, value)| (name.into(), Property::Text(value.into()))).collect();
    KafkaConfig { brokers: brokers.into(), group_id: group.into(), client_id: "weir".into(), properties }
}

/// Parks until something wakes this thread.
fn park() {
    let parked_at = Instant::now();
    thread::park_timeout(PARK);
    assert!(parked_at.elapsed() < PARK, "nothing has woken the thread");
}

/// What came to a member of a group.
#[derive(Debug)]
enum Came {
    Event(GroupEvent),
    Record { partition: i32, offset: i64, leader_epoch: Option<i32>, queue: usize },
    Error(#[expect(dead_code, reason = "shown when a test fails")] FetchError),
}

/// A member of a group that consumes what it is assigned from the start on.
struct Member {
    consumer: Consumer,
    topic: String,
    /// Each partition comes to the queue of its number, or to the last one.
    queues: usize,
    came: RefCell<VecDeque<Came>>,
}

impl Member {
    fn join(config: &KafkaConfig, topic: &str, queues: usize) -> Member {
        let consumer = Consumer::new(config, None, queues).unwrap();
        consumer.subscribe(&[topic]).unwrap();
        Member { consumer, topic: topic.into(), queues, came: RefCell::default() }
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition }
    }

    fn attach(&self, partition: &TopicPartition) {
        self.consumer.attach((partition.partition as usize).min(self.queues - 1), partition);
    }

    /// Looks through all queues, without waiting, until they are empty.
    fn look(&self) {
        let mut came = self.came.borrow_mut();
        while !self.consumer.serve().unwrap() {}
        while let Some(event) = self.consumer.next_event() {
            match &event {
                GroupEvent::Assign(partitions) => {
                    partitions.iter().for_each(|partition| self.attach(partition));
                    let starts: Vec<_> = partitions.iter().map(|p| (p.clone(), Position::at(0))).collect();
                    self.consumer.assign(&starts).unwrap();
                }
                GroupEvent::Revoke(partitions) | GroupEvent::Lost(partitions) => {
                    self.consumer.unassign(partitions).unwrap();
                }
                _ => {}
            }
            came.push_back(Came::Event(event));
        }
        for queue in 0..self.queues {
            let mut fetched = VecDeque::new();
            while !self.consumer.fetch(queue, &mut fetched) {}
            came.extend(fetched.into_iter().map(|fetched| match fetched {
                FetchEvent::Error(error) => Came::Error(error),
                FetchEvent::Record(record) => Came::Record {
                    partition: record.partition(),
                    offset: record.offset(),
                    leader_epoch: record.leader_epoch(),
                    queue,
                },
            }));
        }
    }

    /// What comes next, however long it takes.
    fn next(&self) -> Came {
        loop {
            self.look();
            if let Some(came) = self.came.borrow_mut().pop_front() {
                return came;
            }
            park();
        }
    }

    /// The partition and offset of the next record.
    fn record(&self) -> (i32, i64) {
        loop {
            if let Came::Record { partition, offset, .. } = self.next() {
                return (partition, offset);
            }
        }
    }

    /// Waits for an assignment.
    fn assigned(&self) -> Vec<TopicPartition> {
        loop {
            if let Came::Event(GroupEvent::Assign(partitions)) = self.next() {
                return partitions;
            }
        }
    }

    fn leave(self) {
        self.consumer.close(Instant::now() + PATIENCE);
    }
}

fn record(partition: i32) -> Record {
    Record { partition, value: Some(b"1".to_vec()), ..Record::default() }
}

/// A producer that sends one record at a time, at once.
fn feeder() -> BaseProducer {
    ClientConfig::new().set("bootstrap.servers", brokers()).set("linger.ms", "0").create().unwrap()
}

fn outgoing<'a>(topic: &'a str, key: Option<&'a [u8]>, row: u32) -> Outgoing<'a> {
    let ticket = Ticket { batch: 3, row };
    Outgoing { topic, partition: Some(0), key, value: Some(b"1"), timestamp_ms: None, headers: None, ticket }
}

#[test]
fn each_record_wakes_a_parked_thread() {
    const ROUNDS: usize = 400;
    let topic = unique("wake");
    create_topic(brokers(), &topic, 2, &[]);
    let member = Member::join(&config(brokers(), &topic, &[]), &topic, 2);
    assert_eq!(member.assigned().len(), 2);
    let (go, wait) = mpsc::channel();
    let feeding = thread::spawn({
        let topic = topic.clone();
        move || {
            let producer = feeder();
            for round in wait {
                // At another moment each time: while the thread looks through its queues, while it parks, and later.
                let at = Instant::now() + Duration::from_micros(20 * (round as u64 % 40));
                while Instant::now() < at {
                    std::hint::spin_loop();
                }
                producer.send(BaseRecord::<(), _>::to(&topic).partition(round as i32 % 2).payload("1")).unwrap();
                producer.flush(PATIENCE).unwrap();
            }
        }
    });
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let began = Instant::now();
        go.send(round).unwrap();
        let Came::Record { partition, offset, queue, .. } = member.next() else { panic!("only records come") };
        assert_eq!((partition, offset, queue), ((round % 2) as i32, (round / 2) as i64, round % 2));
        slowest = slowest.max(began.elapsed());
    }
    assert!(slowest < PARK / 2, "{slowest:?}");
    drop(go);
    feeding.join().unwrap();
    member.leave();
}

/// Stays in the group, without waking at once, until it is to leave.
fn stay_until(leave: &mpsc::Receiver<()>, member: Member) {
    while member.assigned().is_empty() {}
    while leave.try_recv().is_err() {
        member.look();
        thread::park_timeout(Duration::from_millis(20));
    }
    member.leave();
}

#[test]
fn rebalances_and_commits_wake_a_parked_thread() {
    let topic = unique("wake-group");
    create_topic(brokers(), &topic, 2, &[]);
    let config = config(brokers(), &topic, &[]);
    let member = Member::join(&config, &topic, 1);
    assert_eq!(member.assigned().len(), 2);
    for offset in 1..=50 {
        member.consumer.start_commit(&[commit(member.partition(0), Position::at(offset))]).unwrap();
        let result = loop {
            match member.consumer.commit_result(Duration::ZERO) {
                Some(result) => break result,
                None => park(),
            }
        };
        result.unwrap();
    }
    let (left, leave) = mpsc::channel();
    let second = thread::spawn({
        let (config, topic) = (config.clone(), topic.clone());
        move || stay_until(&leave, Member::join(&config, &topic, 1))
    });
    let revoked = loop {
        if let Came::Event(GroupEvent::Revoke(partitions)) = member.next() {
            break partitions;
        }
    };
    assert_eq!(revoked.len(), 1, "the second member gets the other one");
    left.send(()).unwrap();
    let came_back = loop {
        match member.assigned() {
            none if none.is_empty() => {}
            partitions => break partitions,
        }
    };
    assert_eq!(came_back, revoked);
    second.join().unwrap();
    member.leave();
}

#[test]
fn each_delivery_report_wakes_a_parked_thread_with_its_ticket() {
    let topic = unique("wake-reports");
    create_topic(brokers(), &topic, 1, &[]);
    let producer = Producer::new(&config(brokers(), &topic, &[]), &OutputLimits::default(), None).unwrap();
    for row in 0..300 {
        assert!(producer.send(outgoing(&topic, None, row)).is_ok());
        let (mut acknowledged, mut undelivered) = (Vec::new(), Vec::new());
        loop {
            producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
            assert!(undelivered.is_empty(), "{undelivered:?}");
            match acknowledged[..] {
                [] => park(),
                [run] => break assert_eq!((run.batch, run.records), (3, 1)),
                _ => panic!("one record has one report: {acknowledged:?}"),
            }
        }
    }
}

#[test]
fn the_group_is_served_until_nothing_more_waits() {
    const MISSING: usize = 300;
    let topic = unique("burst");
    create_topic(brokers(), &topic, 1, &[]);
    let consumer = Consumer::new(&config(brokers(), &topic, &[]), None, 1).unwrap();
    let mut names: BTreeSet<String> = (0..MISSING).map(|number| format!("{topic}.missing.{number}")).collect();
    let subscribed: Vec<&str> = names.iter().map(String::as_str).chain([topic.as_str()]).collect();
    consumer.subscribe(&subscribed).unwrap();
    // Each missing topic is an event of its own. They come in one burst, though on a busy machine some come alone.
    let mut most = 0;
    while !names.is_empty() {
        let empty = consumer.serve().unwrap();
        let mut events = 0;
        while let Some(event) = consumer.next_event() {
            if let GroupEvent::PartitionError(FetchError { topic, partition, source }) = event {
                assert_eq!(source.rdkafka_error_code(), Some(RDKafkaErrorCode::UnknownTopicOrPartition), "{source}");
                assert_eq!(partition, -1, "it is about the topic as a whole");
                names.remove(&topic);
                events += 1;
            }
        }
        most = most.max(events);
        if empty && !names.is_empty() {
            park();
        }
    }
    assert!(most > 1, "each of {MISSING} events took a call of its own");
    consumer.close(Instant::now() + PATIENCE);
}

#[test]
fn after_a_seek_nothing_comes_that_was_fetched_before() {
    let topic = unique("seek");
    create_topic(brokers(), &topic, 1, &[]);
    produce(brokers(), &topic, (0..5_000).map(|_| record(0)));
    let member = Member::join(&config(brokers(), &topic, &[]), &topic, 1);
    assert_eq!(member.record(), (0, 0));
    for target in [3_000, 10, 4_500, 0] {
        member.came.borrow_mut().clear();
        let position = Position { offset: target, leader_epoch: Some(0) };
        member.consumer.seek(&[(member.partition(0), position)]).unwrap();
        for offset in target..target + 300 {
            assert_eq!(member.record(), (0, offset), "after a seek to {target}");
        }
    }
    let missing = TopicPartition { topic: topic.clone(), partition: 7 };
    let failed = member.consumer.seek(&[(missing.clone(), Position::at(0))]).unwrap();
    assert_eq!(failed.len(), 1, "what isn't assigned can't be sought");
    assert_eq!(failed[0].0, missing);
    assert_eq!(member.consumer.seek(&[]).unwrap(), []);
    member.leave();
}

#[test]
fn leader_epochs_are_read_and_committed_and_come_back() {
    let topic = unique("epochs");
    create_topic(brokers(), &topic, 2, &[]);
    produce(brokers(), &topic, (0..10).map(|_| record(0)));
    let member = Member::join(&config(brokers(), &topic, &[]), &topic, 1);
    let epoch = loop {
        if let Came::Record { leader_epoch, .. } = member.next() {
            break leader_epoch;
        }
    };
    assert_eq!(epoch, Some(0), "the first leader of a partition has epoch 0");
    let known = Position { offset: 7, leader_epoch: epoch };
    let unknown = Position { offset: 0, leader_epoch: None };
    member.consumer.start_commit(&[commit(member.partition(1), unknown), commit(member.partition(0), known)]).unwrap();
    member.consumer.commit_result(PATIENCE).unwrap().unwrap();
    let starts = starts(&member.consumer, vec![member.partition(0), member.partition(1)]).unwrap();
    let expected =
        [(member.partition(0), StartPoint::Committed(known)), (member.partition(1), StartPoint::Committed(unknown))];
    assert_eq!(starts, expected);
    member.leave();
}

/// Asks where partitions begin, parked meanwhile.
fn starts(
    consumer: &Consumer,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<(TopicPartition, StartPoint)>, KafkaError> {
    let pending = consumer.ask_starts(partitions);
    let answer = loop {
        match pending.try_take() {
            Some(answer) => break answer?,
            None => park(),
        }
    };
    assert!(answer.iter().all(|(_, start)| start.topic_id.is_some()), "{answer:?}");
    Ok(answer.into_iter().map(|(partition, start)| (partition, start.point)).collect())
}

fn commit(partition: TopicPartition, position: Position) -> Commit {
    Commit { partition, position, topic_id: None }
}

#[test]
fn partitions_begin_at_their_commits_or_where_the_reset_says() {
    let topic = unique("starts");
    create_topic(brokers(), &topic, 3, &[]);
    produce(brokers(), &topic, (0..30).map(|number| record(number % 3)));
    delete_records(brokers(), &topic, &[(0, 4), (1, 2)]);
    let partition = |partition| TopicPartition { topic: topic.clone(), partition };
    let all = || vec![partition(2), partition(0), partition(1)];
    let asked = |properties: &[(&str, &str)]| {
        let consumer = Consumer::new(&config(brokers(), &topic, properties), None, 1).unwrap();
        let answer = starts(&consumer, all()).unwrap();
        assert_eq!(starts(&consumer, Vec::new()).unwrap(), []);
        consumer.close(Instant::now() + PATIENCE);
        assert!(answer.iter().map(|(partition, _)| partition).eq(&all()), "in the order asked for: {answer:?}");
        answer.into_iter().map(|(_, start)| start).collect::<Vec<_>>()
    };
    let earliest = [StartPoint::Reset(0), StartPoint::Reset(4), StartPoint::Reset(2)];
    let latest = [StartPoint::Reset(10), StartPoint::Reset(10), StartPoint::Reset(10)];
    assert_eq!(asked(&[]), earliest, "weir's default");
    assert_eq!(asked(&[("auto.offset.reset", "smallest")]), earliest);
    assert_eq!(asked(&[("auto.offset.reset", "latest")]), latest);
    assert_eq!(asked(&[("auto.offset.reset", "error")]), [StartPoint::Nowhere; 3]);

    let member = Member::join(&config(brokers(), &topic, &[]), &topic, 1);
    assert_eq!(member.assigned().len(), 3);
    let committed = Position { offset: 6, leader_epoch: Some(0) };
    member.consumer.start_commit(&[commit(partition(0), committed)]).unwrap();
    member.consumer.commit_result(PATIENCE).unwrap().unwrap();
    member.leave();
    let committed = StartPoint::Committed(committed);
    assert_eq!(asked(&[]), [StartPoint::Reset(0), committed, StartPoint::Reset(2)]);
    assert_eq!(asked(&[("auto.offset.reset", "end")]), [StartPoint::Reset(10), committed, StartPoint::Reset(10)]);
    assert_eq!(asked(&[("auto.offset.reset", "error")]), [StartPoint::Nowhere, committed, StartPoint::Nowhere]);
}

#[test]
fn offsets_of_an_open_transaction_are_no_starts_until_it_ends() {
    let topic = unique("pending");
    create_topic(brokers(), &topic, 1, &[]);
    produce(brokers(), &topic, (0..10).map(|_| record(0)));
    let config = config(brokers(), &topic, &[]);
    let member = Member::join(&config, &topic, 1);
    member.assigned();
    let producer = Producer::new(&config, &OutputLimits::default(), Some(topic.clone())).unwrap();
    finish(|| producer.init_transactions(PATIENCE));
    let group = Arc::new(member.consumer.group_metadata().expect("it is a member"));
    let position = Position { offset: 5, leader_epoch: Some(0) };
    let partition = member.partition(0);
    let asked = || starts(&member.consumer, vec![partition.clone()]);
    assert_eq!(eventually("the coordinator answers", || asked().ok()), [(partition.clone(), StartPoint::Reset(0))]);
    producer.begin_transaction().unwrap();
    finish(|| producer.send_offsets(&[commit(partition.clone(), position)], &group));
    // librdkafka asks again by itself until its time is up.
    asked().unwrap_err();
    finish(|| producer.commit_transaction());
    let committed = eventually("the transaction is over", || asked().ok());
    assert_eq!(committed, [(partition.clone(), StartPoint::Committed(position))]);
    member.leave();
}

/// Takes a step of a transaction, parked meanwhile.
fn finish(step: impl Fn() -> Result<Step, TransactionError>) {
    let mut under_way = step().unwrap();
    loop {
        match under_way.try_take() {
            Some(Err(TransactionError::Retriable(_))) => under_way = step().unwrap(),
            Some(result) => return result.unwrap(),
            None => park(),
        }
    }
}

#[test]
fn a_group_is_left_while_a_question_is_under_way() {
    // Nobody is there to answer.
    let consumer = Consumer::new(&config("127.0.0.1:1", "nobody", &[]), None, 1).unwrap();
    consumer.subscribe(&["t"]).unwrap();
    let pending = consumer.ask_starts(vec![TopicPartition { topic: "t".into(), partition: 0 }]);
    let began = Instant::now();
    consumer.close(began + PATIENCE);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    eventually("the question is given up", || pending.try_take()).unwrap_err();
}

#[test]
fn a_member_without_partitions_is_a_member() {
    for properties in [&[] as &[_], BY_THE_BROKER] {
        let topic = unique("members");
        create_topic(brokers(), &topic, 1, &[]);
        let config = config(brokers(), &topic, properties);
        let members = [Member::join(&config, &topic, 1), Member::join(&config, &topic, 1)];
        assert!(members.iter().all(|member| member.consumer.generation().is_none()), "nothing has been served yet");
        eventually("both are members, one of them without a partition", || {
            members.iter().for_each(Member::look);
            members.iter().all(|member| member.consumer.generation().is_some()).then_some(())
        });
        let [first, second] = members;
        first.leave();
        eventually("the other one has the partition", || {
            second.look();
            let assigned =
                |came: &Came| matches!(came, Came::Event(GroupEvent::Assign(partitions)) if !partitions.is_empty());
            second.came.borrow().iter().any(assigned).then_some(())
        });
        assert!(second.consumer.generation().is_some());
        second.leave();
    }
}

#[test]
fn records_that_a_topic_refuses_are_named_by_their_tickets() {
    // librdkafka blames the whole batch where there is only one record to blame.
    for refused in [vec![4_u32], vec![0, 7]] {
        let topic = unique("compacted");
        create_topic(brokers(), &topic, 1, &[("cleanup.policy", "compact")]);
        // All of them go in one batch.
        let config = config(brokers(), &topic, &[("linger.ms", "2000")]);
        let producer = Producer::new(&config, &OutputLimits::default(), None).unwrap();
        for row in 0..10 {
            let key = (!refused.contains(&row)).then_some(b"k".as_slice());
            assert!(producer.send(outgoing(&topic, key, row)).is_ok());
        }
        let (mut acknowledged, mut undelivered) = (Vec::new(), Vec::new());
        while undelivered.len() < 10 {
            producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
            if undelivered.len() < 10 {
                park();
            }
        }
        assert_eq!(acknowledged, []);
        for report in undelivered {
            let code = report.source.rdkafka_error_code().unwrap();
            let Ticket { batch, row } = report.ticket;
            let is_blamed = refused.len() == 1 || refused.contains(&row);
            let expected =
                if is_blamed { RDKafkaErrorCode::InvalidRecord } else { RDKafkaErrorCode::InvalidDifferentRecord };
            assert_eq!((batch, code, report.topic.as_str()), (3, expected, topic.as_str()), "row {row}");
            assert!(!report.is_purged());
        }
        // The producer goes on.
        assert!(producer.send(outgoing(&topic, Some(b"k"), 11)).is_ok());
        let mut undelivered = Vec::new();
        while acknowledged.is_empty() {
            producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
            assert!(undelivered.is_empty(), "{undelivered:?}");
            if acknowledged.is_empty() {
                park();
            }
        }
    }
}

#[test]
fn a_timestamp_that_a_topic_refuses_is_reported_as_such() {
    let topic = unique("timely");
    create_topic(brokers(), &topic, 1, &[("message.timestamp.before.max.ms", "86400000")]);
    let config = config(brokers(), &topic, &[("linger.ms", "2000")]);
    let producer = Producer::new(&config, &OutputLimits::default(), None).unwrap();
    for row in 0..5 {
        let timestamp_ms = (row == 2).then_some(1_000_000_000_000);
        assert!(producer.send(Outgoing { timestamp_ms, ..outgoing(&topic, None, row) }).is_ok());
    }
    let (mut acknowledged, mut undelivered) = (Vec::new(), Vec::new());
    while undelivered.len() < 5 {
        producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
        if undelivered.len() < 5 {
            park();
        }
    }
    let codes: BTreeMap<_, _> =
        undelivered.iter().map(|report| (report.ticket.row, report.source.rdkafka_error_code().unwrap())).collect();
    // librdkafka blames the whole batch where there is only one record to blame.
    assert_eq!(codes, (0..5).map(|row| (row, RDKafkaErrorCode::InvalidTimestamp)).collect());
}

#[test]
fn records_that_are_purged_are_reported_by_their_tickets() {
    let topic = unique("purged");
    create_topic(brokers(), &topic, 1, &[]);
    let config = config(brokers(), &topic, &[("linger.ms", "60000")]);
    let producer = Producer::new(&config, &OutputLimits::default(), Some(topic.clone())).unwrap();
    finish(|| producer.init_transactions(PATIENCE));
    producer.begin_transaction().unwrap();
    for row in 0..5 {
        assert!(producer.send(outgoing(&topic, None, row)).is_ok());
    }
    producer.purge();
    let (mut acknowledged, mut undelivered) = (Vec::new(), Vec::new());
    while undelivered.len() < 5 {
        producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
        if undelivered.len() < 5 {
            park();
        }
    }
    assert_eq!(acknowledged, [], "nothing was delivered");
    assert!(undelivered.iter().all(|report| report.is_purged()));
    let rows: BTreeMap<_, _> = undelivered.iter().map(|report| (report.ticket.row, report.ticket.batch)).collect();
    assert_eq!(rows, (0..5).map(|row| (row, 3)).collect());
    finish(|| producer.abort_transaction());
}

#[test]
fn no_client_creates_a_topic_by_asking_for_it() {
    let prefix = unique("missing");
    let name = |client: &str| format!("{prefix}.{client}");
    // A plain client creates what it asks for: otherwise this test says nothing.
    let plain: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    plain.client().fetch_metadata(Some(&name("control")), PATIENCE).unwrap();
    eventually("the broker creates topics", || topic_exists(brokers(), &name("control")).then_some(()));

    // A record for a missing topic fails when its metadata has been asked for that long.
    let config = config(brokers(), &prefix, &[("topic.metadata.propagation.max.ms", "500")]);
    let admin = Admin::new(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let errors = runtime.block_on(admin.describe(&[name("admin")])).unwrap_err();
    assert!(matches!(errors.as_slice(), [AdminError::NoTopic { .. }]), "{errors:?}");
    let producer = Producer::new(&config, &OutputLimits::default(), None).unwrap();
    assert!(!matches!(producer.partitions(&name("producer"), PATIENCE), Ok(1..)));
    let sent_to = name("output");
    assert!(producer.send(outgoing(&sent_to, None, 0)).is_ok());
    let (mut acknowledged, mut undelivered) = (Vec::new(), Vec::new());
    while undelivered.is_empty() {
        producer.take_reports(&mut acknowledged, &mut undelivered).unwrap();
        assert_eq!(acknowledged, []);
        if undelivered.is_empty() {
            park();
        }
    }
    assert!(Reader::new(&config, &name("group")).unwrap().extents(&name("reader"), None, None).is_err());
    let consumer = Consumer::new(&config, None, 1).unwrap();
    consumer.subscribe(&[&name("input")]).unwrap();
    eventually("the group has asked for its topics", || {
        consumer.serve().unwrap();
        consumer.next_event().filter(|event| matches!(event, GroupEvent::PartitionError(_)))
    });
    consumer.close(Instant::now() + PATIENCE);
    for client in ["admin", "producer", "output", "reader", "input"] {
        assert!(!topic_exists(brokers(), &name(client)), "{client} has created its topic");
    }
}
