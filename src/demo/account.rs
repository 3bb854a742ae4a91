//! The account: what went in, what came out for it, and whether that adds up.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::time::Instant;

use crate::monitor::metrics::Totals;

/// What should become of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ExpectedOutcome {
    /// A prediction; with the label, where there is one.
    Prediction(Option<String>),
    /// A dead letter with this reason.
    DeadLetter(&'static str),
}

/// What came out for a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ActualOutcome {
    /// A prediction.
    Prediction { version: u64, class: String },
    /// A dead letter.
    DeadLetter { reason: String },
}

/// The records that nothing came out for yet, by number, and the balance of the others.
#[derive(Debug, Default)]
pub(super) struct Account {
    open: HashMap<usize, RecordAccount>,
    closed: Balance,
}

#[derive(Debug)]
struct RecordAccount {
    expected: ExpectedOutcome,
    sent_at: Instant,
}

impl Account {
    /// Enters a record and returns its number.
    pub(super) fn sent(&mut self, expected: ExpectedOutcome, at: Instant) -> usize {
        let number = self.closed.sent;
        self.closed.sent += 1;
        self.open.insert(number, RecordAccount { expected, sent_at: at });
        number
    }

    /// Enters what came out for a record. Returns when that was sent; `None` if something came out for it before.
    pub(super) fn came_out(&mut self, number: usize, outcome: ActualOutcome) -> Option<Instant> {
        let Some(RecordAccount { expected, sent_at }) = self.open.remove(&number) else {
            self.closed.doubled += 1;
            return None;
        };
        match (outcome, expected) {
            (ActualOutcome::Prediction { version, class }, ExpectedOutcome::Prediction(label)) => {
                let of = self.closed.versions.entry(version).or_default();
                of.predicted += 1;
                of.labelled += u64::from(label.is_some());
                of.right += u64::from(label == Some(class));
            }
            (ActualOutcome::DeadLetter { reason }, ExpectedOutcome::DeadLetter(expected)) if reason == expected => {
                *self.closed.rejected.entry(reason).or_default() += 1;
            }
            _ => self.closed.wrong += 1,
        }
        Some(sent_at)
    }

    /// How many records nothing came out for yet.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// The final reckoning, against weir's own counters.
    pub(super) fn balance(self, totals: &Totals) -> Balance {
        let counted = totals.produced.values().sum::<u64>() + totals.rejected;
        Balance { lost: self.open.len() as u64, consumed: totals.consumed, counted, ..self.closed }
    }
}

/// What the account comes to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Balance {
    sent: usize,
    versions: BTreeMap<u64, VersionCount>,
    rejected: BTreeMap<String, u64>,
    lost: u64,
    doubled: u64,
    /// Records with an outcome that they should not have.
    wrong: u64,
    /// Weir's own counters: records consumed, and records produced or rejected.
    consumed: u64,
    counted: u64,
}

/// What one version predicted.
#[derive(Debug, Default, PartialEq)]
struct VersionCount {
    predicted: u64,
    /// Of those, with a label.
    labelled: u64,
    /// Of those, predicted rightly.
    right: u64,
}

impl Balance {
    /// Whether every record has the one outcome that it should have, and weir counted the same.
    pub(super) fn adds_up(&self) -> bool {
        let sent = self.sent as u64;
        let predicted: u64 = self.versions.values().map(|of| of.predicted).sum();
        let rejected: u64 = self.rejected.values().sum();
        self.lost + self.doubled + self.wrong == 0
            && predicted + rejected == sent
            && self.consumed == sent
            && self.counted == sent
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  in               {:>8}", self.sent)?;
        for (version, of) in &self.versions {
            let accuracy = of.right as f64 / of.labelled.max(1) as f64;
            writeln!(
                f,
                "  by version {version:<5} {:>8}   accuracy {accuracy:.3} on the {} with a label",
                of.predicted, of.labelled
            )?;
        }
        let mut reasons = String::new();
        for (reason, count) in &self.rejected {
            let comma = if reasons.is_empty() { "" } else { ", " };
            write!(reasons, "{comma}{reason} {count}")?;
        }
        writeln!(f, "  dead-lettered    {:>8}   {reasons}", self.rejected.values().sum::<u64>())?;
        writeln!(f, "  lost             {:>8}", self.lost)?;
        writeln!(f, "  twice            {:>8}", self.doubled)?;
        if self.wrong > 0 {
            writeln!(f, "  wrong outcome    {:>8}", self.wrong)?;
        }
        writeln!(f, "  weir's counters: {} consumed, {} predicted or rejected", self.consumed, self.counted)?;
        writeln!(f, "  {}", if self.adds_up() { "it adds up" } else { "IT DOESN'T ADD UP" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(version: u64, class: &str) -> ActualOutcome {
        ActualOutcome::Prediction { version, class: class.into() }
    }

    fn account() -> (Account, Totals) {
        let mut account = Account::default();
        let now = Instant::now();
        for expected in [
            ExpectedOutcome::Prediction(Some("late".into())),
            ExpectedOutcome::Prediction(None),
            ExpectedOutcome::DeadLetter("malformed"),
        ] {
            account.sent(expected, now);
        }
        let produced = BTreeMap::from([(("flights".to_owned(), 1), 2)]);
        (account, Totals { consumed: 3, rejected: 1, produced })
    }

    #[test]
    fn one_right_outcome_each_adds_up() {
        let settle = |consumed, outcomes: usize| {
            let (mut account, totals) = account();
            let right = [
                prediction(1, "late"),
                prediction(1, "late"),
                ActualOutcome::DeadLetter { reason: "malformed".into() },
            ];
            for (number, outcome) in right.into_iter().enumerate().take(outcomes) {
                assert!(account.came_out(number, outcome).is_some());
            }
            assert_eq!(account.open(), 3 - outcomes);
            account.balance(&Totals { consumed, ..totals })
        };
        let balance = settle(3, 3);
        assert!(balance.adds_up(), "{balance}");
        assert_eq!(balance.versions[&1], VersionCount { predicted: 2, labelled: 1, right: 1 });
        assert!(!settle(3, 2).adds_up(), "something is lost");
        assert!(!settle(4, 3).adds_up(), "weir counted another number");
    }

    #[test]
    fn a_second_outcome_or_a_wrong_one_does_not() {
        let (mut twice, totals) = account();
        twice.came_out(0, prediction(1, "late"));
        assert_eq!(twice.came_out(0, prediction(1, "late")), None);
        twice.came_out(1, prediction(1, "late"));
        twice.came_out(2, ActualOutcome::DeadLetter { reason: "malformed".into() });
        let balance = twice.balance(&totals);
        assert!(balance.doubled == 1 && !balance.adds_up());
        let (mut wrong, totals) = account();
        wrong.came_out(0, prediction(1, "late"));
        wrong.came_out(1, ActualOutcome::DeadLetter { reason: "malformed".into() });
        wrong.came_out(2, ActualOutcome::DeadLetter { reason: "wrong_type".into() });
        let balance = wrong.balance(&totals);
        assert!(balance.wrong == 2 && !balance.adds_up());
    }
}
