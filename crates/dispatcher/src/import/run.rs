//! One import from the first byte to the last.

use std::io;

use futures::{Stream, StreamExt};

use super::columns::Columns;
use super::grouping::Grouping;
use super::reading::decode::Decode;
use super::reading::head;
use super::reading::rows::{Row, RowTooLong, Rows};
use super::report::ImportReport;
use super::row::{self, CellProblem, Reading};
use super::writer::Writer;
use super::{CsvImport, ImportError, Progress};
use crate::problem::FieldError;

/// A header is a line of names.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// An import that is under way.
pub struct Run<'a> {
    import: &'a CsvImport<'a>,
    /// Registrations of a window, if a test says so.
    at_once: Option<usize>,
    decode: Decode,
    /// The header while it is not complete.
    head: String,
    rows: Option<Rows>,
    delimiter: u8,
    columns: Option<Columns>,
    grouping: Grouping,
    writer: Writer<'a>,
    read: Progress,
    /// A quote that is never closed swallowed the rest of the file.
    unclosed: bool,
}

impl<'a> Run<'a> {
    /// With windows of this many registrations, if a test says so.
    pub fn new(import: &'a CsvImport<'a>, at_once: Option<usize>) -> Self {
        Self {
            import,
            at_once,
            decode: Decode::default(),
            head: String::new(),
            rows: None,
            delimiter: b',',
            columns: None,
            grouping: Grouping::default(),
            writer: Writer::new(import),
            read: Progress { bytes: 0, rows: 0, rejected: 0 },
            unclosed: false,
        }
    }

    /// Reads to the end, and writes while it reads. A window that is not full is not written yet.
    pub async fn read<B: AsRef<[u8]>>(
        &mut self,
        source: impl Stream<Item = io::Result<B>> + Send,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), ImportError> {
        let mut source = std::pin::pin!(source);
        let mut text = String::new();
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(ImportError::Read)?;
            self.read.bytes += chunk.as_ref().len() as u64;
            self.decode.feed(chunk.as_ref(), false, &mut text);
            drop(chunk);
            self.take_text(&text, false).await?;
            text.clear();
            self.read.rejected = self.writer.report.rejected;
            progress(self.read);
        }
        self.decode.feed(b"", true, &mut text);
        self.take_text(&text, true).await
    }

    /// Writes what was read; `is_whole`: that is all of the file.
    pub async fn finish(&mut self, is_whole: bool) -> Result<(), ImportError> {
        self.writer.write(self.grouping.take()).await?;
        Ok(self.writer.finish(is_whole && !self.unclosed).await?)
    }

    /// The result.
    pub fn into_report(self) -> ImportReport {
        self.writer.report
    }

    /// Takes the rows that `text` completes, also those before an error in it.
    async fn take_text(&mut self, text: &str, last: bool) -> Result<(), ImportError> {
        let mut complete = Vec::new();
        let split = self.split(text, last, &mut complete);
        self.take_all(complete).await?;
        split
    }

    /// Appends the rows that `text` completes, the header not among them.
    fn split(&mut self, text: &str, last: bool, complete: &mut Vec<Row>) -> Result<(), ImportError> {
        let head;
        let text = if self.rows.is_none() {
            self.head.push_str(text);
            if self.head.len() > HEADER_BYTES_MAX
                && let Some(reason) = head::foreign(&self.head)
            {
                return Err(header_error(reason));
            }
            if self.head.len() > HEADER_BYTES_MAX && !self.head[..].contains(['\n', '\r']) {
                return Err(header_error("is too long for a header"));
            }
            let Some(delimiter) = head::delimiter(&self.head, last) else { return Ok(()) };
            if let Some(reason) = head::foreign(&self.head) {
                return Err(header_error(reason));
            }
            self.delimiter = delimiter;
            self.rows = Some(Rows::new(delimiter));
            head = std::mem::take(&mut self.head);
            head.as_str()
        } else {
            text
        };
        let Some(rows) = &mut self.rows else { return Ok(()) };
        let fed =
            rows.feed(text, complete).map_err(|RowTooLong { line }| ImportError::RowTooLong { row: line });
        if fed.is_ok() && last && !rows.finish(complete) {
            self.unclosed = true;
            self.read.rows += 1;
            let row = rows.row_line();
            let reason = "a quote is never closed".to_owned();
            self.writer.report.reject(row, vec![CellProblem::whole(reason)]);
        }
        while self.columns.is_none() && !complete.is_empty() {
            let Row { cells, .. } = complete.remove(0);
            if !head::is_preamble(&cells) {
                let header = head::cells(cells, self.delimiter);
                self.columns = Some(Columns::read(&header).map_err(ImportError::Header)?);
            }
        }
        if last && self.columns.is_none() {
            return Err(header_error("is missing: the file is empty"));
        }
        fed
    }

    async fn take_all(&mut self, rows: Vec<Row>) -> Result<(), ImportError> {
        let Some(columns) = self.columns.clone() else { return Ok(()) };
        let at_once = self.at_once.unwrap_or_else(|| self.writer.window());
        let CsvImport { country, zone, now, .. } = self.import;
        for Row { line, cells } in rows {
            let cells = head::cells(cells, self.delimiter);
            // Files that were joined have it again.
            if columns.is_header(&cells) {
                continue;
            }
            self.read.rows += 1;
            let draft = match row::read(&cells, &columns, &Reading { country: *country, zone, now: *now }) {
                Ok(draft) => draft,
                Err(problems) => {
                    self.writer.report.reject(line, problems);
                    continue;
                }
            };
            if self.grouping.is_full_for(&draft, at_once) {
                self.writer.write(self.grouping.take()).await?;
            }
            if let Err(problem) = self.grouping.add(line, draft) {
                self.writer.report.reject(line, vec![problem]);
            }
        }
        Ok(())
    }
}

fn header_error(detail: &str) -> ImportError {
    ImportError::Header(vec![FieldError { pointer: "/header".into(), detail: detail.into() }])
}
