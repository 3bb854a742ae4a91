//! The feeder: produces all records of a run, in their order, straight to the brokers, each of them once.
//!
//! It is to last for as long as the faults do, and a fault lasts as long as it lasts. So what is left of the records
//! flows at a pace at which it would last for what is left of the faults: a fault that takes longer than others makes
//! it slower, and never ends it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Message};

use crate::cluster::end_aside;
use crate::records::{self, Records};

/// How often some records are produced.
const TICK: Duration = Duration::from_millis(20);

/// What a fault takes, as long as that isn't known from others.
const FIRST_GUESS: Duration = Duration::from_secs(7);

/// How long the brokers may be away before the feeder gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many milliseconds the records that are left are to last.
#[derive(Clone)]
pub(crate) struct Pace(Arc<AtomicU64>);

impl Pace {
    /// For so many faults.
    pub(crate) fn new(faults: usize) -> Pace {
        let pace = Pace(Arc::new(AtomicU64::new(0)));
        pace.set(faults, 0, Duration::ZERO);
        pace
    }

    /// So many faults are left; `done` took `elapsed`.
    pub(crate) fn set(&self, faults: usize, done: usize, elapsed: Duration) {
        let per_fault = (FIRST_GUESS * 4 + elapsed).as_millis() as u64 / (4 + done as u64);
        self.0.store(faults as u64 * per_fault, Ordering::Relaxed);
    }

    /// No fault is left: the rest as fast as it goes.
    pub(crate) fn hurry(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Records per second, when so many are left; `None`: as fast as it goes.
    fn per_second(&self, records: usize) -> Option<f64> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            millis => Some((records as f64 * 1_000.0 / millis as f64).max(1.0)),
        }
    }
}

/// Remembers the first record that the brokers refused: from then on the numbers of records aren't their offsets.
#[derive(Default)]
struct Refusals(OnceLock<String>);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, record)) = result {
            let key = String::from_utf8_lossy(record.key().unwrap_or_default());
            self.0.get_or_init(|| format!("record {key} of partition {}: {error}", record.partition()));
        }
    }
}

/// A feeder at work.
pub(crate) struct Feeder(JoinHandle<()>);

impl Feeder {
    /// Starts to produce `per_partition` records into each of `partitions` partitions.
    pub(crate) fn start(
        brokers: &str,
        topic: &str,
        records: Records,
        partitions: usize,
        per_partition: usize,
        pace: Pace,
    ) -> Feeder {
        let producer: BaseProducer<Refusals> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("compression.type", "lz4")
            .set("linger.ms", "5")
            .set("reconnect.backoff.max.ms", "1000")
            .create_with_context(Refusals::default())
            .unwrap();
        let topic = topic.to_owned();
        Feeder(std::thread::spawn(move || {
            let mut due = 0.0;
            let mut last = Instant::now();
            for sequence in 0..per_partition {
                due -= partitions as f64;
                while due < 0.0 {
                    let Some(pace) = pace.per_second((per_partition - sequence) * partitions) else {
                        due = 0.0;
                        break;
                    };
                    producer.poll(TICK);
                    // After a pause there is no hurry to catch up.
                    let elapsed = last.elapsed().min(TICK * 5);
                    last = Instant::now();
                    due += pace * elapsed.as_secs_f64();
                }
                for partition in 0..partitions {
                    send(&producer, &topic, &records, partition, sequence);
                }
            }
            producer.flush(PATIENCE).expect("the brokers answer");
            assert_eq!(producer.context().0.get(), None, "the brokers take all records");
            end_aside(producer);
        }))
    }

    /// Waits until the brokers have all records.
    pub(crate) fn finish(self) {
        self.0.join().expect("the feeder fed");
    }
}

fn send(producer: &BaseProducer<Refusals>, topic: &str, records: &Records, partition: usize, sequence: usize) {
    let (key, value) = (records::key(partition, sequence), records.value(partition, sequence));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as i64;
    let timestamp = now + records.time_shift(partition, sequence);
    let mut record = BaseRecord::to(topic).partition(partition as i32).key(&key).payload(&value).timestamp(timestamp);
    while let Err((_, again)) = producer.send(record) {
        // The queue is full.
        record = again;
        producer.poll(TICK);
    }
    producer.poll(Duration::ZERO);
}
