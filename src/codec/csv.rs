//! One line of comma-separated values (RFC 4180) per record. It has no header: the columns are named in the configuration,
//! or they are the model's features in order. Cells mean what they mean in a training file: they are trimmed, and the
//! texts that stand for a missing value there do so here.

use super::features::Features;
use super::field::{FieldValue, Span, write_quoted, written_since};
use super::{CodecError, DecodeOptions};
use crate::codec::json::Categories;
use crate::model::signature::{Missing, Signature};
use crate::printable::listed;
use crate::record::{Gap, Reason, Rejection};

/// Cells that stand for a missing value, as in a training file.
const MISSING: [&[u8]; 4] = [b"NA", b"NaN", b"nan", b"null"];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Turns lines into rows.
#[derive(Debug)]
pub struct Decoder {
    columns: Vec<Column>,
    delimiter: u8,
    features: Features,
    /// A cell without its quotes.
    scratch: Vec<u8>,
}

/// What a column is for.
#[derive(Clone, Copy, Debug)]
struct Column {
    feature: Option<usize>,
    field: Option<usize>,
}

/// A cell as it stands in the line, without the quotes around it.
#[derive(Clone, Copy)]
struct Cell {
    start: usize,
    end: usize,
    /// Whether it has quotes within, each of them twice.
    has_quotes: bool,
}

impl Decoder {
    /// # Errors
    /// A feature without which a record is rejected is none of the columns.
    pub(super) fn new(signature: &Signature, options: &DecodeOptions) -> Result<Decoder, CodecError> {
        let column = |name: &String| Column {
            feature: signature.features.iter().position(|feature| feature.name == *name),
            field: options.fields.iter().position(|field| field == name),
        };
        let columns: Vec<Column> = if options.columns.is_empty() {
            signature.features.iter().map(|feature| column(&feature.name)).collect()
        } else {
            options.columns.iter().map(column).collect()
        };
        let lacks = |at: usize| !columns.iter().any(|column| column.feature == Some(at));
        let required = signature.features.iter().enumerate();
        let mut lacking = required.filter(|(at, feature)| feature.missing == Missing::Reject && lacks(*at)).peekable();
        if lacking.peek().is_some() {
            let features = listed(lacking.map(|(_, feature)| feature.name.as_str()));
            return Err(CodecError::Lacks { place: "input.columns", features });
        }
        Ok(Decoder {
            columns,
            delimiter: options.delimiter.map_or(b',', |delimiter| delimiter as u8),
            features: Features::new(signature, options),
            scratch: Vec::new(),
        })
    }

    /// Fills `row` and `fields`. A copied cell is a text, and an empty one is absent.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) -> Result<(), Rejection> {
        assert_eq!(row.len(), self.features.len(), "one value per feature");
        row.fill(Gap::Missing.value());
        fields.fill(FieldValue::Absent);
        if let Err(error) = std::str::from_utf8(payload) {
            return Err(malformed(format!("it isn't UTF-8 at byte {}", error.valid_up_to())));
        }
        let end = payload.strip_suffix(b"\n").map_or(payload.len(), <[u8]>::len);
        let line = &payload[..payload[..end].strip_suffix(b"\r").map_or(end, <[u8]>::len)];
        let mut at = if line.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        if at == line.len() {
            return Err(malformed("the line is empty".into()));
        }
        let mut count = 0;
        loop {
            let (cell, next) = cell(line, at, self.delimiter)?;
            if let Some(&column) = self.columns.get(count) {
                self.take(line, cell, column, row, fields, texts);
            }
            count += 1;
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        if count == self.columns.len() {
            return Ok(());
        }
        let expected = self.columns.len();
        Err(Rejection::new(Reason::WrongLength, format!("the line has {count} cells, {expected} are expected")))
    }

    /// Takes the value of a cell.
    fn take(
        &mut self,
        line: &[u8],
        cell: Cell,
        Column { feature, field }: Column,
        row: &mut [f64],
        fields: &mut [FieldValue],
        texts: &mut Vec<u8>,
    ) {
        let Decoder { features, scratch, .. } = self;
        let text = if cell.has_quotes {
            unquote(&line[cell.start..cell.end], scratch);
            scratch.as_slice()
        } else {
            &line[cell.start..cell.end]
        };
        let trimmed = text.trim_ascii();
        if let Some(feature) = feature {
            row[feature] = match features.categories(feature) {
                None => number(trimmed),
                Some(categories) => category(categories, trimmed),
            };
        }
        if let Some(field) = field.filter(|_| !trimmed.is_empty()) {
            fields[field] = if cell.has_quotes {
                let before = texts.len();
                write_quoted(&String::from_utf8_lossy(trimmed), texts);
                written_since(before, texts)
            } else {
                let before = text.len() - text.trim_ascii_start().len();
                let start = cell.start + before;
                // The caller has bounded the payload.
                FieldValue::Text(Span { start: start as u32, end: (start + trimmed.len()) as u32 })
            };
        }
    }
}

/// The cell at `at`, and where the next one begins if there is one.
fn cell(line: &[u8], at: usize, delimiter: u8) -> Result<(Cell, Option<usize>), Rejection> {
    if line.get(at) == Some(&b'"') {
        return quoted_cell(line, at + 1, delimiter);
    }
    let ends = |byte: &u8| *byte == delimiter || matches!(byte, b'\n' | b'\r');
    let end = line[at..].iter().position(ends).map_or(line.len(), |length| at + length);
    match line.get(end) {
        Some(&byte) if byte != delimiter => {
            Err(malformed(format!("there is more than one line (byte {end}); send each as a value of its own")))
        }
        found => Ok((Cell { start: at, end, has_quotes: false }, found.map(|_| end + 1))),
    }
}

/// The same of a cell in quotes, whose text begins at `start`.
fn quoted_cell(line: &[u8], start: usize, delimiter: u8) -> Result<(Cell, Option<usize>), Rejection> {
    let (mut end, mut has_quotes) = (start, false);
    loop {
        let quote = memchr::memchr(b'"', &line[end..]).map(|length| end + length);
        let Some(quote) = quote else {
            return Err(malformed(format!("the quote at byte {} is never closed", start - 1)));
        };
        match line.get(quote + 1) {
            Some(b'"') => (end, has_quotes) = (quote + 2, true),
            None => return Ok((Cell { start, end: quote, has_quotes }, None)),
            Some(&byte) if byte == delimiter => {
                return Ok((Cell { start, end: quote, has_quotes }, Some(quote + 2)));
            }
            Some(_) => return Err(malformed(format!("text after a closing quote at byte {}", quote + 1))),
        }
    }
}

/// Replaces `out` by the text with one quote where it has two.
fn unquote(text: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == b'"' {
            bytes.next();
        }
    }
}

fn number(text: &[u8]) -> f64 {
    if is_missing(text) {
        return Gap::Missing.value();
    }
    match fast_float2::parse::<f64, _>(text) {
        Ok(number) if number.is_finite() => number,
        Ok(_) => Gap::NotFinite.value(),
        Err(_) => Gap::String.value(),
    }
}

/// Categories come first: one may be called `NA`.
fn category(categories: &Categories, text: &[u8]) -> f64 {
    let index = match fast_float2::parse::<f64, _>(text) {
        Ok(number) if number.is_finite() => categories.number(text, number),
        _ => categories.index_or(text, Gap::Unknown),
    };
    if index.is_nan() && is_missing(text) { Gap::Missing.value() } else { index }
}

fn is_missing(text: &[u8]) -> bool {
    text.is_empty() || MISSING.contains(&text)
}

#[cold]
fn malformed(message: String) -> Rejection {
    Rejection::new(Reason::Malformed, message)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::testing::{bits, copying, decode, decoder, signature};
    use crate::codec::{Decoder as AnyDecoder, Format};

    const MISSING: f64 = Gap::Missing.value();

    fn options(columns: &[&str]) -> DecodeOptions {
        DecodeOptions { columns: columns.iter().map(ToString::to_string).collect(), ..copying(&["id", "carrier"]) }
    }

    fn read(line: &str) -> Result<(Vec<u64>, Vec<String>), Rejection> {
        decode(&mut decoder(Format::Csv, &options(&["id", "age", "carrier", "note", "speed"])), 2, line.as_bytes())
    }

    #[test]
    fn columns_are_features_and_fields_by_name() {
        let (row, copied) = read("a1,30,AA,whatever,-2.5e1").unwrap();
        assert_eq!(row, bits(&[30.0, 0.0, -25.0]));
        assert_eq!(copied, ["\"a1\"", "\"AA\""]);
        let (row, copied) = read("\u{feff}\"a \"\"1\"\"\", 30 ,\" 7.0 \",\"x,\ny\",\r\n").unwrap();
        assert_eq!(row, bits(&[30.0, 1.0, MISSING]));
        assert_eq!(copied, [r#""a \"1\"""#, "\"7.0\""]);
        let in_order = DecodeOptions { delimiter: Some(';'), ..copying(&["id"]) };
        let (row, copied) = decode(&mut decoder(Format::Csv, &in_order), 1, b"1;AA;2").unwrap();
        assert_eq!((row, copied), (bits(&[1.0, 0.0, 2.0]), vec![String::new()]));
    }

    #[test]
    fn cells_mean_what_they_mean_in_a_training_file() {
        for missing in ["", "NA", "NaN", "nan", "null", "  "] {
            let (row, _) = read(&format!(",{missing},{missing},,{missing}")).unwrap();
            assert_eq!(row, bits(&[MISSING; 3]), "{missing:?}");
        }
        let (row, _) = read(",x,BB,,1e999").unwrap();
        assert_eq!(row, bits(&[Gap::String.value(), Gap::Unknown.value(), Gap::NotFinite.value()]));
        let (row, _) = read(",true,true,,+.5").unwrap();
        assert_eq!(row, bits(&[Gap::String.value(), 2.0, 0.5]));
    }

    #[test]
    fn lines_that_are_none_are_rejected() {
        for (line, reason) in [
            ("", Reason::Malformed),
            ("\n", Reason::Malformed),
            ("a,1,AA,x,2\nb,1,AA,x,2\n", Reason::Malformed),
            ("\"a,1,AA,x,2", Reason::Malformed),
            ("\"a\"b,1,AA,x,2", Reason::Malformed),
            ("a,1,AA,x", Reason::WrongLength),
            ("a,1,AA,x,2,", Reason::WrongLength),
        ] {
            assert_eq!(read(line).unwrap_err().reason, reason, "{line:?}");
        }
        let mut decoder = decoder(Format::Csv, &options(&["id", "age", "carrier", "note", "speed"]));
        assert_eq!(decode(&mut decoder, 2, b"a,1,\xff,x,2").unwrap_err().reason, Reason::Malformed);
    }

    #[test]
    fn columns_that_lack_what_the_model_requires_are_refused() {
        let error = AnyDecoder::new(Format::Csv, &signature(), &options(&["id", "speed"])).unwrap_err();
        assert_eq!(error.to_string(), "input.columns lacks \"age\", which the model requires");
        assert!(AnyDecoder::new(Format::Csv, &signature(), &options(&["age"])).is_ok());
    }

    proptest! {
        /// Beside the csv crate, which reads the training files.
        #[test]
        fn lines_are_read_as_the_csv_crate_reads_them(cells in vec("[a-z\", \n0-9é]{0,6}", 5)) {
            let mut writer = ::csv::WriterBuilder::new().from_writer(Vec::new());
            writer.write_record(&cells).unwrap();
            let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let mut reader =
                ::csv::ReaderBuilder::new().has_headers(false).trim(::csv::Trim::All).from_reader(line.as_bytes());
            let expected = reader.records().next().unwrap().unwrap();
            let (_, copied) = read(&line).unwrap();
            for (copied, column) in copied.iter().zip([0, 2]) {
                let expected = &expected[column];
                let found = if copied.is_empty() { String::new() } else { serde_json::from_str(copied).unwrap() };
                prop_assert_eq!(found, expected.trim_matches(|c: char| c.is_ascii_whitespace()));
            }
        }

        #[test]
        fn any_bytes_become_a_row_or_a_rejection(payload in vec(any::<u8>(), 0..64)) {
            let mut decoder = decoder(Format::Csv, &options(&["id", "age", "carrier", "note", "speed"]));
            let _ = decode(&mut decoder, 2, &payload);
        }
    }
}
