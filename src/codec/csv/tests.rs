//! The decoder by example, and beside the csv crate, which reads tables.

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
    assert_eq!(copied, [r#""a \"1\"""#, "7.0"]);
    let in_order = DecodeOptions { delimiter: Some(';'), ..copying(&["id"]) };
    let (row, copied) = decode(&mut decoder(Format::Csv, &in_order), 1, b"1;AA;2").unwrap();
    assert_eq!((row, copied), (bits(&[1.0, 0.0, 2.0]), vec![String::new()]));
    let padded = options(&["id ", " age", "carrier"]);
    let (row, copied) = decode(&mut decoder(Format::Csv, &padded), 2, b"5,1, AA ").unwrap();
    assert_eq!((row, copied), (bits(&[1.0, 0.0, MISSING]), vec!["5".into(), "\" AA \"".into()]));
}

/// As `weir predict` copies them from a table.
#[test]
fn a_copied_cell_is_a_number_a_text_or_null() {
    for (cell, expected) in [
        ("7", "7"),
        (" -1.50 ", "-1.50"),
        ("\"7\"", "7"),
        ("007", "\"007\""),
        ("1e999", "\"1e999\""),
        ("true", "\"true\""),
        ("a b ", "\"a b \""),
        ("", "null"),
        (" NA", "null"),
    ] {
        let (_, copied) = read(&format!("{cell},1,AA,,2")).unwrap();
        assert_eq!(copied[0], expected, "{cell:?}");
    }
}

#[test]
fn cells_mean_what_they_mean_in_a_table() {
    for missing in ["", "NA", "NaN", "nan", "null", "  ", " N/A", "\\N"] {
        let (row, _) = read(&format!(",{missing},{missing},,{missing}")).unwrap();
        assert_eq!(row, bits(&[MISSING; 3]), "{missing:?}");
    }
    let (row, _) = read(",x,BB,,1e999").unwrap();
    assert_eq!(row, bits(&[Gap::String.value(), Gap::Unknown.value(), Gap::NotFinite.value()]));
    let (row, _) = read(",True,true,,+.5").unwrap();
    assert_eq!(row, bits(&[1.0, 2.0, 0.5]));
    let words = DecodeOptions { na: vec!["?".into()], ..copying(&["carrier"]) };
    let (row, copied) = decode(&mut decoder(Format::Csv, &words), 1, b"1, ?,?").unwrap();
    assert_eq!((row, copied), (bits(&[1.0, MISSING, MISSING]), vec!["null".into()]));
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
    assert_eq!(
        read(" {\"age\":1}").unwrap_err().message,
        "the line has 1 cells, 5 are expected: it may be JSON, which input.format = \"json\" reads"
    );
}

#[test]
fn columns_that_lack_what_the_model_requires_are_refused() {
    let error = AnyDecoder::new(Format::Csv, &signature(), &options(&["id", "speed"])).unwrap_err();
    assert_eq!(error.to_string(), "input.columns lacks \"age\", which the model requires");
    assert!(AnyDecoder::new(Format::Csv, &signature(), &options(&["age"])).is_ok());
}

proptest! {
    /// Beside the csv crate, which reads tables.
    #[test]
    fn lines_are_read_as_the_csv_crate_reads_them(cells in vec("[a-z\", \n0-9é]{0,6}", 5)) {
        let mut writer = ::csv::WriterBuilder::new().from_writer(Vec::new());
        writer.write_record(&cells).unwrap();
        let line = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(line.as_bytes());
        let expected = reader.records().next().unwrap().unwrap();
        let (row, copied) = read(&line).unwrap();
        for (copied, column) in copied.iter().zip([0, 2]) {
            let text = &expected[column];
            let expected = match serde_json::from_str::<serde_json::Number>(text) {
                _ if texts::is_missing(text) => serde_json::Value::Null,
                Ok(number) => number.into(),
                Err(_) => text.into(),
            };
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(copied).unwrap(), expected);
        }
        for (value, column) in [(row[0], 1), (row[2], 4)] {
            let text = &expected[column];
            let number = if texts::is_missing(text) { Err(Gap::Missing) } else { texts::cell_number(text) };
            prop_assert_eq!(value, number.unwrap_or_else(Gap::value).to_bits());
        }
    }

    #[test]
    fn any_bytes_become_a_row_or_a_rejection(payload in vec(any::<u8>(), 0..64), line in "[a\",\r\n 1é]{0,20}") {
        let mut decoder = decoder(Format::Csv, &options(&["id", "age", "carrier", "note", "speed"]));
        let _ = decode(&mut decoder, 2, &payload);
        let _ = decode(&mut decoder, 2, line.as_bytes());
    }
}
