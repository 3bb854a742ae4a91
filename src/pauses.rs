//! Pauses by hand, as the store keeps them: for every process that serves the route, and over restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::logging::chain;
use crate::model::store::{Store, StoreError};
use crate::monitor::metrics::WaitReason;
use crate::repeat::repeat_blocking;
use crate::worker::Gate;

/// The routes of a consumer group that are paused by hand.
#[derive(Clone, Debug)]
pub struct Pauses {
    store: Store,
    group: String,
}

impl Pauses {
    /// The pauses of this group's routes.
    pub fn new(store: Store, group: impl Into<String>) -> Pauses {
        Pauses { store, group: group.into() }
    }

    /// Keeps in the store that a route is paused, or isn't. Fails where the store can't be written; then a pause ends with
    /// its process. Blocks.
    pub fn keep(&self, route: &str, is_paused: bool) -> Result<(), StoreError> {
        self.store.pause_route(&self.group, route, is_paused)
    }
}

/// Closes and opens the gates of routes as the store says.
pub struct PauseFollower {
    pauses: Pauses,
    gates: Vec<(String, Arc<Gate>)>,
    /// The routes that were paused when the store was looked at last.
    paused: BTreeSet<String>,
    /// What was wrong then, as the log says already.
    trouble: Option<String>,
}

impl PauseFollower {
    /// For these routes, by name; nothing is looked at yet.
    pub fn new(pauses: Pauses, gates: Vec<(String, Arc<Gate>)>) -> PauseFollower {
        PauseFollower { pauses, gates, paused: BTreeSet::new(), trouble: None }
    }

    /// Looks at the store, and follows what has changed there since the last time. Blocks.
    pub fn step(&mut self) {
        let paused = match self.pauses.store.paused_routes(&self.pauses.group) {
            Ok(paused) => paused,
            Err(error) => {
                let trouble = Some(chain(&error));
                if self.trouble != trouble {
                    tracing::warn!(
                        error = trouble,
                        "which routes are paused by hand can't be read; they stay as they are"
                    );
                }
                self.trouble = trouble;
                return;
            }
        };
        self.trouble = None;
        for (route, gate) in &self.gates {
            match (self.paused.contains(route), paused.contains(route)) {
                (false, true) if gate.close(WaitReason::ByHand) => {
                    tracing::info!(
                        route,
                        "paused by hand, as the store says: resume it by `weir route resume {route}`"
                    );
                }
                (true, false) if gate.open(WaitReason::ByHand) => {
                    tracing::info!(route, "resumed, as the store says");
                }
                _ => {}
            }
        }
        self.paused = paused;
    }

    /// Takes a step each `poll`, until `shutdown` is ready.
    pub async fn watch(self, poll: Duration, shutdown: impl Future<Output = ()>) {
        repeat_blocking(self, poll, shutdown, PauseFollower::step).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn gate() -> Arc<Gate> {
        Arc::new(Gate::new(1.0, Duration::from_secs(60), Instant::now()))
    }

    #[test]
    fn every_process_of_the_group_follows_the_store_and_so_does_the_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().to_str().unwrap()).unwrap();
        let pauses = Pauses::new(store.clone(), "group/1");
        let gates = [gate(), gate()];
        let follower = |pauses: &Pauses, gate: &Arc<Gate>| {
            PauseFollower::new(pauses.clone(), vec![("flights".into(), gate.clone()), ("trains".into(), gate.clone())])
        };
        let mut first = follower(&pauses, &gates[0]);
        first.step();
        assert!(!gates[0].is_closed());
        pauses.keep("flights", true).unwrap();
        first.step();
        let mut second = follower(&pauses, &gates[1]);
        second.step();
        assert!(gates.iter().all(|gate| gate.is_closed_for(WaitReason::ByHand)));

        let mut other_group = follower(&Pauses::new(store, "group/2"), &gate());
        other_group.step();
        assert!(other_group.gates.iter().all(|(_, gate)| !gate.is_closed()));

        gates[0].close(WaitReason::Ratio);
        pauses.keep("flights", false).unwrap();
        [&mut first, &mut second].into_iter().for_each(PauseFollower::step);
        assert!(gates[0].is_closed_for(WaitReason::Ratio), "that has its own cure");
        assert!(gates.iter().all(|gate| !gate.is_closed_for(WaitReason::ByHand)));
    }

    #[test]
    fn a_pause_that_the_store_does_not_know_of_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().to_str().unwrap()).unwrap();
        let gate = gate();
        let mut follower = PauseFollower::new(Pauses::new(store, "g"), vec![("flights".into(), gate.clone())]);
        gate.close(WaitReason::ByHand);
        follower.step();
        assert!(gate.is_closed());
        std::fs::write(directory.path().join("paused-routes.json"), "[").unwrap();
        follower.step();
        assert!(gate.is_closed() && follower.trouble.is_some());
    }
}
