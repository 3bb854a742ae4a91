//! `weir predict`: JSON lines, a table or records of another format in, predictions out, scored as on the topic.

mod records;

use std::io::{self, BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};

use self::records::Records;
use super::console::{self, say};
use super::data::ReadArgs;
use crate::codec::{self, DecodeOptions, Format, NanPolicy};
use crate::limits::Limits;
use crate::model::Model;
use crate::model::decision::check_threshold;
use crate::model::reference::ModelRef;
use crate::model::signature::MIN_FEATURES;
use crate::model::store::Store;
use crate::printable::harmless;
use crate::score::{Options, Scorer};
use crate::train::dataset::{self, RecordSpot, TableRecords};

/// Lines that are scored together: so many, or fewer long ones.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 16 << 20;

/// Score JSON lines, CSV or Parquet with a published model.
///
/// Each line or row becomes the same prediction record as on an output topic. One that can't be scored is reported on stderr
/// with its place and the reason, and makes the exit code 1. Empty lines are skipped.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  weir predict flights@production july.jsonl.gz --store file:models --fields id > predictions.jsonl\n  weir predict flights@production july.csv --fields id > predictions.jsonl\n  weir predict flights@production july.msgpack --format msgpack > predictions.jsonl"
)]
pub struct Args {
    /// The model: NAME@VERSION, NAME@ALIAS or NAME@latest.
    #[arg(value_name = "MODEL_REF")]
    model: ModelRef,

    /// JSON lines, CSV with a header, or Parquet, plain, gzip or zstd, or a folder of tables. JSON lines from standard input if
    /// it isn't given.
    file: Option<PathBuf>,

    /// What the file has, in place of JSON lines or a table with a header: records as on a topic. Those of json and csv are lines,
    /// those of the other formats follow each other without anything between them.
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The columns of --format csv, in order; the model's features if they aren't given.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    columns: Vec<String>,

    /// Where the bundles live.
    #[arg(long, value_name = "URL", default_value = "file:models")]
    store: String,

    /// Members of the record to copy to the prediction: names, or dotted paths.
    #[arg(long, value_name = "PATH,…", value_delimiter = ',')]
    fields: Vec<String>,

    /// Dotted path of the object or array that holds the features; the top level if it isn't given.
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    features: String,

    /// Accept "12.5" where a number is expected.
    #[arg(long)]
    numeric_strings: bool,

    /// What becomes of the NaN that Python's json writes.
    #[arg(long, value_enum, default_value_t)]
    nan: NanPolicy,

    /// The share of the model's features that a record must have, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = MIN_FEATURES)]
    min_features: f64,

    /// Predict the positive class from this probability on, in place of the model's own threshold.
    #[arg(long, value_name = "PROBABILITY", value_parser = threshold)]
    threshold: Option<f64>,

    #[command(flatten)]
    read: ReadArgs,
}

fn threshold(text: &str) -> Result<f64, String> {
    let threshold = text.parse().map_err(|_| "expected a number between 0 and 1".to_owned())?;
    check_threshold(threshold).map(|()| threshold)
}

/// Runs the verb.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut output = BufWriter::new(io::stdout().lock());
    // Whoever read the predictions and has seen enough ends the verb: an error that isn't reported.
    let Tally { predicted, rejected } = predict(&args, &mut output, &mut console::stderr())?;
    say!("{predicted} predicted, {rejected} rejected, by {}", args.model);
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Debug, Default, PartialEq)]
struct Tally {
    predicted: u64,
    rejected: u64,
}

fn predict(args: &Args, output: &mut dyn Write, rejections: &mut dyn Write) -> anyhow::Result<Tally> {
    if let Err(problem) = codec::validate_fields(&args.fields) {
        bail!("--fields: {problem}");
    }
    if !(0.0..=1.0).contains(&args.min_features) {
        bail!("--min-features {}: must be a share between 0 and 1", args.min_features);
    }
    let store = Store::open(&args.store)?;
    let model = store.load(&args.model.name, store.resolve(&args.model)?)?;
    let input = args.format.unwrap_or(Format::Json);
    let read = args.read.options();
    let decode = DecodeOptions {
        features: args.features.clone(),
        numeric_strings: args.numeric_strings,
        nan: args.nan,
        fields: args.fields.clone(),
        columns: args.columns.clone(),
        // Without a format it is that of a table.
        delimiter: read.delimiter.map(char::from).filter(|_| args.format.is_some()),
        na: read.na,
        ..DecodeOptions::default()
    };
    if let Err(problem) = codec::check_options(input, &decode) {
        bail!("--{problem}");
    }
    let options = Options {
        input,
        decode,
        max_bytes: usize::MAX,
        min_features: args.min_features,
        threshold: args.threshold,
        output: Format::Json,
    };
    let model = Arc::new(model);
    let mut scoring =
        Scoring { scorer: Scorer::new(Arc::clone(&model), &options)?, output, rejections, tally: Tally::default() };
    match (args.format, &args.file) {
        (Some(format @ (Format::F32 | Format::Msgpack)), _) => predict_records(args, format, &model, &mut scoring)?,
        (None, Some(path)) if dataset::is_table(path).with_context(|| format!("can't read {}", path.display()))? => {
            predict_table(args, path, &model, &mut scoring)?;
        }
        _ => predict_lines(args, &mut scoring)?,
    }
    scoring.finish()
}

/// What scores batches, and where the answers go.
struct Scoring<'a> {
    scorer: Scorer,
    output: &'a mut dyn Write,
    rejections: &'a mut dyn Write,
    tally: Tally,
}

impl Scoring<'_> {
    /// Scores a batch; `place` says where its records are that can't be scored.
    fn score(&mut self, batch: &Batch, places: &mut dyn FnMut(&[usize]) -> Vec<String>) -> anyhow::Result<()> {
        let scorer = &mut self.scorer;
        scorer.decode(batch.payloads());
        scorer.score();
        scorer.encode(batch.payloads());
        if let Some(lacking) = scorer.take_lacking() {
            writeln!(self.rejections, "weir: warning: {lacking}")?;
        }
        let mut rejected = Vec::new();
        for (at, result) in scorer.results().enumerate() {
            match result {
                Ok(prediction) => {
                    self.tally.predicted += 1;
                    self.output.write_all(prediction.record)?;
                    self.output.write_all(b"\n")?;
                }
                Err(rejection) => rejected.push((at, rejection)),
            }
        }
        self.tally.rejected += rejected.len() as u64;
        let indices: Vec<usize> = rejected.iter().map(|(at, _)| *at).collect();
        let places = if indices.is_empty() { Vec::new() } else { places(&indices) };
        for ((_, rejection), place) in rejected.iter().zip(places) {
            writeln!(self.rejections, "{place}: {rejection}")?;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Tally> {
        self.output.flush()?;
        if let Some(lacking) = self.scorer.take_lacking_at_end() {
            writeln!(self.rejections, "weir: warning: {lacking}")?;
        }
        Ok(self.tally)
    }
}

/// The rows of a table.
fn predict_table(args: &Args, path: &Path, model: &Model, scoring: &mut Scoring<'_>) -> anyhow::Result<()> {
    if !args.features.is_empty() {
        bail!("--features is for JSON lines: a table has the features as columns");
    }
    let files = dataset::files(&[path.display().to_string()])?;
    let options = args.read.options_for(&model.manifest.training);
    for description in dataset::describe(&files, &options)? {
        writeln!(scoring.rejections, "weir: {}", harmless(&description))?;
    }
    for table in TableRecords::open(&files, model.signature(), &args.fields, &options)? {
        let (mut batch, mut spots, mut places) = (Batch::default(), Vec::new(), table.places());
        let mut score = |batch: &mut Batch, spots: &mut Vec<RecordSpot>, scoring: &mut Scoring<'_>| {
            let name = table.path().display();
            scoring.score(batch, &mut |rejected| {
                rejected.iter().map(|&at| format!("{name}, {}", places.of(spots[at]))).collect()
            })?;
            batch.clear();
            spots.clear();
            anyhow::Ok(())
        };
        table.visit(|spot, record| {
            batch.push(record);
            spots.push(spot);
            if batch.is_full() { score(&mut batch, &mut spots, scoring) } else { Ok(()) }
        })?;
        score(&mut batch, &mut spots, scoring)?;
    }
    Ok(())
}

impl Args {
    fn input_name(&self) -> String {
        self.file.as_ref().map_or("standard input".into(), |path| path.display().to_string())
    }

    fn input(&self) -> io::Result<Box<dyn BufRead>> {
        match &self.file {
            Some(path) => dataset::open(path),
            None => Ok(Box::new(io::stdin().lock())),
        }
    }
}

/// Records that follow each other.
fn predict_records(args: &Args, format: Format, model: &Model, scoring: &mut Scoring<'_>) -> anyhow::Result<()> {
    let name = args.input_name();
    let cannot_read = || format!("can't read {name}");
    let features = model.signature().features.len();
    let mut input = args.input().with_context(cannot_read)?;
    let mut records = Records::new(args.read.options().limits, |bytes| format.record_length(features, bytes));
    let (mut batch, mut before) = (Batch::default(), 0);
    loop {
        while !batch.is_full()
            && let Some(record) = records.next(&mut input).with_context(cannot_read)?
        {
            batch.push(record);
        }
        if batch.ends.is_empty() {
            return Ok(());
        }
        scoring.score(&batch, &mut |rejected| {
            rejected.iter().map(|&at| format!("{name}, record {}", before + at + 1)).collect()
        })?;
        before += batch.ends.len();
        batch.clear();
    }
}

/// JSON lines, and those of CSV without a header.
fn predict_lines(args: &Args, scoring: &mut Scoring<'_>) -> anyhow::Result<()> {
    let name = args.input_name();
    let cannot_read = || format!("can't read {name}");
    let mut input = args.input().with_context(cannot_read)?;
    let mut lines = Lines { limits: args.read.options().limits, ..Lines::default() };
    while lines.fill(&mut input).with_context(cannot_read)? {
        let numbers = &lines.numbers;
        scoring.score(&lines.batch, &mut |rejected| {
            rejected.iter().map(|&at| format!("{name}, line {}", numbers[at])).collect()
        })?;
    }
    Ok(())
}

/// Records that are scored together, in buffers that are used again.
#[derive(Default)]
struct Batch {
    /// The records, one after the other.
    bytes: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Batch {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn is_full(&self) -> bool {
        self.ends.len() >= BATCH || self.bytes.len() >= BATCH_BYTES
    }

    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn payloads(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| Some(&self.bytes[start..end]))
    }
}

/// Up to a batch of lines.
#[derive(Default)]
struct Lines {
    batch: Batch,
    /// Each line's number in the input, from 1.
    numbers: Vec<u64>,
    /// How many lines were read so far, empty ones included.
    read: u64,
    limits: Limits,
}

impl Lines {
    /// Reads the next lines; whether there were any.
    fn fill(&mut self, input: &mut dyn BufRead) -> io::Result<bool> {
        self.batch.clear();
        self.numbers.clear();
        while !self.batch.is_full() {
            let Batch { bytes, ends } = &mut self.batch;
            let start = bytes.len();
            if self.limits.read_line(input, bytes)? == 0 {
                break;
            }
            self.read += 1;
            if bytes.ends_with(b"\n") {
                bytes.pop();
            }
            if bytes[start..].trim_ascii().is_empty() {
                bytes.truncate(start);
            } else {
                ends.push(bytes.len());
                self.numbers.push(self.read);
            }
        }
        Ok(!self.numbers.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{Args as _, Command, FromArgMatches};

    use super::*;
    use crate::model::testing;

    #[test]
    fn each_line_becomes_a_prediction_or_a_message_with_its_number() {
        Args::augment_args(Command::new("predict")).debug_assert();
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        Store::open(&store).unwrap().publish(&testing::regression("m", 0.5)).unwrap();
        let file = folder.path().join("rows.jsonl");
        fs::write(&file, "{\"id\":\"a\",\"x\":1}\n\nnonsense\n{\"x\":2}").unwrap();

        let arguments = ["predict", "m@latest", file.to_str().unwrap(), "--store", &store, "--fields", "id"];
        let matches = Args::augment_args(Command::new("predict")).try_get_matches_from(arguments).unwrap();
        let (mut output, mut rejections) = (Vec::new(), Vec::new());
        let tally = predict(&Args::from_arg_matches(&matches).unwrap(), &mut output, &mut rejections).unwrap();
        assert_eq!(tally, Tally { predicted: 2, rejected: 1 });
        assert_eq!(
            String::from_utf8(output).unwrap(),
            "{\"id\":\"a\",\"prediction\":2.5,\"model\":\"m\",\"version\":1}\n\
             {\"prediction\":4.5,\"model\":\"m\",\"version\":1}\n"
        );
        let rejections = String::from_utf8(rejections).unwrap();
        assert!(rejections.contains("rows.jsonl, line 3: malformed: "), "{rejections}");
        assert_eq!(rejections.lines().count(), 1);
    }

    /// The rows of a table become the predictions of their records, with the same places as for `weir train`.
    #[test]
    fn csv_is_scored_as_records_are() {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let mut draft = testing::regression("m", 0.5);
        draft.training.recipe.insert("na".into(), serde_json::json!(["?"]));
        Store::open(&store).unwrap().publish(&draft).unwrap();
        let predict = |name: &str, text: &str, more: &[&str]| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            let arguments = [&["predict", "m@latest", file.to_str().unwrap(), "--store", &store], more].concat();
            let matches = Args::augment_args(Command::new("predict")).try_get_matches_from(arguments).unwrap();
            let (mut output, mut messages) = (Vec::new(), Vec::new());
            let tally = predict(&Args::from_arg_matches(&matches).unwrap(), &mut output, &mut messages);
            tally.map(|tally| (tally, String::from_utf8(output).unwrap(), String::from_utf8(messages).unwrap()))
        };
        let text = "id;x;note\n007;1,5;\"a \"\"b\"\"\"\n\n8;;c\n9;oops;\n10;?;\n11;2,5;\n12;3,5;\n";
        let (tally, output, messages) = predict("rows.csv", text, &["--fields", "id,note"]).unwrap();
        assert_eq!(tally, Tally { predicted: 3, rejected: 3 });
        assert_eq!(
            output.split_inclusive('\n').next().unwrap(),
            "{\"id\":\"007\",\"note\":\"a \\\"b\\\"\",\"prediction\":3.5,\"model\":\"m\",\"version\":1}\n"
        );
        assert!(messages.contains("rows.csv: ';' separates the cells, decimals have a comma"), "{messages}");
        for (line, reason) in [(4, "missing_feature"), (5, "wrong_type"), (6, "missing_feature")] {
            assert!(messages.contains(&format!("rows.csv, line {line}: {reason}")), "{messages}");
        }
        // A file without a name that says what it is; JSON lines stay JSON lines.
        assert_eq!(predict("rows", "x\n1\n2\n", &[]).unwrap().0, Tally { predicted: 2, rejected: 0 });
        assert_eq!(predict("records", " {\"x\":1}\n", &[]).unwrap().0, Tally { predicted: 1, rejected: 0 });
        assert_eq!(predict("rows.jsonl", "nonsense\n", &[]).unwrap().0, Tally { predicted: 0, rejected: 1 });
        let lacking = predict("rows.csv", "y\n1\n", &[]).unwrap_err().to_string();
        assert!(lacking.contains("lacks columns that are features of the model: x"), "{lacking}");
        let field = predict("rows.csv", "x\n1\n", &["--fields", "id"]).unwrap_err().to_string();
        assert!(field.contains("there is no column \"id\" to copy (--fields)"), "{field}");
    }

    /// Whatever comes after the first 1,000 records, and however many batches they are.
    #[test]
    fn what_the_first_records_lack_is_warned_of_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        let mut draft = testing::regression("m", 0.5);
        draft.signature.features[0].missing = crate::model::signature::Missing::Constant { value: 0.0 };
        Store::open(&store).unwrap().publish(&draft).unwrap();
        for (records, expected) in [(1, "the only record"), (900, "the first 900"), (3_000, "the first 1000")] {
            let file = folder.path().join("rows.jsonl");
            fs::write(&file, "{\"y\":1}\n".repeat(records)).unwrap();
            let arguments = ["predict", "m@latest", file.to_str().unwrap(), "--store", &store];
            let matches = Args::augment_args(Command::new("predict")).try_get_matches_from(arguments).unwrap();
            let mut messages = Vec::new();
            predict(&Args::from_arg_matches(&matches).unwrap(), &mut Vec::new(), &mut messages).unwrap();
            let messages = String::from_utf8(messages).unwrap();
            let warnings: Vec<_> = messages.lines().filter(|line| line.starts_with("weir: warning: ")).collect();
            assert!(warnings.len() == 1 && warnings[0].contains(expected), "{records}: {warnings:?}");
        }
    }

    #[test]
    fn long_lines_are_few_in_a_batch_and_one_without_end_is_an_error() {
        let text = format!("{}\n", "x".repeat(1 << 20)).repeat(40);
        let mut lines = Lines::default();
        assert!(lines.fill(&mut text.as_bytes()).unwrap());
        assert_eq!(lines.numbers.len(), 16);
        let error = lines.fill(&mut io::BufReader::new(io::repeat(b'x'))).unwrap_err();
        assert!(error.to_string().contains("a line has more than 64 MiB"), "{error}");
    }

    #[test]
    fn records_of_each_format_are_scored_alike() {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file:{}", folder.path().join("models").display());
        Store::open(&store).unwrap().publish(&testing::regression("m", 0.5)).unwrap();
        let predict = |format: &str, bytes: &[u8], more: &[&str]| {
            let file = folder.path().join("records");
            fs::write(&file, bytes).unwrap();
            let arguments = ["predict", "m@latest", file.to_str().unwrap(), "--store", &store, "--format", format];
            let arguments = [&arguments[..], more].concat();
            let matches = Args::augment_args(Command::new("predict")).try_get_matches_from(arguments).unwrap();
            let (mut output, mut messages) = (Vec::new(), Vec::new());
            let tally = predict(&Args::from_arg_matches(&matches).unwrap(), &mut output, &mut messages);
            tally.map(|_| (String::from_utf8(output).unwrap(), String::from_utf8(messages).unwrap()))
        };
        let expected = "{\"prediction\":2.5,\"model\":\"m\",\"version\":1}\n\
                        {\"prediction\":4.5,\"model\":\"m\",\"version\":1}\n";
        for (format, records, place, more) in [
            ("json", &b"{\"x\":1}\n{\"x\":2}\n{\"x\":\"a\"}"[..], "line 3: wrong_type", &[][..]),
            ("csv", b"1\n2\na\n", "line 3: wrong_type", &[]),
            ("csv", b"?|1\n?|2\n3\n", "line 3: wrong_length", &["--columns", "id,x", "--delimiter", "|"]),
            ("f32", b"\0\0\x80\x3f\0\0\0\x40\0\0", "record 3: wrong_length", &[]),
            ("msgpack", b"\x81\xa1x\x01\x81\xa1x\x02\x81\xa1x", "record 3: malformed", &[]),
        ] {
            let (output, messages) = predict(format, records, more).unwrap();
            assert_eq!(output, expected, "{format}");
            assert!(messages.contains(place), "{format}: {messages}");
        }
        let refused = |format, more: &[&str]| predict(format, b"", more).unwrap_err().to_string();
        assert!(refused("f32", &["--columns", "x"]).starts_with("--columns belongs to format = \"csv\""));
        assert!(refused("csv", &["--columns", "y"]).contains("lacks \"x\""));
    }

    #[test]
    fn lines_keep_their_numbers_over_empty_ones_and_batches() {
        let mut text = "a\n\n  \r\nb\r\n".to_owned();
        for line in 0..BATCH {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str("last");
        let mut input = text.as_bytes();
        let mut lines = Lines::default();
        assert!(lines.fill(&mut input).unwrap());
        let first: Vec<(u64, &[u8])> =
            lines.numbers.iter().copied().zip(lines.batch.payloads().flatten()).take(3).collect();
        assert_eq!(first, [(1, &b"a"[..]), (4, &b"b\r"[..]), (5, &b"0"[..])]);
        assert_eq!(lines.numbers.len(), BATCH);
        assert!(lines.fill(&mut input).unwrap());
        let last: Vec<(u64, &[u8])> =
            lines.numbers.iter().copied().zip(lines.batch.payloads().flatten()).last().into_iter().collect();
        assert_eq!(last, [(4 + BATCH as u64 + 1, &b"last"[..])]);
        assert!(!lines.fill(&mut input).unwrap());
    }
}
