//! Incidents as an operator sees them.

use klaroen_domain::alert::SubjectKind;
use klaroen_domain::id::{IncidentId, KeyId};
use klaroen_domain::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::point::PointView;
use crate::resources::alerts::view::Alert;
use crate::resources::schemas;

/// An incident.
#[derive(Debug, Serialize, ToSchema)]
pub struct Incident {
    /// The id of the incident.
    #[schema(schema_with = schemas::id)]
    pub id: IncidentId,
    /// The control room's own number. `null` if it gave none.
    pub reference: Option<String>,
    /// The control room's own word for the kind of incident.
    pub category: String,
    /// A description of what happened.
    pub description: String,
    /// The person or thing to look out for. `null` if there is none.
    pub subject: Option<Subject>,
    /// The location of the incident.
    pub location: PointView,
    /// When the incident occurred. `null` if that was not reported.
    #[schema(schema_with = schemas::time_or_null)]
    pub occurred_at: Option<Timestamp>,
    /// When the incident was reported.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// The key that reported the incident.
    #[schema(schema_with = schemas::id)]
    pub created_by: KeyId,
    /// The alerts about the incident, oldest first.
    pub alerts: Vec<Alert>,
}

/// The person or thing to look out for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subject {
    /// A person, a vehicle or something else.
    #[schema(schema_with = schemas::subject_kind)]
    pub kind: SubjectKind,
    /// A description of the person or thing.
    pub text: String,
}
