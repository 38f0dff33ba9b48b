//! Deliveries as an operator sees them.

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::{AlertId, DeliveryId, MessageId, OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::db::{Sql, on_db};
use crate::doubts::Resolution;
use crate::page::number_cursor;
use crate::{Page, PageRequest, Result, Store, StoreError};

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryView {
    /// Its id.
    pub id: DeliveryId,
    /// The message.
    pub message: MessageId,
    /// To whom.
    pub participant: ParticipantId,
    /// The number (shown masked); none where the participant was erased.
    pub phone: Option<PhoneNumber>,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often a worker took it in hand; not each time left the house.
    pub attempts: u32,
    /// It was sent again after its answer was lost: the phone may have rung twice.
    pub in_doubt: bool,
    /// Why it stands there, where there is more to say: a provider's code, `lease_lost`, `policy_hold`.
    pub reason: Option<String>,
    /// How the doubt about it came to be known, where its answer was lost; the last one, if that happened again.
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
/// last; the plus sign keeps SQLite from sorting the whole alert for each page.
const BOUNDS: Sql = Sql::new(
    "SELECT MIN(d.id), MAX(d.id) FROM messages m JOIN deliveries d ON d.message_id = m.id WHERE m.alert_id = $1",
);
const LIST: Sql = Sql::each(
    "SELECT d.id, d.message_id, d.participant_id, d.state, d.attempt, d.in_doubt, d.reason, d.channel, d.sent_at, d.changed_at,
         (SELECT p.phone FROM participants p WHERE p.id = d.participant_id) AS phone,
         (SELECT CASE WHEN x.settled_by = 'policy_resend' AND x.lease_token = d.lease_token AND d.state = 'unknown'
              THEN 'policy_hold' ELSE x.settled_by END
          FROM doubts x WHERE x.delivery_id = d.id ORDER BY x.lost_at DESC LIMIT 1) AS settled_by
     FROM deliveries d
     WHERE d.id > $1 AND d.id <= $2 AND +d.message_id IN (SELECT id FROM messages WHERE alert_id = $3)
         AND d.organisation_id = $4 AND (+d.state = $5 OR $5 IS NULL)
     ORDER BY d.id LIMIT $6",
    "SELECT d.id, d.message_id, d.participant_id, d.state, d.attempt, d.in_doubt, d.reason, d.channel, d.sent_at, d.changed_at,
         (SELECT p.phone FROM participants p WHERE p.id = d.participant_id) AS phone,
         (SELECT CASE WHEN x.settled_by = 'policy_resend' AND x.lease_token = d.lease_token AND d.state = 'unknown'
              THEN 'policy_hold' ELSE x.settled_by END
          FROM doubts x WHERE x.delivery_id = d.id ORDER BY x.lost_at DESC LIMIT 1) AS settled_by
     FROM deliveries d
     WHERE d.id > $1 AND d.id <= $2 AND d.message_id IN (SELECT id FROM messages WHERE alert_id = $3)
         AND d.organisation_id = $4 AND (d.state = $5 OR $5 IS NULL)
     ORDER BY d.id LIMIT $6",
);

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    id: i64,
    message_id: Uuid,
    participant_id: Uuid,
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

impl Store {
    /// Whether the organisation has this alert.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn has_alert(&self, organisation: OrganisationId, alert: AlertId) -> Result<bool> {
        Ok(on_db!(read self.db, pool, d => sqlx::query_scalar(ALERT_EXISTS.of(d))
            .bind(organisation.0).bind(alert.0).fetch_one(pool).await?))
    }

    /// The deliveries of an alert, oldest first; `None` where the organisation has no such alert.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_deliveries(
        &self,
        organisation: OrganisationId,
        alert: AlertId,
        state: Option<DeliveryState>,
        page: &PageRequest,
    ) -> Result<Option<Page<DeliveryView>>> {
        let after = page.after_number()?;
        if !self.has_alert(organisation, alert).await? {
            return Ok(None);
        }
        let (first, last): (Option<i64>, Option<i64>) = on_db!(read self.db, pool, d =>
            sqlx::query_as(BOUNDS.of(d)).bind(alert.0).fetch_one(pool).await?);
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(Some(Page { items: Vec::new(), next_cursor: None }));
        };
        let after = after.unwrap_or(first - 1).max(first - 1);
        let rows: Vec<DeliveryRow> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(after).bind(last).bind(alert.0).bind(organisation.0)
            .bind(state.map(DeliveryState::as_str)).bind(page.fetch())
            .fetch_all(pool).await?);
        let rows = Page::from_rows(rows, page, |row| number_cursor(row.id));
        let items = rows.items.into_iter().map(|row| self.delivery_view(row)).collect::<Result<Vec<_>>>()?;
        Ok(Some(Page { items, next_cursor: rows.next_cursor }))
    }

    fn delivery_view(&self, row: DeliveryRow) -> Result<DeliveryView> {
        let phone = row.phone.map(|p| self.keys.open_phone(&p, row.participant_id.as_bytes())).transpose()?;
        Ok(DeliveryView {
            id: DeliveryId(row.id),
            message: MessageId(row.message_id),
            participant: ParticipantId(row.participant_id),
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
