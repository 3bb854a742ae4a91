//! Which plots an evaluation has.

use std::fmt::Write;

use super::{Escaped, number};
use crate::model::evaluation::{ClassDetail, Classes, Curves, Detail, Evaluation, OutputDetail, Point};
use crate::report::axis::Axis;
use crate::report::plot::{Plot, colour_class};
use crate::report::{count, matrix};

/// Outputs of a regression that are drawn.
const MAX_OUTPUTS: usize = 6;

/// The figures that this evaluation has, one after the other.
pub(super) fn figures(evaluation: &Evaluation) -> String {
    let mut figures = String::new();
    match &evaluation.detail {
        Some(Detail::Classification(classes)) => classification(&mut figures, classes),
        Some(Detail::Regression { outputs }) => {
            for output in outputs.iter().take(MAX_OUTPUTS) {
                let suffix = if outputs.len() > 1 { format!(": {}", output.name) } else { String::new() };
                regression(&mut figures, output, &suffix);
            }
        }
        None => {}
    }
    if !evaluation.losses.is_empty() {
        epochs(&mut figures, "Training loss", "loss", &evaluation.losses);
    }
    if !evaluation.validation_scores.is_empty() {
        epochs(&mut figures, "Validation score", "score", &evaluation.validation_scores);
    }
    figures
}

fn classification(figures: &mut String, classes: &Classes) {
    let Classes { classes, confusion, curves, .. } = classes;
    let detail = |curves: &Curves| classes.iter().find(|class| class.name == curves.class);
    // A curve keeps its colour from plot to plot.
    let drawn = |points: fn(&Curves) -> &[Point]| {
        let all = curves.iter().enumerate().filter(move |(_, curves)| !points(curves).is_empty());
        all.map(move |(colour, curves)| (colour, curves, points(curves))).collect::<Vec<_>>()
    };
    let legend_of = |colour: usize, curves: &Curves, metric: &str, value: fn(&ClassDetail) -> Option<f64>| {
        let value = detail(curves).and_then(value).map_or_else(String::new, |value| format!(", {metric} {value:.3}"));
        (Some(colour), format!("{}{value}", curves.class))
    };

    let roc = drawn(|curves| &curves.roc);
    if !roc.is_empty() {
        let mut plot = Plot::new(Axis::share("false-positive rate"), Axis::share("true-positive rate"));
        plot.guide([0.0, 0.0], [1.0, 1.0]);
        roc.iter().for_each(|(colour, _, points)| plot.line(*colour, points, false));
        let mut legend: Legend =
            roc.iter().map(|(colour, curves, _)| legend_of(*colour, curves, "area", |class| class.roc_auc)).collect();
        legend.push((None, "chance".into()));
        figure(figures, "ROC", &plot.svg("ROC curve"), &legend);
    }

    let precision_recall = drawn(|curves| &curves.precision_recall);
    if !precision_recall.is_empty() {
        let mut plot = Plot::new(Axis::share("recall"), Axis::share("precision"));
        let mut legend = Legend::new();
        for (colour, curves, points) in &precision_recall {
            plot.line(*colour, points, false);
            legend.push(legend_of(*colour, curves, "average", |class| class.average_precision));
        }
        if let [(_, curves, _)] = &*precision_recall {
            let all: u64 = classes.iter().map(|class| class.rows).sum();
            let share = detail(curves).map_or(0.0, |class| class.rows as f64 / all as f64);
            plot.guide([0.0, share], [1.0, share]);
            legend.push((None, format!("chance, {share:.3}")));
        }
        figure(figures, "Precision and recall", &plot.svg("Precision-recall curve"), &legend);
    }

    if !curves.is_empty() {
        calibration(figures, curves);
    }

    let names: Vec<&str> = classes.iter().map(|class| class.name.as_str()).collect();
    if names.len() <= matrix::MAX_CLASSES {
        figure(figures, "Confusion matrix", &matrix::svg(&names, confusion), &Legend::new());
    }
}

fn calibration(figures: &mut String, curves: &[Curves]) {
    let mut plot = Plot::new(Axis::share("mean predicted probability"), Axis::share("actual share"));
    let most = curves.iter().flat_map(|curves| &curves.calibration).map(|bin| bin.rows).max().unwrap_or(1);
    if let [curves] = curves {
        for bin in &curves.calibration {
            let from = (bin.predicted * 10.0 - 1e-9).floor().clamp(0.0, 9.0) / 10.0;
            let title = format!("{from:.1} to {:.1}: {} rows", from + 0.1, count(bin.rows));
            plot.bar(from, from + 0.1, 0.18 * bin.rows as f64 / most as f64, &title);
        }
    }
    plot.guide([0.0, 0.0], [1.0, 1.0]);
    let mut legend = Legend::new();
    let many = curves.len() > 3;
    for (colour, curves) in curves.iter().enumerate() {
        let bins = &curves.calibration;
        let points: Vec<Point> = bins.iter().map(|bin| [bin.predicted, bin.actual]).collect();
        plot.line(colour, &points, many);
        plot.dots(colour, &points, false, |at| {
            let (bin, rows) = (bins[at], count(bins[at].rows));
            let title =
                format!("{}: {:.3} predicted, {:.3} actual, {rows} rows", curves.class, bin.predicted, bin.actual);
            // A bin of few rows says little.
            (2.0 + 3.5 * (bin.rows as f64 / most as f64).sqrt(), title)
        });
        legend.push((Some(colour), curves.class.clone()));
    }
    legend.push((None, "perfectly calibrated".into()));
    figure(figures, "Calibration", &plot.svg("Calibration curve"), &legend);
}

fn regression(figures: &mut String, output: &OutputDetail, suffix: &str) {
    let points = &output.points;
    let show = |at: usize| (2.75, format!("actual {}, predicted {}", number(points[at][0]), number(points[at][1])));
    let both = Axis::around("", points.iter().flatten().copied());
    let mut plot = Plot::new(both.labelled("actual"), both.labelled("predicted"));
    plot.guide([both.low, both.low], [both.high, both.high]);
    plot.dots(0, points, true, show);
    let r2 = output.metrics.get("r2").map_or_else(String::new, |r2| format!(", R² {r2:.3}"));
    let legend = vec![(Some(0), format!("{} rows{r2}", count(points.len() as u64))), (None, "perfect".into())];
    figure(figures, &format!("Predicted and actual{suffix}"), &plot.svg("Predicted and actual values"), &legend);

    let residuals: Vec<Point> = points.iter().map(|&[actual, predicted]| [predicted, actual - predicted]).collect();
    let x = Axis::around("predicted", residuals.iter().map(|point| point[0]));
    let y = Axis::around("actual − predicted", residuals.iter().map(|point| point[1]).chain([0.0]));
    let (from, to) = (x.low, x.high);
    let mut plot = Plot::new(x, y);
    plot.guide([from, 0.0], [to, 0.0]);
    plot.dots(0, &residuals, true, show);
    let legend = vec![(Some(0), format!("{} rows", count(points.len() as u64))), (None, "no error".into())];
    figure(figures, &format!("Residuals{suffix}"), &plot.svg("Residuals"), &legend);
}

fn epochs(figures: &mut String, title: &str, label: &str, values: &[f64]) {
    let points: Vec<Point> = values.iter().enumerate().map(|(at, &value)| [(at + 1) as f64, value]).collect();
    let mut plot = Plot::new(Axis::counted("epoch", 1, values.len()), Axis::around(label, values.iter().copied()));
    plot.line(0, &points, false);
    let last = values.len() - 1;
    plot.dots(0, &points[last..], false, |_| (4.5, format!("epoch {}: {label} {}", last + 1, number(values[last]))));
    let legend = vec![(Some(0), format!("{} after {} epochs", number(values[last]), count(values.len() as u64)))];
    figure(figures, title, &plot.svg(title), &legend);
}

/// Colours (a dashed guide without) and what they stand for.
type Legend = Vec<(Option<usize>, String)>;

fn figure(figures: &mut String, title: &str, svg: &str, legend: &Legend) {
    let _ = write!(figures, "<figure><h3>{}</h3>{svg}", Escaped(title));
    if !legend.is_empty() {
        figures.push_str("<ul class=\"legend\">");
        for (colour, text) in legend {
            let class = colour.map_or("dashed".into(), colour_class);
            let _ = write!(figures, "<li><i class=\"{class}\"></i>{}</li>", Escaped(text));
        }
        figures.push_str("</ul>");
    }
    figures.push_str("</figure>");
}
