//! What the values of a graph stand for while it is walked: never numbers of a row, always how a row's numbers come
//! about.

use std::rc::Rc;

use super::elementwise::Function;
use super::tensor::{Array, Element};
use super::term::Term;
use crate::engine::Output;
use crate::model::preprocess::{RowNorm, Step};

/// A value of the graph. All but the constants have the batch as first dimension; `tail` are the others.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Constant(Rc<Array>),
    /// A list of sizes, some of which are the number of rows: what `Shape` gives.
    Sizes(Vec<Size>),
    /// Before the network: the columns that preprocessing makes.
    Columns(Columns),
    /// Within the network.
    Inner(Inner),
    /// On the way to a layer normalisation.
    Moment {
        of: LinkId,
        moment: Moment,
    },
    /// Behind the network.
    Answer {
        answer: Answer,
        form: Form,
    },
}

/// A dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Batch,
    Fixed(usize),
}

/// Columns in row-major order of `tail`.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    pub(super) cells: Vec<Cell>,
    pub(super) tail: Vec<usize>,
    pub(super) element: Element,
}

/// One column, as a function of one feature or of other cells.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// A number.
    Number {
        feature: usize,
        /// Stands in for a missing one, before the steps.
        fill: Option<f64>,
        steps: Vec<Step>,
    },
    /// A text as it is, but for some that are replaced by another.
    Text { feature: usize, replaced: Option<(String, String)> },
    /// Whether the text is this one.
    IsText { feature: usize, text: String },
    /// Whether the number is missing.
    IsMissing { feature: usize },
    /// The text's place in a list, `rest` for those that aren't there; `None` where the graph doesn't say.
    Place { feature: usize, places: Vec<(String, i64)>, rest: Option<i64> },
    /// A number per bin of a number after steps: `values[0]` below `edges[0]`, `values[1]` from there up to `edges[1]`, …
    Bins { feature: usize, fill: Option<f64>, steps: Vec<Step>, edges: Vec<f64>, values: Vec<f64> },
    /// What operations that are no steps make of a number.
    Computed { number: Box<Cell>, term: Rc<Term> },
    /// A number per category: `special` for some by their index, `rest` for the others.
    Category { feature: usize, special: Vec<(usize, f64)>, rest: f64, unknown: f64 },
    /// The product of others, then steps; of none it is 1.
    Product { factors: Rc<Vec<Cell>>, steps: Vec<Step> },
    /// One of others, by its place, divided by the length of them all, then steps.
    Normalized { group: Rc<Group>, at: usize, steps: Vec<Step> },
}

/// Cells that are divided by their length. Two are the same only if the same node made them: cells of groups of groups
/// would take too long to compare.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) norm: RowNorm,
    pub(super) cells: Vec<Cell>,
    /// That of its cells and 1.
    pub(super) depth: usize,
}

impl PartialEq for Group {
    fn eq(&self, other: &Group) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Cell {
    /// The feature that it is a function of, if it is only one.
    pub(super) fn feature(&self) -> Option<usize> {
        match *self {
            Cell::Computed { ref number, .. } => number.feature(),
            Cell::Product { .. } | Cell::Normalized { .. } => None,
            Cell::Number { feature, .. }
            | Cell::Bins { feature, .. }
            | Cell::Text { feature, .. }
            | Cell::IsText { feature, .. }
            | Cell::IsMissing { feature }
            | Cell::Place { feature, .. }
            | Cell::Category { feature, .. } => Some(feature),
        }
    }

    /// How many products and lengths of others it goes through at most.
    pub(super) fn depth(&self) -> usize {
        match self {
            Cell::Product { factors, .. } => 1 + factors.iter().map(Cell::depth).max().unwrap_or(0),
            Cell::Normalized { group, .. } => group.depth,
            _ => 0,
        }
    }

    /// The feature of a cell that is to be encoded.
    pub(super) fn encoded_feature(&self) -> Result<usize, String> {
        self.feature().ok_or_else(|| "it encodes a column that PolynomialFeatures or Normalizer of scikit-learn made of several: encode it before them"
                .into())
    }
}

/// The place of a link in the chain.
pub(super) type LinkId = usize;

/// An elementwise function of what a link of the chain gives.
#[derive(Clone, Debug)]
pub(super) struct Inner {
    pub(super) of: LinkId,
    pub(super) function: Function,
    pub(super) tail: Vec<usize>,
}

/// A statistic over the row of a link, or the row after some of the steps of a layer normalisation or of a division by the
/// sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Moment {
    Mean,
    Centered,
    Squared,
    Variance {
        epsilon: f64,
    },
    Deviation {
        epsilon: f64,
    },
    /// One divided by the deviation.
    Inverse {
        epsilon: f64,
    },
    Sum,
    /// Whether the sum is 0, and whether it isn't.
    IsEmpty,
    HasSum,
    /// 1 is added to each number of a row whose sum is 0: to the row, and so often as it has numbers to the sum.
    Raised,
    RaisedBy,
    RaisedSum,
}

/// What the network answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The values before `output`.
    pub(super) of: LinkId,
    pub(super) output: Output,
}

/// In what form the graph has an answer.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// A column per class.
    Probabilities,
    /// One of the columns, and which if that is known.
    Part(Option<usize>),
    /// The index of the most probable class.
    Index,
    /// The most probable class, or probabilities by class.
    Named(Rc<Vec<String>>),
    /// Probabilities times this number.
    Times(usize),
}
