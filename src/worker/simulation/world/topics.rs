//! The topics as the topic watch publishes them.

use super::*;

impl World {
    /// The input topic of a route doesn't exist for so long. To be called at the beginning.
    pub(in crate::worker::simulation) fn lack_input(&mut self, route: usize, time: Duration) {
        self.missing = Some((route, self.now + time));
        self.away.retain(|toppar, _| toppar / PARTITIONS != route);
        self.publish_snapshot();
    }

    /// A producer leaves a transaction open in this partition.
    pub(in crate::worker::simulation) fn hold_back(&mut self, toppar: usize) {
        self.held_back = Some(toppar);
    }

    /// Where the log of a partition ends that an open transaction holds back.
    pub(in crate::worker::simulation) fn held_back_end(&self, partition: &TopicPartition) -> Option<i64> {
        let at = self.held_back.filter(|&at| at == toppar(partition))?;
        Some(self.logs[at].end + 7)
    }

    pub(in crate::worker::simulation) fn snapshot(&self) -> Arc<TopicSnapshot> {
        self.snapshot.clone()
    }

    pub(in crate::worker::simulation) fn want_ends(&mut self, partitions: Vec<TopicPartition>) {
        self.wanted_ends = partitions;
    }

    pub(in crate::worker::simulation) fn refresh_snapshot(&mut self) {
        let soon = self.after(1..=50);
        self.snapshot_due = self.snapshot_due.min(soon);
    }

    pub(super) fn publish_snapshot(&mut self) {
        self.snapshot_due = self.after(500..=5_000);
        let topic = |route: usize| {
            let id = (!self.has(PutBack::IgnoresLogsThatWentBack)).then(|| TopicId(self.topic_ids[route]));
            let facts = Topic { partitions: PARTITIONS as i32, id, ..Topic::default() };
            (format!("in-{route}"), facts)
        };
        let ends =
            self.wanted_ends.iter().map(|partition| (partition.clone(), self.logs[toppar(partition)].end)).collect();
        let exists = |route: &usize| self.missing.is_none_or(|(missing, until)| missing != *route || self.now >= until);
        let topics = (0..ROUTES).filter(exists).map(topic).collect();
        self.snapshot = Arc::new(TopicSnapshot::simulated(self.now, topics, ends));
    }
}
