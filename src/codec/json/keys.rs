//! Which of the members one knows does a key name?
//!
//! Writers put the members of every record into the same order. So a table remembers, for each member, which one came
//! after it the last time, and compares the payload with that name's bytes first. Only when that fails is the key
//! read as a string and looked up.

use std::collections::HashMap;

use super::quoted;
use super::scan::{Cursor, Malformed, Prefix};

/// What the value of a member is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is the feature with this index.
    Feature(usize),
    /// It leads to the features: the next step of `input.features`.
    Step,
    /// It is the features in signature order, if it is an array.
    Positional,
    /// It is only copied.
    Copied,
}

/// A member that is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Its index among the members of its object.
    pub(super) index: usize,
    pub(super) meaning: Meaning,
    /// The index of the field that it is copied to.
    pub(super) field: Option<usize>,
}

/// The members that are looked for in one object.
#[derive(Debug, Default)]
pub(super) struct Keys {
    members: Vec<(Prefix, Member)>,
    by_name: HashMap<Box<[u8]>, usize>,
    /// What came after each member the last time; in the last place, what came first.
    after: Vec<usize>,
}

impl Keys {
    /// The members that mean something, each with its name; then those to copy, some of which may be the same.
    pub(super) fn new<'a>(meanings: impl IntoIterator<Item = (&'a str, Meaning)>, fields: &'a [String]) -> Keys {
        let mut keys = Keys::default();
        for (name, meaning) in meanings {
            keys.insert(name).meaning = meaning;
        }
        for (index, name) in fields.iter().enumerate() {
            keys.insert(name).field = Some(index);
        }
        let count = keys.members.len();
        keys.after = (1..=count).chain([0]).collect();
        keys
    }

    fn insert(&mut self, name: &str) -> &mut Member {
        let index = *self.by_name.entry(name.as_bytes().into()).or_insert_with(|| {
            let index = self.members.len();
            // As writers render it: quoted, escaped where it must be, the colon at once behind it.
            let prefix = Prefix::new(format!("{}:", quoted(name)).as_bytes());
            self.members.push((prefix, Member { index, meaning: Meaning::Copied, field: None }));
            index
        });
        &mut self.members[index].1
    }

    /// Where an object starts: what [`Keys::guess`] takes for the index of a previous member there.
    pub(super) fn start(&self) -> usize {
        self.members.len()
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

    /// Reads a key that was guessed wrong, its colon and the whitespace around. Which member it names, if any of
    /// these, is what will be guessed behind `previous` from now on.
    pub(super) fn look_up(
        &mut self,
        cursor: &mut Cursor<'_>,
        previous: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Option<Member>, Malformed> {
        let found = self.by_name.get(cursor.key()?.unescape(scratch)?).copied();
        cursor.colon()?;
        Ok(found.map(|index| {
            self.after[previous] = index;
            self.members[index].1
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "a name of more than sixteen bytes";

    fn keys() -> Keys {
        Keys::new([("first", Meaning::Feature(0)), (LONG, Meaning::Feature(1))], &["last".into(), "first".into()])
    }

    /// The member that is guessed to come next, if the guess is right and ends at the value.
    fn guess(keys: &Keys, previous: usize, text: &str) -> Option<usize> {
        let mut cursor = Cursor::new(text.as_bytes());
        let member = keys.guess(&mut cursor, previous);
        assert_eq!(cursor.position(), if member.is_some() { text.len() - 1 } else { 0 }, "{text}");
        member.map(|member| member.index)
    }

    #[test]
    fn the_order_of_the_last_record_is_guessed() {
        let mut keys = keys();
        let start = keys.start();
        assert_eq!(guess(&keys, start, "\"last\":1"), None);
        let member = keys.look_up(&mut Cursor::new(b"\"last\" : 1"), start, &mut Vec::new()).unwrap().unwrap();
        assert_eq!((member.index, member.meaning, member.field), (2, Meaning::Copied, Some(0)));
        assert_eq!(guess(&keys, start, "\"last\":1"), Some(2));
        let other = keys.look_up(&mut Cursor::new(b"\"other\":1"), start, &mut Vec::new()).unwrap();
        assert!(other.is_none());
        assert_eq!(guess(&keys, start, "\"last\":1"), Some(2), "members that mean nothing leave the order alone");
    }

    #[test]
    fn a_guess_is_right_for_the_whole_name_only() {
        let keys = keys();
        for space in ["", " \n"] {
            assert_eq!(guess(&keys, keys.start(), &format!("\"first\":{space}1")), Some(0));
            assert_eq!(guess(&keys, 0, &format!("\"{LONG}\":{space}1")), Some(1));
        }
        for wrong in
            ["", "\"first", "\"firsts\":1", "\"fir\":1", "\"First\":\"a long value\"", "\"first\" :\"a long value\""]
        {
            assert_eq!(guess(&keys, keys.start(), wrong), None);
        }
        assert_eq!(guess(&keys, 0, "\"a name of more than sixteen letters\":1"), None);
    }

    #[test]
    fn a_name_may_mean_two_things() {
        let keys = keys();
        let member = keys.guess(&mut Cursor::new(b"\"first\":1"), keys.start()).unwrap();
        assert_eq!((member.meaning, member.field), (Meaning::Feature(0), Some(1)));
    }
}
