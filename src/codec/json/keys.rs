//! Which of the members one knows does a key name?
//!
//! Writers put the members of every record into the same order. So a table remembers, for each member, which one came
//! after it the last time, and compares the payload with that name's bytes first. Only when that fails is the key
//! read as a string and looked up.

use std::collections::{HashMap, HashSet};

use super::quoted;
use super::scan::{Cursor, Malformed, Prefix};
use crate::texts::PaddedNames;

/// What the value of a member is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is the feature with this index, a number.
    Number(usize),
    /// It is the feature with this index, of another kind.
    Feature(usize),
    /// It is the feature with this index, but for blanks around its name: what the feature's own name says counts more.
    Alias(usize),
    /// It leads to the features: the next step of `input.features`.
    Step,
    /// It is the features in signature order, if it is an array.
    Positional,
    /// None, but that it may be copied.
    Copied,
}

impl Meaning {
    /// What a name means that differs by blanks around it from one that means this.
    fn alias(self) -> Meaning {
        match self {
            Meaning::Number(feature) | Meaning::Feature(feature) | Meaning::Alias(feature) => Meaning::Alias(feature),
            Meaning::Step | Meaning::Positional | Meaning::Copied => Meaning::Copied,
        }
    }
}

/// A member that is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its index among the members of its object.
    pub(super) index: usize,
    pub(super) meaning: Meaning,
    /// Its index among the members that are copied, or have one within.
    pub(super) copy: Option<usize>,
}

/// Where an object starts: what [`Keys::guess`] takes for the index of a previous member there.
pub(super) const START: usize = 0;

/// How many members that mean nothing are remembered, and how long their names may be: enough for the records of one
/// writer, and a bound on what names that differ from record to record can take.
const STRANGERS: usize = 64;
const STRANGER_BYTES: usize = 64;

/// The members that are looked for in one object, and others that were seen in it.
#[derive(Debug)]
pub(super) struct Keys {
    /// The first one stands for the start of the object.
    members: Vec<(Prefix, Member)>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// Those whose names have blanks around them.
    padded: PaddedNames<Meaning>,
    /// What came after each member the last time.
    after: Vec<usize>,
    most_members: usize,
}

impl Keys {
    /// The members that mean something, each with its name; then those to copy, some of which may be the same, with their
    /// indices.
    pub(super) fn new<'a>(
        meanings: impl IntoIterator<Item = (&'a str, Meaning)>,
        copies: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Keys {
        let start = (Prefix::new(b""), Member { index: START, meaning: Meaning::Copied, copy: None });
        let meanings: Vec<(&str, Meaning)> = meanings.into_iter().collect();
        let named: HashSet<&str> = meanings.iter().map(|&(name, _)| name).collect();
        let padded = meanings.iter().map(|&(name, meaning)| (name, meaning.alias()));
        let padded = PaddedNames::new(padded, |name| named.contains(name).then_some(Meaning::Copied));
        let mut keys = Keys { members: vec![start], by_name: HashMap::new(), padded, after: vec![], most_members: 0 };
        for &(name, meaning) in &meanings {
            keys.insert(name, meaning).meaning = meaning;
        }
        for (name, _) in meanings.iter().filter(|(name, _)| name.trim() != *name) {
            keys.insert(name.trim(), keys.meant(name.trim()));
        }
        for (name, index) in copies {
            keys.insert(name, keys.meant(name)).copy = Some(index);
        }
        keys.after = (1..=keys.members.len()).collect();
        keys.most_members = keys.members.len() + STRANGERS;
        keys
    }

    /// What a name means that isn't among the members: nothing, unless it differs from one by blanks around it.
    fn meant(&self, name: &str) -> Meaning {
        let exact = |name: &str| self.by_name.get(name.as_bytes()).map(|&index| self.members[index].1.meaning.alias());
        self.padded.find_alike(name, exact).unwrap_or(Meaning::Copied)
    }

    /// The member of this name, which means this if it is new.
    fn insert(&mut self, name: &str, meaning: Meaning) -> &mut Member {
        let index = *self.by_name.entry(name.as_bytes().into()).or_insert_with(|| {
            let index = self.members.len();
            // As writers render it: quoted, escaped where it must be, the colon at once behind it.
            let prefix = Prefix::new(format!("{}:", quoted(name)).as_bytes());
            self.members.push((prefix, Member { index, meaning, copy: None }));
            index
        });
        &mut self.members[index].1
    }

    /// Steps over a comma, the key that is expected behind the member `previous`, its colon and spaces between these, if
    /// that is what comes next.
    #[inline(always)]
    pub(super) fn guess_next(&self, cursor: &mut Cursor<'_>, previous: usize) -> Option<(usize, &Member)> {
        // The index isn't read from the member: the next guess can start before the member has been loaded.
        let index = *self.after.get(previous)?;
        let (prefix, member) = self.members.get(index)?;
        cursor.eat_next(prefix).then_some((index, member))
    }

    /// Steps over the key that is expected behind the member `previous`, its colon and the whitespace around, if that
    /// is what comes next.
    #[inline]
    pub(super) fn guess(&self, cursor: &mut Cursor<'_>, previous: usize) -> Option<Member> {
        let (prefix, member) = self.members.get(self.after[previous])?;
        let right = cursor.eat_prefix(prefix);
        if right {
            cursor.whitespace();
        }
        right.then_some(*member)
    }

    /// Reads a key that was guessed wrong, its colon and the whitespace around. Which member it names is what will be
    /// guessed behind `previous` from now on. That goes for members that mean nothing too, up to [`STRANGERS`] of them.
    pub(super) fn look_up(
        &mut self,
        cursor: &mut Cursor<'_>,
        previous: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Member>, Malformed> {
        let name = cursor.key()?.unescape(scratch)?;
        let mut found = self.by_name.get(name).copied();
        let text = std::str::from_utf8(name).ok();
        let meaning = text.filter(|_| found.is_none()).map_or(Meaning::Copied, |name| self.meant(name));
        if found.is_none() && self.members.len() < self.most_members && name.len() <= STRANGER_BYTES {
            found = text.map(|name| self.insert(name, meaning).index);
            // Nothing has come after it yet: behind it nothing is guessed.
            self.after.resize(self.members.len(), usize::MAX);
        }
        cursor.colon()?;
        let Some(index) = found else {
            // It counts without being remembered, too.
            let alias = Member { index: previous, meaning, copy: None };
            return Ok(Some(alias).filter(|_| meaning != Meaning::Copied));
        };
        self.after[previous] = index;
        Ok(Some(self.members[index].1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "a name of more than sixteen bytes";

    fn keys() -> Keys {
        Keys::new([("first", Meaning::Feature(0)), (LONG, Meaning::Feature(1))], [("last", 0), ("first", 1)])
    }

    /// The member that is guessed to come next, if the guess is right and ends at the value; the same behind a comma.
    fn guess(keys: &Keys, previous: usize, text: &str) -> Option<usize> {
        let mut cursor = Cursor::new(text.as_bytes());
        let member = keys.guess(&mut cursor, previous);
        assert_eq!(cursor.position(), if member.is_some() { text.len() - 1 } else { 0 }, "{text}");
        if !text.contains('\n') {
            for comma in [",", ", "] {
                let behind = format!("{comma}{text},and something behind");
                let mut cursor = Cursor::new(behind.as_bytes());
                let next = keys.guess_next(&mut cursor, previous);
                assert_eq!(next.map(|(index, _)| index), member.map(|member| member.index), "{behind}");
                assert_eq!(
                    cursor.position(),
                    if next.is_some() { comma.len() + text.len() - 1 } else { 0 },
                    "{behind}"
                );
            }
        }
        member.map(|member| member.index)
    }

    #[test]
    fn the_order_of_the_last_record_is_guessed() {
        let mut keys = keys();
        let start = START;
        assert_eq!(guess(&keys, start, "\"last\":1"), None);
        let member = keys.look_up(&mut Cursor::new(b"\"last\" : 1"), start, &mut Vec::new()).unwrap().unwrap();
        assert_eq!((member.index, member.meaning, member.copy), (3, Meaning::Copied, Some(0)));
        assert_eq!(guess(&keys, start, "\"last\":1"), Some(3));
    }

    #[test]
    fn members_that_mean_nothing_are_part_of_the_order_but_only_so_many() {
        let mut keys = keys();
        let look_up = |keys: &mut Keys, name: &str, previous| {
            let text = format!("\"{name}\":1");
            keys.look_up(&mut Cursor::new(text.as_bytes()), previous, &mut Vec::new()).unwrap()
        };
        let other = look_up(&mut keys, "other", START).unwrap();
        assert_eq!((other.meaning, other.copy), (Meaning::Copied, None));
        assert_eq!(guess(&keys, START, "\"other\":1"), Some(other.index));
        assert_eq!(guess(&keys, other.index, "\"first\":1"), None);
        look_up(&mut keys, "first", other.index).unwrap();
        assert_eq!(guess(&keys, other.index, "\"first\":1"), Some(1));

        assert!(look_up(&mut keys, &"x".repeat(STRANGER_BYTES + 1), START).is_none(), "too long to be remembered");
        let remembered = (0..2 * STRANGERS).filter_map(|n| look_up(&mut keys, &n.to_string(), START)).count();
        assert_eq!(remembered, STRANGERS - 1);
        assert!(look_up(&mut keys, "last", START).is_some());
    }

    #[test]
    fn a_guess_is_right_for_the_whole_name_only() {
        let keys = keys();
        for space in ["", " ", " \n"] {
            assert_eq!(guess(&keys, START, &format!("\"first\":{space}1")), Some(1));
            assert_eq!(guess(&keys, 1, &format!("\"{LONG}\":{space}1")), Some(2));
        }
        for wrong in
            ["", "\"first", "\"firsts\":1", "\"fir\":1", "\"First\":\"a long value\"", "\"first\" :\"a long value\""]
        {
            assert_eq!(guess(&keys, START, wrong), None);
        }
        assert_eq!(guess(&keys, 1, "\"a name of more than sixteen letters\":1"), None);
    }

    #[test]
    fn a_name_may_mean_two_things() {
        let keys = keys();
        let member = keys.guess(&mut Cursor::new(b"\"first\":1"), START).unwrap();
        assert_eq!((member.meaning, member.copy), (Meaning::Feature(0), Some(1)));
    }
}
