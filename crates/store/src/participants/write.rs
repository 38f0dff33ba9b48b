//! Writing registrations in sets: one statement for each table, whether it is one registration or a thousand.
//!
//! The rows travel as JSON arrays; bytes in them are hexadecimal digits.

use std::borrow::Cow;
use std::collections::HashMap;

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::sealed::{seal_name, seal_phone};
use super::{ParticipantDraft, Place};
use crate::db::{Sql, Tx, on_tx};
use crate::lock::OptOuts;
use crate::record::Record;
use crate::seal::{Keys, Recipient};
use crate::{Result, hex};

// An insert that updates on conflict, because its plan is certain: one look-up by id for each row. `created_at` stays.
const PUT: Sql = Sql::each(
    "INSERT INTO participants (id, organisation_id, kind, name, phone, recipient, language, external_id, paused_until,
                               consent_at, consent_method, fingerprint, country, created_at, updated_at)
     SELECT unhex(json_extract(value, '$[0]')), $2, json_extract(value, '$[1]'),
            unhex(json_extract(value, '$[2]')), unhex(json_extract(value, '$[3]')),
            unhex(json_extract(value, '$[4]')), json_extract(value, '$[5]'), json_extract(value, '$[6]'),
            json_extract(value, '$[7]'), json_extract(value, '$[8]'), json_extract(value, '$[9]'),
            unhex(json_extract(value, '$[10]')), json_extract(value, '$[11]'), $3, $3
     FROM json_each($1) WHERE true
     ON CONFLICT (id) DO UPDATE SET
         kind = excluded.kind, name = excluded.name, phone = excluded.phone, recipient = excluded.recipient,
         language = excluded.language, external_id = excluded.external_id, paused_until = excluded.paused_until,
         consent_at = excluded.consent_at, consent_method = excluded.consent_method,
         fingerprint = excluded.fingerprint, country = excluded.country, updated_at = excluded.updated_at
     WHERE participants.organisation_id = excluded.organisation_id",
    "INSERT INTO participants (id, organisation_id, kind, name, phone, recipient, language, external_id, paused_until,
                               consent_at, consent_method, fingerprint, country, created_at, updated_at)
     SELECT (value ->> 0)::uuid, $2, value ->> 1,
            decode(value ->> 2, 'hex'), decode(value ->> 3, 'hex'),
            decode(value ->> 4, 'hex'), value ->> 5, value ->> 6,
            (value ->> 7)::bigint, (value ->> 8)::bigint, value ->> 9,
            decode(value ->> 10, 'hex'), value ->> 11, $3, $3
     FROM json_array_elements($1::json)
     ON CONFLICT (id) DO UPDATE SET
         kind = excluded.kind, name = excluded.name, phone = excluded.phone, recipient = excluded.recipient,
         language = excluded.language, external_id = excluded.external_id, paused_until = excluded.paused_until,
         consent_at = excluded.consent_at, consent_method = excluded.consent_method,
         fingerprint = excluded.fingerprint, country = excluded.country, updated_at = excluded.updated_at
     WHERE participants.organisation_id = excluded.organisation_id",
);
const CLEAR_PLACES: Sql = Sql::each(
    "DELETE FROM places WHERE participant_id IN (SELECT unhex(value) FROM json_each($1)) AND organisation_id = $2",
    "DELETE FROM places WHERE participant_id IN (SELECT value::uuid FROM json_array_elements_text($1::json)) AND organisation_id = $2",
);
const CLEAR_MEMBERSHIPS: Sql = Sql::each(
    "DELETE FROM memberships
     WHERE participant_id IN (SELECT unhex(value) FROM json_each($1)) AND organisation_id = $2",
    "DELETE FROM memberships
     WHERE participant_id IN (SELECT value::uuid FROM json_array_elements_text($1::json)) AND organisation_id = $2",
);
// Whether the number has opted out is asked here, so that no registration, new or imported, undoes a STOP.
const INSERT_PLACES: Sql = Sql::each(
    "INSERT INTO places (participant_id, position, organisation_id, label, latitude, longitude, cell, hours, record,
                         opted_out)
     SELECT unhex(json_extract(value, '$[0]')), json_extract(value, '$[1]'), $2, json_extract(value, '$[2]'),
            json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
            json_extract(value, '$[6]'), unhex(json_extract(value, '$[7]')),
            EXISTS (SELECT 1 FROM opt_outs WHERE recipient = unhex(json_extract(value, '$[8]')))
     FROM json_each($1)",
    "INSERT INTO places (participant_id, position, organisation_id, label, latitude, longitude, cell, hours, record,
                         opted_out)
     SELECT (value ->> 0)::uuid, (value ->> 1)::bigint, $2, value ->> 2,
            (value ->> 3)::float8, (value ->> 4)::float8, (value ->> 5)::bigint,
            value ->> 6, decode(value ->> 7, 'hex'),
            EXISTS (SELECT 1 FROM opt_outs WHERE recipient = decode(value ->> 8, 'hex'))
     FROM json_array_elements($1::json)",
);
const INSERT_MEMBERSHIPS: Sql = Sql::each(
    "INSERT INTO memberships (group_id, participant_id, organisation_id)
     SELECT unhex(json_extract(value, '$[0]')), unhex(json_extract(value, '$[1]')), $2 FROM json_each($1)",
    "INSERT INTO memberships (group_id, participant_id, organisation_id)
     SELECT (value ->> 0)::uuid, (value ->> 1)::uuid, $2 FROM json_array_elements($1::json)",
);

/// A registration as it is to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    /// Its row, new or not.
    pub(crate) id: ParticipantId,
    /// Whether there is nothing to replace.
    pub(crate) new: bool,
    /// What it says.
    pub(crate) draft: &'a ParticipantDraft,
    /// The caller's own key: an import without one leaves what is there.
    pub(crate) external_id: Option<&'a str>,
    /// No alerts before this moment: an import without one leaves what is there.
    pub(crate) paused_until: Option<Timestamp>,
    /// Who rings.
    pub(crate) recipient: Recipient,
    /// What [`fingerprint`] gave.
    pub(crate) fingerprint: [u8; 16],
    /// Its rows, where they were made before.
    pub(crate) rows: Option<&'a RowTexts>,
}

/// Rows as the statements take them: sealed, and written as JSON.
#[derive(Clone, Debug)]
pub(crate) struct RowTexts {
    participant: String,
    /// One after the other, with commas between.
    places: String,
}

impl RowTexts {
    /// Seals and writes; needs no database.
    pub(crate) fn new(keys: &Keys, write: &Write<'_>) -> Self {
        let mut places = JsonRows::default();
        for (position, place) in write.draft.places.iter().enumerate() {
            places.push(&place_row(write, position, place));
        }
        Self { participant: json(&participant_row(keys, write)), places: places.0 }
    }
}

/// Rows of a JSON array, written as they come: a tree of values first would take as long as all the rest.
#[derive(Default)]
struct JsonRows(String);

impl JsonRows {
    fn push(&mut self, row: &impl Serialize) {
        self.push_text(&json(row));
    }

    /// Rows that are JSON already.
    fn push_text(&mut self, rows: &str) {
        if !self.0.is_empty() && !rows.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(rows);
    }

    fn finish(mut self) -> String {
        self.0.insert(0, '[');
        self.0.push(']');
        self.0
    }
}

/// Bytes in JSON.
struct Hex<'a>(&'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.0))
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| unreachable!("a row has no keys that are not texts"))
}

/// A keyed hash of all that an import can change. A pause is not among it: an import that says nothing of one leaves it.
pub(crate) fn fingerprint(keys: &Keys, draft: &ParticipantDraft, external_id: Option<&str>) -> [u8; 16] {
    // The bits of a coordinate, because two that differ in the last one differ. The order of places counts: it is kept.
    let places: Vec<_> = draft
        .places
        .iter()
        .map(|place| {
            let (latitude, longitude) = (place.location.latitude(), place.location.longitude());
            let hours = place.hours.as_ref().map(ToString::to_string);
            (&place.label, latitude.to_bits(), longitude.to_bits(), hours)
        })
        .collect();
    let content = json(&(
        draft.kind.as_str(),
        &draft.name,
        draft.phone.expose(),
        draft.language.as_str(),
        external_id,
        draft.consent.given_at.as_millis(),
        &draft.consent.method,
        places,
        sorted_groups(draft),
    ));
    keys.fingerprint(content.as_bytes())
}

/// The codes of a draft's groups, sorted, each once.
pub(crate) fn sorted_groups(draft: &ParticipantDraft) -> Vec<&str> {
    let mut codes: Vec<&str> = draft.groups.iter().map(String::as_str).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// Writes registrations with their places and memberships. `groups` holds the id of every code that they name; no two
/// writes are of the same row.
pub(crate) async fn put(
    tx: &mut Tx,
    keys: &Keys,
    organisation: OrganisationId,
    writes: &[Write<'_>],
    groups: &HashMap<String, Uuid>,
    now: Timestamp,
) -> Result<()> {
    if writes.is_empty() {
        return Ok(());
    }
    OptOuts::Read.take(tx).await?;
    let mut replaced = JsonRows::default();
    for write in writes.iter().filter(|w| !w.new) {
        replaced.push(&id(write));
    }
    if !replaced.0.is_empty() {
        let replaced = replaced.finish();
        run(tx, CLEAR_PLACES, organisation, &replaced).await?;
        run(tx, CLEAR_MEMBERSHIPS, organisation, &replaced).await?;
    }
    let (mut participants, mut places, mut memberships) =
        (JsonRows::default(), JsonRows::default(), JsonRows::default());
    for write in writes {
        let rows = write.rows.map_or_else(|| Cow::Owned(RowTexts::new(keys, write)), Cow::Borrowed);
        participants.push_text(&rows.participant);
        places.push_text(&rows.places);
        for group in sorted_groups(write.draft).into_iter().filter_map(|code| groups.get(code)) {
            memberships.push(&(Hex(group.as_bytes()), id(write)));
        }
    }
    on_tx!(&mut *tx, conn, d => sqlx::query(PUT.of(d))
        .bind(participants.finish()).bind(organisation.0).bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    run(tx, INSERT_PLACES, organisation, &places.finish()).await?;
    if memberships.0.is_empty() {
        return Ok(());
    }
    run(tx, INSERT_MEMBERSHIPS, organisation, &memberships.finish()).await
}

async fn run(tx: &mut Tx, statement: Sql, organisation: OrganisationId, rows: &str) -> Result<()> {
    on_tx!(tx, conn, d =>
        sqlx::query(statement.of(d)).bind(rows).bind(organisation.0).execute(conn).await?.rows_affected());
    Ok(())
}

fn id<'a>(write: &'a Write<'_>) -> Hex<'a> {
    Hex(write.id.0.as_bytes())
}

fn participant_row(keys: &Keys, write: &Write<'_>) -> impl Serialize {
    let draft = write.draft;
    let name = draft.name.as_ref().map(|name| hex::encode(&seal_name(keys, write.id, name)));
    let phone = hex::encode(&seal_phone(keys, write.id, &draft.phone));
    (
        id(write),
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

/// As the column has it: empty where it cannot be told.
pub(crate) fn country(phone: &PhoneNumber) -> String {
    phone.country().map_or_else(String::new, |country| country.code().to_owned())
}

fn place_row(write: &Write<'_>, position: usize, place: &Place) -> impl Serialize {
    let location = &place.location;
    let hours = place.hours.as_ref().map(ToString::to_string);
    let record = Record {
        cell: location.cell(),
        latitude: location.latitude(),
        longitude: location.longitude(),
        participant: write.id.0,
        recipient: write.recipient.0,
        kind: write.draft.kind,
        paused_until: write.paused_until.map(Timestamp::as_millis),
        hours: hours.as_deref(),
    };
    let bytes = hex::encode(&record.to_bytes());
    let (latitude, longitude, cell) = (record.latitude, record.longitude, record.cell);
    (id(write), position, &place.label, latitude, longitude, cell, hours, bytes, Hex(&write.recipient.0))
}

#[cfg(test)]
mod tests {
    use klaroen_domain::participant::{Language, ParticipantKind};

    use super::*;
    use crate::fixture::{draft, phone, place};

    #[test]
    fn a_fingerprint_tells_every_change_that_an_import_can_make() {
        type Change = fn(&mut ParticipantDraft);
        let keys = Keys::new(&[1; 32], &[2; 32]);
        let mut base = draft(1);
        base.groups = vec!["a".into(), "b".into()];
        let of = |d: &ParticipantDraft| fingerprint(&keys, d, d.external_id.as_deref());
        let changes: [Change; 12] = [
            |d| d.kind = ParticipantKind::Business,
            |d| d.name = None,
            |d| d.name = Some("Other".into()),
            |d| d.phone = phone(2),
            |d| d.language = Language::En,
            |d| d.places[0].label = "work".into(),
            |d| d.places[0] = place("home", 52.0907, 5.121_400_000_000_001),
            |d| d.places[0].hours = Some("Mo-Fr 08:00-18:00".parse().unwrap()),
            |d| d.places.push(place("work", 52.1, 5.1)),
            |d| d.groups = vec!["a".into()],
            |d| d.external_id = Some("x".into()),
            |d| d.consent.method = "letter".into(),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut other = base.clone();
            change(&mut other);
            assert_ne!(of(&other), of(&base), "change {n}");
        }
        let mut same = base.clone();
        same.groups = vec!["b".into(), "a".into(), "b".into()];
        same.paused_until = Some(Timestamp::from_millis(5));
        assert_eq!(of(&same), of(&base));
    }
}
