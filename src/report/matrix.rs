//! The confusion matrix as SVG: the darker a cell, the larger the share of the actual class that went there.

use std::fmt::Write;

use super::html::{Escaped, shortened};
use super::{count, plot};

/// With more classes the cells would be too small to be seen.
pub(super) const MAX_CLASSES: usize = 40;

const LEFT: f64 = 126.0;
const TOP: f64 = 12.0;
const SIDE: f64 = 312.0;

/// With more classes a cell has no room for its number.
const NUMBERED: usize = 10;

/// Draws the matrix; rows are actual classes, columns predicted ones.
pub(super) fn svg(names: &[&str], confusion: &[Vec<u64>]) -> String {
    let mut svg = plot::open("Confusion matrix");
    let side = SIDE / names.len() as f64;
    for (row, (actual, counts)) in names.iter().zip(confusion).enumerate() {
        let of_class = counts.iter().sum::<u64>();
        for (column, (predicted, &rows)) in names.iter().zip(counts).enumerate() {
            let share = if of_class > 0 { rows as f64 / of_class as f64 } else { 0.0 };
            let (x, y) = (LEFT + column as f64 * side, TOP + row as f64 * side);
            let gap = if names.len() > NUMBERED { 0.5 } else { 2.0 };
            let _ = write!(
                svg,
                r#"<rect class="cell" x="{x:.1}" y="{y:.1}" width="{0:.1}" height="{0:.1}" rx="{gap}" fill-opacity="{1:.3}"><title>{2}</title></rect>"#,
                side - gap,
                // Even an empty cell shows that it is one.
                0.06 + 0.94 * share,
                Escaped(&format!(
                    "{actual} predicted as {predicted}: {} rows, {:.1} % of {actual}",
                    count(rows),
                    share * 100.0
                )),
            );
            if names.len() <= NUMBERED {
                let middle = (x + side / 2.0, y + side / 2.0);
                number(&mut svg, middle, side, rows, share);
            }
        }
    }
    let size = (side * 0.8).min(15.0);
    let room = if names.len() <= 4 { (side / 8.0) as usize } else { 9 };
    for (index, name) in names.iter().enumerate() {
        let middle = (index as f64 + 0.5) * side;
        let (x, y) = (LEFT - 8.0, TOP + middle + size * 0.35);
        let _ = write!(
            svg,
            r#"<text class="tick" style="font-size:{size:.1}px" x="{x}" y="{y:.1}" text-anchor="end">{}</text>"#,
            Escaped(&shortened(name, 11))
        );
        let (x, y, name) = (LEFT + middle, TOP + SIDE + 21.0, shortened(name, room));
        let place = if names.len() <= 4 {
            format!(r#"x="{x:.1}" y="{y}" text-anchor="middle""#)
        } else {
            format!(r#"transform="translate({:.1} {}) rotate(-45)" text-anchor="end""#, x + size * 0.3, y - 6.0)
        };
        let _ = write!(svg, r#"<text class="tick" style="font-size:{size:.1}px" {place}>{}</text>"#, Escaped(&name));
    }
    let low = if names.len() <= 4 { TOP + SIDE + 50.0 } else { plot::HEIGHT - 4.0 };
    svg.push_str(&plot::labels("predicted", "actual", LEFT, SIDE, low));
    svg.push_str("</svg>");
    svg
}

/// A cell's count, and its share where there is room for two lines.
fn number(svg: &mut String, (x, y): (f64, f64), side: f64, rows: u64, share: f64) {
    let class = if share > 0.5 { "count on" } else { "count" };
    let text = count(rows);
    let size = (side * 1.5 / text.len().max(3) as f64).min(side * 0.4).min(19.0);
    let two_lines = side > 60.0;
    let above = if two_lines { y - 2.0 } else { y + size * 0.35 };
    let _ = write!(
        svg,
        r#"<text class="{class}" style="font-size:{size:.1}px" x="{x:.1}" y="{above:.1}" text-anchor="middle">{text}</text>"#
    );
    if two_lines {
        let (below, percent) = (y + 19.0, share * 100.0);
        let _ = write!(
            svg,
            r#"<text class="{class} share" x="{x:.1}" y="{below:.1}" text-anchor="middle">{percent:.1} %</text>"#
        );
    }
}
