//! The TOML beside a safetensors file: what its tensors are for.
//!
//! ```toml
//! target = { name = "class", classes = ["first", "second", "third"] }   # or { names = ["delay"] }: numbers
//! layers = [
//!     { linear = "0" },                   # 0.weight, outputs × inputs, and 0.bias if it is there
//!     { batch_norm = "1" },               # 1.running_mean, 1.running_var; 1.weight and 1.bias if they are there
//!     { activation = "relu" },
//!     { linear = "3" },
//!     { layer_norm = "4" },               # 4.weight, and 4.bias if it is there
//!     { activation = "gelu" },            # with parameters as in "leaky_relu(slope=0.2)", "clamp(low=0, high=6)"
//!     { linear = { weight = "out.kernel", bias = "out.bias", transposed = true } },   # inputs × outputs
//! ]                                       # { prelu = "5" }: 5.weight, one slope or one for each column
//!
//! [[features]]                            # or features = 784: x0, x1, … as they are
//! name = "age"
//! mean = 40                               # (x - mean) / std, as it was in training
//! std = 12
//! [[features]]
//! name = "fare"
//! min = 5                                 # (x - min) / (max - min)
//! max = 75
//! [[features]]
//! name = "port"
//! categories = ["Cherbourg", "Queenstown", "Southampton"]   # a column each
//! ```

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::engine::Activation;
use crate::model::preprocess::{Step, Transform};
use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};

/// A description without a mistake of its own; whether the tensors fit it is another question.
pub(super) struct Description {
    pub(super) signature: Signature,
    pub(super) preprocessing: Vec<Transform>,
    pub(super) modules: Vec<Module>,
}

/// One entry of `layers`.
pub(super) enum Module {
    Linear(Linear),
    BatchNorm(BatchNorm),
    LayerNorm(LayerNorm),
    Activation(Activation),
    /// The name of its slopes.
    PRelu(String),
}

#[derive(Deserialize)]
pub(super) struct Linear {
    pub(super) weight: String,
    pub(super) bias: Option<String>,
    /// Inputs × outputs, instead of torch's outputs × inputs.
    #[serde(default)]
    pub(super) transposed: bool,
    /// Whether the names of what is optional were only guessed.
    #[serde(skip)]
    pub(super) guessed: bool,
}

#[derive(Deserialize)]
pub(super) struct BatchNorm {
    pub(super) running_mean: String,
    pub(super) running_var: String,
    pub(super) weight: Option<String>,
    pub(super) bias: Option<String>,
    #[serde(default = "epsilon")]
    pub(super) epsilon: f64,
    #[serde(skip)]
    pub(super) guessed: bool,
}

#[derive(Deserialize)]
pub(super) struct LayerNorm {
    pub(super) weight: Option<String>,
    pub(super) bias: Option<String>,
    #[serde(default = "epsilon")]
    pub(super) epsilon: f64,
    #[serde(skip)]
    pub(super) guessed: bool,
}

/// torch's default.
fn epsilon() -> f64 {
    1e-5
}

#[derive(Deserialize)]
struct FeatureEntry {
    name: String,
    mean: Option<f64>,
    std: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    categories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TargetEntry {
    name: Option<String>,
    classes: Option<Vec<String>>,
    names: Option<Vec<String>>,
}

impl Description {
    /// Reads the sections of a file. What is wrong goes to `mistakes`; without any, there is a description.
    pub(super) fn read(mut file: Table, mistakes: &mut Vec<String>) -> Option<Description> {
        let mut reader = Reader { mistakes };
        let features = reader.take(&mut file, "features").map(|value| reader.features(value));
        let target = reader.take(&mut file, "target").map(|value| reader.target(value));
        let modules = reader.take(&mut file, "layers").map(|value| reader.modules(value));
        for key in file.keys() {
            reader.mistakes.push(format!("{key} is none of features, target, layers"));
        }
        let (features, preprocessing) = features??;
        let signature = Signature { features, target: target?? };
        let modules = modules??;
        signature.validate().map_err(|mistake| mistakes.push(mistake)).ok()?;
        Some(Description { signature, preprocessing, modules })
    }
}

struct Reader<'a> {
    mistakes: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn take(&mut self, file: &mut Table, key: &str) -> Option<Value> {
        let value = file.remove(key);
        if value.is_none() {
            self.mistakes.push(format!("{key} is missing"));
        }
        value
    }

    fn features(&mut self, value: Value) -> Option<(Vec<Feature>, Vec<Transform>)> {
        /// More are a slip of the finger.
        const MOST: i64 = 1_000_000;
        let entries = match value {
            Value::Integer(count @ 1..=MOST) => {
                let number = |index| numeric(format!("x{index}"), Vec::new());
                return Some((0..count).map(number).unzip());
            }
            Value::Array(entries) => entries,
            _ => return self.mistake("features: a list of [[features]], or how many numbers there are".into()),
        };
        let read: Vec<_> = (1..).zip(entries).map(|(at, entry)| self.feature(at, entry)).collect();
        read.into_iter().collect()
    }

    fn feature(&mut self, at: usize, value: Value) -> Option<(Feature, Transform)> {
        let entry: FeatureEntry = self.deserialize(&format!("features, entry {at}"), value)?;
        let FeatureEntry { name, mean, std, min, max, categories } = entry;
        let mut wrong = |what: &str| self.mistake(format!("feature {name:?}: {what}"));
        let scale = match (mean, std, min, max) {
            (None, None, None, None) => None,
            (Some(mean), Some(std), None, None) if mean.is_finite() && std.is_finite() && std > 0.0 => {
                Some(Step::Standardize { mean, std })
            }
            (None, None, Some(min), Some(max)) if min.is_finite() && max.is_finite() && min < max => {
                Some(Step::MinMax { min, max })
            }
            (Some(_), Some(_), None, None) => return wrong("mean and std are finite, and std is above 0"),
            (None, None, Some(_), Some(_)) => return wrong("min and max are finite, and min is below max"),
            _ => return wrong("it has either both mean and std, or both min and max, or none of them"),
        };
        match categories {
            None => Some(numeric(name, scale.into_iter().collect())),
            Some(_) if scale.is_some() => wrong("categories aren't scaled"),
            Some(categories) => {
                let kind = Kind::Categorical { categories, unknown: Unknown::Reject };
                Some((Feature { name, kind, missing: Missing::Reject }, Transform::OneHot))
            }
        }
    }

    fn target(&mut self, value: Value) -> Option<Target> {
        match self.deserialize("target", value)? {
            TargetEntry { name: Some(name), classes: Some(classes), names: None } => {
                Some(Target::Classification { name, classes })
            }
            TargetEntry { name: None, classes: None, names: Some(names) } => Some(Target::Regression { names }),
            _ => self.mistake("target: name and classes for a classification, or names for numbers".into()),
        }
    }

    fn modules(&mut self, value: Value) -> Option<Vec<Module>> {
        let entries = match value {
            Value::Array(entries) if !entries.is_empty() => entries,
            _ => return self.mistake("layers: at least one, in a list in the order of the network".into()),
        };
        let read: Vec<_> = (1..).zip(entries).map(|(at, entry)| self.module(at, entry)).collect();
        read.into_iter().collect()
    }

    fn module(&mut self, at: usize, value: Value) -> Option<Module> {
        let place = format!("layers, entry {at}");
        let one_key = || format!("{place}: one of linear, batch_norm, layer_norm, activation, prelu");
        let Value::Table(table) = value else { return self.mistake(one_key()) };
        let mut members = table.into_iter();
        let (Some((key, value)), None) = (members.next(), members.next()) else { return self.mistake(one_key()) };
        let place = format!("{place}, {key}");
        let prefix = value.as_str().map(str::to_owned);
        let part = |name: &str| prefix.as_ref().map(|prefix| format!("{prefix}.{name}"));
        Some(match key.as_str() {
            "linear" => Module::Linear(match part("weight") {
                Some(weight) => Linear { weight, bias: part("bias"), transposed: false, guessed: true },
                None => self.deserialize(&place, value)?,
            }),
            "batch_norm" => Module::BatchNorm(match (part("running_mean"), part("running_var")) {
                (Some(running_mean), Some(running_var)) => {
                    let (weight, bias) = (part("weight"), part("bias"));
                    BatchNorm { running_mean, running_var, weight, bias, epsilon: epsilon(), guessed: true }
                }
                _ => self.deserialize(&place, value)?,
            }),
            "layer_norm" => Module::LayerNorm(match part("weight") {
                Some(weight) => {
                    LayerNorm { weight: Some(weight), bias: part("bias"), epsilon: epsilon(), guessed: true }
                }
                None => self.deserialize(&place, value)?,
            }),
            "activation" => Module::Activation(match prefix.as_deref() {
                // The way torch calls it.
                Some("sigmoid") => Activation::Logistic,
                Some("softmax") => {
                    return self.mistake(format!("{place}: leave the softmax out, classes get theirs from the logits"));
                }
                Some("prelu") => {
                    return self
                        .mistake(format!("{place}: its slopes are a tensor, so write {{ prelu = \"its name\" }}"));
                }
                _ => self.deserialize(&place, value)?,
            }),
            "prelu" => match part("weight") {
                Some(weight) => Module::PRelu(weight),
                None => return self.mistake(format!("{place}: the name of the module whose weight is the slopes")),
            },
            _ => return self.mistake(one_key()),
        })
    }

    /// Reads a value; notes unknown keys, and where it isn't what it should be.
    fn deserialize<T: DeserializeOwned>(&mut self, place: &str, value: Value) -> Option<T> {
        let before = self.mistakes.len();
        let mut note = |path: serde_ignored::Path<'_>| self.mistakes.push(format!("{place}: {path} is no key here"));
        match serde_ignored::deserialize(value, &mut note) {
            Ok(read) if self.mistakes.len() == before => Some(read),
            Ok(_) => None,
            Err(error) => self.mistake(format!("{place}: {}", error.to_string().trim_end())),
        }
    }

    fn mistake<T>(&mut self, mistake: String) -> Option<T> {
        self.mistakes.push(mistake);
        None
    }
}

fn numeric(name: String, steps: Vec<Step>) -> (Feature, Transform) {
    let feature = Feature { name, kind: Kind::Numeric, missing: Missing::Reject };
    (feature, Transform::Numeric { steps, indicator: false })
}
