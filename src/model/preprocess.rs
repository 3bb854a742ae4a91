//! From a decoded row to the network's input: imputation, steps over numbers, one-hot columns.
//!
//! This is the one function that training and serving share. Numbers are computed in f64 and rounded once to f32,
//! unless the steps say otherwise; the scaling is never folded into the weights, where it would cost the precision of
//! large values (a Unix time has an f32 step of 128 s).

mod date;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::date::DatePart;
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
    /// For a number: the columns of each part, side by side. What is missing is imputed before all of them.
    Several {
        /// The parts, in order; at least one.
        parts: Vec<Part>,
    },
    /// For a category: one column each, 1 where it is that category and 0 elsewhere; and a last one for all others where
    /// unknown categories go to [`Unknown::Other`].
    OneHot,
}

/// Some of the columns that a number becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    /// One column: the number after these steps.
    Number {
        /// The steps, in order.
        steps: Vec<Step>,
    },
    /// One column: 1 where the number was missing and 0 elsewhere.
    Indicator,
    /// A column per bin: 1 for the bin that the number is in after these steps, and 0 elsewhere. NaN is in no bin: all
    /// columns are NaN.
    Bins {
        /// The steps, in order.
        steps: Vec<Step>,
        /// Where each bin but the first one begins, in rising order: a number that is equal to an edge is in the bin above.
        edges: Vec<f64>,
    },
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
    /// `by` in place of `value`
    Replace {
        /// The number that stands for something else.
        value: f64,
        /// The number that takes its place.
        by: f64,
    },
    /// `((x + 1)^lambda - 1) / lambda` from 0 on, `-((1 - x)^(2 - lambda) - 1) / (2 - lambda)` below; their limits where
    /// they would divide by 0 (Yeo and Johnson, "A new family of power transformations to improve normality or
    /// symmetry", 2000).
    YeoJohnson {
        /// The exponent.
        lambda: f64,
    },
    /// `(x^lambda - 1) / lambda`, its limit `ln x` for 0; NaN unless x is above 0 (Box and Cox, "An analysis of
    /// transformations", 1964).
    BoxCox {
        /// The exponent.
        lambda: f64,
    },
    /// A part of the date that is `x` seconds after 1970, in UTC; NaN where there is none.
    Date {
        /// Which one.
        part: DatePart,
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
            Step::Standardize { mean, std } => standardized(x, mean, std),
            Step::MinMax { min, max } => (x - min) / (max - min),
            Step::Add { value } => x + value,
            Step::Multiply { value } => x * value,
            Step::Divide { value } => x / value,
            Step::Replace { value, by } => {
                if x == value {
                    by
                } else {
                    x
                }
            }
            Step::YeoJohnson { lambda } if x < 0.0 => -power((-x).ln_1p(), 2.0 - lambda),
            Step::YeoJohnson { lambda } => power(x.ln_1p(), lambda),
            Step::BoxCox { lambda } if x > 0.0 => power(x.ln(), lambda),
            Step::BoxCox { .. } => f64::NAN,
            Step::Date { part } => part.of(x),
            Step::Round => f64::from(x as f32),
        }
    }

    /// A number that [`apply`](Step::apply) turns into `y`, where there is one, but for rounding.
    pub(super) fn undo(self, y: f64) -> f64 {
        match self {
            Step::Clip { .. } | Step::Replace { .. } | Step::Date { .. } | Step::Round => y,
            Step::Log1p => y.exp_m1(),
            Step::Standardize { mean, std } => y * std + mean,
            Step::MinMax { min, max } => y * (max - min) + min,
            Step::Add { value } => y - value,
            Step::Multiply { value } => y / value,
            Step::Divide { value } => y * value,
            Step::YeoJohnson { lambda } if y < 0.0 => -logarithm(-y, 2.0 - lambda).exp_m1(),
            Step::YeoJohnson { lambda } => logarithm(y, lambda).exp_m1(),
            Step::BoxCox { lambda } => logarithm(y, lambda).exp(),
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
            Step::Replace { value, by } => value.is_finite() && by.is_finite(),
            Step::YeoJohnson { lambda } | Step::BoxCox { lambda } => lambda.is_finite(),
            Step::Divide { value } => value.is_finite() && value != 0.0,
            Step::Log1p | Step::Date { .. } | Step::Round => true,
        }
    }
}

/// `(e^logarithm)^lambda`, less 1 and divided by lambda: the logarithm itself for 0.
fn power(logarithm: f64, lambda: f64) -> f64 {
    if lambda == 0.0 { logarithm } else { (lambda * logarithm).exp_m1() / lambda }
}

/// The logarithm that [`power`] turns into `y`; NaN where there is none.
fn logarithm(y: f64, lambda: f64) -> f64 {
    if lambda == 0.0 { y } else { (lambda * y).ln_1p() / lambda }
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
    Several {
        parts: Vec<Part>,
        fill: f64,
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
                (Kind::Numeric | Kind::Time, Transform::Numeric { steps, indicator }) => {
                    check_steps(&feature.name, steps)?;
                    match **steps {
                        [Step::Standardize { mean, std }] if !indicator => Column::Standardize { mean, std, fill },
                        _ => Column::Numeric { steps: steps.clone(), fill, indicator: *indicator },
                    }
                }
                (Kind::Numeric | Kind::Time, Transform::Several { parts }) => {
                    for part in parts {
                        part.check(&feature.name)?;
                    }
                    Column::Several { parts: parts.clone(), fill }
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
                    input[at] = standardized(value, mean, std) as f32;
                    at += 1;
                }
                Column::Numeric { ref steps, fill, indicator } => {
                    let missing = value.is_nan();
                    let value = if missing { fill } else { value };
                    input[at] = after(steps, value) as f32;
                    at += 1;
                    if indicator {
                        input[at] = f32::from(missing);
                        at += 1;
                    }
                }
                Column::Several { ref parts, fill } => {
                    let missing = value.is_nan();
                    let value = if missing { fill } else { value };
                    for part in parts {
                        let width = part.width();
                        part.apply(value, missing, &mut input[at..at + width]);
                        at += width;
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
            Column::Several { ref parts, .. } => parts.iter().map(Part::width).sum(),
            Column::OneHot { categories, other, .. } => categories + usize::from(other),
        }
    }
}

impl Part {
    /// How many columns it has.
    pub(crate) fn width(&self) -> usize {
        match self {
            Part::Number { .. } | Part::Indicator => 1,
            Part::Bins { edges, .. } => edges.len() + 1,
        }
    }

    fn apply(&self, value: f64, missing: bool, input: &mut [f32]) {
        match self {
            Part::Number { steps } => input[0] = after(steps, value) as f32,
            Part::Indicator => input[0] = f32::from(missing),
            Part::Bins { steps, edges } => {
                let value = after(steps, value);
                input.fill(if value.is_nan() { f32::NAN } else { 0.0 });
                if !value.is_nan() {
                    input[edges.partition_point(|&edge| edge <= value)] = 1.0;
                }
            }
        }
    }

    fn check(&self, feature: &str) -> Result<(), String> {
        match self {
            Part::Number { steps } => check_steps(feature, steps),
            Part::Indicator => Ok(()),
            Part::Bins { steps, edges } => {
                let rise = edges.iter().all(|edge| edge.is_finite()) && edges.is_sorted_by(|a, b| a < b);
                if rise && !edges.is_empty() {
                    check_steps(feature, steps)
                } else {
                    Err(format!("feature {feature:?}: its bins can't be"))
                }
            }
        }
    }
}

/// [`Step::Standardize`]: most columns are nothing else, and have it without the choice among all steps.
fn standardized(x: f64, mean: f64, std: f64) -> f64 {
    (x - mean) / std
}

fn after(steps: &[Step], value: f64) -> f64 {
    steps.iter().fold(value, |value, step| step.apply(value))
}

fn check_steps(feature: &str, steps: &[Step]) -> Result<(), String> {
    match steps.iter().find(|step| !step.is_sound()) {
        Some(step) => Err(format!("feature {feature:?}: the step {step:?} can't be")),
        None => Ok(()),
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
    fn an_indicator_says_what_was_imputed() {
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
    fn powers_are_those_of_scikit_learn() {
        // sklearn.preprocessing.power_transform's formulas, evaluated by numpy in f64.
        let yeo_johnson = [
            (0.0, 2.5, 1.252_762_968_495_368),
            (0.0, -2.5, -5.625),
            (2.0, -2.5, -1.252_762_968_495_368),
            (0.3, 4.0, 2.068_855_322_309_208_3),
            (0.3, -4.0, -8.485_792_098_823_671),
            (-1.5, 1e6, 0.666_666_666_000_001),
        ];
        let box_cox = [(0.0, 4.0, 1.386_294_361_119_890_6), (0.5, 4.0, 2.0), (-2.0, 0.5, -1.5)];
        let cases = yeo_johnson.map(|(lambda, x, y)| (Step::YeoJohnson { lambda }, x, y)).into_iter();
        for (step, x, expected) in cases.chain(box_cox.map(|(lambda, x, y)| (Step::BoxCox { lambda }, x, y))) {
            let y = step.apply(x);
            assert!((y - expected).abs() <= 1e-13 * expected.abs(), "{step:?} of {x}: {y}");
            // Near the limit a small difference of y is a large one of x.
            assert!((step.undo(y) - x).abs() <= 1e-5 * x.abs(), "{step:?} of {x}: {}", step.undo(y));
        }
        for x in [0.0, -1.0] {
            assert!(Step::BoxCox { lambda: 0.5 }.apply(x).is_nan(), "scikit-learn refuses {x}");
        }
    }

    #[test]
    fn a_number_may_become_columns_of_several_kinds() {
        let edges = vec![-1.0, 2.0];
        let several = || Transform::Several {
            parts: vec![
                Part::Number { steps: vec![Step::Replace { value: -999.0, by: 7.0 }] },
                Part::Bins { steps: vec![], edges: edges.clone() },
                Part::Indicator,
            ],
        };
        let columns_of = |value| columns(number(Missing::Constant { value: 2.0 }), several(), value);
        assert_eq!(columns_of(-999.0), [7.0, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(columns_of(-1.0), [-1.0, 0.0, 1.0, 0.0, 0.0], "an edge is in the bin above");
        assert_eq!(columns_of(2.0_f64.next_down()), [2.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(columns_of(Gap::Missing.value()), [2.0, 0.0, 0.0, 1.0, 1.0]);
        let binned = Part::Bins { steps: vec![Step::BoxCox { lambda: 1.0 }], edges: vec![0.0] };
        let nan = columns(number(Missing::Reject), Transform::Several { parts: vec![binned] }, -3.0);
        assert!(nan.len() == 2 && nan.iter().all(|x| x.is_nan()), "what is no number is in no bin: {nan:?}");
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
            Step::Replace { value: f64::NAN, by: 0.0 },
            Step::YeoJohnson { lambda: f64::INFINITY },
        ] {
            assert!(Preprocess::new(&signature, &[numeric(&[step])]).is_err(), "{step:?}");
        }
        for edges in [vec![], vec![1.0, 1.0], vec![2.0, 1.0], vec![f64::NAN]] {
            let parts = vec![Part::Bins { steps: vec![], edges }];
            assert!(Preprocess::new(&signature, &[Transform::Several { parts }]).is_err());
        }
    }
}
