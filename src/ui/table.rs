use super::Tone;
use comfy_table::{Attribute, Cell, Color, ColumnConstraint, ContentArrangement, TableStyle, Width};
use std::fmt;

/// A space stands on either side of a cell.
const PADDING: u16 = 2;

/// A table without lines, fitted to the terminal's width; without colours where there is none.
///
/// Cells are folded between words, never within one. Where a terminal is too narrow for that each row is a block instead: its
/// first cell, and below it a line for each of the others.
pub struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with its head.
    #[must_use]
    pub const fn new(head: &'static [&'static str]) -> Self {
        Self { head, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn columns(&self) -> comfy_table::Table {
        let mut table = bare();
        table.set_header(self.head.iter().map(|title| cell(title, Tone::Faint)));
        for row in &self.rows {
            table.add_row(row.iter().map(|(text, tone)| cell(text, *tone)));
        }
        let widths =
            self.words().into_iter().map(|width| ColumnConstraint::LowerBoundary(Width::Fixed(width + PADDING)));
        table.set_constraints(widths);
        table
    }

    /// The width of the longest word of each column.
    fn words(&self) -> Vec<u16> {
        let longest = |text: &str| text.split_whitespace().map(console::measure_text_width).max().unwrap_or_default();
        let column = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|(text, _)| longest(text));
            let width = cells.chain([longest(self.head[at])]).max().unwrap_or_default();
            u16::try_from(width).unwrap_or(u16::MAX)
        };
        (0..self.head.len()).map(column).collect()
    }

    fn blocks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            let Some((first, rest)) = row.split_first() else { continue };
            lines.extend((at > 0).then(String::new));
            lines.push(super::paint(&super::clean(&first.0), first.1));
            let mut block = bare();
            for (title, (text, tone)) in self.head[1..].iter().zip(rest).filter(|(_, (text, _))| !text.is_empty()) {
                block.add_row([cell(&format!(" {}", title.to_lowercase()), Tone::Faint), cell(text, *tone)]);
            }
            lines.extend(block.lines());
        }
        lines
    }
}

fn bare() -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
    table
}

fn cell(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(super::clean(text));
    match tone {
        Tone::Good => cell.fg(Color::Green),
        Tone::Bad => cell.fg(Color::Red).add_attribute(Attribute::Bold),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Strong => cell.add_attribute(Attribute::Bold),
        Tone::Plain => cell,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        let needed: usize = self.words().iter().map(|width| usize::from(*width + PADDING)).sum();
        let is_narrow = columns.width().is_some_and(|width| usize::from(width) < needed);
        let lines = if is_narrow { self.blocks() } else { columns.lines().collect() };
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        f.write_str(&lines.join("\n"))
    }
}
