//! Which class is positive, and from which probability on it is predicted.
//!
//! A threshold is chosen on rows that the weights weren't fitted to: those that early stopping sets aside, or as many
//! that only the choice needs.

use super::backprop::Truth;
use super::evaluate::thresholds;
use super::inputs::Inputs;
use super::recipe::Recipe;
use super::validation::Division;
use super::warm::Parent;
use super::warnings::{THRESHOLD_NOT_REACHED, warning};
use super::{TrainError, predict_rows};
use crate::engine::Mlp;
use crate::model::decision::{ClassDecision, Decision};
use crate::model::evaluation::Warning;
use crate::model::signature::Target;

/// The positive class, if the recipe or the parent names one or a threshold.
pub(super) fn positive(
    target: &Target,
    recipe: &Recipe,
    parent: Option<&Parent>,
) -> Result<Option<String>, TrainError> {
    let named = recipe.positive.as_ref();
    let of_parent = || parent.and_then(Parent::decision).map(|decision| &decision.positive);
    if named.is_none() && recipe.threshold.is_none() {
        return Ok(of_parent().cloned());
    }
    let classes = match target {
        Target::Classification { classes, .. } if classes.len() == 2 => classes,
        Target::Classification { name, classes } => {
            return Err(TrainError::NotTwoClasses { target: name.clone(), found: classes.len().to_string() });
        }
        Target::Regression { names } => {
            return Err(TrainError::NotTwoClasses { target: names.join(", "), found: "numbers".into() });
        }
    };
    match named.or_else(of_parent) {
        Some(class) if classes.contains(class) => Ok(Some(class.clone())),
        Some(class) => Err(TrainError::UnknownPositive { class: class.clone(), classes: classes.join(", ") }),
        None => Ok(Some(classes[1].clone())),
    }
}

/// What a trained network decides by. A warning if no threshold has what the rule asks for: there is none then.
pub(super) fn decide(
    recipe: &Recipe,
    target: &Target,
    positive: Option<String>,
    mlp: &Mlp,
    x: &Inputs,
    truth: &Truth,
    division: &Division,
) -> (Option<Decision>, Option<Warning>) {
    let Some(positive) = positive else { return (None, None) };
    let mut decision = Decision { positive, threshold: None };
    let (Some(rule), Truth::Classes(classes)) = (recipe.threshold, truth) else { return (Some(decision), None) };
    let class = ClassDecision::of(target, Some(&decision)).positive();
    let rows: &[usize] = if rule.needs_rows() { &division.validate } else { &[] };
    let actual: Vec<usize> = rows.iter().map(|&row| classes[row]).collect();
    let answers = predict_rows(mlp, x, rows);
    let probabilities: Vec<f64> = answers.column(class).iter().map(|&answer| f64::from(answer)).collect();
    match rule.choose(&thresholds(&actual, class, &probabilities, rule)) {
        Ok(threshold) => {
            decision.threshold = Some(threshold);
            (Some(decision), None)
        }
        Err(reason) => {
            let message = format!("--threshold: {reason}, on {} training rows that were set aside", rows.len());
            (Some(decision), Some(warning(THRESHOLD_NOT_REACHED, None, message)))
        }
    }
}
