//! A file of what a model answers for each labelled row, to compute other metrics from and to look at errors.

use std::path::Path;

use anyhow::Context as _;
use ndarray::ArrayView2;

use crate::model::Model;
use crate::model::decision::ClassDecision;
use crate::model::signature::Target;
use crate::train::dataset::Truth;
use crate::train::evaluate;

/// Writes CSV: `row` (from 1, among the rows with a target), `actual`, `predicted`, and with classes the `probability of`
/// each.
pub(super) fn write(
    path: &Path,
    model: &Model,
    decision: ClassDecision,
    places: &[usize],
    truth: &Truth,
    answers: ArrayView2<'_, f64>,
) -> anyhow::Result<()> {
    let write = || -> Result<(), csv::Error> {
        let mut file = csv::Writer::from_path(path)?;
        match (&model.signature().target, truth) {
            (Target::Classification { classes, .. }, Truth::Classes(actual)) => {
                let heads = ["row", "actual", "predicted"].map(String::from).into_iter();
                file.write_record(heads.chain(classes.iter().map(|class| format!("probability of {class}"))))?;
                let predicted = evaluate::predicted_classes(answers, decision);
                for (((place, &actual), predicted), answers) in
                    places.iter().zip(actual).zip(predicted).zip(answers.rows())
                {
                    let cells = [(place + 1).to_string(), classes[actual].clone(), classes[predicted].clone()];
                    file.write_record(cells.into_iter().chain(answers.iter().map(f64::to_string)))?;
                }
            }
            (Target::Regression { names }, Truth::Numbers(actual)) => {
                let suffix = |name: &String| if names.len() > 1 { format!(" {name}") } else { String::new() };
                let heads =
                    names.iter().flat_map(|name| ["actual", "predicted"].map(|head| head.to_owned() + &suffix(name)));
                file.write_record(["row".to_owned()].into_iter().chain(heads))?;
                for ((place, actual), answers) in places.iter().zip(actual.rows()).zip(answers.rows()) {
                    let pairs = actual.iter().zip(answers).flat_map(|(a, b)| [a.to_string(), b.to_string()]);
                    file.write_record([(place + 1).to_string()].into_iter().chain(pairs))?;
                }
            }
            _ => {}
        }
        Ok(file.flush()?)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}
