//! Two models on the same rows.

use serde::Serialize;

use super::scores::mean;

/// What the difference between two models is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Comparison {
    /// Of classifiers.
    Classification(Disagreement),
    /// Of regressions.
    Regression {
        /// The mean absolute difference between the two predictions, over rows and outputs.
        mean_difference: f64,
    },
}

/// How far two classifiers agree, and which one is right where they don't.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// The share of rows for which both predict the same class.
    pub agreement: f64,
    /// Rows that only the first one predicted rightly.
    pub only_first: u64,
    /// Rows that only the second one predicted rightly.
    pub only_second: u64,
    /// How probable a split as uneven as these two, or more so, would be if both models were equally good: the exact
    /// two-sided test of McNemar.
    pub p_value: f64,
}

/// Compares two classifiers' predictions, row by row.
pub fn disagreement(actual: &[usize], first: &[usize], second: &[usize]) -> Disagreement {
    let same = |(a, b): (&usize, &usize)| f64::from(u8::from(a == b));
    let only = |right: &[usize], wrong: &[usize]| {
        let rows = actual.iter().zip(right).zip(wrong);
        rows.filter(|((actual, right), wrong)| actual == right && actual != wrong).count() as u64
    };
    let (only_first, only_second) = (only(first, second), only(second, first));
    Disagreement {
        agreement: mean(first.iter().zip(second).map(same)),
        only_first,
        only_second,
        p_value: two_sided(only_first.min(only_second), only_first + only_second),
    }
}

/// How probable it is that of `n` tosses of a fair coin at most `k` (up to half of them), or at least `n − k`, are heads.
fn two_sided(k: u64, n: u64) -> f64 {
    // ln of C(n, i) / 2ⁿ, from one i to the next: the numbers themselves are too small for a float.
    let mut ln = -(n as f64) * std::f64::consts::LN_2;
    let mut sum = ln.exp();
    for i in 0..k {
        ln += ((n - i) as f64 / (i + 1) as f64).ln();
        sum += ln.exp();
    }
    (2.0 * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // from scipy.stats import binomtest; binomtest(k, n).pvalue
    #[test]
    fn the_test_is_the_exact_one() {
        for (k, n, p) in [
            (0, 0, 1.0),
            (0, 1, 1.0),
            (5, 10, 1.0),
            (2, 12, 0.038_574_218_75),
            (40, 60, 0.013_489_293_731_191_86),
            (4_900, 10_000, 0.046_585_527_704_946_45),
        ] {
            let found = two_sided(k.min(n - k), n);
            assert!((found - p).abs() < 1e-9, "{k} of {n}: {found}");
        }
    }

    #[test]
    fn only_rows_on_which_one_is_right_count() {
        let found = disagreement(&[0, 1, 2, 2, 1], &[0, 1, 0, 2, 0], &[0, 0, 1, 1, 0]);
        let p_value = 0.5;
        assert_eq!(found, Disagreement { agreement: 0.4, only_first: 2, only_second: 0, p_value });
    }
}
