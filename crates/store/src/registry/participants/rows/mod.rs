//! The rows of registrations, made ready for an engine, and written many to a statement.
//!
//! SQLite takes them as values. Reading them out of JSON took its one writer as long as inserting them, and a worker that
//! wants to send waits for that writer. PostgreSQL, to which each value travels, takes one JSON text for each table.

mod texts;
mod values;

use std::borrow::Cow;

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use self::texts::Texts;
use self::values::Values;
use super::Place;
use super::write::Write;
use crate::Result;
use crate::engine::db::{Dialect, Tx};
use crate::engine::seal::Keys;
use crate::matching::match_record::Record;

/// The text that the statements of both engines have in common. It is a macro, because a constant cannot be put together from
/// others.
macro_rules! common {
    (participants) => {
        "INSERT INTO participants (id, organisation_id, kind, name, phone, recipient, language, external_id, paused_until,
                               consent_at, consent_method, fingerprint, country, created_at, updated_at) "
    };
    // An insert that updates on conflict, because its plan is certain: one look-up by id for each row. `created_at` stays.
    (participants_there) => {
        " ON CONFLICT (id) DO UPDATE SET
         kind = excluded.kind, name = excluded.name, phone = excluded.phone, recipient = excluded.recipient,
         language = excluded.language, external_id = excluded.external_id, paused_until = excluded.paused_until,
         consent_at = excluded.consent_at, consent_method = excluded.consent_method,
         fingerprint = excluded.fingerprint, country = excluded.country, updated_at = excluded.updated_at
     WHERE participants.organisation_id = excluded.organisation_id"
    };
    (places) => {
        "INSERT INTO places (participant_id, position, organisation_id, label, latitude, longitude, cell, hours, record,
                         opted_out) "
    };
    (memberships) => {
        "INSERT INTO memberships (group_id, participant_id, organisation_id) "
    };
}
use common;

/// The part of the rows of a registration that can be made before its transaction. Most of that work is sealing.
#[derive(Clone, Debug)]
pub(crate) enum Rows {
    /// For SQLite.
    Values(Values),
    /// For PostgreSQL.
    Texts(Texts),
}

impl Rows {
    /// Needs no database.
    pub(crate) fn new(dialect: Dialect, keys: &Keys, write: &Write<'_>) -> Self {
        match dialect {
            Dialect::Sqlite => Self::Values(Values::new(keys, write)),
            Dialect::Postgres => Self::Texts(Texts::new(keys, write)),
        }
    }
}

/// Inserts registrations with their places and memberships (group and participant), and updates the rows of those that are there.
/// Whether a number has opted out is asked here, so that no registration, new or imported, undoes a STOP.
pub(super) async fn insert(
    tx: &mut Tx,
    keys: &Keys,
    organisation: OrganisationId,
    writes: &[Write<'_>],
    memberships: &[(Uuid, Uuid)],
    now: Timestamp,
) -> Result<()> {
    match tx {
        Tx::Sqlite(transaction) => {
            let rows: Vec<_> = writes.iter().map(|write| (write, values(keys, write))).collect();
            values::insert(transaction, organisation, &rows, memberships, now).await
        }
        Tx::Postgres(transaction, heartbeat) => {
            let rows: Vec<_> = writes.iter().map(|write| texts(keys, write)).collect();
            texts::insert(transaction, heartbeat, organisation, &rows, memberships, now).await
        }
    }
}

fn values<'a>(keys: &Keys, write: &Write<'a>) -> Cow<'a, Values> {
    match write.rows {
        Some(Rows::Values(values)) => Cow::Borrowed(values),
        _ => Cow::Owned(Values::new(keys, write)),
    }
}

fn texts<'a>(keys: &Keys, write: &Write<'a>) -> Cow<'a, Texts> {
    match write.rows {
        Some(Rows::Texts(texts)) => Cow::Borrowed(texts),
        _ => Cow::Owned(Texts::new(keys, write)),
    }
}

/// The hours of a place as their column has them, and its record.
fn hours_and_record(write: &Write<'_>, place: &Place) -> (Option<String>, Vec<u8>) {
    let hours = place.hours.as_ref().map(ToString::to_string);
    let record = Record {
        cell: place.location.cell(),
        latitude: place.location.latitude(),
        longitude: place.location.longitude(),
        participant: write.id.0,
        recipient: write.recipient.0,
        kind: write.draft.kind,
        paused_until: write.paused_until.map(Timestamp::as_millis),
        hours: hours.as_deref(),
    };
    let record = record.to_bytes();
    (hours, record)
}
