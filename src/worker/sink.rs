//! The producing end of a worker: acknowledgements in, and what becomes of outputs that were refused.

use std::time::Duration;

use super::WorkerError;
use super::brokers::Brokers;
use super::ledger::Load;
use super::main_loop::RecordOf;
use super::pipeline::{PendingBatch, RoutePipeline};
use super::ports::{Clients, InputRecord, OutputProducer};
use super::refusal::Refusal;
use super::source::PolledRecord;
use crate::kafka::producer::{Acknowledgement, DeliveryError, UndeliveredRecord};
use crate::kafka::refusal::DeliveryFailure;

/// How many records a worker may have in flight. At 300,000 records/s that is 60 ms of acknowledgements; beyond it, the brokers
/// are what is slow.
const MAX_RECORDS: usize = 20_000;

/// And how many bytes. Half as much again must fit into the producer's queue of 64 MiB.
const MAX_BYTES: usize = 32 << 20;

/// How long a route waits before it tries an output again that refused everything.
pub(super) const REFUSED_RETRY: Duration = Duration::from_secs(5);

/// What the last reports said, until the loop looks at it.
#[derive(Default)]
pub(super) struct Refusals {
    acknowledged: Vec<Acknowledgement>,
    undelivered: Vec<UndeliveredRecord>,
    /// Routes whose output refuses everything, with the reason.
    pub(super) routes: Vec<(usize, String)>,
}

impl<K: Clients> Brokers<'_, K> {
    /// Takes the acknowledgements that have come. Returns whether there were any.
    pub(super) fn acknowledge(&mut self) -> Result<bool, WorkerError> {
        let before = self.ledger.in_flight();
        let Refusals { acknowledged, undelivered, .. } = &mut self.refusals;
        let client = self.producer.take_reports(acknowledged, undelivered);
        for Acknowledgement { batch, records } in self.refusals.acknowledged.drain(..) {
            if self.ledger.acknowledge(batch, records, &mut self.partitions) {
                self.finished.push(batch);
            }
        }
        let failed = std::mem::take(&mut self.refusals.undelivered);
        let result = failed.iter().try_for_each(|undelivered| self.not_delivered(undelivered));
        self.refusals.undelivered = failed;
        self.refusals.undelivered.clear();
        let in_flight = self.ledger.in_flight();
        if before == 0 || in_flight < before {
            self.progressed_at = self.now();
        }
        result?;
        if let Err(error) = client {
            match &mut self.transaction {
                Some(transaction) => transaction.doubt(error.source.to_string()),
                None => return Err(error.into()),
            }
        }
        Ok(in_flight < before)
    }

    /// A record was not delivered. Its partition is consumed again from the end of what is done, and what was refused is
    /// remembered.
    fn not_delivered(&mut self, undelivered: &UndeliveredRecord) -> Result<(), WorkerError> {
        let UndeliveredRecord { ticket, topic, source } = undelivered;
        let lost = self.ledger.lose(*ticket);
        let failure = DeliveryFailure::of(source);
        let now = self.now();
        match (failure, &mut self.transaction) {
            (DeliveryFailure::Purged, _) | (DeliveryFailure::PurgedInFlight, None) => {}
            (DeliveryFailure::PurgedInFlight, Some(transaction)) => transaction.note_purged_in_flight(),
            (_, Some(transaction)) => {
                transaction.doubt(format!("a record could not be delivered to {topic}: {source}"))
            }
            (DeliveryFailure::Client | DeliveryFailure::Transaction, None) => {
                return Err(DeliveryError { topic: topic.clone(), source: source.clone() }.into());
            }
            (_, None) => {
                self.partitions.rewind(lost.of, now, &mut self.unlisted);
                self.ledger.unlist(&mut self.unlisted);
            }
        }
        let is_about_topic = match failure {
            // Even its dead letter is refused: that has to be fixed at the topic.
            DeliveryFailure::Record => self.partitions.refuse(&lost, format!("topic {topic} refuses it: {source}")),
            failure => failure == DeliveryFailure::Topic,
        };
        if is_about_topic {
            // A letter may be refused, or cut, for a limit that the topic has no more.
            self.surroundings.refresh_topics();
            self.refusals.routes.push((lost.route, format!("topic {topic} refuses its outputs: {source}")));
        }
        let slot = ticket.batch as usize;
        if self.ledger.acknowledge(slot, 1, &mut self.partitions) {
            self.finished.push(slot);
        }
        Ok(())
    }

    /// Whether a route may have so much more in flight. Each route always has its own share; half of the whole goes to whoever
    /// asks first. So one that waits for its output never keeps the others waiting.
    pub(super) fn has_room(&self, route: usize, more: Load) -> bool {
        let Load { records, bytes } = self.ledger.load(route);
        if records == 0 {
            return true;
        }
        let total = self.ledger.total();
        let share = self.queues.len();
        let fits =
            |used: usize, total: usize, more: usize, max: usize| used + more <= max / share || total + more <= max / 2;
        fits(records, total.records, more.records, MAX_RECORDS) && fits(bytes, total.bytes, more.bytes, MAX_BYTES)
    }
}

/// Sends the outcomes of a scored batch, from the next record on. Returns whether it is complete.
pub(super) fn send_records<'c, K: Clients>(
    brokers: &mut Brokers<'c, K>,
    pipeline: &RoutePipeline<RecordOf<'c, K>>,
    pending: &mut PendingBatch<RecordOf<'c, K>>,
    route: usize,
    has_suspect_in_flight: &mut bool,
) -> Result<bool, WorkerError> {
    if !brokers.begin_if_needed(pending.records.len() - pending.next)? {
        return Ok(false);
    }
    let now_ms = brokers.surroundings.wall_clock_ms();
    for result in pipeline.results(pending.next) {
        let held = &pending.records[pending.next];
        if !brokers.partitions.holds(held.lease) {
            // It went to another worker, or comes again.
            pending.next += 1;
            continue;
        }
        let refusal = brokers.partitions.refusal(held.lease, held.record.offset(), held.record.leader_epoch()).cloned();
        let must_be_alone = refusal.is_some();
        if must_be_alone || *has_suspect_in_flight {
            if brokers.ledger.load(route).records > 0 {
                return Ok(false);
            }
            // Everything before it is acknowledged, and doesn't have to come again if this one is refused.
            pending.slot = split_batch(brokers, pending.slot, &pending.records[pending.next..]);
        }
        let refused = match &refusal {
            Some(Refusal::Refused(reason)) => Some(reason.as_str()),
            _ => None,
        };
        let ticket = brokers.ledger.next_ticket(pending.slot);
        let outcome = pipeline.outcome(held, result, refused, ticket, now_ms);
        match brokers.producer.send(outcome.outgoing) {
            Ok(()) => {}
            Err(not_sent) if not_sent.queue_is_full() && brokers.ledger.in_flight() > 0 => return Ok(false),
            Err(not_sent) if not_sent.transaction_is_over() && brokers.transaction.is_some() => {
                brokers.doubt_transaction(not_sent.error.to_string());
                return Ok(false);
            }
            Err(not_sent) => {
                let (topic, error) = (not_sent.record.topic, not_sent.error);
                match DeliveryFailure::of(&error) {
                    // The client knows already that the topic doesn't take the record: its dead letter is sent next.
                    DeliveryFailure::Record if refused.is_none() => {
                        let reason = format!("topic {topic} refuses it: {error}");
                        let (offset, epoch) = (held.record.offset(), held.record.leader_epoch());
                        brokers.partitions.refuse_unsent(held.lease, offset, epoch, reason);
                    }
                    // Or that it takes nothing: the rest of the batch waits with its route.
                    DeliveryFailure::Record | DeliveryFailure::Topic => {
                        brokers.refusals.routes.push((route, format!("topic {topic} refuses its outputs: {error}")));
                    }
                    _ => return Err(error.into()),
                }
                return Ok(false);
            }
        }
        let position = (held.record.offset(), held.record.leader_epoch());
        brokers.ledger.sent(pending.slot, held.lease, position, outcome.bytes, &mut brokers.partitions);
        pipeline.count(outcome.rejected);
        pending.rejected += usize::from(outcome.rejected.is_some());
        *has_suspect_in_flight = must_be_alone;
        pending.next += 1;
    }
    Ok(true)
}

/// Makes the rest of a batch a batch of its own, so that what was sent of it counts as done when it is acknowledged. Returns the
/// slot of the rest.
fn split_batch<'c, K: Clients>(
    brokers: &mut Brokers<'c, K>,
    slot: usize,
    rest: &[PolledRecord<RecordOf<'c, K>>],
) -> usize {
    if brokers.ledger.is_unsent(slot) {
        return slot;
    }
    let timestamps = rest.iter().filter(|held| held.record.timestamp_ms().is_some()).count();
    let slot_of_rest = brokers.ledger.split(slot, timestamps, brokers.surroundings.now());
    if brokers.ledger.close(slot, &mut brokers.partitions) {
        brokers.finished.push(slot);
    }
    slot_of_rest
}
