//! Rows to ask both about: around what the model was made for, at the edges of the graph's numbers, very small and very
//! large; with categories that are known and unknown, and with gaps. The same graph always gets the same rows.

use rand::distr::{Distribution, StandardUniform};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::array::is_float;
use crate::model::import::made_up;
use crate::model::onnx::proto::DataType;
use crate::model::preprocess::{Part, Transform};
use crate::model::signature::{Feature, Kind, Missing, Signature, Unknown};
use crate::record::Gap;

/// A text that is no category of any model.
const UNKNOWN: &str = "weir: a category that no model knows";

/// The largest magnitude of a number: farther ones overflow in f32, and what they give depends on the runtime.
const FARTHEST: f64 = 1e30;

/// How often a value is missing, or a category unknown, where the model forgives that.
const GAPS: f64 = 0.1;

/// What stands in a record for a feature.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Number(f64),
    Text(String),
}

/// One row, as weir decodes it and as the graph is fed with it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) decoded: Vec<f64>,
    pub(super) raw: Vec<Raw>,
}

impl Row {
    /// A row that weir has decoded; `types` are those of the inputs that the features are in.
    pub(super) fn new(decoded: Vec<f64>, signature: &Signature, types: &[DataType]) -> Row {
        let features = signature.features.iter().zip(types).zip(&decoded);
        let raw = features.map(|((feature, &data_type), &value)| raw(feature, data_type, value)).collect();
        Row { decoded, raw }
    }
}

/// What rows are made from.
pub(super) struct Source<'a> {
    pub(super) signature: &'a Signature,
    pub(super) transforms: &'a [Transform],
    /// For each feature the type of the input that it is in.
    pub(super) types: Vec<DataType>,
    /// The numbers that stand in the graph.
    pub(super) edges: Vec<f64>,
}

impl Source<'_> {
    pub(super) fn rows(&self, count: usize) -> Vec<Row> {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        (0..count).map(|index| self.row(index, &mut random)).collect()
    }

    fn row(&self, index: usize, random: &mut ChaCha8Rng) -> Row {
        // Of each kind of row a quarter; these are 10 to the power of.
        let scale = match index % 4 {
            0 | 1 => 1.0,
            2 => 10_f64.powf(random.random_range(-6.0..=6.0)),
            _ => 10_f64.powf(random.random_range(0.0..=3.0)),
        };
        // Not where numbers are so large that they may overflow.
        let has_gaps = index.is_multiple_of(4);
        let features = self.signature.features.iter().zip(self.transforms).zip(&self.types);
        let value = |((feature, transform), &data_type): ((&Feature, &Transform), &DataType)| match &feature.kind {
            Kind::Categorical { categories, unknown } => {
                let (is_unknown, is_missing) = (random.random_bool(GAPS), random.random_bool(GAPS));
                match raw(feature, data_type, Gap::Missing.value()) {
                    _ if is_unknown && *unknown != Unknown::Reject => Gap::Unknown.value(),
                    // The empty text may be a category.
                    Raw::Text(text) if is_missing && categories.contains(&text) => 0.0,
                    _ if is_missing && takes_gap(feature, data_type) => Gap::Missing.value(),
                    _ => random.random_range(0..categories.len()) as f64,
                }
            }
            Kind::Numeric | Kind::Time if has_gaps && takes_gap(feature, data_type) && random.random_bool(GAPS) => {
                Gap::Missing.value()
            }
            Kind::Numeric | Kind::Time => {
                whole(self.number(index, transform, scale, random).clamp(-FARTHEST, FARTHEST), data_type)
            }
        };
        let decoded = features.map(value).collect();
        Row::new(decoded, self.signature, &self.types)
    }

    fn number(&self, index: usize, transform: &Transform, scale: f64, random: &mut ChaCha8Rng) -> f64 {
        if let (1, Some(edge)) = (index % 4, edge_of_bins(transform, random)) {
            return edge;
        }
        if index % 4 == 1 && !self.edges.is_empty() {
            let edge = self.edges[random.random_range(0..self.edges.len())];
            let edge = match random.random_range(0..6) {
                0 => edge.next_up(),
                1 => edge.next_down(),
                2 => edge + 0.5,
                3 => edge - 0.5,
                4 => -edge,
                _ => edge,
            };
            return if random.random_bool(0.5) { edge } else { made_up::number(transform, edge) };
        }
        let spread = normal(random) * scale;
        // Some as they come, the others so that they are that large after scaling.
        if index % 16 == 2 { spread } else { made_up::number(transform, spread) }
    }
}

/// A number at, just below or just above the start of a bin, for half of the rows of a number that has bins.
fn edge_of_bins(transform: &Transform, random: &mut ChaCha8Rng) -> Option<f64> {
    let Transform::Several { parts } = transform else { return None };
    let bins = |part: &Part| match part {
        Part::Bins { steps, edges } => Some((steps.clone(), edges[random.random_range(0..edges.len())])),
        Part::Number { .. } | Part::Indicator => None,
    };
    let (steps, edge) = parts.iter().find_map(bins)?;
    // The graph's numbers are f32, mostly.
    let number = made_up::number(&Transform::Numeric { steps, indicator: false }, edge) as f32;
    let number = [number, number.next_up(), number.next_down()][random.random_range(0..3)];
    random.random_bool(0.5).then_some(f64::from(number))
}

/// Whether a record may lack the feature, and the input has something that stands for it.
fn takes_gap(feature: &Feature, data_type: DataType) -> bool {
    let stands = matches!(data_type, DataType::String | DataType::Int64) || is_float(data_type);
    feature.missing != Missing::Reject && stands
}

/// What an input of this type has for a decoded value.
fn raw(feature: &Feature, data_type: DataType, value: f64) -> Raw {
    let is_text = data_type == DataType::String;
    match (&feature.kind, Gap::of(value)) {
        (_, Some(Gap::Missing)) if is_text => Raw::Text(String::new()),
        (_, Some(Gap::Missing)) if data_type == DataType::Int64 => Raw::Number(i64::MIN as f64),
        (Kind::Categorical { .. }, Some(Gap::Unknown)) if is_text => Raw::Text(UNKNOWN.into()),
        (Kind::Categorical { categories, .. }, Some(Gap::Unknown)) => {
            let numbers = categories.iter().filter_map(|name| name.parse::<f64>().ok());
            Raw::Number(numbers.fold(0.0, f64::max) + 1.0)
        }
        (Kind::Categorical { categories, .. }, None) => {
            let name = categories.get(value as usize).cloned().unwrap_or_default();
            match name.parse() {
                Ok(number) if !is_text => Raw::Number(number),
                _ => Raw::Text(name),
            }
        }
        (_, _) => Raw::Number(value),
    }
}

/// The number as an input of this type can have it.
fn whole(number: f64, data_type: DataType) -> f64 {
    match data_type {
        data_type if is_float(data_type) => number,
        DataType::Bool => f64::from(u8::from(number > 0.0)),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => number.abs().round().min(255.0),
        DataType::Int8 => number.round().clamp(-128.0, 127.0),
        _ => number.round().clamp(-32_768.0, 32_767.0),
    }
}

/// A number from the normal distribution, nearly: the sum of twelve uniform ones.
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let uniform: [f64; 12] = std::array::from_fn(|_| StandardUniform.sample(random));
    uniform.iter().sum::<f64>() - 6.0
}
