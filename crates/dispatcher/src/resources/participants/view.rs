//! Participants as an administrator sees them: the only place where phone numbers are shown whole.

use klaroen_domain::id::ParticipantId;
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::time::Timestamp;
use klaroen_store::participants::Participant as Stored;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request::point::PointView;
use crate::resources::schemas;

/// A participant.
#[derive(Serialize, ToSchema)]
pub struct Participant {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: ParticipantId,
    /// Resident or business.
    #[schema(schema_with = schemas::participant_kind)]
    pub kind: ParticipantKind,
    /// Name, if given.
    pub name: Option<String>,
    /// The number, whole.
    pub phone: String,
    /// Of automatic texts.
    #[schema(schema_with = schemas::language)]
    pub language: Language,
    /// Where alerts are wanted for.
    pub places: Vec<Place>,
    /// Codes of groups.
    pub groups: Vec<String>,
    /// The caller's own key.
    pub external_id: Option<String>,
    /// No alerts before this moment.
    #[schema(schema_with = schemas::time_or_null)]
    pub paused_until: Option<Timestamp>,
    /// Evidence that alerts are wanted.
    pub consent: Consent,
    /// Whether the number has opted out: it gets nothing then.
    pub opted_out: bool,
    /// When it was made.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Timestamp,
}

/// A place for which alerts are wanted.
#[derive(Serialize, ToSchema)]
pub struct Place {
    /// Home, work, shop, …
    pub label: String,
    /// Where it is.
    pub location: PointView,
    /// When alerts are wanted; `null`: always.
    pub hours: Option<String>,
}

/// Evidence that alerts are wanted.
#[derive(Serialize, ToSchema)]
pub struct Consent {
    /// When.
    #[schema(schema_with = schemas::time)]
    pub given_at: Timestamp,
    /// How.
    pub method: String,
}

impl From<Stored> for Participant {
    fn from(stored: Stored) -> Self {
        let draft = stored.draft;
        let place = |place: klaroen_store::participants::Place| Place {
            label: place.label,
            location: place.location.into(),
            hours: place.hours.map(|hours| hours.to_string()),
        };
        Self {
            id: stored.id,
            kind: draft.kind,
            name: draft.name,
            phone: draft.phone.expose().to_owned(),
            language: draft.language,
            places: draft.places.into_iter().map(place).collect(),
            groups: draft.groups,
            external_id: draft.external_id,
            paused_until: draft.paused_until,
            consent: Consent { given_at: draft.consent.given_at, method: draft.consent.method },
            opted_out: stored.opted_out,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
        }
    }
}
