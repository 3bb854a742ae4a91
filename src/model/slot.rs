//! The slot: the place from which workers take the current model, once per batch.
//!
//! Taking is one atomic read and a reference count, whatever a rollout does meanwhile. Who holds an `Arc` keeps that
//! version to the end of the batch; the last holder of a replaced version frees it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Model;

/// Holds the model that a route's next batch is scored by. Empty until the first load.
#[derive(Debug, Default)]
pub struct Slot {
    current: ArcSwapOption<Model>,
}

impl Slot {
    /// An empty slot.
    pub fn new() -> Slot {
        Slot::default()
    }

    /// The current model; `None` before the first one is loaded. `Arc::ptr_eq` says whether it is still the same.
    pub fn load(&self) -> Option<Arc<Model>> {
        self.current.load_full()
    }

    /// Makes `model` the current one, from the next batch on.
    pub fn store(&self, model: Arc<Model>) {
        self.current.store(Some(model));
    }
}
