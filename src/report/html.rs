//! The page: what the model is, what it was tested on, its metrics in tables, and its plots.

mod plots;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

use super::{against_reference, count, difference, metric, number, shown_thresholds, verdict};
use crate::model::bundle::Manifest;
use crate::model::evaluation::{Classes, Detail, Evaluation};
use crate::model::signature::{Kind, Target};
use crate::train::evaluate::Comparison;

const STYLE: &str = include_str!("style.css");

/// A model and how good it was found to be.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What the model is.
    pub manifest: &'a Manifest,
    /// How good it is.
    pub evaluation: &'a Evaluation,
}

impl Subject<'_> {
    /// `NAME@VERSION`.
    pub fn name(&self) -> String {
        format!("{}@{}", self.manifest.name, self.manifest.version)
    }
}

/// Text from data, for content and attributes of HTML.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // HTML has no way to write them.
                c if c.is_control() && !matches!(c, '\n' | '\t') => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A name with at most so many characters.
pub(super) fn shortened(name: &str, most: usize) -> String {
    match name.char_indices().nth(most) {
        Some(_) => name.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
        None => name.into(),
    }
}

/// A page about one model.
///
/// `data`: what to say about the rows, as pairs of a word and what it is.
pub fn page(subject: Subject<'_>, data: &[(String, String)]) -> String {
    let name = subject.name();
    let mut page = open(&name, &about(&subject));
    verdict_on(&mut page, subject.evaluation);
    tiles(&mut page, subject.evaluation);
    section(&mut page, &subject);
    page.push_str("<h2>Model and data</h2><div class=\"cards\">");
    facts(&mut page, "Data", data.iter().cloned());
    model(&mut page, subject.manifest);
    page.push_str("</div>");
    close(page)
}

/// A page that compares two models on the same rows.
pub fn comparison_page(subjects: [Subject<'_>; 2], comparison: &Comparison, data: &[(String, String)]) -> String {
    let [first, second] = subjects.map(|subject| subject.name());
    let title = format!("{first} and {second}");
    let mut page = open(&title, &format!("compared on the same {} rows", count(subjects[0].evaluation.rows as u64)));
    page.push_str("<h2>Side by side</h2><div class=\"card wide\"><table>");
    let _ = write!(
        page,
        "<thead><tr><th></th><th>{}</th><th>{}</th><th>difference</th></tr></thead><tbody>",
        Escaped(&first),
        Escaped(&second)
    );
    for (name, a) in metric::in_order(&subjects[0].evaluation.metrics) {
        let Some(&b) = subjects[1].evaluation.metrics.get(name) else { continue };
        let class = match metric::compare(name, a, b) {
            Some(Ordering::Greater) => "good",
            Some(Ordering::Less) => "bad",
            _ => "",
        };
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td class=\"{class}\">{}</td></tr>",
            Escaped(name),
            number(a),
            number(b),
            difference(a, b)
        );
    }
    let _ = write!(
        page,
        "</tbody></table><p class=\"note\">{}</p></div>",
        Escaped(&verdict(comparison, [&first, &second]))
    );
    for subject in &subjects {
        let _ = write!(page, "<h2>{}</h2>", Escaped(&subject.name()));
        tiles(&mut page, subject.evaluation);
        section(&mut page, subject);
        page.push_str("<h2>Model</h2><div class=\"cards\">");
        model(&mut page, subject.manifest);
        page.push_str("</div>");
    }
    page.push_str("<h2>Data</h2><div class=\"cards\">");
    facts(&mut page, "Rows", data.iter().cloned());
    page.push_str("</div>");
    close(page)
}

fn open(title: &str, about: &str) -> String {
    // The policy is a second lock behind the escaping: nothing is fetched and nothing runs, whatever a name holds.
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}: evaluation</title><style>{STYLE}</style></head><body><main>\
         <h1>{title}</h1><p class=\"about\">{about}</p>",
        title = Escaped(title),
        about = Escaped(about),
    )
}

fn close(mut page: String) -> String {
    let _ = writeln!(page, "<footer>weir {}</footer></main></body></html>", env!("CARGO_PKG_VERSION"));
    page
}

fn about(subject: &Subject<'_>) -> String {
    let Manifest { signature, created, .. } = subject.manifest;
    let predicts = match &signature.target {
        Target::Classification { name, classes } if classes.len() <= 4 => format!("{name}: {}", classes.join(" or ")),
        Target::Classification { name, classes } => format!("{name}, one of {} classes", classes.len()),
        Target::Regression { names } => names.join(", "),
    };
    let rows = count(subject.evaluation.rows as u64);
    format!("Predicts {predicts} from {} features. Tested on {rows} rows. Made {created}.", signature.features.len())
}

/// Whether the model is better than one answer for all, and the warnings.
fn verdict_on(page: &mut String, evaluation: &Evaluation) {
    if let Some(reference) = &evaluation.reference {
        let _ = write!(page, "<p class=\"about\">Reference: {}.</p>", Escaped(&against_reference(reference)));
    }
    if evaluation.warnings.is_empty() {
        return;
    }
    page.push_str("<div class=\"card wide\"><h3>Warnings</h3><table><tbody>");
    for warning in &evaluation.warnings {
        let kind = words(&warning.kind);
        let _ =
            write!(page, "<tr><th class=\"bad\">{}</th><td>{}</td></tr>", Escaped(&kind), Escaped(&warning.message));
    }
    page.push_str("</tbody></table></div>");
}

/// The metrics that say most, large.
fn tiles(page: &mut String, evaluation: &Evaluation) {
    let headline = metric::headline(&evaluation.metrics);
    if headline.is_empty() {
        page.push_str("<p class=\"note\">There were no rows to test on.</p>");
        return;
    }
    page.push_str("<div class=\"tiles\">");
    for (name, value) in headline {
        let _ = write!(page, "<div class=\"tile\"><b>{}</b><span>{}</span></div>", number(value), words(name));
    }
    page.push_str("</div>");
}

/// Plots and tables of one model.
fn section(page: &mut String, subject: &Subject<'_>) {
    let evaluation = subject.evaluation;
    if evaluation.not_finite > 0 {
        let rows = count(evaluation.not_finite as u64);
        let _ = write!(page, "<p class=\"note\">{rows} more rows were left out: the model's answer isn't finite.</p>");
    }
    let figures = plots::figures(evaluation);
    if !figures.is_empty() {
        let _ = write!(page, "<h2>Plots</h2><div class=\"plots\">{figures}</div>");
    }
    if evaluation.metrics.is_empty() {
        return;
    }
    page.push_str("<h2>Metrics</h2>");
    if let Some(Detail::Classification(classes)) = &evaluation.detail {
        class_table(page, classes, evaluation);
        threshold_table(page, classes);
    }
    page.push_str("<div class=\"cards\">");
    let rows = |metrics: &BTreeMap<String, f64>| -> Vec<(String, String)> {
        metric::in_order(metrics).into_iter().map(|(name, value)| (words(name), number(value))).collect()
    };
    let undefined = evaluation.undefined.iter().map(|(name, why)| (words(name), format!("undefined, {why}")));
    facts(page, "All rows", rows(&evaluation.metrics).into_iter().chain(undefined));
    if let Some(Detail::Regression { outputs }) = &evaluation.detail
        && outputs.len() > 1
    {
        outputs.iter().for_each(|output| facts(page, &output.name, rows(&output.metrics).into_iter()));
    }
    page.push_str("</div>");
}

fn class_table(page: &mut String, classes: &Classes, evaluation: &Evaluation) {
    page.push_str("<div class=\"card wide\"><h3>By class</h3><table><thead><tr><th></th>");
    for head in ["precision", "recall", "F1", "ROC AUC", "avg. precision", "rows"] {
        let _ = write!(page, "<th>{head}</th>");
    }
    page.push_str("</tr></thead><tbody>");
    let cell = |value: Option<f64>| value.map_or("–".into(), number);
    for class in &classes.classes {
        let _ = write!(page, "<tr><th>{}</th>", Escaped(&class.name));
        let values =
            [Some(class.precision), Some(class.recall), Some(class.f1), class.roc_auc, class.average_precision];
        values.into_iter().for_each(|value| {
            let _ = write!(page, "<td>{}</td>", cell(value));
        });
        let _ = write!(page, "<td>{}</td></tr>", count(class.rows));
    }
    for (mean, roc_auc) in [("macro", "roc_auc_ovr"), ("weighted", "roc_auc_ovr_weighted")] {
        let _ = write!(page, "<tr class=\"mean\"><th>{mean} mean</th>");
        let of = |name: &str| evaluation.metrics.get(name).copied();
        let names = ["precision", "recall", "f1"].map(|name| format!("{name}_{mean}"));
        let values = names.iter().map(|name| of(name)).chain([of(roc_auc), of(&format!("average_precision_{mean}"))]);
        values.for_each(|value| {
            let _ = write!(page, "<td>{}</td>", cell(value));
        });
        let _ = write!(page, "<td>{}</td></tr>", count(evaluation.rows as u64));
    }
    page.push_str("</tbody></table></div>");
}

/// What some thresholds mean, if there are two classes.
fn threshold_table(page: &mut String, classes: &Classes) {
    let (Some(positive), rows) = (&classes.positive, shown_thresholds(classes)) else { return };
    if rows.is_empty() {
        return;
    }
    let has_cost = rows.iter().any(|(row, _)| row.cost.is_some());
    let _ = write!(
        page,
        "<div class=\"card wide\"><h3>Thresholds</h3><p class=\"note\">What it means to predict {} from a probability \
         on.</p><table><thead><tr><th></th><th>precision</th><th>recall</th><th>F1</th><th>flagged</th>{}</tr></thead><tbody>",
        Escaped(positive),
        if has_cost { "<th>cost</th>" } else { "" }
    );
    for (row, is_used) in rows {
        let used = if is_used { " (used)" } else { "" };
        let cells =
            [number(row.precision), number(row.recall), number(row.f1), format!("{:.2} %", row.flagged * 100.0)];
        let cost = has_cost.then(|| row.cost.map_or("–".into(), number));
        let _ = write!(page, "<tr><th>{}{used}</th>", row.threshold);
        cells.into_iter().chain(cost).for_each(|cell| {
            let _ = write!(page, "<td>{cell}</td>");
        });
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

/// What the model is and how it was made.
fn model(page: &mut String, manifest: &Manifest) {
    let Manifest { network, training, parent, signature, .. } = manifest;
    let widths = network.layers.first().map(|layer| layer.inputs).into_iter();
    let widths: Vec<String> =
        widths.chain(network.layers.iter().map(|layer| layer.outputs)).map(|width| width.to_string()).collect();
    let parameters = network.layers.iter().map(|layer| (layer.inputs + 1) * layer.outputs).sum::<usize>();
    let mut about = vec![
        ("name".to_owned(), manifest.name.clone()),
        ("version".to_owned(), manifest.version.to_string()),
        ("made".to_owned(), manifest.created.clone()),
        ("network".to_owned(), widths.join("-")),
        ("parameters".to_owned(), count(parameters as u64)),
    ];
    about.extend(parent.map(|parent| ("made from version".to_owned(), parent.to_string())));
    facts(page, "Model", about.into_iter());
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let recipe = training.recipe.iter().filter(|(_, value)| !value.is_null());
    facts(page, "Training", recipe.map(|(name, value)| (words(name), text(value))));
    let features = signature.features.iter().map(|feature| {
        let kind = match &feature.kind {
            Kind::Numeric => "number".into(),
            Kind::Time => "date or time".into(),
            Kind::Categorical { categories, .. } => format!("{} categories", count(categories.len() as u64)),
        };
        (feature.name.clone(), kind)
    });
    facts(page, "Features", features);
}

/// A small table of words and what they are; nothing if there are none.
fn facts(page: &mut String, title: &str, facts: impl Iterator<Item = (String, String)>) {
    let mut facts = facts.peekable();
    if facts.peek().is_none() {
        return;
    }
    let _ = write!(page, "<div class=\"card\"><h3>{}</h3><table><tbody>", Escaped(title));
    for (name, value) in facts {
        let _ = write!(page, "<tr><th>{}</th><td>{}</td></tr>", Escaped(&name), Escaped(&value));
    }
    page.push_str("</tbody></table></div>");
}

/// A metric's or a setting's name as people say it.
fn words(name: &str) -> String {
    match name {
        "f1" => "F1".into(),
        "r2" => "R²".into(),
        "mae" => "mean absolute error".into(),
        "rmse" => "root mean squared error".into(),
        "brier_score" => "Brier score".into(),
        _ => {
            name.replace('_', " ").replace("roc auc", "ROC AUC").replace("f1 ", "F1 ").replace(" ovr", ", one vs rest")
        }
    }
}
