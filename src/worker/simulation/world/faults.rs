//! Faults as they happen, and the other members of the group.

use super::*;

impl World {
    /// From now on nothing goes wrong by itself.
    pub(in crate::worker::simulation) fn heal(&mut self) {
        self.faults.last = Duration::ZERO;
    }

    /// The group doesn't take the worker. To be called at the beginning.
    pub(in crate::worker::simulation) fn keep_out(&mut self) {
        self.has_membership = false;
        self.away.clear();
    }

    pub(super) fn draw_faults(&mut self) {
        let toppar = self.rng.random_range(0..ALL);
        let count = self.rng.random_range(1..=4);
        if self.rng.random_bool(0.3) {
            self.append(toppar, count);
        }
        if self.chance(self.faults.fetch_error) && self.toppars[toppar].is_assigned {
            self.trace(|| format!("fetch error on {toppar}"));
            self.queue_op(toppar, Op::Error(Fault::Denied));
        }
        if self.chance(self.faults.unreadable) && self.logs[toppar].unreadable.is_none() {
            let from = self.toppars[toppar].fetch_from;
            self.trace(|| format!("{toppar} is unreadable from {from}"));
            self.logs[toppar].unreadable = Some(from);
        } else if self.rng.random_bool(0.05) {
            self.logs[toppar].unreadable = None;
        }
        if self.chance(self.faults.revoke) {
            self.take_away(toppar, false);
        }
        if self.chance(self.faults.lose) {
            self.take_away(toppar, true);
        }
        if self.chance(self.faults.recreate) {
            self.recreate(toppar / PARTITIONS);
        }
        if self.chance(self.faults.truncate) {
            self.truncate(toppar);
        }
        let route = toppar / PARTITIONS;
        if self.chance(self.faults.refuse_topic) {
            self.output_refuses_until[route] = self.after(100..=8_000);
            self.trace(|| format!("output of route {route} refuses"));
        }
        if self.chance(self.faults.stall) {
            self.output_stalls_until[route] = self.after(100..=15_000);
            self.trace(|| format!("output of route {route} stalls"));
        }
    }

    pub(super) fn append(&mut self, toppar: usize, count: usize) {
        for _ in 0..count {
            let kind = match self.rng.random_range(0..20) {
                0 => Kind::Malformed,
                1 if self.faults.refuse_records => Kind::Refused,
                _ => Kind::Good,
            };
            let gap = if self.rng.random_bool(0.1) { self.rng.random_range(1..4) } else { 0 };
            let log = &mut self.logs[toppar];
            let epoch = log.epochs.len() as i32;
            log.records.push(InputData { id: self.next_id, offset: log.end + gap, epoch, kind });
            log.end += gap + 1;
            self.next_id += 1;
        }
        if self.rng.random_bool(0.2) {
            // The marker of a transaction.
            self.logs[toppar].end += 1;
        }
    }

    /// The topic of a route is deleted and created again.
    pub(super) fn recreate(&mut self, route: usize) {
        // Only once: between two snapshots nobody can see that it happened twice.
        if self.topic_ids[route] > 1 {
            return;
        }
        self.trace(|| format!("topic {route} is created again"));
        self.topic_ids[route] += 1;
        // Brokers delete a topic's commits with it; a commit that comes just after that stays.
        let commits_stay = self.rng.random_bool(0.5);
        for toppar in route * PARTITIONS..(route + 1) * PARTITIONS {
            let log = &mut self.logs[toppar];
            self.waived.extend(log.records.drain(..).map(|record| record.id));
            (log.end, log.unreadable) = (0, None);
            log.committed = log.committed.filter(|_| commits_stay);
            log.epochs.clear();
            log.was_created_again = true;
            log.incarnation += 1;
            self.toppars[toppar].is_mistaken = self.toppars[toppar].is_assigned;
            self.logs[toppar].was_announced = self.faults.announces_recreation && self.toppars[toppar].is_assigned;
            let count = self.rng.random_range(0..40);
            self.append(toppar, count);
        }
        if self.faults.announces_recreation {
            let topic = name(route * PARTITIONS).topic;
            let error = FetchError { topic, partition: ALL_PARTITIONS, source: fault(Fault::UnknownTopic) };
            self.events.push_back(GroupEvent::PartitionError(error));
        }
    }

    /// A leader without the last records takes over.
    pub(super) fn truncate(&mut self, toppar: usize) {
        let log = &mut self.logs[toppar];
        let lost = self.rng.random_range(0..=log.records.len().min(5));
        if lost == 0 {
            return;
        }
        let kept = log.records.len() - lost;
        let removed: Vec<InputData> = log.records.drain(kept..).collect();
        log.end = removed[0].offset;
        log.epochs.push(log.end);
        self.waived.extend(removed.iter().map(|record| record.id));
        let end = self.logs[toppar].end;
        self.trace(|| format!("{toppar} is truncated to {end}"));
        // librdkafka asks the new leader where the last epoch that it read ended (KIP-320), and goes back silently.
        let state = &mut self.toppars[toppar];
        state.fetch_from = state.fetch_from.min(end);
        self.append(toppar, lost);
    }

    /// Another member gets a partition: after the worker has answered, or at once.
    pub(super) fn take_away(&mut self, toppar: usize, is_lost: bool) {
        if !self.owned.contains(&toppar) || !self.leaving.is_empty() {
            return;
        }
        let all = self.faults.is_eager;
        let partitions: Vec<usize> = if all || is_lost { self.owned.iter().copied().collect() } else { vec![toppar] };
        let named = partitions.iter().map(|&toppar| name(toppar)).collect();
        self.trace(|| format!("{partitions:?} {}", if is_lost { "are lost" } else { "are revoked" }));
        self.leaving.extend(&partitions);
        self.generation += 1;
        if is_lost {
            for toppar in partitions {
                self.run_rival(toppar);
            }
            self.events.push_back(GroupEvent::Lost(named));
        } else {
            self.events.push_back(GroupEvent::Revoke(named));
        }
    }

    /// Another member consumes some records of a partition.
    pub(super) fn run_rival(&mut self, toppar: usize) {
        // A reader of committed offsets waits for the transaction that has some of this partition.
        if self.pending_offsets.iter().any(|pending| pending.toppar == toppar) {
            return;
        }
        let log = &self.logs[toppar];
        let from = match self.start(toppar).point {
            StartPoint::Committed(position) => log.validated(position),
            _ => 0,
        };
        let fresh: Vec<InputData> = log.records.iter().copied().filter(|record| record.offset >= from).collect();
        let count = self.rng.random_range(0..=fresh.len().min(6));
        for record in &fresh[..count] {
            let is_prediction = record.kind == Kind::Good;
            self.outputs.push(OutputData { id: record.id, is_prediction, transaction: None });
        }
        if let Some(last) = fresh[..count].last() {
            let position = Position { offset: last.offset + 1, leader_epoch: Some(last.epoch) };
            self.logs[toppar].committed = Some((position, Some(self.topic_id(toppar))));
        }
        let ids: Vec<u64> = fresh[..count].iter().map(|record| record.id).collect();
        self.trace(|| format!("another member consumes {ids:?} of {toppar}"));
    }

    pub(super) fn bring_back(&mut self) -> bool {
        if !self.leaving.is_empty() {
            return false;
        }
        let back: Vec<usize> = self.away.iter().filter(|(_, at)| **at <= self.now).map(|(toppar, _)| *toppar).collect();
        if back.is_empty() {
            return false;
        }
        for toppar in &back {
            self.away.remove(toppar);
            self.owned.insert(*toppar);
        }
        self.generation += 1;
        self.trace(|| format!("{back:?} are assigned"));
        self.events.push_back(GroupEvent::Assign(back.into_iter().map(name).collect()));
        true
    }
}
