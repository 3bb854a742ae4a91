//! A route within one worker: its batch, its scorer, where its outputs go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::dead_letter::dead_letter;
use super::gate::Gate;
use super::ports::InputRecord;
use super::sink::REFUSED_RETRY;
use super::source::PolledRecord;
use crate::batch::{Batch, BatchConfig};
use crate::codec::CodecError;
use crate::kafka::Headers;
use crate::kafka::admin::Topic;
use crate::kafka::producer::{Outgoing, Ticket};
use crate::kafka::watch::TopicSnapshot;
use crate::logging::LogPace;
use crate::model::Model;
use crate::model::slot::Slot;
use crate::monitor::metrics::{Metrics, ModelMetrics, RouteMetrics, Stage, WaitReason};
use crate::record::{Reason, Rejection};
use crate::route::{OutputHeader, RouteConfig};
use crate::score::{self, Scorer};

/// A route and the slot from which its model is taken.
#[derive(Clone, Debug)]
pub struct Route {
    /// What the configuration says.
    pub config: RouteConfig,
    /// Where the current model is.
    pub slot: Arc<Slot>,
    /// Whether its records wait.
    pub gate: Arc<Gate>,
    /// The version of which a worker has already warned that its first records lack something.
    warned: Arc<AtomicU64>,
}

impl Route {
    /// A route without a model yet, its gate open.
    pub fn new(config: RouteConfig) -> Route {
        let window = Duration::from_secs(config.dead_letter.window_s);
        let gate = Arc::new(Gate::new(config.dead_letter.max_ratio, window, Instant::now()));
        Route { config, slot: Arc::new(Slot::new()), gate, warned: Arc::default() }
    }
}

/// A prediction, or why there is none.
pub(super) type ScoreResult<'r> = Result<score::Prediction<'r>, &'r Rejection>;

/// A topic that a route produces to.
#[derive(Debug)]
pub(super) struct OutputTopic {
    name: String,
    facts: Topic,
}

/// A route within one worker.
pub(super) struct RoutePipeline<R> {
    pub(super) batch: Batch<PolledRecord<R>>,
    /// The scored batch that is being handed to the producer.
    pub(super) pending: Option<PendingBatch<R>>,
    pub(super) metrics: RouteMetrics,
    output: OutputTopic,
    dead_letter: OutputTopic,
    /// By topic number: how many partitions the input has.
    input_partitions: Vec<(usize, i32)>,
    /// Why its output refuses everything, and until when it waits for that.
    refused: Option<(String, Instant)>,
    /// It may wait again and again, a few seconds each time.
    log_pace: LogPace,
    /// Why an output topic can't be used: the route waits.
    unusable: Option<String>,
    /// Whether none of its input topics can be used.
    is_without_input: bool,
    /// Whether an open transaction of a producer keeps records of it from being consumed.
    pub(super) is_held_back: bool,
    /// Whether it waits for room in flight.
    pub(super) waits_for_room: bool,
    /// Whether a suspect is in flight, alone: the next record waits for its report.
    pub(super) has_suspect_in_flight: bool,
    route: Route,
    options: score::Options,
    /// With exactly-once, what becomes of records is counted when their transaction is committed.
    is_transactional: bool,
    /// What versions have counted that were replaced during the open transaction.
    replaced: Vec<ModelMetrics>,
    /// The version that scores; none before the first one is loaded.
    active: Option<ActiveVersion>,
    /// A version in the slot that the records of the route can't be read for, and why.
    unfit: Option<(Arc<Model>, String)>,
}

/// A version as a route uses it.
struct ActiveVersion {
    scorer: Scorer,
    metrics: ModelMetrics,
    /// The headers that each of its predictions gets.
    headers: Vec<(&'static str, String)>,
}

/// A scored batch on its way to the producer. It stays while the producer has no room for the rest of it.
pub(super) struct PendingBatch<R> {
    pub(super) records: Vec<PolledRecord<R>>,
    /// The next record to send.
    pub(super) next: usize,
    /// The slot in the ledger.
    pub(super) slot: usize,
    pub(super) rejected: usize,
}

/// What becomes of a record.
pub(super) struct Outcome<'r> {
    pub(super) outgoing: Outgoing<'r>,
    /// Why there is no prediction.
    pub(super) rejected: Option<Reason>,
    /// The bytes that it takes in flight.
    pub(super) bytes: usize,
}

impl<R: InputRecord> RoutePipeline<R> {
    /// A pipeline whose input topics have these numbers.
    pub(super) fn new(
        route: Route,
        batch: &BatchConfig,
        topics: Vec<usize>,
        metrics: &Metrics,
        is_transactional: bool,
    ) -> RoutePipeline<R> {
        let output = |name: &String| OutputTopic { name: name.clone(), facts: Topic::default() };
        let [predictions, dead_letters] = route.config.outputs();
        let mut pipeline = RoutePipeline {
            batch: Batch::new(batch),
            pending: None,
            output: output(predictions),
            dead_letter: output(dead_letters),
            input_partitions: topics.into_iter().map(|topic| (topic, 1)).collect(),
            refused: None,
            log_pace: LogPace::new(),
            unusable: None,
            is_without_input: false,
            is_held_back: false,
            waits_for_room: false,
            has_suspect_in_flight: false,
            metrics: metrics.route(&route.config.name),
            options: route.config.score_options(),
            is_transactional,
            replaced: Vec::new(),
            active: None,
            unfit: None,
            route,
        };
        pipeline.take_current_model();
        pipeline
    }

    /// Takes note of what its topics are like now. `name` gives the name of a topic's number.
    pub(super) fn note_topics<'t>(&mut self, snapshot: &TopicSnapshot, name: impl Fn(usize) -> &'t str) {
        for output in [&mut self.output, &mut self.dead_letter] {
            if let Some(facts) = snapshot.topics.get(&output.name) {
                output.facts.clone_from(facts);
            }
        }
        // Otherwise a transaction would wait for outputs that can't be delivered, and all routes with it.
        let outputs = [&self.output, &self.dead_letter].map(|output| &output.name);
        let unusable = outputs.into_iter().find_map(|name| snapshot.unusable.get(name)).cloned();
        if let Some(reason) = unusable.as_ref().filter(|&reason| self.unusable.as_ref() != Some(reason)) {
            tracing::error!(route = self.route.config.name, "the route waits: {reason}");
        }
        self.unusable = unusable;
        let is_unusable = |topic: &String| snapshot.unusable.contains_key(topic);
        self.is_without_input = self.route.config.input.topics.iter().all(is_unusable);
        for (topic, partitions) in &mut self.input_partitions {
            if let Some(facts) = snapshot.topics.get(name(*topic)) {
                *partitions = facts.partitions;
            }
        }
    }

    /// What its output topics are like.
    pub(super) fn outputs(&self) -> [&Topic; 2] {
        [&self.output.facts, &self.dead_letter.facts]
    }

    /// Whether records of this route may be polled and scored now.
    pub(super) fn is_open(&mut self, now: Instant) -> bool {
        if self.refused.as_ref().is_some_and(|(_, until)| now >= *until) {
            self.refused = None;
        }
        if self.active.is_none() {
            self.take_current_model();
        }
        self.refused.is_none() && self.unusable.is_none() && !self.route.gate.is_closed() && self.active.is_some()
    }

    /// Why it waits.
    pub(super) fn waits_for(&self, reason: WaitReason) -> bool {
        match reason {
            WaitReason::Refused => self.refused.is_some() || self.unusable.is_some(),
            WaitReason::Room => self.waits_for_room,
            WaitReason::Model => self.active.is_none(),
            WaitReason::Input => self.is_without_input,
            WaitReason::Transaction => self.is_held_back,
            WaitReason::Ratio | WaitReason::ByHand => self.route.gate.is_closed_for(reason),
        }
    }

    /// An output refuses everything: the route waits a moment before it tries again.
    pub(super) fn output_refused(&mut self, reason: String, now: Instant) {
        if self.refused.is_none()
            && let Some(left_out) = self.log_pace.take(&reason, now)
        {
            tracing::error!(route = self.route.config.name, left_out, "the route waits: {reason}");
        }
        self.refused = Some((reason, now + REFUSED_RETRY));
    }

    /// Why it waits for an output that refuses everything, or for a version that its records can be read for. An output that can't
    /// be used at all is reported by the control plane.
    pub(super) fn refusal(&self) -> Option<String> {
        let refused = self.refused.as_ref().map(|(reason, _)| reason);
        let unfit = self.unfit.as_ref().filter(|_| self.active.is_none()).map(|(_, reason)| reason);
        let reason = refused.or(unfit)?;
        Some(format!("route {}: {reason}", self.route.config.name))
    }

    /// Decodes, scores and encodes a batch with the version that the slot holds now: one batch, one version.
    pub(super) fn score(&mut self, records: &[PolledRecord<R>]) {
        self.take_current_model();
        let ActiveVersion { scorer, metrics, .. } = self.active.as_mut().expect(HAS_MODEL);
        let payloads = || records.iter().map(|held| held.record.payload());
        let started = Instant::now();
        scorer.decode(payloads());
        let decoded = Instant::now();
        scorer.score();
        let scored = Instant::now();
        if metrics.counts_times() {
            let accepted = records.iter().zip(scorer.accepted()).filter(|(_, is_accepted)| *is_accepted);
            metrics.observe_times(accepted.map(|(held, _)| held.record.timestamp_ms()));
        }
        scorer.encode(payloads());
        for (stage, time) in
            [(Stage::Decode, decoded - started), (Stage::Score, scored - decoded), (Stage::Encode, scored.elapsed())]
        {
            self.metrics.stage(stage).observe(time.as_secs_f64());
        }
        metrics.observe_rows(scorer.rows());
        metrics.observe_outputs(scorer.outputs());
        if let Some(lacking) = scorer.take_lacking() {
            self.warn(&lacking);
        }
    }

    /// Warns once per version, whichever worker is the first to have seen enough records.
    fn warn(&self, lacking: &score::Lacking) {
        let (name, model) = (&self.route.config.name, self.active().scorer.model());
        if self.route.warned.swap(model.version(), Ordering::Relaxed) != model.version() {
            tracing::warn!(route = name, model = model.name(), version = model.version(), "{lacking}");
        }
    }

    /// What became of each record of the scored batch, from `next` on, in its order.
    pub(super) fn results(&self, next: usize) -> impl Iterator<Item = ScoreResult<'_>> {
        self.active().scorer.results().skip(next)
    }

    /// What goes out for a record of the scored batch: its prediction, or a dead letter. `refused` is why its prediction was
    /// refused before.
    pub(super) fn outcome<'r>(
        &'r self,
        held: &'r PolledRecord<R>,
        result: ScoreResult<'r>,
        refused: Option<&str>,
        ticket: Ticket,
        now_ms: i64,
    ) -> Outcome<'r> {
        let record = &held.record;
        let ActiveVersion { scorer, headers: version_headers, .. } = self.active();
        let result = match (refused, result) {
            (Some(reason), _) => Err(Rejection::new(Reason::OutputRefused, reason)),
            (None, Ok(prediction)) => fits(record, prediction.record, &self.output).map(|()| prediction.record),
            (None, Err(rejection)) => Err(rejection.clone()),
        };
        let (output, key, value, headers, rejected) = match result {
            Ok(value) => {
                let headers = prediction_headers(record, &self.route.config.output.headers, version_headers);
                (&self.output, record.key(), Some(value), headers, None)
            }
            Err(rejection) => {
                let (model, OutputTopic { name, facts }) = (scorer.model(), &self.dead_letter);
                let letter = dead_letter(record, &rejection, &self.route.config.name, model, name, facts);
                (&self.dead_letter, letter.key, letter.value, Some(letter.headers), Some(rejection.reason))
            }
        };
        let input_partitions = self.input_partitions(held.topic);
        let timestamp_ms = record.timestamp_ms().filter(|&millis| output.facts.takes_timestamp(millis, now_ms));
        if timestamp_ms.is_none() && record.timestamp_ms().is_some() {
            self.metrics.timestamps_replaced.inc();
        }
        let outgoing = Outgoing {
            topic: &output.name,
            partition: output.facts.partition_for(record.partition(), input_partitions, key),
            key,
            value,
            timestamp_ms,
            headers,
            ticket,
        };
        let bytes = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        Outcome { outgoing, rejected, bytes }
    }

    /// Counts what became of a batch; too many rejections close the route's gate.
    pub(super) fn observe(&self, records: usize, rejected: usize) {
        let Some(excess) = self.route.gate.observe(Instant::now(), records as u64, rejected as u64) else { return };
        let Route { config, .. } = &self.route;
        tracing::error!(
            route = config.name,
            rejected = excess.rejected,
            of = excess.records,
            max_ratio = config.dead_letter.max_ratio,
            "too many records are rejected: the route pauses until a new version is loaded, or `weir route resume {}`",
            config.name
        );
    }

    /// Counts a record that went out: as a prediction, or as a rejection.
    pub(super) fn count(&self, rejected: Option<Reason>) {
        match rejected {
            None => self.active().metrics.produced.inc(),
            Some(reason) => self.metrics.rejected(reason).inc(),
        }
    }

    /// Hands what was counted to the registry.
    pub(super) fn flush_metrics(&mut self) {
        self.metrics.flush_activity();
        if !self.is_transactional {
            self.settle_outcomes(true);
        }
    }

    fn input_partitions(&self, topic: usize) -> i32 {
        self.input_partitions.iter().find(|(number, _)| *number == topic).map_or(1, |&(_, partitions)| partitions)
    }

    /// The version of the scored batch.
    fn active(&self) -> &ActiveVersion {
        self.active.as_ref().expect(HAS_MODEL)
    }

    fn take_current_model(&mut self) {
        let Some(model) = self.route.slot.load() else { return };
        let is_model = |known: &Arc<Model>| Arc::ptr_eq(&model, known);
        if self.active.as_ref().is_some_and(|active| is_model(active.scorer.model()))
            || self.unfit.as_ref().is_some_and(|(known, _)| is_model(known))
        {
            return;
        }
        let scorer = match Scorer::new(model.clone(), &self.options) {
            Ok(scorer) => scorer,
            Err(error) => return self.refuse_version(model, &error),
        };
        self.unfit = None;
        let active = ActiveVersion {
            metrics: self.metrics.model(&model),
            headers: version_headers(&self.route.config.output.headers, &model),
            scorer,
        };
        self.replaced.extend(self.active.replace(active).map(|replaced| replaced.metrics));
    }

    /// Keeps the version before it, if there is one.
    fn refuse_version(&mut self, model: Arc<Model>, error: &CodecError) {
        let serving = self.active.as_ref().map(|active| active.scorer.model().version());
        let (name, version) = (&self.route.config.name, model.version());
        let reason = format!("version {version} of {} can't score its records: {error}", model.name());
        tracing::error!(route = name, version, serving, "{reason}");
        self.unfit = Some((model, reason));
    }
}

impl<R> RoutePipeline<R> {
    /// Hands what became of records to the registry, or forgets it.
    pub(super) fn settle_outcomes(&mut self, are_final: bool) {
        let active = self.active.as_mut().map(|active| &mut active.metrics);
        let of_versions = self.replaced.iter_mut().chain(active);
        if are_final {
            self.metrics.flush_outcomes();
            of_versions.for_each(ModelMetrics::flush);
        } else {
            self.metrics.forget_outcomes();
            of_versions.for_each(ModelMetrics::forget);
        }
        self.replaced.clear();
    }
}

impl<R> Drop for RoutePipeline<R> {
    /// A transaction that is still open will be aborted.
    fn drop(&mut self) {
        if self.is_transactional {
            self.settle_outcomes(false);
        }
    }
}

/// Why there is a version to score with.
const HAS_MODEL: &str = "a route without a model takes no records";

/// What the headers that weir adds to a prediction can take: names and lengths, a topic and a model of up to 249
/// characters, numbers, a digest.
const OWN_HEADERS_BYTES: usize = 768;

/// Whether the output topic takes a prediction. A topic refuses a produce request over its limit as a whole.
fn fits(record: &impl InputRecord, value: &[u8], output: &OutputTopic) -> Result<(), Rejection> {
    let topic = &output.name;
    if output.facts.is_compacted && record.key().is_none() {
        return Err(Rejection::new(
            Reason::OutputRefused,
            format!("topic {topic} is compacted and takes no record without a key"),
        ));
    }
    let limit = output.facts.record_bytes();
    let size = value.len() + record.key().map_or(0, <[u8]>::len) + record.header_bytes() + OWN_HEADERS_BYTES;
    if size <= limit {
        return Ok(());
    }
    Err(Rejection::new(Reason::OutputTooLarge, format!("the prediction has {size} bytes, topic {topic} takes {limit}")))
}

/// The input's headers, and what `output.headers` asks for.
fn prediction_headers(
    record: &impl InputRecord,
    wanted: &[OutputHeader],
    version_headers: &[(&'static str, String)],
) -> Option<Headers> {
    let headers = record.headers();
    if wanted.is_empty() {
        return headers;
    }
    let mut headers = headers.unwrap_or_default();
    for (name, value) in version_headers {
        headers = headers.with(name, value.as_bytes());
    }
    if wanted.contains(&OutputHeader::Source) {
        let origin = record.origin();
        let source = format!("{}/{}/{}", origin.topic, origin.partition, origin.offset);
        headers = headers.with(OutputHeader::Source.as_str(), source.as_bytes());
    }
    Some(headers)
}

/// The headers that are the same for all predictions of a version.
fn version_headers(wanted: &[OutputHeader], model: &Model) -> Vec<(&'static str, String)> {
    let value = |header: &OutputHeader| match header {
        OutputHeader::Model => Some(model.name().to_owned()),
        OutputHeader::Version => Some(model.version().to_string()),
        OutputHeader::Digest => Some(model.short_digest().to_owned()),
        OutputHeader::Source => None,
    };
    wanted.iter().filter_map(|header| Some((header.as_str(), value(header)?))).collect()
}

#[cfg(test)]
mod tests;
