//! A range of a route's input through one or two versions, beside whatever serves: nothing is committed.
//!
//! Records are scored as the worker does it, batch by batch, and nothing is kept of a batch but counts and differences.

pub mod difference;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::CodecError;
use crate::kafka::admin::Topic;
use crate::kafka::consumer::Record;
use crate::kafka::delivery::{Delivery, UndeliveredError};
use crate::kafka::producer::{Outgoing, Ticket};
use crate::kafka::reader::{Extent, Next, Pass, ReadError, Reader};
use crate::model::Model;
use crate::model::target_scale::TargetScale;
use crate::record::Rejection;
use crate::replay::difference::VersionDifference;
use crate::route::OutputHeader;
use crate::score::{Options, Prediction, Scorer};

/// Records that are scored together, and the bytes that they may have together. The last one may go beyond them.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 16 << 20;

/// One step of waiting for records.
const STEP: Duration = Duration::from_millis(50);

/// What the header that is added to a prediction takes at most: its name, a topic, two numbers.
const OWN_HEADERS_BYTES: usize = 384;

/// The versions, and what came of them.
pub struct Replay {
    /// Records that were read.
    pub read: u64,
    /// The one or two versions.
    pub versions: Vec<ReplayedVersion>,
    /// How the second one's answers differ from the first one's.
    pub difference: Option<VersionDifference>,
    /// Where the outputs of the first are among those of the second.
    order: Vec<usize>,
}

/// A version and what came of it.
pub struct ReplayedVersion {
    scorer: Scorer,
    /// Records that it predicted.
    pub predicted: u64,
    /// Records that it rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
}

/// Where the predictions go.
pub enum ReplayOutput<'o> {
    /// Nowhere: only their differences are looked at.
    Nowhere,
    /// Into lines, as `weir predict` writes them.
    Lines(Box<dyn Write + 'o>),
    /// To a topic.
    Topic(TopicOutput<'o>),
}

/// A topic to which predictions go.
pub struct TopicOutput<'o> {
    /// Its name.
    pub name: &'o str,
    /// What it is like.
    pub facts: Topic,
    /// How many partitions each input topic has.
    pub input_partitions: BTreeMap<String, i32>,
    /// The way there.
    pub delivery: Delivery<'o>,
    /// Predictions that it was too small for.
    pub too_large: u64,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The input can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Predictions weren't delivered.
    #[error(transparent)]
    Undelivered(#[from] UndeliveredError),
    /// Predictions can't be written.
    #[error("can't write the predictions")]
    Write(#[from] io::Error),
}

impl Replay {
    /// A replay through `first`, and `second` if there is one: beside it stands where the outputs of the first are
    /// among its own.
    pub fn new(
        first: Arc<Model>,
        second: Option<(Arc<Model>, Vec<usize>)>,
        options: &Options,
    ) -> Result<Replay, CodecError> {
        let difference = second.as_ref().map(|(second, order)| {
            let decisions = [first.decision, second.decision.reordered(order)];
            let decisions = decisions.map(|decision| decision.with_threshold(options.threshold));
            VersionDifference::new(&first.signature().target).deciding(decisions)
        });
        let (second, order) = second.unzip();
        let version = |model| {
            Ok(ReplayedVersion { scorer: Scorer::new(model, options)?, predicted: 0, rejected: BTreeMap::new() })
        };
        let versions = [first].into_iter().chain(second).map(version).collect::<Result<_, CodecError>>()?;
        Ok(Replay { read: 0, versions, difference, order: order.unwrap_or_default() })
    }

    /// Reads ranges of a topic and scores them. `watch` is called again and again with the way so far, and may ask to
    /// stop; the result is whether it did.
    pub fn run(
        &mut self,
        reader: &Reader,
        topic: &str,
        extents: &[Extent],
        output: &mut ReplayOutput<'_>,
        watch: &mut dyn FnMut(&Pass<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReplayError> {
        let mut pass = reader.read(topic, extents)?;
        let (mut batch, mut bytes) = (Vec::with_capacity(BATCH_RECORDS), 0);
        loop {
            let step = watch(&pass);
            let next = if step.is_break() { Next::End } else { pass.next(STEP)? };
            let is_end = matches!(next, Next::End);
            if let Next::Record(record) = next {
                bytes += record.payload().map_or(0, <[u8]>::len);
                batch.push(record);
            }
            if is_end || batch.len() == BATCH_RECORDS || bytes >= BATCH_BYTES {
                self.score(&batch);
                self.write(&batch, output, &mut || watch(&pass))?;
                (batch, bytes) = (Vec::with_capacity(BATCH_RECORDS), 0);
            }
            if is_end {
                return Ok(step);
            }
        }
    }

    fn score(&mut self, batch: &[Record<'_>]) {
        self.read += batch.len() as u64;
        for ReplayedVersion { scorer, predicted, rejected } in &mut self.versions {
            let payloads = || batch.iter().map(Record::payload);
            scorer.decode(payloads());
            scorer.score();
            scorer.encode(payloads());
            for result in scorer.results() {
                match result {
                    Ok(_) => *predicted += 1,
                    Err(rejection) => *rejected.entry(rejection.reason.as_str()).or_default() += 1,
                }
            }
        }
        let (Some(difference), [first, second]) = (&mut self.difference, &self.versions[..]) else { return };
        let scales = [first, second].map(|version| version.model().target_scale);
        let (mut in_units, mut in_order) = (Vec::new(), Vec::with_capacity(self.order.len()));
        for ((record, first), second) in batch.iter().zip(first.results()).zip(second.results()) {
            let (Ok(first), Ok(second)) = (first, second) else { continue };
            in_order.clear();
            let [of_first, of_second] = scales;
            in_order.extend(self.order.iter().map(|&output| on_scale(second.outputs[output], of_second)));
            in_units.clear();
            in_units.extend(first.outputs.iter().map(|&output| on_scale(output, of_first)));
            difference.add(record.origin(), &in_units, &in_order);
        }
    }

    /// Hands out the predictions of the scored batch: for each record the first version's, then the second's.
    fn write(
        &self,
        batch: &[Record<'_>],
        output: &mut ReplayOutput<'_>,
        watch: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), ReplayError> {
        let mut results: Vec<_> = self.versions.iter().map(ReplayedVersion::results).collect();
        for record in batch {
            for prediction in results.iter_mut().filter_map(|results| results.next()?.ok()) {
                match output {
                    ReplayOutput::Nowhere => {}
                    ReplayOutput::Lines(lines) => {
                        lines.write_all(prediction.record)?;
                        lines.write_all(b"\n")?;
                    }
                    ReplayOutput::Topic(topic) => topic.send(record, prediction.record, watch)?,
                }
            }
        }
        Ok(())
    }
}

/// An answer in the target's own unit, to the digits of an f32.
fn on_scale(output: f32, scale: Option<TargetScale>) -> f32 {
    scale.map_or(output, |scale| scale.undo(output) as f32)
}

impl ReplayedVersion {
    /// The model.
    pub fn model(&self) -> &Model {
        self.scorer.model()
    }

    fn results(&self) -> impl Iterator<Item = Result<Prediction<'_>, &Rejection>> {
        self.scorer.results()
    }
}

impl ReplayOutput<'_> {
    /// Waits until everything is where it should be.
    pub fn finish(&mut self, watch: &mut dyn FnMut() -> ControlFlow<()>) -> Result<(), ReplayError> {
        match self {
            ReplayOutput::Nowhere => Ok(()),
            ReplayOutput::Lines(lines) => Ok(lines.flush()?),
            ReplayOutput::Topic(topic) => Ok(topic.delivery.settle(watch)?),
        }
    }
}

impl TopicOutput<'_> {
    fn send(
        &mut self,
        record: &Record<'_>,
        value: &[u8],
        watch: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<(), UndeliveredError> {
        let (origin, key) = (record.origin(), record.key());
        let size = value.len() + key.map_or(0, <[u8]>::len) + record.header_bytes() + OWN_HEADERS_BYTES;
        if size > self.facts.record_bytes() {
            self.too_large += 1;
            return Ok(());
        }
        let source = format!("{}/{}/{}", origin.topic, origin.partition, origin.offset);
        let headers = record.headers().unwrap_or_default();
        let outgoing = Outgoing {
            topic: self.name,
            partition: self.facts.partition_for(
                origin.partition,
                self.input_partitions.get(origin.topic).copied().unwrap_or(0),
                key,
            ),
            key,
            value: Some(value),
            timestamp_ms: record.timestamp_ms(),
            headers: Some(headers.with(OutputHeader::Source.as_str(), source.as_bytes())),
            ticket: Ticket::default(),
        };
        self.delivery.send(outgoing, watch)
    }
}
