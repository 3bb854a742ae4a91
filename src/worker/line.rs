//! The line: poll ─ batch ─ decode ─ score ─ encode ─ produce ─ acknowledge ─ commit, on one thread.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::flow::Flow;
use super::lane::{Lane, Outlet, Route};
use super::ledger::Ledger;
use super::sink::{Sent, Sink};
use super::source::{Held, Source};
use super::transaction::Transaction;
use super::{Activity, Delivery, Pulse, Stop, WorkerConfig, WorkerError};
use crate::batch::BatchConfig;
use crate::http::Condition;
use crate::kafka::KafkaError;
use crate::kafka::admin::{OutputLimits, Topic};
use crate::kafka::consumer::{Consumer, GroupEvent};
use crate::kafka::producer::{Producer, STEP_TIMEOUT, TransactionError};
use crate::kafka::settings::KafkaConfig;
use crate::kafka::watch::TopicWatch;
use crate::monitor::metrics::{Metrics, Stage};

/// How long a poll waits on an idle topic. A stop is seen within it.
const IDLE_POLL: Duration = Duration::from_millis(100);

/// How long a poll waits while outputs are in flight: their acknowledgements are to be seen soon.
const BUSY_POLL: Duration = Duration::from_millis(1);

/// How long leaving the group may take, after everything is committed.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a stop keeps of its time for the last commit.
const COMMIT_TIME: Duration = Duration::from_secs(1);

/// How often counts go to the registry.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What a worker is made from. Workers share the slots and the metrics, and nothing else.
#[derive(Clone)]
pub struct Setup {
    /// The `[kafka]` section.
    pub kafka: KafkaConfig,
    /// The `[worker]` section.
    pub worker: WorkerConfig,
    /// The `[batch]` section.
    pub batch: BatchConfig,
    /// The routes, their slots filled.
    pub routes: Vec<Route>,
    /// What every topic of the routes is like.
    pub topics: BTreeMap<String, Topic>,
    /// Watches the topics of the routes.
    pub watch: Arc<TopicWatch>,
    /// Where everything is counted.
    pub metrics: Metrics,
    /// Asks the worker to stop.
    pub stop: Arc<Stop>,
}

impl Setup {
    fn topic(&self, name: &str) -> Topic {
        self.topics.get(name).copied().unwrap_or_default()
    }
}

/// Runs a worker on this thread until it is asked to stop, or fails. `number` tells the workers of a process apart;
/// `ready` tells whether it has its partitions, `pulse` what it is doing.
pub fn run(setup: &Setup, number: usize, ready: &Condition, pulse: &Pulse) -> Result<(), WorkerError> {
    pulse.enter(Activity::Start);
    pulse.polled(Instant::now());
    let outputs = setup.routes.iter().flat_map(|route| route.config.outputs());
    let limits = OutputLimits::over(outputs.filter_map(|topic| setup.topics.get(topic)));
    let transactional_id = setup.worker.transactional_id(&setup.kafka.group_id, number);
    let producers = || Producer::new(&setup.kafka, &limits, transactional_id.clone());
    let producer = producers()?;
    if setup.worker.delivery == Delivery::ExactlyOnce && !take_over_transactions(&producer, &setup.stop, ready, pulse)?
    {
        return Ok(());
    }
    let consumer = Consumer::new(&setup.kafka, setup.worker.group_instance_id(number).as_deref(), 1)?;
    let line = || Line::new(setup, &consumer, producer, &producers, ready, pulse).and_then(|mut line| line.run());
    // A panic is a bug; but the consumer has to leave the group all the same, and a successor loses nothing.
    let result = catch_unwind(AssertUnwindSafe(line)).unwrap_or(Err(WorkerError::Panicked));
    consumer.close(Instant::now() + LEAVE_TIMEOUT);
    result
}

/// Waits until the transaction coordinator knows this producer; false: until a stop. The group isn't joined before,
/// so that partitions go to workers that can do something with them.
fn take_over_transactions(
    producer: &Producer,
    stop: &Stop,
    ready: &Condition,
    pulse: &Pulse,
) -> Result<bool, WorkerError> {
    let mut step = producer.init_transactions(STEP_TIMEOUT)?;
    while !stop.requested() {
        // There is no group to poll yet.
        pulse.polled(Instant::now());
        match step.wait(IDLE_POLL) {
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

struct Line<'c> {
    flow: Flow<'c>,
    lanes: Vec<Lane<'c>>,
    /// By topic number: the lane that takes its records, and how many partitions it has.
    topics: Vec<(usize, i32)>,
    /// The value of `source.assignments()` when the partitions were last counted.
    counted: u64,
    flush_due: Instant,
}

impl<'c> Line<'c> {
    fn new(
        setup: &Setup,
        consumer: &'c Consumer,
        producer: Producer,
        producers: &'c dyn Fn() -> Result<Producer, KafkaError>,
        ready: &'c Condition,
        pulse: &'c Pulse,
    ) -> Result<Line<'c>, WorkerError> {
        let (mut lanes, mut topics, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for route in &setup.routes {
            let model = route.slot.load().ok_or_else(|| WorkerError::NoModel { route: route.config.name.clone() })?;
            let outlet = |topic: &String| Outlet { topic: topic.clone(), facts: setup.topic(topic) };
            let [output, dead_letter] = route.config.outputs().map(outlet);
            for topic in &route.config.input.topics {
                topics.push((lanes.len(), setup.topic(topic).partitions));
                names.push(topic.clone());
            }
            lanes.push(Lane::new(route.clone(), model, &setup.batch, output, dead_letter, &setup.metrics));
        }
        let interval = setup.worker.commit_interval();
        let transaction = (setup.worker.delivery == Delivery::ExactlyOnce).then(Transaction::default);
        let worker_metrics = setup.metrics.worker(names.iter().map(String::as_str));
        let flow = Flow {
            source: Source::new(consumer, names)?,
            sink: Sink::new(producer),
            ledger: Ledger::default(),
            metrics: worker_metrics,
            ready,
            pulse,
            stop: setup.stop.clone(),
            transaction,
            producers,
            commit_interval: interval,
            commit_due: Instant::now() + interval,
            report_due: Instant::now() + FLUSH_INTERVAL,
            progressed_at: Instant::now(),
            joined: false,
            denial: None,
        };
        Ok(Line { flow, lanes, topics, counted: 0, flush_due: Instant::now() + FLUSH_INTERVAL })
    }

    fn run(&mut self) -> Result<(), WorkerError> {
        while !self.flow.stop.requested() {
            match self.step() {
                Err(WorkerError::Aborted(cause)) => self.flow.begin_again(&cause)?,
                result => result?,
            }
        }
        self.finish()
    }

    fn step(&mut self) -> Result<(), WorkerError> {
        self.heed_gates()?;
        let idle = self.poll()?;
        self.fire_due(idle)?;
        self.settle()?;
        self.flow.commit_if_due(&mut |sent| acknowledged(&self.lanes, sent))?;
        self.serve_group()?;
        self.flush_if_due();
        Ok(())
    }

    /// Takes records until a batch is full (false) or the topics have nothing more to give right now (true).
    fn poll(&mut self) -> Result<bool, WorkerError> {
        self.flow.resume()?;
        self.flow.pulse.enter(Activity::Poll);
        self.flow.pulse.polled(Instant::now());
        let mut timeout = self.patience();
        while let Some(held) = self.flow.source.poll(timeout)? {
            if self.take(held) {
                return Ok(false);
            }
            timeout = Duration::ZERO;
        }
        Ok(true)
    }

    fn fire_due(&mut self, idle: bool) -> Result<(), WorkerError> {
        let now = Instant::now();
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].batch.is_due(now, idle) {
                self.fire(lane)?;
            }
        }
        Ok(())
    }

    /// Takes a lane's batch through decode, score, encode and produce.
    fn fire(&mut self, at: usize) -> Result<(), WorkerError> {
        if self.lanes[at].paused {
            // What is held stays, and isn't committed.
            return Ok(());
        }
        let Some((mut records, first_at)) = self.lanes[at].batch.take() else { return Ok(()) };
        let waited = first_at.elapsed();
        self.flow.pulse.enter(Activity::Produce);
        self.flow.make_room(records.len(), &mut |sent| acknowledged(&self.lanes, sent))?;
        records.retain(|held| self.flow.owns(held));
        if records.is_empty() {
            self.lanes[at].batch.reuse(records);
            return Ok(());
        }
        self.refresh_partition_counts();
        let lane = &mut self.lanes[at];
        lane.metrics.consumed.inc_by(records.len() as u64);
        lane.metrics.batch_rows.observe(records.len() as f64);
        lane.metrics.stage(Stage::Batch).observe(waited.as_secs_f64());
        self.flow.pulse.enter(Activity::Score);
        lane.score(&records);
        self.flow.pulse.enter(Activity::Produce);
        self.produce(at, &records)?;
        self.lanes[at].batch.reuse(records);
        Ok(())
    }

    /// Hands the outcomes of a scored batch to the producer, as a batch of the ledger.
    fn produce(&mut self, at: usize, records: &[Held<'c>]) -> Result<(), WorkerError> {
        self.flow.begin_if_needed(records.len())?;
        let batch = self.flow.ledger.open();
        self.flow.sink.sent(batch).start(at, records.iter().filter_map(|held| held.record.timestamp_ms()));
        let sent = self.send(at, records, batch).map(|rejected| self.lanes[at].observe(records.len(), rejected));
        // Closed in any case: after an aborted transaction the books go on.
        if self.flow.ledger.close(batch) {
            acknowledged(&self.lanes, self.flow.sink.sent(batch));
        }
        sent
    }

    /// Sends the outcome of each record of a batch, waiting while the producer's queue is full. Returns how many were
    /// rejected.
    fn send(&mut self, at: usize, records: &[Held<'c>], batch: usize) -> Result<usize, WorkerError> {
        let Line { flow, lanes, topics, .. } = self;
        let lane = &lanes[at];
        let mut done = |sent: &mut Sent| acknowledged(lanes, sent);
        let mut rejections = 0;
        for (held, result) in records.iter().zip(lane.results()) {
            let (mut outgoing, rejected) = lane.outgoing(held, result, topics[held.partition.topic].1, batch);
            loop {
                if !flow.owns(held) {
                    // It went to somebody else while this worker waited.
                    break;
                }
                match flow.sink.send(outgoing) {
                    Ok(()) => {
                        flow.ledger.sent(batch, held.partition, held.record.offset());
                        lane.count(rejected);
                        rejections += usize::from(rejected.is_some());
                        break;
                    }
                    Err(refused) if refused.queue_is_full() && flow.ledger.in_flight() > 0 => outgoing = refused.record,
                    Err(refused) if refused.transaction_is_over() && flow.transaction.is_some() => {
                        return Err(WorkerError::Aborted(refused.error.to_string()));
                    }
                    Err(refused) => return Err(refused.error.into()),
                }
                flow.wait_for_progress(&mut done)?;
                // A revocation may have committed what was sent so far.
                flow.begin_if_needed(0)?;
            }
        }
        Ok(rejections)
    }

    /// Pauses the topics of a route whose gate has closed, and resumes those of one that is open again.
    fn heed_gates(&mut self) -> Result<(), WorkerError> {
        for at in 0..self.lanes.len() {
            let closed = self.lanes[at].is_closed();
            if self.lanes[at].paused != closed {
                self.lanes[at].paused = closed;
                let topics: Vec<_> = (0..self.topics.len()).filter(|&topic| self.topics[topic].0 == at).collect();
                self.flow.source.set_closed(&topics, closed)?;
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), WorkerError> {
        self.flow.settle(Duration::ZERO, |sent| acknowledged(&self.lanes, sent))
    }

    /// Answers what the group has decided. Before partitions go, what the worker holds of them is finished.
    fn serve_group(&mut self) -> Result<(), WorkerError> {
        while let Some(event) = self.flow.source.next_event() {
            if matches!(event, GroupEvent::Revoke(_)) {
                self.fire_all()?;
            }
            self.flow.serve(event, &mut |sent| acknowledged(&self.lanes, sent))?;
        }
        Ok(())
    }

    /// The end of an orderly stop: finish what is held, commit, within the time that is left.
    fn finish(&mut self) -> Result<(), WorkerError> {
        let deadline = self.flow.stop.deadline().unwrap_or_else(Instant::now);
        // What could be delivered is committed whatever happens to the rest, in the last part of the time.
        let drain_until = deadline - (deadline.saturating_duration_since(Instant::now()) / 5).min(COMMIT_TIME);
        let fired = self.fire_all();
        let mut done = |sent: &mut Sent| acknowledged(&self.lanes, sent);
        let finished = if self.flow.transaction.is_some() {
            fired.and_then(|()| self.flow.commit_transaction(drain_until, &mut done)).or_else(|error| {
                self.flow.abort()?;
                match error {
                    // Nothing of it was delivered for a reader, or committed: whoever comes next consumes it.
                    WorkerError::Aborted(_) => Ok(()),
                    error => Err(error),
                }
            })
        } else {
            let drained = fired.and_then(|()| self.flow.drain(drain_until, &mut done));
            self.flow.commit_offsets(deadline.max(Instant::now() + COMMIT_TIME / 10));
            drained
        };
        self.flush();
        finished?;
        match self.flow.ledger.in_flight() {
            0 => Ok(()),
            in_flight => Err(WorkerError::DrainTimeout { in_flight }),
        }
    }

    /// Counts the partitions of all topics again after an assignment: they may have grown, and the outputs' partitions
    /// are chosen by these counts.
    fn refresh_partition_counts(&mut self) {
        if self.counted == self.flow.source.assignments() {
            return;
        }
        self.counted = self.flow.source.assignments();
        let sink = &self.flow.sink;
        let inputs =
            self.topics.iter_mut().enumerate().map(|(number, (_, count))| (self.flow.source.topic(number), count));
        let outputs = self.lanes.iter_mut().flat_map(|lane| [&mut lane.output, &mut lane.dead_letter]);
        let outputs = outputs.map(|outlet| (outlet.topic.as_str(), &mut outlet.facts.partitions));
        for (topic, count) in inputs.chain(outputs) {
            match sink.partitions(topic) {
                Ok(0) => {}
                Ok(partitions) => *count = partitions,
                Err(error) => return tracing::warn!(topic, %error, "the number of partitions could not be asked for"),
            }
        }
    }

    fn fire_all(&mut self) -> Result<(), WorkerError> {
        (0..self.lanes.len()).try_for_each(|lane| self.fire(lane))
    }

    /// Puts a record into its lane's batch. Returns whether that is full now.
    fn take(&mut self, held: Held<'c>) -> bool {
        let lane = &mut self.lanes[self.topics[held.partition.topic].0];
        let bytes = held.record.payload().map_or(0, <[u8]>::len);
        lane.batch.push(held, bytes, Instant::now);
        lane.batch.is_full()
    }

    /// How long the next poll may wait.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        let busy = if self.flow.ledger.in_flight() > 0 { BUSY_POLL } else { IDLE_POLL };
        let open = self.lanes.iter().filter(|lane| !lane.paused);
        open.filter_map(|lane| lane.batch.patience(now)).fold(busy, Duration::min)
    }

    fn flush_if_due(&mut self) {
        if Instant::now() >= self.flush_due {
            self.flush_due = Instant::now() + FLUSH_INTERVAL;
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.lanes.iter_mut().for_each(Lane::flush_metrics);
        self.flow.report_if_due(Instant::now());
    }
}

/// A batch is done: its records' outcomes are on the brokers.
fn acknowledged(lanes: &[Lane<'_>], sent: &mut Sent) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let metrics = &lanes[sent.lane].metrics;
    metrics.stage(Stage::Deliver).observe(sent.at.elapsed().as_secs_f64());
    for &timestamp_ms in &sent.timestamps {
        metrics.end_to_end.observe(now_ms.saturating_sub(timestamp_ms).max(0) as f64 / 1_000.0);
    }
}
