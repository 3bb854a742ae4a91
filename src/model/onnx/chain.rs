//! The network as it is found: links, each with the one before it. Where a graph branches, as within an activation,
//! values point to the same link. A multi-layer perceptron ends with one way back to its columns, and `branches` makes
//! one of links that join others.

use std::collections::HashMap;
use std::rc::Rc;

use ndarray::Array2;

use super::elementwise::{Function, Piece};
use super::value::{Answer, Cell, Columns, Form, Inner, LinkId, Moment, Value};
use crate::engine::{Activation, Output};

/// All links found so far.
#[derive(Debug, Default)]
pub(super) struct Chain {
    links: Vec<Link>,
    /// What already follows a link: two values that are the same must be the same link.
    pieces: HashMap<LinkId, Vec<(Piece, LinkId)>>,
}

/// What one operation makes of a row.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// `None` for [`Op::Source`], [`Op::Sum`] and [`Op::Concat`].
    pub(super) before: Option<LinkId>,
    pub(super) op: Op,
    /// How many numbers it gives.
    pub(super) width: usize,
}

/// An operation on rows.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// The columns that go in.
    Source(Rc<Vec<Cell>>),
    /// `x · weights + bias`; inputs × outputs.
    Linear { weights: Rc<Array2<f64>>, bias: Vec<f64> },
    /// `x · factor + shift`, elementwise.
    Scale { factor: Vec<f64>, shift: Vec<f64> },
    /// Elementwise.
    Activation(Activation),
    /// Some of them, in this order.
    Pick { places: Vec<usize> },
    /// On the left of 0 times a slope for each.
    PRelu { slopes: Vec<f64> },
    /// `(x - mean) / √(variance + epsilon)` over the row.
    Norm { epsilon: f64 },
    /// An activation, or a norm with scales and an activation after it, of the first numbers; the last ones pass.
    Beside { operations: Vec<Op>, passed: usize },
    /// The sum of links of one width, each times a factor.
    Sum { parts: Vec<(LinkId, f64)> },
    /// Links side by side.
    Concat { parts: Vec<LinkId> },
}

impl Chain {
    pub(super) fn link(&self, id: LinkId) -> &Link {
        &self.links[id]
    }

    /// The links from the columns to this one, or from where branches are joined.
    pub(super) fn way_to(&self, id: LinkId) -> Vec<&Link> {
        let mut way = vec![&self.links[id]];
        while let Some(before) = way.last().and_then(|link| link.before) {
            way.push(&self.links[before]);
        }
        way.reverse();
        way
    }

    /// Adds a link that gives `width` numbers.
    pub(super) fn push(&mut self, before: LinkId, op: Op, width: usize) -> Inner {
        self.links.push(Link { before: Some(before), op, width });
        inner(self.links.len() - 1, vec![width])
    }

    /// Adds up rows, each times a factor. Where one has a single number, it is added to all of the other's.
    pub(super) fn sum(&mut self, terms: &[(Inner, f64)]) -> Result<Inner, String> {
        let tail = terms.iter().map(|(term, _)| &term.tail).max_by_key(|tail| tail.iter().product::<usize>());
        let tail = tail.ok_or("it has no inputs")?.clone();
        let width: usize = tail.iter().product();
        let mut parts = Vec::with_capacity(terms.len());
        for (term, factor) in terms {
            let mut part = self.settle(term)?;
            if term.tail != tail {
                if *term.tail != [1] || tail.len() != 1 {
                    return Err(format!("it adds rows of shapes {:?} and {tail:?}", term.tail));
                }
                part = self.push(part, Op::Pick { places: vec![0; width] }, width).of;
            }
            parts.push((part, *factor));
        }
        self.links.push(Link { before: None, op: Op::Sum { parts }, width });
        Ok(inner(self.links.len() - 1, tail))
    }

    /// Puts rows side by side.
    pub(super) fn concat(&mut self, parts: &[Inner]) -> Result<Inner, String> {
        let mut links = Vec::with_capacity(parts.len());
        for part in parts {
            links.push(self.settle(part)?);
        }
        let width = links.iter().map(|&link| self.links[link].width).sum();
        self.links.push(Link { before: None, op: Op::Concat { parts: links }, width });
        Ok(inner(self.links.len() - 1, vec![width]))
    }

    /// Where columns enter the network; the same columns enter it at one place.
    pub(super) fn enter(&mut self, columns: &Columns) -> Result<Inner, String> {
        let is_text = |cell: &&Cell| matches!(cell, Cell::Text { .. } | Cell::IsText { .. } | Cell::Place { .. });
        if columns.cells.iter().any(|cell| is_text(&cell)) {
            return Err("a text goes into the computation as it is: encode it (OneHotEncoder) in the pipeline".into());
        }
        if columns.cells.iter().any(|cell| matches!(cell, Cell::Computed { .. })) {
            return Err("a number goes into the network after a computation that is none of weir's steps: of \
                        scikit-learn's transformers of single columns, weir has the scalers, PowerTransformer, \
                        Binarizer and KBinsDiscretizer"
                .into());
        }
        let known = self.links.iter().position(|link| match &link.op {
            Op::Source(cells) => **cells == columns.cells,
            _ => false,
        });
        let id = known.unwrap_or_else(|| {
            let op = Op::Source(Rc::new(columns.cells.clone()));
            self.links.push(Link { before: None, op, width: columns.cells.len() });
            self.links.len() - 1
        });
        Ok(inner(id, columns.tail.clone()))
    }

    /// A value as something within the network.
    pub(super) fn inner(&mut self, value: &Value) -> Result<Inner, String> {
        match value {
            Value::Columns(columns) => self.enter(columns),
            Value::Inner(inner) => Ok(inner.clone()),
            Value::Constant(_) => Err("it computes with a constant where rows are needed".into()),
            Value::Sizes(_) => Err("it computes with the number of rows".into()),
            Value::Moment { moment: Moment::Sum, .. } => {
                Err("it computes with the sum of a row, as Normalizer of scikit-learn does over doubles: export the \
                     pipeline with float inputs (FloatTensorType)"
                    .into())
            }
            Value::Moment { .. } => {
                Err("it computes with a row's mean or variance outside a layer normalisation".into())
            }
            // What CalibratedClassifierCV calibrates of a classifier of two classes.
            Value::Answer { answer: Answer { of, output: Output::Logistic }, form: Form::Part(Some(1)) } => {
                let probability =
                    Inner { of: *of, function: Function::identity().activated(Activation::Logistic), tail: vec![1] };
                Ok(inner(self.settle(&probability)?, vec![1]))
            }
            Value::Answer { .. } => Err("it computes with the probabilities, which only the last layer may give: \
                                         export the model up to them (CalibratedClassifierCV of a network can be \
                                         imported for two classes)"
                .into()),
        }
    }

    /// The link that gives an elementwise function's results.
    pub(super) fn settle(&mut self, inner: &Inner) -> Result<LinkId, String> {
        let pieces = inner.function.pieces().ok_or_else(|| {
            let names = Activation::ALL.map(Activation::as_str).join(", ");
            format!("the elementwise operations before it make no activation that weir has ({names})")
        })?;
        Ok(pieces.into_iter().fold(inner.of, |of, piece| self.follow(of, piece)))
    }

    /// The link that does this to another's results.
    fn follow(&mut self, of: LinkId, piece: Piece) -> LinkId {
        let known = self.pieces.entry(of).or_default().iter().find(|(known, _)| *known == piece);
        if let Some(&(_, id)) = known {
            return id;
        }
        let width = self.links[of].width;
        let op = match piece {
            Piece::Affine { factor, shift } => Op::Scale { factor: vec![factor; width], shift: vec![shift; width] },
            Piece::Activation(activation) => Op::Activation(activation),
        };
        let id = self.push(of, op, width).of;
        self.pieces.entry(of).or_default().push((piece, id));
        id
    }
}

fn inner(of: LinkId, tail: Vec<usize>) -> Inner {
    Inner { of, function: Function::identity(), tail }
}
