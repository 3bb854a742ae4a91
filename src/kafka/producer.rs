//! Outputs in, delivery reports out, counted by batch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::Headers;
use super::admin::OutputLimits;
use super::settings::KafkaConfig;

/// A record on its way out.
pub struct Outgoing<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None`: by the key, as Java clients choose it.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
    /// The headers, if any.
    pub headers: Option<Headers>,
    /// The batch that the delivery report is counted for.
    pub batch: usize,
}

/// A record that was not taken; it can be sent again.
pub struct NotSent<'a> {
    /// The record.
    pub record: Outgoing<'a>,
    /// Why.
    pub error: KafkaError,
}

impl NotSent<'_> {
    /// Whether only the producer's queue is full: after some delivery reports there is room again.
    pub fn queue_is_full(&self) -> bool {
        self.error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
    }
}

/// Deliveries that were acknowledged: so many records of that batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The batch.
    pub batch: usize,
    /// How many of its records, since the last report.
    pub records: u32,
}

/// A record that the brokers refuse for good, or a producer that can't go on.
#[derive(Debug, thiserror::Error)]
#[error("a record could not be delivered to topic {topic:?}")]
pub struct DeliveryError {
    /// The output topic; empty where the whole producer failed.
    pub topic: String,
    /// What librdkafka says.
    pub source: KafkaError,
}

/// An idempotent producer, served by the worker that owns it.
pub struct Producer {
    inner: BaseProducer<Context>,
}

#[derive(Default)]
struct Context {
    // Locked only by the owning worker, within its own `poll`: never contended.
    reports: Mutex<Reports>,
}

#[derive(Default)]
struct Reports {
    acknowledged: Vec<Acknowledged>,
    failure: Option<DeliveryError>,
}

impl Producer {
    /// Creates the client, for topics with these limits.
    pub fn new(config: &KafkaConfig, limits: &OutputLimits) -> Result<Producer, KafkaError> {
        Ok(Producer { inner: config.producer(limits).create_with_context(Context::default())? })
    }

    /// Hands a record to librdkafka, which copies it. Never blocks.
    #[expect(clippy::result_large_err, reason = "the record comes back to be sent again, which is rare")]
    pub fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>> {
        let Outgoing { topic, partition, key, value, timestamp_ms, headers, batch } = record;
        let native = BaseRecord::<[u8], [u8], usize> {
            topic,
            partition,
            payload: value,
            key,
            timestamp: timestamp_ms,
            headers: headers.map(|headers| headers.0),
            delivery_opaque: batch,
        };
        self.inner.send(native).map_err(|(error, native)| NotSent {
            record: Outgoing {
                topic,
                partition,
                key,
                value,
                timestamp_ms,
                headers: native.headers.map(Headers),
                batch,
            },
            error,
        })
    }

    /// Serves delivery reports, waiting up to `timeout` for the first, and appends them to `acknowledged`. A failure
    /// is returned once.
    pub fn poll(&self, timeout: Duration, acknowledged: &mut Vec<Acknowledged>) -> Result<(), DeliveryError> {
        self.inner.poll(timeout);
        let mut reports = self.inner.context().reports();
        acknowledged.append(&mut reports.acknowledged);
        reports.failure.take().map_or(Ok(()), Err)
    }

    /// The number of partitions of a topic. Blocks for up to `timeout`.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<i32, KafkaError> {
        let metadata = self.inner.client().fetch_metadata(Some(topic), timeout)?;
        let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

impl Context {
    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let KafkaError::Global(RDKafkaErrorCode::Fatal) = error {
            self.reports().failure = Some(DeliveryError { topic: String::new(), source: error });
        }
        tracing::debug!(target: "weir::kafka", "producer: {reason}");
    }
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: usize) {
        let mut reports = self.reports();
        match result {
            Ok(_) => match reports.acknowledged.last_mut() {
                // Reports come in the order of sending, so a batch is mostly one run.
                Some(run) if run.batch == batch => run.records += 1,
                _ => reports.acknowledged.push(Acknowledged { batch, records: 1 }),
            },
            Err((error, message)) => {
                reports.failure = Some(DeliveryError { topic: message.topic().to_owned(), source: error.clone() });
            }
        }
    }
}
