//! A report as the control room sends it.

use std::time::Duration;

use klaroen_domain::alert::SubjectKind;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use klaroen_store::alerts::AlertDraft;
use klaroen_store::incidents::IncidentDraft;
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::request::fields::Node;
use crate::request::json::Document;
use crate::request::point::{self, PointRequest};
use crate::resources::alerts::request::{AlertFields, AlertRequest};
use crate::resources::schemas;
use crate::state::App;

/// The age of an incident at most: a cold case is accepted, and a typing error in the year is found.
const AGE_MAX: Duration = Duration::from_hours(366 * 24);

/// An incident as the control room reports it.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentRequest {
    /// The control room's own number.
    #[schema(min_length = 1, max_length = 100)]
    pub reference: Option<String>,
    /// The control room's own word for the kind of incident, for example `burglary` or `missing_person`.
    #[schema(min_length = 1, max_length = 100)]
    pub category: String,
    /// A description of what happened.
    #[schema(min_length = 1, max_length = 2000)]
    pub description: String,
    /// The person or thing to look out for.
    pub subject: Option<SubjectRequest>,
    /// The location of the incident.
    pub location: PointRequest,
    /// When the incident occurred: at most a year ago and not in the future. Five minutes of clock difference are
    /// allowed.
    #[schema(schema_with = schemas::time)]
    pub occurred_at: Option<String>,
    /// An alert about the incident, which asks participants at once.
    pub alert: Option<AlertRequest>,
}

/// The person or thing to look out for.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectRequest {
    /// A person, a vehicle or something else.
    #[schema(schema_with = schemas::subject_kind)]
    pub kind: String,
    /// A description of the person or thing.
    #[schema(min_length = 1, max_length = 2000)]
    pub text: String,
}

/// The fields of a request, before the database was asked.
#[derive(Debug)]
pub struct IncidentFields {
    /// The report. `None` if something in it is wrong.
    pub incident: Option<IncidentDraft>,
    /// The alert, if there is one.
    pub alert: Option<AlertFields>,
}

impl IncidentFields {
    /// Reads a report.
    #[must_use]
    pub fn read(node: &Node<'_>, max_segments: u8, country: Country, now: Timestamp) -> Option<Self> {
        let mut members = node.object()?;
        let short = |n: Node<'_>| n.text(100).map(str::to_owned);
        let reference = members.read_optional("reference", short);
        let category = members.read("category", short);
        let description = members.read("description", |n| n.text(2_000).map(str::to_owned));
        let subject = members.read_optional("subject", |n| read_subject(&n));
        let location = members.read("location", |n| point::read(&n, country));
        let occurred_at = members.read_optional("occurred_at", |n| n.past(now, Some(AGE_MAX)));
        let alert = members.optional("alert").and_then(|n| AlertFields::read(&n, max_segments, country));
        members.finish();
        let incident = || {
            Some(IncidentDraft {
                reference: reference?,
                category: category?,
                description: description?,
                subject: subject?,
                location: location?,
                occurred_at: occurred_at?,
            })
        };
        Some(Self { incident: incident(), alert })
    }
}

/// A report that was read whole.
#[derive(Clone, Debug)]
pub struct NewIncident {
    /// The report.
    pub incident: IncidentDraft,
    /// The alert, if there is one.
    pub alert: Option<AlertDraft>,
}

/// Reads a report whole.
///
/// # Errors
/// 422 with everything that is wrong, 503 if the database is not available.
pub async fn read_incident(
    app: &App,
    organisation: OrganisationId,
    document: Document,
) -> Result<NewIncident, Problem> {
    let (max_segments, country, now) = (app.settings.max_segments, app.settings.country, app.now());
    let reader = move |node: &Node<'_>| IncidentFields::read(node, max_segments, country, now);
    let (fields, mut report) = app.shapes.read(document, reader).await?;
    let (incident, alert) = match fields {
        None => (None, None),
        Some(IncidentFields { incident, alert: None }) => (incident, None),
        Some(IncidentFields { incident, alert: Some(alert) }) => {
            (incident, alert.resolve(app, organisation, now, &mut report).await?)
        }
    };
    let incident = report.finish(incident)?;
    Ok(NewIncident { incident, alert })
}

fn read_subject(node: &Node<'_>) -> Option<(SubjectKind, String)> {
    let mut members = node.object()?;
    let words: Vec<&str> = SubjectKind::ALL.iter().map(|w| w.as_str()).collect();
    let kind = members.read("kind", |n| n.word(&words));
    let text = members.read("text", |n| n.text(2_000).map(str::to_owned));
    members.finish();
    Some((kind?, text?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::request::fields::Report;

    fn wrong(value: &Value) -> Vec<String> {
        let now = Timestamp::parse("2026-11-23T12:00:00Z").unwrap();
        let report = Report::default();
        let _ = IncidentFields::read(&Node::root(value, &report), 3, Country::NL, now);
        report.into_errors().into_iter().map(|e| e.pointer).collect()
    }

    #[test]
    fn mistakes_of_incident_and_alert_are_named_together() {
        let value = json!({
            "description": "x".repeat(2_001), "location": {"latitude": 5.1, "longitude": 52.1}, "colour": "red",
            "subject": {"kind": "dog"}, "occurred_at": "2026-11-23T12:06:00Z", "reference": "",
            "alert": {"area": {"circle": {"center": {"latitude": 52.1, "longitude": 5.1}, "radius_m": 1}}, "text": "x"},
        });
        assert_eq!(
            wrong(&value),
            [
                "/alert/area/circle/radius_m",
                "/category",
                "/colour",
                "/description",
                "/location",
                "/occurred_at",
                "/reference",
                "/subject/kind",
                "/subject/text",
            ]
        );
    }

    #[test]
    fn when_it_happened_is_in_the_past_year() {
        let at = |time: &str| {
            let location = json!({"latitude": 52.1, "longitude": 5.1});
            wrong(&json!({"category": "x", "description": "y", "location": location, "occurred_at": time}))
        };
        assert!(at("2026-11-23T12:04:59Z").is_empty());
        assert!(at("2025-11-24T12:00:00Z").is_empty());
        for bad in ["2025-11-01T12:00:00Z", "2026-11-23T12:00:00", "yesterday"] {
            assert_eq!(at(bad), ["/occurred_at"], "{bad}");
        }
    }
}
