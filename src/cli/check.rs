//! `weir check`: what is wrong with a configuration, its broker, topics, store and models, all at once.

mod records;
mod topics;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::topics::NewTopics;
use crate::config::{Config, DEFAULTS};
use crate::kafka::admin::{Admin, AdminError, Needs, OutputLimits, Resource};
use crate::kafka::consumer::Consumer;
use crate::kafka::producer::{Producer, TransactionError};
use crate::logging::chain;
use crate::model::Model;
use crate::model::store::Store;
use crate::route::RouteConfig;
use crate::worker::Delivery;

/// How long the answer to a transaction's begin may take.
const TRANSACTION_PATIENCE: Duration = Duration::from_secs(5);

/// Check a configuration, and the broker, topics, store and models that it names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  weir check -c flights.toml\n  weir check --offline -c flights.toml\n  \
        weir check --create-topics --partitions 4 -c flights.toml\n  weir check --defaults")]
pub struct Args {
    /// The configuration file (TOML).
    #[arg(short, long, value_name = "FILE", required_unless_present = "defaults")]
    config: Option<PathBuf>,
    /// Check the configuration alone: ask no broker and no store.
    #[arg(long)]
    offline: bool,
    /// Create the topics that aren't there: outputs with as many partitions as their inputs, all others as the brokers'
    /// defaults say.
    #[arg(long, conflicts_with = "offline")]
    create_topics: bool,
    /// The partitions of input topics that --create-topics creates [default: as the brokers' defaults say].
    #[arg(long, value_name = "N", requires = "create_topics", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Print every key with its default, and end.
    #[arg(long, conflicts_with_all = ["config", "offline", "create_topics", "json"])]
    defaults: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    level: FindingLevel,
    subject: String,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum FindingLevel {
    Ok,
    Warning,
    Failed,
}

/// Runs the verb: 0 when nothing failed, 1 when something did, 2 when the configuration itself is wrong.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut out = super::console::stdout();
    let Some(path) = args.config.filter(|_| !args.defaults) else {
        out.write_all(DEFAULTS.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    };
    let mut report = CheckReport::default();
    let mut code = ExitCode::SUCCESS;
    match Config::load(&path) {
        Ok(config) => {
            let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
            report.ok("configuration", format!("{}, routes: {}", path.display(), routes.join(", ")));
            if !args.offline {
                let models = check_models(&config, &mut report);
                let create = args.create_topics.then_some(NewTopics { partitions: args.partitions });
                check_brokers(&config, &models, create, &mut report)?;
            }
            if report.0.iter().any(|finding| finding.level == FindingLevel::Failed) {
                code = ExitCode::from(1);
            }
        }
        Err(error) => {
            error.mistakes.into_iter().for_each(|mistake| report.failed("configuration", mistake));
            code = ExitCode::from(2);
        }
    }
    report.print(args.json, &mut out)?;
    Ok(code)
}

#[derive(Default)]
struct CheckReport(Vec<Finding>);

impl CheckReport {
    fn ok(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Finding { level: FindingLevel::Ok, subject: subject.into(), detail: detail.into() });
    }

    fn warning(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Finding { level: FindingLevel::Warning, subject: subject.into(), detail: detail.into() });
    }

    fn failed(&mut self, subject: impl Into<String>, detail: impl Into<String>) {
        self.0.push(Finding { level: FindingLevel::Failed, subject: subject.into(), detail: detail.into() });
    }

    fn failed_once(&mut self, subject: String, detail: String) {
        if !self.0.iter().any(|finding| finding.subject == subject && finding.detail == detail) {
            self.failed(subject, detail);
        }
    }

    fn print(&self, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
        if json {
            serde_json::to_writer_pretty(&mut *out, &self.0)?;
            writeln!(out)?;
            return Ok(());
        }
        for Finding { level, subject, detail } in &self.0 {
            let mark = match level {
                FindingLevel::Ok => "ok     ",
                FindingLevel::Warning => "warning",
                FindingLevel::Failed => "FAILED ",
            };
            writeln!(out, "{mark}  {subject}: {detail}")?;
        }
        Ok(())
    }
}

/// The models that can be loaded, by the names of their routes.
type Models<'c> = HashMap<&'c str, Arc<Model>>;

fn check_models<'c>(config: &'c Config, report: &mut CheckReport) -> Models<'c> {
    let mut models = Models::new();
    let store = match Store::open(&config.store.url) {
        Ok(store) => store,
        Err(error) => {
            report.failed("store", chain(&error));
            return models;
        }
    };
    for route in &config.routes {
        let subject = format!("route {}, model {}", route.name, route.model);
        let loaded = store.resolve(&route.model).and_then(|version| store.load(&route.model.name, version));
        match loaded {
            Ok(model) => {
                if route.threshold.is_some() && model.signature().target.outputs() != 2 {
                    let reason = "the route has a threshold, which only a model of two classes can have: remove it";
                    report.failed(subject.clone(), reason);
                }
                let detail = format!("version {}, digest {}, goldens pass", model.version(), model.short_digest());
                report.ok(subject, detail);
                models.insert(&route.name, Arc::new(model));
            }
            Err(error) => report.failed(subject, chain(&error)),
        }
    }
    models
}

fn check_brokers(
    config: &Config,
    models: &Models<'_>,
    create: Option<NewTopics>,
    report: &mut CheckReport,
) -> anyhow::Result<()> {
    let admin = match Admin::new(&config.kafka) {
        Ok(admin) => admin,
        Err(error) => {
            report.failed("brokers", chain(&error));
            return Ok(());
        }
    };
    // Properties that contradict each other are found only by making the clients.
    if let Err(error) = Consumer::new(&config.kafka, config.worker.group_instance_id(0).as_deref(), 1) {
        report.failed("consumer", chain(&error));
    }
    let transactional_id = config.worker.transactional_id(&config.kafka.group_id, 0);
    if let Err(error) = Producer::new(&config.kafka, &OutputLimits::default(), transactional_id) {
        report.failed("producer", chain(&error));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(create) = create {
        runtime.block_on(create.run(config, &admin, report));
    }
    for route in &config.routes {
        match runtime.block_on(admin.look(&Needs::of([route]))) {
            Ok(topics) => {
                for (name, topic) in &topics {
                    let detail = format!("{} partitions, takes {} bytes", topic.partitions, topic.max_message_bytes);
                    report.ok(format!("topic {name}"), detail);
                }
                warn_of_order(route, |name| topics.get(name).map_or(0, |topic| topic.partitions), report);
                if let Some(model) = models.get(&*route.name) {
                    records::check_records(config, route, model, report);
                }
            }
            Err(errors) => {
                let unreachable = matches!(errors.as_slice(), [AdminError::Unreachable { .. }]);
                for error in errors {
                    // The brokers and the group are the same for every route.
                    let subject = match &error {
                        AdminError::Unreachable { .. } => "brokers".to_owned(),
                        AdminError::Denied { resource: Resource::Group(_), .. } => "group".to_owned(),
                        _ => format!("route {}", route.name),
                    };
                    report.failed_once(subject, chain(&error));
                }
                if unreachable {
                    // The other routes have the same brokers.
                    return Ok(());
                }
            }
        }
    }
    check_transactions(config, report);
    Ok(())
}

/// With exactly-once: may this client run transactions? Only one that is begun shows it. Its id is like those of workers,
/// which share a prefix, and none of theirs: taking one over would throw the worker out that has it.
fn check_transactions(config: &Config, report: &mut CheckReport) {
    if config.worker.delivery != Delivery::ExactlyOnce {
        return;
    }
    let id = format!("{}-check", config.kafka.group_id);
    let Ok(producer) = Producer::new(&config.kafka, &OutputLimits::default(), Some(id)) else { return };
    let taken_over = producer.init_transactions(TRANSACTION_PATIENCE).map(|step| step.wait(TRANSACTION_PATIENCE * 2));
    if let Ok(Some(Err(error @ TransactionError::Denied { .. }))) = taken_over {
        report.failed("transactions", chain(&error));
    }
}

/// With other partition counts the records of a partition spread by key: in order per key, not per partition.
fn warn_of_order(route: &RouteConfig, partitions: impl Fn(&str) -> i32, report: &mut CheckReport) {
    let output = &route.output.topic;
    for input in route.input.topics.iter().filter(|input| partitions(input) != partitions(output)) {
        report.warning(
            format!("route {}", route.name),
            format!(
                "{input} has {} partitions and {output} has {}: predictions keep the order of their key, not of \
                 their partition",
                partitions(input),
                partitions(output)
            ),
        );
    }
}
