//! Columns that are made of several others: PolynomialFeatures and Normalizer of scikit-learn.

use std::rc::Rc;

use super::arithmetic::apply;
use super::{Walk, is_last, kind};
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::Element;
use crate::model::onnx::value::{Cell, Columns, Group, Size, Value};
use crate::model::preprocess::{RowNorm, Step};

/// Factors that a product may have: the degree of a polynomial.
const MOST_FACTORS: usize = 32;

/// Products of products, and lengths of rows of them: pipelines have two or three.
const DEEPEST: usize = 16;

/// The product of a row.
pub(super) fn reduce_prod(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let axes = walk.integers(node, 1, "axes")?;
    let columns = match walk.input(node, 0)? {
        Value::Columns(columns) => columns,
        other => return Err(format!("it multiplies {}: only columns before the network can be", kind(other))),
    };
    let is_row = match axes.as_deref() {
        Some([axis]) => is_last(*axis, &columns.tail)?,
        _ => false,
    };
    if !is_row || columns.tail.len() != 1 {
        return Err("it multiplies something else than the columns of a row".into());
    }
    let cells = vec![product(&columns.cells, columns.element)?];
    let tail = if node.int("keepdims", 1) == 0 { vec![] } else { vec![1] };
    Ok(vec![Value::Columns(Columns { cells, tail, element: columns.element })])
}

/// Each column times that of the same place.
pub(super) fn products(a: &Columns, b: &Columns) -> Result<Columns, String> {
    let pairs = a.cells.iter().zip(&b.cells);
    let cells = pairs.map(|(a, other)| product(&[a.clone(), other.clone()], b.element));
    Ok(Columns { cells: cells.collect::<Result<_, _>>()?, ..a.clone() })
}

/// Cells multiplied with each other. A product of products has all their factors, as long as nothing else was done to them.
fn product(cells: &[Cell], element: Element) -> Result<Cell, String> {
    if let [only] = cells {
        return Ok(only.clone());
    }
    let mut factors = Vec::with_capacity(cells.len());
    for cell in cells {
        check(cell, "multiplies")?;
        match cell {
            Cell::Product { factors: more, steps } if steps.iter().all(|step| *step == Step::Round) => {
                factors.extend(more.iter().cloned());
            }
            other => factors.push(other.clone()),
        }
        let count: usize = factors.iter().map(factors_of).sum();
        if count > MOST_FACTORS {
            return Err(format!(
                "it multiplies more than {MOST_FACTORS} columns with each other: PolynomialFeatures of scikit-learn can \
                 be imported up to that degree"
            ));
        }
    }
    let mut product = Cell::Product { factors: Rc::new(factors), steps: Vec::new() };
    if element == Element::Float {
        apply(&mut product, Step::Round)?;
    }
    Ok(product)
}

fn factors_of(cell: &Cell) -> usize {
    match cell {
        Cell::Product { factors, .. } => factors.iter().map(factors_of).sum(),
        _ => 1,
    }
}

/// Whether a column may be combined with others.
fn check(cell: &Cell, does: &str) -> Result<(), String> {
    match cell {
        _ if cell.depth() >= DEEPEST => Err(format!("it {does} columns after {DEEPEST} such operations")),
        Cell::Text { .. } | Cell::IsText { .. } | Cell::Place { .. } => Err(format!("it {does} texts")),
        Cell::Computed { .. } => Err(format!("it {does} numbers after a computation that is none of weir's steps")),
        _ => Ok(()),
    }
}

/// Each column divided by the length of its row.
pub(super) fn normalized(columns: &Columns, norm: Option<&str>) -> Result<Columns, String> {
    // ONNX's own default.
    let name = norm.unwrap_or(RowNorm::Max.as_str());
    let norm = RowNorm::ALL.into_iter().find(|norm| norm.as_str() == name);
    let norm = norm.ok_or_else(|| format!("it divides a row by a length that weir doesn't have ({name})"))?;
    if columns.tail.len() != 1 {
        return Err(format!("it divides rows of shape {:?} by their length", columns.tail));
    }
    columns.cells.iter().try_for_each(|cell| check(cell, "normalises"))?;
    if norm == RowNorm::Max && !columns.cells.iter().all(is_never_negative) {
        return Err(
            "Normalizer of scikit-learn with norm=\"max\" divides by the largest magnitude, and the graph by the \
                    largest number, which is another one where numbers are negative: take norm=\"l1\" or \"l2\", or \
                    put MinMaxScaler(clip=True) before it"
                .into(),
        );
    }
    let depth = 1 + columns.cells.iter().map(Cell::depth).max().unwrap_or(0);
    let group = Rc::new(Group { norm, cells: columns.cells.clone(), depth });
    // It gives f32, whatever it takes.
    let cell = |at| Cell::Normalized { group: Rc::clone(&group), at, steps: vec![Step::Round] };
    let cells = (0..columns.cells.len()).map(cell).collect();
    Ok(Columns { cells, tail: columns.tail.clone(), element: Element::Float })
}

/// Whether a column is 0 or more in all rows, as far as its last step says it.
fn is_never_negative(cell: &Cell) -> bool {
    let last = match cell {
        Cell::Number { steps, .. } | Cell::Product { steps, .. } | Cell::Normalized { steps, .. } => {
            steps.iter().rev().find(|step| **step != Step::Round)
        }
        _ => None,
    };
    match (cell, last) {
        (_, Some(last)) => matches!(last, Step::Clip { low, .. } if *low >= 0.0),
        (Cell::Product { factors, .. }, None) => factors.iter().all(is_never_negative),
        (Cell::Normalized { group, .. }, None) => group.norm == RowNorm::Max,
        (Cell::Bins { values, .. }, None) => values.iter().all(|value| *value >= 0.0),
        (Cell::Category { special, rest, unknown, .. }, None) => {
            special.iter().map(|(_, number)| number).chain([rest, unknown]).all(|number| *number >= 0.0)
        }
        (Cell::IsMissing { .. }, None) => true,
        _ => false,
    }
}

/// A number for each row: the bias of PolynomialFeatures.
pub(super) fn constant_of_shape(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let width = match walk.input(node, 0)? {
        Value::Sizes(sizes) => match **sizes {
            [Size::Batch, Size::Fixed(width)] => width,
            _ => return Err("it makes constants of another shape than that of rows".into()),
        },
        other => return Err(format!("it makes constants of the shape in {}", kind(other))),
    };
    let (value, element) = match node.tensor("value") {
        None => (0.0, Element::Float),
        Some(tensor) => {
            let array = walk.graph.reader.read(tensor).map_err(|error| error.to_string())?;
            (array.numbers()?.first().copied().ok_or("its value has no number")?, array.element)
        }
    };
    let widest = walk.graph.limits.raise(super::WIDEST);
    if width > widest {
        return Err(format!("it gives {width} columns, {widest} are the limit: --limit-factor raises it"));
    }
    let mut constant = Cell::Product { factors: Rc::default(), steps: Vec::new() };
    apply(&mut constant, Step::Multiply { value })?;
    Ok(vec![Value::Columns(Columns { cells: vec![constant; width], tail: vec![width], element })])
}
