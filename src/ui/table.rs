use super::Tone;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, TableStyle};

/// A table without lines, fitted to the terminal's width; without colours where there is none.
pub struct Table(comfy_table::Table);

impl Table {
    /// A table with its head.
    #[must_use]
    pub fn new(head: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(head.iter().map(|title| cell(title, Tone::Faint)));
        Self(table)
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Tone)>) {
        self.0.add_row(cells.into_iter().map(|(text, tone)| cell(&text, tone)));
    }
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

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines: Vec<String> = self.0.lines().map(|line| line.trim_end().to_owned()).collect();
        f.write_str(&lines.join("\n"))
    }
}
