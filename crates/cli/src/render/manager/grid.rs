//! A table of one-line cells between lines of box characters. Whoever fills it has cleaned and cut the texts.
//!
//! Drawn here and not by a library: colours of cells and of borders would each need a terminal library behind
//! it, and all that is wanted are these few lines.

use anstyle::Style;

use super::letters::{LONGEST, columns, cut, shown, wrapped};
use super::paint::{BORDER, HEAD, PLAIN, paint};

/// What stands in one place.
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>) -> Cell {
        Cell { text: text.into(), style: PLAIN }
    }

    pub(super) fn styled(text: impl Into<String>, style: Style) -> Cell {
        Cell { text: text.into(), style }
    }
}

/// Rows of as many cells as there are columns.
#[derive(Default)]
pub(super) struct Grid {
    heads: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Grid {
    /// A table whose columns have these heads.
    pub(super) fn with_heads(heads: Vec<&'static str>) -> Grid {
        Grid { heads, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Vec<Cell>) {
        self.rows.push(row);
    }

    /// Columns of a line of it, borders included.
    pub(super) fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 3 * widths.len() + 1
    }

    /// Cuts what stands in one column until a line has at most so many columns, but not below `least`.
    pub(super) fn squeeze(&mut self, column: usize, width: usize, least: usize) {
        let too_wide = self.width().saturating_sub(width);
        let most = self.widths().get(column).map_or(0, |now| now.saturating_sub(too_wide)).max(least);
        for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
            cell.text = cut(&cell.text, most);
        }
    }

    fn widths(&self) -> Vec<usize> {
        let count = self.rows.iter().map(Vec::len).chain([self.heads.len()]).max().unwrap_or(0);
        let mut widths = vec![0; count];
        for (width, head) in widths.iter_mut().zip(&self.heads) {
            *width = columns(head);
        }
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(columns(&cell.text));
            }
        }
        widths
    }

    /// Its lines.
    pub(super) fn draw(&self) -> String {
        let widths = self.widths();
        let mut out = rule(&widths, "┌", "┬", "┐");
        if !self.heads.is_empty() {
            let heads: Vec<Cell> = self.heads.iter().map(|head| Cell::styled(*head, HEAD)).collect();
            out += &line(&widths, &heads);
            out += &rule(&widths, "├", "┼", "┤");
        }
        for row in &self.rows {
            out += &line(&widths, row);
        }
        out + &rule(&widths, "└", "┴", "┘")
    }
}

/// A name and what is to be said under it: a line each, cleaned by [`pairs`].
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
    pub(super) style: Style,
}

impl Pair {
    pub(super) fn new(name: impl Into<String>, value: impl Into<String>) -> Pair {
        Pair { name: name.into(), lines: vec![value.into()], style: PLAIN }
    }
}

/// Columns of a name in a table of two columns.
const LONGEST_NAME: usize = 48;
/// What is left for values, however narrow the terminal.
const SHORTEST_VALUE: usize = 16;

/// A table of two columns, without heads. Values are wrapped, not cut: people copy paths out of it.
pub(super) fn pairs(pairs: &[Pair], width: Option<usize>) -> String {
    let names: Vec<String> = pairs.iter().map(|pair| shown(&pair.name, LONGEST_NAME)).collect();
    let beside = names.iter().map(|name| columns(name)).max().unwrap_or(0) + 7;
    let most = width.map_or(LONGEST, |width| width.saturating_sub(beside).max(SHORTEST_VALUE));
    let mut grid = Grid::default();
    for (name, pair) in names.into_iter().zip(pairs) {
        let mut name = Some(name);
        for line in &pair.lines {
            for part in wrapped(&shown(line, LONGEST), most) {
                let name = Cell::styled(name.take().unwrap_or_default(), HEAD);
                grid.push(vec![name, Cell::styled(part, pair.style)]);
            }
        }
    }
    grid.draw()
}

fn rule(widths: &[usize], left: &str, middle: &str, right: &str) -> String {
    let parts: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
    format!("{}\n", paint(BORDER, &format!("{left}{}{right}", parts.join(middle))))
}

fn line(widths: &[usize], row: &[Cell]) -> String {
    let mut out = paint(BORDER, "│");
    for (at, width) in widths.iter().enumerate() {
        let (text, style) = row.get(at).map_or(("", PLAIN), |cell| (cell.text.as_str(), cell.style));
        let pad = " ".repeat(width.saturating_sub(columns(text)));
        out += &format!(" {}{pad} {}", paint(style, text), paint(BORDER, "│"));
    }
    out + "\n"
}
