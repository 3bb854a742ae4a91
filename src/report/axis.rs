//! Axes with round ticks.

/// A stretch of numbers with marks at round ones.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) low: f64,
    pub(super) high: f64,
    /// From `low` to `high`, at equal distances.
    pub(super) ticks: Vec<f64>,
    step: f64,
    unit: Unit,
}

/// How ticks are written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// As so many of a unit with this name.
    Times(f64, &'static str),
    /// By a power of ten.
    Exponent,
}

impl Axis {
    /// From 0 to 1, for shares and probabilities.
    pub(super) fn share(label: &str) -> Axis {
        Axis::around(label, [0.0, 1.0])
    }

    /// Around these values, which are finite: from one round number to another.
    pub(super) fn around(label: &str, values: impl IntoIterator<Item = f64>) -> Axis {
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut least, mut most) = values.into_iter().fold(start, |(l, m), value| (l.min(value), m.max(value)));
        if least > most {
            (least, most) = (0.0, 1.0);
        }
        // Numbers so large that their distance isn't one any more, and values that are all the same.
        let (least, most) = (least.max(-1e300), most.min(1e300));
        let room = if most > least { 0.0 } else { (least.abs() * 0.1).max(0.5) };
        Axis::with_step(label, least - room, most + room, round_step((most - least + 2.0 * room) / 5.0))
    }

    /// Counted things from `first` to `last`, both of them at the ends.
    pub(super) fn counted(label: &str, first: usize, last: usize) -> Axis {
        let (first, last) = (first as f64, last.max(first + 1) as f64);
        let step = round_step((last - first) / 5.0).max(1.0).round();
        let axis = Axis::with_step(label, first, last, step);
        let ticks = axis.ticks.into_iter().filter(|tick| (first..=last).contains(tick)).collect();
        Axis { low: first, high: last, ticks, ..axis }
    }

    fn with_step(label: &str, least: f64, most: f64, step: f64) -> Axis {
        // What is a multiple of the step but for rounding must not get a step more.
        let (first, last) = ((least / step + 1e-9).floor(), (most / step - 1e-9).ceil());
        let ticks: Vec<f64> = (0..=(last - first) as usize).map(|at| (first + at as f64) * step).collect();
        let largest = ticks.iter().fold(0.0, |largest: f64, tick| largest.max(tick.abs()));
        let unit = match largest {
            size if !(1e-4..1e9).contains(&size) => Unit::Exponent,
            size if size >= 1e6 => Unit::Times(1e6, "M"),
            size if size >= 1e4 => Unit::Times(1e3, "k"),
            _ => Unit::Times(1.0, ""),
        };
        Axis { label: label.into(), low: first * step, high: last * step, ticks, step, unit }
    }

    /// Where a value is, from 0 (`low` or less) to 1 (`high` or more).
    pub(super) fn place(&self, value: f64) -> f64 {
        (value.clamp(self.low, self.high) - self.low) / (self.high - self.low)
    }

    /// How a tick is written, with the digits that distinguish it from the next one.
    pub(super) fn text(&self, tick: f64) -> String {
        let text = match self.unit {
            Unit::Times(size, name) => format!("{:.*}{name}", decimals(self.step / size), tick / size),
            Unit::Exponent => format!("{tick:.*e}", decimals(self.step / 10_f64.powf(tick.abs().log10().floor()))),
        };
        if tick == 0.0 { "0".into() } else { text.replace('-', "−") }
    }

    /// The same stretch with another label.
    pub(super) fn labelled(&self, label: &str) -> Axis {
        Axis { label: label.into(), ..self.clone() }
    }
}

/// The digits after the point of a number that is 1, 2, 2.5 or 5 times a power of ten.
fn decimals(step: f64) -> usize {
    let whole = |digits: &usize| {
        let scaled = step * 10_f64.powi(*digits as i32);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    };
    (0..=6).find(whole).unwrap_or(6)
}

/// The round number (1, 2, 2.5 or 5 times a power of ten) that is nearest above.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|&round| round * power >= step * (1.0 - 1e-9));
    round.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|&tick| axis.text(tick)).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        assert_eq!(texts(&Axis::share("")), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&Axis::around("", [-3.0, 17.0])), ["−5", "0", "5", "10", "15", "20"]);
        assert_eq!(texts(&Axis::around("", [0.231, 0.234])), ["0.231", "0.232", "0.233", "0.234"]);
        assert_eq!(texts(&Axis::around("", [1.0, 2.2])), ["1.00", "1.25", "1.50", "1.75", "2.00", "2.25"]);
        assert_eq!(texts(&Axis::around("", [0.0, 4e6])), ["0", "1M", "2M", "3M", "4M"]);
        assert_eq!(texts(&Axis::around("", [-9e3, 2e4])), ["−10k", "0", "10k", "20k"]);
        assert_eq!(
            texts(&Axis::around("", [1e12, 2.2e12])),
            ["1.00e12", "1.25e12", "1.50e12", "1.75e12", "2.00e12", "2.25e12"]
        );
        assert_eq!(Axis::around("", [1.0, 2.2]).place(2.25), 1.0);
    }

    #[test]
    fn a_single_value_and_extreme_ones_have_room() {
        for values in
            [vec![], vec![0.0], vec![7.0; 3], vec![-f64::MAX, f64::MAX], vec![1e-300, 2e-300], vec![1e15 + 1.0; 2]]
        {
            let axis = Axis::around("", values.iter().copied());
            assert!(axis.high > axis.low && (2..12).contains(&axis.ticks.len()), "{values:?}: {axis:?}");
            assert!(values.iter().all(|&value| axis.place(value).is_finite()), "{values:?}: {axis:?}");
        }
    }

    #[test]
    fn what_is_counted_has_whole_ticks() {
        assert_eq!(texts(&Axis::counted("", 1, 1)), ["1", "2"]);
        assert_eq!(texts(&Axis::counted("", 1, 3)), ["1", "2", "3"]);
        assert_eq!(texts(&Axis::counted("", 1, 20)), ["5", "10", "15", "20"]);
    }
}
