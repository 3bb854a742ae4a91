//! A route within one worker: its batch, its scorer, where its outputs go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dead_letter::dead_letter;
use super::gate::Gate;
use super::source::Held;
use crate::batch::{Batch, BatchConfig};
use crate::kafka::Headers;
use crate::kafka::admin::Topic;
use crate::kafka::consumer::Record;
use crate::kafka::producer::{Outgoing, Ticket};
use crate::model::Model;
use crate::model::slot::Slot;
use crate::monitor::metrics::{Metrics, ModelMetrics, RouteMetrics, Stage};
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
}

impl Route {
    /// A route without a model yet, its gate open.
    pub fn new(config: RouteConfig) -> Route {
        let window = Duration::from_secs(config.dead_letter.window_s);
        let gate = Arc::new(Gate::new(config.dead_letter.max_ratio, window, Instant::now()));
        Route { config, slot: Arc::new(Slot::new()), gate }
    }
}

/// A prediction, or why there is none.
pub(super) type ScoreResult<'r> = Result<score::Prediction<'r>, &'r Rejection>;

/// A topic that a lane produces to.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) topic: String,
    pub(super) facts: Topic,
}

/// A route within one worker.
pub(super) struct Lane<'c> {
    pub(super) batch: Batch<Held<'c>>,
    pub(super) output: Outlet,
    pub(super) dead_letter: Outlet,
    pub(super) metrics: RouteMetrics,
    /// Whether its topics are paused, as this worker last saw its gate.
    pub(super) paused: bool,
    route: Route,
    options: score::Options,
    scorer: Scorer,
    seen: ModelMetrics,
    /// The headers that every prediction of this version gets.
    version_headers: Vec<(&'static str, String)>,
}

impl<'c> Lane<'c> {
    /// A lane that starts with `model`.
    pub(super) fn new(
        route: Route,
        model: Arc<Model>,
        batch: &BatchConfig,
        output: Outlet,
        dead_letter: Outlet,
        metrics: &Metrics,
    ) -> Lane<'c> {
        let options = route.config.score_options();
        let route_metrics = metrics.route(&route.config.name);
        Lane {
            batch: Batch::new(batch),
            output,
            dead_letter,
            seen: route_metrics.model(&model),
            metrics: route_metrics,
            paused: false,
            version_headers: version_headers(&route.config.output.headers, &model),
            scorer: Scorer::new(model, &options),
            options,
            route,
        }
    }

    /// Decodes, scores and encodes a batch with the version that the slot holds now: one batch, one version.
    pub(super) fn score(&mut self, records: &[Held<'_>]) {
        self.take_current_model();
        let payloads = || records.iter().map(|held| held.record.payload());
        let started = Instant::now();
        self.scorer.decode(payloads());
        let decoded = Instant::now();
        self.scorer.score();
        let scored = Instant::now();
        self.scorer.encode(payloads());
        for (stage, time) in
            [(Stage::Decode, decoded - started), (Stage::Score, scored - decoded), (Stage::Encode, scored.elapsed())]
        {
            self.metrics.stage(stage).observe(time.as_secs_f64());
        }
        self.seen.observe_rows(self.scorer.rows());
        self.seen.observe_outputs(self.scorer.outputs());
    }

    /// What became of each record of the scored batch, in its order.
    pub(super) fn results(&self) -> impl Iterator<Item = ScoreResult<'_>> {
        self.scorer.results()
    }

    /// What goes out for a record of the scored batch: its prediction, or a dead letter and the reason for it.
    /// `input_partitions` is the size of the topic that it came from.
    pub(super) fn outgoing<'r>(
        &'r self,
        held: &'r Held<'_>,
        result: ScoreResult<'r>,
        input_partitions: i32,
        batch: usize,
    ) -> (Outgoing<'r>, Option<Reason>) {
        let record = &held.record;
        let result = match result {
            Ok(prediction) => fits(record, prediction.record, &self.output).map(|()| prediction.record),
            Err(rejection) => Err(rejection.clone()),
        };
        let (outlet, key, value, headers, reason) = match result {
            Ok(value) => {
                let headers = prediction_headers(record, &self.route.config.output.headers, &self.version_headers);
                (&self.output, record.key(), Some(value), headers, None)
            }
            Err(rejection) => {
                let limit = self.dead_letter.facts.record_bytes();
                let model = self.scorer.model();
                let letter = dead_letter(record, &rejection, &self.route.config.name, model, limit);
                (&self.dead_letter, letter.key, letter.value, Some(letter.headers), Some(rejection.reason))
            }
        };
        let outgoing = Outgoing {
            topic: &outlet.topic,
            partition: outlet.facts.partition_for(held.partition.partition, input_partitions, key),
            key,
            value,
            timestamp_ms: record.timestamp_ms(),
            headers,
            ticket: Ticket { batch: batch as u32, row: 0 },
        };
        (outgoing, reason)
    }

    /// Tells the gate what became of a batch.
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

    /// Whether the route's records wait.
    pub(super) fn is_closed(&self) -> bool {
        self.route.gate.is_closed()
    }

    /// Counts a record that went out: as a prediction, or as a rejection.
    pub(super) fn count(&self, rejected: Option<Reason>) {
        match rejected {
            None => self.seen.produced.inc(),
            Some(reason) => self.metrics.rejected(reason).inc(),
        }
    }

    /// Hands what was counted to the registry.
    pub(super) fn flush_metrics(&mut self) {
        self.metrics.flush();
        self.seen.flush();
    }

    fn take_current_model(&mut self) {
        let Some(model) = self.route.slot.load().filter(|model| !Arc::ptr_eq(model, self.scorer.model())) else {
            return;
        };
        self.seen = self.metrics.model(&model);
        self.version_headers = version_headers(&self.route.config.output.headers, &model);
        self.scorer = Scorer::new(model, &self.options);
    }
}

/// What the headers that weir adds to a prediction can take: names and lengths, a topic and a model of up to 249
/// characters, numbers, a digest.
const OWN_HEADERS_BYTES: usize = 768;

/// Whether the output topic takes a prediction. A topic refuses a produce request over its limit as a whole.
fn fits(record: &Record<'_>, value: &[u8], output: &Outlet) -> Result<(), Rejection> {
    let limit = output.facts.record_bytes();
    let size = value.len() + record.key().map_or(0, <[u8]>::len) + record.header_bytes() + OWN_HEADERS_BYTES;
    if size <= limit {
        return Ok(());
    }
    let topic = &output.topic;
    Err(Rejection::new(Reason::OutputTooLarge, format!("the prediction has {size} bytes, topic {topic} takes {limit}")))
}

/// The input's headers, and what `output.headers` asks for.
fn prediction_headers(
    record: &Record<'_>,
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
