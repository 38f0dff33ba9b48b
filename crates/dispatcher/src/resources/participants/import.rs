//! Participants from a CSV file, through [`crate::import`].

use std::io;

use axum::http::StatusCode;
use futures::Stream;
use tracing::Instrument;
use utoipa::IntoParams;

use crate::auth::caller::Caller;
use crate::import::{Broken, Contention, CsvImport, ImportError, ImportReport, import_csv};
use crate::problem::{FieldError, Problem};
use crate::state::App;

/// The parameters of an import.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportParameters {
    /// If true, nothing is written and the response is the same.
    #[param(default = false)]
    pub dry_run: Option<bool>,
}

/// Imports a CSV file as it comes. It goes on to the end even if the caller is gone: the audit log has what landed.
///
/// # Errors
/// 400 or 408 if the file breaks off, 422 if its header is not valid or a row is too long, 503 if the database is not available.
pub async fn import<B: AsRef<[u8]> + Send + 'static>(
    app: &App,
    caller: Caller,
    dry_run: bool,
    source: impl Stream<Item = io::Result<B>> + Send + 'static,
) -> Result<ImportReport, Problem> {
    let own = app.clone();
    let work = async move {
        let import = CsvImport {
            store: &own.store,
            organisation: caller.organisation(),
            actor: caller.actor(),
            country: own.settings.country,
            zone: own.settings.rules.zone.clone(),
            dry_run,
            // All writers of this process wait in one queue.
            contention: Contention::SameQueue,
            now: own.now(),
        };
        import_csv(&import, source, |_| ()).await
    };
    let done = app.tasks.spawn(work.in_current_span()).await.map_err(|_| Problem::internal())?;
    done.map_err(|broken| Problem::from(*broken))
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Header(errors) => Self {
                detail: "the header of the file is not valid; nothing was imported".to_owned(),
                ..Self::invalid(errors)
            },
            ImportError::RowTooLong { .. } => {
                Self { detail: error.to_string(), ..Self::invalid_field("", error.to_string()) }
            }
            ImportError::Read(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::new(StatusCode::REQUEST_TIMEOUT, "the file did not arrive in time")
            }
            ImportError::Read(_) => Self::new(StatusCode::BAD_REQUEST, "the file ended early"),
            ImportError::Store(error) => error.into(),
        }
    }
}

impl From<Broken> for Problem {
    fn from(Broken { error, report }: Broken) -> Self {
        let mut problem = Self::from(error);
        if report.rows == 0 {
            return problem;
        }
        let ImportReport { rows, created, updated, unchanged, rejected, errors } = report;
        problem.detail = format!(
            "{}; before that: {rows} rows, {created} created, {updated} updated, {unchanged} unchanged, {rejected} rejected; \
             send the file again: participants that were imported stay as they are",
            problem.detail
        );
        problem.errors.extend(errors.into_iter().map(|error| FieldError {
            pointer: format!("/{}", error.column),
            detail: match error.further {
                0 => format!("row {}: {}", error.row, error.reason),
                further => format!("row {} and {further} further rows: {}", error.row, error.reason),
            },
        }));
        problem
    }
}
