//! Rows for a model that nobody has given any: they spread over what its preprocessing was made for.

use rand::SeedableRng;
use rand::distr::{Distribution, Uniform};
use rand_chacha::ChaCha8Rng;

use crate::model::preprocess::{Part, Step, Transform};
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
            Kind::Numeric | Kind::Time => number(transform, spread.sample(&mut rng)),
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
        (Kind::Numeric | Kind::Time, _) => None,
    }
}

/// The number that preprocessing turns into about `scaled`.
pub(in crate::model) fn number(transform: &Transform, scaled: f64) -> f64 {
    match transform {
        Transform::Numeric { steps, .. } => undone(steps, scaled),
        Transform::Several { parts } => match parts.first() {
            Some(Part::Number { steps }) => undone(steps, scaled),
            Some(Part::Bins { steps, edges }) => {
                // -2 to 2 reach beyond the first and the last bin.
                let (low, high) = (edges.first().copied().unwrap_or(0.0), edges.last().copied().unwrap_or(0.0));
                let spread = if high > low { high - low } else { low.abs().max(1.0) };
                undone(steps, (low + high) / 2.0 + scaled * spread / 2.0)
            }
            Some(Part::Indicator) | None => scaled,
        },
        Transform::OneHot | Transform::Combined { .. } => 0.0,
    }
}

/// The number that these steps turn into `scaled`; another one where there is none.
fn undone(steps: &[Step], scaled: f64) -> f64 {
    let undone = steps.iter().rev().fold(scaled, |value, step| step.undo(value));
    let is_number = |x: f64| !steps.iter().fold(x, |value, step| step.apply(value)).is_nan();
    match undone.is_finite() {
        true => undone,
        false if is_number(scaled) => scaled,
        // Box-Cox takes positive numbers only.
        false => scaled.abs() + 1.0,
    }
}
