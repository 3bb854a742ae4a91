//! The same rows as CSV, Parquet and JSON of several writers: by `weir evaluate`, by `weir predict`, on a topic and over HTTP
//! they have the same bits.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use super::*;
use crate::codec::testing::packed;
use crate::codec::{DecodeOptions, Format};
use crate::model::preprocess::DatePart;
use crate::score::{Options, Scorer};
use crate::train::dataset::{Columns, DatasetError, Examples, ReadOptions, Table, TableRecords};
use crate::train::preparation::Preparation;
use crate::train::{Recipe, evaluate, fit};

const ROWS: usize = 2_000;

/// A row, as a data frame has it.
struct Row {
    amount: Option<f64>,
    count: i64,
    /// An integer with gaps, which pandas makes a float.
    level: Option<i64>,
    shop: i64,
    active: Option<bool>,
    work: Option<&'static str>,
    note: &'static str,
    code: &'static str,
}

const COLUMNS: [&str; 9] = ["amount", "count", "level", "shop", "active", "work", "note", "code", "y"];

const WORK: [Option<&str>; 5] = [Some(" Private"), Some("State-gov"), None, Some("Self "), Some("größer")];
const NOTES: [&str; 4] = ["plain", "a, b; c\td", "say \"hi\" now", "it's"];
const CODES: [&str; 3] = ["01", "1x", "a-b"];

fn data() -> Vec<Row> {
    let row = |at: usize| Row {
        amount: (!at.is_multiple_of(11)).then(|| (at as f64 * 0.37).sin() * 10_f64.powi(at as i32 % 7 - 1)),
        count: at as i64 % 97 - 40,
        level: (!at.is_multiple_of(7)).then_some(at as i64 % 3 + 1),
        shop: 9_007_199_254_740_992 + at as i64 % 3,
        active: (!at.is_multiple_of(13)).then_some(at.is_multiple_of(2)),
        work: WORK[at % 5],
        note: NOTES[at % 4],
        code: CODES[at % 3],
    };
    (0..ROWS).map(row).collect()
}

fn target(at: usize) -> &'static str {
    if at % 5 < 2 { "yes" } else { "no" }
}

/// How a writer of CSV writes.
struct Writer {
    name: &'static str,
    separator: &'static str,
    comma: bool,
    missing: &'static str,
    booleans: [&'static str; 2],
    floats: bool,
    backslash: bool,
}

const WRITERS: [Writer; 5] = [
    Writer {
        name: "pandas.csv",
        separator: ",",
        comma: false,
        missing: "",
        booleans: ["False", "True"],
        floats: true,
        backslash: false,
    },
    Writer {
        name: "postgres.csv",
        separator: ",",
        comma: false,
        missing: "",
        booleans: ["f", "t"],
        floats: false,
        backslash: false,
    },
    Writer {
        name: "copy.tsv",
        separator: "\t",
        comma: false,
        missing: "\\N",
        booleans: ["f", "t"],
        floats: false,
        backslash: false,
    },
    Writer {
        name: "spark.csv",
        separator: ",",
        comma: false,
        missing: "",
        booleans: ["false", "true"],
        floats: false,
        backslash: true,
    },
    Writer {
        name: "excel.csv",
        separator: ";",
        comma: true,
        missing: "#N/A",
        booleans: ["FALSE", "TRUE"],
        floats: false,
        backslash: false,
    },
];

impl Writer {
    fn text(&self, rows: &[Row]) -> String {
        let header = COLUMNS.join(self.separator);
        let lines = rows.iter().enumerate().map(|(at, row)| self.line(at, row));
        [header].into_iter().chain(lines).collect::<Vec<_>>().join("\n") + "\n"
    }

    fn line(&self, at: usize, row: &Row) -> String {
        let number = |number: f64| {
            let text = format!("{number:?}");
            if self.comma && !text.contains('e') { text.replace('.', ",") } else { text }
        };
        let quoted = |text: &str| match text.contains(['"', ',', ';', '\t']) {
            true => format!("\"{}\"", text.replace('"', if self.backslash { "\\\"" } else { "\"\"" })),
            false => text.to_owned(),
        };
        let level = |level: i64| if self.floats { format!("{level}.0") } else { level.to_string() };
        let missing = || self.missing.to_owned();
        [
            row.amount.map_or_else(missing, number),
            row.count.to_string(),
            row.level.map_or_else(missing, level),
            row.shop.to_string(),
            row.active.map_or_else(missing, |active| self.booleans[usize::from(active)].to_owned()),
            row.work.map_or_else(missing, quoted),
            quoted(row.note),
            row.code.to_owned(),
            target(at).to_owned(),
        ]
        .join(self.separator)
    }
}

fn write_parquet(rows: &[Row], path: &PathBuf) {
    fn column<T: FromIterator<V> + arrow_array::Array + 'static, V>(values: impl Iterator<Item = V>) -> ArrayRef {
        Arc::new(values.collect::<T>())
    }
    let columns = [
        ("amount", column::<Float64Array, _>(rows.iter().map(|row| row.amount))),
        ("count", column::<Int64Array, _>(rows.iter().map(|row| Some(row.count)))),
        ("level", column::<Float64Array, _>(rows.iter().map(|row| row.level.map(|level| level as f64)))),
        ("shop", column::<Int64Array, _>(rows.iter().map(|row| Some(row.shop)))),
        ("active", column::<BooleanArray, _>(rows.iter().map(|row| row.active))),
        ("work", column::<StringArray, _>(rows.iter().map(|row| row.work))),
        ("note", column::<StringArray, _>(rows.iter().map(|row| Some(row.note)))),
        ("code", column::<StringArray, _>(rows.iter().map(|row| Some(row.code)))),
        ("y", column::<StringArray, _>((0..rows.len()).map(|at| Some(target(at))))),
        // Of a data frame that was sorted.
        ("__index_level_0__", column::<Int64Array, _>((0..rows.len() as i64).rev().map(Some))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// As pandas writes records, or as Spark does: without members that are null, and the level as a whole number.
fn record(row: &Row, spark: bool) -> String {
    let level = row.level.map(|level| if spark { json!(level) } else { json!(level as f64) });
    let members = [
        ("amount", row.amount.map(Value::from)),
        ("count", Some(json!(row.count))),
        ("level", level),
        ("shop", Some(json!(row.shop))),
        ("active", row.active.map(Value::from)),
        ("work", row.work.map(Value::from)),
        ("note", Some(json!(row.note))),
        ("code", Some(json!(row.code))),
    ];
    let there = members.into_iter().filter(|(_, value)| !spark || value.is_some());
    let members = there.map(|(name, value)| (name.to_owned(), value.unwrap_or_default()));
    Value::Object(members.collect()).to_string()
}

/// A request of all rows; the level is of this datatype.
fn request(rows: &[Row], level: &str) -> Value {
    let tensor = |name: &str, datatype: &str, data: Vec<Value>| json!({ "name": name, "datatype": datatype, "shape": [data.len()], "data": data });
    let all = |value: &dyn Fn(&Row) -> Value| rows.iter().map(value).collect::<Vec<_>>();
    let inputs = vec![
        tensor("amount", "FP64", all(&|row| json!(row.amount))),
        tensor("count", "INT64", all(&|row| json!(row.count))),
        tensor("level", level, all(&|row| json!(row.level))),
        tensor("shop", "INT64", all(&|row| json!(row.shop))),
        tensor("active", "BOOL", all(&|row| json!(row.active))),
        tensor("work", "BYTES", all(&|row| json!(row.work))),
        tensor("note", "BYTES", all(&|row| json!(row.note))),
        tensor("code", "BYTES", all(&|row| json!(row.code))),
    ];
    json!({ "inputs": inputs })
}

fn model(path: PathBuf) -> Model {
    let columns =
        Columns { target: "y".into(), categorical: vec!["level".into(), "shop".into()], ..Columns::default() };
    train_on(path, &columns, Preparation::default())
}

fn train_on(path: PathBuf, columns: &Columns, preparation: Preparation) -> Model {
    let divide =
        |outline: &crate::train::dataset::Outline| Ok::<_, DatasetError>(((0..outline.rows).collect(), Vec::new()));
    let divided = Table::read_divided(&[path], columns, divide).unwrap();
    let recipe = Recipe { preparation, max_iter: 1, hidden_layer_sizes: vec![4], ..Recipe::default() };
    let trained = fit(&divided.train, &divided.test, &recipe, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let (_, files) = trained.into_draft("m", []).bundle(1, "2026-01-01T00:00:00Z".into()).unwrap();
    Model::load(&files, |_| {}).unwrap()
}

/// The bits of the rows of records, and their predictions.
fn score(model: &Arc<Model>, records: &[Vec<u8>]) -> (Vec<u64>, Vec<u32>) {
    score_as(Format::Json, DecodeOptions::default(), model, records)
}

fn score_as(input: Format, decode: DecodeOptions, model: &Arc<Model>, records: &[Vec<u8>]) -> (Vec<u64>, Vec<u32>) {
    let options = Options {
        input,
        decode,
        max_bytes: usize::MAX,
        min_features: MIN_FEATURES,
        threshold: None,
        output: Format::Json,
    };
    let mut scorer = Scorer::new(Arc::clone(model), &options).unwrap();
    scorer.decode(records.iter().map(|record| Some(record.as_slice())));
    scorer.score();
    assert_eq!(scorer.rejections().count(), 0, "{:?}", scorer.rejections().next());
    let rows = scorer.rows().iter().map(|value| value.to_bits()).collect();
    (rows, scorer.outputs().iter().map(|value| value.to_bits()).collect())
}

#[test]
fn a_row_is_the_same_in_every_format_and_on_every_way() {
    let (folder, rows) = (TempDir::new().unwrap(), data());
    let path = |name: &str| folder.path().join(name);
    for writer in &WRITERS {
        File::create(path(writer.name)).unwrap().write_all(writer.text(&rows).as_bytes()).unwrap();
    }
    write_parquet(&rows, &path("pandas.parquet"));
    let tables: Vec<&str> = WRITERS.iter().map(|writer| writer.name).chain(["pandas.parquet"]).collect();

    for trained_on in &tables {
        let model = Arc::new(model(path(trained_on)));
        let of_records = |spark: bool| {
            let records: Vec<Vec<u8>> = rows.iter().map(|row| record(row, spark).into_bytes()).collect();
            score(&model, &records)
        };
        let (expected, predictions) = of_records(false);
        let unknown = expected.iter().filter(|bits| **bits == crate::record::Gap::Unknown.value().to_bits()).count();
        assert_eq!(unknown, 0, "a model trained on {trained_on} knows all categories");
        assert_eq!(of_records(true), (expected.clone(), predictions.clone()), "{trained_on}, Spark's records");

        for table in &tables {
            let files = [path(table)];
            let examples = Examples::read(&files, model.signature(), ReadOptions::default()).unwrap();
            assert_eq!((examples.rejected, examples.without_target), (0, 0));
            let bits: Vec<u64> = examples.rows.iter().map(|value| value.to_bits()).collect();
            assert!(bits == expected, "{trained_on}, evaluated on {table}");
            let answers = evaluate::answers(&model, examples.rows.view());
            assert!(answers.iter().map(|answer| (*answer as f32).to_bits()).eq(predictions.iter().copied()));
            let mut records = Vec::new();
            let opened = TableRecords::open(&files, model.signature(), &[], &ReadOptions::default()).unwrap();
            let mut keep = |_, record: &[u8]| {
                records.push(record.to_vec());
                Ok::<_, DatasetError>(())
            };
            opened[0].visit(&mut keep).unwrap();
            assert!(
                score(&model, &records) == (expected.clone(), predictions.clone()),
                "{trained_on}, predict {table}"
            );
        }
        // Lines of RFC 4180 with decimal points.
        for writer in WRITERS.iter().filter(|writer| !writer.backslash && !writer.comma) {
            let lines: Vec<Vec<u8>> = rows.iter().enumerate().map(|(at, row)| writer.line(at, row).into()).collect();
            let options = DecodeOptions {
                columns: COLUMNS.map(String::from).to_vec(),
                delimiter: writer.separator.chars().next(),
                ..DecodeOptions::default()
            };
            assert!(
                score_as(Format::Csv, options, &model, &lines) == (expected.clone(), predictions.clone()),
                "{trained_on}, lines of {}",
                writer.name
            );
        }
        for spark in [false, true] {
            let pack = |row: &Row| packed(&serde_json::from_str(&record(row, spark)).unwrap());
            let records: Vec<Vec<u8>> = rows.iter().map(pack).collect();
            assert!(
                score_as(Format::Msgpack, DecodeOptions::default(), &model, &records)
                    == (expected.clone(), predictions.clone()),
                "{trained_on}, MessagePack"
            );
        }
        for level in ["FP64", "INT64"] {
            let answer = ask(&model, &request(&rows, level).to_string()).unwrap();
            let data = answer["outputs"][1]["data"].as_array().unwrap();
            let bits: Vec<u32> = data.iter().map(|number| (number.as_f64().unwrap() as f32).to_bits()).collect();
            assert!(bits == predictions, "{trained_on}, over HTTP with {level}");
        }
    }
}

/// Hours as several writers have them, the target follows from the hour.
#[test]
fn dates_are_features_by_the_same_code_everywhere() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    // 2024-01-01T00:30:00Z, a Monday, and 400 times 5 hours later.
    let times: Vec<i64> = (0..400).map(|at| 1_704_069_000 + at * 5 * 3600).collect();
    let text = |time: i64| {
        humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time as u64))
            .to_string()
    };
    let table = |form: &dyn Fn(i64) -> String| {
        let rows = times.iter().enumerate().map(|(at, &time)| format!("{},{at},{}\n", form(time), target(at)));
        format!("when,x,y\n{}", rows.collect::<String>())
    };
    let forms: [(&str, &dyn Fn(i64) -> String); 4] = [
        ("iso.csv", &text),
        ("postgres.csv", &|time| text(time).replace('T', " ").replace('Z', "+00")),
        ("bigquery.csv", &|time| text(time).replace('T', " ").replace('Z', " UTC")),
        ("milliseconds.csv", &|time| (time * 1000).to_string()),
    ];
    for (name, form) in forms {
        std::fs::write(path(name), table(form)).unwrap();
    }
    let columns: [(&str, ArrayRef); 3] = [
        ("when", Arc::new(TimestampMicrosecondArray::from_iter_values(times.iter().map(|time| time * 1_000_000)))),
        ("x", Arc::new(Int64Array::from_iter_values(0..400))),
        ("y", Arc::new(StringArray::from_iter_values((0..400).map(target)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(File::create(path("spark.parquet")).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();

    let parts = vec![DatePart::Hour, DatePart::Weekday, DatePart::Month, DatePart::Day];
    let preparation = Preparation { datetime: [("when".to_owned(), parts)].into(), ..Preparation::default() };
    let options = ReadOptions { datetime: vec!["when".into()], ..ReadOptions::default() };
    // The same column may be the time by which rows are divided.
    let columns = Columns { target: "y".into(), time: Some("when".into()), options, ..Columns::default() };
    let names = forms.map(|(name, _)| name).into_iter().chain(["spark.parquet"]);
    for trained_on in ["iso.csv", "milliseconds.csv", "spark.parquet"] {
        let model = Arc::new(train_on(path(trained_on), &columns, preparation.clone()));
        let mut input = vec![0.0; model.preprocess.width()];
        model.preprocess.apply(&[times[2] as f64, 0.0], &mut input);
        // 10:30 on Monday, in January: 24 hours, 7 days of the week, 12 months, the day, and x.
        let ones: Vec<usize> = (0..43).filter(|&at| input[at] != 0.0).collect();
        assert_eq!((ones, input.len()), (vec![10, 24, 31], 45), "{trained_on}");

        let records: Vec<Vec<u8>> = times
            .iter()
            .enumerate()
            .map(|(at, &time)| format!(r#"{{"when":"{}","x":{at}}}"#, text(time)).into())
            .collect();
        let (expected, predictions) = score(&model, &records);
        let numbers: Vec<Vec<u8>> =
            times.iter().enumerate().map(|(at, &time)| format!(r#"{{"x":{at},"when":{time}000}}"#).into()).collect();
        assert_eq!(score(&model, &numbers), (expected.clone(), predictions.clone()));
        for name in names.clone() {
            let examples = Examples::read(&[path(name)], model.signature(), ReadOptions::default()).unwrap();
            assert!(
                examples.rows.iter().map(|value| value.to_bits()).eq(expected.iter().copied()),
                "{trained_on}, {name}"
            );
            let mut records = Vec::new();
            let opened = TableRecords::open(&[path(name)], model.signature(), &[], &ReadOptions::default()).unwrap();
            let mut keep = |_, record: &[u8]| {
                records.push(record.to_vec());
                Ok::<_, DatasetError>(())
            };
            opened[0].visit(&mut keep).unwrap();
            assert!(score(&model, &records) == (expected.clone(), predictions.clone()), "{trained_on}, predict {name}");
        }
        let x = json!({ "name": "x", "datatype": "INT64", "shape": [400], "data": (0..400).collect::<Vec<_>>() });
        for (datatype, data) in [
            ("BYTES", times.iter().map(|&time| json!(text(time))).collect::<Vec<_>>()),
            ("INT64", times.iter().map(|&time| json!(time * 1_000_000_000)).collect()),
        ] {
            let when = json!({ "name": "when", "datatype": datatype, "shape": [400], "data": data });
            let answer = ask(&model, &json!({ "inputs": [when, x] }).to_string()).unwrap();
            let data = answer["outputs"][1]["data"].as_array().unwrap();
            let bits: Vec<u32> = data.iter().map(|number| (number.as_f64().unwrap() as f32).to_bits()).collect();
            assert!(bits == predictions, "{trained_on}, over HTTP as {datatype}");
        }
        let mut row = [0.0; 2];
        let mut decoder = crate::codec::json::Decoder::new(model.signature(), &DecodeOptions::default());
        decoder.decode(br#"{"when":"July","x":1}"#, &mut row, &mut []).unwrap();
        let rejection = model.signature().check(&row).unwrap_err();
        assert!(rejection.message.contains("expected a date or time"), "{rejection}");
    }
}
