//! `weir serve`: starts everything in order, keeps it running, and stops it in order.
//!
//! HTTP comes first, so that a probe gets an answer from the start. Then models and topics are waited for: a broker
//! or a store that is absent is said so, and tried again. Then come the workers; one that fails is replaced, with
//! growing pauses, and takes up where the commits are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{self, Condition, Health, Served};
use crate::kafka::admin::{Admin, AdminError, Needs, Topic};
use crate::logging::chain;
use crate::model::rollout::{Event, Rollout};
use crate::model::store::{Store, StoreError};
use crate::monitor::metrics::Metrics;
use crate::worker::{self, Activity, Gate, Pulse, Route, Setup, Stop, WorkerError};

/// The pause before absent brokers are asked again, and before a failed worker is replaced: the first, and the
/// longest that it grows to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the brokers are asked whether they are there, for readiness.
const BROKER_CHECK: Duration = Duration::from_secs(5);

/// After so long without a poll, a worker counts as stuck: longer than a rebalance, an outage or a commit lets it wait.
const STUCK_AFTER: Duration = Duration::from_secs(15);

/// How often drift is computed, and the workers are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Why serving could not start, or didn't end well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The store's URL can't be used.
    #[error("the store can't be used")]
    Store(#[from] StoreError),
    /// No client with these settings.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The HTTP server failed.
    #[error("the HTTP server failed")]
    Http(#[source] std::io::Error),
    /// A thread could not be started.
    #[error("a worker thread could not be started")]
    Thread(#[source] std::io::Error),
    /// A worker could not finish in time.
    #[error("a worker did not stop in order")]
    Worker(#[source] WorkerError),
}

/// Runs until `shutdown` is done, then drains and commits.
pub async fn run(
    config: Config,
    metrics: Metrics,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let stopping = CancellationToken::new();
    tokio::spawn({
        let stopping = stopping.clone();
        async move {
            shutdown.await;
            stopping.cancel();
        }
    });

    let health = Health::default();
    let routes: Vec<Route> = config.routes.iter().cloned().map(Route::new).collect();
    let served = routes.iter().map(|route| Served {
        route: route.config.name.clone(),
        reference: route.config.model.clone(),
        slot: route.slot.clone(),
        gate: route.gate.clone(),
    });
    let state = http::State {
        metrics: metrics.clone(),
        health: health.clone(),
        routes: served.collect(),
        tokens: config.http.tokens.clone(),
    };
    // Probes and scrapes are answered until everything is drained.
    let drained = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, state, drained.clone().cancelled_owned()));

    let result = serve_routes(&config, routes, &metrics, &health, &stopping).await;
    drained.cancel();
    let served = server.await.unwrap_or(Ok(())).map_err(ServeError::Http);
    result.and(served)
}

/// Everything but HTTP.
async fn serve_routes(
    config: &Config,
    routes: Vec<Route>,
    metrics: &Metrics,
    health: &Health,
    stopping: &CancellationToken,
) -> Result<(), ServeError> {
    let store = Store::open(&config.store.url)?;
    let admin = Arc::new(Admin::new(&config.kafka)?);
    let broker = health.condition("broker", "not asked yet");
    let threads = config.worker.threads();
    let workers: Vec<Condition> =
        (0..threads).map(|n| health.condition(format!("worker {n}"), "not started yet")).collect();

    let targets: Vec<_> = routes.iter().map(|route| (route.config.model.clone(), route.slot.clone())).collect();
    let rollout = Rollout::new(store, targets, observer(metrics.clone(), &routes));
    let mut filled = rollout.filled();
    let poll = Duration::from_millis(config.store.poll_ms);
    let rollout = tokio::spawn(rollout.watch(poll, stopping.clone().cancelled_owned()));
    let gates = routes.iter().map(|route| (route.config.name.clone(), route.gate.clone())).collect();
    tokio::spawn(tick(metrics.clone(), gates, stopping.clone()));

    let needs = Needs::of(routes.iter().map(|route| &route.config)).of_topics();
    let ready = async {
        let topics = wait_for_topics(&admin, &needs, &broker).await;
        // The rollout ends, and with it this wait, only when everything stops.
        let _ = filled.wait_for(|&filled| filled).await;
        topics
    };
    let topics = tokio::select! {
        topics = ready => topics,
        () = stopping.cancelled() => return Ok(()),
    };
    let broker_watch = tokio::spawn(watch_broker(admin.clone(), needs, broker, stopping.clone()));

    let stop = Arc::new(Stop::new(Duration::from_millis(config.worker.drain_timeout_ms)));
    let setup = Setup {
        kafka: config.kafka.clone(),
        worker: config.worker.clone(),
        batch: config.batch,
        routes,
        topics,
        metrics: metrics.clone(),
        stop: stop.clone(),
    };
    tracing::info!(threads, group = config.kafka.group_id, "the workers start");
    let pulses: Vec<Arc<Pulse>> = (0..threads).map(|_| Arc::new(Pulse::new(Instant::now()))).collect();
    tokio::spawn(watch_workers(pulses.clone(), metrics.clone(), health.clone(), stopping.clone()));
    let workers = workers
        .into_iter()
        .zip(pulses)
        .enumerate()
        .map(|(number, (ready, pulse))| supervise(number, setup.clone(), admin.clone(), ready, pulse))
        .collect::<Result<Vec<_>, _>>();
    if workers.is_ok() {
        stopping.cancelled().await;
        tracing::info!("stopping: draining what is in flight");
    }
    stop.request();
    let result = match workers {
        Ok(workers) => tokio::task::spawn_blocking(|| join(workers))
            .await
            .unwrap_or(Err(ServeError::Worker(WorkerError::Panicked))),
        Err(error) => Err(ServeError::Thread(error)),
    };
    let _ = tokio::join!(rollout, broker_watch);
    if result.is_ok() {
        tracing::info!("stopped: everything consumed is delivered and committed");
    }
    result
}

/// Tells the metrics of what the rollout does, and opens a route's gate to a new version: it may be the cure.
fn observer(metrics: Metrics, routes: &[Route]) -> impl FnMut(Event) + Send + 'static {
    let routes = routes.to_vec();
    move |event| match event {
        Event::Loaded { reference, model, took, .. } => {
            if let Some(took) = took {
                metrics.model_loaded(model.name(), took);
            }
            for route in routes.iter().filter(|route| route.config.model == reference) {
                metrics.serving(&route.config.name, &reference, &model);
                if route.gate.open() {
                    tracing::info!(
                        route = route.config.name,
                        version = model.version(),
                        "a new version: the route resumes"
                    );
                }
            }
        }
        Event::Refused { reference, .. } => metrics.model_refused(&reference.name),
        Event::Unresolved { .. } => {}
    }
}

/// Waits until the brokers answer, every topic exists and no right is missing, saying each time what is.
async fn wait_for_topics(admin: &Arc<Admin>, needs: &Needs, broker: &Condition) -> BTreeMap<String, Topic> {
    let mut pause = FIRST_PAUSE;
    loop {
        let (admin, needs) = (admin.clone(), needs.clone());
        let runtime = tokio::runtime::Handle::current();
        let described = tokio::task::spawn_blocking(move || runtime.block_on(admin.look(&needs))).await;
        match described {
            Ok(Ok(topics)) => {
                broker.ready();
                return topics;
            }
            Ok(Err(errors)) => {
                let reasons: Vec<_> = errors.iter().map(|error| chain(error)).collect();
                let reason = reasons.join("; ");
                tracing::warn!(retry_in_s = pause.as_secs(), "waiting for the brokers and topics: {reason}");
                broker.not_ready(reason);
            }
            Err(error) => tracing::error!(%error, "asking for the topics failed"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Keeps the readiness condition of the brokers true to what they answer.
async fn watch_broker(admin: Arc<Admin>, needs: Needs, broker: Condition, stopping: CancellationToken) {
    // What the log has said already.
    let mut told = String::new();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(BROKER_CHECK) => {}
        }
        let (admin, needs) = (admin.clone(), needs.clone());
        let asked = tokio::task::spawn_blocking(move || admin.missing_rights(&needs));
        let answer = tokio::select! {
            () = stopping.cancelled() => return,
            answer = asked => answer,
        };
        match answer {
            Ok(errors) if errors.is_empty() => {
                told.clear();
                broker.ready();
            }
            Ok(errors) => {
                let reasons: Vec<_> = errors.iter().map(|error| chain(error)).collect();
                let reason = reasons.join("; ");
                if reason != told {
                    tracing::warn!("the brokers or their rights are gone: {reason}");
                    told.clone_from(&reason);
                }
                broker.not_ready(reason);
            }
            Err(error) => tracing::error!(%error, "asking the brokers failed"),
        }
    }
}

/// Computes the drift once a second, and tells which routes are paused.
async fn tick(metrics: Metrics, gates: Vec<(String, Arc<Gate>)>, stopping: CancellationToken) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        metrics.tick(Instant::now());
        gates.iter().for_each(|(route, gate)| metrics.route_paused(route, gate.is_closed()));
    }
}

/// Notices a worker that doesn't poll any more, says what it is doing, and takes the process out of readiness: its group
/// will throw it out, and its partitions stand still until then.
async fn watch_workers(pulses: Vec<Arc<Pulse>>, metrics: Metrics, health: Health, stopping: CancellationToken) {
    let stuck = health.condition("watchdog", "");
    stuck.ready();
    let mut ticks = tokio::time::interval(TICK);
    let mut told = vec![false; pulses.len()];
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        metrics.poll_age(pulses.iter().map(|pulse| pulse.unpolled(now)).max().unwrap_or_default());
        let mut reasons = Vec::new();
        for (worker, (pulse, told)) in pulses.iter().zip(&mut told).enumerate() {
            let unpolled = pulse.unpolled(now);
            let activity = pulse.activity();
            // Of one that has failed its supervisor tells.
            let is_stuck = unpolled > STUCK_AFTER && activity != Activity::Fail;
            let activity = activity.as_str();
            if is_stuck {
                reasons.push(format!("worker {worker} hasn't polled for {} s: it is {activity}", unpolled.as_secs()));
            }
            if is_stuck != std::mem::replace(told, is_stuck) {
                match is_stuck {
                    true => tracing::error!(worker, activity, "a worker hasn't polled for {} s", unpolled.as_secs()),
                    false => tracing::info!(worker, "the worker polls again"),
                }
            }
        }
        if reasons.is_empty() { stuck.ready() } else { stuck.not_ready(reasons.join("; ")) }
    }
}

type Supervised = JoinHandle<Result<(), WorkerError>>;

/// Starts a worker's thread, on which a worker that fails is replaced.
fn supervise(
    number: usize,
    mut setup: Setup,
    admin: Arc<Admin>,
    ready: Condition,
    pulse: Arc<Pulse>,
) -> std::io::Result<Supervised> {
    let runtime = tokio::runtime::Handle::current();
    let needs = Needs::of(setup.routes.iter().map(|route| &route.config)).of_topics();
    std::thread::Builder::new().name(format!("weir-worker-{number}")).spawn(move || {
        let mut pause = FIRST_PAUSE;
        loop {
            ready.not_ready("joining the group");
            let started = Instant::now();
            let Err(error) = worker::run(&setup, number, &ready, &pulse) else { return Ok(()) };
            if setup.stop.requested() {
                return Err(error);
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let reason = chain(&error);
            tracing::error!(worker = number, restart_in_s = pause.as_secs(), "the worker failed: {reason}");
            ready.not_ready(format!("failed, restarting: {reason}"));
            pulse.enter(Activity::Fail);
            setup.metrics.worker_restarted();
            if setup.stop.wait(pause) {
                return Ok(());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            // A topic may take less than it did: its successor has to know, or it meets the same refusal.
            if let Ok(topics) = runtime.block_on(admin.look(&needs)) {
                setup.topics = topics;
            }
        }
    })
}

/// Waits for all workers; the first failure is returned.
fn join(workers: Vec<Supervised>) -> Result<(), ServeError> {
    let ended: Vec<_> = workers.into_iter().map(JoinHandle::join).collect();
    ended.into_iter().try_for_each(|worker| match worker {
        Ok(result) => result.map_err(ServeError::Worker),
        Err(_) => Err(ServeError::Worker(WorkerError::Panicked)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_has_not_polled_for_long_takes_readiness_and_its_activity_is_told() {
        let (metrics, health, stopping) =
            (Metrics::new(Duration::from_secs(60)), Health::default(), CancellationToken::new());
        let pulse = Arc::new(Pulse::new(Instant::now() - STUCK_AFTER * 2));
        pulse.enter(Activity::Produce);
        let until = async |is_met: &dyn Fn(&[String]) -> bool| {
            let met = async {
                while !is_met(&health.reasons()) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(STUCK_AFTER, met)
                .await
                .unwrap_or_else(|_| panic!("it stays at {:?}", health.reasons()));
        };
        let watching = tokio::spawn(watch_workers(vec![pulse.clone()], metrics, health.clone(), stopping.clone()));
        until(&|reasons| reasons == ["watchdog: worker 0 hasn't polled for 30 s: it is producing outputs"]).await;
        pulse.polled(Instant::now());
        until(&|reasons| reasons.is_empty()).await;
        stopping.cancel();
        watching.await.unwrap();
    }
}
