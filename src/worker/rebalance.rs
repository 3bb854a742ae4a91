//! What the group decides about this worker: partitions that come, partitions that go.

use std::time::{Duration, Instant};

use super::brokers::Brokers;
use super::ports::{Clients, GroupConsumer};
use super::{Activity, WorkerError};
use crate::kafka::KafkaError;
use crate::kafka::consumer::{GroupEvent, Position, Start, StartPoint, TopicPartition};
use crate::monitor::metrics::Rebalance;

/// How long a revocation may take. The group waits for it, and it must stay below `max.poll.interval.ms`.
pub(crate) const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the worker waits for the starts of partitions that it has just been assigned, before it assigns them paused.
const STARTS_TIMEOUT: Duration = Duration::from_secs(1);

/// What to do about a group whose members assign partitions in another way.
const OTHER_PROTOCOL: &str = "its other members have another partition.assignment.strategy or group.protocol: set what they have, or \
                              stop them before you change it";

/// How often starts are asked for again, where the answer was an error: an open transaction has offsets of the partition, or the
/// brokers are away.
const STARTS_RETRY: Duration = Duration::from_millis(500);

impl<K: Clients> Brokers<'_, K> {
    /// Answers a group event. Whatever the caller could finish before is finished.
    pub(super) fn answer(&mut self, event: GroupEvent) -> Result<(), WorkerError> {
        self.heartbeat.enter(Activity::Rebalance);
        let finished = match &event {
            GroupEvent::Revoke(_) => self.commit_now(self.now() + REVOKE_TIMEOUT),
            #[cfg(feature = "planted-bugs")]
            GroupEvent::Lost(_) if super::planted::in_nobodys_name() => Ok(()),
            GroupEvent::Lost(_) => {
                self.doubt_transaction("partitions are lost");
                Ok(())
            }
            _ => Ok(()),
        };
        // Whatever became of that, the group waits for the answer.
        self.accept(event)?;
        finished
    }

    /// Answers a group event when nothing more can be finished before.
    pub(super) fn accept(&mut self, event: GroupEvent) -> Result<(), WorkerError> {
        let now = self.now();
        match event {
            GroupEvent::Assign(partitions) => {
                self.metrics.rebalanced(Rebalance::Assign);
                tracing::info!(partitions = %names(&partitions), "partitions assigned");
                self.assign(&partitions)?;
                self.failed_commits = None;
                self.note_assignment();
                self.set_denied(None);
            }
            GroupEvent::Revoke(partitions) => {
                self.metrics.rebalanced(Rebalance::Revoke);
                tracing::info!(partitions = %names(&partitions), "partitions revoked");
                self.unassign(&partitions)?;
            }
            GroupEvent::Lost(partitions) => {
                self.metrics.rebalanced(Rebalance::Lost);
                tracing::warn!(partitions = %names(&partitions), "partitions lost; nothing of them is committed");
                self.note_loss();
                self.unassign(&partitions)?;
            }
            GroupEvent::Denied => self.set_denied(Some(self.denial)),
            GroupEvent::OtherProtocol => self.set_denied(Some(OTHER_PROTOCOL)),
            GroupEvent::OffsetReset { topic } => self.metrics.offset_reset(&topic),
            GroupEvent::PartitionError(error) => self.fetch_failed(&error, now),
            GroupEvent::Stray { partition, offset } => {
                if let Some(route) = self.partitions.route_of(&partition) {
                    self.consumer.attach(route, &partition);
                    self.partitions.refetch(&partition, Some(offset), now);
                }
            }
        }
        Ok(())
    }

    /// Begins to consume partitions where the group has committed. Where that isn't known in time, they are assigned paused, and
    /// wait for it.
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkerError> {
        let now = self.now();
        self.partitions.refetch_open(now);
        self.partitions.assign(partitions, now);
        for partition in partitions {
            if let Some(route) = self.partitions.route_of(partition) {
                self.consumer.attach(route, partition);
            }
        }
        let starts = if partitions.is_empty() { Some(Vec::new()) } else { self.ask_starts_now(partitions)? };
        let Some(mut starts) = starts else {
            // Paused, they stand anywhere.
            let anywhere: Vec<_> = partitions.iter().map(|partition| (partition.clone(), Position::at(0))).collect();
            self.consumer.assign(&anywhere)?;
            self.consumer.pause(partitions)?;
            self.partitions.paused(partitions);
            return Ok(());
        };
        self.begin_added_whole(&mut starts);
        let position = |(partition, start): &(TopicPartition, Start)| {
            let position = match start.point {
                StartPoint::Committed(position) => position,
                StartPoint::Reset(offset) | StartPoint::Recreated(offset) => Position::at(offset),
                StartPoint::Nowhere => Position::at(0),
            };
            (partition.clone(), position)
        };
        self.consumer.assign(&starts.iter().map(position).collect::<Vec<_>>())?;
        let nowhere: Vec<_> = starts
            .iter()
            .filter(|(_, start)| matches!(start.point, StartPoint::Nowhere))
            .map(|(partition, _)| partition.clone())
            .collect();
        if !nowhere.is_empty() {
            self.consumer.pause(&nowhere)?;
            self.partitions.paused(&nowhere);
        }
        for (partition, start) in starts {
            self.start(&partition, start, true, now);
        }
        Ok(())
    }

    /// A partition that was added while the worker ran has no records from before: it is consumed from its first record, even
    /// where `auto.offset.reset` is `latest`.
    fn begin_added_whole(&self, starts: &mut [(TopicPartition, Start)]) {
        for (partition, start) in starts {
            if let StartPoint::Reset(offset) = &mut start.point
                && self.partitions.is_added(partition)
            {
                *offset = 0;
            }
        }
    }

    /// Notes where an assigned partition begins; `is_assigned_there` says that librdkafka consumes it from there already.
    fn start(&mut self, partition: &TopicPartition, start: Start, is_assigned_there: bool, now: Instant) {
        if let StartPoint::Recreated(offset) = start.point {
            let TopicPartition { topic, partition } = partition;
            tracing::warn!(
                topic,
                partition,
                offset,
                "the topic was created again after the group's last commit; consuming it from its beginning"
            );
            self.metrics.offset_reset(topic);
        }
        self.has_new_starts |= !matches!(start.point, StartPoint::Committed(_));
        self.partitions.start(partition, start, is_assigned_there, now);
    }

    /// Asks where partitions begin, and waits a moment for the answer. `None`: it is still to come, or was an error.
    fn ask_starts_now(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<Option<Vec<(TopicPartition, Start)>>, WorkerError> {
        let question = self.consumer.ask_starts(partitions.to_vec());
        let deadline = self.now() + STARTS_TIMEOUT;
        let failed = loop {
            match question.try_take() {
                Some(Ok(starts)) => return Ok(Some(starts)),
                Some(Err(error)) => break Some(error),
                None if self.now() >= deadline => break None,
                None => self.surroundings.wait(super::brokers::WAIT_STEP),
            }
        };
        let reason =
            failed.map_or_else(|| "the brokers don't answer".to_owned(), |error: KafkaError| error.to_string());
        tracing::info!(reason, "the committed offsets are not known yet; the partitions wait for them");
        self.starts_due = self.now() + STARTS_RETRY;
        Ok(None)
    }

    /// Starts the partitions whose start was unknown, when it is known.
    pub(super) fn learn_starts(&mut self, now: Instant) -> Result<(), WorkerError> {
        match self.starts.as_ref().map(|question| question.try_take()) {
            None if now >= self.starts_due && self.partitions.has_unstarted() => {
                self.release_offsets_if_pending(now)?;
                self.starts = Some(self.consumer.ask_starts(self.partitions.unstarted()));
            }
            None | Some(None) => {}
            Some(Some(answer)) => {
                self.starts = None;
                self.starts_due = now + STARTS_RETRY;
                match answer {
                    Ok(mut starts) => {
                        self.starts_unknown_since = None;
                        self.begin_added_whole(&mut starts);
                        let known =
                            starts.iter().filter(|(_, start)| !matches!(start.point, StartPoint::Nowhere)).count();
                        if known > 0 {
                            tracing::info!(partitions = known, "committed offsets fetched; partitions resumed");
                        }
                        for (partition, start) in starts {
                            self.start(&partition, start, false, now);
                        }
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the partitions wait for their committed offsets");
                        self.starts_unknown_since.get_or_insert(now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Stops consuming partitions, and closes their books.
    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), WorkerError> {
        let mut paused = Vec::new();
        for partition in partitions {
            self.metrics.unassigned(&partition.topic, partition.partition);
            if self.partitions.revoke(partition, &mut self.unlisted) {
                paused.push(partition.clone());
            }
        }
        self.ledger.unlist(&mut self.unlisted);
        self.partitions.refetch_open(self.now());
        // A pause outlives its assignment: what goes while it is paused would come back so, and stand still.
        if !paused.is_empty() {
            self.consumer.resume(&paused)?;
        }
        self.starts_unknown_since = None;
        // An answer for partitions that are gone may not start those that come back.
        if self.starts.is_some() {
            self.starts = None;
            self.starts_due = self.now();
        }
        self.consumer.unassign(partitions)?;
        Ok(())
    }
}

fn names(partitions: &[TopicPartition]) -> String {
    const SHOWN: usize = 20;
    let names: Vec<_> = partitions.iter().take(SHOWN).map(|p| format!("{}[{}]", p.topic, p.partition)).collect();
    match partitions.len() {
        0 => "none".into(),
        count if count > SHOWN => format!("{} and {} more", names.join(", "), count - SHOWN),
        _ => names.join(", "),
    }
}
