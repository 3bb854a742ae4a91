//! Warm starts: a training that begins with the weights of a version that exists.
//!
//! Weights mean nothing without what goes into them, so features, preprocessing and shape are the version's too; of the
//! new data come the rows, the baseline and, for a regression, the scale on which the target is learnt.

use std::fmt;

use ndarray::{Array2, Axis};
use serde_json::{Map, Value};

use super::backprop::{Network, Truth};
use super::dataset::Table;
use super::dataset::examples;
use super::warnings::warning;
use super::{Material, Recipe, TrainError, TrainingTarget, taught};
use crate::engine::{Activation, Output};
use crate::model::bundle::Draft;
use crate::model::decision::Decision;
use crate::model::evaluation::Warning;
use crate::model::preprocess::Transform;
use crate::model::signature::{Signature, Target};
use crate::model::target_scale::TargetScale;

/// What a recipe says of preprocessing and shape: here the parent's recipe counts.
const INHERITED: [&str; 3] = ["preparation", "hidden_layer_sizes", "activation"];

/// The version that a training starts from.
#[derive(Debug)]
pub struct Parent {
    name: String,
    version: Option<u64>,
    signature: Signature,
    decision: Option<Decision>,
    target_scale: Option<TargetScale>,
    preprocessing: Vec<Transform>,
    network: Network,
    output: Output,
    recipe: Map<String, Value>,
}

impl Parent {
    /// The version that a store has taken apart as this draft, whose own parent it is.
    ///
    /// # Errors
    /// If such a network can't be trained on: it has a norm, a PReLU with a slope for each neuron or numbers that pass, it
    /// answers several numbers, or its last layer has a function of its own, for which there is no loss.
    pub fn new(draft: Draft) -> Result<Parent, TrainError> {
        let Draft {
            name,
            parent: version,
            signature,
            decision,
            target_scale,
            preprocessing,
            layers,
            output,
            training,
            ..
        } = draft;
        let reason = match (layers.last(), &signature.target) {
            (None, _) => Some("it has no layers".to_owned()),
            _ if layers.iter().any(|layer| layer.norm.is_some()) => Some("it has a layer normalisation".to_owned()),
            _ if layers.iter().any(|layer| layer.slopes.is_some()) => {
                Some("it has a PReLU with a slope for each neuron".to_owned())
            }
            _ if layers.iter().any(|layer| layer.passed > 0) => {
                Some("numbers pass beside the activation of a layer".to_owned())
            }
            _ if output == Output::Normalized => {
                Some("its classes have probabilities of their own, which are divided by their sum".to_owned())
            }
            (_, Target::Regression { names }) if names.len() > 1 => Some("it answers several numbers".to_owned()),
            (Some(last), _) if last.activation != Activation::Identity => {
                Some(format!("its last layer has the activation {}", last.activation))
            }
            _ => None,
        };
        let network = Network::of_layers(&layers, output);
        let recipe = training.recipe;
        let parent =
            Parent { name, version, signature, decision, target_scale, preprocessing, network, output, recipe };
        match reason {
            Some(reason) => Err(parent.refuse(reason)),
            None => Ok(parent),
        }
    }

    /// What the version takes and answers.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Its name and number.
    pub(super) fn version(&self) -> (String, Option<u64>) {
        (self.name.clone(), self.version)
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }

    /// What the version decides.
    pub(super) fn decision(&self) -> Option<&Decision> {
        self.decision.as_ref()
    }

    /// A note that the version's threshold isn't the new one's: it belongs to the probabilities of the old weights.
    pub(super) fn lost_threshold(&self, new: Option<&Decision>) -> Option<Warning> {
        let threshold = self.decision.as_ref()?.threshold?;
        new.and_then(|new| new.threshold).is_none().then(|| {
            let message = format!("the threshold {threshold} of {self} isn't taken over: choose one (--threshold)");
            warning("threshold_not_inherited", None, message)
        })
    }

    /// The network as it is to learn: a regression on the standardised target.
    pub(super) fn network(&self, scale: Option<(f64, f64)>) -> Network {
        let mut network = self.network.clone();
        let (mean, std) = scale.unwrap_or((0.0, 1.0));
        match self.target_scale {
            // One step in f64: the answers on the target's own scale may not fit an f32.
            Some(own) => network.rescale((own.mean - mean) / std, own.std / std),
            None => network.standardise(mean, std),
        }
        network
    }

    /// The recipe as it is followed: where it isn't the user's to say, it is the parent's.
    pub(super) fn amend(&self, recipe: &mut Map<String, Value>) {
        for key in INHERITED {
            match self.recipe.get(key) {
                Some(value) => recipe.insert(key.to_owned(), value.clone()),
                None => recipe.remove(key),
            };
        }
        recipe.insert("from".to_owned(), self.to_string().into());
    }

    fn refuse(&self, reason: String) -> TrainError {
        TrainError::Parent { parent: self.to_string(), reason }
    }

    /// The training rows as this version takes them; those that it would reject are left out.
    pub(super) fn material(&self, table: &Table, recipe: &Recipe) -> Result<Material, TrainError> {
        let refuse = |reason| Err(self.refuse(reason));
        let known = &self.signature;
        let rows = examples::decode(&table.features, table.rows.view(), &known.features)?;
        let accepted = |&row: &usize| rows.row(row).to_slice().is_some_and(|row| known.check(row).is_ok());
        let keep: Vec<usize> = (0..table.len()).filter(accepted).collect();
        if keep.is_empty() {
            return refuse(format!("it would reject each of the {} training rows", table.len()));
        }
        let rows: Array2<f64> = rows.select(Axis(0), &keep);
        let TrainingTarget { target, mut truth, scale } = taught(&table.select(&keep).target, recipe)?;
        let target = match (&known.target, target) {
            (Target::Classification { classes: theirs, .. }, Target::Classification { name, classes: ours }) => {
                if let Some(class) = ours.iter().find(|class| !theirs.contains(class)) {
                    return refuse(format!("it doesn't know the class {class:?} of the training rows"));
                }
                if let Some(class) = theirs.iter().find(|class| !ours.contains(class)) {
                    return refuse(format!("no training row is of its class {class:?}"));
                }
                if let Truth::Classes(rows) = &mut truth {
                    let index = |class: &String| theirs.iter().position(|name| name == class);
                    let translated: Vec<usize> = ours.iter().filter_map(index).collect();
                    rows.iter_mut().for_each(|class| *class = translated[*class]);
                }
                Target::Classification { name, classes: theirs.clone() }
            }
            (Target::Regression { .. }, target @ Target::Regression { .. }) => target,
            (Target::Classification { .. }, Target::Regression { names }) => {
                return refuse(format!("it is a classification, and {:?} has numbers", names.join(", ")));
            }
            (Target::Regression { .. }, Target::Classification { name, .. }) => {
                return refuse(format!("it is a regression, and {name:?} has classes"));
            }
        };
        Ok(Material {
            signature: Signature { features: known.features.clone(), target },
            preprocessing: self.preprocessing.clone(),
            rows,
            times: table.times.as_ref().map(|times| keep.iter().map(|&row| times.unix_seconds_of(row)).collect()),
            truth,
            scale,
        })
    }
}

impl fmt::Display for Parent {
    /// As a reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests;
