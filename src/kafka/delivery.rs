//! Records that are sent and waited for, by those who keep no ledger.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::KafkaError;
use super::producer::{Acknowledgement, DeliveryError, Outgoing, Producer};

/// How long acknowledgements are waited for after somebody has asked to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long nothing may come before `watch` is asked again.
const STEP: Duration = Duration::from_millis(10);

/// Records on their way.
pub struct Delivery<'p> {
    producer: &'p Producer,
    /// Records sent and acknowledged since [`Delivery::settle`].
    sent: u64,
    acknowledged: u64,
    reports: Vec<Acknowledgement>,
}

/// Why records weren't delivered.
#[derive(Debug, thiserror::Error)]
pub enum UndeliveredError {
    /// The brokers refused one.
    #[error(transparent)]
    Refused(#[from] DeliveryError),
    /// The client didn't even take one.
    #[error("a record can't be sent to topic {topic:?}")]
    NotSent {
        /// Where it should have gone.
        topic: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The brokers were away when somebody asked to stop.
    #[error("the brokers haven't acknowledged the last {records} records, which may be there or not")]
    Unacknowledged {
        /// How many.
        records: u64,
    },
}

impl<'p> Delivery<'p> {
    /// None yet.
    pub fn new(producer: &'p Producer) -> Delivery<'p> {
        Delivery { producer, sent: 0, acknowledged: 0, reports: Vec::new() }
    }

    /// How many were sent since everything was acknowledged.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends a record; waits while the producer has no room. `watch` is asked meanwhile, and may ask to stop.
    pub fn send(
        &mut self,
        mut record: Outgoing<'_>,
        watch: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), UndeliveredError> {
        let topic = record.topic;
        loop {
            match self.producer.send(record) {
                Ok(()) => break,
                Err(refused) if refused.queue_is_full() && self.sent > 0 => record = refused.record,
                Err(refused) => return Err(UndeliveredError::NotSent { topic: topic.into(), source: refused.error }),
            }
            self.settle(watch)?;
        }
        self.sent += 1;
        self.serve(Duration::ZERO)
    }

    /// Waits until everything is acknowledged, however long the brokers are away, unless somebody asks to stop.
    pub fn settle(&mut self, watch: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), UndeliveredError> {
        let mut deadline = None;
        while self.acknowledged < self.sent {
            self.producer.flush();
            self.serve(STEP)?;
            let now = Instant::now();
            if deadline.is_none() && watch().is_break() {
                deadline = Some(now + STOP_TIMEOUT);
            }
            if deadline.is_some_and(|deadline| now > deadline) {
                return Err(UndeliveredError::Unacknowledged { records: self.sent - self.acknowledged });
            }
        }
        (self.sent, self.acknowledged) = (0, 0);
        Ok(())
    }

    fn serve(&mut self, timeout: Duration) -> Result<(), UndeliveredError> {
        self.producer.poll(timeout, &mut self.reports)?;
        self.acknowledged += self.reports.drain(..).map(|run| u64::from(run.records)).sum::<u64>();
        Ok(())
    }
}
