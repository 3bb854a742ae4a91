//! How long a window is, and what was counted within it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::comparison::MIN_ROWS;

/// A window of `monitor.drift_windows`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DriftWindow {
    /// The value of the label `window`: as the configuration has it.
    pub name: String,
    /// Its length.
    pub span: WindowSpan,
}

/// How long a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowSpan {
    /// The rows of the last stretch of time.
    Time(Duration),
    /// The last so many rows of a process.
    Rows(u64),
}

/// The longest window: a year.
const LONGEST_S: u64 = 365 * 86_400;

impl TryFrom<String> for DriftWindow {
    type Error = String;

    fn try_from(name: String) -> Result<DriftWindow, String> {
        let digits = name.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = name.split_at(digits);
        if unit == "rows" {
            return match number.parse::<u64>() {
                Ok(rows) if rows >= MIN_ROWS => Ok(DriftWindow { name, span: WindowSpan::Rows(rows) }),
                _ => Err(format!("{name:?} must be at least {MIN_ROWS}rows: fewer are never compared")),
            };
        }
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            _ => 0,
        };
        match number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)) {
            Some(seconds @ 1..=LONGEST_S) => {
                Ok(DriftWindow { name, span: WindowSpan::Time(Duration::from_secs(seconds)) })
            }
            _ => Err(format!("{name:?} must be a number with s, m, h, d, w or rows, and a year at most")),
        }
    }
}

/// How many steps the window slides in. It bounds the memory: so many copies of the counts, however often they are
/// pushed.
const SLICES: u64 = 60;

/// Turns counts that only grow into what was counted within the last stretch, of time (in milliseconds) or of rows.
#[derive(Debug)]
pub struct Window {
    span: u64,
    /// The counts when the window began.
    base: Vec<u64>,
    /// Counts on the way through the window, oldest first, at least `span / SLICES` apart.
    slices: VecDeque<(u64, Vec<u64>)>,
    /// The counts of the last push.
    latest: Vec<u64>,
}

impl Window {
    /// A window over `bins` counts that are all zero before the first push.
    pub fn new(span: WindowSpan, bins: usize) -> Window {
        let span = match span {
            WindowSpan::Time(time) => time.as_millis() as u64,
            WindowSpan::Rows(rows) => rows,
        };
        Window { span, base: vec![0; bins], slices: VecDeque::new(), latest: vec![0; bins] }
    }

    /// Takes the counts as they are at `now`, a time or a number of rows, which never goes back.
    pub fn push(&mut self, now: u64, cumulative: Vec<u64>) {
        debug_assert_eq!(cumulative.len(), self.base.len());
        let old = self.slices.partition_point(|(at, _)| now - at >= self.span);
        if let Some((_, counts)) = self.slices.drain(..old).next_back() {
            self.base = counts;
        }
        if self.slices.back().is_none_or(|(at, _)| now - at >= (self.span / SLICES).max(1)) {
            self.slices.push_back((now, cumulative.clone()));
        }
        self.latest = cumulative;
    }

    /// What was counted within the last `span` (and up to a sixtieth more) before the last push.
    pub fn counts(&self) -> Vec<u64> {
        self.latest.iter().zip(&self.base).map(|(latest, base)| latest.saturating_sub(*base)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(span_s: u64, bins: usize) -> Window {
        Window::new(WindowSpan::Time(Duration::from_secs(span_s)), bins)
    }

    #[test]
    fn a_window_is_a_number_with_a_unit() {
        let span = |text: &str| DriftWindow::try_from(text.to_owned()).map(|window| window.span);
        for (text, expected) in [("90s", 90), ("10m", 600), ("12h", 43_200), ("1d", 86_400), ("52w", 31_449_600)] {
            assert_eq!(span(text), Ok(WindowSpan::Time(Duration::from_secs(expected))));
        }
        assert_eq!(span("5000rows"), Ok(WindowSpan::Rows(5_000)));
        for text in ["", "10", "m", "0m", "-1m", "1.5h", "10 m", "10min", "10M", "53w", "99999999999999999999w", "1é"]
            .into_iter()
            .chain(["199rows", "rows", "99999999999999999999rows", "200row"])
        {
            let message = span(text).unwrap_err();
            assert!(message.starts_with(&format!("{text:?} must be")), "{message}");
        }
    }

    #[test]
    fn the_window_forgets_what_is_older_than_its_span() {
        let mut window = window(60, 2);
        window.push(0, vec![10, 0]);
        window.push(30_000, vec![20, 5]);
        assert_eq!(window.counts(), [20, 5], "nothing is a whole window old");
        window.push(60_000, vec![21, 5]);
        assert_eq!(window.counts(), [11, 5], "what was there at 0 s is out");
        window.push(3_600_000, vec![22, 6]);
        assert_eq!(window.counts(), [1, 1], "a pause leaves only what came after it");
    }

    #[test]
    fn a_window_of_rows_keeps_them_however_long_they_take() {
        let mut window = Window::new(WindowSpan::Rows(600), 1);
        for rows in (0..2_000).step_by(5).flat_map(|rows| [rows, rows]) {
            window.push(rows, vec![rows]);
        }
        assert_eq!((window.counts(), window.slices.len()), (vec![605], SLICES as usize), "600, and up to a slice more");
        window.push(50_000, vec![50_000]);
        assert_eq!(window.counts(), [48_010], "a burst isn't cut into pieces");
    }

    #[test]
    fn the_window_holds_no_more_however_often_it_is_pushed() {
        let mut window = window(60, 1);
        for tenths in 0..6_000 {
            window.push(100 * tenths, vec![tenths]);
        }
        assert_eq!(window.slices.len(), SLICES as usize);
        assert_eq!(window.counts(), [609], "60 s, and up to a slice more");
    }

    proptest! {
        /// Whatever the rhythm of the pushes: never less than the span, never more than a slice beyond it.
        #[test]
        fn the_window_is_as_long_as_it_says(steps in prop::collection::vec(prop_oneof![1_u64..300, 1_u64..5_000], 1..300)) {
            let mut window = window(60, 1);
            // One row a millisecond: a count is a time.
            let (mut now, mut pushes) = (0, vec![0]);
            for step in steps {
                now += step;
                pushes.push(now);
                window.push(now, vec![now]);
                // The pushes are up to 5 s apart, the slices 1 s: the base is the last slice that is old enough.
                let oldest = pushes.iter().rev().find(|&&at| now - at >= 60_000).copied().unwrap_or(0);
                let counted = window.counts()[0];
                prop_assert!(counted >= now - oldest, "{counted} of {}", now - oldest);
                prop_assert!(counted <= now - oldest + 1_000, "{counted} of {}", now - oldest);
            }
        }
    }
}
