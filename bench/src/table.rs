//! Tables, for a terminal and for Markdown. Pure.

/// Rows below a head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// In columns: those of figures to the right, the others to the left.
    pub fn text(&self) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<String>| {
            let cells =
                row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| {
                    if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        std::iter::once(&self.head).chain(&self.rows).map(line).collect()
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let rule = format!("|{}\n", " --- |".repeat(self.head.len()));
        line(&self.head) + &rule + &self.rows.iter().map(line).collect::<String>()
    }
}

/// A count with spaces between thousands: `271 000`.
pub fn count(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A rate: three digits of it, which is more than a benchmark knows.
pub fn rate(value: f64) -> String {
    let unit = 10_f64.powf(value.max(1.0).log10().floor() - 2.0).max(1.0);
    count((value / unit).round() * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_in_columns_and_in_markdown() {
        let mut table = Table::new(&["who", "msg/s"]);
        table.rows.push(vec!["ours".into(), "1 000".into()]);
        table.rows.push(vec!["franz-go".into(), "7".into()]);
        assert_eq!(table.text(), "who       msg/s\nours      1 000\nfranz-go      7\n");
        assert_eq!(table.markdown(), "| who | msg/s |\n| --- | --- |\n| ours | 1 000 |\n| franz-go | 7 |\n");
    }

    #[test]
    fn figures_have_as_many_digits_as_they_are_worth() {
        assert_eq!([rate(271_499.0), rate(560.4), rate(2_186_001.0), rate(7.0)], ["271 000", "560", "2 190 000", "7"]);
        assert_eq!([count(1_000_000.0), count(999.0), count(0.0)], ["1 000 000", "999", "0"]);
    }
}
