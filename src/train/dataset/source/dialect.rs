//! How a CSV file is written: what separates and quotes its cells, and whether its decimals have commas. The first part of
//! the file shows it, as Python's `csv.Sniffer` reads it, and options overrule what it shows.

use csv::{Reader, ReaderBuilder, StringRecord};

use super::super::ReadOptions;
use crate::texts;

/// How much of a file is looked at, in bytes.
pub(super) const SAMPLE: usize = 1 << 18;

/// How many of its rows.
const ROWS: usize = 500;

/// What separates cells, the most usual first.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// The line by which Excel is informed of the separator.
const SEPARATOR_LINE: &[u8] = b"sep=";

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// What stands before a quote within quotes, if quotes aren't doubled there.
    pub(super) escape: Option<u8>,
    pub(super) decimal_comma: bool,
    /// How many bytes there are before the header.
    pub(super) skip: usize,
}

impl Dialect {
    /// The dialect of a file that begins so. `whole`: nothing follows.
    pub(super) fn detect(sample: &[u8], whole: bool, options: &ReadOptions) -> Dialect {
        let (skip, named) = separator_line(sample);
        let mut sample = &sample[skip..];
        if let Some(end) = sample.iter().rposition(|&byte| byte == b'\n').filter(|_| !whole) {
            sample = &sample[..=end];
        }
        let mut dialect = Dialect { delimiter: b',', quote: quote(sample), escape: None, decimal_comma: false, skip };
        dialect.delimiter = options.delimiter.or(named).unwrap_or_else(|| dialect.find_delimiter(sample));
        dialect.escape = escapes_quotes(sample, dialect.delimiter).then_some(b'\\');
        dialect.decimal_comma = match options.decimal {
            Some(decimal) => decimal == ',',
            None => dialect.delimiter != b',' && dialect.has_decimal_commas(sample, options),
        };
        dialect
    }

    /// A reader of such a file.
    pub(super) fn reader(&self) -> ReaderBuilder {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(self.delimiter).quote(self.quote).escape(self.escape);
        builder
    }

    /// What is unusual, for a person.
    pub(super) fn describe(&self) -> Option<String> {
        let mut found = Vec::new();
        match self.delimiter {
            b',' => {}
            b'\t' => found.push("tabs separate the cells".to_owned()),
            other => found.push(format!("{:?} separates the cells", char::from(other))),
        }
        if self.quote != b'"' {
            found.push(format!("{:?} quotes them", char::from(self.quote)));
        }
        if self.escape.is_some() {
            found.push("a backslash stands before quotes".to_owned());
        }
        if self.decimal_comma {
            found.push("decimals have a comma".to_owned());
        }
        (!found.is_empty()).then(|| found.join(", "))
    }

    /// The one that divides most rows into as many cells as the header, and into at least two.
    fn find_delimiter(self, sample: &[u8]) -> u8 {
        let fit = |&delimiter: &u8| {
            let mut rows = Dialect { delimiter, ..self }.rows(sample);
            let columns = rows.next().map_or(0, |header| header.len());
            let (mut alike, mut others) = (0_u32, 0_u32);
            rows.for_each(|row| *(if row.len() == columns { &mut alike } else { &mut others }) += 1);
            (columns > 1).then(|| (f64::from(alike) / f64::from((alike + others).max(1)), columns))
        };
        let mut best = (b',', (-1.0, 0));
        for delimiter in DELIMITERS {
            best = match fit(&delimiter) {
                Some((share, columns)) if (share, columns) > best.1 => (delimiter, (share, columns)),
                _ => best,
            };
        }
        best.0
    }

    /// Whether most cells of a column are numbers with a decimal comma, and no column has mostly decimal points.
    fn has_decimal_commas(self, sample: &[u8], options: &ReadOptions) -> bool {
        let mut columns: Vec<Decimals> = Vec::new();
        for row in self.rows(sample).skip(1) {
            columns.resize(columns.len().max(row.len()), Decimals::default());
            let cells = row.iter().zip(&mut columns).filter(|(cell, _)| !options.is_missing(cell));
            cells.for_each(|(cell, column)| column.see(cell, self.delimiter));
        }
        columns.iter().any(|column| column.comma > column.other)
            && columns.iter().all(|column| column.point <= column.other)
    }

    fn rows(self, sample: &[u8]) -> impl Iterator<Item = StringRecord> {
        let reader: Reader<&[u8]> = self.reader().has_headers(false).flexible(true).from_reader(sample);
        reader.into_records().map_while(Result::ok).take(ROWS)
    }
}

/// How many cells of a column look like what.
#[derive(Clone, Copy, Default)]
struct Decimals {
    comma: u32,
    point: u32,
    other: u32,
}

impl Decimals {
    fn see(&mut self, cell: &str, delimiter: u8) {
        let digits = cell.trim().trim_start_matches(['-', '+']);
        match digits.split_once(',') {
            // Where tabs separate, 1,234 is more likely a thousand.
            Some((whole, rest)) if delimiter != b';' && rest.len() == 3 && (1..4).contains(&whole.len()) => {
                self.other += 1;
            }
            Some(_) if comma_number(cell).is_some() => self.comma += 1,
            None if texts::number(cell).is_some() => self.point += u32::from(digits.contains('.')),
            _ => self.other += 1,
        }
    }
}

/// The number that a text with a decimal comma says: `5,25`, `-1.234,5`.
pub(super) fn comma_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once(',')?;
    let digits = whole.trim_start_matches(['-', '+']);
    let mut groups = digits.split('.');
    let first = groups.next()?;
    let is_grouped = !digits.contains('.') || (1..4).contains(&first.len()) && groups.all(|group| group.len() == 3);
    let is_number = is_grouped && fraction.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let number = || texts::number(&format!("{}.{fraction}", whole.replace('.', "")));
    if is_number { number() } else { None }
}

/// How many bytes the line of Excel takes that names the separator, and which one it names.
fn separator_line(sample: &[u8]) -> (usize, Option<u8>) {
    let mark = if sample.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let Some(&[delimiter, ref rest @ ..]) = sample[mark..].strip_prefix(SEPARATOR_LINE) else { return (0, None) };
    let line_end = if rest.starts_with(b"\r\n") { 2 } else { usize::from(rest.starts_with(b"\n")) };
    if line_end == 0 { (0, None) } else { (mark + SEPARATOR_LINE.len() + 1 + line_end, Some(delimiter)) }
}

/// The quotes of the sample: double ones, unless only single ones stand around whole cells.
fn quote(sample: &[u8]) -> u8 {
    let around = |quote: u8| {
        let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| DELIMITERS.contains(byte) || b"\r\n".contains(byte));
        let at_edge = |at: &usize| is_edge(at.checked_sub(1).and_then(|at| sample.get(at)));
        let (opening, closing): (Vec<usize>, Vec<usize>) =
            memchr::memchr_iter(quote, sample).partition(|at| at_edge(at));
        let closing = closing.into_iter().filter(|at| is_edge(sample.get(at + 1))).count();
        opening.len().min(closing)
    };
    if around(b'\'') > 0 && around(b'"') == 0 { b'\'' } else { b'"' }
}

/// Whether quotes within quotes have a backslash before them, as Spark writes them, and aren't doubled.
fn escapes_quotes(sample: &[u8], delimiter: u8) -> bool {
    let ends_cell = |byte: Option<&u8>| byte.is_none_or(|byte| *byte == delimiter || b"\"\r\n".contains(byte));
    memchr::memmem::find_iter(sample, b"\\\"").any(|at| !ends_cell(sample.get(at + 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(text: &str) -> Dialect {
        Dialect::detect(text.as_bytes(), true, &ReadOptions::default())
    }

    #[test]
    fn the_separator_is_what_divides_rows_as_the_header() {
        for (text, delimiter) in [
            ("a,b\n1,2\n", b','),
            ("a;b\n1,5;2,5\n", b';'),
            ("a\tb\n1,5\tx;y\n", b'\t'),
            ("a|b|c\n1|2|3\n", b'|'),
            ("a,b\n\"x;y\",1\n\"z;w\",2\n", b','),
            ("a,b,c\nx;1,2,3\ny;2,3,4\n", b','),
            ("a;b,c\n1;2\n3;4\n", b';'),
            ("only\n1\n", b','),
            ("a,b\n1,2\n1\n1,2\n", b','),
            ("sep=;\r\na;b\r\n1;2\r\n", b';'),
        ] {
            assert_eq!(char::from(detect(text).delimiter), char::from(delimiter), "{text}");
        }
        let options = ReadOptions { delimiter: Some(b'/'), decimal: Some(','), ..ReadOptions::default() };
        let dialect = Dialect::detect(b"a,b/c\n", true, &options);
        assert_eq!((dialect.delimiter, dialect.decimal_comma), (b'/', true));
        assert_eq!(detect("\u{feff}sep=|\na|b\n").skip, 9);
    }

    #[test]
    fn decimal_commas_are_those_of_a_whole_column() {
        assert!(detect("a;b\n5,25;x\n;y\n-1.234,5;z\n7;z\n").decimal_comma);
        for text in ["a;b\n1;2\n", "a;b\n1,2;x\n1,2,3;y\n", "a;b\n1,5;2.5\n", "a,b\n\"1,5\",2\n", "a\tb\n1,234\t5\n"] {
            assert!(!detect(text).decimal_comma, "{text}");
        }
        assert_eq!(
            ["5,25", "-0,5", "1.234.567,8", "5.2,5", "5", "1,2,3", "a,5", ",5"].map(comma_number),
            [Some(5.25), Some(-0.5), Some(1_234_567.8), None, None, None, None, Some(0.5)]
        );
    }

    #[test]
    fn quotes_and_escapes_are_those_that_the_cells_have() {
        assert_eq!(detect("'a','b'\n'x, y','it''s'\n").quote, b'\'');
        assert_eq!(detect("a,b\nit's,'90s\n").quote, b'"');
        assert_eq!(detect("a,b\n\"say \\\"hi\\\" now\",1\n").escape, Some(b'\\'));
        assert_eq!(detect("a,b\n\"C:\\\",1\n").escape, None);
        assert_eq!(detect("a,b\n\"say \"\"hi\"\"\",1\n").escape, None);
        let dialect = detect("'a';'b'\n'1,5';'x'\n");
        let described = dialect.describe().unwrap();
        assert_eq!(described, "';' separates the cells, '\\'' quotes them, decimals have a comma");
        assert_eq!(detect("a,b\n1,2\n").describe(), None);
    }
}
