//! Rows as one JSON text for each table; bytes in it are hexadecimal digits.

use std::borrow::Borrow;

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use serde::Serialize;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use super::{common, hours_and_record};
use crate::Result;
use crate::engine::heartbeat::Heartbeat;
use crate::engine::hex::{self, Hex};
use crate::engine::seal::Keys;
use crate::registry::participants::Place;
use crate::registry::participants::sealed::{seal_name, seal_phone};
use crate::registry::participants::write::{Write, country, to_json};

const PARTICIPANTS: &str = concat!(
    common!(participants),
    "SELECT (value ->> 0)::uuid, $2, value ->> 1,
            decode(value ->> 2, 'hex'), decode(value ->> 3, 'hex'),
            decode(value ->> 4, 'hex'), value ->> 5, value ->> 6,
            (value ->> 7)::bigint, (value ->> 8)::bigint, value ->> 9,
            decode(value ->> 10, 'hex'), value ->> 11, $3, $3
     FROM json_array_elements($1::json)",
    common!(participants_there)
);
const PLACES: &str = concat!(
    common!(places),
    "SELECT (value ->> 0)::uuid, (value ->> 1)::bigint, $2, value ->> 2,
            (value ->> 3)::float8, (value ->> 4)::float8, (value ->> 5)::bigint,
            value ->> 6, decode(value ->> 7, 'hex'),
            EXISTS (SELECT 1 FROM opt_outs WHERE recipient = decode(value ->> 8, 'hex'))
     FROM json_array_elements($1::json)"
);
const MEMBERSHIPS: &str = concat!(
    common!(memberships),
    "SELECT (value ->> 0)::uuid, (value ->> 1)::uuid, $2 FROM json_array_elements($1::json)"
);

/// The rows of a registration.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    participant: String,
    /// One after the other, with commas between.
    places: String,
}

impl Texts {
    pub(super) fn new(keys: &Keys, write: &Write<'_>) -> Self {
        let mut places = Array::default();
        for (position, place) in write.draft.places.iter().enumerate() {
            places.push(&to_json(&place_row(write, position, place)));
        }
        Self { participant: to_json(&participant_row(keys, write)), places: places.0 }
    }
}

/// A JSON array, written as it comes.
#[derive(Default)]
struct Array(String);

impl Array {
    /// Adds what is JSON already: one value, or several with commas between.
    fn push(&mut self, values: &str) {
        if !self.0.is_empty() && !values.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(values);
    }

    fn finish(mut self) -> String {
        self.0.insert(0, '[');
        self.0.push(']');
        self.0
    }
}

fn participant_row(keys: &Keys, write: &Write<'_>) -> impl Serialize {
    let draft = write.draft;
    let name = draft.name.as_ref().map(|name| hex::encode(&seal_name(keys, write.id, name)));
    let phone = hex::encode(&seal_phone(keys, write.id, &draft.phone));
    (
        Hex(write.id.0.as_bytes()),
        draft.kind.as_str(),
        name,
        phone,
        Hex(&write.recipient.0),
        draft.language.as_str(),
        write.external_id,
        write.paused_until.map(Timestamp::as_millis),
        draft.consent.given_at.as_millis(),
        &draft.consent.method,
        Hex(&write.fingerprint),
        country(&draft.phone),
    )
}

fn place_row(write: &Write<'_>, position: usize, place: &Place) -> impl Serialize {
    let (hours, record) = hours_and_record(write, place);
    let location = &place.location;
    (
        Hex(write.id.0.as_bytes()),
        position,
        &place.label,
        location.latitude(),
        location.longitude(),
        location.cell(),
        hours,
        hex::encode(&record),
        Hex(&write.recipient.0),
    )
}

/// Inserts and updates them: one statement for each table.
pub(super) async fn insert(
    tx: &mut Transaction<'static, Postgres>,
    heartbeat: &Heartbeat,
    organisation: OrganisationId,
    rows: &[impl Borrow<Texts>],
    memberships: &[(Uuid, Uuid)],
    now: Timestamp,
) -> Result<()> {
    let (mut participants, mut places) = (Array::default(), Array::default());
    for row in rows {
        participants.push(&row.borrow().participant);
        places.push(&row.borrow().places);
    }
    sqlx::query(PARTICIPANTS)
        .bind(participants.finish())
        .bind(organisation.0)
        .bind(now.as_millis())
        .execute(heartbeat.guarded(&mut **tx))
        .await?;
    let places = sqlx::query(PLACES).bind(places.finish()).bind(organisation.0);
    places.execute(heartbeat.guarded(&mut **tx)).await?;
    if !memberships.is_empty() {
        let rows: Vec<_> =
            memberships.iter().map(|(group, id)| (Hex(group.as_bytes()), Hex(id.as_bytes()))).collect();
        let rows = sqlx::query(MEMBERSHIPS).bind(to_json(&rows)).bind(organisation.0);
        rows.execute(heartbeat.guarded(&mut **tx)).await?;
    }
    Ok(())
}
