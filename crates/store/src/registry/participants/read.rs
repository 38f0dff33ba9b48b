//! Reading registrations. A page is one statement, so that it never shows half of a change.

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::sealed::{open_name, open_phone};
use super::{Consent, Participant, ParticipantDraft, Place};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::hex;
use crate::engine::page::uuid_cursor;
use crate::engine::seal::Keys;
use crate::engine::sql::sql;
use crate::{Page, PageRequest, Result, Store, StoreError};

/// The registrations that `$chosen` chooses, a row for each place. The groups are a JSON array of codes.
macro_rules! select {
    ($chosen:literal) => {
        sql!(concat!(
            "SELECT p.id, p.kind, p.name, p.phone, p.language, p.external_id, p.paused_until, p.consent_at,
                    p.consent_method, p.created_at, p.updated_at,
                    EXISTS (SELECT 1 FROM opt_outs AS o WHERE o.recipient = p.recipient) AS opted_out,
                    (SELECT {list(g.code)} FROM memberships AS m JOIN groups AS g ON g.id = m.group_id
                     WHERE m.participant_id = p.id) AS groups,
                    l.label, l.latitude, l.longitude, l.hours
             FROM (SELECT * FROM participants WHERE ",
            $chosen,
            ") AS p LEFT JOIN places AS l ON l.participant_id = p.id ORDER BY p.id, l.position"
        ))
    };
}

const GET: Sql = select!("organisation_id = $1 AND id = $2");
const LIST: Sql = select!("organisation_id = $1 AND id > $2 ORDER BY id LIMIT $3");
const BY_IDS: Sql = select!("organisation_id = $1 AND id IN {uuids($2)}");
const BY_PHONE: Sql = select!("organisation_id = $1 AND id > $2 AND recipient = $4 ORDER BY id LIMIT $3");

/// One participant, as it is in a transaction.
pub(super) async fn get(
    tx: &mut Tx,
    keys: &Keys,
    organisation: OrganisationId,
    id: ParticipantId,
) -> Result<Option<Participant>> {
    let rows: Vec<Row> = on_tx!(tx, conn, d =>
        sqlx::query_as(GET.of(d)).bind(organisation.0).bind(id.0).fetch_all(conn).await?);
    Ok(fold(keys, rows)?.pop())
}

impl Store {
    /// One participant.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn participant(
        &self,
        organisation: OrganisationId,
        id: ParticipantId,
    ) -> Result<Option<Participant>> {
        let rows: Vec<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(organisation.0).bind(id.0).fetch_all(pool).await?);
        Ok(fold(&self.keys, rows)?.pop())
    }

    /// All participants, oldest first; or those with this number.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, [`StoreError::Corrupt`] if a stored row cannot be read, or
    /// [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn list_participants(
        &self,
        organisation: OrganisationId,
        phone: Option<&PhoneNumber>,
        page: &PageRequest,
    ) -> Result<Page<Participant>> {
        let after = page.after_uuid()?.unwrap_or(Uuid::nil());
        let rows: Vec<Row> = match phone.map(|phone| self.keys.recipient(phone)) {
            None => on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
                .bind(organisation.0).bind(after).bind(page.fetch()).fetch_all(pool).await?),
            Some(recipient) => on_db!(read self.db, pool, d => sqlx::query_as(BY_PHONE.of(d))
                .bind(organisation.0).bind(after).bind(page.fetch()).bind(recipient.0.as_slice())
                .fetch_all(pool).await?),
        };
        let participants = fold(&self.keys, rows)?;
        Ok(Page::from_rows(participants, page, |participant| uuid_cursor(participant.id.0)))
    }
}

/// Those of `ids` that are there, as the transaction sees them.
pub(crate) async fn by_ids(
    tx: &mut Tx,
    keys: &Keys,
    organisation: OrganisationId,
    ids: &[ParticipantId],
) -> Result<Vec<Participant>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = ids.iter().map(|id| hex::encode(id.0.as_bytes())).collect();
    let rows: Vec<Row> = on_tx!(tx, conn, d => sqlx::query_as(BY_IDS.of(d))
        .bind(organisation.0).bind(json!(ids).to_string()).fetch_all(conn).await?);
    fold(keys, rows)
}

from_row! {
    struct Row {
        id: Uuid,
        kind: String,
        name: Option<Vec<u8>>,
        phone: Vec<u8>,
        language: String,
        external_id: Option<String>,
        paused_until: Option<i64>,
        consent_at: i64,
        consent_method: String,
        created_at: i64,
        updated_at: i64,
        opted_out: bool,
        groups: String,
        label: Option<String>,
        latitude: Option<f64>,
        longitude: Option<f64>,
        hours: Option<String>,
    }
}

/// Rows of the same registration stand together: each adds a place.
fn fold(keys: &Keys, rows: Vec<Row>) -> Result<Vec<Participant>> {
    let mut participants: Vec<Participant> = Vec::new();
    for row in rows {
        let place = row.place()?;
        if participants.last().is_none_or(|last| last.id.0 != row.id) {
            participants.push(row.into_participant(keys)?);
        }
        if let Some(participant) = participants.last_mut() {
            participant.draft.places.extend(place);
        }
    }
    Ok(participants)
}

impl Row {
    fn place(&self) -> Result<Option<Place>> {
        let (Some(label), Some(latitude), Some(longitude)) = (&self.label, self.latitude, self.longitude)
        else {
            return Ok(None);
        };
        let corrupt = |column| StoreError::Corrupt { table: "places", column };
        Ok(Some(Place {
            label: label.clone(),
            location: Point::wgs84(latitude, longitude).map_err(|_| corrupt("latitude"))?,
            hours: self.hours.as_deref().map(str::parse).transpose().map_err(|_| corrupt("hours"))?,
        }))
    }

    /// Without places.
    fn into_participant(self, keys: &Keys) -> Result<Participant> {
        let corrupt = |column| StoreError::Corrupt { table: "participants", column };
        let id = ParticipantId(self.id);
        let mut groups: Vec<String> = serde_json::from_str(&self.groups).map_err(|_| corrupt("groups"))?;
        groups.sort_unstable();
        Ok(Participant {
            id,
            draft: ParticipantDraft {
                kind: self.kind.parse().map_err(|_| corrupt("kind"))?,
                name: self.name.map(|name| open_name(keys, id, &name)).transpose()?,
                phone: open_phone(keys, id, &self.phone)?,
                language: self.language.parse().map_err(|_| corrupt("language"))?,
                places: Vec::new(),
                groups,
                external_id: self.external_id,
                paused_until: self.paused_until.map(Timestamp::from_millis),
                consent: Consent {
                    given_at: Timestamp::from_millis(self.consent_at),
                    method: self.consent_method,
                },
            },
            opted_out: self.opted_out,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}
