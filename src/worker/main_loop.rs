//! The worker loop: poll, batch, decode, score, encode, produce, acknowledge, commit, on one thread.
//!
//! A round never waits for anything in particular: it takes what has come, hands on what there is room for, and then waits in one
//! place, until something comes through a queue of its clients.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::brokers::{Brokers, Parts};
use super::clients::KafkaClients;
use super::ledger::Load;
use super::pipeline::{PendingBatch, Route, RoutePipeline};
use super::ports::{Clients, GroupConsumer, InputRecord, OutputProducer, Surroundings};
use super::sink::send_records;
use super::transaction::Transaction;
use super::{Activity, Delivery, Heartbeat, Stop, WorkerConfig, WorkerError, WorkerExit};
use crate::batch::BatchConfig;
use crate::health::ReadinessCheck;
use crate::kafka::admin::{AdminError, OutputLimits, TopicId};
use crate::kafka::consumer::{Consumer, GroupEvent, TopicPartition};
use crate::kafka::producer::{Producer, STEP_TIMEOUT, TransactionError};
use crate::kafka::settings::KafkaConfig;
use crate::kafka::watch::{TopicSnapshot, TopicWatch};
use crate::monitor::metrics::{CommitOutcome, Metrics, Stage, WaitReason};

/// How long a round waits at most when nothing comes. A stop is seen within it.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// How long leaving the group may take, after everything is committed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a worker that failed may take to commit what is done.
const LAST_COMMIT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a stop keeps of its time for the last commit.
const COMMIT_TIME: Duration = Duration::from_secs(1);

/// How long a worker whose clients are to be replaced may take to finish what is in flight.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often counts go to the registry.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker is made from. Workers share the slots, the metrics and what is known of the topics, and nothing else.
#[derive(Clone)]
pub struct Setup {
    /// The `[kafka]` section.
    pub kafka: KafkaConfig,
    /// The `[worker]` section.
    pub worker: WorkerConfig,
    /// The `[batch]` section.
    pub batch: BatchConfig,
    /// The routes. One whose slot is empty takes records when its model is there.
    pub routes: Vec<Route>,
    /// What every topic of the routes is like.
    pub topics: Arc<TopicWatch>,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// Asks the worker to stop.
    pub stop: Arc<Stop>,
}

/// Runs a worker on this thread until it is asked to stop, needs other clients, or fails. `number` distinguishes the workers of a process; `ready` says
/// whether it has its partitions, `heartbeat` what it is doing.
pub fn run(
    setup: &Setup,
    number: usize,
    ready: &ReadinessCheck,
    heartbeat: &Heartbeat,
) -> Result<WorkerExit, WorkerError> {
    heartbeat.enter(Activity::Start);
    heartbeat.polled(Instant::now());
    let snapshot = setup.topics.snapshot();
    let outputs = setup.routes.iter().flat_map(|route| route.config.outputs());
    let limits = OutputLimits::over(outputs.filter_map(|topic| snapshot.topics.get(topic)));
    let transactional_id = setup.worker.transactional_id(&setup.kafka.group_id, number);
    let producers = || Producer::new(&setup.kafka, &limits, transactional_id.clone());
    let producer = producers()?;
    if setup.worker.delivery == Delivery::ExactlyOnce
        && !take_over_transactions(&producer, &setup.stop, ready, heartbeat)?
    {
        return Ok(WorkerExit::Stopped);
    }
    let consumer = Consumer::new(&setup.kafka, setup.worker.group_instance_id(number).as_deref(), setup.routes.len())?;
    let denial = AdminError::group_denied(&setup.kafka).to_string();
    let surroundings = LiveSurroundings { topics: setup.topics.clone(), worker: number };
    let work = || {
        let topics =
            input_topics(&setup.routes).map(|(topic, route)| (topic, setup.routes[route].config.name.as_str()));
        let parts = Parts {
            consumer: &consumer,
            producer,
            producers: &producers,
            surroundings: &surroundings,
            metrics: setup.metrics.worker(topics),
            ready,
            heartbeat,
            stop: setup.stop.clone(),
            transaction: (setup.worker.delivery == Delivery::ExactlyOnce).then(Transaction::default),
            commit_interval: setup.worker.commit_interval(),
            session: setup.kafka.session_timeout(),
            denial: &denial,
        };
        WorkerLoop::<KafkaClients>::new(&setup.routes, &setup.batch, &setup.metrics, parts)?.run()
    };
    // A panic is a bug; but the consumer has to leave the group all the same, and a successor loses nothing.
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(WorkerError::Panicked));
    setup.topics.request_ends(number, Vec::new());
    consumer.close(Instant::now() + LEAVE_TIMEOUT);
    result
}

/// Every input topic, with the number of its route.
fn input_topics(routes: &[Route]) -> impl Iterator<Item = (&str, usize)> {
    routes
        .iter()
        .enumerate()
        .flat_map(|(number, route)| route.config.input.topics.iter().map(move |topic| (topic.as_str(), number)))
}

/// Waits until the transaction coordinator knows this producer; false: until a stop. The group isn't joined before, so that
/// partitions go to workers that can do something with them.
fn take_over_transactions(
    producer: &Producer,
    stop: &Stop,
    ready: &ReadinessCheck,
    heartbeat: &Heartbeat,
) -> Result<bool, WorkerError> {
    let mut step = producer.init_transactions(STEP_TIMEOUT)?;
    while !stop.requested() {
        // There is no group to poll yet.
        heartbeat.polled(Instant::now());
        match step.wait(IDLE_WAIT) {
            None => {}
            Some(Ok(())) => {
                ready.not_ready("joining the group");
                return Ok(true);
            }
            Some(Err(error @ TransactionError::Retriable(_))) => {
                ready.not_ready(error.to_string());
                step = producer.init_transactions(STEP_TIMEOUT)?;
            }
            Some(Err(error)) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Time as it is, and the topics as the control plane sees them.
struct LiveSurroundings {
    topics: Arc<TopicWatch>,
    worker: usize,
}

impl Surroundings for LiveSurroundings {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_clock_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    fn wait(&self, timeout: Duration) {
        std::thread::park_timeout(timeout);
    }

    fn topics(&self) -> Arc<TopicSnapshot> {
        self.topics.snapshot()
    }

    fn refresh_topics(&self) {
        self.topics.refresh();
    }

    fn request_ends(&self, partitions: Vec<TopicPartition>) {
        self.topics.request_ends(self.worker, partitions);
    }
}

pub(super) type RecordOf<'c, K> = <<K as Clients>::Consumer as GroupConsumer>::Record<'c>;

/// A worker: its routes, and both ends.
pub(super) struct WorkerLoop<'c, K: Clients> {
    brokers: Brokers<'c, K>,
    pipelines: Vec<RoutePipeline<RecordOf<'c, K>>>,
    /// By route: whether it takes records, as of this round.
    takes: Vec<bool>,
    /// The topics as they were noted last.
    snapshot: Arc<TopicSnapshot>,
    /// By name: which topics the clients know.
    topic_ids: HashMap<String, TopicId>,
    /// Why it needs other clients, if it does.
    outdated: Option<String>,
    flush_due: Instant,
}

impl<'c, K: Clients> WorkerLoop<'c, K> {
    pub(super) fn new(
        routes: &[Route],
        batch: &BatchConfig,
        metrics: &Metrics,
        parts: Parts<'c, K>,
    ) -> Result<WorkerLoop<'c, K>, WorkerError> {
        let topics: Vec<(String, usize)> =
            input_topics(routes).map(|(topic, route)| (topic.to_owned(), route)).collect();
        let mut pipelines = Vec::new();
        for (number, route) in routes.iter().enumerate() {
            let own = (0..topics.len()).filter(|&topic| topics[topic].1 == number).collect();
            pipelines.push(RoutePipeline::new(route.clone(), batch, own, metrics, parts.transaction.is_some()));
        }
        let (snapshot, now) = (parts.surroundings.topics(), parts.surroundings.now());
        let brokers = Brokers::new(parts, topics, pipelines.len(), &snapshot)?;
        let takes = vec![false; pipelines.len()];
        let (topic_ids, outdated) = (HashMap::new(), None);
        let flush_due = now + FLUSH_INTERVAL;
        let mut worker = WorkerLoop { brokers, pipelines, takes, snapshot, topic_ids, outdated, flush_due };
        worker.note_snapshot(now);
        Ok(worker)
    }

    pub(super) fn run(&mut self) -> Result<WorkerExit, WorkerError> {
        while !self.brokers.stop.requested() && self.outdated.is_none() {
            if let Err(error) = self.round() {
                // Whatever failed, what is delivered stays delivered: nobody has to see it twice.
                if self.brokers.transaction.is_none() {
                    let deadline = self.brokers.now() + LAST_COMMIT_TIMEOUT;
                    let _ = self.brokers.commit_offsets(deadline);
                }
                return Err(error);
            }
        }
        if let Some(reason) = self.outdated.take().filter(|_| !self.brokers.stop.requested()) {
            return match self.finish(self.brokers.now() + FINISH_TIMEOUT) {
                // What isn't delivered by now may be on its way to brokers that don't have the topic any more.
                Err(WorkerError::DrainTimeout { .. } | WorkerError::NotCommitted { .. })
                    if !self.brokers.stop.requested() =>
                {
                    Ok(WorkerExit::ClientsOutdated { reason })
                }
                finished => finished.map(|()| WorkerExit::ClientsOutdated { reason }),
            };
        }
        self.finish(self.brokers.stop.deadline().unwrap_or_else(|| self.brokers.now()))?;
        Ok(WorkerExit::Stopped)
    }

    /// One round of the loop, in the order of things.
    pub(super) fn round(&mut self) -> Result<(), WorkerError> {
        let now = self.brokers.now();
        self.note_topics_if_new(now);
        let is_served = self.serve_group(now)?;
        self.brokers.carry_out_orders(now)?;
        // What came through the group's queue comes before what is in the others.
        let polled = is_served && self.poll(now);
        let sent = self.score_due(now)? | self.send_pending()?;
        let acknowledged = self.acknowledge(now)?;
        self.brokers.commit_if_due(now)?;
        self.observe_finished();
        self.begin_again_if_in_doubt()?;
        self.report_if_due(now);
        if is_served && !(polled || sent || acknowledged) {
            self.wait(now);
        }
        Ok(())
    }

    /// Polls each route until its batch is full or nothing more has come. Returns whether anything came.
    fn poll(&mut self, now: Instant) -> bool {
        self.brokers.heartbeat.enter(Activity::Poll);
        let (mut any, mut is_behind) = (false, true);
        for (route, pipeline) in self.pipelines.iter_mut().enumerate() {
            self.takes[route] = pipeline.is_open(now);
            if !self.takes[route] || pipeline.pending.is_some() {
                continue;
            }
            while !pipeline.batch.is_full() {
                let Some(held) = self.brokers.poll(route, now) else { break };
                let bytes = held.record.payload().map_or(0, <[u8]>::len);
                pipeline.batch.push(held, bytes, || now);
                any = true;
            }
            is_behind &= pipeline.batch.is_full();
        }
        self.brokers.is_behind = is_behind;
        any
    }

    /// Scores the batches that are due, as far as there is room. Returns whether there were any.
    fn score_due(&mut self, now: Instant) -> Result<bool, WorkerError> {
        let mut any = false;
        for route in 0..self.pipelines.len() {
            let pipeline = &mut self.pipelines[route];
            let is_dry = !pipeline.batch.is_full();
            pipeline.waits_for_room = false;
            if !self.takes[route] || pipeline.pending.is_some() || !pipeline.batch.is_due(now, is_dry) {
                continue;
            }
            let more = Load { records: pipeline.batch.len(), bytes: pipeline.batch.bytes() };
            if !self.brokers.has_room(route, more) {
                pipeline.waits_for_room = true;
                continue;
            }
            any = true;
            self.score(route)?;
        }
        Ok(any)
    }

    /// Takes a route's batch through decode, score and encode, and hands it to the producer.
    fn score(&mut self, route: usize) -> Result<(), WorkerError> {
        let pipeline = &mut self.pipelines[route];
        let Some((mut records, first_at)) = pipeline.batch.take() else { return Ok(()) };
        records.retain(|held| self.brokers.partitions.holds(held.lease));
        if records.is_empty() {
            pipeline.batch.reuse(records);
            return Ok(());
        }
        let now = self.brokers.now();
        pipeline.metrics.consumed.inc_by(records.len() as u64);
        pipeline.metrics.batch_rows.observe(records.len() as f64);
        pipeline.metrics.stage(Stage::Batch).observe(now.saturating_duration_since(first_at).as_secs_f64());
        self.brokers.heartbeat.enter(Activity::Score);
        pipeline.score(&records);
        let timestamps = records.iter().filter_map(|held| held.record.timestamp_ms());
        let slot = self.brokers.ledger.open(route, now, timestamps);
        pipeline.pending = Some(PendingBatch { records, next: 0, slot, rejected: 0 });
        self.send(route).map(drop)
    }

    /// Goes on with scored batches for which the producer had no room. Returns whether anything was sent.
    fn send_pending(&mut self) -> Result<bool, WorkerError> {
        let mut any = false;
        for route in 0..self.pipelines.len() {
            any |= self.pipelines[route].pending.is_some() && self.takes[route] && self.send(route)?;
        }
        Ok(any)
    }

    /// Hands the outcomes of a scored batch to the producer, as far as it takes them. Returns whether it took any.
    fn send(&mut self, route: usize) -> Result<bool, WorkerError> {
        let pipeline = &mut self.pipelines[route];
        let Some(mut pending) = pipeline.pending.take() else { return Ok(false) };
        self.brokers.heartbeat.enter(Activity::Produce);
        let first = pending.next;
        let mut has_suspect_in_flight = pipeline.has_suspect_in_flight;
        let is_complete = send_records(&mut self.brokers, pipeline, &mut pending, route, &mut has_suspect_in_flight)?;
        pipeline.has_suspect_in_flight = has_suspect_in_flight;
        let any = pending.next > first;
        if is_complete {
            if self.brokers.ledger.close(pending.slot, &mut self.brokers.partitions) {
                self.brokers.finished.push(pending.slot);
            }
            pipeline.observe(pending.records.len(), pending.rejected);
            pipeline.batch.reuse(pending.records);
        } else {
            pipeline.waits_for_room = true;
            pipeline.pending = Some(pending);
        }
        self.observe_finished();
        Ok(any)
    }

    /// Takes acknowledgements. Returns whether there were any.
    fn acknowledge(&mut self, now: Instant) -> Result<bool, WorkerError> {
        let any = self.brokers.acknowledge()?;
        for (route, reason) in std::mem::take(&mut self.brokers.refusals.routes) {
            self.pipelines[route].output_refused(reason, now);
        }
        self.observe_finished();
        Ok(any)
    }

    /// Counts the batches that are done: their records' outcomes are on the brokers. Where a transaction has ended, what was
    /// counted until then is final, or undone.
    fn observe_finished(&mut self) {
        if !self.brokers.finished.is_empty() {
            self.observe_delivery();
        }
        if let Some(end) = self.brokers.metrics.take_transaction_end().filter(|_| self.brokers.transaction.is_some()) {
            self.pipelines.iter_mut().for_each(|pipeline| pipeline.settle_outcomes(end == CommitOutcome::Ok));
        }
    }

    fn observe_delivery(&mut self) {
        let now_ms = self.brokers.surroundings.wall_clock_ms();
        let now = self.brokers.now();
        for slot in self.brokers.finished.drain(..) {
            let batch = self.brokers.ledger.batch(slot);
            let metrics = &self.pipelines[batch.route].metrics;
            metrics.stage(Stage::Deliver).observe(now.saturating_duration_since(batch.sent_at).as_secs_f64());
            for &timestamp_ms in &batch.timestamps {
                metrics.delivered(timestamp_ms, now_ms);
            }
        }
    }

    /// Serves the group, and answers what it has decided. Before partitions go, what the worker holds of them is finished. Returns
    /// whether everything was served.
    fn serve_group(&mut self, now: Instant) -> Result<bool, WorkerError> {
        self.brokers.heartbeat.polled(now);
        let is_served = self.brokers.consumer.serve()?;
        while let Some(event) = self.brokers.consumer.next_event() {
            let finished = match &event {
                GroupEvent::Revoke(_) => self.finish_held(self.brokers.now() + super::REVOKE_TIMEOUT),
                _ => Ok(()),
            };
            // Whatever became of that, the group waits for the answer.
            self.brokers.answer(event)?;
            self.observe_finished();
            finished?;
        }
        Ok(is_served)
    }

    /// Scores and sends what is held of all routes that don't wait, until the deadline.
    fn finish_held(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        for route in 0..self.pipelines.len() {
            if !self.pipelines[route].is_open(self.brokers.now()) {
                // What is held stays, and isn't committed.
                continue;
            }
            if self.pipelines[route].pending.is_none() {
                self.score(route)?;
            }
            while self.pipelines[route].pending.is_some()
                && self.brokers.now() < deadline
                && !self.brokers.is_in_doubt()
            {
                self.acknowledge(self.brokers.now())?;
                if !self.send(route)? {
                    self.brokers.wait_a_moment()?;
                }
                if !self.pipelines[route].is_open(self.brokers.now()) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Aborts a transaction in doubt. Its records come again, scored batches and all.
    fn begin_again_if_in_doubt(&mut self) -> Result<(), WorkerError> {
        if self.brokers.is_in_doubt() {
            self.drop_pending();
            self.brokers.begin_again_if_in_doubt()?;
            self.observe_finished();
        }
        Ok(())
    }

    fn drop_pending(&mut self) {
        for pipeline in &mut self.pipelines {
            if let Some(pending) = pipeline.pending.take() {
                self.brokers.ledger.close(pending.slot, &mut self.brokers.partitions);
            }
        }
    }

    /// The orderly end: finish what is held and commit, until the deadline.
    fn finish(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        // What could be delivered is committed whatever happens to the rest, in the last part of the time.
        let left = deadline.saturating_duration_since(self.brokers.now());
        let drain_until = deadline - (left / 5).min(COMMIT_TIME);
        let held = self.finish_held(drain_until);
        let finished = if self.brokers.transaction.is_some() {
            let committed = held.and_then(|()| self.brokers.commit_transaction(drain_until));
            let doubt = self.brokers.doubt();
            if committed.is_err() || doubt.is_some() {
                // Nothing of it was delivered for a reader, or committed: whoever comes next consumes it.
                self.drop_pending();
                self.brokers.abort()?;
            }
            committed.and(doubt.map_or(Ok(()), |cause| Err(WorkerError::NotCommitted { cause })))
        } else {
            let drained = held.and_then(|()| self.brokers.drain(drain_until));
            drained.and(self.brokers.commit_offsets(deadline))
        };
        self.observe_finished();
        self.flush();
        finished?;
        let in_flight = self.brokers.ledger.in_flight();
        if in_flight > 0 {
            return Err(WorkerError::DrainTimeout { in_flight });
        }
        if self.brokers.transaction.is_none() && !self.brokers.partitions.committable(false).is_empty() {
            return Err(WorkerError::NotCommitted { cause: "the group has not taken the last commit".into() });
        }
        Ok(())
    }

    fn note_topics_if_new(&mut self, now: Instant) {
        let snapshot = self.brokers.surroundings.topics();
        if !Arc::ptr_eq(&snapshot, &self.snapshot) {
            self.snapshot = snapshot;
            self.note_snapshot(now);
        }
    }

    fn note_snapshot(&mut self, now: Instant) {
        let WorkerLoop { brokers, pipelines, snapshot, topic_ids, outdated, .. } = self;
        // librdkafka goes on with the leaders of the topic that had the name before as long as their epochs are higher: it
        // would fetch from brokers, and send to them, that don't have the partition (rd_kafka_toppar_leader_update).
        for (name, id) in snapshot.topics.iter().filter_map(|(name, topic)| Some((name, topic.id?))) {
            if topic_ids.insert(name.clone(), id).is_some_and(|known| known != id) {
                *outdated = Some(format!("topic {name} was created again"));
            }
        }
        if let Some(topic) = brokers.unsubscribed.iter().find(|topic| snapshot.is_usable(topic)) {
            *outdated = Some(format!("topic {topic} can be consumed now"));
        }
        brokers.note_topics(snapshot, now);
        for pipeline in pipelines {
            pipeline.note_topics(snapshot, |topic| brokers.partitions.topic(topic));
        }
    }

    /// Waits until something comes, or something is due.
    fn wait(&mut self, now: Instant) {
        let open = self.pipelines.iter().zip(&self.takes).filter(|(_, takes)| **takes);
        let due = open.filter_map(|(pipeline, _)| pipeline.batch.patience(now)).filter(|patience| !patience.is_zero());
        let longest = due.fold(IDLE_WAIT.min(self.brokers.until_commit(now)), Duration::min);
        self.brokers.producer.flush_if_held();
        self.brokers.surroundings.wait(longest);
    }

    fn report_if_due(&mut self, now: Instant) {
        let refused: Vec<_> = self.pipelines.iter().filter_map(RoutePipeline::refusal).collect();
        self.brokers.report_if_due(now, &refused);
        if let Some(time) = self.brokers.left_out_for(now) {
            let seconds = time.as_secs();
            self.outdated = Some(format!("its group has not taken it for {seconds} s, though the brokers answer"));
        }
        if now >= self.flush_due {
            self.flush_due = now + FLUSH_INTERVAL;
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.pipelines.iter_mut().for_each(|pipeline| pipeline.is_held_back = false);
        for route in self.brokers.partitions.held_back_routes(self.brokers.now()) {
            self.pipelines[route].is_held_back = true;
        }
        for pipeline in &mut self.pipelines {
            pipeline.flush_metrics();
            for &reason in WaitReason::ALL {
                pipeline.metrics.waiting(reason, pipeline.waits_for(reason));
            }
        }
    }
}
