//! Readiness: each part of weir that must be ready before the process is holds a [`ReadinessCheck`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The checks of the process. It is ready when all of them are, and there is at least one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: Arc<Mutex<Checks>>,
}

#[derive(Debug, Default)]
struct Checks {
    next: u64,
    /// By the order of their creation: what it is about, and why it isn't ready, if it isn't.
    held: BTreeMap<u64, (String, Option<String>)>,
}

/// A part of weir that must be ready before the process is. It isn't at first. Dropping it removes the check.
#[derive(Debug)]
pub struct ReadinessCheck {
    health: Health,
    key: u64,
}

impl Health {
    /// Adds a check. `subject` is the part that it is about ("worker 0"), `reason` why it isn't ready yet ("joining the
    /// group").
    pub fn readiness_check(&self, subject: impl Into<String>, reason: impl Into<String>) -> ReadinessCheck {
        let mut checks = self.lock();
        let key = checks.next;
        checks.next += 1;
        checks.held.insert(key, (subject.into(), Some(reason.into())));
        ReadinessCheck { health: self.clone(), key }
    }

    /// What isn't ready, as "subject: reason", in the order of creation; empty when all is.
    pub fn reasons(&self) -> Vec<String> {
        let checks = self.lock();
        if checks.held.is_empty() {
            return vec!["nothing has started yet".to_owned()];
        }
        let reasons = checks.held.values();
        reasons.filter_map(|(subject, reason)| reason.as_ref().map(|reason| format!("{subject}: {reason}"))).collect()
    }

    /// No state here is half changed: a panic of another holder does no harm.
    fn lock(&self) -> MutexGuard<'_, Checks> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadinessCheck {
    /// Marks this check as ready.
    pub fn ready(&self) {
        self.set(None);
    }

    /// Marks this check as not ready, with the reason.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, reason: Option<String>) {
        if let Some(held) = self.health.lock().held.get_mut(&self.key) {
            held.1 = reason;
        }
    }
}

impl Drop for ReadinessCheck {
    fn drop(&mut self) {
        self.health.lock().held.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_check_is() {
        let health = Health::default();
        assert_eq!(health.reasons(), ["nothing has started yet"]);
        let one = health.readiness_check("worker 0", "joining the group");
        let two = health.readiness_check("worker 1", "joining the group");
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
