//! How an evaluation is shown: as text on a terminal, and as an HTML page that stands alone.
//!
//! The page needs no other file, no network and no script, and its plots are inline SVG. Names (of classes, columns,
//! files) come from data and may hold anything: all of them go through `html::Escaped`.

mod axis;
mod html;
mod matrix;
mod metric;
mod plot;
mod text;

pub use self::html::{Subject, comparison_page, page};
pub(crate) use self::text::{plain, write_table};
pub use self::text::{
    write_comparison, write_detail, write_evaluation, write_metrics, write_notes, write_reference, write_undefined,
    write_warnings,
};

use crate::model::evaluation::{Classes, ReferenceScore, ThresholdRow};
use crate::train::evaluate::{Comparison, Disagreement};

/// Recalls for which a threshold is shown.
const SHOWN_RECALLS: [f64; 11] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// A number for people: a handful of digits, whatever its size.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || (1e-3..10.0).contains(&size) => format!("{value:.4}"),
        size if (10.0..1e3).contains(&size) => format!("{value:.2}"),
        size if (1e3..1e7).contains(&size) => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}

/// How much larger `b` is than `a`, to the digits that [`number`] shows of them.
pub(crate) fn difference(a: f64, b: f64) -> String {
    let text = match a.abs().max(b.abs()) {
        size if size < 10.0 => format!("{:+.4}", b - a),
        size if size < 1e3 => format!("{:+.2}", b - a),
        size if size < 1e7 => format!("{:+.0}", b - a),
        _ => format!("{:+.3e}", b - a),
    };
    text.replace('-', "−")
}

/// How far two models agree, in words.
fn verdict(comparison: &Comparison, [first, second]: [&str; 2]) -> String {
    match comparison {
        Comparison::Classification(Disagreement { agreement, only_first, only_second, p_value }) => {
            let p_value = if *p_value < 1e-4 { "below 0.0001".into() } else { format!("{p_value:.4}") };
            format!(
                "Both predict the same class for {:.2} % of the rows. Only {first} is right on {} rows, only {second} on \
                 {}: if they were equally good, a split as uneven as this would have a probability of {p_value} (McNemar's \
                 exact test).",
                agreement * 100.0,
                count(*only_first),
                count(*only_second)
            )
        }
        Comparison::Regression { mean_difference } => {
            format!("The two predictions differ by {} in the mean.", number(*mean_difference))
        }
    }
}

/// A model beside the commonest class or the mean, in words.
fn against_reference(ReferenceScore { metric, answer, value, model }: &ReferenceScore) -> String {
    let verdict = if model > value { "better" } else { "no better" };
    match metric.as_str() {
        "r2" => format!("always answering the mean has an R² of 0, the model {model:.4}: {verdict}"),
        _ => format!("always answering {answer:?} has an accuracy of {value:.4}, the model {model:.4}: {verdict}"),
    }
}

/// The thresholds that reach some recalls, from the highest on, and the one that is used; beside each whether it is that.
fn shown_thresholds(classes: &Classes) -> Vec<(&ThresholdRow, bool)> {
    let all = &classes.thresholds;
    let used = classes.threshold.and_then(|threshold| all.iter().rposition(|row| row.threshold >= threshold));
    let reaching = |recall: &f64| all.iter().position(|row| row.recall >= *recall);
    let mut shown: Vec<usize> = SHOWN_RECALLS.iter().filter_map(reaching).chain(used).collect();
    shown.sort_unstable();
    shown.dedup();
    shown.into_iter().map(|at| (&all[at], Some(at) == used)).collect()
}

/// A count with its thousands apart.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
