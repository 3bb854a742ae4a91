//! How far live rows are from training rows over the same bins, and how far chance alone may take them.

/// Live rows below which a feature isn't compared.
pub const MIN_ROWS: u64 = 200;

/// Training rows below which a feature isn't compared.
pub const MIN_TRAINING_ROWS: u64 = 100;

/// The smallest index that counts as drift. By custom an index below 0.1 is "no change" and above 0.25 a large one
/// (Siddiqi, "Credit Risk Scorecards", 2006), which is meant for ten bins of equal size. A flag that goes from 0.5 to
/// 5 % has 0.106, and a new category of 2 % has 0.09.
pub const THRESHOLD: f64 = 0.05;

/// `ln(1/α)` of the share α of undrifted windows that may exceed the threshold by chance: 0.1 %. The bound is one for
/// many rows in each bin. With few training rows the index varies more, and the promise is 1 %.
const LOG_CHANCE: f64 = 6.9;

/// What the comparison of a feature, or of a prediction, with the training data found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriftComparison {
    /// Live rows.
    pub rows: u64,
    /// Whether there is an index, or why not.
    pub status: DriftStatus,
    /// The population stability index ([`psi`]), if the rows are compared.
    pub psi: Option<f64>,
    /// An index above this is drift ([`threshold`]).
    pub threshold: f64,
    /// What chance may add to the index.
    pub chance: f64,
}

/// Whether a feature is compared with its training data. A feature without an index isn't a healthy one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriftStatus {
    /// There is an index.
    Compared,
    /// There are less than [`MIN_ROWS`] live rows.
    FewRows,
    /// There were less than [`MIN_TRAINING_ROWS`] rows in training, or in the test for a prediction.
    FewTrainingRows,
    /// The model has no baseline of the feature.
    NoBaseline,
    /// The route excludes the feature.
    Excluded,
}

impl DriftStatus {
    /// Every status, in the order of the documentation.
    pub const ALL: [DriftStatus; 5] = [
        DriftStatus::Compared,
        DriftStatus::FewRows,
        DriftStatus::FewTrainingRows,
        DriftStatus::NoBaseline,
        DriftStatus::Excluded,
    ];

    /// The value of the label `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            DriftStatus::Compared => "compared",
            DriftStatus::FewRows => "few_rows",
            DriftStatus::FewTrainingRows => "few_training_rows",
            DriftStatus::NoBaseline => "no_baseline",
            DriftStatus::Excluded => "excluded",
        }
    }
}

impl DriftComparison {
    /// Compares the rows per bin of the training data and of the live data. Those of the training data are no whole
    /// numbers if they are a mix of hours or weekdays.
    pub fn of(training: &[f64], live: &[u64]) -> DriftComparison {
        let (trained, rows) = (training.iter().sum::<f64>(), live.iter().sum::<u64>());
        let status = if trained == 0.0 {
            DriftStatus::NoBaseline
        } else if trained < MIN_TRAINING_ROWS as f64 {
            DriftStatus::FewTrainingRows
        } else if rows < MIN_ROWS {
            DriftStatus::FewRows
        } else {
            DriftStatus::Compared
        };
        let psi = (status == DriftStatus::Compared).then(|| psi(training, live));
        let chance = chance(training.len(), trained, rows);
        DriftComparison { rows, status, psi, threshold: threshold(training.len(), trained, rows), chance }
    }

    /// Of a feature that isn't to be compared.
    pub fn excluded(live: &[u64]) -> DriftComparison {
        let rows = live.iter().sum();
        let never = f64::INFINITY;
        DriftComparison { rows, status: DriftStatus::Excluded, psi: None, threshold: never, chance: never }
    }

    /// Whether the feature has drifted.
    pub fn is_drift(&self) -> bool {
        self.exceeds(THRESHOLD)
    }

    /// Whether the index is above `least`, and above what chance explains.
    pub fn exceeds(&self, least: f64) -> bool {
        self.psi.is_some_and(|psi| psi > self.chance.max(least))
    }
}

/// The population stability index of two histograms over the same bins, without what sampling adds to it:
///
/// `max(0, Σ (p - q) · ln((p + ε) / (q + ε)) - (1/n + 1/m) · (bins - 1))`
///
/// `p` is the share of a bin in the `n` live rows, `q` its share in the `m` training rows. The first term is the index;
/// ε is half a row of the smaller sample, as under Jeffreys' prior ("An invariant form for the prior probability in
/// estimation problems", 1946), so that an empty bin has a logarithm, and a bin that is empty in both adds nothing. The
/// second term is what the index of two samples of one population is on average, since it is about
/// `(1/n + 1/m) · χ²(bins - 1)` (Yurdakul and Naranjo, "Statistical properties of the population stability index",
/// Journal of Risk Model Validation 14, 2020).
///
/// Both samples must have rows.
pub fn psi(training: &[f64], live: &[u64]) -> f64 {
    let (trained, rows) = (training.iter().sum::<f64>(), live.iter().sum::<u64>() as f64);
    let half_a_row = 0.5 / trained.min(rows);
    let terms = training.iter().zip(live).map(|(&expected, &actual)| {
        let (p, q) = (actual as f64 / rows, expected / trained);
        (p - q) * ((p + half_a_row) / (q + half_a_row)).ln()
    });
    (terms.sum::<f64>() - (1.0 / rows + 1.0 / trained) * (training.len() - 1) as f64).max(0.0)
}

/// The index that counts as drift: [`THRESHOLD`], or what chance may add if that is more.
pub fn threshold(bins: usize, trained: f64, rows: u64) -> f64 {
    chance(bins, trained, rows).max(THRESHOLD)
}

/// What chance may add to the average index. With `k = bins - 1` that is `(1/n + 1/m) · (2 √(k x) + 2 x)`: a χ² variable
/// exceeds its mean `k` by `2 √(k x) + 2 x` with a probability of at most `e^-x` (Laurent and Massart, "Adaptive estimation of a quadratic functional by model
/// selection", Annals of Statistics 28, 2000, lemma 1).
fn chance(bins: usize, trained: f64, rows: u64) -> f64 {
    let freedom = bins.saturating_sub(1) as f64;
    let noise = 1.0 / rows as f64 + 1.0 / trained;
    noise * (2.0 * (freedom * LOG_CHANCE).sqrt() + 2.0 * LOG_CHANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_is_the_formula() {
        // >>> from math import log
        // >>> p, q, e = [.6, .3, .1, 0], [.1, .2, .7, 0], .5 / 500
        // >>> sum((a - b) * log((a + e) / (b + e)) for a, b in zip(p, q)) - (1/1000 + 1/500) * 3
        let index = psi(&[50.0, 100.0, 350.0, 0.0], &[600, 300, 100, 0]);
        assert!((index - 2.085_550_167).abs() < 1e-9, "{index}");
        assert_eq!(psi(&[500.0, 500.0], &[1_000, 1_000]), 0.0, "never below zero");
    }

    #[test]
    fn a_bin_that_nobody_hits_adds_nothing_at_any_number_of_rows() {
        for rows in [200, 10_000, 100_000_000] {
            assert_eq!(psi(&[0.0, 0.0, 100.0, 0.0], &[0, 0, rows, 0]), 0.0, "{rows}");
        }
    }

    #[test]
    fn the_threshold_falls_with_the_rows_of_the_smaller_sample() {
        // >>> (1/100 + 1/1000) * (2 * (12 * 6.9)**.5 + 13.8)
        assert!((threshold(13, 100.0, 1_000) - 0.351_987_91).abs() < 1e-8, "{}", threshold(13, 100.0, 1_000));
        // The recording rule's test has this one, too.
        assert!((threshold(2, 100.0, 10_000) - 0.192_441).abs() < 1e-6, "{}", threshold(2, 100.0, 10_000));
        assert_eq!(threshold(13, 100.0, 1_000), threshold(13, 1_000.0, 100));
        assert_eq!(threshold(13, 2_000.0, 2_000), THRESHOLD);
    }

    #[test]
    fn silence_has_a_reason() {
        let status = |training: &[f64], live: &[u64]| {
            let found = DriftComparison::of(training, live);
            assert_eq!(found.psi.is_some(), found.status == DriftStatus::Compared);
            found.status
        };
        assert_eq!(status(&[50.0, 50.0], &[100, 100]), DriftStatus::Compared);
        assert_eq!(status(&[50.0, 50.0], &[100, 99]), DriftStatus::FewRows);
        assert_eq!(status(&[50.0, 49.0], &[100, 100]), DriftStatus::FewTrainingRows);
        assert_eq!(status(&[0.0, 0.0], &[100, 100]), DriftStatus::NoBaseline);
        assert!(DriftComparison::of(&[500.0, 500.0], &[900, 100]).is_drift());
        assert!(!DriftComparison::of(&[500.0, 500.0], &[510, 490]).is_drift());
        // An index of 0.0387, of which chance may explain 0.0040.
        let small = DriftComparison::of(&[5_000.0, 5_000.0], &[5_980, 4_020]);
        assert!(small.exceeds(0.03) && !small.exceeds(0.039) && !small.is_drift(), "{small:?}");
        assert!(!DriftComparison::excluded(&[900, 100]).exceeds(0.0));
    }
}
