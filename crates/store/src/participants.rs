//! Residents and businesses, their places and groups.

use klaroen_domain::hours::WeeklyHours;
use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;

use crate::{Actor, Page, PageRequest, Result, Store};

/// A place for which a participant wants alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Home, work, shop, …
    pub label: String,
    /// Where it is.
    pub location: Point,
    /// When alerts are wanted; always where there are none.
    pub hours: Option<WeeklyHours>,
}

/// How and when somebody agreed to get alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// When.
    pub given_at: Timestamp,
    /// How: form, letter, web, …
    pub method: String,
}

/// What a registration says: for making one, and for replacing one.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantDraft {
    /// Resident or business.
    pub kind: ParticipantKind,
    /// Name, if given.
    pub name: Option<String>,
    /// Where the SMS goes.
    pub phone: PhoneNumber,
    /// Of automatic texts.
    pub language: Language,
    /// 1 to 5.
    pub places: Vec<Place>,
    /// Codes of groups.
    pub groups: Vec<String>,
    /// The caller's own key.
    pub external_id: Option<String>,
    /// No alerts before this moment.
    pub paused_until: Option<Timestamp>,
    /// Evidence.
    pub consent: Consent,
}

/// A registration.
#[derive(Clone, Debug, PartialEq)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// What it says.
    pub draft: ParticipantDraft,
    /// Whether the number has opted out.
    pub opted_out: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// Why a registration was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another participant of the organisation has this `external_id`.
    ExternalIdTaken,
    /// No such groups.
    UnknownGroups(Vec<String>),
    /// The participant does not exist in this organisation.
    NotFound,
}

impl Store {
    /// Enrols a participant.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_participant(
        &self,
        _organisation: OrganisationId,
        _draft: &ParticipantDraft,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<Result<Participant, Refused>> {
        unimplemented!()
    }

    /// One participant.
    ///
    /// # Errors
    /// What the database says.
    pub async fn participant(
        &self,
        _organisation: OrganisationId,
        _id: ParticipantId,
    ) -> Result<Option<Participant>> {
        unimplemented!()
    }

    /// All participants, oldest first; or those with this number.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_participants(
        &self,
        _organisation: OrganisationId,
        _phone: Option<&PhoneNumber>,
        _page: &PageRequest,
    ) -> Result<Page<Participant>> {
        unimplemented!()
    }

    /// Replaces what a registration says.
    ///
    /// # Errors
    /// What the database says.
    pub async fn replace_participant(
        &self,
        _organisation: OrganisationId,
        _id: ParticipantId,
        _draft: &ParticipantDraft,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<Result<Participant, Refused>> {
        unimplemented!()
    }

    /// Erases a participant: what is queued for it is suppressed; an opt-out of its number stays.
    ///
    /// # Errors
    /// What the database says.
    pub async fn erase_participant(
        &self,
        _organisation: OrganisationId,
        _id: ParticipantId,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }
}
