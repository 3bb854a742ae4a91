//! Outputs in, delivery reports out, counted by batch; and transactions, for exactly-once.
//!
//! A transactional producer commits outputs and consumed offsets together, in steps that the coordinator answers: each
//! is a [`Step`] under way. librdkafka sorts what can go wrong with one into three kinds, and so does
//! [`TransactionError`]: call again, abort, give the client up.

use std::cell::{Cell, Ref, RefCell};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;

use super::Headers;
use super::admin::OutputLimits;
use super::consumer::{Commit, GroupMetadata};
use super::ffi;
use super::ffi::positions::commits_list;
use super::ffi::produce::{Message, ReportQueue, TopicHandle, produce};
use super::flusher::Flusher;
use super::pending::Wake;
use super::refusal::DeliveryFailure;
use super::settings::KafkaConfig;

/// A record on its way out.
pub struct Outgoing<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition; `None`: by the key, as Java clients choose it.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
    /// The headers, if any.
    pub headers: Option<Headers>,
    /// What names the record in its delivery report.
    pub ticket: Ticket,
}

/// Names a record among those in flight, and comes back with its delivery report: the batch that the report is counted
/// for, and the record's place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticket {
    /// The batch.
    pub batch: u32,
    /// The place within the batch.
    pub row: u32,
}

impl Ticket {
    /// The number that librdkafka carries in place of a pointer.
    fn packed(self) -> usize {
        const { assert!(usize::BITS >= 64, "a ticket takes 64 bits") };
        (self.batch as usize) << 32 | self.row as usize
    }

    fn unpacked(packed: usize) -> Ticket {
        Ticket { batch: (packed >> 32) as u32, row: packed as u32 }
    }
}

/// A record that was not taken; it can be sent again.
pub struct NotSent<'a> {
    /// The record.
    pub record: Outgoing<'a>,
    /// Why.
    pub error: KafkaError,
}

impl NotSent<'_> {
    /// Whether only the producer's queue is full: after some delivery reports there is room again.
    pub fn queue_is_full(&self) -> bool {
        self.error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull)
    }

    /// Whether the open transaction takes no more records: it can only be aborted.
    pub fn transaction_is_over(&self) -> bool {
        matches!(self.error.rdkafka_error_code(), Some(RDKafkaErrorCode::State | RDKafkaErrorCode::Fatal))
    }
}

/// Deliveries that were acknowledged: so many records of that batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The batch.
    pub batch: usize,
    /// How many of its records, since the last report.
    pub records: u32,
}

/// A record that was not delivered: the brokers refuse it for good, or it was purged.
#[derive(Debug, thiserror::Error)]
#[error("a record could not be delivered to topic {topic:?}")]
pub struct UndeliveredRecord {
    /// What the record was sent with.
    pub ticket: Ticket,
    /// The output topic.
    pub topic: String,
    /// Why. Where a broker refuses a whole batch of records for some of them, those have a code such as `InvalidRecord`,
    /// and the others `InvalidDifferentRecord`: nothing is wrong with them.
    pub source: KafkaError,
}

impl UndeliveredRecord {
    /// Whether the record was dropped by [`Producer::purge`].
    pub fn is_purged(&self) -> bool {
        matches!(DeliveryFailure::of(&self.source), DeliveryFailure::Purged | DeliveryFailure::PurgedInFlight)
    }
}

/// A record that the brokers refuse for good, or a producer that can't go on.
#[derive(Debug, thiserror::Error)]
#[error("a record could not be delivered to topic {topic:?}")]
pub struct DeliveryError {
    /// The output topic; empty where the whole producer failed.
    pub topic: String,
    /// What librdkafka says.
    pub source: KafkaError,
}

/// Why a step of a transaction was not done.
#[derive(Debug, thiserror::Error)]
pub enum TransactionError {
    /// The brokers did not answer in time, or not yet: the same call may succeed later.
    #[error("the transaction coordinator does not answer")]
    Retriable(#[source] KafkaError),
    /// The transaction must be aborted; the producer can begin another.
    #[error("the transaction must be aborted")]
    Abortable(#[source] KafkaError),
    /// This producer's transactions are over: another one has taken over the transactional id, or the brokers have
    /// ended a transaction that wasn't committed in time. They don't say which.
    #[error(
        "the transactional id {id:?} is fenced: the worker was away for longer than a transaction may last, or another \
         producer uses the id (give two weirs on one host different worker.instance)"
    )]
    Fenced {
        /// The transactional id.
        id: String,
        /// What librdkafka says.
        source: KafkaError,
    },
    /// The client may not run transactions under this id.
    #[error(
        "no WRITE on transactional-id {id}: grant it for all that begin with the group's name, since each worker has its \
         own, by kafka-acls.sh --add --allow-principal User:NAME --operation Write --transactional-id GROUP- \
         --resource-pattern-type prefixed"
    )]
    Denied {
        /// The transactional id.
        id: String,
    },
    /// The producer can't go on.
    #[error("the transactional producer failed")]
    Fatal(#[source] KafkaError),
    /// The machine has no thread left to wait for the coordinator.
    #[error("no thread can be started to wait for the transaction coordinator")]
    Thread(#[source] io::Error),
}

/// A step of a transaction under way.
///
/// It is taken on a thread of its own: when no broker is left, librdkafka waits for the group's coordinator without
/// bound, whatever time it is given (confluentinc/librdkafka#5511), and its caller has a group to poll.
#[must_use = "it is done when `wait` says so"]
pub struct Step(mpsc::Receiver<Result<(), TransactionError>>);

impl Step {
    /// A step whose outcome whoever has the other end gives.
    #[cfg(test)]
    pub(crate) fn simulated() -> (mpsc::Sender<Result<(), TransactionError>>, Step) {
        let (done, outcome) = mpsc::channel();
        (done, Step(outcome))
    }

    /// What became of it, if that is known. Never waits; the thread that created the producer is unparked when it is.
    pub fn try_take(&self) -> Option<Result<(), TransactionError>> {
        self.wait(Duration::ZERO)
    }

    /// What became of it, if that is known in time. To be asked until it is.
    pub fn wait(&self, timeout: Duration) -> Option<Result<(), TransactionError>> {
        match self.0.recv_timeout(timeout) {
            Ok(result) => Some(result),
            Err(RecvTimeoutError::Timeout) => None,
            // Its thread has panicked, which the hook has reported.
            Err(RecvTimeoutError::Disconnected) => Some(Err(TransactionError::Fatal(KafkaError::Canceled))),
        }
    }
}

/// How long librdkafka takes for a step before it says whether it is to be called again.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(1);

type Client = BaseProducer<Context>;

/// An idempotent producer, served by the worker that owns it.
pub struct Producer {
    // All three are dropped before the client they belong to.
    flusher: Flusher,
    reports: ReportQueue,
    topics: RefCell<Vec<(String, TopicHandle)>>,
    /// Whether something was sent since the last flush.
    is_held: Cell<bool>,
    inner: Arc<Client>,
    /// The thread that reports and steps unpark.
    owner: Thread,
}

#[derive(Default)]
struct Context {
    /// What names the producer's transactions, if it makes any.
    transactional_id: Option<String>,
    // Locked only by the owning worker, within its own `poll`: never contended.
    reports: Mutex<Reports>,
}

#[derive(Default)]
struct Reports {
    acknowledged: Vec<Acknowledgement>,
    undelivered: Vec<UndeliveredRecord>,
    /// The client can't go on.
    failure: Option<KafkaError>,
}

impl Producer {
    /// Creates the client, for topics with these limits. With a transactional id, records can be sent only within a
    /// transaction; begin with [`Producer::init_transactions`]. Delivery reports and steps that are done unpark the
    /// calling thread.
    pub fn new(
        config: &KafkaConfig,
        limits: &OutputLimits,
        transactional_id: Option<String>,
    ) -> Result<Producer, KafkaError> {
        let settings = config.producer(limits, transactional_id.as_deref());
        let context = Context { transactional_id, reports: Mutex::default() };
        let inner: Arc<Client> = Arc::new(settings.create_with_context(context)?);
        Ok(Producer {
            flusher: Flusher::start(&inner)?,
            reports: ReportQueue::new(inner.client()),
            topics: RefCell::default(),
            is_held: Cell::new(false),
            inner,
            owner: std::thread::current(),
        })
    }

    /// Hands a record to librdkafka, which copies it. Never blocks. It may be held back for a fuller batch, for as long as
    /// `linger.ms`, until a flush.
    #[expect(clippy::result_large_err, reason = "the record comes back to be sent again, which is rare")]
    pub fn send<'a>(&self, record: Outgoing<'a>) -> Result<(), NotSent<'a>> {
        let handle = match self.topic(record.topic) {
            Ok(handle) => handle,
            Err(error) => return Err(NotSent { record, error }),
        };
        let Outgoing { topic, partition, key, value, timestamp_ms, headers, ticket } = record;
        let message = Message { partition, key, value, timestamp_ms, opaque: ticket.packed() };
        self.is_held.set(true);
        produce(self.inner.client(), &handle, &message, headers).map_err(|(code, headers)| NotSent {
            record: Outgoing { topic, partition, key, value, timestamp_ms, headers, ticket },
            error: KafkaError::MessageProduction(code),
        })
    }

    /// Sends what is held back for fuller batches, if a record was sent since the last flush. To be called before the worker
    /// waits for anything. Returns at once.
    pub fn flush_if_held(&self) {
        if self.is_held.get() {
            self.flush();
        }
    }

    /// Sends what is held back for fuller batches. Returns at once. A record whose partition isn't part of the transaction
    /// yet, or whose leader isn't known yet, misses a flush: whoever waits for the last record flushes again.
    pub fn flush(&self) {
        self.is_held.set(false);
        self.flusher.request();
    }

    /// Takes all delivery reports that are there, without waiting: appends runs of acknowledged records by batch, and each
    /// record that was not delivered, purged ones included. An error is one of the client itself, which can't go on.
    pub fn take_reports(
        &self,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError> {
        self.collect(Duration::ZERO, acknowledged, undelivered)
    }

    /// Serves delivery reports, waiting up to `timeout` for the first, and appends them to `acknowledged`. A failure
    /// is returned once.
    pub fn poll(&self, timeout: Duration, acknowledged: &mut Vec<Acknowledgement>) -> Result<(), DeliveryError> {
        let mut undelivered = Vec::new();
        self.collect(timeout, acknowledged, &mut undelivered)?;
        let mut failure = None;
        for report in undelivered {
            // A transaction with a failed delivery can't commit, so the record is out of the books. Without transactions
            // it never is: a commit must not pass over it.
            if self.inner.context().transactional_id.is_some() {
                count(acknowledged, report.ticket);
            }
            if !report.is_purged() {
                failure = Some(DeliveryError { topic: report.topic, source: report.source });
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn collect(
        &self,
        timeout: Duration,
        acknowledged: &mut Vec<Acknowledgement>,
        undelivered: &mut Vec<UndeliveredRecord>,
    ) -> Result<(), DeliveryError> {
        self.reports.poll(self.inner.client(), timeout, |report| {
            book(acknowledged, undelivered, report.opaque, report.failure);
        });
        // What rdkafka took, when it waited for deliveries by itself, and a client that is broken.
        let mut others = self.inner.context().reports();
        acknowledged.append(&mut others.acknowledged);
        undelivered.append(&mut others.undelivered);
        let failed = |source| Err(DeliveryError { topic: String::new(), source });
        others.failure.take().map_or(Ok(()), failed)
    }

    /// Takes over this producer's transactional id: a transaction that a predecessor left open is aborted, and the
    /// predecessor fenced. It is to be called again after `timeout`.
    pub fn init_transactions(&self, timeout: Duration) -> Result<Step, TransactionError> {
        self.step(move |client| client.init_transactions(timeout))
    }

    /// Begins a transaction. Sends no request.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        self.inner.begin_transaction().map_err(|error| self.inner.context().transaction_error(error))
    }

    /// Makes consumed offsets (the next ones to consume) part of the transaction, in the name of a member of their
    /// group: one that the group has left behind is refused. Meanwhile records that were sent are delivered on.
    pub fn send_offsets(&self, commits: &[Commit], member: &Arc<GroupMetadata>) -> Result<Step, TransactionError> {
        let cluster_id = ffi::cluster_id(self.inner.client(), Duration::ZERO);
        let offsets = commits_list(commits, cluster_id.as_deref()).map_err(TransactionError::Fatal)?;
        let member = member.clone();
        self.step(move |client| client.send_offsets_to_transaction(&offsets, &member.0, STEP_TIMEOUT))
    }

    /// Commits the transaction. Everything must have been delivered before: rdkafka waits for the rest in steps of
    /// 100 ms. Once called, it must be called until it gives another answer than [`TransactionError::Retriable`].
    pub fn commit_transaction(&self) -> Result<Step, TransactionError> {
        self.step(|client| client.commit_transaction(STEP_TIMEOUT))
    }

    /// Drops the records that are not delivered yet; their reports come with the next polls.
    /// Only within a transaction that is to be aborted.
    pub fn purge(&self) {
        self.inner.purge(PurgeConfig::default().queue().inflight());
    }

    /// Aborts the transaction. Everything must have been delivered or purged before.
    pub fn abort_transaction(&self) -> Result<Step, TransactionError> {
        self.step(|client| client.abort_transaction(STEP_TIMEOUT))
    }

    fn step(
        &self,
        call: impl FnOnce(&Client) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<Step, TransactionError> {
        let (done, outcome) = mpsc::channel();
        let (client, owner) = (self.inner.clone(), self.owner.clone());
        let take = move || {
            // Dropped in reverse, so the thread is unparked when the outcome is there, and after a panic.
            let _wake = Wake(owner);
            let done = done;
            let result = call(&client).map_err(|error| client.context().transaction_error(error));
            // The client's end is its owner's business.
            drop(client);
            let _ = done.send(result);
        };
        let thread = std::thread::Builder::new().name("weir-step".into()).spawn(take);
        thread.map(|_| Step(outcome)).map_err(TransactionError::Thread)
    }

    /// The handle on a topic, made when it is first asked for.
    fn topic(&self, name: &str) -> Result<Ref<'_, TopicHandle>, KafkaError> {
        let at = |topics: &[(String, TopicHandle)]| topics.iter().position(|(known, _)| known == name);
        let known = at(&self.topics.borrow());
        let at = match known {
            Some(at) => at,
            None => {
                let handle = TopicHandle::new(self.inner.client(), name)?;
                let mut topics = self.topics.borrow_mut();
                topics.push((name.into(), handle));
                topics.len() - 1
            }
        };
        Ok(Ref::map(self.topics.borrow(), |topics| &topics[at].1))
    }

    /// The number of partitions of a topic. Blocks for up to `timeout`.
    pub fn partitions(&self, topic: &str, timeout: Duration) -> Result<i32, KafkaError> {
        let metadata = self.inner.client().fetch_metadata(Some(topic), timeout)?;
        let count = metadata.topics().first().map_or(0, |found| found.partitions().len());
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }
}

impl Context {
    fn transaction_error(&self, error: KafkaError) -> TransactionError {
        let KafkaError::Transaction(cause) = &error else { return TransactionError::Fatal(error) };
        let id = || self.transactional_id.clone().unwrap_or_default();
        // A fenced producer is fatal as well: what is to be said about it is something else.
        if matches!(cause.code(), RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::Fenced) {
            TransactionError::Fenced { id: id(), source: error }
        } else if cause.code() == RDKafkaErrorCode::TransactionalIdAuthorizationFailed {
            TransactionError::Denied { id: id() }
        } else if cause.is_fatal() {
            TransactionError::Fatal(error)
        } else if cause.txn_requires_abort() {
            TransactionError::Abortable(error)
        } else if cause.is_retriable() {
            TransactionError::Retriable(error)
        } else {
            TransactionError::Fatal(error)
        }
    }

    fn reports(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        super::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let KafkaError::Global(RDKafkaErrorCode::Fatal) = error {
            self.reports().failure = Some(error);
        }
        tracing::debug!(target: "weir::kafka", "producer: {reason}");
    }
}

impl ProducerContext<NoCustomPartitioner> for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let failure = result.as_ref().err().map(|(error, message)| {
            (error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown), rdkafka::message::Message::topic(message))
        });
        let Reports { acknowledged, undelivered, .. } = &mut *self.reports();
        book(acknowledged, undelivered, opaque, failure);
    }
}

/// A record was delivered, or was not to this topic, for this reason.
fn book(
    acknowledged: &mut Vec<Acknowledgement>,
    undelivered: &mut Vec<UndeliveredRecord>,
    opaque: usize,
    failure: Option<(RDKafkaErrorCode, &str)>,
) {
    let ticket = Ticket::unpacked(opaque);
    match failure {
        None => count(acknowledged, ticket),
        Some((code, topic)) => {
            let source = KafkaError::MessageProduction(code);
            undelivered.push(UndeliveredRecord { ticket, topic: topic.to_owned(), source });
        }
    }
}

fn count(acknowledged: &mut Vec<Acknowledgement>, ticket: Ticket) {
    let batch = ticket.batch as usize;
    match acknowledged.last_mut() {
        // Reports come in the order of sending, so a batch is mostly one run.
        Some(run) if run.batch == batch => run.records += 1,
        _ => acknowledged.push(Acknowledgement { batch, records: 1 }),
    }
}
