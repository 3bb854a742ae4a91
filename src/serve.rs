//! `weir serve`: starts everything in order, keeps it running, and stops it in order.
//!
//! HTTP comes first, so that a probe gets an answer from the start. Then the topics of a first route and a first model are
//! waited for: a broker or a store that is absent is reported, and tried again. Then come the workers; one that fails is
//! replaced, with growing pauses, and starts at the commits. A route waits alone whose model, topic or right is missing. A
//! process without any route that could work doesn't join the group: its partitions are better served by others. Only the
//! topic watch asks the brokers about topics.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::{Health, ReadinessCheck};
use crate::http::{self, ServedRoute};
use crate::kafka::admin::{AdminError, Needs};
use crate::kafka::watch::{TopicSnapshot, TopicWatch};
use crate::logging::chain;
use crate::model::reference::ModelRef;
use crate::model::rollout::{Rollout, RolloutEvent};
use crate::model::store::{Store, StoreError};
use crate::monitor::metrics::{Metrics, WaitReason};
use crate::pauses::{PauseFollower, Pauses};
use crate::route::RouteConfig;
use crate::worker::{self, Activity, Gate, Heartbeat, Route, Setup, Stop, WorkerError, WorkerExit};

/// The pause before a failed worker is replaced: the first, and the longest that it grows to.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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

    let store = Store::open(&config.store.url)?;
    let pauses = Pauses::new(store.clone(), &config.kafka.group_id);
    let health = Health::default();
    let routes: Vec<Route> = config.routes.iter().cloned().map(Route::new).collect();
    for route in &routes {
        // Its series exist before a worker does: what never counts can't be seen to stand.
        drop(metrics.route(&route.config.name));
        metrics.refused_version(&route.config.name, &route.config.model.name, None);
    }
    let served = routes.iter().map(|route| ServedRoute {
        route: route.config.name.clone(),
        reference: route.config.model.clone(),
        slot: route.slot.clone(),
        gate: route.gate.clone(),
        min_features: route.config.input.min_features,
        threshold: route.config.threshold,
    });
    let state = http::State {
        metrics: metrics.clone(),
        health: health.clone(),
        routes: served.collect(),
        tokens: config.http.tokens.clone(),
        pauses: pauses.clone(),
    };
    // Probes and scrapes are answered until everything is drained.
    let drained = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, state, drained.clone().cancelled_owned()));

    let result = serve_routes(&config, store, pauses, routes, &metrics, &health, &stopping).await;
    drained.cancel();
    // A panic of the server is in the log already.
    let _ = server.await;
    result
}

/// Everything but HTTP.
async fn serve_routes(
    config: &Config,
    store: Store,
    pauses: Pauses,
    routes: Vec<Route>,
    metrics: &Metrics,
    health: &Health,
    stopping: &CancellationToken,
) -> Result<(), ServeError> {
    let needs = Needs::of(routes.iter().map(|route| &route.config)).of_topics();
    let watch = TopicWatch::new(&config.kafka, needs)?;
    let broker = health.readiness_check("broker", "not asked yet");
    let ready: Vec<ReadinessCheck> = (0..config.worker.threads())
        .map(|number| health.readiness_check(format!("worker {number}"), "not started yet"))
        .collect();

    let topic_checks = routes.iter().map(|route| {
        let subject = format!("route {}, topics", route.config.name);
        (route.config.clone(), health.readiness_check(subject, "its topics aren't known yet"))
    });
    let topic_checks = topic_checks.collect();
    let targets: Vec<_> = routes.iter().map(|route| (route.config.model.clone(), route.slot.clone())).collect();
    let model_checks = routes.iter().map(|route| {
        let subject = format!("route {}, model", route.config.name);
        (route.clone(), health.readiness_check(subject, "no model loaded yet"))
    });
    let rollout = Rollout::new(store, targets, observer(metrics.clone(), model_checks.collect()));
    let mut usable = rollout.usable();
    let poll = Duration::from_millis(config.store.poll_ms);
    let rollout = tokio::spawn(rollout.watch(poll, stopping.clone().cancelled_owned()));
    let watching = tokio::spawn(watch_topics(watch.clone(), broker, topic_checks, stopping.clone()));
    let gates: Vec<_> = routes.iter().map(|route| (route.config.name.clone(), route.gate.clone())).collect();
    // Before the workers start, so that none consumes what is to wait.
    let mut follower = PauseFollower::new(pauses, gates.clone());
    if let Ok(follower) = tokio::task::spawn_blocking(move || {
        follower.step();
        follower
    })
    .await
    {
        tokio::spawn(follower.watch(poll, stopping.clone().cancelled_owned()));
    }
    tokio::spawn(tick(metrics.clone(), gates, stopping.clone()));

    let ready_to_start = async {
        watch.wait_for(|snapshot| routes.iter().any(|route| snapshot.has_all_of(&route.config))).await;
        // The rollout ends, and with it this wait, only when everything stops.
        let _ = usable.wait_for(|&usable| usable).await.is_ok();
    };
    tokio::select! {
        () = ready_to_start => {}
        () = stopping.cancelled() => return Ok(()),
    }
    let setup = Setup {
        kafka: config.kafka.clone(),
        worker: config.worker.clone(),
        batch: config.batch,
        routes,
        topics: watch,
        metrics: metrics.clone(),
        stop: Arc::new(Stop::new(Duration::from_millis(config.worker.drain_timeout_ms))),
    };
    let result = run_workers(&setup, ready, health, stopping).await;
    let _ = tokio::join!(rollout, watching);
    match result? {
        StopOutcome::Drained => tracing::info!("stopped: everything consumed is delivered and committed"),
        StopOutcome::Uncommitted => tracing::warn!("stopped: not everything is committed, see above"),
        StopOutcome::Failing => {
            tracing::warn!(
                "stopped while a worker had failed: what it had not committed is consumed again after the next start"
            );
        }
    }
    Ok(())
}

/// How the workers ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StopOutcome {
    /// Each finished what it had consumed.
    Drained,
    /// One could not commit what it had consumed, as in a rebalance. Nothing is lost.
    Uncommitted,
    /// One had failed, and had not been replaced yet.
    Failing,
}

/// Starts the workers, and stops them when everything stops.
async fn run_workers(
    setup: &Setup,
    ready: Vec<ReadinessCheck>,
    health: &Health,
    stopping: &CancellationToken,
) -> Result<StopOutcome, ServeError> {
    tracing::info!(threads = ready.len(), group = setup.kafka.group_id, "the workers start");
    let heartbeats: Vec<Arc<Heartbeat>> = ready.iter().map(|_| Arc::new(Heartbeat::new(Instant::now()))).collect();
    tokio::spawn(watch_workers(heartbeats.clone(), setup.metrics.clone(), health.clone(), stopping.clone()));
    let workers = ready
        .into_iter()
        .zip(heartbeats)
        .enumerate()
        .map(|(number, (ready, heartbeat))| supervise(number, setup.clone(), ready, heartbeat))
        .collect::<Result<Vec<_>, _>>();
    if workers.is_ok() {
        stopping.cancelled().await;
        tracing::info!("stopping: draining what is in flight");
    }
    setup.stop.request();
    match workers {
        Ok(workers) => tokio::task::spawn_blocking(|| join(workers))
            .await
            .unwrap_or(Err(ServeError::Worker(WorkerError::Panicked))),
        Err(error) => Err(ServeError::Thread(error)),
    }
}

/// Reports what the rollout does to metrics and readiness, and opens a route's gate to a new version: it may be the cure.
fn observer(metrics: Metrics, routes: Vec<(Route, ReadinessCheck)>) -> impl FnMut(RolloutEvent) + Send + 'static {
    move |event| match event {
        RolloutEvent::Loaded { reference, model, took, .. } => {
            if let Some(took) = took {
                metrics.model_loaded(model.name(), took);
            }
            for (route, check) in asking(&routes, &reference) {
                metrics.refused_version(&route.config.name, &reference.name, None);
                metrics.serving(&route.config.name, &reference, &model);
                check.ready();
                if route.gate.open(WaitReason::Ratio) {
                    tracing::info!(
                        route = route.config.name,
                        version = model.version(),
                        "a new version: the route resumes"
                    );
                }
            }
        }
        RolloutEvent::Refused { reference, version, reason } => {
            metrics.model_refused(&reference.name);
            for (route, _) in asking(&routes, &reference) {
                metrics.refused_version(&route.config.name, &reference.name, Some(version));
            }
            report_missing(&routes, &reference, &reason);
        }
        RolloutEvent::Recovered { reference, .. } => {
            for (route, _) in asking(&routes, &reference) {
                metrics.refused_version(&route.config.name, &reference.name, None);
            }
        }
        RolloutEvent::Unresolved { reference, reason } => report_missing(&routes, &reference, &reason),
    }
}

/// The routes with this reference.
fn asking<'r>(
    routes: &'r [(Route, ReadinessCheck)],
    reference: &'r ModelRef,
) -> impl Iterator<Item = &'r (Route, ReadinessCheck)> {
    routes.iter().filter(move |(route, _)| route.config.model == *reference)
}

/// Says why the routes with this reference that have no model yet have none.
fn report_missing(routes: &[(Route, ReadinessCheck)], reference: &ModelRef, reason: &str) {
    for (_, check) in asking(routes, reference).filter(|(route, _)| route.slot.load().is_none()) {
        check.not_ready(format!("no model {reference}: {reason}"));
    }
}

/// Runs the topic watch, logs what is wrong with brokers and topics when it changes, and keeps readiness true to it: that of
/// the brokers, and that of each route.
async fn watch_topics(
    watch: Arc<TopicWatch>,
    broker: ReadinessCheck,
    routes: Vec<(RouteConfig, ReadinessCheck)>,
    stopping: CancellationToken,
) {
    let mut logged = Vec::new();
    let observe = |snapshot: &TopicSnapshot| {
        let problems = &snapshot.problems;
        if *problems != logged {
            match problems.as_slice() {
                [] => tracing::info!("the brokers answer, and all topics and rights are there"),
                problems => tracing::warn!("brokers, topics or rights are missing: {}", problems.join("; ")),
            }
            logged.clone_from(problems);
        }
        match snapshot.unanswered_since {
            _ if problems.is_empty() => broker.ready(),
            Some(since) => {
                broker.not_ready(format!("{}; for {} s now", problems.join("; "), since.elapsed().as_secs()));
            }
            None => broker.not_ready(problems.join("; ")),
        }
        for (route, check) in &routes {
            let unusable: Vec<&str> =
                route.topics().filter_map(|topic| snapshot.unusable.get(topic)).map(String::as_str).collect();
            if unusable.is_empty() { check.ready() } else { check.not_ready(unusable.join("; ")) }
        }
    };
    tokio::select! {
        () = watch.run(observe) => {}
        () = stopping.cancelled() => {}
    }
}

/// Computes the drift once a second, and publishes which routes are paused.
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
async fn watch_workers(heartbeats: Vec<Arc<Heartbeat>>, metrics: Metrics, health: Health, stopping: CancellationToken) {
    let stuck = health.readiness_check("watchdog", "");
    stuck.ready();
    let mut ticks = tokio::time::interval(TICK);
    let mut reported = vec![false; heartbeats.len()];
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = Instant::now();
        metrics.poll_age(heartbeats.iter().map(|heartbeat| heartbeat.unpolled(now)).max().unwrap_or_default());
        let mut reasons = Vec::new();
        for (worker, (heartbeat, reported)) in heartbeats.iter().zip(&mut reported).enumerate() {
            let unpolled = heartbeat.unpolled(now);
            let activity = heartbeat.activity();
            // One that has failed is reported by its supervisor.
            let is_stuck = unpolled > STUCK_AFTER && activity != Activity::Fail;
            let activity = activity.as_str();
            if is_stuck {
                reasons.push(format!("worker {worker} hasn't polled for {} s: it is {activity}", unpolled.as_secs()));
            }
            if is_stuck != std::mem::replace(reported, is_stuck) {
                match is_stuck {
                    true => tracing::error!(worker, activity, "a worker hasn't polled for {} s", unpolled.as_secs()),
                    false => tracing::info!(worker, "the worker polls again"),
                }
            }
        }
        if reasons.is_empty() { stuck.ready() } else { stuck.not_ready(reasons.join("; ")) }
    }
}

type WorkerThread = JoinHandle<Result<StopOutcome, WorkerError>>;

/// Starts a worker's thread, on which a worker that fails is replaced, and one that needs other clients.
fn supervise(
    number: usize,
    setup: Setup,
    ready: ReadinessCheck,
    heartbeat: Arc<Heartbeat>,
) -> std::io::Result<WorkerThread> {
    std::thread::Builder::new().name(format!("weir-worker-{number}")).spawn(move || {
        let mut pause = FIRST_PAUSE;
        loop {
            ready.not_ready("joining the group");
            let started = Instant::now();
            let error = match worker::run(&setup, number, &ready, &heartbeat) {
                Ok(WorkerExit::ClientsOutdated { reason }) if !setup.stop.requested() => {
                    tracing::info!(worker = number, reason, "the worker gets other clients");
                    continue;
                }
                Ok(_) => return Ok(StopOutcome::Drained),
                Err(error) => error,
            };
            if setup.stop.requested() {
                if matches!(error, WorkerError::NotCommitted { .. }) {
                    tracing::warn!(worker = number, "{error}");
                    return Ok(StopOutcome::Uncommitted);
                }
                return Err(error);
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let reason = chain(&error);
            tracing::error!(worker = number, restart_in_s = pause.as_secs(), "the worker failed: {reason}");
            ready.not_ready(format!("failed, restarting: {reason}"));
            heartbeat.enter(Activity::Fail);
            setup.metrics.worker_restarted();
            // A topic may take less than it did: its successor needs the fact, or it meets the same refusal.
            setup.topics.refresh();
            if setup.stop.wait(pause) {
                return Ok(StopOutcome::Failing);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    })
}

/// Waits for all workers; the first failure is returned.
fn join(workers: Vec<WorkerThread>) -> Result<StopOutcome, ServeError> {
    let ended: Vec<_> = workers.into_iter().map(JoinHandle::join).collect();
    ended.into_iter().try_fold(StopOutcome::Drained, |all, worker| match worker {
        Ok(Ok(outcome)) => Ok(all.max(outcome)),
        Ok(Err(error)) => Err(ServeError::Worker(error)),
        Err(_) => Err(ServeError::Worker(WorkerError::Panicked)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_worker_that_has_not_polled_for_long_takes_readiness_and_its_activity_is_reported() {
        let (metrics, health, stopping) =
            (Metrics::new(Duration::from_secs(60)), Health::default(), CancellationToken::new());
        let heartbeat = Arc::new(Heartbeat::new(Instant::now() - STUCK_AFTER * 2));
        heartbeat.enter(Activity::Produce);
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
        let watching = tokio::spawn(watch_workers(vec![heartbeat.clone()], metrics, health.clone(), stopping.clone()));
        until(&|reasons| reasons == ["watchdog: worker 0 hasn't polled for 30 s: it is producing outputs"]).await;
        heartbeat.polled(Instant::now());
        until(&|reasons| reasons.is_empty()).await;
        stopping.cancel();
        watching.await.unwrap();
    }
}
