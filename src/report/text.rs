//! Evaluations on a terminal.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::{count, difference, metric, number, verdict};
use crate::model::evaluation::{Classes, Detail, Evaluation, Warning};
use crate::train::evaluate::Comparison;

/// Classes that are listed.
const MAX_CLASSES: usize = 50;

/// Classes with more have a matrix that is too wide for a terminal.
const MAX_MATRIX: usize = 12;

/// Writes metrics, and what is behind them.
pub fn write_evaluation(out: &mut dyn Write, evaluation: &Evaluation) -> io::Result<()> {
    write_reference(out, evaluation)?;
    write_warnings(out, &evaluation.warnings)?;
    writeln!(out, "metrics on {} rows", count(evaluation.rows as u64))?;
    write_metrics(out, &evaluation.metrics)?;
    write_undefined(out, evaluation)?;
    write_detail(out, evaluation)
}

/// Writes first of all whether the model is better than the commonest class or the mean.
pub fn write_reference(out: &mut dyn Write, evaluation: &Evaluation) -> io::Result<()> {
    let Some(reference) = &evaluation.reference else { return Ok(()) };
    writeln!(out, "reference  {}", plain(&super::against_reference(reference)))
}

/// Writes a line per warning.
pub fn write_warnings(out: &mut dyn Write, warnings: &[Warning]) -> io::Result<()> {
    warnings.iter().try_for_each(|warning| writeln!(out, "warning    {}", plain(&warning.message)))
}

/// Writes a line per note.
pub fn write_notes(out: &mut dyn Write, notes: &[Warning]) -> io::Result<()> {
    notes.iter().try_for_each(|note| writeln!(out, "note       {}", plain(&note.message)))
}

/// Writes the metrics that the rows don't define, and why.
pub fn write_undefined(out: &mut dyn Write, evaluation: &Evaluation) -> io::Result<()> {
    evaluation.undefined.iter().try_for_each(|(name, why)| writeln!(out, "  {name}: undefined, {}", plain(why)))
}

/// Writes a line per metric.
pub fn write_metrics(out: &mut dyn Write, metrics: &BTreeMap<String, f64>) -> io::Result<()> {
    let line = |(name, value): (&str, f64)| vec![plain(name), metric::text(name, value)];
    write_table(out, metric::in_order(metrics).into_iter().map(line).collect())
}

/// Writes a table of the classes and the confusion matrix, or one of the outputs where there are several.
pub fn write_detail(out: &mut dyn Write, evaluation: &Evaluation) -> io::Result<()> {
    if evaluation.not_finite > 0 {
        writeln!(out, "{} rows left out: the model's answer isn't finite", count(evaluation.not_finite as u64))?;
    }
    match &evaluation.detail {
        Some(Detail::Classification(classes)) => {
            write_classes(out, classes)?;
            write_thresholds(out, classes)
        }
        Some(Detail::Regression { outputs }) if outputs.len() > 1 => {
            writeln!(out, "outputs")?;
            let names = ["mae", "rmse", "r2"];
            let mut table = vec![[""].iter().chain(&names).map(|&head| head.into()).collect()];
            for output in outputs {
                let values = names.map(|name| output.metrics.get(name).map_or("-".into(), |&value| number(value)));
                table.push([plain(&output.name)].into_iter().chain(values).collect());
            }
            write_table(out, table)
        }
        _ => Ok(()),
    }
}

fn write_classes(out: &mut dyn Write, Classes { classes, confusion, .. }: &Classes) -> io::Result<()> {
    writeln!(out, "classes")?;
    let heads = ["", "precision", "recall", "f1", "roc_auc", "average_precision", "rows"];
    let mut table = vec![heads.map(String::from).to_vec()];
    for class in classes.iter().take(MAX_CLASSES) {
        let values =
            [Some(class.precision), Some(class.recall), Some(class.f1), class.roc_auc, class.average_precision];
        let values = values.map(|value| value.map_or("-".into(), number));
        table.push([plain(&class.name)].into_iter().chain(values).chain([count(class.rows)]).collect());
    }
    write_table(out, table)?;
    if classes.len() > MAX_CLASSES {
        writeln!(out, "  … and {} more, with --json", classes.len() - MAX_CLASSES)?;
    }
    if classes.len() > MAX_MATRIX {
        return writeln!(out, "confusion matrix of {} classes: with --json", classes.len());
    }
    writeln!(out, "confusion matrix: rows are actual classes, columns predicted ones")?;
    let names = || classes.iter().map(|class| plain(&class.name));
    let mut table = vec![[String::new()].into_iter().chain(names()).collect()];
    for (name, counts) in names().zip(confusion) {
        table.push([name].into_iter().chain(counts.iter().map(|&rows| count(rows))).collect());
    }
    write_table(out, table)
}

/// Writes what some thresholds mean, if there are two classes.
fn write_thresholds(out: &mut dyn Write, classes: &Classes) -> io::Result<()> {
    let (Some(positive), rows) = (&classes.positive, super::shown_thresholds(classes)) else { return Ok(()) };
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "thresholds: what it means to predict {} from a probability on", plain(positive))?;
    let has_cost = rows.iter().any(|(row, _)| row.cost.is_some());
    let heads = ["", "precision", "recall", "f1", "flagged"].into_iter().chain(has_cost.then_some("cost")).chain([""]);
    let mut table = vec![heads.map(String::from).collect::<Vec<_>>()];
    for (row, is_used) in rows {
        let share = format!("{:.2} %", row.flagged * 100.0);
        let cells = [row.threshold.to_string(), number(row.precision), number(row.recall), number(row.f1), share];
        let cost = has_cost.then(|| row.cost.map_or("-".into(), number));
        let used = if is_used { "used" } else { "" };
        table.push(cells.into_iter().chain(cost).chain([used.to_owned()]).collect());
    }
    write_table(out, table)
}

/// Writes two models' metrics side by side, and how far they agree.
pub fn write_comparison(
    out: &mut dyn Write,
    names: [&str; 2],
    evaluations: [&Evaluation; 2],
    comparison: &Comparison,
) -> io::Result<()> {
    let [first, second] = evaluations;
    writeln!(out, "metrics on the same {} rows", count(first.rows as u64))?;
    let mut table = vec![["", names[0], names[1], "difference", ""].map(String::from).to_vec()];
    for (name, a) in metric::in_order(&first.metrics) {
        let Some(&b) = second.metrics.get(name) else { continue };
        let verdict = match metric::compare(name, a, b) {
            Some(Ordering::Greater) => "better",
            Some(Ordering::Less) => "worse",
            _ => "",
        };
        table.push(vec![plain(name), number(a), number(b), difference(a, b), verdict.into()]);
    }
    write_table(out, table)?;
    writeln!(out, "{}", verdict(comparison, names))
}

/// Writes indented rows: the first column to the left, the others to the right.
pub(crate) fn write_table(out: &mut dyn Write, rows: Vec<Vec<String>>) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let mut line = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let room = " ".repeat(widths[column] - cell.chars().count());
            match column {
                0 => line.push_str(&format!("{cell}{room}")),
                _ => line.push_str(&format!("  {room}{cell}")),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// A name without what a terminal would take for a command.
pub(crate) fn plain(name: &str) -> String {
    let kept = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(kept).collect()
}
