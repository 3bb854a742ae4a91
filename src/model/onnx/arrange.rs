//! From what a walk found to what a bundle holds: features in the order of the inputs, each with its preprocessing and
//! its columns side by side, and the first layer's weights in that order.

mod combined;
mod numbers;

use std::collections::{BTreeMap, HashMap};

use ndarray::{Array1, Array2};

use self::combined::{Combiner, Linear};
use super::branches;
use super::chain::{Chain, Link, Op};
use super::layers;
use super::operators::{Encoded, Feature};
use super::reference::Form;
use super::tensor::Element;
use super::value::{Answer, Cell, LinkId};
use crate::engine::{Activation, Output};
use crate::model::import::{Hints, Imported, Task};
use crate::model::preprocess::{Part, Step, Transform};
use crate::model::signature::{self, Kind, Missing, Signature, Target, Unknown};

/// What the graph answers, and the names that it has for the classes.
pub(super) struct Found {
    pub(super) answer: Answer,
    pub(super) classes: Option<Vec<String>>,
    /// Whether one of its outputs is the class.
    pub(super) has_class: bool,
}

/// What became of it.
pub(super) struct Arranged {
    pub(super) imported: Imported,
    /// For each feature its place among those of the graph.
    pub(super) kept: Vec<usize>,
    pub(super) form: Form,
}

/// Puts together what a chain from columns to an answer says.
pub(super) fn arrange(chain: &Chain, features: Vec<Feature>, found: Found, hints: &Hints) -> Result<Arranged, String> {
    let mut of = found.answer.of;
    let (target, output, form) = target(chain, &mut of, found, hints)?;
    let joined;
    let mut way = chain.way_to(of);
    if matches!(way[0].op, Op::Sum { .. } | Op::Concat { .. }) {
        joined = branches::chained(chain, of, hints.limits)?;
        way = joined.iter().collect();
    }
    let Some(Link { op: Op::Source(cells), width, .. }) = way.first() else {
        return Err("its answer doesn't depend on its inputs".into());
    };
    let columns = Columns::new(cells, features, hints)?;
    let layers = layers::layers(way[1..].iter().copied(), |weights, bias| columns.weights(weights, bias), *width)?;
    let Columns { features, transforms, kept, .. } = columns;
    let signature = Signature { features, target };
    let recipe = serde_json::Map::new();
    let imported = Imported { signature, preprocessing: transforms, layers, output, recipe, reference: None };
    Ok(Arranged { imported, kept, form })
}

/// What the model answers; a sigmoid at the end goes from the chain into the output where that makes it a classifier.
fn target(chain: &Chain, of: &mut LinkId, found: Found, hints: &Hints) -> Result<(Target, Output, Form), String> {
    let &Link { before, ref op, width } = chain.link(*of);
    let asked = hints.task.or(hints.classes.as_ref().map(|_| Task::Classification));
    let asked = asked.or(found.has_class.then_some(Task::Classification));
    let task = match (found.answer.output, asked) {
        (Output::Identity, None | Some(Task::Regression)) => Task::Regression,
        (Output::Softmax | Output::Logistic | Output::Normalized, Some(Task::Regression)) => {
            return Err("it answers probabilities of classes, which is a classification".into());
        }
        _ => Task::Classification,
    };
    if task == Task::Regression {
        if hints.classes.is_some() {
            return Err("a regression has no classes".into());
        }
        let names = match &hints.target {
            Some(names) if names.len() == width => names.clone(),
            Some(names) => return Err(format!("there are {} names of targets for {width} outputs", names.len())),
            None if width == 1 => vec!["y".into()],
            None => (0..width).map(|index| format!("y{index}")).collect(),
        };
        return Ok((Target::Regression { names }, Output::Identity, Form::AsIs));
    }
    let (output, form) = match (found.answer.output, op) {
        (Output::Identity, Op::Activation(Activation::Logistic)) if width == 1 => {
            *of = before.unwrap_or(*of);
            (Output::Logistic, Form::Probability)
        }
        (Output::Identity, Op::Activation(Activation::Logistic)) => {
            return Err(format!(
                "it ends with {width} sigmoids, which are no probabilities of classes that exclude each other: import \
                 it as a regression"
            ));
        }
        (Output::Identity, _) if width == 1 => (Output::Logistic, Form::Logit),
        (Output::Identity, _) => (Output::Softmax, Form::Logits),
        (output, _) => (output, Form::AsIs),
    };
    let count = if output == Output::Logistic { 2 } else { width };
    let classes = hints.classes.clone().or(found.classes);
    let classes = classes.unwrap_or_else(|| (0..count).map(|class| class.to_string()).collect());
    if classes.len() != count {
        return Err(format!("there are {} names for {count} classes", classes.len()));
    }
    let name = match hints.target.as_deref() {
        None => "class".into(),
        Some([name]) => name.clone(),
        Some(names) => return Err(format!("there are {} names of targets for one class", names.len())),
    };
    Ok((Target::Classification { name, classes }, output, form))
}

/// How the columns that go into the network come from the features.
struct Columns {
    features: Vec<signature::Feature>,
    transforms: Vec<Transform>,
    /// The place of each feature among those of the graph.
    kept: Vec<usize>,
    /// What each cell is in the columns of the transforms.
    linear: Vec<Linear>,
    /// How many columns these have.
    width: usize,
}

impl Columns {
    fn new(cells: &[Cell], found: Vec<Feature>, hints: &Hints) -> Result<Columns, String> {
        let mut by_feature: BTreeMap<usize, Vec<&Cell>> = BTreeMap::new();
        for cell in combined::of_features(cells) {
            cell.feature().into_iter().for_each(|feature| by_feature.entry(feature).or_default().push(cell));
        }
        let (mut features, mut transforms, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        let (mut placed, mut start) = (HashMap::new(), 0);
        for (index, feature) in found.into_iter().enumerate() {
            let cells = by_feature.remove(&index).unwrap_or_default();
            // What nothing looks at isn't asked for; in a matrix it keeps its place.
            if cells.is_empty() && feature.alone {
                continue;
            }
            let (kind, missing, transform) = column(&feature, &cells)?;
            let width = width(&kind, &transform);
            placed.insert(index, (transform.clone(), start, width));
            start += width;
            features.push(signature::Feature { name: feature.name, kind, missing });
            transforms.push(transform);
            kept.push(index);
        }
        let mut combiner = Combiner::new(&placed, start, hints.limits);
        let linear = cells.iter().map(|cell| combiner.linear(cell)).collect::<Result<Vec<Linear>, _>>()?;
        let (combined, width) = combiner.finish(&linear);
        transforms.extend(combined);
        if let Some(names) = &hints.feature_names {
            if names.len() != features.len() {
                return Err(format!("there are {} names for {} features", names.len(), features.len()));
            }
            features.iter_mut().zip(names).for_each(|(feature, name)| feature.name.clone_from(name));
        }
        Ok(Columns { features, transforms, kept, linear, width })
    }

    /// The first layer's weights for these columns, from those for the graph's. What is the same in all rows goes into the
    /// bias.
    fn weights(&self, weights: &Array2<f64>, bias: &mut Array1<f64>) -> Array2<f64> {
        let mut arranged = Array2::zeros((self.width, weights.ncols()));
        for (Linear { columns, shift }, row) in self.linear.iter().zip(weights.rows()) {
            if *shift != 0.0 {
                bias.scaled_add(*shift, &row);
            }
            for &(column, factor) in columns {
                arranged.row_mut(column).scaled_add(factor, &row);
            }
        }
        arranged
    }
}

fn width(kind: &Kind, transform: &Transform) -> usize {
    match (kind, transform) {
        (Kind::Categorical { categories, unknown }, _) => categories.len() + usize::from(*unknown == Unknown::Other),
        (Kind::Numeric | Kind::Time, Transform::Numeric { indicator, .. }) => 1 + usize::from(*indicator),
        (Kind::Numeric | Kind::Time, Transform::Several { parts }) => parts.iter().map(Part::width).sum(),
        (Kind::Numeric | Kind::Time, Transform::OneHot | Transform::Combined { .. }) => 0,
    }
}

/// What one feature is and what happens to it, from the columns that it makes.
fn column(feature: &Feature, cells: &[&Cell]) -> Result<(Kind, Missing, Transform), String> {
    let categories = cells.iter().filter(|cell| matches!(cell, Cell::Category { .. })).count();
    match (cells.first(), &feature.encoded) {
        (Some(_), Some(encoded)) if categories > 0 => {
            if categories < cells.len() {
                return Err(format!(
                    "the feature {:?} goes into the network as a category and as a number: give the pipeline two \
                     columns of it",
                    feature.name
                ));
            }
            let Encoded { categories, unknown, missing } = encoded.clone();
            Ok((Kind::Categorical { categories, unknown }, missing, Transform::OneHot))
        }
        (None, _) if feature.element == Element::Text => {
            // One category that nobody needs: the weights are 0 whatever comes.
            let kind = Kind::Categorical { categories: vec![String::new()], unknown: Unknown::Zeros };
            Ok((kind, Missing::Zeros, Transform::OneHot))
        }
        (None, _) => {
            let steps = vec![Step::Multiply { value: 0.0 }];
            Ok((Kind::Numeric, Missing::Constant { value: 0.0 }, Transform::Numeric { steps, indicator: false }))
        }
        (Some(_), _) => {
            let (missing, transform) = numbers::transform(&feature.name, cells.iter().copied())?;
            Ok((Kind::Numeric, missing, transform))
        }
    }
}
