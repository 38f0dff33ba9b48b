//! Text to rows, as it comes (RFC 4180, with the delimiter that the header uses). A row is bounded, a file is not.

/// The largest row; what is longer is a quote that was never closed.
pub const ROW_BYTES_MAX: usize = 64 * 1024;

/// One row of the file.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The line on which it begins; the header is line 1.
    pub line: u64,
    /// Its cells.
    pub cells: Vec<String>,
}

/// A row is longer than [`ROW_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq)]
pub struct RowTooLong {
    /// The line on which it begins.
    pub line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellStart,
    Plain,
    Quoted,
    QuoteInQuoted,
}

/// Turns text into rows.
pub struct Rows {
    delimiter: char,
    state: State,
    cells: Vec<String>,
    cell: String,
    line: u64,
    row_line: u64,
    row_bytes: usize,
    after_cr: bool,
}

impl Rows {
    /// With the delimiter of the header.
    #[must_use]
    pub const fn new(delimiter: char) -> Self {
        Self {
            delimiter,
            state: State::CellStart,
            cells: Vec::new(),
            cell: String::new(),
            line: 1,
            row_line: 1,
            row_bytes: 0,
            after_cr: false,
        }
    }

    /// Appends the rows that `text` completes.
    ///
    /// # Errors
    /// [`RowTooLong`].
    pub fn feed(&mut self, text: &str, rows: &mut Vec<Row>) -> Result<(), RowTooLong> {
        for c in text.chars() {
            self.row_bytes += c.len_utf8();
            if self.row_bytes > ROW_BYTES_MAX {
                return Err(RowTooLong { line: self.row_line });
            }
            self.take(c, rows);
        }
        Ok(())
    }

    /// Appends the last row, where the file does not end with a line break. `false` where a quote was never closed.
    #[must_use]
    pub fn finish(&mut self, rows: &mut Vec<Row>) -> bool {
        let closed = self.state != State::Quoted;
        if self.row_bytes > 0 {
            self.end_row(rows);
        }
        closed
    }

    /// The line on which the row begins that is being read.
    #[must_use]
    pub const fn row_line(&self) -> u64 {
        self.row_line
    }

    fn take(&mut self, c: char, rows: &mut Vec<Row>) {
        let line_feed_of_pair = c == '\n' && self.after_cr;
        self.after_cr = c == '\r';
        if (c == '\n' || c == '\r') && !line_feed_of_pair {
            self.line += 1;
        }
        match (self.state, c) {
            (State::Quoted, '"') => self.state = State::QuoteInQuoted,
            (State::Quoted, _) => self.cell.push(c),
            (State::QuoteInQuoted, '"') => {
                self.cell.push('"');
                self.state = State::Quoted;
            }
            (_, '\n') if line_feed_of_pair => {
                self.row_line = self.line;
                self.row_bytes = 0;
            }
            (_, '\n' | '\r') => self.end_row(rows),
            (_, c) if c == self.delimiter => {
                self.cells.push(std::mem::take(&mut self.cell));
                self.state = State::CellStart;
            }
            (State::CellStart, '"') => self.state = State::Quoted,
            (State::CellStart | State::Plain | State::QuoteInQuoted, c) => {
                self.cell.push(c);
                self.state = State::Plain;
            }
        }
    }

    fn end_row(&mut self, rows: &mut Vec<Row>) {
        self.cells.push(std::mem::take(&mut self.cell));
        let cells = std::mem::take(&mut self.cells);
        // Spreadsheets leave rows of nothing but delimiters behind.
        if cells.iter().any(|cell| !cell.trim().is_empty()) {
            rows.push(Row { line: self.row_line, cells });
        }
        self.state = State::CellStart;
        self.row_line = self.line;
        self.row_bytes = 0;
    }
}

/// The delimiter of a header: the one of comma, semicolon and tab that stands there most.
#[must_use]
pub fn delimiter_of(header: &str) -> char {
    let count = |delimiter: char| header.chars().filter(|c| *c == delimiter).count();
    [';', '\t'].into_iter().fold(',', |best, other| if count(other) > count(best) { other } else { best })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rows(text: &str, delimiter: char) -> Vec<(u64, Vec<String>)> {
        let mut parser = Rows::new(delimiter);
        let mut rows = Vec::new();
        // One character at a time is the hardest way to be fed.
        for c in text.chars() {
            parser.feed(&c.to_string(), &mut rows).unwrap();
        }
        assert!(parser.finish(&mut rows));
        rows.into_iter().map(|row| (row.line, row.cells)).collect()
    }

    fn row(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|c| (*c).to_owned()).collect())
    }

    #[rstest]
    #[case::unix("a,b\nc,d\n")]
    #[case::windows("a,b\r\nc,d\r\n")]
    #[case::old_mac("a,b\rc,d\r")]
    #[case::no_end("a,b\nc,d")]
    #[case::quoted("\"a\",\"b\"\n\"c\",d")]
    fn line_ends_of_every_kind(#[case] text: &str) {
        assert_eq!(rows(text, ','), [row(1, &["a", "b"]), row(2, &["c", "d"])]);
    }

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        let text = "kop;x\r\n\r\n\"twee\r\nregels\";1\r\n;\r\n\"zei \"\"ja\"\"\";O\"Brien\r\n";
        assert_eq!(
            rows(text, ';'),
            [row(1, &["kop", "x"]), row(3, &["twee\r\nregels", "1"]), row(6, &["zei \"ja\"", "O\"Brien"])]
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_swallow_the_file() {
        let mut parser = Rows::new(',');
        let mut rows = Vec::new();
        parser.feed("a\n\"b", &mut rows).unwrap();
        assert_eq!(parser.feed(&"x\n".repeat(ROW_BYTES_MAX), &mut rows), Err(RowTooLong { line: 2 }));
        let mut parser = Rows::new(',');
        parser.feed("\"b", &mut rows).unwrap();
        assert!(!parser.finish(&mut rows));
    }

    #[test]
    fn the_delimiter_is_the_one_that_the_header_uses() {
        assert_eq!(delimiter_of("kind,phone,hours"), ',');
        assert_eq!(delimiter_of("kind;phone;hours"), ';');
        assert_eq!(delimiter_of("kind\tphone"), '\t');
        assert_eq!(delimiter_of("kind"), ',');
    }
}
