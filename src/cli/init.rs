//! `weir init`: a configuration from a model and the names of topics.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context, anyhow};

use super::console;
use crate::config::Config;
use crate::model::reference::ModelRef;
use crate::model::signature::{Feature, Kind, Missing};
use crate::model::store::Store;
use crate::printable::{listed, shown};

/// Print a configuration that serves a model.
///
/// The configuration has one route, with the keys that it needs, and lists what a record has to have. `weir check
/// --create-topics` creates the topics that aren't there.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  weir init flights@production --input flights.features --output flights.predictions \
        --fields id > flights.toml"
)]
pub struct Args {
    /// The model: NAME@VERSION, NAME@ALIAS or NAME@latest.
    #[arg(value_name = "MODEL_REF")]
    model: ModelRef,

    /// The topics that records come from.
    #[arg(long, value_name = "TOPIC,…", value_delimiter = ',', required = true)]
    input: Vec<String>,

    /// The topic that predictions go to.
    #[arg(long, value_name = "TOPIC")]
    output: String,

    /// The topic that rejected records go to [default: ROUTE.dead-letter].
    #[arg(long, value_name = "TOPIC")]
    dead_letter: Option<String>,

    /// The name of the route [default: the name of the model].
    #[arg(long, value_name = "NAME")]
    route: Option<String>,

    /// Members of the record to copy to the prediction: names, or dotted paths.
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    fields: Vec<String>,

    /// The Kafka brokers.
    #[arg(long, value_name = "HOST:PORT,…", default_value = "localhost:9092")]
    brokers: String,

    /// The consumer group [default: weir-ROUTE].
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,

    /// Where the bundles live.
    #[arg(long, value_name = "URL", default_value = "file:models")]
    store: String,
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.store)?;
    let model = store.load(&args.model.name, store.resolve(&args.model)?)?;
    let text = args.configuration(model.version(), &model.signature().features)?;
    Config::parse(&text)
        .map_err(|error| anyhow!(error.mistakes.join("\n")))
        .context("these names make no configuration")?;
    console::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn configuration(&self, version: u64, features: &[Feature]) -> anyhow::Result<String> {
        let route = self.route.as_deref().unwrap_or(&self.model.name);
        let dead_letter = self.dead_letter.clone().unwrap_or_else(|| format!("{route}.dead-letter"));
        let group = self.group.clone().unwrap_or_else(|| format!("weir-{route}"));
        let mut text = format!("# {}, version {version}, takes JSON records with these members:\n", self.model);
        for feature in features {
            writeln!(text, "#   {}", describe(feature))?;
        }
        // A JSON string is a TOML string, too.
        let [brokers, group, url, name, model] =
            [&self.brokers, &group, &self.store, route, &self.model.to_string()].map(quoted);
        write!(
            text,
            "# `weir check --defaults` prints every other key with its default.\n\n\
             [kafka]\nbrokers = {brokers}\ngroup_id = {group}\n\n[store]\nurl = {url}\n\n\
             [[route]]\nname = {name}\nmodel = {model}\n\n[route.input]\ntopics = [{}]\n\n[route.output]\ntopic = {}\n",
            self.input.iter().map(|topic| quoted(topic)).collect::<Vec<_>>().join(", "),
            quoted(&self.output),
        )?;
        if !self.fields.is_empty() {
            let fields: Vec<String> = self.fields.iter().map(|field| quoted(field)).collect();
            writeln!(text, "fields = [{}]", fields.join(", "))?;
        }
        writeln!(text, "\n[route.dead_letter]\ntopic = {}", quoted(&dead_letter))?;
        Ok(text)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A feature for a person, on one line.
fn describe(feature: &Feature) -> String {
    let kind = match &feature.kind {
        Kind::Numeric => "a number".into(),
        Kind::Time => "a date or time".into(),
        Kind::Categorical { categories, .. } => format!("one of {}", listed(categories.iter().map(String::as_str))),
    };
    let required = if feature.missing == Missing::Reject { ", required" } else { "" };
    format!("{}: {kind}{required}", shown(&feature.name))
}
