//! Residents and businesses, their places and groups.

pub(crate) mod read;
pub(crate) mod rows;
mod sealed;
pub(crate) mod write;

use std::collections::HashMap;

use klaroen_domain::delivery::{DeliveryEvent, DeliveryState};
use klaroen_domain::hours::WeeklyHours;
use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;

use serde_json::json;
use uuid::Uuid;

use crate::deliveries::lifecycle::{self, StandingRow};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::lock::Lock;
use crate::engine::seal::Recipient;
use crate::engine::sql::sql;
use crate::registry::groups;
use crate::tenancy::audit;
use crate::{Actor, Result, Store};
use write::Write;

const EXTERNAL_ID_TAKEN: Sql =
    Sql::new("SELECT 1 FROM participants WHERE organisation_id = $1 AND external_id = $2 AND id <> $3");
const OPTED_OUT: Sql = Sql::new("SELECT 1 FROM opt_outs WHERE recipient = $1");
const RECIPIENT: Sql = Sql::new("SELECT recipient FROM participants WHERE organisation_id = $1 AND id = $2");
// Places and memberships go with it: their foreign keys cascade.
const ERASE: Sql = Sql::new("DELETE FROM participants WHERE organisation_id = $1 AND id = $2");
const SAME_NUMBER: Sql = Sql::new(
    "SELECT id FROM participants WHERE organisation_id = $1 AND recipient = $2 AND id <> $3 ORDER BY id LIMIT 1",
);
/// The deliveries that have not left, and those that have a number of their own. In the order of the ids, as all code locks
/// deliveries.
const OF_RECIPIENT: Sql = sql!(
    "SELECT id, state, in_doubt FROM deliveries
     WHERE organisation_id = $1 AND recipient = $2 AND (state = 'queued' OR phone IS NOT NULL) ORDER BY id {lock}"
);
const FORGET_NUMBER: Sql = Sql::new(
    "UPDATE deliveries SET phone = NULL WHERE organisation_id = $1 AND recipient = $2 AND phone IS NOT NULL",
);
const FORGET_OPT_OUT: Sql =
    Sql::new("UPDATE opt_outs SET phone = NULL, note = NULL WHERE organisation_id = $1 AND recipient = $2");
const FORGET_LIFTED_OPT_OUT: Sql = Sql::new(
    "UPDATE lifted_opt_outs SET phone = NULL, note = NULL, reason = NULL WHERE organisation_id = $1 AND recipient = $2",
);
const HAND_OVER: Sql = Sql::new(
    "UPDATE deliveries SET participant_id = $3
     WHERE organisation_id = $1 AND recipient = $2 AND participant_id = $4 AND state = 'queued'",
);

/// A place for which a participant wants alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Home, work, shop, …
    pub label: String,
    /// The location of the place.
    pub location: Point,
    /// When alerts are wanted; always if there are none.
    pub hours: Option<WeeklyHours>,
}

/// How and when the participant agreed to get alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    /// When.
    pub given_at: Timestamp,
    /// How: form, letter, web, …
    pub method: String,
}

/// The content of a registration, for making one and for replacing one.
#[derive(Clone, Debug, PartialEq)]
pub struct ParticipantDraft {
    /// Resident or business.
    pub kind: ParticipantKind,
    /// Name, if given.
    pub name: Option<String>,
    /// The number to which the SMS goes.
    pub phone: PhoneNumber,
    /// Of automatic texts.
    pub language: Language,
    /// 1 to 5; while an import runs, those of before as well.
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
    /// The content of the registration.
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
}

impl Store {
    /// Enrols a participant.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement. The inner [`Refused`]
    /// says why the registration was not written.
    pub async fn create_participant(
        &self,
        organisation: OrganisationId,
        draft: &ParticipantDraft,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Result<Participant, Refused>> {
        let id = ParticipantId::generate();
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let opted_out = match self.write_one(&mut tx, organisation, id, true, draft, now).await? {
            Ok(opted_out) => opted_out,
            Err(refused) => return Ok(Err(refused)),
        };
        let (subject, detail) = (id.to_string(), audit_detail(draft));
        audit::append(&mut tx, organisation, actor, "participant.created", &subject, detail, now).await?;
        tx.commit().await?;
        let draft = as_kept(draft);
        Ok(Ok(Participant { id, draft, opted_out, created_at: now, updated_at: now }))
    }

    /// Takes a registration in hand to change what it says, so that nothing that another writes meanwhile, such as an import, is
    /// undone. It holds the registry of the organisation until it is replaced or dropped.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement,
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read, or [`crate::StoreError::Unsealable`] if a sealed
    /// value does not open.
    pub async fn take_participant(
        &self,
        organisation: OrganisationId,
        id: ParticipantId,
    ) -> Result<Option<TakenParticipant<'_>>> {
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let participant = read::get(&mut tx, &self.keys, organisation, id).await?;
        Ok(participant.map(|participant| TakenParticipant { store: self, tx, organisation, participant }))
    }

    /// Erases a participant: what is queued for it is suppressed, or, if the number has another registration in the
    /// organisation, becomes that one's; an opt-out of its number stays.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn erase_participant(
        &self,
        organisation: OrganisationId,
        id: ParticipantId,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        Lock::Registry(organisation).take(&mut tx).await?;
        let recipient: Option<Vec<u8>> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(RECIPIENT.of(d))
            .bind(organisation.0).bind(id.0).fetch_optional(conn).await?);
        let Some(recipient) = recipient else {
            return Ok(false);
        };
        let other: Option<Uuid> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(SAME_NUMBER.of(d))
            .bind(organisation.0).bind(&recipient).bind(id.0).fetch_optional(conn).await?);
        // Before the places go: who lifts an opt-out has its row and then writes the places.
        if other.is_none() {
            for forget in [FORGET_OPT_OUT, FORGET_LIFTED_OPT_OUT] {
                on_tx!(&mut tx, conn, d => sqlx::query(forget.of(d))
                    .bind(organisation.0).bind(&recipient).execute(conn).await?.rows_affected());
            }
        }
        on_tx!(&mut tx, conn, d => sqlx::query(ERASE.of(d))
            .bind(organisation.0).bind(id.0).execute(conn).await?.rows_affected());
        let suppressed = if let Some(other) = other {
            on_tx!(&mut tx, conn, d => sqlx::query(HAND_OVER.of(d))
                .bind(organisation.0).bind(&recipient).bind(other).bind(id.0).execute(conn).await?.rows_affected());
            0
        } else {
            let mut rows: Vec<StandingRow> = on_tx!(&mut tx, conn, d => sqlx::query_as(OF_RECIPIENT.of(d))
                .bind(organisation.0).bind(&recipient).fetch_all(conn).await?);
            on_tx!(&mut tx, conn, d => sqlx::query(FORGET_NUMBER.of(d))
                .bind(organisation.0).bind(&recipient).execute(conn).await?.rows_affected());
            rows.retain(|(_, state, _)| state == DeliveryState::Queued.as_str());
            lifecycle::apply_to_all(&mut tx, &rows, DeliveryEvent::Erased, "erased", now).await?
        };
        let detail = json!({ "suppressed": suppressed });
        audit::append(&mut tx, organisation, actor, "participant.erased", &id.to_string(), detail, now)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Checks and writes one registration; returns whether its number has opted out.
    async fn write_one(
        &self,
        tx: &mut Tx,
        organisation: OrganisationId,
        id: ParticipantId,
        new: bool,
        draft: &ParticipantDraft,
        now: Timestamp,
    ) -> Result<Result<bool, Refused>> {
        let known = groups::ids_by_code(tx, organisation, draft.groups.iter()).await?;
        if let Some(refused) = refusal(tx, organisation, id, draft, &known).await? {
            return Ok(Err(refused));
        }
        let external_id = draft.external_id.as_deref();
        let write = Write {
            id,
            new,
            draft,
            external_id,
            paused_until: draft.paused_until,
            recipient: self.keys.recipient(&draft.phone),
            fingerprint: write::fingerprint(&self.keys, draft, external_id),
            rows: None,
        };
        write::put(tx, &self.keys, organisation, &[write], &known, now).await?;
        Ok(Ok(has_opted_out(tx, write.recipient).await?))
    }
}

/// A registration that no other transaction changes.
pub struct TakenParticipant<'a> {
    store: &'a Store,
    tx: Tx,
    organisation: OrganisationId,
    participant: Participant,
}

impl TakenParticipant<'_> {
    /// The registration as it is now.
    #[must_use]
    pub const fn draft(&self) -> &ParticipantDraft {
        &self.participant.draft
    }

    /// Replaces what it says.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement. The inner [`Refused`]
    /// says why the registration was not written.
    pub async fn replace(
        mut self,
        draft: &ParticipantDraft,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Result<Participant, Refused>> {
        let (tx, organisation) = (&mut self.tx, self.organisation);
        let Participant { id, created_at, .. } = self.participant;
        let opted_out = match self.store.write_one(tx, organisation, id, false, draft, now).await? {
            Ok(opted_out) => opted_out,
            Err(refused) => return Ok(Err(refused)),
        };
        let (subject, detail) = (id.to_string(), audit_detail(draft));
        audit::append(tx, organisation, actor, "participant.updated", &subject, detail, now).await?;
        self.tx.commit().await?;
        Ok(Ok(Participant { id, draft: as_kept(draft), opted_out, created_at, updated_at: now }))
    }
}

/// Why the draft may not be written as `id`, if it may not.
async fn refusal(
    tx: &mut Tx,
    organisation: OrganisationId,
    id: ParticipantId,
    draft: &ParticipantDraft,
    known: &HashMap<String, Uuid>,
) -> Result<Option<Refused>> {
    let unknown = groups::missing(&draft.groups, known);
    if !unknown.is_empty() {
        return Ok(Some(Refused::UnknownGroups(unknown)));
    }
    let Some(external_id) = &draft.external_id else {
        return Ok(None);
    };
    let taken = on_tx!(tx, conn, d => sqlx::query(EXTERNAL_ID_TAKEN.of(d))
        .bind(organisation.0).bind(external_id).bind(id.0).fetch_optional(conn).await?.is_some());
    Ok(taken.then_some(Refused::ExternalIdTaken))
}

async fn has_opted_out(tx: &mut Tx, recipient: Recipient) -> Result<bool> {
    Ok(on_tx!(tx, conn, d => sqlx::query(OPTED_OUT.of(d))
        .bind(recipient.0.as_slice()).fetch_optional(conn).await?.is_some()))
}

/// The draft as a reader finds it.
fn as_kept(draft: &ParticipantDraft) -> ParticipantDraft {
    let groups = write::sorted_groups(draft).into_iter().map(str::to_owned).collect();
    ParticipantDraft { groups, ..draft.clone() }
}

/// The audit log's detail of a registration: nothing that tells who it is.
fn audit_detail(draft: &ParticipantDraft) -> serde_json::Value {
    json!({ "kind": draft.kind.as_str(), "places": draft.places.len(), "groups": draft.groups.len() })
}

#[cfg(test)]
mod tests;
