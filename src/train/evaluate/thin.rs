//! Curves with fewer points and the same shape.
//!
//! Douglas and Peucker's algorithm, greedily: of all points that are still left out, the one furthest from its chord is
//! taken next (Douglas, Peucker, "Algorithms for the reduction of the number of points required to represent a digitized
//! line", 1973).

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::model::evaluation::Point;

/// A stretch of the curve that a straight line stands for.
struct Chord {
    first: usize,
    last: usize,
    /// The point between them that is furthest from the line, and how far.
    furthest: usize,
    distance: f64,
}

/// At most `limit` points of a curve, both ends among them; fewer if no point is further than `tolerance` from the line
/// through those that are kept.
pub fn thin(curve: &[Point], limit: usize, tolerance: f64) -> Vec<Point> {
    if curve.len() <= 2 {
        return curve.to_vec();
    }
    let mut kept = vec![0, curve.len() - 1];
    let mut chords = BinaryHeap::from([Chord::new(curve, 0, curve.len() - 1)]);
    while let Some(chord) = chords.pop().filter(|chord| chord.distance > tolerance && kept.len() < limit) {
        kept.push(chord.furthest);
        chords.push(Chord::new(curve, chord.first, chord.furthest));
        chords.push(Chord::new(curve, chord.furthest, chord.last));
    }
    kept.sort_unstable();
    kept.into_iter().map(|at| curve[at]).collect()
}

impl Chord {
    fn new(curve: &[Point], first: usize, last: usize) -> Chord {
        let ([x0, y0], [x1, y1]) = (curve[first], curve[last]);
        let (dx, dy) = (x1 - x0, y1 - y0);
        let length = dx.hypot(dy);
        let mut chord = Chord { first, last, furthest: first, distance: 0.0 };
        for (at, [x, y]) in curve.iter().enumerate().take(last).skip(first + 1) {
            let area = (dx * (y - y0) - dy * (x - x0)).abs();
            let distance = if length > 0.0 { area / length } else { (x - x0).hypot(y - y0) };
            if distance > chord.distance {
                (chord.furthest, chord.distance) = (at, distance);
            }
        }
        chord
    }
}

impl PartialEq for Chord {
    fn eq(&self, other: &Chord) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Chord {}

impl PartialOrd for Chord {
    fn partial_cmp(&self, other: &Chord) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Chord {
    fn cmp(&self, other: &Chord) -> Ordering {
        self.distance.total_cmp(&other.distance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(curve: &[Point]) -> f64 {
        curve.windows(2).map(|pair| (pair[1][0] - pair[0][0]) * (pair[0][1] + pair[1][1]) / 2.0).sum()
    }

    #[test]
    fn what_is_straight_needs_its_ends_and_corners_only() {
        let mut curve: Vec<Point> = (0..=100).map(|at| [0.0, f64::from(at) / 100.0]).collect();
        curve.extend((1..=1000).map(|at| [f64::from(at) / 1000.0, 1.0]));
        assert_eq!(thin(&curve, 300, 1e-4), [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]);
        assert_eq!(thin(&curve[..2], 300, 1e-4), &curve[..2]);
        assert_eq!(thin(&[], 300, 1e-4), [[0.0; 2]; 0]);
        // Both ends in one place: no line to be far from.
        assert_eq!(thin(&[[0.0, 0.0], [0.5, 1.0], [0.0, 0.0]], 9, 1e-4).len(), 3);
    }

    #[test]
    fn a_bend_keeps_its_shape_within_the_tolerance() {
        let curve: Vec<Point> = (0..=100_000).map(|at| f64::from(at) / 100_000.0).map(|x| [x, x.powf(0.2)]).collect();
        let thinned = thin(&curve, 300, 1e-4);
        assert!(thinned.len() < 100, "{}", thinned.len());
        assert!((area(&thinned) - area(&curve)).abs() < 1e-4);
        assert_eq!(thin(&curve, 7, 0.0).len(), 7);
    }
}
