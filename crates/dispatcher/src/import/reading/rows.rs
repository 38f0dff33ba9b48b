//! Text to rows, as it comes: `csv-core` splits them (RFC 4180, with the delimiter that the header uses), this bounds
//! them and knows their lines. A row is bounded, a file is not.
//!
//! As lenient as `csv-core`: a quote within a cell that does not begin with one stands for itself, and what follows a
//! closing quote belongs to the cell. Only a quote that is never closed is refused, which `csv-core` does not tell.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use klaroen_domain::text::invisible;

use super::blanks::Blanks;
use super::head::DELIMITERS;

/// The largest row; what is longer is a quote that was never closed.
pub const ROW_BYTES_MAX: usize = 64 * 1024;
/// Cells that there is room for at first: more than a file of ours has columns.
const CELLS_AT_FIRST: usize = 64;

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

/// Turns text into rows.
pub struct Rows {
    reader: Reader,
    blanks: Blanks,
    /// The cells of the row that is being read, one after the other, of which `text_len` bytes are filled.
    text: Vec<u8>,
    text_len: usize,
    /// The positions in `text` at which the cells end, of which `ends_len` are filled.
    ends: Vec<usize>,
    ends_len: usize,
    /// Bytes of the file that the row took so far; none between rows.
    row_bytes: usize,
    row_line: u64,
    /// The reader's own count knows no line that ends with CR alone, nor where a row begins after empty lines.
    line: u64,
    after_cr: bool,
}

impl Rows {
    /// With the delimiter of the header.
    #[must_use]
    pub fn new(delimiter: u8) -> Self {
        Self {
            reader: ReaderBuilder::new().delimiter(delimiter).build(),
            blanks: Blanks::new(delimiter),
            // Cells are no longer than the row they are read from; one more, since the reader stops at a full buffer.
            text: vec![0; ROW_BYTES_MAX + 1],
            text_len: 0,
            ends: vec![0; CELLS_AT_FIRST],
            ends_len: 0,
            row_bytes: 0,
            row_line: 1,
            line: 1,
            after_cr: false,
        }
    }

    /// Appends the rows that `text` completes.
    ///
    /// # Errors
    /// [`RowTooLong`].
    pub fn feed(&mut self, text: &str, rows: &mut Vec<Row>) -> Result<(), RowTooLong> {
        let text = self.blanks.without(text);
        let mut rest = text.as_bytes();
        loop {
            if self.row_bytes == 0 {
                rest = self.skip_line_ends(rest);
            }
            // To the reader, no bytes are the end of the file.
            if rest.is_empty() {
                return Ok(());
            }
            let room = ROW_BYTES_MAX - self.row_bytes;
            if room == 0 {
                return Err(RowTooLong { line: self.row_line });
            }
            let (ended, read) = self.read(&rest[..rest.len().min(room)]);
            let (taken, left) = rest.split_at(read);
            self.count_lines(taken);
            self.row_bytes += read;
            rest = left;
            if ended {
                self.end_row(rows);
            }
        }
    }

    /// Appends the last row, if the file does not end with a line break. Returns `false` if a quote in it was never
    /// closed: then it is not appended, and [`Self::row_line`] says where it begins.
    #[must_use]
    pub fn finish(&mut self, rows: &mut Vec<Row>) -> bool {
        if self.row_bytes == 0 {
            return true;
        }
        // At the end of the file the reader closes a quote by itself and does not say so. A line feed tells: it ends
        // every row but one within quotes, which it becomes a part of.
        let before = self.text_len;
        let (ended, _) = self.read(b"\n");
        if ended {
            self.end_row(rows);
        }
        self.text_len == before || ended
    }

    /// The line on which the row begins that is being read.
    #[must_use]
    pub const fn row_line(&self) -> u64 {
        self.row_line
    }

    /// Moves on to the begin of the next row.
    fn skip_line_ends<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let begin = text.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
        let (line_ends, rest) = text.split_at(begin);
        self.count_lines(line_ends);
        self.row_line = self.line;
        rest
    }

    /// Whether `input` ends the row, and how many bytes of it were read: fewer than all if the row ends earlier or
    /// there was no room for more cells.
    fn read(&mut self, input: &[u8]) -> (bool, usize) {
        // Bounded by the row: a cell takes a byte at least.
        if self.ends_len == self.ends.len() {
            self.ends.resize(self.ends.len() * 2, 0);
        }
        let (text, ends) = (&mut self.text[self.text_len..], &mut self.ends[self.ends_len..]);
        let (result, read, written, ended) = self.reader.read_record(input, text, ends);
        self.text_len += written;
        self.ends_len += ended;
        (result == ReadRecordResult::Record, read)
    }

    /// Counts as an editor does: LF, CR LF and CR alone each end a line.
    fn count_lines(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.line += u64::from(byte == b'\r' || (byte == b'\n' && !self.after_cr));
            self.after_cr = byte == b'\r';
        }
    }

    fn end_row(&mut self, rows: &mut Vec<Row>) {
        let mut begin = 0;
        let cells = self.ends[..self.ends_len].iter().map(|&end| {
            // Nothing is lost: the text came as characters, and the reader cuts it at ASCII only.
            let cell = String::from_utf8_lossy(&self.text[begin..end]).into_owned();
            begin = end;
            cell
        });
        let cells: Vec<String> = cells.collect();
        // Spreadsheets leave rows of nothing but delimiters behind.
        if cells.iter().any(|cell| !invisible::trim(cell).is_empty()) {
            rows.push(Row { line: self.row_line, cells });
        }
        (self.text_len, self.ends_len, self.row_bytes) = (0, 0, 0);
    }
}

/// The delimiter of a header: the one of comma, semicolon, tab and bar that stands there most, but not within quotes, if
/// there are some outside.
#[must_use]
pub fn delimiter_of(header: &str) -> u8 {
    let outside: Vec<&str> = header.split('"').step_by(2).collect();
    let most = |text: &str| {
        let count = |delimiter: u8| text.bytes().filter(|byte| *byte == delimiter).count();
        let best = DELIMITERS.into_iter().rev().max_by_key(|delimiter| count(*delimiter))?;
        (count(best) > 0).then_some(best)
    };
    // A line that became one cell has its delimiters within the quotes.
    let is_padding = |ch: char| "\r\n; ".contains(ch);
    let lone = outside.len() > 1
        && matches!(&outside[..], [before @ .., last] if before.concat().is_empty() && last.chars().all(is_padding));
    if lone { most(header.trim_end_matches(is_padding)) } else { most(&outside.concat()) }.unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn rows(text: &str, delimiter: u8) -> Vec<(u64, Vec<String>)> {
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
        assert_eq!(rows(text, b','), [row(1, &["a", "b"]), row(2, &["c", "d"])]);
    }

    #[test]
    fn lines_are_counted_as_an_editor_does() {
        let text = "kop;x\r\n\r\n\"twee\r\nregels\";1\r\n;\r\n\"zei \"\"ja\"\"\";O\"Brien\r\n";
        assert_eq!(
            rows(text, b';'),
            [row(1, &["kop", "x"]), row(3, &["twee\r\nregels", "1"]), row(6, &["zei \"ja\"", "O\"Brien"])]
        );
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_swallow_the_file() {
        let mut parser = Rows::new(b',');
        let mut rows = Vec::new();
        parser.feed("a\n\"b", &mut rows).unwrap();
        assert_eq!(parser.feed(&"x\n".repeat(ROW_BYTES_MAX), &mut rows), Err(RowTooLong { line: 2 }));
        let mut parser = Rows::new(b',');
        parser.feed("\"b", &mut rows).unwrap();
        assert!(!parser.finish(&mut rows));
    }

    #[test]
    fn a_row_whose_quote_is_never_closed_is_left_out_and_named_by_its_first_line() {
        for unclosed in ["\"", "\"b,c\nd\n", "x,\"\"\"\n\n"] {
            let mut parser = Rows::new(b',');
            let mut rows = Vec::new();
            parser.feed(&format!("a\n\n{unclosed}"), &mut rows).unwrap();
            assert!(!parser.finish(&mut rows), "{unclosed}");
            assert_eq!(rows, [Row { line: 1, cells: vec!["a".into()] }], "{unclosed}");
            assert_eq!(parser.row_line(), 3, "{unclosed}");
        }
    }

    #[test]
    fn stray_quotes_stand_for_themselves() {
        assert_eq!(rows("a\"b\",\"c\"d\"\n", b','), [row(1, &["a\"b\"", "cd\""])]);
    }

    #[test]
    fn a_row_may_be_as_long_as_the_limit_and_have_that_many_cells() {
        let longest = format!("{}x\n", ",".repeat(ROW_BYTES_MAX - 2));
        let mut parser = Rows::new(b',');
        let mut rows = Vec::new();
        parser.feed(&format!("{longest}{longest}"), &mut rows).unwrap();
        assert_eq!(
            rows.iter().map(|row| (row.line, row.cells.len())).collect::<Vec<_>>(),
            [(1, ROW_BYTES_MAX - 1), (2, ROW_BYTES_MAX - 1)]
        );
        assert_eq!(parser.feed(&format!(",{longest}"), &mut rows), Err(RowTooLong { line: 3 }));
    }

    #[test]
    fn the_delimiter_is_the_one_that_the_header_uses() {
        assert_eq!(delimiter_of("kind,phone,hours"), b',');
        assert_eq!(delimiter_of("kind;phone;hours"), b';');
        assert_eq!(delimiter_of("kind\tphone"), b'\t');
        assert_eq!(delimiter_of("kind|phone"), b'|');
        assert_eq!(delimiter_of("kind"), b',');
        assert_eq!(delimiter_of("\"kind, phone, name\";\"groups\""), b';');
        assert_eq!(delimiter_of("\"kind,phone\";;;"), b',');
    }
}
