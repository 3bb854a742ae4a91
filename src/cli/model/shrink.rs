//! What `weir model quantize` and `weir model prune` have in common: measure a version before and after, publish the
//! smaller one if it is good enough.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::HumanBytes;
use ndarray::{Array2, ArrayView2, Axis};
use serde::Serialize;
use serde_json::Value;

use super::{StoreOption, parse_alias, prune, quantize, write_table};
use crate::cli::data::ReadArgs;
use crate::engine::{Dtype, Layer};
use crate::model::Model;
use crate::model::bundle::Draft;
use crate::model::evaluation::Evaluation;
use crate::model::reference::ModelRef;
use crate::model::shrink::{self, ShrinkError};
use crate::monitor::drift::Baseline;
use crate::train::dataset::{self, Examples};
use crate::train::evaluate::{self, Judgement};

/// Rows that are scored at a time to measure the speed.
const SPEED_ROWS: usize = 256;

/// How often, and for how long each time: both versions in turns, since the machine may have other things to do.
const SPEED_ROUNDS: usize = 15;
const SPEED_ROUND: Duration = Duration::from_millis(10);

/// Which version is made smaller, and how much that may cost.
#[derive(Debug, clap::Args)]
#[group(id = "shrink")]
pub(super) struct Args {
    /// NAME@VERSION, NAME@ALIAS or NAME@latest
    #[arg(value_name = "MODEL_REF")]
    reference: ModelRef,
    /// Labelled rows, as for `weir evaluate`: to calibrate with, and to measure what is lost
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
    /// How many points of accuracy (a regression: of R², in hundredths) may be lost on the data
    #[arg(long, value_name = "POINTS", default_value_t = 0.5, value_parser = parse_points)]
    max_accuracy_loss: f64,
    /// Publish it whatever is lost
    #[arg(long)]
    force: bool,
    /// Point this alias to the new version
    #[arg(long, value_name = "ALIAS", value_parser = parse_alias)]
    promote: Option<String>,
    /// Where the models are.
    #[command(flatten)]
    store: StoreOption,
    /// Print JSON instead of lines
    #[arg(long)]
    json: bool,
}

/// A way to make a network smaller.
#[derive(Clone, Copy)]
pub(super) enum Method {
    Quantize(Dtype),
    Prune { share: f64 },
}

impl Method {
    /// The smaller layers. `inputs` of the network, if there are data.
    fn apply(self, layers: &[Layer], inputs: Option<ArrayView2<'_, f32>>) -> Result<Vec<Layer>, ShrinkError> {
        match self {
            Method::Quantize(to) => shrink::quantize(layers, to, inputs),
            Method::Prune { share } => shrink::prune(layers, share, inputs),
        }
    }

    /// What the bundle's recipe says of it.
    fn note(self) -> (&'static str, Value) {
        match self {
            Method::Quantize(to) => ("quantize", to.as_str().into()),
            Method::Prune { share } => ("prune", share.into()),
        }
    }

    /// What the new version has, in words.
    fn describe(self) -> String {
        match self {
            Method::Quantize(to) => format!("{to} weights"),
            Method::Prune { share } => format!("{:.0} % fewer hidden neurons", 100.0 * share),
        }
    }

    /// What is worth saying of the smaller layers.
    fn describe_layers(self, layers: &[Layer]) -> String {
        match self {
            Method::Quantize(_) => quantize::describe(layers),
            Method::Prune { .. } => prune::describe(layers),
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct ShrinkReport {
    model: String,
    version: u64,
    parent: u64,
    #[serde(skip)]
    what: String,
    layers: String,
    weight_bytes: Change<usize>,
    rows_per_second: Change<f64>,
    /// None without data.
    quality: Option<Quality>,
    promoted: Option<String>,
}

#[derive(Clone, Copy, Serialize)]
struct Change<T> {
    before: T,
    after: T,
}

/// What the versions answer for labelled rows.
#[derive(Serialize)]
struct Quality {
    rows: usize,
    /// Left out: the model rejects them, or can't answer their target.
    left_out: usize,
    /// `accuracy` or `r2`: what the loss is of.
    metric: &'static str,
    #[serde(flatten)]
    change: Change<f64>,
    /// Of a regression.
    rmse: Option<Change<f64>>,
    /// In hundredths of the metric; below 0 where it became better.
    lost_points: f64,
}

/// Makes the version, or refuses. What was done goes to `out`.
pub(super) fn publish(args: &Args, method: Method, out: &mut impl Write) -> anyhow::Result<()> {
    let store = args.store.open()?;
    let name = &args.reference.name;
    let parent = store.resolve(&args.reference)?;
    let before = store.load(name, parent)?;
    let mut draft = store.draft(name, parent)?;
    let examples = match &*args.data {
        [] => None,
        data => {
            let options = args.read.options_for(&before.manifest.training);
            let examples = Examples::read(&dataset::files(data)?, before.signature(), options)?;
            Some(examples.taken_by(before.signature(), &before.preprocess))
        }
    };

    let inputs = examples.as_ref().map(|examples| shrink::inputs(&before.preprocess, examples.rows.view()));
    let layers = method
        .apply(&draft.layers, inputs.as_ref().map(|inputs| inputs.view()))
        .with_context(|| format!("{name}@{parent} stays as it is"))?;
    let weight_bytes = Change { before: shrink::bytes(&draft.layers), after: shrink::bytes(&layers) };
    draft.layers = layers;
    let (note, value) = method.note();
    draft.training.recipe.insert(note.into(), value);
    // They were measured on the parent.
    draft.training.metrics.clear();
    let (_, files) = draft.bundle(parent, before.manifest.created.clone())?;
    let after = Model::load(&files, |_| {})?;

    let quality = match &examples {
        Some(examples) => Some(compare(&before, &after, examples, &mut draft)?),
        None => None,
    };
    if let Some(Quality { lost_points, metric, rows, change, .. }) = &quality
        && *lost_points > args.max_accuracy_loss
        && !args.force
    {
        let Change { before, after } = change;
        bail!(
            "{name}@{parent} stays as it is: {} would lose {lost_points:.2} points of {metric} ({before:.4} → {after:.4} on \
             {rows} rows), more than --max-accuracy-loss {}; allow more, or publish it all the same by --force",
            method.describe(),
            args.max_accuracy_loss
        );
    }
    let rows_per_second = speed([&before, &after], some_rows(examples.as_ref(), &draft).view());

    let version = store.publish(&draft)?;
    if let Some(alias) = &args.promote {
        store.promote(name, alias, version)?;
    }
    let report = ShrinkReport {
        model: name.clone(),
        version,
        parent,
        what: method.describe(),
        layers: method.describe_layers(&draft.layers),
        weight_bytes,
        rows_per_second,
        quality,
        promoted: args.promote.clone(),
    };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
        return Ok(());
    }
    write(&report, out)
}

/// Evaluates both versions; the draft keeps what was found for the new one, and what it predicts.
fn compare(before: &Model, after: &Model, examples: &Examples, draft: &mut Draft) -> anyhow::Result<Quality> {
    let target = &before.signature().target;
    let evaluated = |model: &Model| {
        let answers = evaluate::answers(model, examples.rows.view());
        let judgement = Judgement { decision: model.decision, rule: None };
        evaluate::evaluation(target, &examples.truth, answers.view(), judgement)
    };
    let (old, new) = (evaluated(before), evaluated(after));
    let both = |metric: &str| {
        let value = |evaluation: &Evaluation| evaluation.metrics.get(metric).copied();
        Some(Change { before: value(&old)?, after: value(&new)? })
    };
    let found = ["accuracy", "r2"].into_iter().find_map(|metric| both(metric).map(|change| (metric, change)));
    let Some((metric, change)) = found else {
        bail!(
            "{} rows are too few to measure what is lost, or their answers aren't finite: give others",
            examples.len()
        );
    };
    ensure!(
        new.not_finite <= old.not_finite,
        "the new version would answer {} of {} rows by what isn't finite, version {} {}",
        new.not_finite,
        examples.len(),
        before.version(),
        old.not_finite
    );
    let outputs = evaluate::outputs(after, examples.rows.view());
    draft.baseline.predictions = Baseline::fit(before.signature(), examples.rows.view(), outputs.view()).predictions;
    draft.training.metrics = new.metrics.clone();
    draft.training.metrics.insert("test_rows".into(), new.rows as f64);
    draft.evaluation = Some(new.clone());
    Ok(Quality {
        rows: examples.len(),
        left_out: examples.rejected + examples.without_target,
        metric,
        change,
        rmse: both("rmse"),
        lost_points: 100.0 * (change.before - change.after),
    })
}

/// Rows to measure the speed with: of the data, or golden ones.
fn some_rows(examples: Option<&Examples>, draft: &Draft) -> Array2<f64> {
    let features = draft.signature.features.len();
    match examples {
        Some(examples) => {
            let count = examples.len();
            Array2::from_shape_fn((SPEED_ROWS, features), |(row, column)| examples.rows[[row % count, column]])
        }
        None => {
            let count = draft.golden_rows.len();
            Array2::from_shape_fn((SPEED_ROWS, features), |(row, column)| draft.golden_rows[row % count][column])
        }
    }
}

/// Rows per second on one thread, preprocessing included: medians.
fn speed(models: [&Model; 2], rows: ArrayView2<'_, f64>) -> Change<f64> {
    let mut found = [Vec::new(), Vec::new()];
    let mut scratches = models.map(Model::scratch);
    let mut answers = models.map(|model| Array2::zeros((rows.nrows(), model.mlp.outputs())));
    for _ in 0..SPEED_ROUNDS {
        for (at, model) in models.iter().enumerate() {
            let (start, mut scored) = (Instant::now(), 0);
            while start.elapsed() < SPEED_ROUND {
                model.score(rows, answers[at].view_mut(), &mut scratches[at]);
                scored += rows.len_of(Axis(0));
            }
            found[at].push(scored as f64 / start.elapsed().as_secs_f64());
        }
    }
    let [before, after] = found.map(|mut speeds| {
        speeds.sort_by(f64::total_cmp);
        speeds[speeds.len() / 2]
    });
    Change { before, after }
}

fn parse_points(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(points) if points >= 0.0 => Ok(points),
        _ => Err("it must be a number from 0 on".into()),
    }
}

fn write(report: &ShrinkReport, out: &mut impl Write) -> anyhow::Result<()> {
    let ShrinkReport { model, version, parent, what, weight_bytes, rows_per_second, .. } = report;
    writeln!(out, "{model} version {version}: version {parent} with {what}")?;
    let (bytes, speeds) = (weight_bytes, rows_per_second);
    let mut rows = vec![
        vec!["layers".into(), report.layers.clone()],
        vec![
            "weights".into(),
            format!(
                "{} → {}, {:.2} × smaller",
                HumanBytes(bytes.before as u64),
                HumanBytes(bytes.after as u64),
                bytes.before as f64 / bytes.after as f64
            ),
        ],
        vec![
            "speed".into(),
            format!(
                "{:.0} → {:.0} rows/s on one thread, {:.2} ×",
                speeds.before,
                speeds.after,
                speeds.after / speeds.before
            ),
        ],
    ];
    match &report.quality {
        Some(Quality { rows: count, left_out, metric, change, rmse, lost_points }) => {
            let without = if *left_out > 0 { format!(", {left_out} left out") } else { String::new() };
            let Change { before, after } = change;
            let gained = -lost_points;
            rows.push(vec![
                (*metric).into(),
                format!("{before:.4} → {after:.4}, {gained:+.2} points, on {count} rows{without}"),
            ]);
            rows.extend(rmse.map(|Change { before, after }| vec!["rmse".into(), format!("{before:.6} → {after:.6}")]));
        }
        None => rows.push(vec!["accuracy".into(), "not measured: give labelled rows by --data".into()]),
    }
    rows.extend(report.promoted.iter().map(|alias| vec!["promoted".into(), alias.clone()]));
    write_table(out, "  ", rows)?;
    Ok(())
}

#[cfg(test)]
mod tests;
