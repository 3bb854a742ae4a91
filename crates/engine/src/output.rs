//! What turns the last layer's values into the answer.

use ndarray::{ArrayViewMut2, Axis};
use serde::{Deserialize, Serialize};

use super::kernel::Simd;
use super::math;

/// What turns the last layer's values into the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// The values as they are: regression.
    Identity,
    /// One logit of a binary classifier becomes two columns, `1 - p` and `p`, each with its own full precision.
    Logistic,
    /// As many probabilities as logits.
    Softmax,
    /// Each value divided by the sum of all, for values of 0 and more: probabilities that several models have each for
    /// itself. If all are 0, they have equal shares.
    Normalized,
}

impl Output {
    /// Columns of the answer behind a layer of `logits` outputs.
    pub(super) fn columns(self, logits: usize) -> usize {
        match self {
            Output::Identity | Output::Softmax | Output::Normalized => logits,
            Output::Logistic => 2,
        }
    }

    /// Turns the last layer's rows, which begin every `stride` floats of `logits`, into the rows of the answer. `columns`
    /// is room for its columns, `LANES` floats each.
    ///
    /// Vectors go across the rows, a lane for each: classes are few and no multiple of the lanes.
    #[inline(always)]
    pub(super) fn write<S: Simd>(
        self,
        s: S,
        logits: &[f32],
        stride: usize,
        columns: &mut [f32],
        mut answer: ArrayViewMut2<'_, f32>,
    ) {
        let columns = &mut columns[..answer.ncols() * S::LANES];
        let groups = answer.axis_chunks_iter_mut(Axis(0), S::LANES).zip(logits.chunks(S::LANES * stride));
        for (mut answer, logits) in groups {
            for (lane, row) in logits.chunks_exact(stride).enumerate() {
                let column_starts = columns[lane..].iter_mut().step_by(S::LANES);
                column_starts.zip(row).for_each(|(to, &logit)| *to = logit);
            }
            match self {
                Output::Identity => {}
                Output::Logistic => logistic(s, columns),
                Output::Softmax => softmax(s, columns),
                Output::Normalized => normalized(s, columns),
            }
            for (lane, mut row) in answer.outer_iter_mut().enumerate() {
                let column_starts = columns[lane..].iter().step_by(S::LANES);
                row.iter_mut().zip(column_starts).for_each(|(to, &value)| *to = value);
            }
        }
    }
}

/// A column of z becomes two, of 1 - p and p.
#[inline(always)]
fn logistic<S: Simd>(s: S, columns: &mut [f32]) {
    let z = s.read(columns);
    // 1 - p is the logistic of -z; computed as such it keeps its digits where p is close to 1.
    s.write(math::logistic(s, s.sub(s.splat(0.0), z)), columns);
    s.write(math::logistic(s, z), &mut columns[S::LANES..]);
}

/// n columns of z become e^(z - max) / Σ e^(z - max). Where a row has NaN or +∞, all of it becomes NaN.
///
/// Relative error ≤ (3.5 + n + (max - z) / 2) ε with ε = 2⁻²³; absolute errors up to 1e-36 don't count. Of that 1.5 ε are
/// [`math::exp`]'s, once for the term and once for the sum, (max - z) / 2 ε what rounding the difference makes of it, the
/// rest n additions, what the differences make of the sum (at most ln n / 2 ε), and the division.
#[inline(always)]
fn softmax<S: Simd>(s: S, columns: &mut [f32]) {
    let mut largest = s.splat(f32::NEG_INFINITY);
    for column in columns.chunks_exact(S::LANES) {
        largest = s.at_least(largest, s.read(column));
    }
    let mut sum = s.splat(0.0);
    for column in columns.chunks_exact_mut(S::LANES) {
        let e = math::exp(s, s.sub(s.read(column), largest));
        sum = s.add(sum, e);
        s.write(e, column);
    }
    for column in columns.chunks_exact_mut(S::LANES) {
        s.write(s.div(s.read(column), sum), column);
    }
}

/// n columns are divided by their sum. Where a row has NaN, all of it becomes NaN.
#[inline(always)]
fn normalized<S: Simd>(s: S, columns: &mut [f32]) {
    let mut sum = s.splat(0.0);
    for column in columns.chunks_exact(S::LANES) {
        sum = s.add(sum, s.read(column));
    }
    let share = s.splat(S::LANES as f32 / columns.len() as f32);
    // NaN stays NaN, whatever its sign.
    let share = s.add(share, s.mul(sum, s.splat(0.0)));
    let is_positive = s.sub(s.splat(0.0), sum);
    for column in columns.chunks_exact_mut(S::LANES) {
        let value = s.div(s.read(column), sum);
        s.write(s.if_negative(is_positive, value, share), column);
    }
}
