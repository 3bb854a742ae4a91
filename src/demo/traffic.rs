//! The traffic of the demo: departures in, at a steady rate, and what comes out for them, on one thread.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::account::{Account, ActualOutcome, ExpectedOutcome};
use super::flights::Departure;
use super::{DEAD_LETTER, FETCH_WAIT, INPUT, OUTPUT};
use crate::kafka::admin::OutputLimits;
use crate::kafka::consumer::{Consumer, FetchEvent, GroupEvent, Position, Record};
use crate::kafka::producer::{Outgoing, Producer, Ticket};
use crate::kafka::settings::{KafkaConfig, Property};

/// The embedded broker forgets what is older than 5 MB a partition: the feeder waits when this many records, of about
/// 350 bytes, are on their way.
const MAX_OPEN: usize = 8_000;

/// Every so many records one is broken.
const BROKEN_EVERY: usize = 400;

/// How long the last records may take to come out.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a record's value.
type Break = fn(&str) -> Option<String>;

/// The ways in which records are broken, and the reason that weir should give.
const BROKEN: [(Break, &str); 6] = [
    (|json| Some(json[..json.len() / 2].into()), "malformed"),
    (|json| Some(json.replacen("\"distance\":", "\"distance\":\"far\",\"was\":", 1)), "wrong_type"),
    (|json| Some(json.replacen("\"distance\":", "\"distance\":1e999,\"was\":", 1)), "not_finite"),
    (|_| Some(r#"{"id":"b","features":[1,2,3]}"#.into()), "wrong_length"),
    (|_| Some("not JSON at all".into()), "malformed"),
    (|_| None, "malformed"),
];

/// A running feeder and reader.
pub(super) struct Traffic {
    shared: Arc<SharedTraffic>,
    thread: JoinHandle<anyhow::Result<Account>>,
}

struct SharedTraffic {
    /// Nothing more is to be fed.
    enough: AtomicBool,
    second: Mutex<RecentOutputs>,
}

/// What came out since somebody last asked.
#[derive(Clone, Debug, Default)]
pub(super) struct RecentOutputs {
    /// Predictions and dead letters.
    pub(super) records: usize,
    /// Dead letters, since the start.
    pub(super) rejected: usize,
    /// Milliseconds from the send of each record to the arrival of its outcome.
    pub(super) latencies_ms: Vec<f64>,
    /// The version of the last prediction.
    pub(super) version: Option<u64>,
    /// The share of the departures that were fed, in this round.
    pub(super) progress: f64,
}

impl RecentOutputs {
    /// The latency that this share of the records stayed within.
    pub(super) fn latency_ms(&mut self, share: f64) -> f64 {
        self.latencies_ms.sort_unstable_by(f64::total_cmp);
        let at = (self.latencies_ms.len() as f64 * share) as usize;
        self.latencies_ms.get(at).or(self.latencies_ms.last()).copied().unwrap_or(0.0)
    }
}

impl Traffic {
    /// Starts feeding `departures`, once or over and over, at `rate` records a second.
    pub(super) fn start(brokers: &str, departures: Vec<Departure>, rate: u32, once: bool) -> anyhow::Result<Traffic> {
        let config = KafkaConfig {
            brokers: brokers.into(),
            group_id: "weir-demo-account".into(),
            client_id: "weir-demo".into(),
            properties: [FETCH_WAIT].map(|(name, value)| (name.into(), Property::Integer(value))).into(),
        };
        let producer = Producer::new(&config, &OutputLimits::default(), None)?;
        let consumer = Consumer::new(&config, None, 1)?;
        consumer.subscribe(&[OUTPUT, DEAD_LETTER])?;
        let shared = Arc::new(SharedTraffic { enough: AtomicBool::new(false), second: Mutex::default() });
        let feed = Feed { departures, rate, once, started: Instant::now(), sent: 0 };
        let thread = thread::Builder::new().name("demo-traffic".into()).spawn({
            let shared = shared.clone();
            move || {
                let account = run(feed, &producer, &consumer, &shared);
                consumer.close(Instant::now() + Duration::from_secs(1));
                account
            }
        })?;
        Ok(Traffic { shared, thread })
    }

    /// What came out since the last call.
    pub(super) fn second(&self) -> RecentOutputs {
        let mut second = self.shared.second();
        let (rejected, version, progress) = (second.rejected, second.version, second.progress);
        std::mem::replace(&mut second, RecentOutputs { rejected, version, progress, ..RecentOutputs::default() })
    }

    /// Feeds nothing more.
    pub(super) fn stop_feeding(&self) {
        self.shared.enough.store(true, Ordering::Release);
    }

    /// Whether everything came out that was fed, or took too long to.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The account, at the end.
    pub(super) fn account(self) -> anyhow::Result<Account> {
        self.thread.join().map_err(|_| anyhow!("the demo's traffic panicked"))?
    }
}

impl SharedTraffic {
    fn second(&self) -> MutexGuard<'_, RecentOutputs> {
        self.second.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is fed, and how far that is.
struct Feed {
    departures: Vec<Departure>,
    rate: u32,
    once: bool,
    started: Instant,
    sent: usize,
}

impl Feed {
    /// The next record that is due, if one is.
    fn next(&mut self) -> Option<(Option<Cow<'_, str>>, ExpectedOutcome)> {
        let due = self.started.elapsed().as_secs_f64() * f64::from(self.rate);
        if self.is_over() || self.sent as f64 >= due {
            return None;
        }
        let number = self.sent;
        self.sent += 1;
        let departure = &self.departures[number % self.departures.len()];
        if number % BROKEN_EVERY == BROKEN_EVERY - 1 {
            let (broken, reason) = BROKEN[number / BROKEN_EVERY % BROKEN.len()];
            return Some((broken(&departure.json).map(Cow::Owned), ExpectedOutcome::DeadLetter(reason)));
        }
        Some((Some(Cow::Borrowed(&departure.json)), ExpectedOutcome::Prediction(departure.label.clone())))
    }

    fn is_over(&self) -> bool {
        self.once && self.sent >= self.departures.len()
    }

    fn progress(&self) -> f64 {
        self.sent as f64 / self.departures.len() as f64
    }
}

fn run(mut feed: Feed, producer: &Producer, consumer: &Consumer, shared: &SharedTraffic) -> anyhow::Result<Account> {
    let mut account = Account::default();
    let mut over_since = None;
    let (mut acknowledged, mut fetched) = (Vec::new(), VecDeque::new());
    loop {
        let over = feed.is_over() || shared.enough.load(Ordering::Acquire);
        while !over && account.open() < MAX_OPEN {
            let Some((value, expected)) = feed.next() else { break };
            let number = account.sent(expected, Instant::now());
            let key = number.to_string();
            let record = Outgoing {
                topic: INPUT,
                partition: None,
                key: Some(key.as_bytes()),
                value: value.as_deref().map(str::as_bytes),
                timestamp_ms: None,
                headers: None,
                ticket: Ticket::default(),
            };
            producer.send(record).map_err(|refused| refused.error).context("feeding the demo")?;
        }
        producer.poll(Duration::ZERO, &mut acknowledged)?;
        acknowledged.clear();
        consumer.serve()?;
        consumer.fetch(0, &mut fetched);
        if fetched.is_empty() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        for fetched in fetched.drain(..) {
            let record = match fetched {
                FetchEvent::Record(record) => record,
                FetchEvent::Error(error) => {
                    tracing::warn!(%error, "what came out can't be read; trying again");
                    continue;
                }
            };
            let (number, outcome) = read(&record).context("reading what came out")?;
            let mut second = shared.second();
            second.records += 1;
            match &outcome {
                ActualOutcome::Prediction { version, .. } => second.version = Some(*version),
                ActualOutcome::DeadLetter { .. } => second.rejected += 1,
            }
            if let Some(sent_at) = account.came_out(number, outcome) {
                second.latencies_ms.push(sent_at.elapsed().as_secs_f64() * 1e3);
            }
            second.progress = feed.progress();
        }
        while let Some(event) = consumer.next_event() {
            match event {
                GroupEvent::Assign(partitions) => {
                    partitions.iter().for_each(|partition| consumer.attach(0, partition));
                    let starts: Vec<_> = partitions.into_iter().map(|partition| (partition, Position::at(0))).collect();
                    consumer.assign(&starts)?;
                }
                GroupEvent::Revoke(partitions) | GroupEvent::Lost(partitions) => consumer.unassign(&partitions)?,
                _ => {}
            }
        }
        if over {
            let since: &Instant = over_since.get_or_insert_with(Instant::now);
            if account.open() == 0 || since.elapsed() > PATIENCE {
                return Ok(account);
            }
        }
    }
}

/// The number of the record, and what became of it.
fn read(record: &Record<'_>) -> anyhow::Result<(usize, ActualOutcome)> {
    #[derive(Deserialize)]
    struct Prediction {
        prediction: String,
        version: u64,
    }
    let key = std::str::from_utf8(record.key().unwrap_or_default())?;
    let number = key.parse().with_context(|| format!("key {key:?}"))?;
    let outcome = match record.header("weir-error-reason") {
        Some(reason) => ActualOutcome::DeadLetter { reason: String::from_utf8_lossy(&reason).into_owned() },
        None => {
            let Prediction { prediction, version } = serde_json::from_slice(record.payload().unwrap_or_default())?;
            ActualOutcome::Prediction { version, class: prediction }
        }
    };
    Ok((number, outcome))
}
