//! Deliveries as an operator sees them.

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, DeliveryId, MessageId, OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::deliveries::doubts::Resolution;
use crate::engine::db::{Sql, on_db};
use crate::engine::from_row::from_row;
use crate::engine::page::{decode_number, number_cursor};
use crate::engine::sql::sql;
use crate::{Page, PageRequest, Result, Store, StoreError};

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The message.
    pub message: MessageId,
    /// To whom; none if it goes to a number that was told as such.
    pub participant: Option<ParticipantId>,
    /// The number (shown masked); none if it was erased.
    pub phone: Option<PhoneNumber>,
    /// The state of the delivery.
    pub state: DeliveryState,
    /// How often a worker took it in hand; not each time left the house.
    pub attempts: u32,
    /// It was sent again after its answer was lost: the phone may have rung twice.
    pub in_doubt: bool,
    /// The reason for the state, if there is more to say: a provider's code, `lease_lost`, `policy_hold`.
    pub reason: Option<String>,
    /// How the doubt about it came to be known, if its answer was lost; the last one, if that happened again.
    pub settled_by: Option<Resolution>,
    /// Which gateway connection it was last given to.
    pub channel: Option<String>,
    /// When it was handed over.
    pub sent_at: Option<Timestamp>,
    /// When it last changed.
    pub changed_at: Timestamp,
}

const ALERT_EXISTS: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM alerts WHERE organisation_id = $1 AND id = $2)");
/// The ids of an alert's deliveries lie close together, so a page is a walk along the primary key between the first and the
/// last. PostgreSQL reads the whole alert to find the two, so the cursor keeps them: see [`Place`].
const BOUNDS: Sql = Sql::new(
    "SELECT MIN(d.id), MAX(d.id) FROM messages m JOIN deliveries d ON d.message_id = m.id WHERE m.alert_id = $1",
);
/// The plus sign keeps SQLite from sorting the whole alert for each page.
const LIST: Sql = sql!(
    "SELECT d.id, d.message_id, d.participant_id, d.state, d.attempt, d.in_doubt, d.reason, d.channel, d.sent_at, d.changed_at,
         d.recipient, COALESCE(d.phone, (SELECT p.phone FROM participants p WHERE p.id = d.participant_id)) AS phone,
         (SELECT CASE WHEN x.settled_by = 'policy_resend' AND x.lease_token = d.lease_token AND d.state = 'unknown'
              THEN 'policy_hold' ELSE x.settled_by END
          FROM doubts x WHERE x.delivery_id = d.id ORDER BY x.lost_at DESC LIMIT 1) AS settled_by
     FROM deliveries d
     WHERE d.id > $1 AND d.id <= $2 AND {sqlite(+)}d.message_id IN (SELECT id FROM messages WHERE alert_id = $3)
         AND d.organisation_id = $4 AND ({sqlite(+)}d.state = $5 OR $5 IS NULL)
     ORDER BY d.id LIMIT $6"
);

from_row! {
    struct DeliveryRow {
        id: i64,
        message_id: Uuid,
        participant_id: Option<Uuid>,
        recipient: Vec<u8>,
        state: String,
        attempt: i64,
        in_doubt: bool,
        reason: Option<String>,
        channel: Option<String>,
        sent_at: Option<i64>,
        changed_at: i64,
        phone: Option<Vec<u8>>,
        settled_by: Option<String>,
    }
}

/// The place at which a page begins, as its cursor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The last delivery on the page before.
    after: i64,
    /// The alert's last delivery, as far as the pages before knew.
    last: i64,
}

impl Place {
    fn parse(cursor: &str) -> Result<Self> {
        let (after, last) = cursor.split_once('-').ok_or(StoreError::BadCursor)?;
        Ok(Self { after: decode_number(after)?, last: decode_number(last)? })
    }

    fn cursor(self) -> String {
        format!("{}-{}", number_cursor(self.after), number_cursor(self.last))
    }
}

/// The query, the same for page after page.
struct Query<'a> {
    organisation: OrganisationId,
    alert: AlertId,
    state: Option<DeliveryState>,
    page: &'a PageRequest,
}

impl Store {
    /// Whether the organisation has this alert.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub(crate) async fn has_alert(&self, organisation: OrganisationId, alert: AlertId) -> Result<bool> {
        Ok(on_db!(read self.db, pool, d => sqlx::query_scalar(ALERT_EXISTS.of(d))
            .bind(organisation.0).bind(alert.0).fetch_one(pool).await?))
    }

    /// The deliveries of an alert, oldest first; `None` if the organisation has no such alert.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, [`StoreError::Corrupt`] if a stored row cannot be read, or
    /// [`StoreError::Unsealable`] if a sealed value does not open.
    pub async fn list_deliveries(
        &self,
        organisation: OrganisationId,
        alert: AlertId,
        state: Option<DeliveryState>,
        page: &PageRequest,
    ) -> Result<Option<Page<DeliveryView>>> {
        let place = page.cursor.as_deref().map(Place::parse).transpose()?;
        if !self.has_alert(organisation, alert).await? {
            return Ok(None);
        }
        let query = Query { organisation, alert, state, page };
        let (rows, last) = match place {
            Some(place) => self.rows_behind(&query, place).await?,
            None => match self.bounds(alert).await? {
                Some((first, last)) => {
                    (self.rows(&query, Place { after: first - 1, last }, page.fetch()).await?, last)
                }
                None => (Vec::new(), 0),
            },
        };
        let rows = Page::from_rows(rows, page, |row| Place { after: row.id, last }.cursor());
        let items = rows.items.into_iter().map(|row| self.delivery_view(row)).collect::<Result<Vec<_>>>()?;
        Ok(Some(Page { items, next_cursor: rows.next_cursor }))
    }

    /// The first and the last delivery of an alert, if it has any.
    async fn bounds(&self, alert: AlertId) -> Result<Option<(i64, i64)>> {
        let (first, last): (Option<i64>, Option<i64>) = on_db!(read self.db, pool, d =>
            sqlx::query_as(BOUNDS.of(d)).bind(alert.0).fetch_one(pool).await?);
        Ok(first.zip(last))
    }

    /// The rows of a page that is not the first, and the last delivery of the alert as it is known now. If the walk comes to
    /// the end that it knew, it looks whether more was written meanwhile.
    async fn rows_behind(&self, query: &Query<'_>, place: Place) -> Result<(Vec<DeliveryRow>, i64)> {
        let mut rows = self.rows(query, place, query.page.fetch()).await?;
        let mut last = place.last;
        let room = query.page.fetch() - i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if room > 0
            && let Some((_, now)) = self.bounds(query.alert).await?.filter(|(_, now)| *now > last)
        {
            let more = Place { after: place.after.max(last), last: now };
            rows.extend(self.rows(query, more, room).await?);
            last = now;
        }
        Ok((rows, last))
    }

    /// At most `room` rows behind a place.
    async fn rows(&self, query: &Query<'_>, place: Place, room: i64) -> Result<Vec<DeliveryRow>> {
        Ok(on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(place.after).bind(place.last).bind(query.alert.0).bind(query.organisation.0)
            .bind(query.state.map(DeliveryState::as_str)).bind(room)
            .fetch_all(pool).await?))
    }

    fn delivery_view(&self, row: DeliveryRow) -> Result<DeliveryView> {
        let sealed_for = row.participant_id.as_ref().map_or(row.recipient.as_slice(), |id| id.as_bytes());
        let phone = row.phone.map(|p| self.keys.open_phone(&p, sealed_for)).transpose()?;
        Ok(DeliveryView {
            id: DeliveryId(row.id),
            message: MessageId(row.message_id),
            participant: row.participant_id.map(ParticipantId),
            phone,
            state: row
                .state
                .parse()
                .map_err(|_| StoreError::Corrupt { table: "deliveries", column: "state" })?,
            attempts: u32::try_from(row.attempt).unwrap_or(u32::MAX),
            in_doubt: row.in_doubt,
            reason: row.reason,
            settled_by: row.settled_by.as_deref().map(Resolution::parse).transpose()?,
            channel: row.channel,
            sent_at: row.sent_at.map(Timestamp::from_millis),
            changed_at: Timestamp::from_millis(row.changed_at),
        })
    }
}

#[cfg(test)]
mod tests {
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::{Fixture, NOW, after, first};

    const INCIDENT: Sql = Sql::new(
        "INSERT INTO incidents (id, organisation_id, category, description, latitude, longitude, created_at, created_by)
         VALUES ($1, $2, 'c', 'd', 52, 5, 0, $1)",
    );
    const ALERT: Sql = Sql::new(
        "INSERT INTO alerts (id, organisation_id, incident_id, state, priority, area, audience, exercise, expires_at, created_at,
                             created_by, text, geofence)
         VALUES ($1, $2, $1, 'active', 'urgent', '{}', '{}', FALSE, 9000000000000, 0, $1, 't', '{}')",
    );
    const MESSAGE: Sql = Sql::new(
        "INSERT INTO messages (id, organisation_id, alert_id, kind, priority, lane, text, encoding, segments, recipients,
                               expires_at, created_at)
         VALUES ($1, $2, $3, 'start', 'urgent', 2, 't', 'gsm7', 1, 1, 9000000000000, 0)",
    );
    const DELIVERY: Sql = Sql::new(
        "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
         VALUES ($1, $2, $2, $3, 2, 'queued', 0, 0) RETURNING id",
    );

    async fn deliver(f: &Fixture, message: Uuid, numbers: std::ops::Range<u8>) -> Vec<DeliveryId> {
        let mut ids = Vec::new();
        for n in numbers {
            let id: i64 = on_db!(write f.store.db, pool, d => sqlx::query_scalar(DELIVERY.of(d))
                .bind(f.organisation.0).bind(message).bind([n; 16].as_slice()).fetch_one(pool).await.unwrap());
            ids.push(DeliveryId(id));
        }
        ids
    }

    #[rstest]
    #[tokio::test]
    async fn what_is_written_while_somebody_turns_the_pages_is_on_the_last_one(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        f.store.begin_references(NOW).await.unwrap();
        let (alert, message, other) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        for insert in [INCIDENT, ALERT] {
            on_db!(write f.store.db, pool, d => sqlx::query(insert.of(d))
                .bind(alert).bind(f.organisation.0).execute(pool).await.unwrap().rows_affected());
        }
        for (id, alert) in [(message, Some(alert)), (other, None)] {
            on_db!(write f.store.db, pool, d => sqlx::query(MESSAGE.of(d))
                .bind(id).bind(f.organisation.0).bind(alert).execute(pool).await.unwrap().rows_affected());
        }
        let mut expected = deliver(&f, message, 0..5).await;
        let (mut found, mut page, mut pages) = (Vec::new(), first(2), 0);
        loop {
            let list =
                f.store.list_deliveries(f.organisation, AlertId(alert), None, &page).await.unwrap().unwrap();
            found.extend(list.items.iter().map(|delivery| delivery.id));
            pages += 1;
            if pages == 2 {
                deliver(&f, other, 0..3).await;
                expected.extend(deliver(&f, message, 5..8).await);
            }
            let Some(cursor) = list.next_cursor else { break };
            page = after(2, Some(cursor));
        }
        assert_eq!((found, pages), (expected, 4));
    }

    #[test]
    fn a_cursor_comes_back_as_it_went_and_no_other_is_taken() {
        let place = Place { after: 4711, last: 0x7_0000_0000_0000 };
        assert_eq!(Place::parse(&place.cursor()).unwrap(), place);
        for bad in ["", "-", "5", "5-", "-5", "5-05", "5-6-7"] {
            assert!(matches!(Place::parse(bad), Err(StoreError::BadCursor)), "{bad}");
        }
    }
}
