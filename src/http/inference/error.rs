//! Why a request can't be answered.

use super::data::Datatype;
use crate::record::Rejection;

/// Why a request can't be answered: always something about the request.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// It isn't JSON, or not a request.
    #[error("the body is not an inference request: {0}")]
    Body(#[from] serde_json::Error),
    /// There is nothing to score.
    #[error("the request has no inputs")]
    NoInputs,
    /// The model has no output of this name.
    #[error("output {0:?}: the model has none of this name")]
    UnknownOutput(String),
    /// The request names an output again.
    #[error("output {0:?}: the request names it twice")]
    RepeatedOutput(String),
    /// An input doesn't fit the model.
    #[error("input {tensor:?}: {error}")]
    Input {
        /// Its name, shortened.
        tensor: String,
        /// Why not.
        error: TensorError,
    },
    /// A row can't be scored.
    #[error("row {row}: {rejection}")]
    Row {
        /// Which one, from 0.
        row: usize,
        /// Why not.
        rejection: Rejection,
    },
}

/// Why an input can't be read into the rows of a model.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The first input has too many rows, or none.
    #[error("{rows} rows; a request for this model takes 1 to {most}")]
    Rows {
        /// How many it has.
        rows: usize,
        /// How many it may have.
        most: usize,
    },
    /// Another input has the same name.
    #[error("it is there twice")]
    Repeated,
    /// The model has no feature of this name.
    #[error("the model has no feature of this name")]
    UnknownFeature,
    /// It isn't a column of as many rows as the first input.
    #[error("shape {shape:?} where [{rows}] or [{rows}, 1] is expected, as the first input has {rows} rows")]
    Column {
        /// Its shape.
        shape: Vec<usize>,
        /// The rows of the first input.
        rows: usize,
    },
    /// It is one matrix for all features, and has another number of columns.
    #[error("shape {shape:?} where the model has {features} features")]
    Matrix {
        /// Its shape.
        shape: Vec<usize>,
        /// The features of the model.
        features: usize,
    },
    /// It is one matrix for all features, and one of them isn't a number.
    #[error("one tensor for all features is for models of numbers only: {0:?} isn't one")]
    MixedMatrix(String),
    /// It has strings for a feature that is a number.
    #[error("{0} where the feature is a number: send FP64")]
    TextForNumber(Datatype),
    /// It is one matrix of strings, and the features are numbers.
    #[error("BYTES where the features are numbers: send FP64")]
    TextForNumbers,
    /// Its data isn't what JSON has for a tensor.
    #[error("the data at index {at}: {error}")]
    Json {
        /// The values before it.
        at: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// It has another number of values than its shape.
    #[error("shape {shape:?} for {values} values")]
    Count {
        /// Its shape.
        shape: Vec<usize>,
        /// How many values it has.
        values: usize,
    },
    /// Its arrays are nested in another way than its shape.
    #[error("the data is neither flat nor nested as its shape {0:?} says")]
    Nesting(Vec<usize>),
    /// A value isn't one of the datatype.
    #[error("{value} at index {at} is no {datatype}, which takes {}", datatype.range())]
    Value {
        /// The value, as a message shows it.
        value: String,
        /// Its index, from 0.
        at: usize,
        /// The datatype.
        datatype: Datatype,
    },
    /// An integer that an FP64 doesn't hold.
    #[error("{value} at index {at} is not exact as FP64, with which weir computes: send it rounded")]
    Inexact {
        /// The integer.
        value: i128,
        /// Its index, from 0.
        at: usize,
    },
}
