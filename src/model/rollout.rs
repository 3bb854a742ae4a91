//! The rollout: watches what the routes' model references name, and brings new versions to their slots.
//!
//! A version is loaded and checked away from the line, then put into the slot; the workers take it with their next
//! batch. One that can't be loaded is refused: said once, tried again after [`RETRY`] or when the reference names
//! another, and the running one keeps serving. So does it when the store can't be read at all.
//!
//! [`Rollout::step`] is one round and knows no runtime; [`Rollout::watch`] repeats it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Model;
use super::reference::ModelRef;
use super::slot::Slot;
use super::store::{Store, StoreError};
use crate::logging::chain;
use crate::repeat::repeat_blocking;

/// After this time a refused version is tried again: the disk may have been full, a file still on its way.
pub const RETRY: Duration = Duration::from_secs(30);

/// What came of a round, for metrics and tests; it is logged here already.
#[derive(Clone, Debug)]
pub enum RolloutEvent {
    /// A version is in the slots of this reference.
    Loaded {
        /// What the routes ask for.
        reference: ModelRef,
        /// The version.
        model: Arc<Model>,
        /// The version that was there before.
        replaced: Option<Arc<Model>>,
        /// How long the load took; `None` if the version was loaded already for another reference.
        took: Option<Duration>,
    },
    /// A version can't be loaded; what was in the slots stays there.
    Refused {
        /// What the routes ask for.
        reference: ModelRef,
        /// The version.
        version: u64,
        /// Why, with all causes.
        reason: String,
    },
    /// The reference names the version again that is in its slots, after it named another one or none.
    Recovered {
        /// What the routes ask for.
        reference: ModelRef,
        /// The version.
        version: u64,
    },
    /// The store doesn't say which version is meant; what was in the slots stays there.
    Unresolved {
        /// What the routes ask for.
        reference: ModelRef,
        /// Why, with all causes.
        reason: String,
    },
}

/// Why a version can't be served.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("model {name:?} version {version}: the load panicked; please report it")]
    Panicked { name: String, version: u64 },
}

/// Keeps the slots of all routes at the versions that their references name.
pub struct Rollout {
    store: Store,
    targets: Vec<FollowedReference>,
    observe: Box<dyn FnMut(RolloutEvent) + Send>,
    usable: watch::Sender<bool>,
}

/// A reference and the slots of the routes that have it: they share one loaded model.
struct FollowedReference {
    reference: ModelRef,
    slots: Vec<Arc<Slot>>,
    current: Option<Arc<Model>>,
    problem: Option<ReportedProblem>,
}

/// What was last reported about a target that isn't where its reference points.
struct ReportedProblem {
    /// The refused version; `None` if the reference wasn't resolved.
    version: Option<u64>,
    reason: String,
    since: Instant,
}

impl Rollout {
    /// A rollout from this store to the slots of the routes. `observe` hears of each event after it has happened.
    pub fn new(
        store: Store,
        routes: impl IntoIterator<Item = (ModelRef, Arc<Slot>)>,
        observe: impl FnMut(RolloutEvent) + Send + 'static,
    ) -> Rollout {
        let mut targets: Vec<FollowedReference> = Vec::new();
        for (reference, slot) in routes {
            match targets.iter_mut().find(|target| target.reference == reference) {
                Some(target) => target.slots.push(slot),
                None => targets.push(FollowedReference { reference, slots: vec![slot], current: None, problem: None }),
            }
        }
        Rollout { store, targets, observe: Box::new(observe), usable: watch::Sender::new(false) }
    }

    /// Becomes true, for good, when each reference has been tried and a slot holds a model.
    pub fn usable(&self) -> watch::Receiver<bool> {
        self.usable.subscribe()
    }

    /// Does a round at once and then one each `poll`, until `shutdown` is ready.
    pub async fn watch(self, poll: Duration, shutdown: impl Future<Output = ()>) {
        repeat_blocking(self, poll, shutdown, |rollout| rollout.step(Instant::now())).await;
    }

    /// One round: resolves each reference and loads what its slots don't hold yet. Blocks.
    pub fn step(&mut self, now: Instant) {
        for index in 0..self.targets.len() {
            let target = &self.targets[index];
            let version = match self.store.resolve(&target.reference) {
                Ok(version) => version,
                Err(error) => {
                    self.report_problem(index, None, chain(&error), now);
                    continue;
                }
            };
            if target.holds(version) {
                self.recover(index, version);
            } else if !target.refused_lately(version, now) {
                match self.obtain(index, version) {
                    Ok((model, took)) => self.put(index, model, took),
                    Err(error) => self.report_problem(index, Some(version), chain(&error), now),
                }
            }
        }
        if self.targets.iter().any(|target| target.current.is_some()) {
            self.usable.send_replace(true);
        }
    }

    /// The version, loaded now unless another reference has it.
    fn obtain(&self, index: usize, version: u64) -> Result<(Arc<Model>, Option<Duration>), LoadError> {
        let name = &self.targets[index].reference.name;
        let mut held = self.targets.iter().filter_map(|target| target.current.as_ref());
        if let Some(model) = held.find(|model| model.name() == name && model.version() == version) {
            return Ok((model.clone(), None));
        }
        let start = Instant::now();
        // A version must not be able to end the watch, whatever is in it: a panic refuses it like an error.
        match catch_unwind(AssertUnwindSafe(|| self.store.load(name, version))) {
            Ok(Ok(model)) => Ok((Arc::new(model), Some(start.elapsed()))),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(LoadError::Panicked { name: name.clone(), version }),
        }
    }

    fn put(&mut self, index: usize, model: Arc<Model>, took: Option<Duration>) {
        let target = &mut self.targets[index];
        for slot in &target.slots {
            slot.store(model.clone());
        }
        let replaced = target.current.replace(model.clone());
        target.problem = None;
        let reference = target.reference.clone();
        tracing::info!(
            %reference,
            version = model.version(),
            digest = model.short_digest(),
            replaced = replaced.as_ref().map(|model| model.version()),
            seconds = took.map(|took| took.as_secs_f64()),
            "model loaded"
        );
        (self.observe)(RolloutEvent::Loaded { reference, model, replaced, took });
    }

    /// Notes that nothing is wrong any more.
    fn recover(&mut self, index: usize, version: u64) {
        let target = &mut self.targets[index];
        if target.problem.take().is_none() {
            return;
        }
        let reference = target.reference.clone();
        tracing::info!(%reference, version, "the reference names the version that is served");
        (self.observe)(RolloutEvent::Recovered { reference, version });
    }

    /// Notes what is wrong; says so unless it has been said already.
    fn report_problem(&mut self, index: usize, version: Option<u64>, reason: String, now: Instant) {
        let target = &mut self.targets[index];
        let known = target.problem.as_ref().is_some_and(|known| known.version == version && known.reason == reason);
        target.problem = Some(ReportedProblem { version, reason: reason.clone(), since: now });
        if known {
            return;
        }
        let reference = target.reference.clone();
        let serving = target.current.as_ref().map(|model| model.version());
        let event = match version {
            Some(version) => {
                tracing::error!(%reference, version, serving, reason, "model refused");
                RolloutEvent::Refused { reference, version, reason }
            }
            None => {
                tracing::warn!(%reference, serving, reason, "model not found in the store");
                RolloutEvent::Unresolved { reference, reason }
            }
        };
        (self.observe)(event);
    }
}

impl FollowedReference {
    fn holds(&self, version: u64) -> bool {
        self.current.as_ref().is_some_and(|model| model.version() == version)
    }

    fn refused_lately(&self, version: u64, now: Instant) -> bool {
        let problem = self.problem.as_ref();
        problem.is_some_and(|it| it.version == Some(version) && now.duration_since(it.since) < RETRY)
    }
}

#[cfg(test)]
mod tests;
