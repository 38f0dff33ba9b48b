//! Tables for people: columns that line up, numbers that can be read.

use std::fmt::Write as _;

/// A head, rows, and a line above that says what they are.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub title: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// As text. The first column is flush left, the others flush right.
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let columns = lines().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        let mut text = format!("{}\n", self.title);
        for line in lines() {
            let mut row = String::from("  ");
            for (column, cell) in line.iter().enumerate() {
                let width = widths[column];
                let written = if column == 0 {
                    write!(row, "{cell:<width$}")
                } else {
                    write!(row, "   {cell:>width$}")
                };
                written.unwrap_or_else(|_| unreachable!("a String takes everything"));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        text
    }
}

/// `1,234,567`
pub fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate or a number of seconds or mebibytes, in as many digits as it deserves; `-` if there is none.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 100.0 =>
        {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rounded, and not negative"
            )]
            count(value.round() as u64)
        }
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let cells = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let table = Table {
            title: "T".into(),
            head: cells("name ms é"),
            rows: vec![cells("a 1,000 7"), cells("long 1")],
        };
        assert_eq!(table.text(), "T\n  name      ms   é\n  a      1,000   7\n  long       1\n");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(0_u32), "0");
        assert_eq!(count(999_u32), "999");
        assert_eq!(count(1_234_567_u32), "1,234,567");
        let written: Vec<String> = [Some(0.123), Some(12.34), Some(99_999.6), None].map(number).into();
        assert_eq!(written, ["0.12", "12.3", "100,000", "-"]);
    }
}
