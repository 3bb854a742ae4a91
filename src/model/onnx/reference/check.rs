//! Whether an imported model answers as its graph does.

use std::collections::HashMap;

use ndarray::{Array2, ArrayView2};

use super::RunValue;
use super::array::{TypedArray, axis, computed_in, count};
use super::elementwise::logistic_of;
use super::program::Program;
use super::rows::{Raw, Row, Source};
use super::sums::softmax_along;
use crate::engine::predicted_class;
use crate::model::Model;
use crate::model::import::answers;
use crate::model::onnx::proto::DataType;
use crate::model::onnx::tensor::Data;
use crate::model::preprocess::Transform;
use crate::model::signature::{Signature, Target};

/// Multiplications that a check may take: about four seconds. A network so large that all rows would take more is checked
/// on fewer of them, but on some of each kind.
const WORK: usize = 1 << 32;
const FEWEST_ROWS: usize = 64;

/// What may differ beside what arithmetic in f32 may change by the bound of the run: this much of the number itself, for
/// the functions of libraries.
const RELATIVE: f64 = 2e-6;
/// Where f32 runs out of exponents.
const NEGLIGIBLE: f64 = 1e-30;

/// Rows that are run together, and the elements that they may have in the widest layer.
const BATCH: usize = 250;
const ELEMENTS: usize = 1 << 20;
/// Elements of the widest layer where the graph fixes the number of rows.
const MOST_AT_ONCE: usize = 1 << 24;

/// The graph that a model was imported from, with what the import made of its inputs and outputs.
#[derive(Debug)]
pub struct Reference {
    pub(in crate::model::onnx) program: Program,
    pub(in crate::model::onnx) inputs: Vec<Fed>,
    /// For each feature of the signature its place in the inputs.
    pub(in crate::model::onnx) places: Vec<Place>,
    pub(in crate::model::onnx) form: Form,
    /// The classes as the graph names them.
    pub(in crate::model::onnx) classes: Option<Vec<String>>,
}

/// An input of the graph.
#[derive(Clone, Debug)]
pub(in crate::model::onnx) struct Fed {
    pub(in crate::model::onnx) name: String,
    pub(in crate::model::onnx) data_type: DataType,
    /// The number of rows, if the graph fixes it.
    pub(in crate::model::onnx) batch: Option<usize>,
    pub(in crate::model::onnx) tail: Vec<usize>,
}

/// Where a feature is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::onnx) struct Place {
    pub(in crate::model::onnx) input: usize,
    /// Of the values of a row.
    pub(in crate::model::onnx) column: usize,
}

/// In what form the graph has the answer that the model gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model::onnx) enum Form {
    /// Numbers, or a probability per class.
    AsIs,
    /// What the model takes the softmax of.
    Logits,
    /// What the model takes the logistic function of, for the second of two classes.
    Logit,
    /// The probability of the second of two classes.
    Probability,
}

/// Why an import isn't taken.
#[derive(Debug, thiserror::Error)]
pub enum Difference {
    /// The graph can't be run.
    #[error("the graph can't be run to check its import: {0}")]
    Run(String),
    /// The graph answers otherwise.
    #[error(
        "the import answers otherwise than the graph: for {record} its {output} is {found}, the graph gives {expected} \
         (within {bound:.1e}); {cause}"
    )]
    Answer {
        /// The features.
        record: String,
        /// Which of the answers.
        output: String,
        /// What weir answers.
        found: String,
        /// What the graph answers.
        expected: String,
        /// The largest difference allowed.
        bound: f64,
        /// What makes the difference, and what to do.
        cause: String,
    },
}

/// How near both came.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// How many rows were compared.
    pub rows: usize,
    /// The largest difference, as a share of what is allowed.
    pub largest: f64,
}

impl Reference {
    /// Compares the model with its graph on so many rows, or on fewer if the network is large.
    ///
    /// # Errors
    /// If they differ, or if the graph can't be run.
    pub fn check(&self, model: &Model, transforms: &[Transform], rows: usize) -> Result<Agreement, Difference> {
        let rows = rows.min(affordable_rows(self.program.numbers_per_row(), self.batch()));
        let source =
            Source { signature: model.signature(), transforms, types: self.types(), edges: self.program.edges() };
        let mut comparison =
            Comparison { reference: self, model, agreement: Agreement::default(), parts: HashMap::new() };
        for rows in source.rows(rows).chunks(self.batch()) {
            let (fed, results) = self.run(rows)?;
            comparison.compare(rows, fed, &results)?;
        }
        comparison.finish()
    }

    /// For each feature the type of its input.
    fn types(&self) -> Vec<DataType> {
        self.places.iter().map(|place| self.inputs[place.input].data_type).collect()
    }

    /// For each feature whether it is a double.
    pub fn doubles(&self) -> Vec<bool> {
        self.types().into_iter().map(|data_type| data_type == DataType::Double).collect()
    }

    fn fixed_batch(&self) -> Option<usize> {
        self.inputs.iter().find_map(|input| input.batch)
    }

    /// How many rows are run together: where the graph fixes their number, that many.
    pub fn batch(&self) -> usize {
        self.fixed_batch().unwrap_or_else(|| (ELEMENTS / self.program.widest().max(1)).clamp(1, BATCH))
    }

    /// What the graph gives for these rows, and for how many: where it fixes their number the last one is repeated.
    fn run(&self, rows: &[Row]) -> Result<(usize, Vec<RunValue>), Difference> {
        let fed = self.fixed_batch().unwrap_or(rows.len());
        let inputs = self.inputs.iter().enumerate().map(|(index, input)| self.feed(index, input, rows, fed));
        let inputs = inputs.collect::<Result<_, _>>().map_err(Difference::Run)?;
        Ok((fed, self.program.run(inputs).map_err(Difference::Run)?))
    }

    /// One input for these rows; the last one is repeated up to `fed` of them.
    fn feed(&self, index: usize, input: &Fed, rows: &[Row], fed: usize) -> Result<(String, RunValue), String> {
        let width = count(&input.tail)?;
        let shape = [&[fed][..], &input.tail].concat();
        let at_once = count(&shape)?.max(fed.saturating_mul(self.program.widest()));
        if self.fixed_batch().is_some() && at_once > MOST_AT_ONCE {
            return Err(format!("it takes {fed} rows at once: export it for any number of rows"));
        }
        // Columns that no feature is made of stay 0 or empty.
        let mut columns = vec![None; width];
        for (feature, place) in self.places.iter().enumerate().filter(|(_, place)| place.input == index) {
            columns[place.column] = Some(feature);
        }
        let at = |row: usize| {
            let raw = &rows[row.min(rows.len() - 1)].raw;
            columns.iter().map(move |feature| feature.map(|feature: usize| &raw[feature]))
        };
        let raw: Vec<Option<&Raw>> = (0..fed).flat_map(at).collect();
        let number = |raw: &Option<&Raw>| match raw {
            Some(Raw::Number(number)) => *number,
            Some(Raw::Text(text)) => text.parse().unwrap_or(f64::NAN),
            None => 0.0,
        };
        let text = |raw: &Option<&Raw>| match raw {
            Some(Raw::Number(number)) => number.to_string(),
            Some(Raw::Text(text)) => text.clone(),
            None => String::new(),
        };
        let array = match computed_in(input.data_type) {
            DataType::String => TypedArray::texts(shape, raw.iter().map(text).collect(), Vec::new()),
            data_type if super::array::is_float(data_type) => {
                let numbers: Vec<f64> = raw.iter().map(number).collect();
                TypedArray::floats(shape, data_type, numbers, Vec::new())
            }
            data_type => {
                let numbers = raw.iter().map(|raw| number(raw) as i64).collect();
                TypedArray::integers(shape, data_type, numbers, Vec::new())
            }
        };
        Ok((input.name.clone(), array.into()))
    }
}

/// How many rows may be computed with so many numbers each, in batches of this size.
pub(super) fn affordable_rows(numbers_per_row: usize, batch: usize) -> usize {
    // To read the numbers takes as long as to compute with them for so many rows.
    const READING: usize = 20;
    let work_per_row = numbers_per_row.saturating_mul(batch.saturating_add(READING)) / batch.max(1);
    (WORK / work_per_row.max(1)).max(FEWEST_ROWS)
}

/// What one output of the graph says about each row.
enum Reading {
    /// A number per answer of the model.
    Columns(Vec<Expected>),
    /// One of the columns, the file doesn't say which: it must be the same one in all rows.
    Part(Vec<Expected>),
    /// The name of the class, where it is certain.
    Labels(Vec<Option<String>>),
}

/// A number and how much of it arithmetic in f32 may change.
#[derive(Clone, Copy, Debug)]
struct Expected {
    value: f64,
    error: f64,
}

/// The numbers of an array.
fn expected(array: &TypedArray) -> Result<Vec<Expected>, String> {
    let numbers = array.numbers()?;
    let numbers = numbers.iter().enumerate();
    Ok(numbers.map(|(place, &value)| Expected { value, error: array.error(place) }).collect())
}

impl Reference {
    /// What the graph answers for decoded rows in the form of the model's answers: rows × answers.
    ///
    /// # Errors
    /// If the graph can't be run, or has neither a number per answer nor an output per answer, in their order.
    pub fn answers(&self, signature: &Signature, rows: ArrayView2<'_, f64>) -> Result<Array2<f64>, Difference> {
        let columns = signature.target.outputs();
        let types = self.types();
        let rows: Vec<Row> = rows.rows().into_iter().map(|row| Row::new(row.to_vec(), signature, &types)).collect();
        let mut answers = Vec::with_capacity(rows.len() * columns);
        for rows in rows.chunks(self.batch()) {
            let (fed, results) = self.run(rows)?;
            let mut parts = Vec::new();
            for result in &results {
                match self.reading(signature, result, fed)? {
                    Reading::Columns(expected) => {
                        answers.extend(expected.iter().take(rows.len() * columns).map(|expected| expected.value));
                        parts.clear();
                        break;
                    }
                    Reading::Part(expected) => parts.push(expected),
                    Reading::Labels(_) => {}
                }
            }
            if parts.len() == columns {
                answers.extend((0..rows.len()).flat_map(|row| parts.iter().map(move |part| part[row].value)));
            }
        }
        Array2::from_shape_vec((rows.len(), columns), answers)
            .map_err(|_| Difference::Run("it has no output with a number per answer".into()))
    }

    /// What an output says.
    fn reading(&self, signature: &Signature, result: &RunValue, fed: usize) -> Result<Reading, Difference> {
        let columns = signature.target.outputs();
        let array = match result {
            RunValue::Array(array) => array,
            RunValue::Maps { names, values } => {
                let of_name = |name: &String| self.class(name, columns).filter(|_| names.len() == columns);
                let classes: Option<Vec<usize>> = names.iter().map(of_name).collect();
                let classes = classes.ok_or_else(|| Difference::Run(format!("its maps have the names {names:?}")))?;
                let mut ordered = expected(values).map_err(Difference::Run)?;
                let unordered = ordered.clone();
                for (place, number) in unordered.into_iter().enumerate() {
                    ordered[place / columns * columns + classes[place % columns]] = number;
                }
                return Ok(Reading::Columns(ordered));
            }
        };
        let per_row = array.len() / fed.max(1);
        let misfit = || Difference::Run(format!("its output is of shape {:?} for {fed} rows", array.shape));
        if per_row * fed != array.len() || per_row == 0 {
            return Err(misfit());
        }
        if matches!(signature.target, Target::Classification { .. }) && !array.is_float() {
            let name = |place: usize| match &array.data {
                Data::Texts(names) => names[place].clone(),
                Data::Integers(numbers) => numbers[place].to_string(),
                Data::Numbers(numbers) => numbers[place].to_string(),
            };
            let names = (0..fed).map(|row| (array.error(row) == 0.0).then(|| name(row)));
            return if per_row == 1 { Ok(Reading::Labels(names.collect())) } else { Err(misfit()) };
        }
        let numbers = expected(array).map_err(Difference::Run)?;
        let both = |Expected { value, error }: Expected| {
            let rounding = 2_f64.powi(-22);
            [Expected { value: 1.0 - value, error: error + rounding }, Expected { value, error }]
        };
        Ok(match self.form {
            Form::AsIs if per_row == columns => Reading::Columns(numbers),
            Form::AsIs if per_row == 1 => Reading::Part(numbers),
            Form::Logits if per_row == columns => {
                Reading::Columns(expected(&softmax_along(array, columns, 1, false)).map_err(Difference::Run)?)
            }
            Form::Logit if per_row == 1 => {
                let probabilities = logistic_of(array).and_then(|array| expected(&array)).map_err(Difference::Run)?;
                Reading::Columns(probabilities.into_iter().flat_map(both).collect())
            }
            Form::Probability if per_row == 1 => Reading::Columns(numbers.into_iter().flat_map(both).collect()),
            _ => return Err(misfit()),
        })
    }

    /// The place of a class that the graph calls so.
    fn class(&self, name: &str, classes: usize) -> Option<usize> {
        match &self.classes {
            Some(names) => names.iter().position(|class| class == name).filter(|&class| class < classes),
            None => axis(name.parse().ok()?, classes).ok(),
        }
    }
}

/// A comparison as far as it has come.
struct Comparison<'a> {
    reference: &'a Reference,
    model: &'a Model,
    agreement: Agreement,
    /// For an output that is one of the columns, the first difference from each of them.
    parts: HashMap<usize, Vec<Option<Difference>>>,
}

impl Comparison<'_> {
    fn compare(&mut self, rows: &[Row], fed: usize, results: &[RunValue]) -> Result<(), Difference> {
        let signature = self.model.signature();
        let decoded: Vec<f64> = rows.iter().flat_map(|row| &row.decoded).copied().collect();
        let decoded = Array2::from_shape_vec((rows.len(), signature.features.len()), decoded);
        let decoded = decoded.map_err(|error| Difference::Run(error.to_string()))?;
        let found = answers(self.model, decoded.view());
        let columns = found.ncols();
        for (index, result) in results.iter().enumerate() {
            match self.reference.reading(signature, result, fed)? {
                Reading::Columns(expected) => {
                    for (place, &expected) in expected.iter().take(rows.len() * columns).enumerate() {
                        let (row, column) = (place / columns, place % columns);
                        self.number(&rows[row], column, found[[row, column]], expected)?;
                    }
                }
                Reading::Part(expected) => self.part(index, rows, &found, &expected),
                Reading::Labels(names) => self.labels(rows, &found, &names)?,
            }
        }
        self.agreement.rows += rows.len();
        Ok(())
    }

    fn part(&mut self, index: usize, rows: &[Row], found: &Array2<f32>, expected: &[Expected]) {
        let mut differences = self.parts.remove(&index).unwrap_or_else(|| (0..found.ncols()).map(|_| None).collect());
        for (column, difference) in differences.iter_mut().enumerate().filter(|(_, difference)| difference.is_none()) {
            let compared = rows.iter().zip(expected).enumerate();
            let compared =
                compared.map(|(row, (asked, &expected))| self.number(asked, column, found[[row, column]], expected));
            *difference = compared.filter_map(Result::err).next();
        }
        self.parts.insert(index, differences);
    }

    /// The most probable class, unless another one is as probable.
    fn labels(&self, rows: &[Row], found: &Array2<f32>, names: &[Option<String>]) -> Result<(), Difference> {
        for ((asked, answer), name) in rows.iter().zip(found.rows()).zip(names) {
            let Some(name) = name else { continue };
            if answer.iter().any(|answer| !answer.is_finite()) {
                continue;
            }
            let predicted = predicted_class(answer);
            let class = self.reference.class(name, answer.len());
            if class.is_none_or(|class| answer[predicted] - answer[class] > 1e-5) {
                return Err(self.difference(asked, "class", self.name(predicted), name.clone(), 0.0));
            }
        }
        Ok(())
    }

    fn number(&mut self, asked: &Row, column: usize, found: f32, expected: Expected) -> Result<(), Difference> {
        let Expected { value, error } = expected;
        let bound = error + RELATIVE * value.abs() + NEGLIGIBLE;
        // An answer that isn't finite is rejected where records are scored; an endless bound says nothing. But what is
        // missing must not make the graph's answer no number and weir's one.
        let is_gap = |raw: &Raw| matches!(raw, Raw::Number(number) if number.is_nan());
        let is_lost = value.is_nan() && asked.raw.iter().any(is_gap);
        if !found.is_finite() || (!bound.is_finite() && !is_lost) {
            return Ok(());
        }
        let difference = (f64::from(found) - value).abs();
        if difference <= bound {
            self.agreement.largest = self.agreement.largest.max(difference / bound);
            return Ok(());
        }
        let output = format!("output {:?}", self.name(column));
        Err(self.difference(asked, &output, found.to_string(), format!("{value}"), bound))
    }

    fn name(&self, column: usize) -> String {
        match &self.model.signature().target {
            Target::Classification { classes: names, .. } | Target::Regression { names } => names[column].clone(),
        }
    }

    fn difference(&self, asked: &Row, output: &str, found: String, expected: String, bound: f64) -> Difference {
        let rounds =
            |node| format!("node {node}: it rounds to 16 bits, and weir computes in 32: export the model without it");
        let cause = self
            .reference
            .program
            .rounding()
            .map_or_else(|| "weir misreads this graph, which is worth a report with the file".into(), rounds);
        Difference::Answer { record: self.record(asked), output: output.into(), found, expected, bound, cause }
    }

    /// A row as a record, as far as a line has room.
    fn record(&self, asked: &Row) -> String {
        const SHOWN: usize = 12;
        let mut record = serde_json::Map::new();
        for (feature, raw) in self.model.signature().features.iter().zip(&asked.raw).take(SHOWN) {
            let value = match raw {
                Raw::Number(number) => {
                    serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into)
                }
                Raw::Text(text) => text.clone().into(),
            };
            record.insert(feature.name.clone(), value);
        }
        let more = asked.raw.len().saturating_sub(SHOWN);
        let rest = if more > 0 { format!(" and {more} more features") } else { String::new() };
        format!("{}{rest}", serde_json::Value::from(record))
    }

    fn finish(self) -> Result<Agreement, Difference> {
        for differences in self.parts.into_values() {
            if let Some(Some(first)) = differences.into_iter().reduce(|a, b| if a.is_none() { a } else { b }) {
                return Err(first);
            }
        }
        Ok(self.agreement)
    }
}
