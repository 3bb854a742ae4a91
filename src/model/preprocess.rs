//! From a decoded row to the network's input: imputation, steps over numbers, one-hot columns.
//!
//! This is the one function that training and serving share. Numbers are computed in f64 and rounded once to f32,
//! unless the steps say otherwise; the scaling is never folded into the weights, where it would cost the precision of
//! large values (a Unix time has an f32 step of 128 s).

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::signature::{Kind, Signature, Unknown};
use crate::record::Gap;

/// What happens to one feature, in signature order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "transform", rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// For a number: one column, what it is after these steps. What is missing is imputed before them.
    Numeric {
        /// The steps, in order; none of them passes the number on as it is.
        steps: Vec<Step>,
        /// Whether a second column follows that is 1 where the number was missing and 0 elsewhere.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        indicator: bool,
    },
    /// For a category: one column each, 1 where it is that category and 0 elsewhere; and a last one for all others where
    /// unknown categories go to [`Unknown::Other`].
    OneHot,
}

/// One step from a number to the next, in f64.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// `low` for what is less, `high` for what is more.
    Clip {
        /// The least that passes.
        low: f64,
        /// The most that passes.
        high: f64,
    },
    /// `ln(1 + x)`; NaN below -1.
    Log1p,
    /// `(x - mean) / std`
    Standardize {
        /// The mean over the training data.
        mean: f64,
        /// The population standard deviation over the training data; 1 for a constant feature.
        std: f64,
    },
    /// `(x - min) / (max - min)`, where `min` is below `max`: the training data lies from 0 to 1.
    MinMax {
        /// The least of the training data.
        min: f64,
        /// The most of the training data; `min + 1` for a constant feature.
        max: f64,
    },
    /// `x + value`
    Add {
        /// The addend.
        value: f64,
    },
    /// `x · value`
    Multiply {
        /// The factor.
        value: f64,
    },
    /// `x / value`
    Divide {
        /// The divisor, not 0.
        value: f64,
    },
    /// The nearest f32. An imported graph that computes in f32 rounds after each of its steps; since a sum, product or
    /// quotient of two f32 that is rounded to f64 and then to f32 is rounded as if only to f32, this gives its very bits.
    Round,
}

impl Step {
    #[inline]
    pub(crate) fn apply(self, x: f64) -> f64 {
        match self {
            // NaN stays NaN.
            Step::Clip { low, high } => x.clamp(low, high),
            Step::Log1p => x.ln_1p(),
            Step::Standardize { mean, std } => (x - mean) / std,
            Step::MinMax { min, max } => (x - min) / (max - min),
            Step::Add { value } => x + value,
            Step::Multiply { value } => x * value,
            Step::Divide { value } => x / value,
            Step::Round => f64::from(x as f32),
        }
    }

    /// A number that [`apply`](Step::apply) turns into `y`, where there is one, but for rounding.
    pub(super) fn undo(self, y: f64) -> f64 {
        match self {
            Step::Clip { .. } | Step::Round => y,
            Step::Log1p => y.exp_m1(),
            Step::Standardize { mean, std } => y * std + mean,
            Step::MinMax { min, max } => y * (max - min) + min,
            Step::Add { value } => y - value,
            Step::Multiply { value } => y / value,
            Step::Divide { value } => y * value,
        }
    }

    /// Whether each number gives a number.
    fn is_sound(self) -> bool {
        match self {
            // A bound may be infinite; both must be there, in order.
            Step::Clip { low, high } => low <= high,
            Step::Standardize { mean, std } => mean.is_finite() && std.is_finite() && std > 0.0,
            Step::MinMax { min, max } => min.is_finite() && max.is_finite() && max > min,
            Step::Add { value } | Step::Multiply { value } => value.is_finite(),
            Step::Divide { value } => value.is_finite() && value != 0.0,
            Step::Log1p | Step::Round => true,
        }
    }
}

/// The transforms of a whole signature, ready to apply.
#[derive(Clone, Debug)]
pub struct Preprocess {
    columns: Vec<Column>,
    width: usize,
}

#[derive(Clone, Debug)]
enum Column {
    /// The usual case, apart for its speed.
    Standardize {
        mean: f64,
        std: f64,
        fill: f64,
    },
    Numeric {
        steps: Vec<Step>,
        fill: f64,
        indicator: bool,
    },
    OneHot {
        categories: usize,
        fill: f64,
        other: bool,
    },
}

impl Preprocess {
    /// Pairs each feature with its transform; the error says which pair can't be.
    pub fn new(signature: &Signature, transforms: &[Transform]) -> Result<Preprocess, String> {
        if transforms.len() != signature.features.len() {
            return Err(format!("{} transforms for {} features", transforms.len(), signature.features.len()));
        }
        let mut columns = Vec::with_capacity(transforms.len());
        for (feature, transform) in signature.features.iter().zip(transforms) {
            let fill = feature.missing.fill().unwrap_or(f64::NAN);
            columns.push(match (&feature.kind, transform) {
                (Kind::Numeric, Transform::Numeric { steps, indicator }) => {
                    if let Some(step) = steps.iter().find(|step| !step.is_sound()) {
                        return Err(format!("feature {:?}: the step {step:?} can't be", feature.name));
                    }
                    match **steps {
                        [Step::Standardize { mean, std }] if !indicator => Column::Standardize { mean, std, fill },
                        _ => Column::Numeric { steps: steps.clone(), fill, indicator: *indicator },
                    }
                }
                (Kind::Categorical { categories, unknown }, Transform::OneHot) => {
                    Column::OneHot { categories: categories.len(), fill, other: *unknown == Unknown::Other }
                }
                _ => return Err(format!("feature {:?}: its transform is for another kind", feature.name)),
            });
        }
        let width = columns.iter().map(Column::width).sum();
        Ok(Preprocess { columns, width })
    }

    /// How many columns the network's input has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The columns of each feature, in signature order.
    pub fn columns(&self) -> impl Iterator<Item = Range<usize>> {
        self.columns.iter().scan(0, |end, column| {
            let start = *end;
            *end += column.width();
            Some(start..*end)
        })
    }

    /// Fills `input` (of [`Preprocess::width`] columns) from a row that [`Signature::check`] let pass.
    ///
    /// A value beyond f32's range after scaling becomes an infinity; the prediction then isn't finite and the record
    /// is rejected for that.
    pub fn apply(&self, row: &[f64], input: &mut [f32]) {
        debug_assert_eq!(row.len(), self.columns.len());
        debug_assert_eq!(input.len(), self.width);
        let mut at = 0;
        for (column, &value) in self.columns.iter().zip(row) {
            match *column {
                Column::Standardize { mean, std, fill } => {
                    let value = if value.is_nan() { fill } else { value };
                    input[at] = Step::Standardize { mean, std }.apply(value) as f32;
                    at += 1;
                }
                Column::Numeric { ref steps, fill, indicator } => {
                    let missing = value.is_nan();
                    let value = if missing { fill } else { value };
                    input[at] = steps.iter().fold(value, |value, step| step.apply(value)) as f32;
                    at += 1;
                    if indicator {
                        input[at] = f32::from(missing);
                        at += 1;
                    }
                }
                Column::OneHot { categories, fill, other } => {
                    let group = &mut input[at..at + categories + usize::from(other)];
                    at += group.len();
                    group.fill(0.0);
                    let value = if Gap::of(value) == Some(Gap::Missing) { fill } else { value };
                    // A gap is NaN, which casts to 0: it must not set the first category.
                    if !value.is_nan() {
                        group[value as usize] = 1.0;
                    } else if other && Gap::of(value) == Some(Gap::Unknown) {
                        group[categories] = 1.0;
                    }
                }
            }
        }
    }
}

impl Column {
    fn width(&self) -> usize {
        match *self {
            Column::Standardize { .. } => 1,
            Column::Numeric { indicator, .. } => 1 + usize::from(indicator),
            Column::OneHot { categories, other, .. } => categories + usize::from(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signature::{Feature, Missing, Target};

    fn number(missing: Missing) -> Feature {
        Feature { name: "x".into(), kind: Kind::Numeric, missing }
    }

    fn colour(missing: Missing, unknown: Unknown) -> Feature {
        let categories = ["red", "green", "blue"].map(String::from).to_vec();
        Feature { name: "colour".into(), kind: Kind::Categorical { categories, unknown }, missing }
    }

    fn numeric(steps: &[Step]) -> Transform {
        Transform::Numeric { steps: steps.to_vec(), indicator: false }
    }

    /// What becomes of a feature's value.
    fn columns(feature: Feature, transform: Transform, value: f64) -> Vec<f32> {
        let signature = Signature { features: vec![feature], target: Target::Regression { names: vec!["y".into()] } };
        let preprocess = Preprocess::new(&signature, &[transform]).unwrap();
        let mut input = vec![9.0; preprocess.width()];
        preprocess.apply(&[value], &mut input);
        input
    }

    #[test]
    fn large_numbers_keep_their_precision() {
        let time = numeric(&[Step::Standardize { mean: 1.7e9, std: 10.0 }]);
        assert_eq!(columns(number(Missing::Reject), time, 1.7e9 + 3.0), [0.3]);
    }

    #[test]
    fn gaps_are_imputed_or_become_zeros() {
        let scale = numeric(&[Step::Standardize { mean: 1.5, std: 2.0 }]);
        let missing = Gap::Missing.value();
        assert_eq!(columns(number(Missing::Constant { value: 2.5 }), scale, missing), [0.5]);
        let gaps = [(Missing::Zeros, [0.0; 3]), (Missing::Category { index: 1 }, [0.0, 1.0, 0.0])];
        for (how, expected) in gaps {
            assert_eq!(columns(colour(how, Unknown::Zeros), Transform::OneHot, missing), expected);
            assert_eq!(columns(colour(how, Unknown::Zeros), Transform::OneHot, Gap::Unknown.value()), [0.0; 3]);
        }
    }

    #[test]
    fn an_unknown_category_may_have_a_column_of_its_own() {
        let feature = || colour(Missing::Zeros, Unknown::Other);
        assert_eq!(columns(feature(), Transform::OneHot, Gap::Unknown.value()), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(columns(feature(), Transform::OneHot, Gap::Missing.value()), [0.0; 4]);
        assert_eq!(columns(feature(), Transform::OneHot, 2.0), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn an_indicator_tells_what_was_imputed() {
        let transform = || Transform::Numeric { steps: vec![], indicator: true };
        let feature = || number(Missing::MostFrequent { value: 7.0 });
        assert_eq!(columns(feature(), transform(), Gap::Missing.value()), [7.0, 1.0]);
        assert_eq!(columns(feature(), transform(), 3.0), [3.0, 0.0]);
    }

    #[test]
    fn steps_go_in_their_order() {
        let steps = [Step::Clip { low: 0.0, high: 7.0 }, Step::Log1p, Step::MinMax { min: 0.0, max: 8_f64.ln() }];
        for (value, expected) in [(-5.0, 0.0), (7.0, 1.0), (1e9, 1.0)] {
            assert_eq!(columns(number(Missing::Reject), numeric(&steps), value), [expected]);
        }
        let steps = [Step::Add { value: 1.0 }, Step::Multiply { value: 6.0 }, Step::Divide { value: 4.0 }];
        assert_eq!(columns(number(Missing::Reject), numeric(&steps), 2.0), [4.5]);
    }

    #[test]
    fn rounding_after_each_step_is_f32_arithmetic() {
        let (offset, factor) = (-0.1_f32, 3.3_f32);
        let steps = [
            Step::Round,
            Step::Add { value: offset.into() },
            Step::Round,
            Step::Multiply { value: factor.into() },
            Step::Round,
        ];
        for value in [0.3, 1.7e9, 1e-12, -77.7] {
            let expected = (value as f32 + offset) * factor;
            assert_eq!(columns(number(Missing::Reject), numeric(&steps), value), [expected]);
        }
    }

    #[test]
    fn steps_that_give_no_number_are_refused() {
        let signature = Signature {
            features: vec![number(Missing::Reject)],
            target: Target::Regression { names: vec!["y".into()] },
        };
        for step in [
            Step::Standardize { mean: 0.0, std: 0.0 },
            Step::MinMax { min: 1.0, max: 1.0 },
            Step::Clip { low: 1.0, high: 0.0 },
            Step::Divide { value: 0.0 },
            Step::Add { value: f64::NAN },
        ] {
            assert!(Preprocess::new(&signature, &[numeric(&[step])]).is_err(), "{step:?}");
        }
    }
}
