//! `weir evaluate --drift`: the rows beside the model's training data.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use serde_json::{Value, json};

use super::Args;
use crate::model::Model;
use crate::monitor::drift::{Column, Counts, DriftComparison, Plan};
use crate::report;
use crate::train::dataset::Examples;
use crate::train::dataset::examples::UnlabelledRows;
use crate::train::evaluate;

/// Features and predictions beside the model's training data, in the order of the signature. Rows without a target count,
/// too, as they do in `weir serve`.
pub(super) fn compared(
    args: &Args,
    files: &[PathBuf],
    model: &Model,
) -> anyhow::Result<Vec<(String, DriftComparison)>> {
    if let (Some(cycle), None) = (model.baseline.cycle, &args.time) {
        let name = args.model.to_string();
        bail!("{name} compares rows by {}: name the column with their times (--time)", cycle.as_str());
    }
    let options = args.read.options_for(&model.manifest.training);
    let UnlabelledRows { rows, times, .. } =
        Examples::read_unlabelled(files, model.signature(), args.time.as_deref(), options)?;
    let plan = Plan::new(&model.baseline, model.signature());
    let mut counts = Counts::new(&plan);
    plan.count_rows(rows.view(), &mut counts);
    plan.count_outputs(evaluate::outputs(model, rows.view()).view(), &mut counts);
    let times = times.into_iter().flatten().map(|seconds| Some(seconds.saturating_mul(1_000)));
    plan.count_times(times, &mut counts);
    let compared = |column: &Column| (column.label.clone(), plan.compare(column, counts.all()));
    Ok(plan.columns().iter().map(compared).collect())
}

pub(super) fn json((feature, found): &(String, DriftComparison)) -> Value {
    json!({
        "feature": feature,
        "rows": found.rows,
        "status": found.status.as_str(),
        "psi": found.psi,
        "threshold": found.threshold,
        "drift": found.is_drift(),
    })
}

/// The strongest drift first.
pub(super) fn write(out: &mut dyn Write, drift: &[(String, DriftComparison)]) -> anyhow::Result<()> {
    let mut drift: Vec<_> = drift.iter().collect();
    drift.sort_by(|(_, a), (_, b)| b.psi.unwrap_or(-1.0).total_cmp(&a.psi.unwrap_or(-1.0)));
    writeln!(out, "drift from the training data (PSI)")?;
    let row = |(feature, found): &(String, DriftComparison)| match found.psi {
        Some(psi) => {
            let verdict = if found.is_drift() { "drift" } else { "" };
            vec![feature.clone(), format!("{psi:.4}"), format!("threshold {:.4}", found.threshold), verdict.to_owned()]
        }
        None => vec![feature.clone(), found.status.as_str().to_owned()],
    };
    report::write_table(out, drift.into_iter().map(row).collect())?;
    Ok(())
}
