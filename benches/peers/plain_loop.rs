//! The plain loop: each record's bytes, as they are, by rdkafka's own clients, with the settings of weir's but
//! for `linger.ms`, which is its user's choice: one that is fast at rest, or one that is fast under load.

use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord};

/// After so many records the producer is polled: rdkafka takes the reports of one batch at a time, and where more batches
/// are delivered than are taken, the queue is full of records that were delivered long ago.
const POLL_EVERY: usize = 32;

/// Runs until it is killed.
pub(crate) fn run(brokers: &str, input: &str, output: &str, group: &str, threads: usize, linger_ms: &str) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| pass_on(brokers, input, output, group, linger_ms));
        }
    });
}

fn pass_on(brokers: &str, input: &str, output: &str, group: &str, linger_ms: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()
        .unwrap();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("batch.size", "1000000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("linger.ms", linger_ms)
        .create()
        .unwrap();
    consumer.subscribe(&[input]).unwrap();
    let mut commit_at = Instant::now() + Duration::from_secs(1);
    for count in 0_usize.. {
        if let Some(message) = consumer.poll(Duration::from_millis(10)) {
            let Ok(message) = message else { continue };
            let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(output).partition(message.partition());
            record.key = message.key();
            record.payload = message.payload();
            record.timestamp = message.timestamp().to_millis();
            while let Err((_, again)) = producer.send(record) {
                record = again;
                producer.poll(Duration::from_millis(1));
            }
        }
        if count % POLL_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
        if count % 256 == 0 && Instant::now() >= commit_at {
            commit_at = Instant::now() + Duration::from_secs(1);
            if let Ok(position) = consumer.position() {
                let _ = consumer.commit(&position, CommitMode::Async);
            }
        }
    }
}
