//! Brokers, a group and time, as a worker meets them: everything that happens is drawn from a seed.
//!
//! The model is librdkafka's where weir depends on it: its position moves past errors, a pause outlives its assignment and goes back
//! to that position, forwarding is undone some time after a partition was unassigned, and what was fetched before a seek is dropped when
//! it is taken.

mod consumer;
mod faults;
mod producer;
mod topics;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::faults::Faults;
use super::put_back::PutBack;
use crate::kafka::KafkaError;
use crate::kafka::admin::{Topic, TopicId};
use crate::kafka::consumer::{
    Commit, FetchError, GroupCommits, GroupEvent, Position, Start, StartPoint, TopicPartition,
};
use crate::kafka::producer::{Acknowledgement, Ticket, TransactionError, UndeliveredRecord};
use crate::kafka::simulated::{Fault, fault, fenced, retriable};
use crate::kafka::watch::TopicSnapshot;

/// Two routes of one topic each. Small enough that everything meets everything.
pub(super) const ROUTES: usize = 2;
pub(super) const PARTITIONS: usize = 2;

const ALL: usize = ROUTES * PARTITIONS;

/// The generation of who has never joined: nobody is refused in its name.
pub(super) const NOBODY: u64 = u64::MAX;

/// The partition in an error about all of a topic.
const ALL_PARTITIONS: i32 = -1;

/// How long a worker may take to settle everything when nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long the brokers leave a transaction open.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// What becomes of a record if nothing goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A prediction.
    Good,
    /// A dead letter: it can't be decoded.
    Malformed,
    /// A dead letter: the output topic refuses its prediction.
    Refused,
}

/// A record of an input topic. Its id is unique over all logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputData {
    pub(super) id: u64,
    pub(super) offset: i64,
    pub(super) epoch: i32,
    pub(super) kind: Kind,
}

/// A record on an output topic.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputData {
    pub(super) id: u64,
    pub(super) is_prediction: bool,
    transaction: Option<u64>,
}

/// A partition of an input topic.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) records: Vec<InputData>,
    pub(super) end: i64,
    /// The group's commit, and the topic that it says to belong to.
    pub(super) committed: Option<(Position, Option<TopicId>)>,
    /// Where the epochs of its leaders begin, but for the first.
    epochs: Vec<i64>,
    /// Counts new topics: what was read before says nothing about this log.
    pub(super) incarnation: u64,
    unreadable: Option<i64>,
    pub(super) was_created_again: bool,
    /// Whether the worker was consuming it then, and its client has noticed.
    pub(super) was_announced: bool,
}

#[derive(Debug, Default)]
struct Toppar {
    fetch_from: i64,
    app_position: Option<i64>,
    is_assigned: bool,
    is_paused: bool,
    version: u32,
    queue: Option<usize>,
    detach_at: Option<Instant>,
    /// Its topic was created again, and the worker consumes on as if it hadn't been.
    is_mistaken: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Record(InputData),
    Error(Fault),
}

#[derive(Clone, Copy, Debug)]
struct QueuedOp {
    toppar: usize,
    version: u32,
    op: Op,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    ticket: Ticket,
    id: u64,
    kind: Kind,
    is_prediction: bool,
    route: usize,
    due: Instant,
    /// Between two queues, since its partition's leader has changed: it isn't sent, and the next purge finds it.
    is_stray: bool,
}

/// A commit on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct CommitOnItsWay {
    toppar: usize,
    position: Position,
    topic_id: Option<TopicId>,
    /// The log that was consumed; `None`: this one, from a position of the one before.
    incarnation: Option<u64>,
}

/// What a step of a transaction does when its answer comes.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Init,
    SendOffsets { commits: Vec<CommitOnItsWay>, generation: u64 },
    Commit,
    Abort,
}

enum Later {
    CommitResult { commits: Vec<CommitOnItsWay>, generation: u64 },
    Starts { partitions: Vec<TopicPartition>, answer: Sender<Result<Vec<(TopicPartition, Start)>, KafkaError>> },
    Commits { partitions: Vec<TopicPartition>, answer: Sender<Result<GroupCommits, KafkaError>> },
    Step { step: Step, answer: Sender<Result<(), TransactionError>>, producer: u64 },
    LateOutput { message: InFlight, producer: u64 },
}

/// Everything outside of the worker.
pub(super) struct World {
    rng: ChaCha8Rng,
    faults: Faults,
    pub(super) now: Instant,
    began: Instant,
    pub(super) logs: Vec<Log>,
    pub(super) outputs: Vec<OutputData>,
    next_id: u64,
    /// Records that were deleted or truncated away: they need no outcome.
    pub(super) waived: BTreeSet<u64>,
    toppars: Vec<Toppar>,
    queues: Vec<VecDeque<QueuedOp>>,
    strays: VecDeque<QueuedOp>,
    events: VecDeque<GroupEvent>,
    owned: BTreeSet<usize>,
    /// Partitions that other members have, and when they come back.
    away: BTreeMap<usize, Instant>,
    /// Partitions that the worker has to give up.
    leaving: BTreeSet<usize>,
    generation: u64,
    /// A partition in which a producer has left a transaction open, after its last record.
    held_back: Option<usize>,
    /// Whether the group takes the worker.
    pub(super) has_membership: bool,
    in_flight: VecDeque<InFlight>,
    acknowledged: Vec<Acknowledgement>,
    undelivered: Vec<UndeliveredRecord>,
    later: Vec<(Instant, Later)>,
    commit_results: VecDeque<Result<Vec<(TopicPartition, KafkaError)>, KafkaError>>,
    pub(super) producer: u64,
    pub(super) transaction: Option<(u64, Instant)>,
    transactions: u64,
    pending_offsets: Vec<CommitOnItsWay>,
    /// Whether a transaction with offsets has ended without its markers: they pend until another one with offsets ends.
    has_hanging_offsets: bool,
    /// Whether a transaction was confirmed and not committed.
    pub(super) has_lost_markers: bool,
    /// Whether the brokers refuse the next offsets of a transaction.
    refuses_next_offsets: bool,
    /// Or all of them.
    pub(super) refuses_offsets: bool,
    snapshot: Arc<TopicSnapshot>,
    /// A route whose input topic doesn't exist before then.
    missing: Option<(usize, Instant)>,
    pub(super) subscribed: Vec<String>,
    wanted_ends: Vec<TopicPartition>,
    snapshot_due: Instant,
    faults_due: Instant,
    /// By route: until when its output topic refuses everything, or answers nothing.
    output_refuses_until: [Instant; ROUTES],
    output_stalls_until: [Instant; ROUTES],
    topic_ids: [u128; ROUTES],
    pub(super) is_exactly_once: bool,
    pub(super) violations: Vec<String>,
    /// What is wrong with the worker on purpose.
    pub(super) put_back: Option<PutBack>,
    /// Whether a purge has come since the transaction began.
    was_purged: bool,
    trace: Option<Vec<String>>,
}

impl Log {
    /// Where a consumer of this position goes on: where the epoch of the last record that it read ends, if that is before.
    fn validated(&self, position: Position) -> i64 {
        let later = position.leader_epoch.and_then(|epoch| self.epochs.get(epoch as usize..));
        later.and_then(|starts| starts.iter().copied().min()).map_or(position.offset, |end| position.offset.min(end))
    }
}

impl World {
    pub(super) fn new(seed: u64, began: Instant, is_traced: bool) -> World {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let is_exactly_once = rng.random_bool(0.5);
        let mut faults = Faults::draw(&mut rng);
        // Drawn apart, so that each seed has the other faults that it has always had.
        let mut later_faults = ChaCha8Rng::seed_from_u64(!seed);
        if later_faults.random_bool(0.4) {
            faults.markers_lost = later_faults.random_range(0.0..0.1);
        }
        faults.announces_recreation = later_faults.random_bool(0.5);
        let mut world = World {
            rng,
            faults,
            now: began,
            began,
            logs: (0..ALL).map(|_| Log::default()).collect(),
            outputs: Vec::new(),
            next_id: 0,
            waived: BTreeSet::new(),
            toppars: (0..ALL).map(|_| Toppar::default()).collect(),
            queues: vec![VecDeque::new(); ROUTES],
            strays: VecDeque::new(),
            events: VecDeque::new(),
            owned: BTreeSet::new(),
            away: (0..ALL).map(|toppar| (toppar, began)).collect(),
            leaving: BTreeSet::new(),
            generation: 1,
            held_back: None,
            has_membership: true,
            in_flight: VecDeque::new(),
            acknowledged: Vec::new(),
            undelivered: Vec::new(),
            later: Vec::new(),
            commit_results: VecDeque::new(),
            producer: 0,
            transaction: None,
            transactions: 0,
            pending_offsets: Vec::new(),
            has_hanging_offsets: false,
            has_lost_markers: false,
            refuses_next_offsets: false,
            refuses_offsets: false,
            snapshot: Arc::new(TopicSnapshot::simulated(began, Default::default(), Default::default())),
            missing: None,
            subscribed: Vec::new(),
            wanted_ends: Vec::new(),
            snapshot_due: began,
            faults_due: began,
            output_refuses_until: [began; ROUTES],
            output_stalls_until: [began; ROUTES],
            topic_ids: [1; ROUTES],
            is_exactly_once,
            violations: Vec::new(),
            put_back: None,
            was_purged: false,
            trace: is_traced.then(Vec::new),
        };
        for toppar in 0..ALL {
            world.append(toppar, 5);
        }
        world.publish_snapshot();
        world
    }

    pub(super) fn trace(&mut self, what: impl FnOnce() -> String) {
        let at = self.now.duration_since(self.began).as_millis();
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{at:>7} ms  {}", what()));
        }
    }

    pub(super) fn print_trace(&self) {
        for line in self.trace.iter().flatten() {
            eprintln!("{line}");
        }
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_healed(&self) -> bool {
        self.now.duration_since(self.began) >= self.faults.last
    }

    pub(super) fn is_overdue(&self) -> bool {
        self.now.duration_since(self.began) >= self.faults.last + PATIENCE
    }

    /// Whether everything has an outcome, and is committed.
    pub(super) fn is_settled(&self) -> bool {
        if !self.is_healed() || !self.in_flight.is_empty() || self.transaction.is_some() || self.owned.len() < ALL {
            return false;
        }
        let is_committed = |(toppar, log): (usize, &Log)| {
            let after_last = log.records.last().map_or(0, |record| record.offset + 1);
            // A worker that hasn't seen yet that the topic is another one has something to do still.
            let is_of_this = |of: Option<TopicId>| of.is_none_or(|of| of == self.topic_id(toppar));
            log.committed.is_some_and(|(committed, of)| committed.offset == after_last && is_of_this(of))
        };
        self.logs.iter().enumerate().all(is_committed) && {
            let visible = self.visible();
            self.logs.iter().flat_map(|log| &log.records).all(|record| visible.contains_key(&record.id))
        }
    }

    /// Where everything stands, for a message.
    pub(super) fn describe(&self) -> String {
        let log = |log: &Log| format!("end {} committed {:?}", log.end, log.committed);
        let logs: Vec<_> = self.logs.iter().map(log).collect();
        let (in_flight, owned, transaction) = (self.in_flight.len(), &self.owned, &self.transaction);
        format!("{logs:?}, in flight {in_flight}, owned {owned:?}, transaction {transaction:?}, {:?}", self.toppars)
    }

    /// Lets time pass. Returns early when something comes for the worker.
    pub(super) fn pass(&mut self, timeout: Duration) {
        // Also a worker that never ends a round comes by here.
        assert!(self.now.duration_since(self.began) < self.faults.last + 2 * PATIENCE, "the worker hangs");
        let until = self.now + timeout;
        loop {
            let step = Duration::from_millis(self.rng.random_range(1..=20));
            self.now = (self.now + step).min(until);
            if self.happen() || self.now >= until {
                return;
            }
        }
    }

    /// What is due. Returns whether anything came for the worker.
    pub(super) fn happen(&mut self) -> bool {
        let mut any = false;
        while self.now >= self.faults_due {
            self.faults_due += Duration::from_millis(100);
            if self.is_healed() {
                self.logs.iter_mut().for_each(|log| log.unreadable = None);
            } else {
                self.draw_faults();
            }
        }
        let due: Vec<usize> = (0..self.later.len()).filter(|&at| self.later[at].0 <= self.now).collect();
        for at in due.into_iter().rev() {
            let (_, later) = self.later.swap_remove(at);
            self.happen_later(later);
            any = true;
        }
        for toppar in 0..ALL {
            if self.toppars[toppar].detach_at.is_some_and(|at| at <= self.now) {
                self.toppars[toppar].detach_at = None;
                self.toppars[toppar].queue = None;
            }
        }
        any |= self.bring_back();
        any |= self.fetch();
        any |= self.deliver();
        if self.now >= self.snapshot_due {
            self.publish_snapshot();
        }
        self.end_overdue_transaction();
        any
    }

    fn has(&self, put_back: PutBack) -> bool {
        self.put_back == Some(put_back)
    }

    fn after(&mut self, millis: std::ops::RangeInclusive<u64>) -> Instant {
        self.now + Duration::from_millis(self.rng.random_range(millis))
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && !self.is_healed() && self.rng.random_bool(probability)
    }

    fn happen_later(&mut self, later: Later) {
        match later {
            Later::CommitResult { commits, generation } => {
                let result = if generation != self.generation || self.chance(self.faults.commit_fails) {
                    Err(fault(Fault::Rebalancing))
                } else {
                    let (refused, taken): (Vec<_>, Vec<_>) =
                        commits.into_iter().partition(|_| self.chance(self.faults.commit_fails / 2.0));
                    self.commit(&taken);
                    let refused: Vec<_> =
                        refused.iter().map(|commit| (name(commit.toppar), fault(Fault::Denied))).collect();
                    if taken.is_empty() && !refused.is_empty() { Err(fault(Fault::Denied)) } else { Ok(refused) }
                };
                self.commit_results.push_back(result);
            }
            Later::Starts { partitions, answer } => {
                let is_pending = self.has_pending_offsets();
                let result = if is_pending && self.has(PutBack::TakesPendingForNone) {
                    let start = Start { point: StartPoint::Reset(0), topic_id: None };
                    Ok(partitions.into_iter().map(|partition| (partition, start)).collect())
                } else if is_pending || self.chance(self.faults.starts_fail) {
                    Err(fault(Fault::Busy))
                } else {
                    Ok(partitions
                        .into_iter()
                        .map(|partition| (partition.clone(), self.start(toppar(&partition))))
                        .collect())
                };
                let _ = answer.send(result);
            }
            Later::Commits { partitions, answer } => {
                let result = if self.has_pending_offsets() || self.chance(self.faults.starts_fail) {
                    Err(fault(Fault::Busy))
                } else {
                    let mut commits = Vec::new();
                    for partition in partitions {
                        // One that may not be read is left out. Then nobody learns of lost markers.
                        if self.faults.markers_lost > 0.0 || !self.chance(self.faults.starts_fail) {
                            commits.push((partition.clone(), self.commit_of(partition)));
                        }
                    }
                    Ok(commits)
                };
                let _ = answer.send(result);
            }
            Later::LateOutput { message, producer } => self.arrive_late(&message, producer),
            Later::Step { step, answer, producer } => {
                let result = self.take_step(step.clone(), producer);
                self.trace(|| format!("{step:?} of producer {producer}: {result:?}"));
                let _ = answer.send(result);
            }
        }
    }

    fn take_step(&mut self, step: Step, producer: u64) -> Result<(), TransactionError> {
        if producer != self.producer && !matches!(step, Step::Init) {
            return Err(fenced());
        }
        if self.chance(self.faults.step_retries) {
            return Err(retriable());
        }
        match step {
            Step::Init => {
                self.producer = producer;
                self.abort_outputs();
                self.transaction = None;
            }
            Step::SendOffsets { commits, generation } => {
                let is_another = generation != self.generation && generation != NOBODY;
                let is_refused = is_another || self.refuses_offsets || self.chance(self.faults.step_refused);
                if std::mem::take(&mut self.refuses_next_offsets) || is_refused {
                    return Err(TransactionError::Abortable(fault(Fault::Rebalancing)));
                }
                self.pending_offsets = commits;
            }
            // It was committed already, and the answer got lost.
            Step::Commit if self.transaction.is_none() => {}
            Step::Commit => {
                if self.chance(self.faults.step_refused) {
                    return Err(TransactionError::Abortable(fault(Fault::Rebalancing)));
                }
                if self.transaction.is_some() && self.chance(self.faults.markers_lost) {
                    self.lose_markers();
                }
                if self.transaction.take().is_some() {
                    for output in &mut self.outputs {
                        output.transaction = None;
                    }
                    let commits = std::mem::take(&mut self.pending_offsets);
                    self.has_hanging_offsets &= commits.is_empty();
                    self.commit(&commits);
                }
                // The answer may get lost: then the same call is made again, and finds it done.
                if self.chance(self.faults.step_retries) {
                    return Err(retriable());
                }
            }
            Step::Abort => {
                self.has_hanging_offsets &= self.pending_offsets.is_empty();
                self.abort_outputs();
                self.transaction = None;
            }
        }
        Ok(())
    }

    fn has_pending_offsets(&self) -> bool {
        !self.pending_offsets.is_empty() || self.has_hanging_offsets
    }

    fn commit_of(&self, partition: TopicPartition) -> Option<Commit> {
        let (position, topic_id) = self.logs[toppar(&partition)].committed?;
        Some(Commit { partition, position, topic_id })
    }

    /// Where a consumer of this partition begins.
    fn start(&self, toppar: usize) -> Start {
        let topic_id = Some(self.topic_id(toppar));
        let point = match self.logs[toppar].committed {
            Some((_, of)) if of.is_some() && of != topic_id => StartPoint::Recreated(0),
            Some((position, _)) => StartPoint::Committed(position),
            None => StartPoint::Reset(0),
        };
        Start { point, topic_id }
    }

    fn topic_id(&self, toppar: usize) -> TopicId {
        TopicId(self.topic_ids[toppar / PARTITIONS])
    }

    /// The group commits offsets: everything before them must have come out.
    fn commit(&mut self, commits: &[CommitOnItsWay]) {
        self.trace(|| format!("committed {commits:?}"));
        let visible = self.visible();
        for &CommitOnItsWay { toppar, position, topic_id, incarnation } in commits {
            let offset = self.logs[toppar].validated(position);
            self.logs[toppar].committed = Some((position, topic_id));
            if incarnation != Some(self.logs[toppar].incarnation) || self.toppars[toppar].is_mistaken {
                // Of a log that isn't there any more. Brokers take it; whoever begins there has to see that.
                continue;
            }
            let lost = self.logs[toppar].records.iter().find(|record| {
                record.offset < offset && !visible.contains_key(&record.id) && !self.waived.contains(&record.id)
            });
            // Of a topic that was created again the worker may not have seen that yet.
            if let Some(lost) = lost.filter(|_| !self.logs[toppar].was_created_again) {
                self.violations.push(format!("{toppar}: {offset} is committed, but {lost:?} has not come out"));
            }
        }
    }

    /// How often each record has come out for a reader, as a prediction and as a dead letter.
    pub(super) fn visible(&self) -> HashMap<u64, (usize, usize)> {
        let mut visible: HashMap<u64, (usize, usize)> = HashMap::new();
        for output in self.outputs.iter().filter(|output| output.transaction.is_none()) {
            let (predictions, letters) = visible.entry(output.id).or_default();
            if output.is_prediction { *predictions += 1 } else { *letters += 1 }
        }
        visible
    }
}

pub(super) fn name(toppar: usize) -> TopicPartition {
    TopicPartition { topic: format!("in-{}", toppar / PARTITIONS), partition: (toppar % PARTITIONS) as i32 }
}

fn toppar(partition: &TopicPartition) -> usize {
    let route: usize = partition.topic.trim_start_matches("in-").parse().expect("a topic of this world");
    route * PARTITIONS + partition.partition as usize
}

pub(super) fn fetch_error(toppar: usize, error: Fault) -> FetchError {
    let TopicPartition { topic, partition } = name(toppar);
    FetchError { topic, partition, source: fault(error) }
}

fn undelivered(message: &InFlight, failure: Fault) -> UndeliveredRecord {
    UndeliveredRecord { ticket: message.ticket, topic: format!("out-{}", message.route), source: fault(failure) }
}
