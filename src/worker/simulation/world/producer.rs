//! librdkafka's producer, and transactions.

use super::*;

impl World {
    /// Takes a record, unless its queue is full, or it is known that the output refuses it.
    pub(in crate::worker::simulation) fn send(
        &mut self,
        ticket: Ticket,
        route: usize,
        id: u64,
        kind: Kind,
        is_prediction: bool,
    ) -> Result<(), Fault> {
        if self.faults.refuses_unsent && self.now < self.output_refuses_until[route] {
            return Err(Fault::Denied);
        }
        if self.faults.refuses_unsent && is_prediction && kind == Kind::Refused {
            return Err(Fault::Refused);
        }
        if self.in_flight.len() >= self.faults.queue {
            return Err(Fault::QueueFull);
        }
        let due = self.after(1..=60);
        let due =
            self.in_flight.iter().rev().find(|other| other.route == route).map_or(due, |other| other.due.max(due));
        self.in_flight.push_back(InFlight { ticket, id, kind, is_prediction, route, due, is_stray: false });
        Ok(())
    }

    pub(in crate::worker::simulation) fn take_reports(
        &mut self,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError> {
        acknowledged.append(&mut self.acknowledged);
        undelivered.append(&mut self.undelivered);
        let is_refused = |report: &&UndeliveredRecord| DeliveryFailure::of(&report.source) == DeliveryFailure::Record;
        match undelivered.iter().find(is_refused).filter(|_| self.has(PutBack::FailsAtRefusals)) {
            None => Ok(()),
            Some(report) => Err(DeliveryError { topic: report.topic.clone(), source: report.source.clone() }),
        }
    }

    /// Delivers what is due, request by request.
    pub(super) fn deliver(&mut self) -> bool {
        let mut any = false;
        for route in 0..ROUTES {
            if self.now < self.output_stalls_until[route] {
                continue;
            }
            let is_due = |message: &InFlight| message.route == route && message.due <= self.now && !message.is_stray;
            let batch: Vec<InFlight> = self.in_flight.iter().copied().filter(is_due).collect();
            if batch.is_empty() {
                continue;
            }
            any = true;
            let now = self.now;
            self.in_flight.retain(|message| !(message.route == route && message.due <= now && !message.is_stray));
            let refuses = self.now < self.output_refuses_until[route];
            // Predictions and dead letters go to topics of their own, and so in requests of their own.
            for is_prediction in [true, false] {
                let request: Vec<_> = batch.iter().filter(|message| message.is_prediction == is_prediction).collect();
                let is_refused = |message: &&&InFlight| message.is_prediction && message.kind == Kind::Refused;
                let refused = request.iter().filter(is_refused).count();
                for message in &request {
                    let failure = if refuses {
                        Some(Fault::Denied)
                    } else if refused > 0 && (self.faults.refuses_whole_requests || is_refused(&message)) {
                        Some(Fault::Refused)
                    } else if refused > 0 {
                        Some(Fault::RefusedMate)
                    } else {
                        None
                    };
                    match failure {
                        Some(failure) => {
                            let (id, count) = (message.id, request.len());
                            self.trace(|| format!("record {id} of {count} is not delivered: {failure:?}"));
                            self.undelivered.push(undelivered(message, failure));
                        }
                        None => {
                            let transaction = self.transaction.map(|(number, _)| number);
                            let id = message.id;
                            self.trace(|| format!("record {id} is delivered"));
                            self.outputs.push(OutputData { id, is_prediction, transaction });
                            self.acknowledged
                                .push(Acknowledgement { batch: message.ticket.batch as usize, records: 1 });
                        }
                    }
                }
            }
        }
        any
    }

    pub(in crate::worker::simulation) fn purge(&mut self) {
        if std::mem::replace(&mut self.was_purged, true) && self.has(PutBack::PurgesOnce) {
            return;
        }
        for mut message in std::mem::take(&mut self.in_flight) {
            message.is_stray = !message.is_stray && self.chance(self.faults.escapes_purge);
            if message.is_stray {
                self.in_flight.push_back(message);
            } else if self.rng.random_bool(0.5) {
                self.undelivered.push(undelivered(&message, Fault::Purged));
            } else {
                self.undelivered.push(undelivered(&message, Fault::PurgedInFlight));
                let (due, producer) = (self.after(1..=500), self.producer);
                self.later.push((due, Later::LateOutput { message, producer }));
            }
        }
    }

    /// A record arrives that was purged after it was sent. It counts for the transaction that its producer has now.
    pub(super) fn arrive_late(&mut self, message: &InFlight, producer: u64) {
        let is_fenced = producer != self.producer && !self.has(PutBack::KeepsProducer);
        if let Some((number, _)) = self.transaction.filter(|_| !is_fenced) {
            let InFlight { id, is_prediction, .. } = *message;
            self.trace(|| format!("record {id} arrives late"));
            self.outputs.push(OutputData { id, is_prediction, transaction: Some(number) });
        }
    }

    pub(in crate::worker::simulation) fn new_producer(&mut self) -> u64 {
        self.producer += 1;
        self.in_flight.clear();
        self.acknowledged.clear();
        self.undelivered.clear();
        self.producer
    }

    pub(in crate::worker::simulation) fn begin_transaction(&mut self) {
        self.trace(|| "a transaction begins".into());
        self.transactions += 1;
        self.transaction = Some((self.transactions, self.now));
        self.pending_offsets.clear();
        self.was_purged = false;
    }

    pub(in crate::worker::simulation) fn step(
        &mut self,
        step: Step,
        answer: Sender<Result<(), TransactionError>>,
        producer: u64,
    ) {
        let due = if self.chance(self.faults.slow_steps) { self.after(100..=12_000) } else { self.after(1..=40) };
        self.later.push((due, Later::Step { step, answer, producer }));
    }

    pub(in crate::worker::simulation) fn generation(&self) -> u64 {
        self.generation
    }

    pub(in crate::worker::simulation) fn commits_of_transaction(&self, commits: &[Commit]) -> Vec<CommitOnItsWay> {
        self.on_their_way(commits)
    }

    pub(super) fn end_overdue_transaction(&mut self) {
        if self.transaction.is_some_and(|(_, since)| self.now.duration_since(since) >= TRANSACTION_TIMEOUT) {
            self.trace(|| "the brokers end the transaction".into());
            self.abort_outputs();
            self.transaction = None;
            let (strays, sent): (VecDeque<_>, VecDeque<_>) =
                std::mem::take(&mut self.in_flight).into_iter().partition(|message| message.is_stray);
            self.in_flight = strays;
            self.undelivered.extend(sent.iter().map(|message| undelivered(message, Fault::WrongState)));
            // Whoever comes with the old producer is fenced.
            self.producer += 1_000;
        }
    }

    /// The open transaction is aborted. Its markers take along what others without markers have left.
    pub(super) fn abort_outputs(&mut self) {
        if self.transaction.is_some() {
            self.outputs.retain(|output| output.transaction.is_none());
            self.pending_offsets.clear();
        }
    }

    /// A transaction is committed, and its markers are never written: its partitions have no leader at the moment. Then the brokers
    /// go away, so that the next transaction fails.
    pub(super) fn lose_markers(&mut self) {
        self.trace(|| "the markers are lost".into());
        self.has_lost_markers = true;
        self.has_hanging_offsets |= !self.pending_offsets.is_empty();
        self.pending_offsets.clear();
        self.transaction = None;
        self.refuses_next_offsets = true;
        for toppar in 0..ALL {
            self.append(toppar, 1);
        }
    }
}
