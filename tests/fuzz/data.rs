//! Files of data to train on: a table, or an error in one line.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use flate2::Compression;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression as Codec;
use parquet::file::properties::WriterProperties;
use weir::train::dataset::{Columns, Table};

use super::driver::{TEXT, Target, fuzz};
use super::models::{chain, memory};

const CSV: &str = "id,when,delay,carrier,late\na,2013-01-02,1.5,UA,yes\nb,2013-01-01,NA,\"B6, \"\"x\"\"\",no\nc,2013-01-03T10:00:00Z,-3,,no\nd,1e9,20,AA,yes\n";

#[test]
fn csv_is_read_or_refused() {
    let text = CSV.as_bytes().to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&text).unwrap();
    let seeds = vec![
        text.clone(),
        gzip.finish().unwrap(),
        zstd::encode_all(&*text, 1).unwrap(),
        CSV.replace(',', ";").into_bytes(),
    ];
    let words: &[&[u8]] = &[
        b",",
        b"\"",
        b"\"\"",
        b"\r\n",
        b"\n\n",
        b"\xef\xbb\xbf",
        b"NaN",
        b"inf",
        b"late",
        b"PAR1",
        b"\x1f\x8b",
        b",,,,,,,,",
    ];
    let words = [TEXT, words].concat();
    fuzz(Target { name: "csv", share: 15, seeds, words: &words, run: &mut reader("data.csv") });
}

#[test]
fn parquet_is_read_or_refused() {
    let seeds = [Codec::UNCOMPRESSED, Codec::SNAPPY, Codec::LZ4_RAW]
        .into_iter()
        .flat_map(|codec| [parquet(codec, true), parquet(codec, false)]);
    let words: &[&[u8]] =
        &[b"PAR1", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\x0f", b"\x15\x00", b"\x00\x00\x00\x00"];
    // The reader's own panics are caught by weir and reported as an error; shown each time, they would bury what matters.
    super::quietly("/parquet-", || {
        fuzz(Target { name: "parquet", share: 5, seeds: seeds.collect(), words, run: &mut reader("data.parquet") });
    });
}

/// Reads a file of these bytes, with and without a time column.
fn reader(name: &'static str) -> impl FnMut(&[u8]) -> Result<String, String> {
    let folder = tempfile::tempdir_in(memory()).unwrap();
    let columns = [("late", None), ("delay", Some("when"))].map(|(target, time)| Columns {
        target: target.into(),
        id: Some("id".into()),
        time: time.map(String::from),
        ..Columns::default()
    });
    move |input| {
        let path = folder.path().join(name);
        fs::write(&path, input).unwrap();
        let mut answers = String::new();
        for columns in &columns {
            match Table::read(std::slice::from_ref(&path), columns) {
                Ok(table) if table.rows.ncols() != table.features.len() || table.rows.nrows() != table.len() => {
                    return Err("the table has another shape than its columns".into());
                }
                Ok(table) => answers.push_str(&format!("{:?}", table.features)),
                Err(error) => {
                    let said = chain(&error);
                    answers.push_str(&said.replace(&*folder.path().display().to_string(), ""));
                }
            }
        }
        Ok(answers)
    }
}

fn parquet(codec: Codec, dictionary: bool) -> Vec<u8> {
    let columns: [(&str, ArrayRef); 5] = [
        ("id", Arc::new(StringArray::from(vec!["a", "b", "c", "d"]))),
        ("when", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
        ("delay", Arc::new(Float64Array::from(vec![Some(1.5), None, Some(-3.0), Some(20.0)]))),
        ("carrier", Arc::new(StringArray::from(vec![Some("UA"), Some("B6"), None, Some("AA")]))),
        ("late", Arc::new(BooleanArray::from(vec![true, false, false, true]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_compression(codec).set_dictionary_enabled(dictionary).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}
