//! The bundle: a model version as files, with everything that scoring, checking and monitoring it needs.
//!
//! | file | holds |
//! | --- | --- |
//! | `model.json` | the [`Manifest`]: what the model is, how it came to be, the sha256 of the other files |
//! | `weights.safetensors` | `layers.N.weight` (inputs × outputs), `layers.N.bias` and what else a layer has |
//! | `baseline.json` | bins and frequencies of the training data |
//! | `golden.json` | some rows and what this model must answer for them |
//! | `evaluation.json` | how good it was on the test rows; only to look at, and not every version has it |
//!
//! This module is about bytes, not about where they lie: a store reads and writes [`Files`]. Since `model.json` holds
//! the digests of the others, its own sha256 stands for the whole bundle.

mod golden;
mod weights;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Model;
use super::decision::{ClassDecision, Decision};
use super::evaluation::Evaluation;
use super::preprocess::{Preprocess, Transform};
use super::signature::{Signature, Target};
use super::target_scale::TargetScale;
use crate::engine::{Activation, Dtype, EngineError, Int8Input, Layer, Mlp, NormPlace, Output, Weights};
use crate::monitor::drift::Baseline;

use golden::Goldens;

/// The file that describes the others.
pub const MANIFEST: &str = "model.json";
/// The file of the weights.
pub const WEIGHTS: &str = "weights.safetensors";
/// The file of the training data's frequencies.
pub const BASELINE: &str = "baseline.json";
/// The file of the rows with known answers.
pub const GOLDEN: &str = "golden.json";
/// The file of the quality; a version may be without it, and loading one doesn't read it.
pub const EVALUATION: &str = "evaluation.json";

/// `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The model's name.
    pub name: String,
    /// The version, from 1.
    pub version: u64,
    /// When it was published: RFC 3339, UTC.
    pub created: String,
    /// The version that it was made from, if any.
    pub parent: Option<u64>,
    /// What the model takes and answers.
    pub signature: Signature,
    /// Which class the probabilities stand for, where it isn't the most probable one or not the second one is positive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// The scale of a regression's answers, where the network doesn't answer on the target's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_scale: Option<TargetScale>,
    /// What happens to each feature, in signature order.
    pub preprocessing: Vec<Transform>,
    /// The network's shape.
    pub network: Network,
    /// How the model came to be, and how good it was.
    pub training: Training,
    /// The sha256, in lower-case hex, of each other file of the bundle.
    pub files: BTreeMap<String, String>,
}

/// The shape of a network, without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The layers from the input on.
    pub layers: Vec<LayerShape>,
    /// What turns the last layer's values into the answer.
    pub output: Output,
}

/// The shape of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerShape {
    /// Rows of its weights.
    pub inputs: usize,
    /// Columns of its weights.
    pub outputs: usize,
    /// The function behind it.
    pub activation: Activation,
    /// What its weights are stored as; f32 where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dtype: Dtype,
    /// What int8 weights are multiplied with; they have it, and no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Int8Input>,
    /// Its layer normalisation, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<NormShape>,
    /// How many of the outputs, the last ones, pass beside activation and norm.
    #[serde(default, skip_serializing_if = "is_default")]
    pub passed: usize,
}

/// A layer normalisation, without its vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormShape {
    /// Added to the variance.
    pub epsilon: f32,
    /// On which side of the activation it is.
    pub place: NormPlace,
}

/// How the model came to be, and how good it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// The settings of the training, whatever it calls them.
    pub recipe: serde_json::Map<String, serde_json::Value>,
    /// Metric name to value; all finite.
    pub metrics: BTreeMap<String, f64>,
}

/// A version before it has a number: what training hands to [`Store::publish`](super::store::Store::publish).
#[derive(Debug)]
pub struct Draft {
    /// The model's name.
    pub name: String,
    /// The version that it was made from, if any.
    pub parent: Option<u64>,
    /// What the model takes and answers.
    pub signature: Signature,
    /// Which class the probabilities stand for, as in the [`Manifest`].
    pub decision: Option<Decision>,
    /// The scale of a regression's answers, as in the [`Manifest`].
    pub target_scale: Option<TargetScale>,
    /// What happens to each feature, in signature order.
    pub preprocessing: Vec<Transform>,
    /// The layers from the input on; as many inputs as the preprocessing has columns.
    pub layers: Vec<Layer>,
    /// What turns the last layer's values into the answer.
    pub output: Output,
    /// How the model came to be, and how good it was.
    pub training: Training,
    /// Bins and frequencies of the training data.
    pub baseline: Baseline,
    /// Decoded rows ([`crate::record`]), before imputation, that the signature accepts; at least one. Publishing
    /// computes what the model answers for them.
    pub golden_rows: Vec<Vec<f64>>,
    /// How good the model is, in more detail than [`Training::metrics`], where that is known.
    pub evaluation: Option<Evaluation>,
}

/// The bytes of a bundle's files.
#[derive(Clone, Debug)]
pub struct Files {
    /// `model.json`.
    pub manifest: Vec<u8>,
    /// `weights.safetensors`.
    pub weights: Vec<u8>,
    /// `baseline.json`.
    pub baseline: Vec<u8>,
    /// `golden.json`.
    pub golden: Vec<u8>,
    /// `evaluation.json`, if the version has it and whoever gathered the files wanted it.
    pub evaluation: Option<Vec<u8>>,
}

/// Why a bundle can't be used, or a draft not be published.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file isn't the one that was published.
    #[error(
        "{file} has sha256 {found}, {MANIFEST} says {expected}: it was damaged or changed; restore it, or publish anew"
    )]
    Digest {
        /// The file.
        file: &'static str,
        /// What `model.json` says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A file isn't JSON, or isn't the JSON that it should be.
    #[error("{file} can't be read: it is damaged, or from another version of weir; publish anew")]
    Json {
        /// The file.
        file: &'static str,
        /// What is wrong where.
        source: serde_json::Error,
    },
    /// The weights aren't in the safetensors format.
    #[error("{WEIGHTS} can't be read: it is damaged or incomplete; publish anew")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// The parts don't fit each other.
    #[error("{file}: {reason}; correct what made the model and publish anew")]
    Invalid {
        /// Where it shows.
        file: &'static str,
        /// What doesn't fit.
        reason: String,
    },
    /// The engine can't run the network.
    #[error("the network in {MANIFEST} can't be run")]
    Engine(#[from] EngineError),
    /// The model doesn't answer as it did when it was published.
    #[error(
        "{GOLDEN} row {row}: output {output} is {found}, must be {expected} within {bound}: the weights or this \
         machine's arithmetic are not what they were; publish anew, and report it if it is the same file elsewhere"
    )]
    Golden {
        /// The row, from 0.
        row: usize,
        /// The output, from 0.
        output: usize,
        /// What the file says.
        expected: f32,
        /// What the model answers.
        found: f32,
        /// The largest difference allowed.
        bound: f32,
    },
}

/// A check that a bundle passed on its way to a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `model.json` was read.
    Manifest {
        /// How many features it takes.
        features: usize,
    },
    /// A file is the one that was published.
    Digest {
        /// The file.
        file: &'static str,
    },
    /// The weights have the shapes that `model.json` says and are finite; signature, preprocessing, network and
    /// baseline fit.
    Network {
        /// How many numbers the weights and biases are.
        parameters: usize,
    },
    /// The model answers as it did when it was published.
    Goldens {
        /// How many rows.
        rows: usize,
        /// The largest difference of an output.
        largest: f32,
    },
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Manifest { features } => write!(f, "{MANIFEST} is readable: {features} features"),
            Check::Digest { file } => write!(f, "{file} has the sha256 that {MANIFEST} says"),
            Check::Network { parameters } => {
                write!(f, "signature, preprocessing, network and baseline fit: {parameters} finite parameters")
            }
            Check::Goldens { rows, largest } => {
                write!(f, "{rows} golden rows answered as published: largest difference {largest:.1e}")
            }
        }
    }
}

impl Files {
    /// Gathers the files that a model is loaded from by their names.
    pub fn read<E>(mut read: impl FnMut(&'static str) -> Result<Vec<u8>, E>) -> Result<Files, E> {
        Ok(Files {
            manifest: read(MANIFEST)?,
            weights: read(WEIGHTS)?,
            baseline: read(BASELINE)?,
            golden: read(GOLDEN)?,
            evaluation: None,
        })
    }

    /// The files that the manifest gives digests of, with their names.
    pub fn described(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let needed = [(WEIGHTS, &*self.weights), (BASELINE, &self.baseline), (GOLDEN, &self.golden)];
        needed.into_iter().chain(self.evaluation.as_deref().map(|bytes| (EVALUATION, bytes)))
    }
}

impl Manifest {
    /// Reads `model.json`. What it says about the other files is checked by [`Model::load`].
    pub fn from_json(bytes: &[u8]) -> Result<Manifest, BundleError> {
        serde_json::from_slice(bytes).map_err(|source| BundleError::Json { file: MANIFEST, source })
    }

    /// `model.json`, for people to read too.
    pub fn to_json(&self) -> Result<Vec<u8>, BundleError> {
        json(MANIFEST, self)
    }

    /// Whether a version with this manifest has a file.
    pub fn lists(&self, file: &str) -> bool {
        self.files.contains_key(file)
    }

    /// Whether a file is the one that was published.
    fn check_digest(&self, file: &'static str, bytes: &[u8]) -> Result<(), BundleError> {
        let Some(expected) = self.files.get(file) else {
            let reason = format!("it has no sha256 for {file}");
            return Err(BundleError::Invalid { file: MANIFEST, reason });
        };
        let found = sha256(bytes);
        if found != *expected {
            return Err(BundleError::Digest { file, expected: expected.clone(), found });
        }
        Ok(())
    }

    /// Reads `evaluation.json` of the version with this manifest.
    pub fn evaluation(&self, bytes: &[u8]) -> Result<Evaluation, BundleError> {
        self.check_digest(EVALUATION, bytes)?;
        serde_json::from_slice(bytes).map_err(|source| BundleError::Json { file: EVALUATION, source })
    }

    /// Checks that signature, preprocessing and network fit each other; gives the preprocessing ready to apply.
    fn check(&self) -> Result<Preprocess, BundleError> {
        let invalid = |reason| BundleError::Invalid { file: MANIFEST, reason };
        self.signature.validate().map_err(invalid)?;
        let preprocess = Preprocess::new(&self.signature, &self.preprocessing).map_err(invalid)?;
        self.network.check(preprocess.width(), &self.signature.target)?;
        if let Some(decision) = &self.decision {
            decision.validate(&self.signature.target).map_err(invalid)?;
        }
        if let Some(scale) = self.target_scale {
            scale.validate(&self.signature.target).map_err(invalid)?;
        }
        Ok(preprocess)
    }
}

impl LayerShape {
    /// The shape of a layer.
    pub fn of(layer: &Layer) -> LayerShape {
        LayerShape {
            inputs: layer.inputs(),
            outputs: layer.outputs(),
            activation: layer.activation,
            dtype: layer.weights.dtype(),
            input: match layer.weights {
                Weights::Int8 { input, .. } => Some(input),
                Weights::F32(_) | Weights::F16(_) | Weights::Bf16(_) => None,
            },
            norm: layer.norm.as_ref().map(|norm| NormShape { epsilon: norm.epsilon, place: norm.place }),
            passed: layer.passed,
        }
    }
}

impl Network {
    /// More bytes than the file of its weights can have, in any encoding: what is checked before it is read.
    pub(super) fn most_weight_bytes(&self) -> u64 {
        // Weights have at most four bytes each. Biases, scales, norms and the names of tensors come on top.
        let layer = |layer: &LayerShape| {
            let weights = (layer.inputs as u64).saturating_mul(layer.outputs as u64).saturating_mul(4);
            weights.saturating_add((layer.inputs as u64).saturating_add(layer.outputs as u64).saturating_mul(64))
        };
        self.layers.iter().map(layer).fold(1 << 20, |sum: u64, bytes| sum.saturating_add(bytes).saturating_add(4096))
    }

    fn check(&self, columns: usize, target: &Target) -> Result<(), BundleError> {
        let invalid = |reason| Err(BundleError::Invalid { file: MANIFEST, reason });
        let mut width = columns;
        for (index, layer) in self.layers.iter().enumerate() {
            if layer.inputs != width {
                let before = if index == 0 { "the preprocessing" } else { "the layer before" };
                return invalid(format!("layer {index} has {} inputs, {before} gives {width}", layer.inputs));
            }
            if layer.outputs == 0 {
                return invalid(format!("layer {index} has no outputs"));
            }
            width = layer.outputs;
        }
        if self.layers.is_empty() {
            return invalid("the network has no layers".into());
        }
        let expected = match (target, self.output) {
            (Target::Regression { names }, Output::Identity) => names.len(),
            (Target::Classification { classes, .. }, Output::Softmax | Output::Normalized) => classes.len(),
            (Target::Classification { classes, .. }, Output::Logistic) if classes.len() == 2 => 1,
            (Target::Classification { classes, .. }, output) => {
                return invalid(format!("the output {output:?} can't give probabilities of {} classes", classes.len()));
            }
            (Target::Regression { .. }, output) => {
                return invalid(format!("the output {output:?} is not for a regression"));
            }
        };
        if width != expected {
            return invalid(format!("the last layer has {width} outputs, the target needs {expected}"));
        }
        Ok(())
    }
}

impl Draft {
    /// A version taken apart again, to make another one from it: the draft it was published from, with that version as
    /// the parent.
    pub fn of(files: &Files) -> Result<Draft, BundleError> {
        let model = Model::load(files, |_| {})?;
        let layers = weights::decode(&files.weights, &model.manifest.network.layers)?;
        let golden_rows = golden_rows(&files.golden, model.signature())?;
        let manifest = model.manifest;
        let Manifest { name, version, signature, decision, target_scale, preprocessing, .. } = manifest;
        let (network, training) = (manifest.network, manifest.training);
        Ok(Draft {
            name,
            parent: Some(version),
            signature,
            decision,
            target_scale,
            preprocessing,
            layers,
            output: network.output,
            training,
            baseline: model.baseline,
            // It is that version's, not of what will be made from it.
            evaluation: None,
            golden_rows,
        })
    }

    /// The manifest and the files of this draft under a version number. The files load: that is tried here.
    ///
    /// `created` is RFC 3339, UTC.
    pub fn bundle(&self, version: u64, created: String) -> Result<(Manifest, Files), BundleError> {
        if let Some((name, value)) = self.training.metrics.iter().find(|(_, value)| !value.is_finite()) {
            let reason = format!("metric {name:?} is {value}, which JSON can't say");
            return Err(BundleError::Invalid { file: MANIFEST, reason });
        }
        let layers = self.layers.iter().map(LayerShape::of);
        let mut manifest = Manifest {
            name: self.name.clone(),
            version,
            created,
            parent: self.parent,
            signature: self.signature.clone(),
            decision: self.decision.clone(),
            target_scale: self.target_scale,
            preprocessing: self.preprocessing.clone(),
            network: Network { layers: layers.collect(), output: self.output },
            training: self.training.clone(),
            files: BTreeMap::new(),
        };
        let model = Model::assemble(manifest.clone(), String::new(), self.layers.clone(), self.baseline.clone())?;
        let mut files = Files {
            manifest: Vec::new(),
            weights: weights::encode(&self.layers)?,
            baseline: json(BASELINE, &self.baseline)?,
            golden: json(GOLDEN, &Goldens::record(&model, &self.golden_rows)?)?,
            evaluation: self.evaluation.as_ref().map(|evaluation| json(EVALUATION, evaluation)).transpose()?,
        };
        manifest.files = files.described().map(|(name, bytes)| (name.to_owned(), sha256(bytes))).collect();
        files.manifest = manifest.to_json()?;
        Model::load(&files, |_| {})?;
        if let Some(bytes) = &files.evaluation {
            manifest.evaluation(bytes)?;
        }
        Ok((manifest, files))
    }
}

impl Model {
    /// A model from the bytes of its bundle: digests, shapes and finite weights are checked and the goldens are run,
    /// which also warms the model up. `passed` hears of each check as it passes.
    pub fn load(files: &Files, mut passed: impl FnMut(Check)) -> Result<Model, BundleError> {
        let manifest = Manifest::from_json(&files.manifest)?;
        passed(Check::Manifest { features: manifest.signature.features.len() });

        for (file, bytes) in files.described() {
            manifest.check_digest(file, bytes)?;
            passed(Check::Digest { file });
        }

        let layers = weights::decode(&files.weights, &manifest.network.layers)?;
        let parameters = layers.iter().map(|layer| layer.inputs() * layer.outputs() + layer.bias.len()).sum();
        let baseline =
            serde_json::from_slice(&files.baseline).map_err(|source| BundleError::Json { file: BASELINE, source })?;
        let model = Model::assemble(manifest, sha256(&files.manifest), layers, baseline)?;
        passed(Check::Network { parameters });

        let goldens = Goldens::from_json(&files.golden)?;
        let largest = goldens.check(&model)?;
        passed(Check::Goldens { rows: goldens.rows.len(), largest });
        Ok(model)
    }

    /// Puts the parts together if they fit.
    fn assemble(
        manifest: Manifest,
        digest: String,
        layers: Vec<Layer>,
        baseline: Baseline,
    ) -> Result<Model, BundleError> {
        let preprocess = manifest.check()?;
        weights::check(&layers)?;
        baseline.validate(&manifest.signature).map_err(|reason| BundleError::Invalid { file: BASELINE, reason })?;
        let mlp = Mlp::new(layers, manifest.network.output)?;
        let decision = ClassDecision::of(&manifest.signature.target, manifest.decision.as_ref());
        let target_scale = manifest.target_scale;
        Ok(Model { manifest, digest, preprocess, mlp, baseline, decision, target_scale })
    }
}

/// The decoded rows of `golden.json`.
pub(super) fn golden_rows(bytes: &[u8], signature: &Signature) -> Result<Vec<Vec<f64>>, BundleError> {
    let rows = Goldens::from_json(bytes)?.decoded(signature)?;
    Ok(rows.rows().into_iter().map(|row| row.to_vec()).collect())
}

/// Whether serde needn't say it.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn json(file: &'static str, value: &impl Serialize) -> Result<Vec<u8>, BundleError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| BundleError::Json { file, source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// In lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
