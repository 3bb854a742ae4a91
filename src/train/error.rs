//! Why a training failed, and what to do about it in the words of the options.

use super::checkpoint::CheckpointError;
use super::dataset::DatasetError;
use super::distributed::OtherRank;
use crate::engine::EngineError;

/// Why training failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe can't be followed.
    #[error("{0}")]
    Recipe(String),
    /// A split by time of a table without times.
    #[error("a split by time needs a time column (--time)")]
    NoTime,
    /// A baseline by hour or weekday of a table without times.
    #[error("a baseline by hour or weekday needs a time column (--time)")]
    NoTimeOfBaseline,
    /// A stratified split of a regression.
    #[error("a stratified split needs classes, and {target:?} has numbers (--task classification makes it some)")]
    NoStrata {
        /// The target column.
        target: String,
    },
    /// A split left nothing on one side.
    #[error("the split leaves no {side} rows")]
    EmptySide {
        /// `training` or `test`.
        side: &'static str,
    },
    /// Every training row lacks a value, and the recipe leaves such rows out.
    #[error(
        "each of the {rows} training rows lacks a value: impute them (without --dropna) or --drop the column that lacks most"
    )]
    AllRowsDropped {
        /// How many there were.
        rows: usize,
    },
    /// All training rows are of one class.
    #[error("the training rows have only one class of {target:?}: {class:?}; it takes two to learn something")]
    OneClass {
        /// The target column.
        target: String,
        /// The class.
        class: String,
    },
    /// A feature has no value in any training row.
    #[error("column {feature:?} has no value in the training rows: leave it out (--drop {feature})")]
    NoValues {
        /// The column.
        feature: String,
    },
    /// A feature's or the target's values are too large to compute with.
    #[error("column {feature:?} has values too large to scale: rescale it or leave it out (--drop {feature})")]
    TooLarge {
        /// The column.
        feature: String,
    },
    /// A value that has no logarithm.
    #[error(
        "--log1p {feature}: the training rows have {value}, and only values above -1 have a logarithm of 1 + x: --clip \
         the column, or leave the option out"
    )]
    Log1p {
        /// The column.
        feature: String,
        /// The first such value.
        value: f64,
    },
    /// The test rows don't fit the training rows.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// A class with too few rows for early stopping.
    #[error(
        "class {class:?} has only one training row: --early-stopping, and a --threshold to choose, need 2 of each class"
    )]
    OneMember {
        /// The class.
        class: String,
    },
    /// Too few rows to validate with.
    #[error("the validation set is too small, {rows} rows: increase --validation-fraction or the size of your dataset")]
    FewToValidate {
        /// How many they would be.
        rows: usize,
    },
    /// Fewer rows on one side of early stopping than there are classes.
    #[error(
        "{rows} validation rows are too few or too many for {classes} classes, of which each side needs one: change \
         --validation-fraction"
    )]
    ClassesToValidate {
        /// How many there would be.
        rows: usize,
        /// How many classes there are.
        classes: usize,
    },
    /// A weight for a class that the training rows don't have.
    #[error("--class-weight names the class {class:?}, which no training row has; they have {classes}")]
    UnknownClass {
        /// The class.
        class: String,
        /// Those that there are.
        classes: String,
    },
    /// Class weights in a regression.
    #[error("--class-weight is for a classification, and {target:?} has numbers (--task classification makes it one)")]
    NoClasses {
        /// The target column.
        target: String,
    },
    /// A positive class or a threshold where there aren't two classes.
    #[error("--positive and --threshold are for two classes, and {target:?} has {found}")]
    NotTwoClasses {
        /// The target column.
        target: String,
        /// What it has.
        found: String,
    },
    /// A positive class that isn't one.
    #[error("--positive names the class {class:?}, which no training row has; they have {classes}")]
    UnknownPositive {
        /// The class.
        class: String,
        /// Those that there are.
        classes: String,
    },
    /// A version that the training can't start from.
    #[error("training can't start from {parent}: {reason}")]
    Parent {
        /// The version.
        parent: String,
        /// Why not.
        reason: String,
    },
    /// A checkpoint can't be written or used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The loss is NaN or infinite, and there is nothing to keep.
    #[error(
        "the loss isn't finite in epoch {epoch}, and no weights before it answer by finite numbers, so nothing is \
         published: try a smaller --learning-rate-init, or scale the features (--scale standard)"
    )]
    Diverged {
        /// The epoch, from 1.
        epoch: usize,
    },
    /// The signature that came out isn't valid.
    #[error("the table makes no valid signature: {0}")]
    Signature(String),
    /// The ranks of MPI don't train on the same.
    #[error("the ranks have read different data or options: give all of them the same files and arguments")]
    RanksDiffer,
    /// Another rank can't go on.
    #[error(transparent)]
    OtherRank(#[from] OtherRank),
    /// The engine doesn't take the network.
    #[error("the engine refuses the network")]
    Engine(#[from] EngineError),
}
