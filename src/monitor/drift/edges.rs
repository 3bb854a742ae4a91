//! Where the bins of numbers end.
//!
//! The bins are those of LightGBM's histograms (`GreedyFindBin` in its `src/io/bin.cpp`; Ke et al., "LightGBM: A Highly
//! Efficient Gradient Boosting Decision Tree", NIPS 2017): values that are frequent enough to fill a bin have one of
//! their own, the others share what is left in equal parts. Each edge lies between two neighbouring values of the
//! training data, so a value that is rounded differently (a float32 that is written as a decimal) stays in its bin.

/// Bins that a column gets if no value is more frequent than others: deciles.
const BINS: usize = 10;

/// Bins between the outer edges, at most. Frequent values cut the others into pieces, and each piece has a bin.
pub(super) const MAX_BINS: usize = 16;

/// Rows for each of the bins, below which a column gets fewer of them.
const ROWS_PER_BIN: usize = 20;

/// Rows of a bin that rare values share.
const MIN_ROWS: usize = 10;

/// Relative distance up to which two values are the same one: the rounding errors of f64.
const SAME: f64 = 1e-12;

/// How far the outer edges may lie from the outermost values, relative to them. At least a quarter of it is kept, which
/// is twice the rounding error of a float32.
const MARGIN: f64 = 1.0 / (1 << 21) as f64;

/// The edges for these values, in ascending order; the bin between two of them is `(lower, upper]`. All values lie
/// between the first and the last edge. Empty if no value is finite.
pub(super) fn edges(values: impl Iterator<Item = f64>) -> Vec<f64> {
    // Adding zero makes 0 of -0.
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).map(|value| value + 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    let distinct = runs(&values);
    let (Some(first), Some(last)) = (distinct.first(), distinct.last()) else { return Vec::new() };
    let gap = |pair: Option<&[Run]>| pair.map_or(0.0, |pair| pair[1].low - pair[0].high);
    let lower = first.low - margin(first.low, gap(distinct.windows(2).next()));
    let upper = last.high + margin(last.high, gap(distinct.windows(2).next_back()));
    let bins = bins(&distinct);
    let inner = bins.windows(2).map(|pair| between(pair[0].high, pair[1].low));
    let lower = between(lower.max(f64::MIN), first.low.next_down());
    let upper = if last.high < f64::MAX { between(last.high, upper.min(f64::MAX)) } else { f64::MAX };
    std::iter::once(lower).chain(inner).chain([upper]).collect()
}

/// Neighbouring values, from the lowest to the highest, and how many rows have one of them.
#[derive(Clone, Copy, Debug)]
struct Run {
    low: f64,
    high: f64,
    rows: usize,
}

/// The different values of sorted ones.
fn runs(sorted: &[f64]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &value in sorted {
        match runs.last_mut() {
            Some(run) if value - run.low <= SAME * value.abs() => {
                *run = Run { high: value, rows: run.rows + 1, ..*run }
            }
            _ => runs.push(Run { low: value, high: value, rows: 1 }),
        }
    }
    runs
}

/// The values of each bin.
fn bins(distinct: &[Run]) -> Vec<Run> {
    let full = rows_of_a_full_bin(distinct);
    let mut bins: Vec<Run> = Vec::new();
    // Whether the last bin takes more values.
    let mut open = false;
    for value in distinct {
        let frequent = value.rows >= full;
        match bins.last_mut() {
            Some(bin) if open && !frequent => *bin = Run { high: value.high, rows: bin.rows + value.rows, ..*bin },
            _ => bins.push(*value),
        }
        open = bins.last().is_some_and(|bin| bin.rows < full);
    }
    while bins.len() > MAX_BINS {
        let rows = |at: &usize| bins[*at].rows + bins[at + 1].rows;
        let at = (0..bins.len() - 1).min_by_key(rows).unwrap_or_default();
        let next = bins.remove(at + 1);
        bins[at] = Run { high: next.high, rows: bins[at].rows + next.rows, ..bins[at] };
    }
    bins
}

/// The rows that fill a bin: an equal part of those whose values are less frequent than that.
fn rows_of_a_full_bin(distinct: &[Run]) -> usize {
    let rows: usize = distinct.iter().map(|value| value.rows).sum();
    let bins = (rows / ROWS_PER_BIN).clamp(2, BINS);
    let mut full = rows.div_ceil(bins);
    loop {
        let frequent = distinct.iter().filter(|value| value.rows >= full);
        let (taken, values) = frequent.fold((0, 0), |(taken, values), value| (taken + value.rows, values + 1));
        let next = (rows - taken).div_ceil((bins.saturating_sub(values)).max(1)).max(MIN_ROWS);
        if next >= full {
            return full;
        }
        full = next;
    }
}

/// How far beyond the outermost value the edge may lie: as far again as its neighbour.
fn margin(value: f64, gap: f64) -> f64 {
    let scale = if value == 0.0 { 1.0 } else { value.abs() };
    gap.max(scale * MARGIN)
}

/// The shortest decimal in the middle half between two numbers; the lower one if there is no number in between.
fn between(low: f64, high: f64) -> f64 {
    let middle = low / 2.0 + high / 2.0;
    let quarter = high / 4.0 - low / 4.0;
    let is_central = |number: &f64| (number - middle).abs() <= quarter && (low..high).contains(number);
    let decimals = (0..17).filter_map(|digits| format!("{middle:.digits$e}").parse().ok());
    decimals.into_iter().find(is_central).unwrap_or(if middle < high { middle } else { low })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edges_of(values: &[(f64, usize)]) -> Vec<f64> {
        edges(values.iter().flat_map(|&(value, rows)| std::iter::repeat_n(value, rows)))
    }

    /// The values that share a bin with `value`.
    fn bin_of(edges: &[f64], value: f64) -> (f64, f64) {
        let at = edges.partition_point(|&edge| value > edge);
        (edges[at - 1], edges[at])
    }

    #[test]
    fn edges_lie_between_neighbouring_values() {
        let tenths: Vec<_> = (1..10).map(|tenth| (f64::from(tenth as f32 / 10.0), 100)).collect();
        assert_eq!(edges_of(&tenths), [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95]);
    }

    #[test]
    fn frequent_values_have_a_bin_of_their_own_wherever_they_are() {
        // 15 % below 5, 60 % at 5, 25 % above.
        let tie = edges_of(&[(1.0, 50), (2.0, 50), (4.0, 50), (5.0, 600), (6.0, 100), (7.0, 150)]);
        assert_eq!(bin_of(&tie, 5.0), (4.5, 5.5));
        assert_ne!(bin_of(&tie, 4.0), bin_of(&tie, 5.0));
        // The few values beside many zeros are compared among each other.
        let values: Vec<_> = (1..=60).map(|value| (f64::from(value), 1)).collect();
        let zeros = edges_of(&[&[(0.0, 1_940)], &values[..]].concat());
        assert_eq!(bin_of(&zeros, 0.0).1, 0.5);
        assert_eq!(zeros.len(), 8, "zero, and six bins of ten rows: {zeros:?}");
        let flag = edges_of(&[(0.0, 1_990), (1.0, 10)]);
        assert_eq!(flag, [-0.5, 0.5, 1.5]);
    }

    #[test]
    fn a_constant_leaves_room_for_rounding() {
        for value in [7.0, 0.0, -1e-30, 0.3, 1e300, f64::MAX] {
            let edges = edges_of(&[(value, 100)]);
            assert_eq!(edges.len(), 2, "{value}");
            let rounded = if value.abs() < 1e38 { f64::from(value as f32) } else { value };
            for value in [value, rounded] {
                assert!(edges[0] < value && value <= edges[1], "{value}: {edges:?}");
            }
        }
        let rounding = edges_of(&[(0.3, 50), (0.1 + 0.2, 50)]);
        assert_eq!(rounding.len(), 2, "{rounding:?}");
        assert_eq!(edges_of(&[(f64::NAN, 9)]), [0.0; 0]);
    }

    proptest! {
        #[test]
        fn all_values_lie_within_and_edges_ascend(
            values in prop::collection::vec(prop_oneof![-5_i32..5, -1000..1000], 1..600), scale in prop_oneof![Just(1.0), Just(0.1), Just(1e-200), Just(1e280)],
        ) {
            let values: Vec<f64> = values.into_iter().map(|value| f64::from(value) * scale).collect();
            let edges = edges(values.iter().copied());
            prop_assert!(edges.is_sorted_by(|a, b| a < b), "{edges:?}");
            prop_assert!((2..=MAX_BINS + 1).contains(&edges.len()), "{edges:?}");
            let (first, last) = (edges[0], edges[edges.len() - 1]);
            prop_assert!(values.iter().all(|&value| first < value && value <= last), "{edges:?}");
            prop_assert!(edges.iter().all(|edge| edge.is_finite()));
        }
    }
}
