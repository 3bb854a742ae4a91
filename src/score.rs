//! From payloads to predictions, a batch at a time: the middle of the line, which the worker and `weir predict` share.
//!
//! The three stages are separate calls, so that each can be timed, and a rejection in one of them touches no other
//! record of the batch:
//!
//! - [`Scorer::decode`]: payload → row, and the signature's say about what the row lacks;
//! - [`Scorer::score`]: all rows that passed → outputs, by one model version;
//! - [`Scorer::encode`]: output → prediction record.
//!
//! All buffers are kept, so that scoring allocates nothing once they have grown to the largest batch; only a rejection
//! does, for its message.

mod first;

use std::ops::Range;
use std::sync::Arc;

use ndarray::{ArrayView2, ArrayViewMut2};

use crate::codec::{CodecError, DecodeOptions, Decoder, Encoder, FieldValue, Fields, Format};
use crate::model::{Model, Scratch};
use crate::record::{Gap, Reason, Rejection};

use first::FirstRecords;
pub use first::Lacking;

/// How records are read and predictions written.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format of the payloads.
    pub input: Format,
    /// How they say their features, and which members are copied to the prediction.
    pub decode: DecodeOptions,
    /// Larger payloads are rejected as `too_large`, in bytes.
    pub max_bytes: usize,
    /// Records with a smaller share of the model's features are rejected as `missing_feature`.
    pub min_features: f64,
    /// From which probability on the positive class is predicted, in place of the model's own threshold.
    pub threshold: Option<f64>,
    /// The format of the predictions.
    pub output: Format,
}

/// One thread's decoder, encoder and buffers for one model version.
#[derive(Debug)]
pub struct Scorer {
    model: Arc<Model>,
    decoder: Decoder,
    encoder: Encoder,
    max_bytes: usize,
    min_features: f64,
    /// What the first records lack, until there have been enough of them.
    first: FirstRecords,
    scratch: Scratch,
    features: usize,
    fields: usize,
    field_names: Vec<String>,
    width: usize,

    /// What became of each payload, in order.
    fates: Vec<Result<DecodedPayload, Rejection>>,
    /// The decoded rows of the accepted payloads, one after the other.
    rows: Vec<f64>,
    /// The copied fields of each accepted payload.
    values: Vec<FieldValue>,
    /// What the decoder has written for them.
    texts: Vec<u8>,
    /// The model's answers to the rows.
    outputs: Vec<f32>,
    /// The prediction records, one after the other.
    records: Vec<u8>,
    /// The one being encoded.
    record: Vec<u8>,
}

/// A payload that could be decoded.
#[derive(Clone, Debug)]
struct DecodedPayload {
    /// Its row.
    row: usize,
    /// Its prediction record, once encoded.
    record: Range<usize>,
}

/// What came out for one payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction<'a> {
    /// The prediction record.
    pub record: &'a [u8],
    /// The model's answer: a probability per class, or a number per target column, on the scale of
    /// [`Model::target_scale`].
    pub outputs: &'a [f32],
}

impl Scorer {
    /// Compiles the plans for this model version. The error is a version for which the options don't give what it needs.
    pub fn new(model: Arc<Model>, options: &Options) -> Result<Scorer, CodecError> {
        let signature = model.signature();
        let mut decode = options.decode.clone();
        if decode.na.is_empty() {
            decode.na = model.manifest.training.na();
        }
        let encoder = Encoder::new(
            options.output,
            model.name(),
            model.version(),
            &signature.target,
            model.decision.with_threshold(options.threshold),
            &options.decode.fields,
        )?;
        Ok(Scorer {
            decoder: Decoder::new(options.input, signature, &decode)?,
            encoder: encoder.with_scale(model.target_scale),
            max_bytes: options.max_bytes,
            min_features: options.min_features,
            first: FirstRecords::new(signature.features.len(), options.decode.fields.len()),
            scratch: model.scratch(),
            features: signature.features.len(),
            fields: options.decode.fields.len(),
            field_names: options.decode.fields.clone(),
            width: signature.target.outputs(),
            fates: Vec::new(),
            rows: Vec::new(),
            values: Vec::new(),
            texts: Vec::new(),
            outputs: Vec::new(),
            records: Vec::new(),
            record: Vec::new(),
            model,
        })
    }

    /// The model version that scores.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The features that the schema of the records lacks. The model takes them for missing.
    pub fn lacking_features(&self) -> Vec<&str> {
        let features = &self.model.signature().features;
        self.decoder.lacking().into_iter().map(|feature| features[feature].name.as_str()).collect()
    }

    /// Begins a batch: decodes the payloads, `None` for a tombstone, and checks the rows against the signature.
    pub fn decode<'a>(&mut self, payloads: impl IntoIterator<Item = Option<&'a [u8]>>) {
        self.fates.clear();
        self.rows.clear();
        self.values.clear();
        self.texts.clear();
        self.outputs.clear();
        self.records.clear();
        let mut accepted = 0;
        for payload in payloads {
            let fate = self.decode_one(payload, accepted);
            if fate.is_ok() {
                accepted += 1;
            } else {
                self.rows.truncate(accepted * self.features);
                self.values.truncate(accepted * self.fields);
            }
            self.fates.push(fate);
        }
    }

    fn decode_one(&mut self, payload: Option<&[u8]>, row: usize) -> Result<DecodedPayload, Rejection> {
        let Some(payload) = payload else {
            return Err(Rejection::new(Reason::Malformed, "the record has no value (a tombstone)"));
        };
        if payload.len() > self.max_bytes {
            let message = format!("{} bytes, more than the {} allowed", payload.len(), self.max_bytes);
            return Err(Rejection::new(Reason::TooLarge, message));
        }
        self.rows.resize((row + 1) * self.features, 0.0);
        self.values.resize((row + 1) * self.fields, FieldValue::Absent);
        let features = &mut self.rows[row * self.features..];
        let fields = &mut self.values[row * self.fields..];
        self.decoder.decode(payload, features, fields, &mut self.texts)?;
        if self.first.is_counting() {
            self.first.count(features, fields);
        }
        match self.model.check_record(features, self.min_features) {
            Ok(()) => Ok(DecodedPayload { row, record: 0..0 }),
            Err(rejection) => Err(self.explained(rejection, payload, row)),
        }
    }

    /// A record without any of the features, or with too few, is perhaps one of another kind: its rejection says what it
    /// has instead.
    #[cold]
    fn explained(&self, rejection: Rejection, payload: &[u8], row: usize) -> Rejection {
        let lacks = |value: &&f64| Gap::of(**value) == Some(Gap::Missing);
        let lacking = self.rows[row * self.features..].iter().filter(lacks).count();
        // A record that has half of the features is of the right kind.
        if rejection.reason != Reason::MissingFeature || lacking * 2 <= self.features {
            return rejection;
        }
        let Rejection { reason, message } = rejection;
        Rejection { reason, message: format!("{message}; {}", self.decoder.describe(payload)) }
    }

    /// What all of the first 1,000 decoded records lacked, once so many have come; then no more. `None` too if there is
    /// nothing that all of them lacked.
    pub fn take_lacking(&mut self) -> Option<Lacking> {
        self.first.take_complete().then(|| self.lacking()).flatten()
    }

    /// The same at the end of all records, if they were fewer.
    pub fn take_lacking_at_end(&mut self) -> Option<Lacking> {
        self.first.take().then(|| self.lacking()).flatten()
    }

    /// What all decoded records so far lacked, up to the first 1,000 of them.
    pub fn lacking(&self) -> Option<Lacking> {
        let features = self.model.signature().features.iter().map(|feature| &feature.name);
        self.first.lacking(features, &self.field_names)
    }

    /// Scores the rows of the batch.
    pub fn score(&mut self) {
        let rows = view(self.rows_len(), self.features, &self.rows);
        self.outputs.resize(rows.nrows() * self.width, 0.0);
        let out = ArrayViewMut2::from_shape((rows.nrows(), self.width), &mut self.outputs);
        let out = out.unwrap_or_else(|_| unreachable!("resized to shape"));
        self.model.score(rows, out, &mut self.scratch);
    }

    /// Encodes the predictions; `payloads` are those of [`Scorer::decode`], for the members to copy.
    pub fn encode<'a>(&mut self, payloads: impl IntoIterator<Item = Option<&'a [u8]>>) {
        for (fate, payload) in self.fates.iter_mut().zip(payloads) {
            let (Ok(accepted), Some(payload)) = (&mut *fate, payload) else { continue };
            let values = &self.values[accepted.row * self.fields..][..self.fields];
            let fields = Fields { payload, texts: &self.texts, values };
            let outputs = &self.outputs[accepted.row * self.width..][..self.width];
            match self.encoder.encode(fields, outputs, &mut self.record) {
                Ok(()) => {
                    let start = self.records.len();
                    self.records.extend_from_slice(&self.record);
                    accepted.record = start..self.records.len();
                }
                Err(rejection) => *fate = Err(rejection),
            }
        }
    }

    /// Whether each payload of the batch is among [`Scorer::rows`], in order. [`Scorer::encode`] rejects some of them.
    pub fn accepted(&self) -> impl Iterator<Item = bool> + '_ {
        self.fates.iter().map(Result::is_ok)
    }

    /// What came out for each payload of the batch, in order; complete after [`Scorer::encode`].
    pub fn results(&self) -> impl ExactSizeIterator<Item = Result<Prediction<'_>, &Rejection>> {
        self.fates.iter().map(|fate| {
            fate.as_ref().map(|accepted| Prediction {
                record: &self.records[accepted.record.clone()],
                outputs: &self.outputs[accepted.row * self.width..][..self.width],
            })
        })
    }

    /// The rejections of the batch so far, in order.
    pub fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.fates.iter().filter_map(|fate| fate.as_ref().err())
    }

    /// The decoded rows of the payloads that weren't rejected on the way to here: rows × features, gaps included.
    pub fn rows(&self) -> ArrayView2<'_, f64> {
        view(self.rows_len(), self.features, &self.rows)
    }

    /// The model's answers to [`Scorer::rows`], rows × outputs; none before [`Scorer::score`].
    pub fn outputs(&self) -> ArrayView2<'_, f32> {
        view(self.outputs.len() / self.width, self.width, &self.outputs)
    }

    fn rows_len(&self) -> usize {
        self.rows.len() / self.features
    }
}

fn view<T>(rows: usize, columns: usize, values: &[T]) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), values).unwrap_or_else(|_| unreachable!("a whole number of rows"))
}

#[cfg(test)]
mod tests;
