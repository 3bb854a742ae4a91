//! Which class the probabilities of a row stand for: the most probable one, or with two classes by a threshold.

use serde::{Deserialize, Serialize};

use super::signature::Target;
use crate::engine::predicted_class;

/// How a version with two classes decides, as `model.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// The class that metrics, curves and the threshold are about.
    pub positive: String,
    /// The positive class is answered from this probability on, from 0 to 1. Without it the more probable class is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Decision {
    /// What is wrong with this decision for a target, if anything.
    pub fn validate(&self, target: &Target) -> Result<(), String> {
        let Target::Classification { classes, .. } = target else {
            return Err("only a classification has a positive class".into());
        };
        if classes.len() != 2 {
            return Err(format!("a positive class needs two classes, the target has {}", classes.len()));
        }
        if !classes.contains(&self.positive) {
            return Err(format!("the positive class {:?} is none of {}", self.positive, classes.join(", ")));
        }
        match self.threshold {
            Some(threshold) => check_threshold(threshold),
            None => Ok(()),
        }
    }
}

/// Whether a probability can be compared with it.
pub fn check_threshold(threshold: f64) -> Result<(), String> {
    if (0.0..=1.0).contains(&threshold) {
        return Ok(());
    }
    Err(format!("a threshold must be a probability between 0 and 1, got {threshold}"))
}

/// A [`Decision`] ready to apply to the outputs of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassDecision {
    positive: usize,
    threshold: Option<f64>,
}

impl Default for ClassDecision {
    /// The most probable class. Of two, the second one is positive, as in scikit-learn.
    fn default() -> ClassDecision {
        ClassDecision { positive: 1, threshold: None }
    }
}

impl ClassDecision {
    /// What a version decides, or the default.
    pub fn of(target: &Target, decision: Option<&Decision>) -> ClassDecision {
        match (target, decision) {
            (Target::Classification { classes, .. }, Some(Decision { positive, threshold })) => {
                let positive = classes.iter().position(|class| class == positive).unwrap_or(1);
                ClassDecision { positive, threshold: *threshold }
            }
            _ => ClassDecision::default(),
        }
    }

    /// With another threshold, if there is one.
    pub fn with_threshold(self, threshold: Option<f64>) -> ClassDecision {
        ClassDecision { threshold: threshold.or(self.threshold), ..self }
    }

    /// The same for outputs in another order: `order` has for each its place in the old one.
    pub fn reordered(self, order: &[usize]) -> ClassDecision {
        let positive = order.iter().position(|&old| old == self.positive).unwrap_or(self.positive);
        ClassDecision { positive, ..self }
    }

    /// The index of the positive class.
    pub fn positive(self) -> usize {
        self.positive
    }

    /// From which probability of the positive class on it is answered.
    pub fn threshold(self) -> Option<f64> {
        self.threshold
    }

    /// The class that a row's probabilities stand for.
    #[inline]
    pub fn class<'a>(self, outputs: impl IntoIterator<Item = &'a f32>) -> usize {
        match self.threshold {
            None => predicted_class(outputs),
            Some(threshold) => {
                let probability = outputs.into_iter().nth(self.positive).copied().unwrap_or(f32::NAN);
                self.by_threshold(f64::from(probability), threshold)
            }
        }
    }

    /// The same for a probability of the positive class.
    pub(crate) fn by_threshold(self, probability: f64, threshold: f64) -> usize {
        if probability >= threshold { self.positive } else { 1 - self.positive.min(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(classes: &[&str]) -> Target {
        Target::Classification { name: "y".into(), classes: classes.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_positive_class_is_answered_from_its_threshold_on() {
        let decide = |positive: &str, threshold, outputs: [f32; 2]| {
            let decision = Decision { positive: positive.into(), threshold };
            ClassDecision::of(&target(&["late", "on_time"]), Some(&decision)).class(&outputs)
        };
        assert_eq!(decide("late", None, [0.4, 0.6]), 1);
        assert_eq!(decide("late", Some(0.4), [0.4, 0.6]), 0);
        assert_eq!(decide("late", Some(0.25), [0.25, 0.75]), 0);
        assert_eq!(decide("late", Some(0.25), [0.2, 0.8]), 1);
        assert_eq!(decide("on_time", Some(0.9), [0.2, 0.8]), 0);
        assert_eq!(ClassDecision::default().with_threshold(Some(0.9)).class(&[0.2, 0.8]), 0);
        assert_eq!(ClassDecision::default().class(&[0.2, 0.5, 0.3]), 1);
    }

    #[test]
    fn a_decision_that_cannot_be_is_refused() {
        let decision = |positive: &str, threshold| Decision { positive: positive.into(), threshold };
        assert_eq!(decision("a", Some(0.5)).validate(&target(&["a", "b"])), Ok(()));
        assert!(decision("c", None).validate(&target(&["a", "b"])).is_err());
        assert!(decision("a", None).validate(&target(&["a", "b", "c"])).is_err());
        assert!(decision("a", Some(1.5)).validate(&target(&["a", "b"])).is_err());
        assert!(decision("a", Some(f64::NAN)).validate(&target(&["a", "b"])).is_err());
        assert!(decision("y", None).validate(&Target::Regression { names: vec!["y".into()] }).is_err());
    }
}
