//! The scale of a regression's answers where an f32 can't hold them: the network answers on the standardised scale, and
//! mean and deviation are undone in f64, after it.
//!
//! A last layer that undoes them itself answers by f32, whose steps are 128 for a Unix time. Where the target lies near
//! enough to 0 the last layer does it, and there is no scale.

use serde::{Deserialize, Serialize};

use super::signature::Target;

/// Beyond so many deviations from 0 an f32 lacks digits: its error is 6e-8 of the mean, 6e-5 of the deviation here.
const MOST_DEVIATIONS: f64 = 1e3;

/// Deviations and means that are no matter for the weights of a last layer, which are f32.
const LEAST_SIZE: f64 = 1e-30;
const MOST_SIZE: f64 = 1e30;

/// What the answers of a network are multiplied by and added to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetScale {
    /// Added at last.
    pub mean: f64,
    /// What the network's answer is multiplied by, above 0.
    pub std: f64,
}

impl TargetScale {
    /// The scale of a target with this mean and deviation, if the last layer can't have it.
    pub fn of(mean: f64, std: f64) -> Option<TargetScale> {
        let fits = mean.abs() <= MOST_DEVIATIONS * std && (LEAST_SIZE..=MOST_SIZE).contains(&std);
        (!fits).then_some(TargetScale { mean, std })
    }

    /// What is wrong with this scale for a target, if anything.
    pub fn validate(self, target: &Target) -> Result<(), String> {
        match target {
            Target::Regression { names } if names.len() == 1 => {}
            _ => return Err("only a regression of one number has a target scale".into()),
        }
        match self.mean.is_finite() && self.std.is_finite() && self.std > 0.0 {
            true => Ok(()),
            false => Err(format!("the target scale has mean {} and std {}", self.mean, self.std)),
        }
    }

    /// What the network's answer stands for.
    #[inline]
    pub fn undo(self, answer: f32) -> f64 {
        f64::from(answer) * self.std + self.mean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_far_from_0_keeps_its_digits() {
        for (mean, std) in [(0.0, 1.0), (-5e5, 1e3), (1e-9, 1e-9), (0.0, 1e12)] {
            assert_eq!(TargetScale::of(mean, std), None);
        }
        for (mean, std) in [(1.7e9, 600.0), (1e12, 1.0), (0.0, 1e300), (0.0, 1e-40), (f64::NAN, 1.0)] {
            assert!(TargetScale::of(mean, std).is_some(), "{mean}, {std}");
        }
        let scale = TargetScale { mean: 1.764e9, std: 600.0 };
        assert_eq!(scale.undo(0.5), 1_764_000_300.0);
        let target = Target::Regression { names: vec!["eta".into()] };
        assert_eq!(scale.validate(&target), Ok(()));
        assert!(TargetScale { std: 0.0, ..scale }.validate(&target).is_err());
        let classes = Target::Classification { name: "y".into(), classes: vec!["a".into(), "b".into()] };
        assert!(scale.validate(&classes).is_err());
    }
}
