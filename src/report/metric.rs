//! The metrics in the order in which people want them, and which way is better.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{count, number};

/// Metrics of which more is better, and those of which less is, in order.
const ORDER: [(&str, bool); 23] = [
    ("accuracy", true),
    ("balanced_accuracy", true),
    ("roc_auc", true),
    ("roc_auc_ovr", true),
    ("roc_auc_ovr_weighted", true),
    ("average_precision", true),
    ("average_precision_macro", true),
    ("average_precision_weighted", true),
    ("precision", true),
    ("recall", true),
    ("f1", true),
    ("precision_macro", true),
    ("recall_macro", true),
    ("f1_macro", true),
    ("precision_weighted", true),
    ("recall_weighted", true),
    ("f1_weighted", true),
    ("log_loss", false),
    ("brier_score", false),
    ("r2", true),
    ("rmse", false),
    ("mae", false),
    ("loss", false),
];

/// The few that say most.
const HEADLINE: [&str; 10] = [
    "accuracy",
    "balanced_accuracy",
    "roc_auc",
    "roc_auc_ovr",
    "average_precision",
    "f1_macro",
    "log_loss",
    "r2",
    "rmse",
    "mae",
];

/// The metrics in order; those that aren't known come last.
pub(super) fn in_order(metrics: &BTreeMap<String, f64>) -> Vec<(&str, f64)> {
    let place = |name: &str| ORDER.iter().position(|(known, _)| *known == name).unwrap_or(ORDER.len());
    let mut all: Vec<(&str, f64)> = metrics.iter().map(|(name, &value)| (name.as_str(), value)).collect();
    all.sort_by_key(|(name, _)| place(name));
    all
}

/// Up to five metrics for the head of a page.
pub(super) fn headline(metrics: &BTreeMap<String, f64>) -> Vec<(&'static str, f64)> {
    HEADLINE.iter().filter_map(|&name| Some((name, *metrics.get(name)?))).take(5).collect()
}

/// Whether the second value is better (`Greater`), worse or as good; `None` for what isn't known.
pub(super) fn compare(name: &str, first: f64, second: f64) -> Option<Ordering> {
    let (_, more_is_better) = ORDER.iter().find(|(known, _)| *known == name)?;
    let ordering = second.partial_cmp(&first)?;
    Some(if *more_is_better { ordering } else { ordering.reverse() })
}

/// The value as people read it: a count or a number.
pub(super) fn text(name: &str, value: f64) -> String {
    match name {
        "rows" | "test_rows" | "epochs" => count(value as u64),
        _ => number(value),
    }
}
