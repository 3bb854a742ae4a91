//! Rows for a model that nobody has given any: they spread over what its preprocessing was made for.

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;

use crate::model::preprocess::Transform;
use crate::model::signature::{Feature, Kind, Missing, Signature, Unknown};
use crate::record::Gap;

/// Decoded rows that the signature accepts: one of gaps where they are forgiven, the others of numbers that are around 0
/// after scaling and of each category in turn. The same signature always gets the same rows.
pub(super) fn rows(signature: &Signature, preprocessing: &[Transform], count: usize) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let features = || signature.features.iter().zip(preprocessing);
    let gaps = features().map(|(feature, transform)| gap(feature).unwrap_or_else(|| number(transform, 0.0))).collect();
    let mut rows: Vec<Vec<f64>> = vec![gaps];
    let Ok(spread) = Uniform::new_inclusive(-2.0, 2.0) else { return rows };
    while rows.len() < count {
        let index = rows.len();
        let row = features().map(|(feature, transform)| match &feature.kind {
            Kind::Numeric => number(transform, spread.sample(&mut rng)),
            Kind::Categorical { categories, .. } => (index % categories.len()) as f64,
        });
        rows.push(row.collect());
    }
    rows
}

/// A gap that a record may have here.
fn gap(feature: &Feature) -> Option<f64> {
    match (&feature.kind, feature.missing) {
        (_, missing) if missing != Missing::Reject => Some(Gap::Missing.value()),
        (Kind::Categorical { unknown: Unknown::Zeros | Unknown::Other, .. }, _) => Some(Gap::Unknown.value()),
        (Kind::Categorical { .. }, _) => Some(0.0),
        (Kind::Numeric, _) => None,
    }
}

/// The number that preprocessing turns into about `scaled`.
pub(in crate::model) fn number(transform: &Transform, scaled: f64) -> f64 {
    match transform {
        Transform::Numeric { steps, .. } => {
            let undone = steps.iter().rev().fold(scaled, |value, step| step.undo(value));
            if undone.is_finite() { undone } else { scaled }
        }
        Transform::OneHot => 0.0,
    }
}
