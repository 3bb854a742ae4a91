//! librdkafka's consumer: positions, pauses, forwarding.

use super::*;

impl World {
    /// Serves log lines, a few at a time. Returns whether everything is served.
    pub(in crate::worker::simulation) fn serve_log_lines(&mut self) -> bool {
        let served = if self.course.serves_one_line { 1 } else { 40 };
        self.course.log_lines = self.course.log_lines.saturating_sub(served);
        self.course.log_lines == 0 || self.course.serves_one_line
    }

    pub(in crate::worker::simulation) fn next_event(&mut self) -> Option<GroupEvent> {
        if self.course.log_lines > 0 {
            return None;
        }
        if let Some(event) = self.events.pop_front() {
            let is_in_step = self.later.iter().any(|(_, later)| matches!(later, Later::Step { .. }));
            if is_in_step && matches!(event, GroupEvent::Revoke(_)) && self.has(PutBack::DropsRevocations) {
                return self.next_event();
            }
            if matches!(event, GroupEvent::PartitionError(_)) && self.has(PutBack::ConsumesUnknownTopicsOn) {
                return self.next_event();
            }
            return Some(event);
        }
        let QueuedOp { toppar, version, op } = self.strays.pop_front()?;
        if version != self.toppars[toppar].version || !self.toppars[toppar].is_assigned {
            return self.next_event();
        }
        match op {
            Op::Record(_) if self.has(PutBack::DropsStrays) => self.next_event(),
            Op::Record(record) => Some(GroupEvent::Stray { partition: name(toppar), offset: record.offset }),
            Op::Error(error) => Some(GroupEvent::PartitionError(fetch_error(toppar, error))),
        }
    }

    pub(super) fn fetch(&mut self) -> bool {
        let mut any = false;
        for toppar in 0..ALL {
            let Toppar { is_assigned, is_paused, fetch_from, .. } = self.toppars[toppar];
            if !is_assigned || is_paused || !self.rng.random_bool(0.5) {
                continue;
            }
            // Whether the topic is another one is reported before its first record.
            let is_announced = |event: &GroupEvent| {
                matches!(event, GroupEvent::PartitionError(error)
                    if error.partition == ALL_PARTITIONS && error.topic == name(toppar).topic)
            };
            if self.events.iter().any(is_announced) {
                continue;
            }
            let log = &self.logs[toppar];
            if fetch_from > log.end || fetch_from < 0 {
                self.trace(|| format!("{toppar} is out of range at {fetch_from}"));
                self.toppars[toppar].fetch_from = 0;
                self.events.push_back(GroupEvent::OffsetReset { topic: name(toppar).topic });
                continue;
            }
            let most = self.rng.random_range(1..=8);
            let fetched: Vec<InputData> =
                log.records.iter().copied().filter(|record| record.offset >= fetch_from).take(most).collect();
            let unreadable = log.unreadable;
            for record in fetched {
                any = true;
                self.toppars[toppar].fetch_from = record.offset + 1;
                if unreadable.is_some_and(|from| record.offset >= from) {
                    let is_taken_for_less = self.has(PutBack::SkipsUnreadable);
                    let error = if is_taken_for_less { Fault::Denied } else { Fault::Unreadable };
                    self.queue_op(toppar, Op::Error(error));
                } else {
                    self.queue_op(toppar, Op::Record(record));
                }
            }
        }
        any
    }

    pub(super) fn queue_op(&mut self, toppar: usize, op: Op) {
        let Toppar { version, queue, .. } = self.toppars[toppar];
        let op = QueuedOp { toppar, version, op };
        match queue {
            Some(queue) => self.queues[queue].push_back(op),
            None => self.strays.push_back(op),
        }
    }

    /// The next thing of a queue that isn't outdated.
    pub(in crate::worker::simulation) fn take(&mut self, queue: usize) -> Option<(usize, Op)> {
        loop {
            let QueuedOp { toppar, version, op } = self.queues[queue].pop_front()?;
            let state = &mut self.toppars[toppar];
            if version != state.version || !state.is_assigned {
                continue;
            }
            match op {
                Op::Record(record) => {
                    let is_below = state.app_position.is_some_and(|position| record.offset < position);
                    if is_below && self.put_back == Some(PutBack::IgnoresLogsThatWentBack) {
                        continue;
                    }
                    state.app_position = Some(record.offset + 1);
                }
                // librdkafka counts the error as a record.
                Op::Error(_) => state.app_position = state.app_position.map(|position| position + 1),
            }
            return Some((toppar, op));
        }
    }

    pub(in crate::worker::simulation) fn attach(&mut self, queue: usize, partition: &TopicPartition) {
        let at = toppar(partition);
        if self.toppars[at].is_assigned && self.has(PutBack::AttachesOnce) {
            return;
        }
        self.toppars[at].queue = Some(if self.course.shares_one_queue { 0 } else { queue });
    }

    /// A rebalance: librdkafka pauses all partitions that it has, and resumes them at the application's position.
    fn pause_and_resume(&mut self) {
        for state in self.toppars.iter_mut().filter(|state| state.is_assigned && !state.is_paused) {
            if let Some(position) = state.app_position {
                state.fetch_from = position;
            }
            state.version += 1;
        }
    }

    pub(in crate::worker::simulation) fn assign(&mut self, starts: &[(TopicPartition, Position)]) {
        self.pause_and_resume();
        for (partition, position) in starts {
            let at = toppar(partition);
            let fetch_from = self.logs[at].validated(*position);
            let is_from_start = self.logs[at].records.first().is_none_or(|first| position.offset <= first.offset);
            let state = &mut self.toppars[at];
            (state.fetch_from, state.app_position, state.is_assigned) = (fetch_from, None, true);
            state.is_mistaken &= !is_from_start;
            state.version += 1;
        }
        self.trace(|| format!("worker assigns {starts:?}"));
    }

    pub(in crate::worker::simulation) fn unassign(&mut self, partitions: &[TopicPartition]) {
        self.pause_and_resume();
        for partition in partitions {
            let at = toppar(partition);
            let detach_at = self.after(1..=1_500);
            let back_at = self.after(1..=5_000);
            let state = &mut self.toppars[at];
            state.is_assigned = false;
            state.is_mistaken = false;
            state.version += 1;
            state.detach_at = Some(detach_at);
            if self.leaving.remove(&at) {
                self.owned.remove(&at);
                self.away.insert(at, back_at);
                self.run_rival(at);
            }
        }
        self.trace(|| format!("worker unassigns {partitions:?}"));
    }

    pub(in crate::worker::simulation) fn seek(
        &mut self,
        positions: &[(TopicPartition, Position)],
    ) -> Result<Vec<(TopicPartition, KafkaError)>, KafkaError> {
        if self.chance(self.faults.seek_fails) {
            return Err(fault(Fault::Busy));
        }
        let mut failed = Vec::new();
        for (partition, position) in positions {
            if self.chance(self.faults.seek_fails) {
                failed.push((partition.clone(), fault(Fault::Busy)));
                continue;
            }
            let at = toppar(partition);
            let fetch_from = self.logs[at].validated(*position);
            let is_from_start = self.logs[at].records.first().is_none_or(|first| position.offset <= first.offset);
            let state = &mut self.toppars[at];
            if !state.is_assigned {
                failed.push((partition.clone(), fault(Fault::Busy)));
                continue;
            }
            if self.put_back == Some(PutBack::ResumesWithoutSeek) {
                continue;
            }
            state.fetch_from = fetch_from;
            state.app_position = None;
            state.is_mistaken &= !is_from_start;
            state.version += 1;
        }
        self.trace(|| format!("worker seeks {positions:?}, in vain: {failed:?}"));
        Ok(failed)
    }

    pub(in crate::worker::simulation) fn set_paused(&mut self, partitions: &[TopicPartition], is_paused: bool) {
        for partition in partitions {
            let state = &mut self.toppars[toppar(partition)];
            if state.is_paused == is_paused {
                continue;
            }
            state.is_paused = is_paused;
            state.version += 1;
            if is_paused && let Some(position) = state.app_position {
                state.fetch_from = position;
            }
        }
        self.trace(|| format!("worker sets paused={is_paused} {partitions:?}"));
    }

    pub(in crate::worker::simulation) fn start_commit(&mut self, commits: &[Commit]) {
        let commits = self.on_their_way(commits);
        let due = self.after(1..=200);
        self.later.push((due, Later::CommitResult { commits, generation: self.generation }));
    }

    pub(in crate::worker::simulation) fn commit_result(
        &mut self,
    ) -> Option<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>> {
        self.commit_results.pop_front()
    }

    pub(in crate::worker::simulation) fn ask_starts(
        &mut self,
        partitions: Vec<TopicPartition>,
        answer: Sender<Result<Vec<(TopicPartition, Start)>, KafkaError>>,
    ) {
        let due = self.group_answers_at();
        self.later.push((due, Later::Starts { partitions, answer }));
    }

    pub(in crate::worker::simulation) fn ask_commits(
        &mut self,
        partitions: Vec<TopicPartition>,
        answer: Sender<Result<GroupCommits, KafkaError>>,
    ) {
        let due = self.group_answers_at();
        self.later.push((due, Later::Commits { partitions, answer }));
    }

    fn group_answers_at(&mut self) -> Instant {
        if self.chance(self.faults.slow_starts) { self.after(500..=4_000) } else { self.after(1..=50) }
    }

    pub(super) fn on_their_way(&self, commits: &[Commit]) -> Vec<CommitOnItsWay> {
        let is_kept = |commit: &&Commit| {
            let is_committed = self.logs[toppar(&commit.partition)].committed.is_some_and(|(position, topic_id)| {
                position.offset == commit.position.offset && topic_id == commit.topic_id
            });
            // Only where a partition begins has no epoch.
            (commit.position.leader_epoch.is_some() || !self.has(PutBack::LeavesStartsUncommitted))
                && !(is_committed && self.has(PutBack::CommitsOffsetsOnly))
        };
        let on_its_way = |commit: &Commit| {
            let toppar = toppar(&commit.partition);
            let topic_id = commit.topic_id.filter(|_| !self.has(PutBack::CommitsNameNoTopic));
            let is_mistaken = self.toppars[toppar].is_mistaken;
            let incarnation = (!is_mistaken).then(|| self.logs[toppar].incarnation);
            CommitOnItsWay { toppar, position: commit.position, topic_id, incarnation }
        };
        commits.iter().filter(is_kept).map(on_its_way).collect()
    }
}
