//! From a decoded row to the network's input: imputation, steps over numbers, one-hot columns.
//!
//! This is the one function that training and serving share. Numbers are computed in f64 and rounded once to f32,
//! unless the steps say otherwise; the scaling is never folded into the weights, where it would cost the precision of
//! large values (a Unix time has an f32 step of 128 s).

mod combined;
mod date;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use self::date::DatePart;
use super::signature::{Kind, Signature, Unknown};
use crate::record::{Gap, Reason, Rejection};
use combined::Combined;

pub use combined::{Combination, RowNorm};

/// What happens to one feature, in signature order; after these at most one [`Transform::Combined`].
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
    /// For no feature of its own: columns that are made of several others. Their places count from the first column of the
    /// first feature.
    Combined {
        /// In order: each may be made of those before it.
        columns: Vec<Combination>,
        /// The columns that are 0 for the network, since only others are made of them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hidden: Vec<usize>,
    },
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

    /// Which numbers give a number, if not all do.
    fn range(self) -> Option<&'static str> {
        match self {
            Step::Log1p => Some("only numbers above -1 have a logarithm of 1 + x"),
            Step::BoxCox { .. } => Some("only numbers above 0 have a Box-Cox power"),
            _ => None,
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
    /// How many columns those of the features are.
    of_features: usize,
    combined: Option<Combined>,
    width: usize,
    /// The features with a step that not all numbers have a value after, and which numbers have one.
    bounded: Vec<(usize, &'static str)>,
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
        let (transforms, several) = match transforms {
            [of_features @ .., Transform::Combined { columns, hidden }] => (of_features, Some((columns, hidden))),
            _ => (transforms, None),
        };
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
        let of_features = columns.iter().map(Column::width).sum();
        let (combined, width) = match several {
            None => (None, of_features),
            Some((columns, hidden)) => {
                let (combined, width) = Combined::new(columns, hidden, of_features)?;
                (Some(combined), width)
            }
        };
        let bounded = columns.iter().enumerate();
        let bounded = bounded.filter_map(|(at, column)| Some((at, column.steps().find_map(|step| step.range())?)));
        let bounded = bounded.collect();
        Ok(Preprocess { columns, of_features, combined, width, bounded })
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

    /// The columns that are made of several others, after those of the features.
    pub fn combined_columns(&self) -> Range<usize> {
        self.of_features..self.width
    }

    /// Whether each number of a row has a value after its steps. A logarithm has none at the end of its range or beyond it:
    /// such a record is rejected by the name of the feature.
    ///
    /// `row` has one value per feature of the signature. Gaps pass, they are imputed.
    pub fn check(&self, signature: &Signature, row: &[f64]) -> Result<(), Rejection> {
        for &(feature, range) in &self.bounded {
            let value = row[feature];
            if !value.is_nan() && !self.columns[feature].is_defined(value) {
                let name = &signature.features[feature].name;
                let message = format!("feature {name:?}: {value} is out of range, {range}");
                return Err(Rejection::new(Reason::NotFinite, message));
            }
        }
        Ok(())
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
        if let Some(combined) = &self.combined {
            combined.apply(self.of_features, input);
        }
    }
}

impl Column {
    /// All steps of all its parts.
    fn steps(&self) -> impl Iterator<Item = &Step> {
        let (steps, parts): (&[Step], &[Part]) = match self {
            Column::Numeric { steps, .. } => (steps, &[]),
            Column::Several { parts, .. } => (&[], parts),
            Column::Standardize { .. } | Column::OneHot { .. } => (&[], &[]),
        };
        steps.iter().chain(parts.iter().flat_map(Part::steps))
    }

    /// Whether a number has a finite value after the steps.
    fn is_defined(&self, value: f64) -> bool {
        match self {
            Column::Numeric { steps, .. } => after(steps, value).is_finite(),
            Column::Several { parts, .. } => parts.iter().all(|part| after(part.steps(), value).is_finite()),
            Column::Standardize { .. } | Column::OneHot { .. } => true,
        }
    }

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
    fn steps(&self) -> &[Step] {
        match self {
            Part::Number { steps } | Part::Bins { steps, .. } => steps,
            Part::Indicator => &[],
        }
    }

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
mod tests;
