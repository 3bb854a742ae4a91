//! What weir's own export writes beyond what others do: a number that is missing, `log(1 + x)`, and categories by their
//! place in a list.

use super::arithmetic::apply;
use super::{Encoded, Walk, computed};
use crate::model::onnx::proto::Node;
use crate::model::onnx::tensor::{Array, Element};
use crate::model::onnx::value::{Cell, Columns, Value};
use crate::model::preprocess::Step;
use crate::model::signature::{Missing, Unknown};

/// The text that stands for a missing one.
const MISSING: &str = "";

pub(super) fn is_nan(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let is_missing = |cell: &Cell| match cell {
        Cell::Number { feature, fill: None, .. } => Some(Cell::IsMissing { feature: *feature }),
        _ => None,
    };
    let columns = match walk.input(node, 0)? {
        Value::Columns(columns) => {
            columns.cells.iter().map(is_missing).collect::<Option<_>>().map(|cells| (cells, columns))
        }
        _ => None,
    };
    let (cells, columns) = columns.ok_or("it looks for NaN elsewhere than in numbers before their imputation")?;
    Ok(vec![Value::Columns(Columns { cells, tail: columns.tail.clone(), element: Element::Boolean })])
}

/// `Where(IsNaN(x), by, x)`
pub(super) fn impute(which: &Columns, by: &Array, columns: &Columns) -> Result<Columns, String> {
    let refuse = || Err("it chooses between numbers otherwise than to impute what is missing".to_owned());
    let (Some(by), true) = (by.scalar(), which.tail == columns.tail) else { return refuse() };
    let mut imputed = columns.clone();
    for (cell, which) in imputed.cells.iter_mut().zip(&which.cells) {
        match (cell, which) {
            (Cell::Number { feature, fill: fill @ None, steps }, Cell::IsMissing { feature: same })
                if feature == same && steps.is_empty() =>
            {
                *fill = Some(by);
            }
            _ => return refuse(),
        }
    }
    Ok(imputed)
}

/// `Log(x + 1)`, in double; another logarithm may be a part of something else.
pub(super) fn log(walk: &mut Walk<'_>, node: &Node) -> Result<Vec<Value>, String> {
    let Value::Columns(columns) = walk.input(node, 0)? else {
        return Err("it takes a logarithm within the network: retrain with an activation that weir has".into());
    };
    let is_log1p = |cell: &Cell| match cell {
        Cell::Number { steps, .. } => steps.last() == Some(&Step::Add { value: 1.0 }),
        _ => false,
    };
    if columns.element != Element::Double || !columns.cells.iter().all(is_log1p) {
        return Ok(vec![Value::Columns(computed::function("Log", columns)?)]);
    }
    let mut columns = columns.clone();
    for cell in &mut columns.cells {
        if let Cell::Number { steps, .. } = cell {
            steps.pop();
        }
        apply(cell, Step::Log1p)?;
    }
    Ok(vec![Value::Columns(columns)])
}

/// LabelEncoder from texts to places in a list.
pub(super) fn places(columns: &Columns, keys: Vec<String>, places: &[i64], rest: Option<i64>) -> Option<Columns> {
    if keys.len() != places.len() {
        return None;
    }
    let places: Vec<_> = keys.into_iter().zip(places.iter().copied()).collect();
    let place = |cell: &Cell| match cell {
        Cell::Text { feature, replaced: None } => Some(Cell::Place { feature: *feature, places: places.clone(), rest }),
        _ => None,
    };
    let cells = columns.cells.iter().map(place).collect::<Option<_>>()?;
    Some(Columns { cells, tail: columns.tail.clone(), element: Element::Integer })
}

/// How a column of places is encoded by OneHotEncoder, whose categories are 0, 1, …
pub(super) fn encoded(
    places: &[(String, i64)],
    rest: Option<i64>,
    categories: &[String],
    unknown: Unknown,
) -> Result<Encoded, String> {
    // ONNX's own default.
    let rest = rest.unwrap_or(-1);
    let width = categories.len() as i64;
    if !categories.iter().map(String::as_str).eq((0..width).map(|place| place.to_string()).collect::<Vec<_>>()) {
        return Err("it encodes places in a list otherwise than in their order".into());
    }
    let missing = places.iter().find(|(text, _)| text == MISSING).map_or(rest, |&(_, place)| place);
    // The empty text is no category if it only stands for one.
    let stands_for = |place| places.iter().any(|(text, other)| *other == place && text != MISSING);
    let count = if rest == width - 1 { width - 1 } else { width };
    let name = |place: i64| {
        let mut texts =
            places.iter().filter(|(text, other)| *other == place && (text != MISSING || !stands_for(place)));
        let (Some((text, _)), None) = (texts.next(), texts.next()) else {
            return Err(format!("it has not one text for place {place} of its list"));
        };
        Ok(text.clone())
    };
    let names = (0..count).map(name).collect::<Result<Vec<_>, _>>()?;
    let missing = match usize::try_from(missing) {
        Ok(index) if index < names.len() && names[index] != MISSING => Missing::Category { index },
        Ok(_) | Err(_) if unknown == Unknown::Zeros => Missing::Zeros,
        Ok(_) | Err(_) => Missing::Reject,
    };
    Ok(Encoded { categories: names, unknown: if count < width { Unknown::Other } else { unknown }, missing })
}
