//! Health: whoever must be ready before the process is holds a [`Condition`].
//!
//! Liveness asks for nothing but an answer: a process that waits for its broker is alive, and restarting it would
//! help nobody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Shared;

/// The conditions that make the process ready: all of them, and at least one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    conditions: Arc<Mutex<Conditions>>,
}

#[derive(Debug, Default)]
struct Conditions {
    next: u64,
    /// By the order of their creation: what it is about, and why it isn't ready, if it isn't.
    held: BTreeMap<u64, (String, Option<String>)>,
}

/// Something that must be ready before the process is. It isn't at first. Dropping it withdraws it: who is gone keeps
/// nobody waiting.
#[derive(Debug)]
pub struct Condition {
    health: Health,
    key: u64,
}

impl Health {
    /// A new condition. `subject` is who it is about ("worker 0"), `reason` why it isn't ready yet ("joining the
    /// group").
    pub fn condition(&self, subject: impl Into<String>, reason: impl Into<String>) -> Condition {
        let mut conditions = self.lock();
        let key = conditions.next;
        conditions.next += 1;
        conditions.held.insert(key, (subject.into(), Some(reason.into())));
        Condition { health: self.clone(), key }
    }

    /// What isn't ready, as "subject: reason", in the order of creation; empty when all is.
    pub fn reasons(&self) -> Vec<String> {
        let conditions = self.lock();
        if conditions.held.is_empty() {
            return vec!["nothing has started yet".to_owned()];
        }
        let reasons = conditions.held.values();
        reasons.filter_map(|(subject, reason)| reason.as_ref().map(|reason| format!("{subject}: {reason}"))).collect()
    }

    /// No state here is half changed: a panic of another holder does no harm.
    fn lock(&self) -> MutexGuard<'_, Conditions> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// It is ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// It isn't, or no more, and why.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        if let Some(held) = self.health.lock().held.get_mut(&self.key) {
            held.1 = reason;
        }
    }
}

impl Drop for Condition {
    fn drop(&mut self) {
        self.health.lock().held.remove(&self.key);
    }
}

pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// Ready when all conditions are and every route has a model.
pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Value>) {
    let mut reasons = shared.state.health.reasons();
    let empty = shared.state.routes.iter().filter(|served| served.slot.load().is_none());
    reasons.extend(empty.map(|served| format!("route {}: no model loaded yet", served.route)));
    if reasons.is_empty() {
        (StatusCode::OK, Json(json!({ "ready": true })))
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "ready": false, "reasons": reasons })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_condition_is() {
        let health = Health::default();
        assert_eq!(health.reasons(), ["nothing has started yet"]);
        let one = health.condition("worker 0", "joining the group");
        let two = health.condition("worker 1", "joining the group");
        one.ready();
        assert_eq!(health.reasons(), ["worker 1: joining the group"]);
        two.ready();
        assert!(health.reasons().is_empty());
        one.not_ready("the broker is gone");
        assert_eq!(health.reasons(), ["worker 0: the broker is gone"]);
        drop(one);
        assert!(health.reasons().is_empty());
    }
}
