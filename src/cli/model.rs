//! `weir model`: the versions and aliases of a store, for a person and for scripts.

mod decide;
mod export;
mod import;
mod prune;
mod quantize;
mod shrink;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::SystemTime;

use anyhow::Context as _;
use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

use super::data::first_few;
use crate::model::bundle::{LayerShape, Manifest, Network};
use crate::model::decision::Decision;
use crate::model::evaluation::Evaluation;
use crate::model::reference::{ModelRef, ReferenceError, check_alias};
use crate::model::signature::{Feature, Kind, Missing, Signature, Target, Unknown};
use crate::model::store::{Store, StoreError};
use crate::printable::harmless;
use crate::report;

/// Look at the versions in a store, check them, and move aliases.
#[derive(Debug, clap::Subcommand)]
pub enum ModelCommand {
    /// List every version of every model
    #[command(after_help = "Example:\n  weir model list --store file:models")]
    List {
        /// Where the models are.
        #[command(flatten)]
        store: StoreOption,
        /// Print a JSON array instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show what a version takes, answers and scored in training
    #[command(after_help = "Example:\n  weir model show flights@production")]
    Show {
        /// NAME@VERSION, NAME@ALIAS or NAME@latest
        #[arg(value_name = "MODEL_REF")]
        reference: ModelRef,
        /// Where the models are.
        #[command(flatten)]
        store: StoreOption,
        /// Print JSON: digest, aliases, the whole manifest and the evaluation with its curves
        #[arg(long)]
        json: bool,
    },
    /// Verify a version and point an alias to it; workers follow within the store's poll interval
    #[command(after_help = "Example:\n  weir model promote flights@7 production")]
    Promote {
        /// NAME@VERSION, NAME@ALIAS or NAME@latest
        #[arg(value_name = "MODEL_REF")]
        reference: ModelRef,
        /// The alias to move, for example production
        #[arg(value_parser = parse_alias)]
        alias: String,
        /// Where the models are.
        #[command(flatten)]
        store: StoreOption,
    },
    /// Delete versions that no alias points to; their numbers aren't given out again
    #[command(after_help = "Example:\n  weir model delete flights@3 flights@4")]
    Delete {
        /// NAME@VERSION
        #[arg(value_name = "MODEL_REF", required = true)]
        references: Vec<ModelRef>,
        /// Where the models are.
        #[command(flatten)]
        store: StoreOption,
    },
    /// Make a version that predicts the positive of two classes from another probability on
    #[command(
        after_help = "Examples:\n  weir model decide fraud@latest --threshold cost=fp:1,fn:50\n  weir model decide fraud@3 --threshold 'precision>=0.5' --data july.csv.gz --promote production"
    )]
    Decide(decide::Args),
    /// Write a version as an ONNX file, for other runtimes
    #[command(after_help = "Example:\n  weir model export flights@production --onnx flights.onnx")]
    Export(export::Args),
    /// Make a version of a model that scikit-learn or PyTorch has exported: as ONNX, or its tensors
    #[command(after_help = import::EXAMPLE)]
    Import(import::Args),
    /// Make a version with weights of fewer bits; refused if that costs accuracy
    #[command(after_help = "Example:\n  weir model quantize flights@production --to int8 --data july.csv.gz")]
    Quantize(quantize::Args),
    /// Make a version with fewer neurons; refused if that costs accuracy
    #[command(after_help = "Example:\n  weir model prune flights@production --share 0.3 --data july.csv.gz")]
    Prune(prune::Args),
    /// Check a version as a worker does before it serves it: digests, shapes, golden rows
    #[command(after_help = "Example:\n  weir model verify flights@latest")]
    Verify {
        /// NAME@VERSION, NAME@ALIAS or NAME@latest
        #[arg(value_name = "MODEL_REF")]
        reference: ModelRef,
        /// Where the models are.
        #[command(flatten)]
        store: StoreOption,
    },
}

/// Where the models are.
#[derive(Debug, clap::Args)]
pub struct StoreOption {
    /// Where the models are: file:PATH or a path
    #[arg(long = "store", value_name = "URL", default_value = "file:models")]
    url: String,
}

/// Runs the verb; what it reports goes to `out`.
pub fn run(command: &ModelCommand, out: &mut impl Write) -> anyhow::Result<()> {
    match command {
        ModelCommand::List { store, json } => list(&store.open()?, *json, out),
        ModelCommand::Show { reference, store, json } => show(&store.open()?, reference, *json, out),
        ModelCommand::Promote { reference, alias, store } => promote(&store.open()?, reference, alias, out),
        ModelCommand::Delete { references, store } => delete(&store.open()?, references, out),
        ModelCommand::Decide(args) => decide::run(args, out),
        ModelCommand::Export(args) => export::run(args, out),
        ModelCommand::Import(args) => import::run(args, out),
        ModelCommand::Quantize(args) => quantize::run(args, out),
        ModelCommand::Prune(args) => prune::run(args, out),
        ModelCommand::Verify { reference, store } => verify(&store.open()?, reference, out),
    }
}

impl StoreOption {
    fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.url)
    }
}

fn parse_alias(text: &str) -> Result<String, ReferenceError> {
    check_alias(text)?;
    Ok(text.into())
}

/// A version in `list --json`; either `error` says why it is unreadable, or the rest is there.
#[derive(Serialize)]
struct ListedVersion {
    model: String,
    version: u64,
    aliases: Vec<String>,
    #[serde(flatten)]
    details: Details,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details {
    Readable { created: String, bytes: u64, parent: Option<u64>, network: Vec<usize>, metrics: BTreeMap<String, f64> },
    Broken { error: String },
}

fn list(store: &Store, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let mut versions = Vec::new();
    for model in store.models()? {
        let aliases = store.aliases(&model)?;
        for version in store.versions(&model)? {
            // One damaged version must not hide the others.
            let read = store.manifest(&model, version).and_then(|it| Ok((it, store.size(&model, version)?)));
            let details = match read {
                Ok((manifest, bytes)) => Details::Readable {
                    created: manifest.created,
                    bytes,
                    parent: manifest.parent,
                    network: widths(&manifest.network),
                    metrics: manifest.training.metrics,
                },
                Err(error) => Details::Broken { error: format!("{:#}", anyhow::Error::from(error)) },
            };
            versions.push(ListedVersion {
                model: model.clone(),
                version,
                aliases: names_of(version, &aliases),
                details,
            });
        }
    }
    if json {
        serde_json::to_writer_pretty(&mut *out, &versions)?;
        writeln!(out)?;
    } else if versions.is_empty() {
        writeln!(out, "no models in {}", store.place())?;
    } else {
        let heads = ["MODEL", "VERSION", "ALIASES", "AGE", "SIZE", "PARENT", "NETWORK", "METRICS"];
        let heads = heads.map(String::from).to_vec();
        let now = SystemTime::now();
        let rows = versions.iter().map(|listed| {
            let mut row = vec![listed.model.clone(), listed.version.to_string(), or_dash(listed.aliases.join(", "))];
            match &listed.details {
                Details::Readable { created, bytes, parent, network, metrics } => row.extend([
                    age(created, now),
                    HumanBytes(*bytes).to_string(),
                    or_dash(parent.map(|parent| parent.to_string()).unwrap_or_default()),
                    dashed(network),
                    or_dash(summary(metrics)),
                ]),
                Details::Broken { error } => row.push(format!("unreadable: {error}")),
            }
            row
        });
        write_table(out, "", std::iter::once(heads).chain(rows).collect())?;
    }
    Ok(())
}

/// What `show --json` prints.
#[derive(Serialize)]
struct VersionDetails {
    digest: String,
    aliases: Vec<String>,
    manifest: Manifest,
    evaluation: Option<Evaluation>,
}

fn show(store: &Store, reference: &ModelRef, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let version = store.resolve(reference)?;
    let manifest = store.manifest(&reference.name, version)?;
    let aliases = names_of(version, &store.aliases(&reference.name)?);
    let digest = store.digest(&reference.name, version)?;
    let evaluation = store.evaluation(&reference.name, version)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &VersionDetails { digest, aliases, manifest, evaluation })?;
        writeln!(out)?;
        return Ok(());
    }
    let Manifest { name, created, parent, signature, network, training, .. } = &manifest;
    writeln!(out, "{name} version {version}")?;
    let parent = parent.map_or_else(|| "-".into(), |parent| parent.to_string());
    let decision = manifest.decision.as_ref().map_or_else(|| "-".into(), describe_decision);
    let rows = [
        ("created", created.clone()),
        ("digest", digest),
        ("aliases", or_dash(aliases.join(", "))),
        ("parent", parent),
        ("answers", answers(signature)),
        ("decides", decision),
        ("network", describe_network(network)),
    ];
    write_table(out, "  ", rows.map(|(key, value)| vec![key.into(), value]).to_vec())?;
    writeln!(out, "features, in the order of a positional record")?;
    write_table(out, "  ", signature.features.iter().map(describe_feature).collect())?;
    if !training.metrics.is_empty() {
        writeln!(out, "metrics")?;
        report::write_metrics(out, &training.metrics)?;
    }
    if let Some(evaluation) = &evaluation {
        report::write_detail(out, evaluation)?;
    }
    if !training.recipe.is_empty() {
        writeln!(out, "recipe")?;
        let rows = training.recipe.iter().map(|(key, value)| vec![key.clone(), value.to_string()]);
        write_table(out, "  ", rows.collect())?;
    }
    Ok(())
}

fn promote(store: &Store, reference: &ModelRef, alias: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let name = &reference.name;
    let version = store.resolve(reference)?;
    // No worker would take a version that doesn't load: better said here, before the alias moves.
    store.load(name, version).with_context(|| format!("{name}@{alias} stays as it is"))?;
    match store.promote(name, alias, version)? {
        Some(before) if before == version => writeln!(out, "{name}@{alias}: version {version} as before")?,
        Some(before) => writeln!(out, "{name}@{alias}: version {before} → {version}")?,
        None => writeln!(out, "{name}@{alias}: new alias → version {version}")?,
    }
    Ok(())
}

fn delete(store: &Store, references: &[ModelRef], out: &mut impl Write) -> anyhow::Result<()> {
    // All are looked at before the first one goes: `flights@latest` would be another version after it.
    let mut versions = Vec::new();
    for reference in references {
        versions.push((&reference.name, store.resolve(reference)?));
    }
    for (name, version) in versions {
        let freed = store.delete(name, version)?;
        writeln!(out, "{name}@{version} deleted: {}", HumanBytes(freed))?;
    }
    Ok(())
}

fn verify(store: &Store, reference: &ModelRef, out: &mut impl Write) -> anyhow::Result<()> {
    let version = store.resolve(reference)?;
    let mut written = Ok(());
    let model = store.verify(&reference.name, version, |check| {
        if written.is_ok() {
            written = writeln!(out, "ok  {check}");
        }
    });
    written?;
    let model = model?;
    writeln!(out, "{} version {version} can serve; digest {}", model.name(), model.digest)?;
    Ok(())
}

fn names_of(version: u64, aliases: &BTreeMap<String, u64>) -> Vec<String> {
    aliases.iter().filter(|&(_, &target)| target == version).map(|(alias, _)| alias.clone()).collect()
}

fn widths(network: &Network) -> Vec<usize> {
    let input = network.layers.first().map(|layer| layer.inputs);
    input.into_iter().chain(network.layers.iter().map(|layer| layer.outputs)).collect()
}

fn describe_network(network: &Network) -> String {
    let activation = |layer: &LayerShape| match layer.passed {
        0 => layer.activation.to_string(),
        passed => format!("{} beside {passed}", layer.activation),
    };
    let activations: Vec<_> = network.layers.iter().map(activation).collect();
    format!("{} ({})", dashed(&widths(network)), activations.join(", "))
}

/// Which class is positive, and from which probability on.
fn describe_decision(Decision { positive, threshold }: &Decision) -> String {
    match threshold {
        Some(threshold) => format!("{} from {threshold} on", harmless(positive)),
        None => format!("{} is positive", harmless(positive)),
    }
}

fn answers(signature: &Signature) -> String {
    match &signature.target {
        Target::Classification { name, classes } => format!("{}, one of {}", harmless(name), first_few(classes)),
        Target::Regression { names } => first_few(names),
    }
}

/// Name, kind and what happens to a gap.
fn describe_feature(feature: &Feature) -> Vec<String> {
    let missing = match feature.missing {
        Missing::Reject => "missing: rejected".into(),
        Missing::Mean { value } => format!("missing: mean {value}"),
        Missing::Median { value } => format!("missing: median {value}"),
        Missing::MostFrequent { value } => format!("missing: most frequent {value}"),
        Missing::Constant { value } => format!("missing: {value}"),
        Missing::Category { index } => match &feature.kind {
            Kind::Categorical { categories, .. } if index < categories.len() => {
                format!("missing: {:?}", categories[index])
            }
            _ => format!("missing: category {index}"),
        },
        Missing::Zeros => "missing: zeros".into(),
    };
    let (kind, gaps) = match &feature.kind {
        Kind::Numeric => ("number".into(), missing),
        Kind::Time => ("date or time".into(), missing),
        Kind::Categorical { categories, unknown } => {
            let unknown = match unknown {
                Unknown::Reject => "rejected",
                Unknown::Zeros => "zeros",
                Unknown::Other => "other",
            };
            (format!("{} categories", categories.len()), format!("{missing}, unknown: {unknown}"))
        }
    };
    vec![feature.name.clone(), kind, gaps]
}

/// How long ago an RFC 3339 time was, in its largest unit; the time itself if it isn't one, or lies ahead.
fn age(created: &str, now: SystemTime) -> String {
    let created_at = humantime::parse_rfc3339(created).ok();
    match created_at.and_then(|created| now.duration_since(created).ok()) {
        Some(age) => HumanDuration(age).to_string(),
        None => created.into(),
    }
}

/// The first metrics, as many as a line has room for.
fn summary(metrics: &BTreeMap<String, f64>) -> String {
    let shown: Vec<_> = metrics.iter().take(3).map(|(name, value)| format!("{name} {value:.4}")).collect();
    shown.join(", ")
}

fn dashed(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}

/// Writes rows with their columns aligned; the last cell of a row may be of any length.
pub(super) fn write_table(out: &mut impl Write, indent: &str, rows: Vec<Vec<String>>) -> std::io::Result<()> {
    let plain = |cell: &String| harmless(cell).into_owned();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in &rows {
        if let Some((_, padded)) = row.split_last() {
            for (width, cell) in widths.iter_mut().zip(padded) {
                *width = (*width).max(cell.chars().count());
            }
        }
    }
    for row in &rows {
        let Some((last, padded)) = row.split_last() else { continue };
        write!(out, "{indent}")?;
        for (cell, &width) in padded.iter().zip(&widths) {
            // Not by a width of the format: it panics beyond 65,535.
            write!(out, "{cell}{}  ", " ".repeat(width - cell.chars().count()))?;
        }
        writeln!(out, "{last}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory, Parser};
    use tempfile::TempDir;

    use super::*;
    use crate::model::bundle::Draft;
    use crate::model::testing;
    use crate::train::evaluate::classification;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        command: ModelCommand,
    }

    /// A store with two versions of `flights` and one of `delay`; `production` is `flights@1`.
    fn store() -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().to_str().unwrap()).unwrap();
        store.publish(&testing::classification("flights")).unwrap();
        store.publish(&testing::classification("flights")).unwrap();
        store.publish(&testing::regression("delay", 1.0)).unwrap();
        store.promote("flights", "production", 1).unwrap();
        directory
    }

    fn weir_model(store: &TempDir, arguments: &[&str]) -> anyhow::Result<String> {
        let option = ["--store", store.path().to_str().unwrap()];
        let cli = Cli::try_parse_from(["model"].iter().chain(arguments).chain(&option))?;
        let mut out = Vec::new();
        run(&cli.command, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_verb_has_help_with_an_example() {
        for verb in Cli::command().get_subcommands() {
            let help = verb.get_after_help().unwrap().to_string();
            let example = help.lines().nth(1).unwrap().trim().strip_prefix("weir ").unwrap();
            Cli::try_parse_from(example.split(' ')).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }

    #[test]
    fn list_is_a_table_or_json() {
        let store = store();
        let table = weir_model(&store, &["list"]).unwrap();
        let lines: Vec<_> = table.lines().collect();
        let heads: Vec<_> = lines[0].split_whitespace().collect();
        assert_eq!(heads, ["MODEL", "VERSION", "ALIASES", "AGE", "SIZE", "PARENT", "NETWORK", "METRICS"]);
        assert_eq!(lines.len(), 4);
        assert!(lines[1].starts_with("delay    1        -           "), "{table}");
        assert!(lines[2].starts_with("flights  1        production  "), "{table}");
        assert!(lines[2].contains("KiB  -       4-3-2    accuracy 0.7500"), "{table}");

        let json: serde_json::Value = serde_json::from_str(&weir_model(&store, &["list", "--json"]).unwrap()).unwrap();
        assert_eq!(json[1]["model"], "flights");
        assert_eq!(json[1]["aliases"], serde_json::json!(["production"]));
        assert_eq!(json[2]["network"], serde_json::json!([4, 3, 2]));

        fs::write(store.path().join("flights/1/model.json"), "{").unwrap();
        let table = weir_model(&store, &["list"]).unwrap();
        assert!(table.contains("production  unreadable: model \"flights\" version 1"), "{table}");
        assert_eq!(table.lines().count(), 4);
        let empty = tempfile::tempdir().unwrap();
        assert!(weir_model(&empty, &["list"]).unwrap().starts_with("no models in /"));
        assert_eq!(weir_model(&empty, &["list", "--json"]).unwrap(), "[]\n");
    }

    #[test]
    fn show_prints_what_a_version_is() {
        let store = store();
        let text = weir_model(&store, &["show", "flights@production"]).unwrap();
        for part in [
            "flights version 1\n",
            "  aliases  production\n",
            "  answers  y, one of no, yes\n",
            "  network  4-3-2 (relu, identity)\n",
            "  x       number        missing: mean 1.5\n",
            "  colour  3 categories  missing: zeros, unknown: zeros\n",
            "  accuracy  0.7500\n",
            "  solver  \"by hand\"\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let json = weir_model(&store, &["show", "flights@2", "--json"]).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["manifest"]["version"], 2);
        assert_eq!(json["digest"].as_str().unwrap().len(), 64);
        assert!(weir_model(&store, &["show", "flights@3"]).is_err());
    }

    #[test]
    fn show_prints_how_good_a_version_was_found_to_be() {
        let folder = store();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let probabilities = ndarray::array![[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]];
        let evaluation = classification(&["no".into(), "yes".into()], &[0, 1, 1], probabilities.view());
        let draft = Draft { evaluation: Some(evaluation.clone()), ..testing::classification("flights") };
        store.publish(&draft).unwrap();
        let text = weir_model(&folder, &["show", "flights@3"]).unwrap();
        for part in [
            "\nclasses\n",
            "  yes     1.0000  0.5000  0.6667   1.0000             1.0000     2\n",
            "\nconfusion matrix: rows are actual classes, columns predicted ones\n       no  yes\n  no    1    0\n",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&weir_model(&folder, &["show", "flights@3", "--json"]).unwrap()).unwrap();
        assert_eq!(serde_json::from_value::<Evaluation>(json["evaluation"].clone()).unwrap(), evaluation);
        let verified = weir_model(&folder, &["verify", "flights@3"]).unwrap();
        assert!(verified.contains("ok  evaluation.json has the sha256"), "{verified}");
    }

    #[test]
    fn promote_moves_an_alias_and_says_from_where() {
        let store = store();
        let promote = |reference, alias| weir_model(&store, &["promote", reference, alias]);
        assert_eq!(promote("flights@latest", "production").unwrap(), "flights@production: version 1 → 2\n");
        assert_eq!(promote("flights@2", "production").unwrap(), "flights@production: version 2 as before\n");
        assert_eq!(promote("flights@1", "canary").unwrap(), "flights@canary: new alias → version 1\n");
        assert!(promote("flights@canary", "latest").unwrap_err().is::<clap::Error>());
        assert!(promote("flights", "production").unwrap_err().is::<clap::Error>());

        fs::write(store.path().join("flights/1/golden.json"), "{}").unwrap();
        let error = format!("{:#}", promote("flights@1", "production").unwrap_err());
        assert!(error.starts_with("flights@production stays as it is: model \"flights\" version 1"), "{error}");
        assert!(error.contains("golden.json has sha256"), "{error}");
        assert!(weir_model(&store, &["show", "flights@production"]).unwrap().starts_with("flights version 2\n"));
    }

    #[test]
    fn delete_frees_a_version_that_nothing_points_to() {
        let store = store();
        let refused = format!("{:#}", weir_model(&store, &["delete", "flights@2", "flights@1"]).unwrap_err());
        assert!(refused.starts_with("flights@1 is what production points to: move the alias first"), "{refused}");
        let left = weir_model(&store, &["list"]).unwrap();
        assert!(left.contains("flights  1") && !left.contains("flights  2"), "{left}");
        // Not even the directory's name is free.
        let gone = format!("{:#}", weir_model(&store, &["delete", "flights@2"]).unwrap_err());
        assert!(gone.contains("has no version 2"), "{gone}");
        assert_eq!(fs::read_dir(store.path().join("flights/2")).unwrap().count(), 0);
    }

    #[test]
    fn an_age_is_printed_in_its_largest_unit() {
        let now = humantime::parse_rfc3339("2026-03-10T12:00:00Z").unwrap();
        assert_eq!(age("2026-03-07T12:00:00Z", now), "3 days");
        assert_eq!(age("2026-03-10T11:59:15Z", now), "45 seconds");
        assert_eq!(age("2027-01-01T00:00:00Z", now), "2027-01-01T00:00:00Z");
    }

    #[test]
    fn verify_says_each_check() {
        let store = store();
        let text = weir_model(&store, &["verify", "delay@1"]).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert!(lines[..6].iter().all(|line| line.starts_with("ok  ")), "{text}");
        assert_eq!(lines[5], "ok  3 golden rows answered as published: largest difference 0.0e0");
        assert!(lines[6].starts_with("delay version 1 can serve; digest "), "{text}");

        let weights = store.path().join("delay/1/weights.safetensors");
        let mut bytes = fs::read(&weights).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&weights, bytes).unwrap();
        assert!(weir_model(&store, &["verify", "delay@1"]).is_err());
    }
}
