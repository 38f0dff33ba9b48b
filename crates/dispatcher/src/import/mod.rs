//! CSV to registrations: shared by `POST /v1/participants/imports` and `klaroen participants import`.
//!
//! Columns as in the API's description; the header is required and may have any order. The key is `external_id`, else
//! the phone number; several rows with one key are several places, whether they stand together or not. A place of an
//! earlier import that the file no longer names is gone afterwards: a file says all places of whom it names. A row that is
//! wrong is left out and named; the others land, a thousand registrations in each transaction. Memory does not grow with
//! the file but for eight bytes a participant.

pub mod cell;
pub mod columns;
mod decode;
mod row;
mod rows;
mod window;

use std::io;

use futures::{Stream, StreamExt};
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use klaroen_store::import::{ImportBatch, Imported};
use klaroen_store::participants::ParticipantDraft;
use klaroen_store::{Actor, PageRequest, Store, StoreError};
use serde::Serialize;
use tokio::task::JoinHandle;
use tracing::Instrument as _;
use utoipa::ToSchema;

use self::columns::Columns;
use self::decode::Decode;
use self::row::CellProblem;
use self::rows::{Row, RowTooLong, Rows, delimiter_of};
use self::window::{Gathered, Window};
use crate::problem::FieldError;

/// Errors that are named; more are counted.
const ERRORS_MAX: usize = 1_000;
/// Characters of a cell that an error shows.
const VALUE_CHARACTERS_MAX: usize = 100;
/// A header is a line of names.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// What is imported where.
#[derive(Clone, Debug)]
pub struct CsvImport<'a> {
    /// The database.
    pub store: &'a Store,
    /// Whose registry.
    pub organisation: OrganisationId,
    /// Who imports.
    pub actor: Actor,
    /// Whose mobile numbers are taken.
    pub country: Country,
    /// Writes nothing and answers the same.
    pub dry_run: bool,
    /// The present moment.
    pub now: Timestamp,
}

/// One thing wrong with one row. It shows what the administrator sent: for the answer, never for a log.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct RowError {
    /// The line of the file on which the row begins; the header is 1.
    pub row: u64,
    /// The column; empty for the row as a whole.
    pub column: String,
    /// What stands there (the first 100 characters).
    pub value: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What came of an import.
#[derive(Default, Serialize, ToSchema)]
pub struct ImportReport {
    /// Rows in the file, without the header and empty ones.
    pub rows: u64,
    /// Participants that are new.
    pub created: u64,
    /// Participants that were changed.
    pub updated: u64,
    /// Participants that said the same before.
    pub unchanged: u64,
    /// Rows that were left out.
    pub rejected: u64,
    /// What is wrong with them: the first 1,000 errors.
    pub errors: Vec<RowError>,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were read.
    pub bytes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that were left out.
    pub rejected: u64,
}

/// Why an import ended early. What was written before stays.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The header is not one: nothing was imported.
    #[error("the header is not valid")]
    Header(Vec<FieldError>),
    /// A row that is too long to be one.
    #[error(
        "row {row} is longer than 64 KiB: a quote in it is probably never closed; {landed} rows before it were read"
    )]
    RowTooLong {
        /// The line on which it begins.
        row: u64,
        /// Rows that were read before it.
        landed: u64,
    },
    /// The file cannot be read any further.
    #[error("the file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// What the database says.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Imports a CSV file as it comes; `progress` is called after each chunk.
///
/// # Errors
/// [`ImportError`].
pub async fn import_csv<B: AsRef<[u8]>>(
    import: &CsvImport<'_>,
    source: impl Stream<Item = io::Result<B>> + Send,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<ImportReport, ImportError> {
    let mut session = Session::new(import);
    let result = session.run(source, &mut progress).await;
    // What is under way is written whatever stopped the reading, and it counts.
    let result = match (result, session.finish().await) {
        (Ok(()), settled) => settled,
        (broken, _) => broken,
    };
    let report = session.report;
    // Written for a broken import too: rows may have landed.
    if !import.dry_run && report.rows > 0 {
        import
            .store
            .audit_import(import.organisation, import.actor, report.rows, report.rejected, import.now)
            .await?;
    }
    result.map(|()| report)
}

/// An import that is under way.
struct Session<'a> {
    import: &'a CsvImport<'a>,
    decode: Decode,
    /// The header while it is not complete.
    head: String,
    rows: Option<Rows>,
    columns: Option<Columns>,
    window: Window,
    /// What is made ready while the batch before is written and the next rows are read.
    preparing: Option<Preparing>,
    writing: Option<Writing>,
    /// What the last batch was, the next is likely to be.
    mostly_new: bool,
    bytes: u64,
    report: ImportReport,
}

/// The lines that a registration came from, and whether an earlier batch wrote it too.
type Origin = (Vec<u64>, bool);

/// Registrations that are made ready for the database.
struct Preparing {
    batch: JoinHandle<ImportBatch<'static>>,
    origins: Vec<Origin>,
}

/// Registrations on their way into the database.
struct Writing {
    results: JoinHandle<Result<Vec<Imported>, StoreError>>,
    origins: Vec<Origin>,
}

impl<'a> Session<'a> {
    fn new(import: &'a CsvImport<'a>) -> Self {
        Self {
            import,
            decode: Decode::default(),
            head: String::new(),
            rows: None,
            columns: None,
            window: Window::default(),
            preparing: None,
            writing: None,
            mostly_new: false,
            bytes: 0,
            report: ImportReport::default(),
        }
    }

    async fn run<B: AsRef<[u8]>>(
        &mut self,
        source: impl Stream<Item = io::Result<B>> + Send,
        progress: &mut (impl FnMut(Progress) + Send),
    ) -> Result<(), ImportError> {
        let mut source = std::pin::pin!(source);
        let mut text = String::new();
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(ImportError::Read)?;
            self.bytes += chunk.as_ref().len() as u64;
            self.decode.feed(chunk.as_ref(), false, &mut text);
            drop(chunk);
            let rows = self.split(&text, false)?;
            text.clear();
            self.take_all(rows).await?;
            progress(Progress { bytes: self.bytes, rows: self.report.rows, rejected: self.report.rejected });
        }
        self.decode.feed(b"", true, &mut text);
        let rows = self.split(&text, true)?;
        self.take_all(rows).await?;
        self.write().await
    }

    /// The rows that `text` completes, the header not among them.
    fn split(&mut self, text: &str, last: bool) -> Result<Vec<Row>, ImportError> {
        let mut complete = Vec::new();
        let head;
        let text = if self.rows.is_none() {
            self.head.push_str(text);
            if self.head.len() > HEADER_BYTES_MAX && !self.head[..].contains(['\n', '\r']) {
                return Err(header_error("is longer than a header can be"));
            }
            if !last && !self.head.contains(['\n', '\r']) {
                return Ok(complete);
            }
            let first_line = self.head.split(['\n', '\r']).next().unwrap_or_default();
            self.rows = Some(Rows::new(delimiter_of(first_line)));
            head = std::mem::take(&mut self.head);
            head.as_str()
        } else {
            text
        };
        let Some(rows) = &mut self.rows else { return Ok(complete) };
        let landed = self.report.rows;
        let fed = rows.feed(text, &mut complete);
        fed.map_err(|RowTooLong { line }| ImportError::RowTooLong { row: line, landed })?;
        if last && !rows.finish(&mut complete) {
            self.report.rows += 1;
            let row = rows.row_line();
            let reason = "a quote is never closed".to_owned();
            self.reject(row, 1, vec![CellProblem { column: "", value: String::new(), reason }]);
        }
        if self.columns.is_none() && !complete.is_empty() {
            let header = complete.remove(0);
            self.columns = Some(Columns::read(&header.cells).map_err(ImportError::Header)?);
        }
        if last && self.columns.is_none() {
            return Err(header_error("is missing: the file is empty"));
        }
        Ok(complete)
    }

    async fn take_all(&mut self, rows: Vec<Row>) -> Result<(), ImportError> {
        let Some(columns) = self.columns.clone() else { return Ok(()) };
        for Row { line, cells } in rows {
            self.report.rows += 1;
            let draft = match row::read(&cells, &columns, self.import.country, self.import.now) {
                Ok(draft) => draft,
                Err(problems) => {
                    self.reject(line, 1, problems);
                    continue;
                }
            };
            if self.window.is_full_for(&draft) {
                self.write().await?;
            }
            if let Err(problem) = self.window.add(line, draft) {
                self.reject(line, 1, vec![problem]);
            }
        }
        Ok(())
    }

    /// Makes ready what is gathered, and begins to write what was.
    async fn write(&mut self) -> Result<(), ImportError> {
        let mut gathered = self.window.take();
        // Nothing is there to add to where nothing is written.
        if !self.import.dry_run && gathered.iter().any(|one| one.again) {
            self.finish().await?;
            gathered = self.add_all_to_earlier(gathered).await?;
        }
        self.advance().await?;
        if gathered.is_empty() {
            return Ok(());
        }
        let (drafts, origins): (Vec<ParticipantDraft>, Vec<Origin>) =
            gathered.into_iter().map(|Gathered { draft, lines, again }| (draft, (lines, again))).unzip();
        let (store, likely_new) = (self.import.store.clone(), self.mostly_new && !self.import.dry_run);
        let batch = tokio::task::spawn_blocking(move || store.prepare_import(drafts, likely_new));
        self.preparing = Some(Preparing { batch, origins });
        Ok(())
    }

    /// Begins to write what is ready, in one transaction, once the batch before is written.
    async fn advance(&mut self) -> Result<(), ImportError> {
        let Some(Preparing { batch, origins }) = self.preparing.take() else { return Ok(()) };
        let batch = batch.await.map_err(|_| StoreError::Stopped)?;
        self.settle().await?;
        let (store, organisation) = (self.import.store.clone(), self.import.organisation);
        let (dry_run, now) = (self.import.dry_run, self.import.now);
        let results = tokio::spawn(
            async move { store.import_batch(organisation, &batch, dry_run, now).await }.in_current_span(),
        );
        self.writing = Some(Writing { results, origins });
        Ok(())
    }

    /// Waits until all that was gathered before is written.
    async fn finish(&mut self) -> Result<(), ImportError> {
        self.advance().await?;
        self.settle().await
    }

    /// Completes those that an earlier window wrote, which must be in the database by now.
    async fn add_all_to_earlier(&mut self, gathered: Vec<Gathered>) -> Result<Vec<Gathered>, StoreError> {
        let mut complete = Vec::with_capacity(gathered.len());
        for mut one in gathered {
            if one.again
                && let Err(problem) = self.add_to_earlier(&mut one).await?
            {
                let row = one.lines.first().copied().unwrap_or_default();
                self.reject(row, one.lines.len() as u64, vec![problem]);
                continue;
            }
            complete.push(one);
        }
        Ok(complete)
    }

    /// Waits until nothing is being written, and counts what was.
    async fn settle(&mut self) -> Result<(), ImportError> {
        let Some(Writing { results, origins }) = self.writing.take() else { return Ok(()) };
        let results = results.await.map_err(|_| StoreError::Stopped)??;
        let new = results.iter().filter(|result| **result == Imported::Created).count();
        self.mostly_new = new * 2 > results.len();
        for (result, (lines, again)) in results.into_iter().zip(origins) {
            self.count(result, &lines, again);
        }
        Ok(())
    }

    /// Puts the places that an earlier window wrote for the same participant before the new ones.
    async fn add_to_earlier(&self, one: &mut Gathered) -> Result<Result<(), CellProblem>, StoreError> {
        let import = self.import;
        let page = PageRequest { limit: crate::request::query::LIMIT_MAX, cursor: None };
        let phone = Some(&one.draft.phone);
        let there = import.store.list_participants(import.organisation, phone, &page).await?;
        let earlier = there.items.into_iter().find(|p| p.draft.external_id == one.draft.external_id);
        let Some(earlier) = earlier else { return Ok(Ok(())) };
        let mut whole = earlier.draft;
        let row = one.lines.first().copied().unwrap_or_default();
        Ok(window::merge(&mut whole, one.draft.clone(), row).map(|()| one.draft = whole))
    }

    fn count(&mut self, result: Imported, lines: &[u64], again: bool) {
        match result {
            Imported::Created if again => self.report.updated += 1,
            Imported::Created => self.report.created += 1,
            Imported::Updated => self.report.updated += 1,
            Imported::Unchanged => self.report.unchanged += 1,
            Imported::UnknownGroups(codes) => {
                let reason = "there is no such group".to_owned();
                let row = lines.first().copied().unwrap_or_default();
                let problem = CellProblem { column: "groups", value: codes.join(";"), reason };
                self.reject(row, lines.len() as u64, vec![problem]);
            }
        }
    }

    fn reject(&mut self, row: u64, rows: u64, problems: Vec<CellProblem>) {
        self.report.rejected += rows;
        for CellProblem { column, value, reason } in problems {
            if self.report.errors.len() < ERRORS_MAX {
                let value = value.chars().take(VALUE_CHARACTERS_MAX).collect();
                self.report.errors.push(RowError { row, column: column.to_owned(), value, reason });
            }
        }
    }
}

fn header_error(detail: &str) -> ImportError {
    ImportError::Header(vec![FieldError { pointer: "/header".into(), detail: detail.into() }])
}
