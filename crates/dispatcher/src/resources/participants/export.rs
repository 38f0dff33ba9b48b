//! `/v1/participants/export`: the whole registry, page by page.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, stream};
use klaroen_domain::id::OrganisationId;
use klaroen_store::participants::Participant as Stored;
use klaroen_store::{PageRequest, StoreError};

use crate::auth::caller::Caller;
use crate::import::cell::escape;
use crate::import::columns::COLUMNS;
use crate::problem::Problem;
use crate::request::query::LIMIT_MAX;
use crate::resources::participants::http::Participant;
use crate::state::App;

/// How the registry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

impl Format {
    const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    const fn file_name(self) -> &'static str {
        match self {
            Self::Csv => "attachment; filename=\"participants.csv\"",
            Self::Ndjson => "attachment; filename=\"participants.ndjson\"",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Ndjson => "ndjson",
        }
    }
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
    let organisation = caller.organisation();
    app.store.audit_export(organisation, caller.actor(), format.as_str(), app.now()).await?;
    let pages = pages(app, organisation, format);
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

/// Where an export is.
enum Step {
    Header,
    Page(Option<String>),
    End,
}

/// An error cuts the answer off, so that nobody takes a part for the whole.
fn pages(
    app: App,
    organisation: OrganisationId,
    format: Format,
) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold((app, Step::Header), move |(app, step)| async move {
        let cursor = match step {
            Step::End => return Ok(None),
            Step::Header if format == Format::Csv => {
                return Ok(Some((Bytes::from(header_row()), (app, Step::Page(None)))));
            }
            Step::Header => None,
            Step::Page(cursor) => cursor,
        };
        let request = PageRequest { limit: LIMIT_MAX, cursor };
        let page = app.store.list_participants(organisation, None, &request).await?;
        let mut text = Vec::new();
        for participant in page.items {
            match format {
                Format::Csv => csv_rows(&participant, &mut text),
                Format::Ndjson => ndjson_line(participant, &mut text),
            }
        }
        let next = page.next_cursor.map_or(Step::End, |cursor| Step::Page(Some(cursor)));
        Ok(Some((Bytes::from(text), (app, next))))
    })
}

fn header_row() -> Vec<u8> {
    let mut text = Vec::new();
    write_row(&COLUMNS.map(str::to_owned), &mut text);
    text
}

fn write_row(cells: &[String], text: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().from_writer(&mut *text);
    // Writing to memory does not fail.
    if let Err(error) = writer.write_record(cells).and_then(|()| writer.flush().map_err(Into::into)) {
        tracing::error!(%error, "a row cannot be written");
    }
}

fn csv_rows(participant: &Stored, text: &mut Vec<u8>) {
    let draft = &participant.draft;
    let safe = |cell: &str| escape(cell).into_owned();
    for place in &draft.places {
        let row = COLUMNS.map(|column| match column {
            "kind" => draft.kind.as_str().to_owned(),
            "name" => safe(draft.name.as_deref().unwrap_or_default()),
            "phone" => draft.phone.expose().to_owned(),
            "language" => draft.language.as_str().to_owned(),
            "label" => safe(&place.label),
            "latitude" => place.location.latitude().to_string(),
            "longitude" => place.location.longitude().to_string(),
            "groups" => safe(&draft.groups.join(";")),
            "hours" => place.hours.as_ref().map(|hours| safe(&hours.to_string())).unwrap_or_default(),
            "external_id" => safe(draft.external_id.as_deref().unwrap_or_default()),
            "consent_at" => draft.consent.given_at.to_string(),
            "consent_method" => safe(&draft.consent.method),
            _ => String::new(),
        });
        write_row(&row, text);
    }
}

fn ndjson_line(participant: Stored, text: &mut Vec<u8>) {
    match serde_json::to_vec(&Participant::from(participant)) {
        Ok(line) => text.extend(line),
        Err(error) => tracing::error!(%error, "a participant cannot be written"),
    }
    text.push(b'\n');
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
