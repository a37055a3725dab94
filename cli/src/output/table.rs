//! Tables without borders, padded by the width that a terminal shows.

use unicode_width::UnicodeWidthStr;

const GAP: usize = 3;

/// A table that may grow row by row; a column once widened stays wide, so that a watch lines up.
#[derive(Debug)]
pub struct Table {
    columns: Vec<String>,
    widths: Vec<usize>,
}

impl Table {
    /// A table with these column heads.
    pub fn new(columns: Vec<String>) -> Self {
        let widths = columns.iter().map(|head| head.width()).collect();
        Self { columns, widths }
    }

    /// Widens the columns for `rows`.
    pub fn fit(&mut self, rows: &[Vec<String>]) {
        for row in rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
    }

    /// The place of the column with this head.
    pub fn column(&self, head: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == head)
    }

    /// The line of column heads.
    pub fn head(&self) -> String {
        self.line(&self.columns)
    }

    /// One row as a line.
    pub fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_line_up_by_what_a_terminal_shows() {
        let row = |cells: [&str; 2]| cells.map(String::from).to_vec();
        let mut table = Table::new(row(["NAME", "AGE"]));
        table.fit(&[row(["wéb", "5s"]), row(["日本語", "3m"])]);
        let lines = [table.head(), table.line(&row(["wéb", "5s"])), table.line(&row(["日本語", "3m"]))];
        assert_eq!(lines.join("\n"), "NAME     AGE\nwéb      5s\n日本語   3m");
    }
}
