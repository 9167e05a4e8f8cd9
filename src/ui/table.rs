use super::Tone;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, TableStyle};
use std::fmt;

/// A table without lines, fitted to the terminal's width; without colours where there is none.
///
/// On a terminal where its columns would be a word wide each row is a block instead: its first cell, and below it a line for
/// each of the others.
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
        table
    }

    fn blocks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let Some((first, rest)) = row.split_first() else { continue };
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
        // A space stands on either side of a cell.
        let needed: usize = columns.column_max_content_widths().iter().map(|width| usize::from(*width) + 2).sum();
        let is_narrow = columns.width().is_some_and(|width| usize::from(width) * 3 < needed * 2);
        let lines = if is_narrow { self.blocks() } else { columns.lines().collect() };
        let lines: Vec<&str> = lines.iter().map(|line| line.trim_end()).collect();
        f.write_str(&lines.join("\n"))
    }
}
