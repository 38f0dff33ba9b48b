//! CSV to registrations: shared by `POST /v1/participants/imports` and `klaroen participants import`.
//!
//! Columns as in the API's description; the header is required and may have any order. Files come from Excel, `LibreOffice`,
//! PowerShell and people: [`reading`] knows their alphabets, first lines and blanks, [`row`] their words and
//! dates, and [`cell`] their apostrophes. The key is `external_id`, else the
//! phone number; several rows with one key are several places, whether they stand together or not. A place of an earlier
//! import that the file no longer names is gone afterwards: a file says all places of whom it names, and it is its end that
//! tells what it does not name. A row that is wrong is left out and named; the others land, one to eight thousand
//! registrations in each transaction. Memory does not grow with the file but for eight bytes a participant (some eighty in a
//! dry run), and a hundred for each of which a part was not named yet.

pub mod cell;
pub mod columns;
mod contention;
mod grouping;
mod reading;
mod report;
mod retry;
mod row;
mod run;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use futures::Stream;
use klaroen_domain::hours::Zone;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use klaroen_store::{Actor, Store, StoreError};

pub use self::contention::Contention;
pub use self::report::{ImportReport, RowError};
use self::retry::Retry;
use self::run::Run;
use crate::problem::FieldError;

/// An import, without its file.
#[derive(Clone, Debug)]
pub struct CsvImport<'a> {
    /// The database.
    pub store: &'a Store,
    /// The organisation of the registry.
    pub organisation: OrganisationId,
    /// The actor who imports.
    pub actor: Actor,
    /// Whose mobile numbers are taken.
    pub country: Country,
    /// On whose wall clock a date or time without an offset is.
    pub zone: Zone,
    /// Writes nothing and answers the same.
    pub dry_run: bool,
    /// Other writers of the database.
    pub contention: Contention,
    /// The present moment.
    pub now: Timestamp,
}

/// The progress of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that were read.
    pub bytes: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Rows that were left out.
    pub rejected: u64,
}

/// The reason why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The header is not one: nothing was imported.
    #[error("the header is not valid")]
    Header(Vec<FieldError>),
    /// A row that is too long to be one.
    #[error("row {row} is longer than 64 KiB; probably a quote in it is never closed")]
    RowTooLong {
        /// The line on which it begins.
        row: u64,
    },
    /// The file cannot be read any further.
    #[error("the file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An import that ended early. Rows that were written remain, and an import of the same file leaves them unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Broken {
    /// The reason.
    #[source]
    pub error: ImportError,
    /// The result until then.
    pub report: ImportReport,
}

/// Imports a CSV file as it comes; `progress` is called after each chunk.
///
/// # Errors
/// [`Broken`] if the import ended early, with the result until then.
pub async fn import_csv<B: AsRef<[u8]>>(
    import: &CsvImport<'_>,
    source: impl Stream<Item = io::Result<B>> + Send,
    progress: impl FnMut(Progress) + Send,
) -> Result<ImportReport, Box<Broken>> {
    import_by(None, import, source, progress).await
}

/// Imports with windows of this many registrations, if a test says so.
async fn import_by<B: AsRef<[u8]>>(
    window: Option<usize>,
    import: &CsvImport<'_>,
    source: impl Stream<Item = io::Result<B>> + Send,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<ImportReport, Box<Broken>> {
    let mut run = Run::new(import, window);
    let read = run.read(source, &mut progress).await;
    // Whatever stopped the reading, the rows that were read before are written, and they count.
    let done = match read {
        Ok(()) => run.finish(true).await,
        Err(broken @ ImportError::Store(_)) => Err(broken),
        Err(broken) => run.finish(false).await.and(Err(broken)),
    };
    let report = run.into_report();
    if !import.dry_run && report.rows > 0 {
        audit(import, &report).await;
    }
    match done {
        Ok(()) => Ok(report),
        Err(error) => Err(Box::new(Broken { error, report })),
    }
}

/// Writes an import to the audit log, also one that ended early: it may have written rows. If that fails, the result counts
/// all the same.
async fn audit(import: &CsvImport<'_>, report: &ImportReport) {
    let &CsvImport { store, organisation, actor, now, .. } = import;
    let mut retry = Retry::new();
    while let Err(error) = store.audit_import(organisation, actor, report.rows, report.rejected, now).await {
        if let Err(error) = retry.wait(error).await {
            let (rows, rejected) = (report.rows, report.rejected);
            tracing::error!(%error, %organisation, rows, rejected, "could not write an import to the audit log");
            return;
        }
    }
}
