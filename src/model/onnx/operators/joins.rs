//! Several values that become one: columns and branches side by side, sums of branches, and rows of a table that a column
//! of numbers looks up.

use super::encoding::encoded;
use super::{BRANCHES, Walk, calibrated, is_last, kind};
use crate::engine::{Activation, Output};
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::{Array, Element};
use crate::model::onnx::value::{Answer, Cell, Columns, Form, Inner, Size, Value};
use crate::model::signature::Unknown;

/// Rows of a table that numbers are looked up in: each is a column of the network's input.
const MOST_EMBEDDED: usize = 10_000;

/// Numbers that are looked up, in all columns together.
const MOST_LOOKED_UP: usize = 1 << 22;

pub(super) fn concat(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let mut parts = Vec::with_capacity(node.input.len());
    for index in 0..node.input.len() {
        parts.push(walk.input(node, index)?);
    }
    let at = node.int("axis", 0);
    let value = match &*parts {
        [] => return Err("it has no inputs".into()),
        [one] => (*one).clone(),
        [Value::Columns(first), ..] if parts.iter().all(|part| matches!(part, Value::Columns(_))) => {
            let mut whole = Columns { cells: Vec::new(), tail: first.tail.clone(), element: first.element };
            for part in &parts {
                let Value::Columns(part) = part else { continue };
                if !is_last(at, &part.tail)? || part.tail.last() != Some(&part.cells.len()) {
                    return Err("it joins columns along another axis than the last".into());
                }
                whole.cells.extend(part.cells.iter().cloned());
            }
            whole.tail.iter_mut().next_back().into_iter().for_each(|last| *last = whole.cells.len());
            Value::Columns(whole)
        }
        // scikit-learn's binary classifier: 1 - p and p.
        [Value::Inner(negative), Value::Inner(positive)]
            if negative.of == positive.of
                && negative.tail == [1]
                && positive.tail == [1]
                && positive.function.is(Activation::Logistic)
                && negative.function.is_complement_of(&positive.function) =>
        {
            let answer = Answer { of: positive.of, output: Output::Logistic };
            Value::Answer { answer, form: Form::Probabilities }
        }
        [Value::Constant(_) | Value::Sizes(_), ..] => {
            let mut sizes = Vec::new();
            for part in &parts {
                sizes.extend(sizes_of(part)?);
            }
            Value::Sizes(sizes)
        }
        parts => {
            let parts: Vec<Value> = parts.iter().map(|&part| part.clone()).collect();
            Value::Inner(side_by_side(walk, &parts, at)?)
        }
    };
    Ok(vec![value])
}

/// Branches of the network.
fn side_by_side(walk: &mut Walk<'_>, parts: &[Value], at: i64) -> Result<Inner, String> {
    let mut rows = Vec::with_capacity(parts.len());
    for part in parts {
        if !matches!(part, Value::Columns(_) | Value::Inner(_)) {
            return Err(format!("it joins {}: {BRANCHES}", kind(part)));
        }
        let part = walk.chain.inner(part)?;
        if part.tail.len() != 1 || !is_last(at, &part.tail)? {
            return Err("it joins branches along another axis than the last".into());
        }
        rows.push(part);
    }
    walk.chain.concat(&rows)
}

/// A list of sizes, or of integers that may be sizes.
fn sizes_of(value: &Value) -> Result<Vec<Size>, String> {
    match value {
        Value::Sizes(sizes) => Ok(sizes.clone()),
        Value::Constant(array) => {
            let size =
                |&value: &i64| usize::try_from(value).map(Size::Fixed).map_err(|_| format!("{value} is no size"));
            array.as_integers()?.iter().map(size).collect()
        }
        other => Err(format!("it takes {} for sizes", kind(other))),
    }
}

/// `Sum` of one value, or of several branches of the network.
pub(super) fn sum(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    if node.input.len() == 1 {
        return Ok(vec![walk.input(node, 0)?.clone()]);
    }
    let mut terms = Vec::with_capacity(node.input.len());
    for index in 0..node.input.len() {
        let value = walk.input(node, index)?.clone();
        if let Value::Answer { .. } = value {
            return calibrated::mean(walk, node);
        }
        terms.push((walk.chain.inner(&value)?, 1.0));
    }
    Ok(vec![Value::Inner(walk.chain.sum(&terms)?)])
}

/// Rows of a table by the number in a column, as torch.nn.Embedding has them: the column is a category.
pub(super) fn embedding(walk: &mut Walk<'_>, node: &Node, table: &Array, columns: &Columns) -> Result<Columns, String> {
    let (rows, width) = match *table.shape {
        [rows] => (rows, 1),
        [rows, width] => (rows, width),
        _ => return Err(format!("it looks up in a table of shape {:?}, not a matrix", table.shape)),
    };
    if node.int("axis", 0) != 0 || rows == 0 {
        return Err("it looks up columns of a table, not its rows".into());
    }
    let (most_rows, most_numbers) = (walk.graph.limits.raise(MOST_EMBEDDED), walk.graph.limits.raise(MOST_LOOKED_UP));
    if rows > most_rows {
        return Err(format!(
            "torch.nn.Embedding of {rows} rows: weir takes it for a matrix behind one-hot columns, and {most_rows} \
             rows are the limit: give rare categories one row together, or raise the limit (--limit-factor)"
        ));
    }
    if columns.cells.len().saturating_mul(table.len()) > most_numbers {
        return Err(format!("it looks up more than {most_numbers} numbers: --limit-factor raises the limit"));
    }
    let values = table.numbers()?;
    let names: Vec<String> = (0..rows).map(|row| row.to_string()).collect();
    let mut cells = Vec::with_capacity(columns.cells.len() * width);
    for cell in &columns.cells {
        let feature = cell.encoded_feature()?;
        let (encoded, _) = encoded(cell, names.clone(), Unknown::Reject)?;
        walk.features[feature].encode(encoded)?;
        for column in 0..width {
            let special = (0..rows).map(|row| (row, values[row * width + column])).collect();
            cells.push(Cell::Category { feature, special, rest: 0.0, unknown: 0.0 });
        }
    }
    let tail = [&columns.tail, &table.shape[1..]].concat();
    Ok(Columns { cells, tail, element: Element::Float })
}
