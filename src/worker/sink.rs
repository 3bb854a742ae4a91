//! The producing end of a worker: outputs out, acknowledgements in.

use std::time::{Duration, Instant};

use super::ledger::Ledger;
use crate::kafka::KafkaError;
use crate::kafka::producer::{Acknowledged, DeliveryError, NotSent, Outgoing, Producer};

/// What is remembered of a batch until its last record is acknowledged.
pub(super) struct Sent {
    /// The lane that it came through.
    pub(super) lane: usize,
    /// When it was handed to the producer.
    pub(super) at: Instant,
    /// The input records' timestamps, in milliseconds since 1970.
    pub(super) timestamps: Vec<i64>,
}

impl Sent {
    fn empty() -> Sent {
        Sent { lane: 0, at: Instant::now(), timestamps: Vec::new() }
    }

    /// Remembers another batch.
    pub(super) fn start(&mut self, lane: usize, timestamps: impl Iterator<Item = i64>) {
        (self.lane, self.at) = (lane, Instant::now());
        self.timestamps.clear();
        self.timestamps.extend(timestamps);
    }
}

/// A producer and the batches that wait for acknowledgement.
pub(super) struct Sink {
    producer: Producer,
    acknowledged: Vec<Acknowledged>,
    /// By batch slot.
    sent: Vec<Sent>,
}

impl Sink {
    pub(super) fn new(producer: Producer) -> Sink {
        Sink { producer, acknowledged: Vec::new(), sent: Vec::new() }
    }

    /// What is remembered of the batch in this slot.
    pub(super) fn sent(&mut self, batch: usize) -> &mut Sent {
        if self.sent.len() <= batch {
            self.sent.resize_with(batch + 1, Sent::empty);
        }
        &mut self.sent[batch]
    }

    /// Hands a record to the producer.
    #[expect(clippy::result_large_err, reason = "the record comes back to be sent again, which is rare")]
    pub(super) fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>> {
        self.producer.send(record)
    }

    /// The producer, for its transactions.
    pub(super) fn producer(&self) -> &Producer {
        &self.producer
    }

    /// Takes acknowledgements, waiting up to `timeout` for the first, and calls `done` for each batch that they
    /// complete.
    pub(super) fn settle(
        &mut self,
        timeout: Duration,
        ledger: &mut Ledger,
        mut done: impl FnMut(&mut Sent),
    ) -> Result<(), DeliveryError> {
        let result = self.producer.poll(timeout, &mut self.acknowledged);
        for Acknowledged { batch, records } in self.acknowledged.drain(..) {
            if ledger.acknowledge(batch, records) {
                done(&mut self.sent[batch]);
            }
        }
        result
    }

    /// The number of partitions of an output topic now.
    pub(super) fn partitions(&self, topic: &str) -> Result<i32, KafkaError> {
        self.producer.partitions(topic, Duration::from_secs(5))
    }
}
