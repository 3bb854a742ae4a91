//! What a person who decides about a model should know: a model that is no better than a constant answer, a class that is never
//! predicted, columns that give the target away.
//!
//! A warning is about something that is probably wrong. A note is about something that is only good to know.

mod columns;
mod split;

use crate::model::evaluation::{Classes, Detail, Evaluation, Warning};
use crate::train::Stop;
use crate::train::recipe::{LearningRate, Recipe, Solver};

pub use self::columns::{correlation, of_columns};
pub use self::split::{of_split, overlap};

/// The kind of warning that a version lacks the threshold that it should have: it isn't for an alias.
pub const THRESHOLD_NOT_REACHED: &str = "threshold_not_reached";

/// By how much the test may be worse than the training.
const MOST_GAP: f64 = 0.1;

/// Test rows below which a gap is chance.
const LEAST_TEST_ROWS: usize = 50;

/// A warning of this kind.
pub fn warning(kind: &str, column: Option<&str>, message: String) -> Warning {
    Warning { kind: kind.into(), column: column.map(String::from), message }
}

/// What an evaluation shows by itself.
pub fn of_evaluation(evaluation: &Evaluation) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let by_threshold = matches!(&evaluation.detail, Some(Detail::Classification(Classes { threshold: Some(_), .. })));
    if let Some(reference) = &evaluation.reference {
        let (model, value, answer) = (reference.model, reference.value, &reference.answer);
        if reference.metric == "r2" && model < 0.0 {
            let message = format!("R² is {model:.4}, below 0: answering the mean would be better");
            warnings.push(warning("not_better_than_reference", None, message));
        } else if reference.metric == "r2" && model == 0.0 {
            warnings.push(warning("not_better_than_reference", None, "R² is 0: no better than the mean".into()));
        } else if reference.metric == "accuracy" && model <= value && !by_threshold {
            // A threshold gives accuracy away for what it is chosen by.
            let message = format!(
                "accuracy is {model:.4}, and always answering {answer:?} has {value:.4}: the model is no better"
            );
            warnings.push(warning("not_better_than_reference", None, message));
        }
    }
    if let Some(Detail::Classification(Classes { classes, confusion, threshold, .. })) = &evaluation.detail {
        let never = |class: usize| confusion.iter().all(|predicted| predicted[class] == 0);
        for (_, class) in classes.iter().enumerate().filter(|(at, class)| class.rows > 0 && never(*at)) {
            let help = match (classes.len(), threshold) {
                (2, None) => ": choose a --threshold, or weigh the classes (--class-weight balanced)",
                (2, Some(_)) => ": choose a lower --threshold",
                _ => ": weigh the classes (--class-weight balanced)",
            };
            let message = format!(
                "class {:?} is never predicted, and {} of {} rows are of it{help}",
                class.name, class.rows, evaluation.rows
            );
            warnings.push(warning("class_never_predicted", None, message));
        }
    }
    warnings
}

/// A gap between how well a model answers training rows and others.
pub fn of_gap(training: &Evaluation, test: &Evaluation) -> Option<Warning> {
    if test.rows < LEAST_TEST_ROWS {
        return None;
    }
    // A rare class has little share in the accuracy.
    let both = |name: &str| Some((training.metrics.get(name).copied()?, test.metrics.get(name).copied()?));
    let found = ["roc_auc", "accuracy", "r2"].into_iter().find_map(|name| Some((name, both(name)?)));
    let (name, (training_value, test_value)) = found?;
    // Two deviations of a share of so many rows, at most.
    let rows = if name == "roc_auc" { rows_of_rarest(test) } else { test.rows };
    let chance = 1.0 / (rows.max(1) as f64).sqrt();
    (training_value - test_value > MOST_GAP + chance).then(|| {
        let message = format!(
            "{name} is {training_value:.4} on the training rows and {test_value:.4} on the test rows: it learns by heart \
             (a larger --alpha, fewer neurons, --early-stopping or more rows help)"
        );
        warning("overfit", None, message)
    })
}

/// The rows of the class that has the fewest.
fn rows_of_rarest(evaluation: &Evaluation) -> usize {
    match &evaluation.detail {
        Some(Detail::Classification(Classes { classes, .. })) => {
            classes.iter().map(|class| class.rows as usize).min().unwrap_or(0)
        }
        _ => evaluation.rows,
    }
}

/// What the course of a training shows.
pub fn of_course(scores: &[f64]) -> Option<Warning> {
    let [first, _, ..] = scores else { return None };
    scores.iter().all(|score| score == first).then(|| {
        let message = format!(
            "the validation score was {first:.4} after each of {} epochs: it says nothing about when to stop",
            scores.len()
        );
        warning("validation_score_never_moved", None, message)
    })
}

/// What is good to know about a training.
pub fn notes(recipe: &Recipe, stop: Stop, epochs: usize) -> Vec<Warning> {
    let mut notes = Vec::new();
    if stop == Stop::MaxIter {
        let message =
            format!("not converged after {epochs} epochs, the training stopped at --max-iter: more may be better");
        notes.push(warning("not_converged", None, message));
    }
    let ignored = ignored_options(recipe);
    if !ignored.is_empty() {
        let solver = if recipe.solver == Solver::Adam { "adam" } else { "sgd" };
        notes.push(warning("ignored_option", None, format!("--solver {solver} ignores {}", ignored.join(", "))));
    }
    notes
}

/// Options that have another value than by default, and that the solver has no use for.
fn ignored_options(recipe: &Recipe) -> Vec<&'static str> {
    let default = Recipe::default();
    let of_sgd = [
        ("--learning-rate", recipe.learning_rate != default.learning_rate),
        ("--power-t", recipe.power_t != default.power_t),
        ("--momentum", recipe.momentum != default.momentum),
        ("--nesterovs-momentum", recipe.nesterovs_momentum != default.nesterovs_momentum),
    ];
    let of_adam = [
        ("--beta-1", recipe.beta_1 != default.beta_1),
        ("--beta-2", recipe.beta_2 != default.beta_2),
        ("--epsilon", recipe.epsilon != default.epsilon),
    ];
    let given = |options: &[(&'static str, bool)]| -> Vec<&'static str> {
        options.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name).collect()
    };
    match recipe.solver {
        Solver::Adam => given(&of_sgd),
        Solver::Sgd => {
            let mut ignored = given(&of_adam);
            if recipe.power_t != default.power_t && recipe.learning_rate != LearningRate::Invscaling {
                ignored.push("--power-t (it is for --learning-rate invscaling)");
            }
            ignored
        }
    }
}

#[cfg(test)]
mod tests;
