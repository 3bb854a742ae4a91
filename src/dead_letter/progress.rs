//! Up to where the dead letters of a partition have been sent again: pure bookkeeping, kept as the commits of a group.
//!
//! A plain offset wouldn't do. Who has fixed one thing sends the letters of that reason again and leaves the others,
//! which must not count as done. So beside the offset up to which everything is done, a note says how much further it
//! is for some selections of letters.

use serde::{Deserialize, Serialize};

use crate::kafka::reader::Commit;

/// A broker's `offset.metadata.max.bytes`, unless somebody has changed it.
const MAX_NOTE_BYTES: usize = 4_096;

/// The letters of a route, of a reason, of both, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterSelection {
    /// Of this route alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Of this reason alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl LetterSelection {
    /// Whether a letter belongs to this selection.
    pub fn has(&self, route: &str, reason: &str) -> bool {
        let is = |wanted: &Option<String>, found| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.route, route) && is(&self.reason, reason)
    }

    /// Whether all letters of another selection belong to this one.
    fn covers(&self, other: &LetterSelection) -> bool {
        (self.route.is_none() || self.route == other.route) && (self.reason.is_none() || self.reason == other.reason)
    }
}

/// What is remembered of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedriveProgress {
    /// Every letter before this offset is done.
    next: i64,
    /// Letters of a selection that are done further than that.
    ahead: Vec<Ahead>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ahead {
    #[serde(flatten)]
    selection: LetterSelection,
    next: i64,
}

impl RedriveProgress {
    /// What a commit says; nothing, if there is none.
    pub fn of(commit: Option<&Commit>) -> RedriveProgress {
        let Some(Commit { next, note }) = commit else { return RedriveProgress::default() };
        // A note in other words is somebody else's; the offset means the same to everybody.
        RedriveProgress { next: *next, ahead: serde_json::from_str(note).unwrap_or_default() }
    }

    /// The commit that says it.
    pub fn commit(&self) -> Commit {
        let note = if self.ahead.is_empty() { None } else { serde_json::to_string(&self.ahead).ok() };
        Commit { next: self.next, note: note.unwrap_or_default() }
    }

    /// Whether a broker keeps this much.
    pub fn fits(&self) -> bool {
        self.commit().note.len() <= MAX_NOTE_BYTES
    }

    /// Whether the letter at this offset is done.
    pub fn has(&self, offset: i64, route: &str, reason: &str) -> bool {
        offset < self.next || self.ahead.iter().any(|ahead| offset < ahead.next && ahead.selection.has(route, reason))
    }

    /// The first offset at which a letter of these selections may not be done.
    pub fn start(&self, selections: &[LetterSelection]) -> i64 {
        let done = |selection: &LetterSelection| {
            let covering = self.ahead.iter().filter(|ahead| ahead.selection.covers(selection));
            covering.map(|ahead| ahead.next).fold(self.next, i64::max)
        };
        selections.iter().map(done).min().unwrap_or(self.next)
    }

    /// Remembers that the letters of these selections are done up to this offset.
    pub fn advance(&mut self, selections: &[LetterSelection], to: i64) {
        for selection in selections {
            if selection.route.is_none() && selection.reason.is_none() {
                self.next = self.next.max(to);
            } else if to > self.start(std::slice::from_ref(selection)) {
                self.ahead.retain(|ahead| !selection.covers(&ahead.selection) || ahead.next > to);
                self.ahead.push(Ahead { selection: selection.clone(), next: to });
            }
        }
        self.ahead.retain(|ahead| ahead.next > self.next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROUTES: [&str; 2] = ["a", "b"];
    const REASONS: [&str; 3] = ["malformed", "wrong_type", "too_large"];

    fn selection(route: Option<&str>, reason: Option<&str>) -> LetterSelection {
        LetterSelection { route: route.map(Into::into), reason: reason.map(Into::into) }
    }

    fn any_selection() -> impl Strategy<Value = LetterSelection> {
        (prop::option::of(prop::sample::select(&ROUTES)), prop::option::of(prop::sample::select(&REASONS)))
            .prop_map(|(route, reason)| selection(route, reason))
    }

    proptest! {
        #[test]
        fn it_remembers_exactly_what_was_done(steps in prop::collection::vec((any_selection(), 0..12_i64), 0..12)) {
            let mut memory = RedriveProgress::default();
            let mut done = Vec::new();
            for (step, to) in steps {
                memory.advance(std::slice::from_ref(&step), to);
                done.push((step, to));
                // As the next run reads it.
                memory = RedriveProgress::of(Some(&memory.commit()));
                for (route, reason) in ROUTES.iter().flat_map(|route| REASONS.map(|reason| (route, reason))) {
                    let is_done = |offset| done.iter().any(|(selection, to)| offset < *to && selection.has(route, reason));
                    for offset in 0..12 {
                        prop_assert_eq!(memory.has(offset, route, reason), is_done(offset), "{} {} {}", route, reason, offset);
                    }
                    let start = memory.start(&[selection(Some(route), Some(reason))]);
                    prop_assert_eq!(Some(start), (0..12).find(|&offset| !is_done(offset)));
                }
            }
        }
    }

    #[test]
    fn a_part_that_is_done_leaves_the_others() {
        let mut memory = RedriveProgress::of(Some(&Commit { next: 5, note: String::new() }));
        memory.advance(&[selection(None, Some("wrong_type"))], 9);
        assert!(memory.has(8, "a", "wrong_type") && !memory.has(8, "a", "malformed"));
        assert_eq!(memory.start(&[selection(None, None)]), 5);
        assert_eq!(memory.start(&[selection(Some("a"), Some("wrong_type"))]), 9);
        assert_eq!(
            memory.commit(),
            Commit { next: 5, note: r#"[{"reason":"wrong_type","next":9}]"#.into() },
            "the form in which brokers keep it"
        );
        memory.advance(&[selection(None, None)], 9);
        assert_eq!(memory.commit(), Commit { next: 9, note: String::new() });
    }

    #[test]
    fn a_note_of_somebody_else_is_no_obstacle() {
        let memory = RedriveProgress::of(Some(&Commit { next: 7, note: "kafka-tool".into() }));
        assert_eq!(memory.start(&[selection(None, None)]), 7);
    }
}
