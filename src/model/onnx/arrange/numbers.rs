//! What happens to a number of which the graph makes columns, and in which columns of weir's each of them is.

use crate::model::onnx::value::Cell;
use crate::model::preprocess::{Part, Step, Transform};
use crate::model::signature::Missing;

/// What stands in for a missing number, and the columns that it becomes.
pub(super) fn transform<'a>(
    feature: &str,
    cells: impl IntoIterator<Item = &'a Cell>,
) -> Result<(Missing, Transform), String> {
    let (mut fills, mut parts, mut has_indicator) = (Vec::new(), Vec::new(), false);
    for cell in cells {
        match cell {
            Cell::Number { fill, steps, .. } => {
                fills.push(*fill);
                let part = Part::Number { steps: shortened(steps) };
                if !parts.contains(&part) {
                    parts.push(part);
                }
            }
            Cell::Bins { fill, steps, edges, .. } => {
                fills.push(*fill);
                bins(&mut parts, steps, edges);
            }
            Cell::IsMissing { .. } => has_indicator = true,
            _ => return Err(format!("the feature {feature:?} goes into the network as text")),
        }
    }
    let fill = fills.first().copied().flatten();
    if fills.iter().any(|other| *other != fill) {
        return Err(format!(
            "the feature {feature:?} is imputed in two different ways, or only in one of its places: impute it once, \
             before all transformers that take it"
        ));
    }
    let missing = fill.map_or(Missing::Reject, |value| Missing::Constant { value });
    let transform = match &mut *parts {
        [Part::Number { steps }] => Transform::Numeric { steps: std::mem::take(steps), indicator: has_indicator },
        _ => {
            parts.extend(has_indicator.then_some(Part::Indicator));
            Transform::Several { parts }
        }
    };
    Ok((missing, transform))
}

/// Bins with these edges, among others, for the number after these steps.
fn bins(parts: &mut Vec<Part>, steps: &[Step], edges: &[f64]) {
    let found = parts.iter_mut().find_map(|part| match part {
        Part::Bins { steps: same, edges } if *same == steps => Some(edges),
        _ => None,
    });
    match found {
        None => parts.push(Part::Bins { steps: steps.to_vec(), edges: edges.to_vec() }),
        Some(all) => {
            all.extend(edges);
            all.sort_by(f64::total_cmp);
            all.dedup();
        }
    }
}

/// The columns of the feature that a cell is the sum of, each with its factor.
pub(super) fn columns(cell: &Cell, transform: &Transform) -> Vec<(usize, f64)> {
    match (cell, transform) {
        (Cell::IsMissing { .. }, Transform::Numeric { .. }) => vec![(1, 1.0)],
        (_, Transform::Several { parts }) => {
            let mut start = 0;
            for part in parts {
                if let Some(columns) = of_part(cell, part) {
                    return columns.into_iter().map(|(column, factor)| (start + column, factor)).collect();
                }
                start += part.width();
            }
            Vec::new()
        }
        _ => vec![(0, 1.0)],
    }
}

/// The same within a part; `None` if it isn't of this part.
fn of_part(cell: &Cell, part: &Part) -> Option<Vec<(usize, f64)>> {
    match (cell, part) {
        (Cell::Number { steps, .. }, Part::Number { steps: same }) => {
            (shortened(steps) == *same).then(|| vec![(0, 1.0)])
        }
        (Cell::IsMissing { .. }, Part::Indicator) => Some(vec![(0, 1.0)]),
        (Cell::Bins { steps, edges, values, .. }, Part::Bins { steps: same, edges: all }) if steps == same => {
            let starts = [f64::NEG_INFINITY].into_iter().chain(all.iter().copied());
            let value = |start: f64| values[edges.partition_point(|&edge| edge <= start)];
            Some(starts.map(value).enumerate().filter(|&(_, value)| value != 0.0).collect())
        }
        _ => None,
    }
}

/// The same steps with less to do: the result is rounded to f32 anyway, and `(x - mean) / std` is one step.
pub(super) fn shortened(steps: &[Step]) -> Vec<Step> {
    match *steps {
        [Step::Add { value }, Step::Divide { value: std }] if std > 0.0 => {
            vec![Step::Standardize { mean: -value, std }]
        }
        [ref steps @ .., Step::Round] => steps.to_vec(),
        ref steps => steps.to_vec(),
    }
}
