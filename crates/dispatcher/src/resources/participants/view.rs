//! Participants as an administrator sees them: no other response shows a whole phone number.

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
    /// The id of the participant.
    #[schema(schema_with = schemas::id)]
    pub id: ParticipantId,
    /// Resident or business.
    #[schema(schema_with = schemas::participant_kind)]
    pub kind: ParticipantKind,
    /// The name. `null` if it was not given.
    pub name: Option<String>,
    /// The phone number, not masked.
    pub phone: String,
    /// The language of automatic texts.
    #[schema(schema_with = schemas::language)]
    pub language: Language,
    /// The places for which the participant gets alerts.
    pub places: Vec<Place>,
    /// The codes of the groups.
    pub groups: Vec<String>,
    /// The id of the participant in your own system. `null` if there is none.
    pub external_id: Option<String>,
    /// The participant gets no alerts before this time. `null` if alerts are not paused.
    #[schema(schema_with = schemas::time_or_null)]
    pub paused_until: Option<Timestamp>,
    /// The evidence of consent.
    pub consent: Consent,
    /// Whether the number opted out. If so, it gets no SMS.
    pub opted_out: bool,
    /// When the participant was created.
    #[schema(schema_with = schemas::time)]
    pub created_at: Timestamp,
    /// When the participant was changed last.
    #[schema(schema_with = schemas::time)]
    pub updated_at: Timestamp,
}

/// A place for which a participant gets alerts.
#[derive(Serialize, ToSchema)]
pub struct Place {
    /// Home, work, shop, …
    pub label: String,
    /// The location of the place.
    pub location: PointView,
    /// The hours in which the participant gets alerts. `null` if always.
    pub hours: Option<String>,
}

/// The evidence of consent.
#[derive(Serialize, ToSchema)]
pub struct Consent {
    /// When the participant consented.
    #[schema(schema_with = schemas::time)]
    pub given_at: Timestamp,
    /// The way in which the participant consented.
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
