//! `weir demo`: the whole story on an embedded broker and real flights.
//!
//! Version 1 is trained on the winter's departures and served; the second half of the year streams through it, with a
//! broken record now and then; version 2 is trained on the whole first half meanwhile and takes over under load; and
//! at the end every record that went in has to be accounted for.

mod account;
pub mod flights;
mod traffic;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use self::account::Account;
use self::traffic::{RecentOutputs, Traffic};
use crate::broker::Broker;
use crate::config::Config;
use crate::model::store::Store;
use crate::monitor::metrics::Metrics;
use crate::serve::{self, ServeError};
use crate::train::dataset::Table;
use crate::train::recipe::{BatchSize, Solver};
use crate::train::split::Split;
use crate::train::{self, Recipe, TrainedModel};

const MODEL: &str = "flights";
const INPUT: &str = "flights.features";
const OUTPUT: &str = "flights.predictions";
const DEAD_LETTER: &str = "flights.dead-letter";
const PARTITIONS: i32 = 4;

/// From when on departures are streamed; what is before is history to train on.
const STREAM_FROM: &str = "2013-07-01";

/// The share of the stream that version 1 serves at least.
const TURN_OF_VERSION_1: f64 = 0.4;

/// The embedded broker answers a fetch that finds nothing only after this time, in milliseconds, whatever comes in
/// meanwhile; a real one answers at once when something does.
const FETCH_WAIT: (&str, i64) = ("fetch.wait.max.ms", 5);

/// How the demo runs.
#[derive(Clone, Copy, Debug)]
pub struct DemoOptions {
    /// Whether to end after half a year of departures, instead of going round and round.
    pub once: bool,
    /// Records per second.
    pub rate: u32,
}

/// Writes the story to `out`, until it is over or `interrupted` says so. Returns whether the account adds up.
pub fn run(options: DemoOptions, interrupted: impl Fn() -> bool, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut story = Story { started: Instant::now(), out };
    story.line("weir demo: flights that left New York in 2013. Will they arrive more than 15 minutes late?\n")?;
    let folder = tempfile::tempdir().context("a temporary folder for the models")?;
    let store = Store::open(&format!("file:{}", folder.path().display()))?;
    let table = flights::table(folder.path())?;

    let broker = Broker::start().context("the embedded broker")?;
    for (topic, partitions) in [(INPUT, PARTITIONS), (OUTPUT, PARTITIONS), (DEAD_LETTER, 1)] {
        broker.create_topic(topic, partitions).with_context(|| format!("creating topic {topic}"))?;
    }
    let brokers = broker.bootstrap_servers();
    story.write("broker", &format!("embedded, at {brokers}; topic {INPUT} has {PARTITIONS} partitions"))?;

    story.write("train", "version 1, on the departures of January to March")?;
    publish(&store, train_before(&table, "2013-04-01")?, &mut story)?;
    let metrics = Metrics::new(Duration::from_secs(10));
    let serving = Serving::start(config(brokers, folder.path())?, &metrics)?;
    story.write("serve", &format!("{MODEL}@production; metrics at http://{}/metrics", serving.http))?;

    story.write("train", "version 2, on January to June, while version 1 serves July onwards")?;
    let second = thread::Builder::new().name("demo-train".into()).spawn(move || train_before(&table, STREAM_FROM))?;
    let departures = flights::departures()?.into_iter().filter(|departure| departure.time.as_str() >= STREAM_FROM);
    let traffic = Traffic::start(brokers, departures.collect(), options.rate, options.once)?;
    let account = watch(traffic, second, &store, &metrics, interrupted, &mut story)?;

    serving.stop()?;
    let balance = account.balance(&metrics.totals());
    story.line(&format!("\nThe account:\n{balance}"))?;
    Ok(balance.adds_up())
}

/// Prints a line a second until the traffic is over, and moves `production` to version 2 on the way.
fn watch(
    traffic: Traffic,
    second: JoinHandle<anyhow::Result<TrainedModel>>,
    store: &Store,
    metrics: &Metrics,
    interrupted: impl Fn() -> bool,
    story: &mut Story<'_, impl Write>,
) -> anyhow::Result<Account> {
    let mut second = Some(second);
    story.line("\n             records/s       p50       p99  version  rejected  strongest drift (PSI)")?;
    while !traffic.is_finished() {
        thread::sleep(Duration::from_secs(1));
        if interrupted() {
            traffic.stop_feeding();
        }
        let status = traffic.second();
        let progress = status.progress;
        story.second(status, metrics)?;
        let is_time = progress > TURN_OF_VERSION_1;
        if let Some(trained) = second.take_if(|second| is_time && second.is_finished()) {
            publish(store, trained.join().map_err(|_| anyhow!("training version 2 panicked"))??, story)?;
        }
    }
    traffic.account()
}

/// Publishes the next version and moves `production` to it.
fn publish(store: &Store, trained: TrainedModel, story: &mut Story<'_, impl Write>) -> anyhow::Result<()> {
    let metric = |name: &str| trained.metrics().get(name).copied().unwrap_or(f64::NAN);
    let quality = format!("accuracy {:.3}, ROC AUC {:.3}", metric("accuracy"), metric("roc_auc"));
    let version = store.publish(&trained.into_draft(MODEL, []))?;
    story.write("publish", &format!("{MODEL}@{version}: {quality} on the departures from July on"))?;
    store.promote(MODEL, "production", version)?;
    story.write("promote", &format!("production → {MODEL}@{version}"))
}

/// Trains on the departures before a day; tested on those that are streamed.
fn train_before(table: &Table, day: &str) -> anyhow::Result<TrainedModel> {
    let time = |day: &str| crate::train::time::Scale::Iso8601.parse(day).context("a day of the demo");
    let (known, test) = Split::From(time(STREAM_FROM)?).divide(table)?;
    let train = if day == STREAM_FROM { known } else { Split::From(time(day)?).divide(&known)?.0 };
    let recipe = Recipe {
        hidden_layer_sizes: vec![32, 16],
        solver: Solver::Sgd,
        learning_rate_init: 0.01,
        alpha: 0.1,
        batch_size: BatchSize::Rows(64),
        max_iter: 10,
        ..Recipe::default()
    };
    Ok(train::fit(&train, &test, &recipe, &mut |_| ControlFlow::Continue(()))?)
}

fn config(brokers: &str, store: &Path) -> anyhow::Result<Config> {
    let text = format!(
        r#"
        [kafka]
        brokers = "{brokers}"
        group_id = "weir-demo"
        properties = {{ "{}" = {} }}
        [worker]
        threads = 2
        commit_interval_ms = 200
        [store]
        url = "file:{}"
        poll_ms = 200
        [http]
        listen = "127.0.0.1:0"
        [[route]]
        name = "flights"
        model = "{MODEL}@production"
        input = {{ topics = ["{INPUT}"] }}
        output = {{ topic = "{OUTPUT}" }}
        dead_letter = {{ topic = "{DEAD_LETTER}" }}
        "#,
        FETCH_WAIT.0,
        FETCH_WAIT.1,
        store.display()
    );
    Ok(Config::parse(&text)?)
}

/// A `weir serve` in this process.
struct Serving {
    http: std::net::SocketAddr,
    runtime: Runtime,
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl Serving {
    fn start(config: Config, metrics: &Metrics) -> anyhow::Result<Serving> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(&config.http.listen))?;
        let http = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let running = runtime.spawn(serve::run(config, metrics.clone(), listener, shutdown));
        Ok(Serving { http, runtime, stop, running })
    }

    fn stop(self) -> anyhow::Result<()> {
        // If nobody receives it, it has stopped already, and says why below.
        let _ = self.stop.send(());
        Ok(self.runtime.block_on(self.running)??)
    }
}

/// The lines that the demo prints.
struct Story<'o, W: Write> {
    started: Instant,
    out: &'o mut W,
}

impl<W: Write> Story<'_, W> {
    fn write(&mut self, what: &str, text: &str) -> anyhow::Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        self.line(&format!("{seconds:>6.1} s  {what:<8} {text}"))
    }

    fn second(&mut self, mut second: RecentOutputs, metrics: &Metrics) -> anyhow::Result<()> {
        let drift = second.version.map(|version| metrics.drift(MODEL, version)).unwrap_or_default();
        let drift: Vec<_> = drift.iter().take(3).map(|(feature, psi)| format!("{feature} {psi:.2}")).collect();
        let (p50, p99) = (second.latency_ms(0.5), second.latency_ms(0.99));
        let line = format!(
            "{:>6.1} s  {:>11}  {:>5.1} ms  {:>5.1} ms  {:>7}  {:>8}  {}",
            self.started.elapsed().as_secs_f64(),
            second.records,
            p50,
            p99,
            second.version.map_or("-".into(), |version| version.to_string()),
            second.rejected,
            if drift.is_empty() { "too few rows yet".into() } else { drift.join(", ") }
        );
        self.line(&line)
    }

    fn line(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "{text}")?)
    }
}
