use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{
    ArrayRef, BinaryArray, BinaryViewArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Int8Array,
    LargeBinaryArray, ListArray, RecordBatch, TimestampMillisecondArray,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::{
    ColumnChunkMetaData, KeyValue, ParquetMetaData, ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::properties::WriterProperties;
use tempfile::NamedTempFile;

use super::super::super::{Columns, Outline, ReadOptions, Table, TableRecords, TargetValues, Task};
use super::*;
use crate::model::signature::{Feature, Kind, Missing, Signature, Target as SignatureTarget, Unknown};
use crate::record::Gap;
use crate::train::time::Scale;

fn array(values: impl Array + 'static) -> ArrayRef {
    Arc::new(values)
}

fn write(columns: Vec<(&str, ArrayRef)>, compression: Compression) -> NamedTempFile {
    let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
    let batch = batch.unwrap();
    let file = NamedTempFile::new().unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    file
}

fn columns() -> Columns {
    Columns { target: "y".into(), ..Columns::default() }
}

fn read(columns: Vec<(&str, ArrayRef)>, options: &Columns) -> Result<Table, DatasetError> {
    Table::read(&[write(columns, Compression::SNAPPY).path().into()], options)
}

fn names(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| text.to_string()).collect())
}

#[test]
fn types_decide_the_kind() {
    let dictionary: DictionaryArray<Int8Type> = [Some("red"), None, Some("blue")].into_iter().collect();
    let numbered =
        DictionaryArray::new(Int8Array::from(vec![Some(1), Some(0), None]), array(Int64Array::from(vec![30, 7])));
    let decimals = Decimal128Array::from(vec![Some(12345), None, Some(-1)]).with_precision_and_scale(9, 3).unwrap();
    let table = read(
        vec![
            ("float", array(Float64Array::from(vec![Some(1.5), None, Some(f64::NAN)]))),
            ("single", array(Float32Array::from(vec![0.5, 0.25, -1.0]))),
            ("whole", array(Int8Array::from(vec![Some(-3), Some(4), None]))),
            ("large", array(UInt64Array::from(vec![0, 1 << 60, 7]))),
            ("decimal", array(decimals)),
            ("text", array(StringArray::from(vec![Some("10"), Some("NA"), None]))),
            ("view", array(StringViewArray::from(vec!["b", "a", "b"]))),
            ("flag", array(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("colour", array(dictionary)),
            ("code", array(numbered)),
            ("y", array(Float64Array::from(vec![0.25, 0.5, 1.0]))),
        ],
        &columns(),
    )
    .unwrap();
    let kinds: Vec<_> = table.features.iter().map(|column| (column.name.as_str(), column.categories.clone())).collect();
    let expected = [
        ("float", None),
        ("single", None),
        ("whole", None),
        ("large", None),
        ("decimal", None),
        ("text", names(&["10", "NA"])),
        ("view", names(&["a", "b"])),
        ("flag", names(&["false", "true"])),
        ("colour", names(&["blue", "red"])),
        ("code", names(&["7", "30"])),
    ];
    assert_eq!(kinds, expected);
    let gap = |row: usize, column: usize| Gap::of(table.rows[[row, column]]) == Some(Gap::Missing);
    assert_eq!(table.rows[[0, 0]], 1.5);
    assert!(gap(1, 0) && gap(2, 0) && gap(2, 2) && gap(1, 4) && gap(2, 5) && gap(2, 7) && gap(1, 8) && gap(2, 9));
    assert_eq!(table.rows.column(1).to_vec(), [0.5, 0.25, -1.0]);
    assert_eq!(table.rows.column(3).to_vec(), [0.0, (1_u64 << 60) as f64, 7.0]);
    assert_eq!((table.rows[[0, 4]], table.rows[[2, 4]]), (12.345, -0.001));
    assert_eq!(table.rows.column(6).to_vec(), [1.0, 0.0, 1.0]);
    assert_eq!((table.rows[[0, 7]], table.rows[[1, 7]]), (1.0, 0.0));
    assert_eq!((table.rows[[0, 9]], table.rows[[1, 9]]), (0.0, 1.0));
    assert_eq!(table.target.values, TargetValues::Numbers(vec![0.25, 0.5, 1.0]));
}

#[test]
fn the_user_overrules_the_types() {
    let options =
        Columns { categorical: vec!["gate".into()], numeric: vec!["text".into(), "flag".into()], ..columns() };
    let columns = || {
        vec![
            ("gate", array(Int64Array::from(vec![10, 9, 10]))),
            ("text", array(StringArray::from(vec!["1", "2.5", "-3"]))),
            ("flag", array(BooleanArray::from(vec![true, false, true]))),
            ("y", array(StringArray::from(vec!["1", "0", "1"]))),
        ]
    };
    let table = read(columns(), &options).unwrap();
    assert_eq!(table.features[0].categories, names(&["9", "10"]));
    assert_eq!(table.rows.column(1).to_vec(), [1.0, 2.5, -3.0]);
    assert_eq!(table.rows.column(2).to_vec(), [1.0, 0.0, 1.0]);
    assert_eq!(table.task(), Task::Classification);
    let mut broken = columns();
    broken[1].1 = array(StringArray::from(vec!["1", "two", "3"]));
    let problem = read(broken, &options).unwrap_err().to_string();
    assert!(problem.ends_with(r#"row 2, column "text": "two" isn't a number"#), "{problem}");
}

#[test]
fn dates_and_timestamps_are_times() {
    let options = Columns { time: Some("when".into()), ..columns() };
    let y = || ("y", array(StringArray::from(vec!["a", "b"])));
    let x = || ("x", array(Int64Array::from(vec![1, 2])));
    // date -d 2013-07-01T06:15:00Z +%s
    let moments = TimestampMillisecondArray::from(vec![1_372_659_300_000, 1_372_659_300_500]).with_timezone("UTC");
    let times = read(vec![x(), ("when", array(moments.clone())), y()], &options).unwrap().times.unwrap();
    assert_eq!((times.scale, times.rows), (Scale::Iso8601, vec![1_372_659_300.0, 1_372_659_300.5]));
    let dates = Date32Array::from(vec![15_887, 0]);
    let times = read(vec![x(), ("when", array(dates)), y()], &options).unwrap().times.unwrap();
    assert_eq!(times.rows, [1_372_636_800.0, 0.0]);

    let problem = read(vec![x(), ("when", array(moments.clone())), y()], &columns()).unwrap_err().to_string();
    assert!(problem.contains(r#"column "when" holds points in time"#) && problem.contains("--time"), "{problem}");
    let dropped = Columns { drop: vec!["when".into()], ..columns() };
    assert!(read(vec![x(), ("when", array(moments)), y()], &dropped).is_ok());
}

/// A model that was trained on a CSV has texts for them.
#[test]
fn times_are_not_predicted_as_categories() {
    let categories = vec!["2013-07-01".to_owned()];
    let kind = Kind::Categorical { categories, unknown: Unknown::Zeros };
    let signature = Signature {
        features: vec![Feature { name: "when".into(), kind, missing: Missing::Zeros }],
        target: SignatureTarget::Regression { names: vec!["y".into()] },
    };
    let file = write(vec![("when", array(Date32Array::from(vec![15_887])))], Compression::SNAPPY);
    let opened = TableRecords::open(&[file.path().into()], &signature, &[], &ReadOptions::default());
    let error = opened.err().unwrap().to_string();
    assert!(error.contains(r#"column "when" holds points in time"#), "{error}");
}

#[test]
fn what_is_neither_number_nor_text_is_named() {
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1)]), None]);
    let y = || ("y", array(StringArray::from(vec!["a", "b"])));
    let x = || ("x", array(Int64Array::from(vec![1, 2])));
    let problem = read(vec![x(), ("tags", array(lists.clone())), y()], &columns()).unwrap_err().to_string();
    assert!(problem.contains(r#"column "tags" holds lists"#) && problem.contains("--drop tags"), "{problem}");
    let dropped = Columns { drop: vec!["tags".into()], ..columns() };
    assert_eq!(read(vec![x(), ("tags", array(lists)), y()], &dropped).unwrap().features.len(), 1);
    let infinite = array(Float64Array::from(vec![1.0, f64::INFINITY]));
    let problem = read(vec![("x", infinite), y()], &columns()).unwrap_err().to_string();
    assert!(problem.contains(r#"row 2, column "x": "inf" isn't finite"#), "{problem}");
}

#[test]
fn every_compression_and_any_order_of_columns() {
    let values: Vec<f64> = (0..10_000).map(|row| f64::from(row) / 8.0).collect();
    let y: Vec<&str> = (0..10_000).map(|row| if row % 3 == 0 { "a" } else { "b" }).collect();
    let columns_of = || {
        let x = ("x", array(Float64Array::from(values.clone())));
        vec![("y", array(StringArray::from(y.clone()))), ("id", array(Int64Array::from(vec![1; 10_000]))), x]
    };
    let options = Columns { id: Some("id".into()), ..columns() };
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::LZ4_RAW,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let file = write(columns_of(), compression);
        let table = Table::read(&[file.path().into()], &options).unwrap();
        assert_eq!(table.rows.column(0).to_vec(), values, "{compression}");
    }
    // The file as a whole, too.
    let plain = write(columns_of(), Compression::UNCOMPRESSED);
    let mut packed = NamedTempFile::new().unwrap();
    packed.write_all(&zstd::encode_all(plain.reopen().unwrap(), 1).unwrap()).unwrap();
    let table = Table::read(&[packed.path().into()], &options).unwrap();
    assert_eq!(table.rows.column(0).to_vec(), values);
}

/// Case b02: a filtered or shuffled data frame is written with its index.
#[test]
fn the_index_of_a_data_frame_is_no_feature() {
    let columns_of = || {
        vec![
            ("a", array(Int64Array::from(vec![1, 2]))),
            ("when", array(Int64Array::from(vec![5, 6]))),
            ("__index_level_0__", array(Int64Array::from(vec![8, 3]))),
            ("y", array(StringArray::from(vec!["p", "q"]))),
        ]
    };
    let batch = RecordBatch::try_from_iter(columns_of()).unwrap();
    let file = NamedTempFile::new().unwrap();
    let pandas = r#"{"index_columns": ["when", "__index_level_0__", {"kind": "range", "name": null}], "columns": []}"#;
    let metadata = vec![KeyValue::new("pandas".into(), pandas.to_owned())];
    let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
    let mut writer = ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let features = |options: &Columns, paths: &[PathBuf]| {
        let table = Table::read(paths, options).unwrap();
        table.features.into_iter().map(|column| column.name).collect::<Vec<_>>()
    };
    let paths = [file.path().to_owned()];
    assert_eq!(features(&columns(), &paths), ["a"]);
    let all = |outline: &Outline| Ok::<_, DatasetError>(((0..outline.rows).collect(), vec![]));
    let notes = Table::read_divided(&paths, &columns(), all).unwrap().notes;
    assert!(notes[0].starts_with(r#""when", "__index_level_0__": the index of the pandas data frame"#), "{notes:?}");
    // It may be the time, and whoever names it as a feature means it.
    let timed = Columns { time: Some("when".into()), ..columns() };
    assert_eq!(Table::read(&paths, &timed).unwrap().times.unwrap().rows, [5.0, 6.0]);
    assert_eq!(features(&Columns { numeric: vec!["when".into()], ..columns() }, &paths), ["a", "when"]);
    // Another writer has lost the metadata, a data frame that wasn't filtered has no index.
    let without = write(columns_of().into_iter().filter(|(name, _)| *name != "when").collect(), Compression::SNAPPY);
    assert_eq!(features(&columns(), &[without.path().into()]), ["a"]);
    let plain =
        write(columns_of().into_iter().filter(|(name, _)| ["a", "y"].contains(name)).collect(), Compression::SNAPPY);
    assert_eq!(features(&columns(), &[paths[0].clone(), plain.path().into()]), ["a"]);
}

#[test]
fn texts_may_be_binary_and_empty_ones_are_missing() {
    let text = [&b"red"[..], b"", b"blue"];
    for column in [
        array(BinaryArray::from_vec(text.to_vec())),
        array(LargeBinaryArray::from_vec(text.to_vec())),
        array(BinaryViewArray::from_iter_values(text)),
        array(StringArray::from(vec!["red", "  ", "blue"])),
    ] {
        let y = ("y", array(StringArray::from(vec!["a", "b", "a"])));
        let table = read(vec![("c", column), y], &columns()).unwrap();
        assert_eq!(table.features[0].categories, names(&["blue", "red"]));
        assert_eq!(Gap::of(table.rows[[1, 0]]), Some(Gap::Missing));
    }
    let bytes = array(BinaryArray::from_vec(vec![b"\xff\xfe", b"ok"]));
    let problem = read(vec![("c", bytes), ("y", array(StringArray::from(vec!["a", "b"])))], &columns()).unwrap_err();
    assert!(problem.to_string().contains("column \"c\" holds bytes that aren't UTF-8 text"), "{problem}");
}

/// Case b10.
#[test]
fn large_integers_are_exact() {
    let (large, larger) = (9_007_199_254_740_992_u64, 9_007_199_254_740_993);
    let options = Columns { categorical: vec!["shop".into()], task: Some(Task::Classification), ..columns() };
    let signed = array(Int64Array::from(vec![large as i64, larger as i64]));
    for y in [signed, array(UInt64Array::from(vec![large, larger]))] {
        let table =
            read(vec![("shop", array(UInt64Array::from(vec![u64::MAX, u64::MAX - 1]))), ("y", y)], &options).unwrap();
        let TargetValues::Classes { names: classes, rows } = &table.target.values else { panic!() };
        assert_eq!((classes, rows), (&names(&["9007199254740992", "9007199254740993"]).unwrap(), &vec![0, 1]));
        assert_eq!(table.features[0].categories, names(&["18446744073709551614", "18446744073709551615"]));
    }
}

/// CSV, JSON and HTTP have the shortest decimals of such a float.
#[test]
fn floats_of_32_bits_are_their_decimals() {
    let singles = [0.1, -2.3436744, 1.234_567_9e10, 1e-40, 3.0, 16_777_216.0, f32::MAX];
    let columns = |options: &Columns| {
        let y = array(StringArray::from(vec!["a", "b", "a", "b", "a", "b", "a"]));
        read(vec![("x", array(Float32Array::from(singles.to_vec()))), ("y", y)], options).unwrap()
    };
    let table = columns(&self::columns());
    let expected = [0.1, -2.3436744, 12_345_679_000.0, 1e-40, 3.0, 16_777_216.0, 3.4028235e38];
    assert_eq!(table.rows.column(0).to_vec(), expected);
    let table = columns(&Columns { categorical: vec!["x".into()], ..self::columns() });
    assert!(table.features[0].categories.as_ref().unwrap().contains(&"0.1".to_owned()), "{:?}", table.features);
}

#[test]
fn parquet_and_csv_are_read_as_one() {
    let mut csv = NamedTempFile::new().unwrap();
    csv.write_all(b"y,colour,x\na,red,1\nb,,\n").unwrap();
    let parquet = write(
        vec![
            ("x", array(Int64Array::from(vec![7]))),
            ("y", array(StringArray::from(vec!["a"]))),
            ("colour", array(StringArray::from(vec!["blue"]))),
        ],
        Compression::SNAPPY,
    );
    let table = Table::read(&[csv.path().into(), parquet.path().into()], &columns()).unwrap();
    assert_eq!(table.features[0].categories, names(&["blue", "red"]));
    assert_eq!((table.len(), table.rows[[0, 1]], table.rows[[2, 1]]), (3, 1.0, 7.0));
    assert_eq!(table.rows.column(0).to_vec()[2], 0.0);
}

#[test]
fn a_damaged_file_is_an_error() {
    let file = write(
        vec![
            ("x", array(Float64Array::from((0..300).map(f64::from).collect::<Vec<_>>()))),
            ("c", array(StringArray::from_iter_values((0..300).map(|row| format!("c{}", row % 7))))),
            ("y", array(BooleanArray::from((0..300).map(|row| row % 2 == 0).collect::<Vec<_>>()))),
        ],
        Compression::ZSTD(ZstdLevel::default()),
    );
    let whole = std::fs::read(file.path()).unwrap();
    let damaged = NamedTempFile::new().unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(damaged.path(), bytes).unwrap();
        Table::read(&[damaged.path().into()], &columns())
    };
    assert!(read(&whole).is_ok());
    for length in (4..whole.len()).step_by(13) {
        let error = read(&whole[..length]).unwrap_err();
        assert!(matches!(error, DatasetError::Parquet { .. }), "{length} bytes: {error}");
    }
    // A flipped bit may go unnoticed, but never ends the process.
    for at in (4..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let _ = read(&bytes);
    }
}

#[test]
fn a_file_that_claims_more_than_fits_is_not_even_tried() {
    let file = write(
        vec![("x", array(Int64Array::from(vec![1, 2]))), ("y", array(StringArray::from(vec!["a", "b"])))],
        Compression::UNCOMPRESSED,
    );
    let path: PathBuf = file.path().into();
    with_another_footer(&file, |group| {
        let columns = group.columns().iter().cloned();
        let columns = columns.map(|it| it.into_builder().set_num_values(1 << 60).build().unwrap()).collect();
        group.into_builder().set_num_rows(1 << 60).set_column_metadata(columns).build().unwrap()
    });
    let problem = Table::read(&[path], &columns()).unwrap_err().to_string();
    assert!(problem.contains("1152921504606846976 rows of 1 features need about"), "{problem}");
}

/// Puts a footer behind the file that says something else of its one row group.
fn with_another_footer(file: &NamedTempFile, change: impl FnOnce(RowGroupMetaData) -> RowGroupMetaData) {
    let honest = ParquetMetaDataReader::new().parse_and_finish(file.as_file()).unwrap();
    let dishonest = ParquetMetaData::new(honest.file_metadata().clone(), vec![change(honest.row_group(0).clone())]);
    let mut footer = Vec::new();
    ParquetMetaDataWriter::new(&mut footer, &dishonest).finish().unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    bytes.extend(footer);
    std::fs::write(file.path(), bytes).unwrap();
}

#[test]
fn a_footer_that_contradicts_its_file_is_refused_before_pages_are_read() {
    type Change = fn(ColumnChunkMetaData) -> ColumnChunkMetaData;
    let cases: [(Change, &str); 4] = [
        (|it| it.into_builder().set_total_compressed_size(1 << 40).build().unwrap(), "has 1099511627776 bytes from"),
        (|it| it.into_builder().set_total_compressed_size(-1).build().unwrap(), "has -1 bytes from"),
        (|it| it.into_builder().set_num_values(1 << 40).build().unwrap(), "has 1099511627776 values for 2 rows"),
        (|it| it.into_builder().set_total_uncompressed_size(-1).build().unwrap(), "bytes from"),
    ];
    for (change, expected) in cases {
        let columns = vec![("x", array(Int64Array::from(vec![1, 2]))), ("y", array(StringArray::from(vec!["a", "b"])))];
        let file = write(columns, Compression::UNCOMPRESSED);
        with_another_footer(&file, |group| {
            let columns = group.columns().iter().cloned().map(change).collect();
            group.into_builder().set_column_metadata(columns).build().unwrap()
        });
        let error = Table::read(&[file.path().into()], &self::columns()).unwrap_err();
        let problem = format!("{:#}", anyhow::Error::from(error));
        assert!(
            problem.contains("its footer contradicts the file: column \"x\"") && problem.contains(expected),
            "{problem}"
        );
    }
}

#[test]
fn texts_that_decompress_to_far_more_than_the_file_are_refused() {
    let file = |bytes: usize| {
        let columns = vec![
            ("x", array(Float64Array::from(vec![1.0, 2.0]))),
            ("c", array(StringArray::from(vec!["a".repeat(bytes), "b".into()]))),
            ("y", array(StringArray::from(vec!["p", "q"]))),
        ];
        write(columns, Compression::ZSTD(ZstdLevel::default()))
    };
    let read = |file: &NamedTempFile, drop: &[&str]| {
        let drop = drop.iter().map(ToString::to_string).collect();
        Table::read(&[file.path().into()], &Columns { drop, ..columns() })
    };
    let bomb = file(MOST_BYTES + 1);
    assert!(bomb.as_file().metadata().unwrap().len() < 64 << 10);
    let problem = read(&bomb, &[]).unwrap_err().to_string();
    assert!(problem.contains("column \"c\" has ") && problem.contains("bytes, which decompress to 67"), "{problem}");
    assert!(read(&bomb, &["c"]).is_ok(), "a column that is left out isn't read");
    let raised = Columns { options: Limits::times(NonZeroU32::new(1_025).unwrap()).into(), ..columns() };
    assert!(Table::read(&[bomb.path().into()], &raised).is_ok());

    // A smaller one is read and found to be no category, and not quoted.
    let problem = read(&file(1 << 20), &[]).unwrap_err().to_string();
    assert!(problem.contains("its text is longer than 65536 bytes") && problem.len() < 300, "{}", problem.len());
    assert!(read(&file(64 << 10), &[]).is_ok());
}
