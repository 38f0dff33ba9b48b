//! Requests to change an alert.

use klaroen_domain::alert::Outcome;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::text::MessageText;
use serde_json::Value;
use utoipa::ToSchema;

use super::area::{AreaFields, AreaRequest};
use super::request::read_text;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::json::Document;
use crate::resources::schemas;
use crate::state::App;

/// A text to the people who were reached.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// The text of the SMS.
    #[schema(min_length = 1, max_length = 4000)]
    pub text: String,
}

/// The end of an alert.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// The text of the SMS to the people who were reached.
    #[schema(min_length = 1, max_length = 4000)]
    pub text: String,
    /// The outcome of the incident.
    #[schema(schema_with = schemas::outcome)]
    pub outcome: String,
}

/// More people to be asked.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// The area in which participants are asked. People who were asked before are not asked again.
    pub area: AreaRequest,
}

/// Reads a [`TextRequest`] about an alert that is an exercise or not.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_update(app: &App, document: &Document, exercise: bool) -> Result<MessageText, Problem> {
    let report = Report::default();
    let text = Node::root(&document.value, &report).object().and_then(|mut members| {
        let text = members.read("text", |n| read_text(&n, app.settings.max_segments, exercise));
        members.finish();
        text
    });
    report.finish(text)
}

/// Reads an [`EndRequest`] about an alert that is an exercise or not.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_end(app: &App, document: &Document, exercise: bool) -> Result<(MessageText, Outcome), Problem> {
    let report = Report::default();
    let read = Node::root(&document.value, &report).object().and_then(|mut members| {
        let text = members.read("text", |n| read_text(&n, app.settings.max_segments, exercise));
        let words: Vec<&str> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
        let outcome = members.read("outcome", |n| n.word(&words));
        members.finish();
        Some((text?, outcome?))
    });
    report.finish(read)
}

/// Reads an [`ExtendRequest`]: the shape, and the area as it was asked for.
///
/// # Errors
/// 422 with everything that is wrong, 503 if the database is not available.
pub async fn read_extend(
    app: &App,
    organisation: OrganisationId,
    document: Document,
) -> Result<(Geofence, Value), Problem> {
    let country = app.settings.country;
    let read_area = move |node: &Node<'_>| {
        let mut members = node.object()?;
        let area = members.read("area", |n| Some(AreaFields::read(&n, country)));
        members.finish();
        area
    };
    let (fields, mut report) = app.shapes.read(document, read_area).await?;
    let area = match fields {
        Some(fields) => fields.resolve(app, organisation, &mut report).await?,
        None => None,
    };
    report.finish(area)
}
