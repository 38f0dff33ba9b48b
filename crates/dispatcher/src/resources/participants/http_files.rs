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

/// A client that sends nothing for this long has gone.
const CHUNK_TIMEOUT: Duration = Duration::from_mins(1);

/// Import participants from a CSV file
///
/// The columns are `kind`, `name`, `phone`, `language`, `label`, `latitude`, `longitude`, `rd_x`, `rd_y`, `postcode`,
/// `house_number`, `groups`, `hours`, `external_id`, `consent_at`, `consent_method`. The header is required and may
/// have any order and case. It must have `kind`, `phone`, `consent_at`, `consent_method` and one pair of coordinates. Dutch
/// headings are read too, such as `Soort`, `Telefoonnummer` and `Datum toestemming`; so are `Bewoner` and `Bedrijf`. Cells
/// are separated by comma, semicolon, tab or `|`, or by what a first line `sep=;` says. The file is UTF-8, UTF-16, or
/// Windows-1252. Several codes in `groups` are separated by `;`.
///
/// `consent_at` is a time in RFC 3339, or a date with or without a time (`2026-01-15 10:00`, `15-01-2026 10:00`,
/// `15 januari 2026`) on the wall clock of `[sending] time_zone`. The year has four digits. If the clock shows the time
/// twice, because summer time ends, the later one counts. If it never shows it, the row is rejected.
///
/// A phone number that a spreadsheet changed is rejected (`3,16E+10`, `61234567.8`), except that decimals of zero after a
/// whole number do not count (`31612345678.0`). If a mistake is in how a whole column was written, it is one error:
/// `further` counts the other rows that have it. A file that is no CSV, or has no header, is refused with one error.
///
/// A row is identified by `external_id`, or by `phone` if it has none. A participant who exists already is updated.
/// Several rows of one participant are several places, and need not be adjacent. After the import a participant in the
/// file has only the places in the file.
///
/// Valid rows are written, invalid rows are reported. If the import ends early, the rows read before are written, and
/// the problem has their numbers. The same file can then be sent again without harm.
#[utoipa::path(post, path = "/v1/participants/imports", tag = "registry", operation_id = "import_participants",
    params(ImportParameters),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "The result of the import", body = ImportReport)))]
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

/// Export the participants
///
/// The `Accept` header selects `text/csv` (the columns of the import, one row for each place) or `application/x-ndjson`
/// (one participant a line). The CSV begins with a byte order mark, so that a spreadsheet reads it as UTF-8. An apostrophe
/// stands before each text that a spreadsheet would run as a formula, at the beginning of a cell and after each `;`, `,`,
/// `|`, tab or line end in it. The import removes it. Phone numbers have no apostrophe, so `+31…` remains a number for every reader. The audit log has
/// an entry for each export.
#[utoipa::path(get, path = "/v1/participants/export", tag = "registry", operation_id = "export_participants",
    responses((status = 200, description = "All participants", content(
                  (String = "text/csv"), (String = "application/x-ndjson"))),
              (status = 406, description = "The `Accept` header allows neither format", body = Problem, content_type = "application/problem+json")))]
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

/// The format that the client asks for; CSV if it accepts both.
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
