//! Models: what they take and answer, how they lie on disk, and how they get to the workers.
//!
//! A version begins as a [`Draft`](bundle::Draft), is published to a [`Store`](store::Store) as a bundle of files,
//! named by a [`ModelRef`](reference::ModelRef), loaded and checked into a [`Model`], and handed to the workers
//! through a [`Slot`](slot::Slot) by the [`Rollout`](rollout::Rollout).

pub mod bundle;
pub mod decision;
pub mod evaluation;
#[cfg(feature = "program")]
pub mod import;
#[cfg(feature = "program")]
pub mod onnx;
pub mod preprocess;
pub mod reference;
#[cfg(feature = "program")]
pub mod rollout;
#[cfg(feature = "program")]
pub mod safetensors;
#[cfg(feature = "program")]
pub mod shrink;
pub mod signature;
pub mod slot;
pub mod store;
pub mod target_scale;

#[cfg(test)]
pub(crate) mod testing;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Slice};

use crate::engine::{self, Mlp};
use crate::monitor::drift::Baseline;
use crate::record::Rejection;

/// A loaded, checked and warm model version. Immutable; shared by `Arc`.
#[derive(Debug)]
pub struct Model {
    /// What the model is and how it came to be.
    pub manifest: bundle::Manifest,
    /// sha256 of `model.json`, 64 hex digits: it stands for the whole bundle.
    pub digest: String,
    /// From a decoded row to the network's input.
    pub preprocess: preprocess::Preprocess,
    /// The network.
    pub mlp: Mlp,
    /// Bins and frequencies of the training data.
    pub baseline: Baseline,
    /// Which class its probabilities stand for.
    pub decision: decision::ClassDecision,
    /// What the answers of a regression stand for, if the network doesn't answer on the target's own scale.
    pub target_scale: Option<target_scale::TargetScale>,
}

/// The buffers that one thread needs for [`Model::score`], of one model version.
#[derive(Debug)]
pub struct Scratch {
    /// The network's input; grows to the largest batch.
    input: Array2<f32>,
    engine: engine::Scratch,
}

impl Model {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// The version, from 1.
    pub fn version(&self) -> u64 {
        self.manifest.version
    }

    /// What the model takes and answers.
    pub fn signature(&self) -> &signature::Signature {
        &self.manifest.signature
    }

    /// The digest as the header `weir-digest` and the metric `model_info` show it: its first 12 characters.
    pub fn short_digest(&self) -> &str {
        self.digest.get(..12).unwrap_or(&self.digest)
    }

    /// Decides whether a decoded record may be scored: by [`Signature::check_record`](signature::Signature::check_record),
    /// and by what the preprocessing can compute.
    pub fn check_record(&self, row: &[f64], min_features: f64) -> Result<(), Rejection> {
        self.signature().check_record(row, min_features)?;
        self.preprocess.check(self.signature(), row)
    }

    /// Buffers for [`Model::score`]; they are this version's, another one needs its own.
    pub fn scratch(&self) -> Scratch {
        Scratch { input: Array2::zeros((0, self.preprocess.width())), engine: self.mlp.scratch() }
    }

    /// Scores decoded rows that [`Signature::check`](signature::Signature::check) let pass: preprocessing, then the
    /// network.
    ///
    /// `rows` is rows × features and `out` rows × outputs, both in standard layout. An answer may be NaN or infinite,
    /// which is the caller's to reject, and a number is on the scale of [`Model::target_scale`].
    ///
    /// # Panics
    /// When the shapes or layouts are others.
    pub fn score(&self, rows: ArrayView2<'_, f64>, out: ArrayViewMut2<'_, f32>, scratch: &mut Scratch) {
        if scratch.input.nrows() < rows.nrows() {
            scratch.input = Array2::zeros((rows.nrows(), self.preprocess.width()));
        }
        let mut input = scratch.input.slice_axis_mut(Axis(0), Slice::from(..rows.nrows()));
        for (row, mut columns) in rows.rows().into_iter().zip(input.rows_mut()) {
            let row = row.to_slice().expect("rows in standard layout");
            self.preprocess.apply(row, columns.as_slice_mut().expect("the input is in standard layout"));
        }
        self.mlp.forward(input.view(), out, &mut scratch.engine);
    }
}
