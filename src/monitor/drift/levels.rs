//! Which categories have a bin of their own, which share one, and how many rows to expect of categories that training
//! didn't see.

/// Bins that the categories of a feature get, about.
const BINS: u64 = 40;

/// Rows of a bin that rare categories share.
const ROWS_PER_BIN: u64 = 20;

/// Rows of a category with a bin of its own, where there are few categories.
const MIN_ROWS: u64 = 10;

/// The bins of categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Levels {
    /// The categories with a bin of their own, ascending.
    pub(super) own: Vec<usize>,
    /// How many of the other categories share each of the other bins, in their order.
    pub(super) shared: Vec<usize>,
}

/// The bins for categories with so many training rows each.
pub(super) fn levels(rows: &[u64]) -> Levels {
    let full = (rows.iter().sum::<u64>() / BINS).max(ROWS_PER_BIN);
    let min = if rows.len() as u64 <= BINS { MIN_ROWS } else { full };
    let own: Vec<usize> = (0..rows.len()).filter(|&category| rows[category] >= min).collect();
    let mut shared: Vec<(usize, u64)> = Vec::new();
    for &rows in rows.iter().filter(|&&rows| rows < min) {
        match shared.last_mut() {
            Some((categories, sum)) if *sum < full => {
                (*categories, *sum) = (*categories + 1, *sum + without_singleton(rows))
            }
            _ => shared.push((1, without_singleton(rows))),
        }
    }
    // The last one got what was left.
    if let [.., before, last] = &mut shared[..]
        && last.1 < full / 2
    {
        before.0 += last.0;
        shared.pop();
    }
    Levels { own, shared: shared.into_iter().map(|(categories, _)| categories).collect() }
}

/// The rows to expect of a category when as many rows come as training had, given those that it had in training: a
/// category that was seen once stands for those that weren't seen, whose rows it lends (Good, "The population
/// frequencies of species and the estimation of population parameters", Biometrika 40, 1953: what wasn't seen has
/// the share N₁/m of all, N₁ the number of categories seen once in m rows; categories seen up to r times together
/// have in truth as many rows less).
pub(super) fn without_singleton(rows: u64) -> u64 {
    if rows == 1 { 0 } else { rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_categories_have_a_bin_each() {
        assert_eq!(levels(&[1_990, 10]), Levels { own: vec![0, 1], shared: vec![] });
        assert_eq!(levels(&[1_000, 1, 9, 500, 2]), Levels { own: vec![0, 3], shared: vec![3] });
        assert_eq!(levels(&[]), Levels { own: vec![], shared: vec![] });
    }

    #[test]
    fn many_categories_share_bins_of_equal_size() {
        let found = levels(&[vec![3_000], vec![7; 1_000]].concat());
        assert_eq!(found.own, [0]);
        // A fortieth of 10,000 rows is 250: 36 categories.
        assert_eq!(found.shared, [vec![36; 27], vec![28]].concat());
        let ids = levels(&[1; 500]);
        assert_eq!((ids.own.len(), ids.shared), (0, vec![500]), "they may all be new the next time");
    }
}
