//! What the first reading sees in a column: which rows have numbers, and which cells aren't.

use std::collections::HashMap;

use super::source::{Cell, Source, Spot};
use super::{DatasetError, Task};
use crate::printable::shown;
use crate::record::Gap;
use crate::texts;

/// A target of whole numbers is taken for classes up to this many distinct values.
const MAX_INTEGER_CLASSES: usize = 20;

/// How many different texts among numbers are remembered, and how many a note names.
const EXAMPLES: usize = 100;
const NAMED: usize = 5;

/// A text that isn't a number, or none that is finite, where it comes first.
#[derive(Debug)]
struct Example {
    /// The index of its file, and its place there.
    at: (usize, Spot),
    /// Its row in the table.
    row: usize,
    /// How often the text occurs.
    count: usize,
    infinite: bool,
}

/// A column that a reading has passed.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Cells that are numbers.
    numbers: usize,
    /// Of the rows up to the last one with a category, which have one: a bit each.
    categories: Vec<u64>,
    /// How many of them there are.
    others: usize,
    /// Whether all cells are booleans.
    not_boolean: bool,
    /// The first different texts that aren't finite numbers.
    examples: HashMap<String, Example>,
    /// How many texts are numbers but for separators and signs.
    written: usize,
}

impl Sight {
    pub(super) fn see(&mut self, row: usize, cell: Cell<'_>, at: (usize, Spot)) {
        let number = cell.number();
        if number == Err(Gap::Missing) {
            return;
        }
        let is_boolean = cell.boolean().is_some();
        self.not_boolean |= !is_boolean;
        if is_boolean || number == Err(Gap::String) || matches!(cell, Cell::Text(_)) {
            self.others += 1;
            if self.categories.len() <= row / 64 {
                self.categories.resize(row / 64 + 1, 0);
            }
            self.categories[row / 64] |= 1 << (row % 64);
        } else {
            self.numbers += 1;
        }
        self.written += usize::from(number == Err(Gap::String) && is_written_number(&cell.text()));
        if number.is_err() {
            self.remember(&cell.text(), Example { at, row, count: 1, infinite: number == Err(Gap::NotFinite) });
        }
    }

    fn remember(&mut self, text: &str, example: Example) {
        if let Some(known) = self.examples.get_mut(text) {
            known.count += 1;
        } else if self.examples.len() < EXAMPLES {
            self.examples.insert(text.to_owned(), example);
        }
    }

    fn has_category(&self, row: usize) -> bool {
        self.categories.get(row / 64).is_some_and(|word| word >> (row % 64) & 1 == 1)
    }

    /// Whether there are categories among the cells of the rows that train.
    pub(super) fn is_categorical(&self, trains: &[bool]) -> bool {
        // Most columns have numbers or texts, and not both.
        self.others > 0
            && (self.numbers == 0 || trains.iter().enumerate().any(|(row, trains)| *trains && self.has_category(row)))
    }

    /// Whether all cells are booleans, in whatever spelling.
    pub(super) fn is_boolean(&self) -> bool {
        self.others > 0 && !self.not_boolean
    }

    /// The first cell of the rows that train which isn't a finite number.
    pub(super) fn must_be_numbers(&self, sources: &[Source], name: &str, trains: &[bool]) -> Result<(), DatasetError> {
        let wrong = self.examples.iter().filter(|(_, example)| trains[example.row]);
        let first = wrong.min_by_key(|(_, example)| (example.infinite, example.row));
        let Some((text, Example { at: (file, spot), infinite, .. })) = first else { return Ok(()) };
        let what = if *infinite { "finite: make it empty where it is unknown, or drop the row" } else { "a number" };
        Err(sources[*file].bad_cell(*spot, name, format!("{text:?} isn't {what}")))
    }

    /// A column of numbers that are written for people.
    fn written_note(&self, sources: &[Source], name: &str) -> String {
        let written = self.examples.iter().filter(|(text, _)| is_written_number(text));
        let first = written.min_by_key(|(_, example)| example.row);
        let such = first.map(|(text, Example { at: (file, spot), .. })| {
            format!(", such as {} in {}", shown(text), sources[*file].place(*spot))
        });
        format!(
            "column {} is categorical, though its cells look like numbers{}: write them without separators and signs, or use \
             --decimal , where a comma stands before decimals; if they are names, use --categorical {name}",
            shown(name),
            such.unwrap_or_default(),
        )
    }

    /// What a person should know about a column that has both numbers and other cells: most are numbers, and yet it became
    /// categorical for the others; or it is numeric, and they are in test rows.
    pub(super) fn note(&self, sources: &[Source], name: &str, categorical: bool) -> Option<String> {
        let (numbers, others, written) = (self.numbers, self.others, self.written);
        if numbers <= others {
            let is_written = categorical && numbers + 2 * written > others;
            return is_written.then(|| self.written_note(sources, name));
        }
        if others == 0 {
            return None;
        }
        let mut examples: Vec<_> = self.examples.iter().filter(|(_, example)| !example.infinite).collect();
        examples.sort_by_key(|(_, example)| (std::cmp::Reverse(example.count), example.row));
        let cell = |(text, Example { at: (file, spot), count, .. }): &(&String, &Example)| {
            let place = sources[*file].place(*spot);
            let often = if *count > 1 { format!(", {count} times, first") } else { String::new() };
            format!("{}{often} in {place}", shown(text))
        };
        let named: Vec<String> = examples.iter().take(NAMED).map(cell).collect();
        let more = match examples.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        let (cells, named) = (numbers + others, named.join("; "));
        let column = shown(name);
        Some(if categorical {
            let word = examples.first().map_or("WORD", |(text, _)| text.trim());
            format!(
                "column {column} is categorical, though {numbers} of its {cells} cells are numbers: the others are \
                 {named}{more}; where that means a missing value, use --na '{word}'; to keep the numbers, correct these cells \
                 and use --numeric {name}; if the column has categories, use --categorical {name}"
            )
        } else {
            format!(
                "column {column} is numeric as in all rows that train; {others} of its cells in other rows aren't numbers, \
                 and the model would reject them: {named}{more}"
            )
        })
    }
}

/// Whether a text is a number but for separators of thousands, a comma of decimals, a unit of money or a percent sign.
fn is_written_number(text: &str) -> bool {
    const AROUND: &str = "$€£¥%,_' \u{a0}\u{202f}";
    // Most texts begin with a letter.
    if text.starts_with(char::is_alphabetic) || !text.contains(|c: char| AROUND.contains(c)) {
        return false;
    }
    let plain: String = text.chars().filter(|&c| !AROUND.contains(c)).collect();
    texts::number(&plain).is_some_and(f64::is_finite)
}

/// A target column that a reading has passed.
#[derive(Debug, Default)]
pub(super) struct TargetSight {
    pub(super) sight: Sight,
    /// The number of each row; NaN for what isn't a finite one.
    numbers: Vec<f64>,
}

impl TargetSight {
    pub(super) fn see(&mut self, cell: Cell<'_>, at: (usize, Spot)) {
        self.sight.see(self.numbers.len(), cell, at);
        self.numbers.push(cell.number().unwrap_or(f64::NAN));
    }

    /// How many rows have a target.
    pub(super) fn rows(&self) -> usize {
        self.numbers.len()
    }

    /// Categories and few whole numbers are classes; scikit-learn leaves the choice to who calls it.
    pub(super) fn task(&self, trains: &[bool]) -> Task {
        if self.sight.is_categorical(trains) {
            return Task::Classification;
        }
        let mut distinct: Vec<f64> = Vec::new();
        for (&number, _) in self.numbers.iter().zip(trains).filter(|(_, trains)| **trains) {
            if number.fract() != 0.0 {
                return Task::Regression;
            }
            if !distinct.contains(&number) {
                distinct.push(number);
            }
            if distinct.len() > MAX_INTEGER_CLASSES {
                return Task::Regression;
            }
        }
        Task::Classification
    }
}
