//! The worker loop among simulated brokers and in simulated time: everything that happens to it is drawn from a seed, so what a
//! seed finds can be replayed in milliseconds. See [`world`] for what is simulated.
//!
//! Checked on every commit: everything before the committed offset has come out. Checked at the end, when all faults are over: every
//! record has its outcome, with exactly-once just one, which is counted once, and the worker doesn't stand still.
//!
//! The faults that were fixed are put back one by one, and have to be found.
//!
//! `make simulate` tries as many seeds as one likes: `WEIR_SEEDS=100000`, `WEIR_SEED=17` for one of them with its trace.

mod clients;
mod faults;
mod put_back;
mod scenarios;
mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::clients::{SharedWorld, SimulatedClients, SimulatedConsumer, SimulatedProducer, SimulatedSurroundings};
use self::put_back::PutBack;
use self::world::{Kind, ROUTES, World};
use super::brokers::Parts;
use super::main_loop::WorkerLoop;
use super::transaction::Transaction;
use super::{Heartbeat, Route, Stop};
use crate::batch::BatchConfig;
use crate::health::Health;
use crate::model::Model;
use crate::model::testing;
use crate::monitor::metrics::Metrics;

/// How many seeds `make test` runs.
const SEEDS: u64 = 20_000;

/// The session timeout of the worlds' groups.
const SESSION: Duration = Duration::from_secs(45);

/// What the worlds share, since it takes longer to make than a world.
struct Stage {
    metrics: Metrics,
    model: Arc<Model>,
    health: Health,
}

#[test]
fn no_seed_loses_doubles_or_stops_records() {
    let seeds = match std::env::var("WEIR_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("WEIR_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..std::env::var("WEIR_SEEDS").map_or(SEEDS, |seeds| seeds.parse().expect("WEIR_SEEDS is a number")),
    };
    let is_traced = seeds.end - seeds.start == 1;
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let failures = std::sync::Mutex::new(Vec::new());
    // Half of the cores: other tests wait for brokers meanwhile, and not for ever.
    let threads = std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let stage = Stage::new();
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= 10 {
                        break;
                    }
                    if let Err(violations) = stage.simulate(seed, is_traced, None) {
                        failures.lock().unwrap().push(format!("seed {seed}: {}", violations.join("; ")));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "replay one by WEIR_SEED=…:\n{}", failures.join("\n"));
}

#[test]
fn each_fixed_fault_is_found_when_it_is_put_back() {
    const SEEDS: u64 = 5_000;
    let stage = Stage::new();
    for &put_back in PutBack::ALL {
        // A worker that panics says so; here it is meant to.
        let first = put_back.first_seed();
        let simulate = |seed| Some((seed, stage.simulate(seed, false, Some(put_back)).err()?));
        let found = (first..first + SEEDS).find_map(simulate);
        let (seed, violations) =
            found.unwrap_or_else(|| panic!("{put_back:?} isn't found by {SEEDS} seeds from {first}"));
        println!("{put_back:?} is found by seed {seed}: {}", violations[0]);
    }
}

impl Stage {
    fn new() -> Stage {
        let (_, files) = testing::regression("m", 1.0).bundle(1, String::new()).expect("a model for tests is valid");
        Stage {
            metrics: Metrics::new(Duration::from_secs(60)),
            model: Arc::new(Model::load(&files, |_| {}).expect("a model for tests can be loaded")),
            health: Health::default(),
        }
    }

    fn routes(&self) -> Vec<Route> {
        let route = |number: usize| {
            let config = toml::from_str(&format!(
                "name = \"{number}\"\nmodel = \"m@1\"\ninput = {{ topics = [\"in-{number}\"] }}\n\
                 output = {{ topic = \"out-{number}\" }}\ndead_letter = {{ topic = \"dead-{number}\" }}\n"
            ));
            let route = Route::new(config.expect("a route"));
            route.slot.store(self.model.clone());
            route
        };
        (0..ROUTES).map(route).collect()
    }

    fn simulate(&self, seed: u64, is_traced: bool, put_back: Option<PutBack>) -> Result<(), Vec<String>> {
        let mut world = World::new(seed, Instant::now(), is_traced);
        world.put_back = put_back;
        let world: SharedWorld = Rc::new(RefCell::new(world));
        #[cfg(feature = "planted-bugs")]
        super::planted::SIMULATED.set(put_back.and_then(PutBack::planted));
        let routes = self.routes();
        let counted_before = self.counted();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work(&world, &routes)));
        let mut world = match world.try_borrow_mut() {
            Ok(world) => world,
            Err(_) => return Err(vec!["the world panicked".into()]),
        };
        let mut violations = std::mem::take(&mut world.violations);
        match outcome {
            Ok(Ok(())) => {
                violations.extend(check_outcomes(&world));
                violations.extend(check_counters(&world, self.counted() - counted_before));
            }
            Ok(Err(error)) => violations.push(error),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                violations.push(format!("panicked: {}", text.unwrap_or_default()));
            }
        }
        if is_traced {
            world.print_trace();
        }
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    /// The predictions and rejections in the metrics.
    fn counted(&self) -> u64 {
        let totals = self.metrics.totals();
        totals.rejected + totals.produced.values().sum::<u64>()
    }

    /// Lets a worker work until everything is settled.
    fn work(&self, world: &SharedWorld, routes: &[Route]) -> Result<(), String> {
        // Nobody asks it to stop.
        let stop = Arc::new(Stop::new(Duration::ZERO));
        self.with_worker(world, routes, stop, |worker| {
            loop {
                worker.round().map_err(|error| format!("the worker failed: {error}"))?;
                let world = world.borrow();
                if world.is_settled() {
                    return Ok(());
                }
                if world.is_overdue() {
                    return Err(format!("the worker stands still: {}", world.describe()));
                }
            }
        })
    }

    /// Makes a worker of this world.
    fn with_worker<T>(
        &self,
        world: &SharedWorld,
        routes: &[Route],
        stop: Arc<Stop>,
        drive: impl FnOnce(&mut WorkerLoop<'_, SimulatedClients>) -> Result<T, String>,
    ) -> Result<T, String> {
        let consumer = SimulatedConsumer { world: world.clone() };
        let surroundings = SimulatedSurroundings { world: world.clone() };
        let producers = || {
            let number = world.borrow_mut().new_producer();
            Ok(SimulatedProducer { world: world.clone(), number })
        };
        let (is_exactly_once, began) = {
            let world = world.borrow();
            (world.is_exactly_once, world.now)
        };
        let (ready, heartbeat) = (self.health.readiness_check("worker", ""), Heartbeat::new(began));
        let parts = Parts {
            consumer: &consumer,
            producer: producers().expect("a producer"),
            producers: &producers,
            surroundings: &surroundings,
            metrics: self.metrics.worker([]),
            ready: &ready,
            heartbeat: &heartbeat,
            stop,
            transaction: is_exactly_once.then(Transaction::default),
            session: SESSION,
            denial: "denied",
            commit_interval: Duration::from_millis(if is_exactly_once { 100 } else { 1_000 }),
        };
        let batch = BatchConfig { max_rows: 4, max_delay_us: 0 };
        let mut worker = WorkerLoop::<SimulatedClients>::new(routes, &batch, &self.metrics, parts)
            .map_err(|error| error.to_string())?;
        drive(&mut worker)
    }
}

/// With exactly-once, what an aborted transaction did isn't counted. A commit that was taken though its answer never came
/// isn't, either, and one that was confirmed and lost its markers is.
fn check_counters(world: &World, counted: u64) -> Option<String> {
    let visible: u64 = world.visible().values().map(|&(predictions, letters)| (predictions + letters) as u64).sum();
    (world.is_exactly_once && !world.has_lost_markers && counted > visible)
        .then(|| format!("{counted} outcomes are counted, {visible} are visible"))
}

/// Whether every record has its outcome.
fn check_outcomes(world: &World) -> Vec<String> {
    let visible = world.visible();
    let mut wrong = Vec::new();
    let records = world.logs.iter().flat_map(|log| log.records.iter().map(move |record| (log, record)));
    for (log, record) in records {
        let (predictions, letters) = visible.get(&record.id).copied().unwrap_or_default();
        let (right, other) = match record.kind {
            Kind::Good => (predictions, letters),
            Kind::Malformed | Kind::Refused => (letters, predictions),
        };
        if right == 0 {
            wrong.push(format!("{record:?} is lost"));
        }
        if other > 0 && !log.was_created_again {
            wrong.push(format!("{record:?} has another outcome, too"));
        }
        // What came out before the worker could know that the topic is another one comes out again.
        if world.is_exactly_once && right > 1 && (!log.was_created_again || log.was_announced) {
            wrong.push(format!("{record:?} came out {right} times"));
        }
    }
    wrong
}
