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
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: IncidentId,
    /// The control room's own number.
    pub reference: Option<String>,
    /// The control room's own word for it.
    pub category: String,
    /// What happened.
    pub description: String,
    /// Whom or what to look out for.
    pub subject: Option<Subject>,
    /// Where.
    pub location: PointView,
    /// When.
    #[schema(schema_with = schemas::time_or_null)]
    pub occurred_at: Option<Timestamp>,
    /// When it was reported.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// The key that reported it.
    #[schema(schema_with = schemas::id)]
    pub created_by: KeyId,
    /// Its alerts, oldest first.
    pub alerts: Vec<Alert>,
}

/// Whom or what to look out for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subject {
    /// A person, a vehicle or something else.
    #[schema(schema_with = schemas::subject_kind)]
    pub kind: SubjectKind,
    /// What it looks like.
    pub text: String,
}
