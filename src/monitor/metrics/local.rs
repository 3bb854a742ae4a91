//! What a worker counts into: memory of its own thread, added to the shared series by `flush`.
//!
//! Dropping a handle flushes it, and takes back what it said about the present (records in flight, positions).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use ndarray::ArrayView2;
use prometheus::local::{LocalHistogram, LocalIntCounter};

use super::versions::Tally;
use super::{CommitOutcome, Metrics, Rebalance, Stage, TimestampFault, WaitReason};
use crate::model::Model;
use crate::monitor::drift::Counts;
use crate::record::Reason;

/// A day. An older record's age is no latency: the record is replayed, or its timestamp is wrong.
const LONGEST_MS: i64 = 86_400_000;

/// What one worker counts on one route.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Records taken from the input topics.
    pub consumed: LocalIntCounter,
    /// Seconds from a record's timestamp to the acknowledgement of its prediction.
    end_to_end: LocalHistogram,
    /// By [`TimestampFault`]: delivered records that have no such time.
    timestamps_out_of_range: Vec<LocalIntCounter>,
    /// Rows of each batch that is scored.
    pub batch_rows: LocalHistogram,
    /// Records that went out with the present time in place of their own.
    pub timestamps_replaced: LocalIntCounter,
    /// By [`Reason`], in the order of [`Reason::ALL`].
    rejected: Vec<LocalIntCounter>,
    /// By [`Stage`], in the order of [`Stage::ALL`].
    stages: Vec<LocalHistogram>,
    /// By [`WaitReason`]: whether this worker's route waits for it.
    waiting: [bool; WaitReason::ALL.len()],
    route: String,
    metrics: Metrics,
}

impl RouteMetrics {
    pub(super) fn new(metrics: Metrics, route: &str) -> RouteMetrics {
        let families = metrics.families();
        for reason in WaitReason::ALL {
            families.waiting.with_label_values(&[route, reason.as_str()]);
        }
        families.http_rows.with_label_values(&[route]);
        families.http_inference.with_label_values(&[route]);
        RouteMetrics {
            consumed: families.consumed.with_label_values(&[route]).local(),
            end_to_end: families.end_to_end.with_label_values(&[route]).local(),
            batch_rows: families.batch_rows.with_label_values(&[route]).local(),
            timestamps_replaced: families.timestamps_replaced.with_label_values(&[route]).local(),
            rejected: Reason::ALL
                .iter()
                .map(|reason| families.rejected.with_label_values(&[route, reason.as_str()]).local())
                .collect(),
            stages: Stage::ALL
                .iter()
                .map(|stage| families.stages.with_label_values(&[route, stage.as_str()]).local())
                .collect(),
            timestamps_out_of_range: TimestampFault::ALL
                .iter()
                .map(|fault| families.timestamps_out_of_range.with_label_values(&[route, fault.as_str()]).local())
                .collect(),
            waiting: Default::default(),
            route: route.to_owned(),
            metrics,
        }
    }

    /// The seconds that batches spend in `stage`.
    #[inline]
    pub fn stage(&self, stage: Stage) -> &LocalHistogram {
        &self.stages[stage as usize]
    }

    /// The records rejected for `reason`.
    #[inline]
    pub fn rejected(&self, reason: Reason) -> &LocalIntCounter {
        &self.rejected[reason as usize]
    }

    /// The counters for the batches of this route that `model` scores.
    pub fn model(&self, model: &Model) -> ModelMetrics {
        let (name, version) = (model.name(), model.version().to_string());
        let produced = &self.metrics.families().produced;
        let tally = self.metrics.versions().tally_of_route(self.metrics.families(), &self.route, model);
        ModelMetrics {
            produced: produced.with_label_values(&[self.route.as_str(), name, &version]).local(),
            counts: Counts::new(tally.plan()),
            tally,
        }
    }

    /// The outcome of a record with this timestamp was acknowledged at `now_ms`, both in milliseconds since 1970.
    #[inline]
    pub fn delivered(&self, timestamp_ms: i64, now_ms: i64) {
        let out_of_range = |fault: TimestampFault| self.timestamps_out_of_range[fault as usize].inc();
        match now_ms.saturating_sub(timestamp_ms) {
            ..0 => out_of_range(TimestampFault::Future),
            millis @ 0..=LONGEST_MS => self.end_to_end.observe(millis as f64 / 1_000.0),
            _ => out_of_range(TimestampFault::Old),
        }
    }

    /// Whether this worker takes no records of the route for `reason`.
    pub fn waiting(&mut self, reason: WaitReason, waits: bool) {
        if std::mem::replace(&mut self.waiting[reason as usize], waits) != waits {
            self.metrics.count_waiting(&self.route, reason, waits);
        }
    }

    /// Adds what was counted since the last time to the shared series.
    pub fn flush(&mut self) {
        self.flush_activity();
        self.flush_outcomes();
    }

    /// As [`RouteMetrics::flush`], but for what became of records: while a transaction is open nobody knows.
    pub fn flush_activity(&mut self) {
        self.consumed.flush();
        self.batch_rows.flush();
        self.timestamps_replaced.flush();
        self.stages.iter().for_each(LocalHistogram::flush);
    }

    /// What became of records since the last time stays so.
    pub fn flush_outcomes(&mut self) {
        self.end_to_end.flush();
        self.rejected.iter().chain(&self.timestamps_out_of_range).for_each(LocalIntCounter::flush);
    }

    /// What became of records since the last time is undone.
    pub fn forget_outcomes(&mut self) {
        self.end_to_end.clear();
        self.rejected.iter().chain(&self.timestamps_out_of_range).for_each(LocalIntCounter::reset);
    }
}

impl Drop for RouteMetrics {
    fn drop(&mut self) {
        self.flush();
        WaitReason::ALL.iter().for_each(|&reason| self.waiting(reason, false));
    }
}

/// What one worker reports about its present state, over all routes.
#[derive(Debug)]
pub struct WorkerMetrics {
    /// Records in flight, as the shared gauge knows them.
    in_flight: i64,
    /// By topic: the route that takes its records.
    routes: BTreeMap<String, String>,
    /// The partitions whose position this worker reported.
    partitions: BTreeSet<(String, i32)>,
    /// How the first transaction ended since [`WorkerMetrics::take_transaction_end`] was last called.
    ended: Option<CommitOutcome>,
    /// Distinguishes this worker from the others, for the age of commits.
    number: u64,
    metrics: Metrics,
}

impl WorkerMetrics {
    pub(super) fn new<'t>(metrics: Metrics, topics: impl IntoIterator<Item = (&'t str, &'t str)>) -> WorkerMetrics {
        let routes: BTreeMap<_, _> =
            topics.into_iter().map(|(topic, route)| (topic.to_owned(), route.to_owned())).collect();
        for topic in routes.keys() {
            metrics.families().offset_resets.with_label_values(&[topic]);
            metrics.families().consumer_errors.with_label_values(&[topic]);
        }
        WorkerMetrics {
            in_flight: 0,
            routes,
            partitions: BTreeSet::new(),
            ended: None,
            number: metrics.next_worker(),
            metrics,
        }
    }

    /// This worker has so many records in flight now.
    pub fn in_flight(&mut self, records: usize) {
        let records = records as i64;
        self.metrics.families().in_flight.with_label_values::<&str>(&[]).add(records - self.in_flight);
        self.in_flight = records;
    }

    /// An assigned partition is read on from `next`, and ends at `end`.
    pub fn position(&mut self, topic: &str, partition: i32, next: i64, end: i64) {
        let Some(route) = self.routes.get(topic) else { return };
        let labels = [route, topic, &partition.to_string()];
        self.metrics.families().position.with_label_values(&labels).set(next);
        self.metrics.families().lag.with_label_values(&labels).set((end - next).max(0));
        self.partitions.insert((topic.to_owned(), partition));
    }

    /// The partition isn't this worker's any more: another one reports its position.
    pub fn unassigned(&mut self, topic: &str, partition: i32) {
        if self.partitions.remove(&(topic.to_owned(), partition)) {
            self.forget_position(topic, partition);
        }
    }

    /// An assignment changed.
    pub fn rebalanced(&self, kind: Rebalance) {
        self.metrics.families().rebalances.with_label_values(&[kind.as_str()]).inc();
    }

    /// A commit ended.
    pub fn committed(&mut self, outcome: CommitOutcome) {
        if outcome != CommitOutcome::Failed {
            self.ended.get_or_insert(outcome);
        }
        self.metrics.families().commits.with_label_values(&[outcome.as_str()]).inc();
    }

    /// How the transaction ended that was open when this was last called, if it has ended.
    pub fn take_transaction_end(&mut self) -> Option<CommitOutcome> {
        self.ended.take()
    }

    /// The broker no longer had the committed offset of a partition of `topic`.
    pub fn offset_reset(&self, topic: &str) {
        self.metrics.families().offset_resets.with_label_values(&[topic]).inc();
    }

    /// The brokers returned an error in place of a partition's records.
    pub fn consumer_error(&self, topic: &str) {
        self.metrics.families().consumer_errors.with_label_values(&[topic]).inc();
    }

    /// When the oldest of this worker's records was delivered that isn't committed yet; `None`: there is none. The age
    /// grows by itself until this is called again.
    pub fn commit_age(&self, oldest: Option<Instant>) {
        self.metrics.uncommitted_since(self.number, oldest);
    }

    fn forget_position(&self, topic: &str, partition: i32) {
        let Some(route) = self.routes.get(topic) else { return };
        let labels = [route, topic, &partition.to_string()];
        // They fail only where there is no such series, which is what is wanted.
        let _ = self.metrics.families().position.remove_label_values(&labels);
        let _ = self.metrics.families().lag.remove_label_values(&labels);
    }
}

impl Drop for WorkerMetrics {
    fn drop(&mut self) {
        self.in_flight(0);
        self.commit_age(None);
        for (topic, partition) in std::mem::take(&mut self.partitions) {
            self.forget_position(&topic, partition);
        }
    }
}

/// What one worker counts about one model version.
#[derive(Debug)]
pub struct ModelMetrics {
    /// Predictions handed to the producer.
    pub produced: LocalIntCounter,
    counts: Counts,
    tally: Arc<Tally>,
}

impl ModelMetrics {
    /// Counts the features of a scored batch: rows × features, as [`crate::record`] describes them.
    pub fn observe_rows(&mut self, rows: ArrayView2<'_, f64>) {
        self.tally.plan().count_rows(rows, &mut self.counts);
    }

    /// Whether [`ModelMetrics::observe_times`] is needed: hours or weekdays have baselines of their own.
    pub fn counts_times(&self) -> bool {
        self.tally.plan().periods().is_some()
    }

    /// Counts when the rows of a scored batch happened, by their timestamps in milliseconds since 1970.
    pub fn observe_times(&mut self, timestamps_ms: impl Iterator<Item = Option<i64>>) {
        self.tally.plan().count_times(timestamps_ms, &mut self.counts);
    }

    /// Counts what the model answered for a batch: rows × outputs, probabilities or numbers. A row with a NaN or an
    /// infinity, which is rejected, isn't counted.
    pub fn observe_outputs(&mut self, outputs: ArrayView2<'_, f32>) {
        self.tally.plan().count_outputs(outputs, &mut self.counts);
    }

    /// Adds what was counted since the last time to the shared series.
    pub fn flush(&mut self) {
        self.produced.flush();
        self.tally.add(&mut self.counts);
    }

    /// Forgets what was counted since the last time.
    pub fn forget(&mut self) {
        self.produced.reset();
        self.counts.drain(|_, _| ());
    }
}

impl Drop for ModelMetrics {
    fn drop(&mut self) {
        self.flush();
    }
}
