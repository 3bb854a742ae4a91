//! Plots as inline SVG: lines, points and bars in one frame. Colours come from the page's style, so that a plot is as
//! readable in the dark as in the light and on paper.

use std::fmt::Write;

use super::axis::Axis;
use super::html::Escaped;

/// The size of every plot, and of the square in it that the axes enclose.
pub(super) const WIDTH: f64 = 446.0;
pub(super) const HEIGHT: f64 = 422.0;
const LEFT: f64 = 76.0;
const TOP: f64 = 12.0;
const SIDE: f64 = 352.0;

/// How many colours there are.
const COLOURS: usize = 10;

/// A plot in the making.
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    /// What was drawn so far.
    marks: String,
}

impl Plot {
    pub(super) fn new(x: Axis, y: Axis) -> Plot {
        Plot { x, y, marks: String::new() }
    }

    /// A line through these points, in a colour by number; a faint one stays behind its points.
    pub(super) fn line(&mut self, colour: usize, points: &[[f64; 2]], faint: bool) {
        let (class, faint) = (colour_class(colour), if faint { " faint" } else { "" });
        let _ = write!(self.marks, r#"<path class="line {class}{faint}" d="{}"/>"#, self.path(points));
    }

    /// A dashed line to compare others with.
    pub(super) fn guide(&mut self, from: [f64; 2], to: [f64; 2]) {
        let _ = write!(self.marks, r#"<path class="guide" d="{}"/>"#, self.path(&[from, to]));
    }

    /// A mark at each point; `show` gives its radius and says what is shown on hovering. Of `many` marks each is half
    /// transparent.
    pub(super) fn dots(
        &mut self,
        colour: usize,
        points: &[[f64; 2]],
        many: bool,
        show: impl Fn(usize) -> (f64, String),
    ) {
        let class = if many { "dots" } else { "dot" };
        let _ = write!(self.marks, r#"<g class="{class} {}">"#, colour_class(colour));
        for (index, point) in points.iter().enumerate() {
            let ((x, y), (radius, title)) = (self.at(*point), show(index));
            let _ = write!(self.marks, r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius:.1}">"#);
            let _ = write!(self.marks, "<title>{}</title></circle>", Escaped(&title));
        }
        self.marks.push_str("</g>");
    }

    /// A bar that stands on the x axis, `height` of the plot high, between two values of x.
    pub(super) fn bar(&mut self, from: f64, to: f64, height: f64, title: &str) {
        let (left, right) = (self.at([from, self.y.low]).0, self.at([to, self.y.low]).0);
        let (width, height) = (right - left - 2.0, height * SIDE);
        let (left, top) = (left + 1.0, TOP + SIDE - height);
        let _ = write!(
            self.marks,
            r#"<rect class="bar" x="{left:.1}" y="{top:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            Escaped(title)
        );
    }

    /// The SVG. `title` is its name for those who don't see it.
    pub(super) fn svg(self, title: &str) -> String {
        let mut svg = open(title);
        let bottom = TOP + SIDE;
        for &tick in &self.x.ticks {
            let (x, _) = self.at([tick, self.y.low]);
            let _ = write!(svg, r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/>"#);
            let (y, text) = (bottom + 21.0, self.x.text(tick));
            let _ = write!(svg, r#"<text class="tick" x="{x:.1}" y="{y}" text-anchor="middle">{text}</text>"#);
        }
        for &tick in &self.y.ticks {
            let (_, y) = self.at([self.x.low, tick]);
            let right = LEFT + SIDE;
            let _ = write!(svg, r#"<path class="grid" d="M{LEFT} {y:.1}H{right}"/>"#);
            let (x, y, text) = (LEFT - 8.0, y + 5.0, self.y.text(tick));
            let _ = write!(svg, r#"<text class="tick" x="{x}" y="{y:.1}" text-anchor="end">{text}</text>"#);
        }
        let _ = write!(svg, r#"<path class="axis" d="M{LEFT} {TOP}V{bottom}H{}"/>"#, LEFT + SIDE);
        svg.push_str(&self.marks);
        svg.push_str(&labels(&self.x.label, &self.y.label, LEFT, SIDE, HEIGHT - 8.0));
        svg.push_str("</svg>");
        svg
    }

    fn path(&self, points: &[[f64; 2]]) -> String {
        let mut path = String::new();
        for (index, &point) in points.iter().enumerate() {
            let (x, y) = self.at(point);
            let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" });
        }
        path
    }

    fn at(&self, [x, y]: [f64; 2]) -> (f64, f64) {
        (LEFT + self.x.place(x) * SIDE, TOP + (1.0 - self.y.place(y)) * SIDE)
    }
}

/// The class of a colour, for lines and their legend.
pub(super) fn colour_class(colour: usize) -> String {
    format!("c{}", colour % COLOURS)
}

/// The beginning of an SVG of the common size.
pub(super) fn open(title: &str) -> String {
    let title = Escaped(title);
    format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}"><title>{title}</title>"#)
}

/// What the axes are, around a square that begins at `left`; the one of x is at `low`.
pub(super) fn labels(x: &str, y: &str, left: f64, side: f64, low: f64) -> String {
    let middle = left + side / 2.0;
    let turned = TOP + side / 2.0;
    let (x, y) = (Escaped(x), Escaped(y));
    format!(
        r#"<text class="label" x="{middle}" y="{low}" text-anchor="middle">{x}</text><text class="label" transform="translate(14 {turned}) rotate(-90)" text-anchor="middle">{y}</text>"#
    )
}
