//! The calls that take or return the whole registry as a file.

use std::io;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};

use super::export::{self, Format};
use super::import::{self, ImportParameters};
use crate::auth::caller::Caller;
use crate::import::ImportReport;
use crate::problem::Problem;
use crate::request::query::Parameters;
use crate::state::App;

/// A client that sends nothing for so long has gone.
const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);

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
pub(crate) async fn import(
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
    import::import(&app, caller, dry_run, chunks(body)).await.map(Json)
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

/// Export the registry
///
/// By `Accept` as `text/csv` (the columns of the import, one row for each place) or `application/x-ndjson` (one participant a
/// line). A cell of the CSV that a spreadsheet would run as a formula has an apostrophe in front; the import takes it off.
/// Phone numbers have none, so that `+31…` stays a number for every reader. Who exported is in the audit log.
#[utoipa::path(get, path = "/v1/participants/export", tag = "registry", operation_id = "export_participants",
    responses((status = 200, description = "The registry", content(
                  (String = "text/csv"), (String = "application/x-ndjson"))),
              (status = 406, description = "Neither format is accepted", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let format = negotiate(&headers).ok_or_else(|| {
        Problem::new(StatusCode::NOT_ACCEPTABLE, "send Accept: text/csv or application/x-ndjson")
    })?;
    let pages = export::export(&app, &caller, format).await?;
    let headers =
        [(header::CONTENT_TYPE, format.media_type()), (header::CONTENT_DISPOSITION, format.file_name())];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// The format that the client asks for; CSV where it does not mind.
fn negotiate(headers: &HeaderMap) -> Option<Format> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    accept.split(',').find_map(|range| {
        let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
        let essence = parts.next()?;
        let refused = parts.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        match essence.as_str() {
            _ if refused => None,
            "text/csv" | "text/*" | "*/*" => Some(Format::Csv),
            "application/x-ndjson" | "application/*" => Some(Format::Ndjson),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("text/csv", Some(Format::Csv))]
    #[case("application/x-ndjson", Some(Format::Ndjson))]
    #[case("application/x-ndjson, text/csv;q=0.5", Some(Format::Ndjson))]
    #[case("text/csv;q=0, application/x-ndjson", Some(Format::Ndjson))]
    #[case("*/*", Some(Format::Csv))]
    #[case("application/pdf", None)]
    fn the_client_chooses(#[case] accept: &'static str, #[case] format: Option<Format>) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        assert_eq!(negotiate(&headers), format);
        assert_eq!(negotiate(&HeaderMap::new()), Some(Format::Csv));
    }
}
