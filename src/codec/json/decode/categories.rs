//! From the name of a category to its index.

use crate::codec::json::scan::Cursor;
use crate::record::Gap;
use crate::texts::{self, PaddedNames};

/// From here on different integers are the same f64: such categories, ids perhaps, count as they are written only.
const INEXACT: f64 = (1_u64 << 53) as f64;

/// Categories and their indices.
#[derive(Debug)]
pub(crate) struct Categories {
    /// Sorted by name.
    names: Vec<(Box<[u8]>, f64)>,
    /// Those whose names have blanks around them.
    padded: PaddedNames<f64>,
    /// Those whose names are numbers, sorted by them.
    numbers: Vec<(f64, f64)>,
    /// The indices of false and true, if all categories are booleans. A gap for one that there isn't.
    booleans: Option<[f64; 2]>,
    /// Those whose names are at most 7 bytes of ASCII, as words, each at the place that [`place`] gives it or behind that,
    /// around the end; at least half of the places are free.
    short: Vec<Option<(u64, f64)>>,
}

impl Categories {
    pub(crate) fn new(categories: &[String]) -> Categories {
        let indices = || (0_u32..).map(f64::from);
        let names = categories.iter().map(|name| Box::<[u8]>::from(name.as_bytes()));
        let mut names: Vec<_> = names.zip(indices()).collect();
        if !categories.iter().any(String::is_empty) {
            // An empty cell of a CSV file was a missing value, so an empty string is one too.
            names.push((Box::default(), Gap::Missing.value()));
        }
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        let padded = categories.iter().map(String::as_str).zip(indices());
        let padded = PaddedNames::new(padded, |name| find(&names, name.as_bytes()));
        let numbers = categories.iter().map(|name| texts::number(name).map(|number| number + 0.0)).zip(indices());
        let numbers = numbers.filter_map(|(number, index)| Some((number?, index)));
        let mut numbers: Vec<_> = numbers.filter(|(number, _)| number.abs() < INEXACT).collect();
        numbers.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        // Of categories that are the same number the first one counts; each can be written as it is called.
        numbers.dedup_by(|(next, _), (kept, _)| next == kept);
        let mut short = vec![None; (2 * names.len()).next_power_of_two().max(2)];
        for (name, index) in &names {
            if let Some(word) = word(name) {
                let mut at = place(word, short.len());
                while short[at].is_some() {
                    at = (at + 1) % short.len();
                }
                short[at] = Some((word, *index));
            }
        }
        Categories { names, padded, numbers, booleans: booleans(categories), short }
    }

    /// [`index_or`](Categories::index_or) for a name that [`Cursor::short_string`] has read.
    #[inline]
    pub(super) fn short_or(&self, name: u64, gap: Gap) -> f64 {
        let mut at = place(name, self.short.len());
        while let Some((word, index)) = self.short[at] {
            if word == name {
                return index;
            }
            at = (at + 1) & (self.short.len() - 1);
        }
        self.short_meant(name, gap)
    }

    #[cold]
    fn short_meant(&self, name: u64, gap: Gap) -> f64 {
        let bytes = name.to_le_bytes();
        self.meant(bytes.split(|&byte| byte == 0).next().unwrap_or_default(), gap)
    }

    /// The index of the category of that name, as a row value, or else of the one that the name means. If there is none: a
    /// missing value where the name stands for one, the gap elsewhere.
    pub(crate) fn index_or(&self, name: &[u8], gap: Gap) -> f64 {
        find(&self.names, name).unwrap_or_else(|| self.meant(name, gap))
    }

    /// The index for a boolean.
    pub(crate) fn boolean(&self, boolean: bool) -> f64 {
        self.index_or(if boolean { b"true" } else { b"false" }, Gap::Boolean)
    }

    /// The index for the text of a cell of a table, which may write a boolean as a text.
    pub(crate) fn cell(&self, text: &str) -> f64 {
        self.index_or(text.as_bytes(), if texts::boolean(text).is_some() { Gap::Boolean } else { Gap::Unknown })
    }

    /// The index for a name that no category has exactly: see [`texts`]. Of a column with many rare categories most records
    /// come here.
    #[cold]
    fn meant(&self, name: &[u8], gap: Gap) -> f64 {
        let Ok(text) = std::str::from_utf8(name) else { return gap.value() };
        if let Some(index) = self.padded.find_alike(text, |name| find(&self.names, name.as_bytes())) {
            return index;
        }
        if texts::is_missing(text) {
            return Gap::Missing.value();
        }
        let boolean = self.booleans.and_then(|indices| Some(indices[usize::from(texts::short_boolean(text)?)]));
        let number = || if self.numbers.is_empty() { None } else { self.same_number(texts::number(text)?) };
        boolean.filter(|index| !index.is_nan()).or_else(number).unwrap_or(gap.value())
    }

    fn same_number(&self, number: f64) -> Option<f64> {
        // -0 is 0, which sorts behind it.
        let place = self.numbers.binary_search_by(|(category, _)| category.total_cmp(&(number + 0.0)));
        place.ok().map(|place| self.numbers[place].1)
    }

    /// The index of the category that is called as the number is written, or else is the same number.
    pub(crate) fn number(&self, written: &[u8], number: f64) -> f64 {
        find(&self.names, written).or_else(|| self.same_number(number)).unwrap_or(Gap::Unknown.value())
    }
}

/// The index of a name among sorted ones.
fn find(names: &[(Box<[u8]>, f64)], name: &[u8]) -> Option<f64> {
    let place = names.binary_search_by(|(other, _)| other.as_ref().cmp(name));
    place.ok().map(|place| names[place].1)
}

/// Where false and true are, if the categories are nothing else.
fn booleans(categories: &[String]) -> Option<[f64; 2]> {
    let mut indices = [Gap::Unknown.value(); 2];
    for (name, index) in categories.iter().zip((0_u32..).map(f64::from)) {
        indices[usize::from(texts::short_boolean(name)?)] = index;
    }
    Some(indices)
}

/// A name of at most 7 bytes of ASCII as [`Cursor::short_string`] reads it; two such names are never the same word, unless
/// one has a NUL, which no string has unescaped.
fn word(name: &[u8]) -> Option<u64> {
    let mut word = [0; 8];
    word.get_mut(..name.len())?.copy_from_slice(name);
    (name.len() < 8 && name.is_ascii() && !name.contains(&0)).then_some(u64::from_le_bytes(word))
}

/// Where a name is looked for first among `places`, a power of two that is at least 2.
#[inline]
fn place(name: u64, places: usize) -> usize {
    (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - places.trailing_zeros())) as usize
}

/// The number that a text is, if it is one of JSON's.
pub(in crate::codec) fn json_number(text: &[u8]) -> Option<f64> {
    let mut cursor = Cursor::new(text);
    cursor.number().ok().filter(|_| cursor.position() == text.len())
}
