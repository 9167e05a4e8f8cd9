//! What a terminal shows, from all that was written to it: as much of one as live lines make use of.

use anstyle_parse::{DefaultCharAccumulator, Params, Parser, Perform};

pub struct Screen {
    columns: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    /// Behind the last column the next character begins a line.
    column: usize,
}

impl Screen {
    pub fn of(columns: usize, written: &[u8]) -> Self {
        let mut screen = Self { columns, rows: Vec::new(), row: 0, column: 0 };
        let mut parser = Parser::<DefaultCharAccumulator>::new();
        for byte in written {
            parser.advance(&mut screen, *byte);
        }
        screen
    }

    /// The lines that are not empty.
    pub fn lines(&self) -> Vec<String> {
        let lines = self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    }
}

impl Perform for Screen {
    fn print(&mut self, c: char) {
        if self.column == self.columns {
            (self.row, self.column) = (self.row + 1, 0);
        }
        if self.rows.len() <= self.row {
            self.rows.resize(self.row + 1, Vec::new());
        }
        let row = &mut self.rows[self.row];
        row.resize(self.columns, ' ');
        row[self.column] = c;
        self.column += 1;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.row += 1,
            b'\r' => self.column = 0,
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, _intermediates: &[u8], _ignore: bool, action: u8) {
        let count = params.iter().next().map_or(1, |param| usize::from(param[0].max(1)));
        match action {
            b'A' => self.row -= count.min(self.row),
            b'B' => self.row += count,
            b'H' => (self.row, self.column) = (0, 0),
            b'J' => self.rows.clear(),
            b'K' => {
                if let Some(row) = self.rows.get_mut(self.row) {
                    row.clear();
                }
            }
            _ => {}
        }
    }
}
