//! `/v1/participants/imports`: a CSV file, streamed; see [`crate::import`].

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use futures::{Stream, StreamExt};
use tracing::Instrument;
use utoipa::IntoParams;

use crate::auth::caller::Caller;
use crate::import::{Broken, Contention, CsvImport, ImportError, ImportReport, import_csv};
use crate::problem::{FieldError, Problem};
use crate::request::query::Parameters;
use crate::state::App;

/// A client that sends nothing for so long has gone.
const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);

/// How to import.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportParameters {
    /// Writes nothing and answers the same.
    #[param(default = false)]
    pub dry_run: Option<bool>,
}

/// Import participants from CSV
///
/// Columns: `kind`, `name`, `phone`, `language`, `label`, `latitude`, `longitude`, `rd_x`, `rd_y`, `postcode`,
/// `house_number`, `groups`, `hours`, `external_id`, `consent_at`, `consent_method`. The header is required, in any order;
/// `kind`, `phone`, `consent_at`, `consent_method` and one pair of coordinates must be in it. Comma, semicolon or tab; UTF-8,
/// UTF-16 with a mark, or Windows-1252. `external_id`, else `phone`, is the key: who is there is updated. Several rows with
/// one key are several places, wherever they stand; a file says all places of whom it names. `groups` are split by `;`.
/// Good rows land, bad ones are named. Where the import breaks off, the rows that were read before have landed; the problem
/// counts them, and sending the file again leaves them alone.
#[utoipa::path(post, path = "/v1/participants/imports", tag = "registry", operation_id = "import_participants",
    params(ImportParameters),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "What came of it", body = ImportReport)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    parameters: Parameters,
    body: Body,
) -> Result<Json<ImportReport>, Problem> {
    let report = parameters.report();
    let dry_run = parameters.flag("dry_run", &report);
    let dry_run = report.finish(Some(dry_run))?;
    require_csv(&headers)?;
    // To its end even where the client hangs up: what landed is in the audit log.
    let tasks = app.tasks.clone();
    let work = async move {
        let import = CsvImport {
            store: &app.store,
            organisation: caller.organisation(),
            actor: caller.actor(),
            country: app.settings.country,
            dry_run,
            // Who writes in this process stands in one line for it.
            contention: Contention::SameQueue,
            now: app.now(),
        };
        import_csv(&import, chunks(body), |_| ()).await
    };
    let done = tasks.spawn(work.in_current_span()).await.map_err(|_| Problem::internal())?;
    done.map(Json).map_err(|broken| Problem::from(*broken))
}

fn require_csv(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let essence = media_type.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("text/csv") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: text/csv"))
}

fn chunks(body: Body) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures::stream::unfold(Some(body.into_data_stream()), |stream| async move {
        let mut stream = stream?;
        match tokio::time::timeout(CHUNK_TIMEOUT, stream.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(chunk))) => Some((Ok(chunk), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
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
            ImportError::Read(_) => Self::new(StatusCode::BAD_REQUEST, "the file broke off"),
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
            "{}; until then: {rows} rows, {created} created, {updated} updated, {unchanged} unchanged, {rejected} rejected; \
             send the file again: what is there already is left alone",
            problem.detail
        );
        problem.errors.extend(errors.into_iter().map(|error| FieldError {
            pointer: format!("/{}", error.column),
            detail: format!("row {}: {}", error.row, error.reason),
        }));
        problem
    }
}
