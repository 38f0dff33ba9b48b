//! `/v1/participants/export`: the whole registry, page by page.

use futures::{Stream, stream};
use klaroen_domain::id::OrganisationId;
use klaroen_store::participants::Participant as Stored;
use klaroen_store::reads::Read;
use klaroen_store::{PageRequest, StoreError};

use crate::auth::caller::Caller;
use crate::import::cell::{self, escape};
use crate::import::columns::COLUMNS;
use crate::problem::Problem;
use crate::request::query::LIMIT_MAX;
use crate::resources::participants::view::Participant;
use crate::state::App;

/// The format of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One row for each place, in the columns of the import.
    Csv,
    /// One participant a line.
    Ndjson,
}

impl Format {
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    pub(crate) const fn file_name(self) -> &'static str {
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

/// Notes the export in the audit log, and returns the registry as it is read.
///
/// # Errors
/// 503 if the database is not available.
pub async fn export(
    app: &App,
    caller: &Caller,
    format: Format,
) -> Result<impl Stream<Item = Result<Vec<u8>, StoreError>> + use<>, Problem> {
    let organisation = caller.organisation();
    let read = Read::Export { format: format.as_str() };
    app.store.audit_read(organisation, caller.actor(), &read, app.now()).await?;
    Ok(pages(app.clone(), organisation, format))
}

/// The position of an export.
enum Step {
    Header,
    Page(Option<String>),
    End,
}

/// An error cuts the response off, so that no client takes a part for the whole.
fn pages(
    app: App,
    organisation: OrganisationId,
    format: Format,
) -> impl Stream<Item = Result<Vec<u8>, StoreError>> {
    stream::try_unfold((app, Step::Header), move |(app, step)| async move {
        let cursor = match step {
            Step::End => return Ok(None),
            Step::Header if format == Format::Csv => {
                return Ok(Some((cell::begin(&COLUMNS), (app, Step::Page(None)))));
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
        Ok(Some((text, (app, next))))
    })
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
        cell::write_row(row.iter().map(String::as_str), text);
    }
}

fn ndjson_line(participant: Stored, text: &mut Vec<u8>) {
    match serde_json::to_vec(&Participant::from(participant)) {
        Ok(line) => text.extend(line),
        Err(error) => tracing::error!(%error, "could not write a participant of the export"),
    }
    text.push(b'\n');
}
