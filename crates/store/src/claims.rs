//! Claiming: the journal entry before the first byte.

use std::collections::{HashMap, VecDeque};

use klaroen_domain::id::{DeliveryId, MessageId, OrganisationId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::channels::ChannelName;
use crate::db::{Sql, Tx, on_db, on_tx};
use crate::{Result, Store};

/// A delivery under lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The delivery.
    pub id: DeliveryId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The message; see [`Store::outbound_message`].
    pub message: MessageId,
    /// The fence of every later write about this attempt.
    pub lease_token: i64,
    /// Steps taken on the retry ladder before this attempt.
    pub retries: u32,
    /// Where to; `None` where the stored number does not open, which is a fault to be reported.
    pub phone: Option<PhoneNumber>,
}

/// What to claim.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// For which connection.
    pub channel: &'a ChannelName,
    /// How many deliveries at most.
    pub limit: u32,
    /// When the lease ends.
    pub lease_until: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// What a claim gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Leased, in the order in which they are to leave.
    pub claimed: Vec<Claimed>,
    /// How many the claim took out of the queue because their owner had opted out or was erased.
    pub suppressed: u64,
    /// When the next delivery that waits for its time is due, if nothing was due now.
    pub next_due: Option<Timestamp>,
}

/// Messages with something due, first lane first. A start that was put back after its alert was
/// closed is not due, nor is an update once the alert was ended or withdrawn.
const DUE: Sql = Sql::new(
    "SELECT m.id, m.lane FROM messages m LEFT JOIN alerts a ON a.id = m.alert_id
     WHERE NOT m.settled AND m.expires_at > $1 AND (m.kind NOT IN ('start', 'update') OR a.state = 'active' OR (m.kind = 'update' AND a.state = 'expired'))
       AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued' AND d.due_at <= $1)
     ORDER BY m.lane, m.id",
);
const NEXT_DUE: Sql = Sql::new(
    "SELECT MIN((SELECT MIN(d.due_at) FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued'))
     FROM messages m LEFT JOIN alerts a ON a.id = m.alert_id
     WHERE NOT m.settled AND m.expires_at > $1 AND (m.kind NOT IN ('start', 'update') OR a.state = 'active' OR (m.kind = 'update' AND a.state = 'expired'))",
);
/// `$6` is the message. A participant who was erased, or whose number was changed since the match, is left out: the number
/// that was matched, and checked for an opt-out, is the number that rings. Automatic answers (lane 0) pass the opt-out: they are what confirms it.
pub(crate) const CLAIM: Sql = Sql::each(
    "UPDATE deliveries SET
         state = CASE
             WHEN (lane = 0 OR NOT EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = deliveries.recipient))
                 AND EXISTS (SELECT 1 FROM participants p
                             WHERE p.id = deliveries.participant_id AND p.recipient = deliveries.recipient)
                 THEN 'sending'
             WHEN in_doubt THEN 'unknown'
             ELSE 'suppressed' END,
         attempt = attempt + 1, lease_token = $1, lease_until = $2, channel = $3, changed_at = $4,
         reason = CASE WHEN in_doubt THEN reason END
     WHERE state = 'queued' AND id IN (
         SELECT id FROM deliveries
         WHERE message_id = $6 AND state = 'queued' AND due_at <= $4
         ORDER BY due_at, id LIMIT $5)
     RETURNING id, state",
    "WITH due AS (
         SELECT id FROM deliveries
         WHERE message_id = $6 AND state = 'queued' AND due_at <= $4
         ORDER BY due_at, id LIMIT $5 FOR UPDATE SKIP LOCKED)
     UPDATE deliveries SET
         state = CASE
             WHEN (lane = 0 OR NOT EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = deliveries.recipient))
                 AND EXISTS (SELECT 1 FROM participants p
                             WHERE p.id = deliveries.participant_id AND p.recipient = deliveries.recipient)
                 THEN 'sending'
             WHEN in_doubt THEN 'unknown'
             ELSE 'suppressed' END,
         attempt = attempt + 1, lease_token = $1, lease_until = $2, channel = $3, changed_at = $4,
         reason = CASE WHEN in_doubt THEN reason END
     FROM due WHERE deliveries.id = due.id
     RETURNING deliveries.id, deliveries.state",
);
/// What a worker needs of the claimed. Not in `RETURNING`, where SQLite answers a look-up by scanning the whole table.
pub(crate) const LOAD: Sql = Sql::each(
    "SELECT d.id, d.organisation_id, d.message_id, d.retries, d.participant_id, p.phone
     FROM json_each($1) j JOIN deliveries d ON d.id = j.value LEFT JOIN participants p ON p.id = d.participant_id",
    "SELECT d.id, d.organisation_id, d.message_id, d.retries, d.participant_id, p.phone
     FROM json_array_elements_text($1::json) AS j(value) JOIN deliveries d ON d.id = j.value::bigint LEFT JOIN participants p ON p.id = d.participant_id",
);

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    id: i64,
    organisation_id: Uuid,
    message_id: Uuid,
    retries: i64,
    participant_id: Uuid,
    phone: Option<Vec<u8>>,
}

impl Store {
    /// Leases what is due: lower lanes first; within a lane every message gets an equal share, so that a large alert does not
    /// hold up a small one. Opted-out recipients are suppressed in the same statement.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim> {
        let now = request.now.as_millis();
        let due: Vec<(Uuid, i64)> =
            on_db!(read self.db, pool, d => sqlx::query_as(DUE.of(d)).bind(now).fetch_all(pool).await?);
        if due.is_empty() || request.limit == 0 {
            let next: Option<i64> = on_db!(read self.db, pool, d =>
                sqlx::query_scalar(NEXT_DUE.of(d)).bind(now).fetch_one(pool).await?);
            return Ok(Claim { next_due: next.map(Timestamp::from_millis), ..Claim::default() });
        }
        let mut tx = self.db.begin().await?;
        // Asked again under the lock: an alert that was ended since is not claimed from.
        let due: Vec<(Uuid, i64)> =
            on_tx!(&mut tx, conn, d => sqlx::query_as(DUE.of(d)).bind(now).fetch_all(conn).await?);
        // One token for the whole batch: it fences attempts from each other, and a row has one attempt at a time.
        let lease_token = i64::from_ne_bytes(rand::rng().next_u64().to_ne_bytes());
        let mut taken = Taken::default();
        for lane in lanes(due) {
            claim_lane(&mut tx, request, lease_token, lane, &mut taken).await?;
        }
        // Inside the transaction, so that no row is leased that nobody hears of.
        let rows: Vec<ClaimedRow> = on_tx!(&mut tx, conn, d => sqlx::query_as(LOAD.of(d))
            .bind(json!(taken.leased).to_string()).fetch_all(conn).await?);
        tx.commit().await?;
        // The numbers are opened after it: nobody waits for the writer meanwhile.
        let mut rows: HashMap<i64, ClaimedRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let in_order = taken.leased.iter().filter_map(|id| rows.remove(id));
        let claimed = in_order.map(|row| self.leased(lease_token, row)).collect();
        Ok(Claim { claimed, suppressed: taken.suppressed, next_due: None })
    }

    fn leased(&self, lease_token: i64, row: ClaimedRow) -> Claimed {
        let participant = row.participant_id.as_bytes();
        let phone = row.phone.and_then(|sealed| self.keys.open_phone(&sealed, participant).ok());
        if phone.is_none() {
            tracing::error!(delivery = row.id, "the sealed phone number does not open");
        }
        Claimed {
            id: DeliveryId(row.id),
            organisation: OrganisationId(row.organisation_id),
            message: MessageId(row.message_id),
            lease_token,
            retries: u32::try_from(row.retries).unwrap_or(u32::MAX),
            phone,
        }
    }
}

/// What a claim took out of the queue.
#[derive(Default)]
struct Taken {
    /// In the order in which they are to leave.
    leased: Vec<i64>,
    suppressed: u64,
}

/// The state that [`CLAIM`] gives to what may be sent.
const LEASED: &str = "sending";

/// Shares what is left of the limit among the messages of one lane, in turns, until it is used up or they are empty. What the
/// claim suppressed takes no share.
async fn claim_lane(
    tx: &mut Tx,
    request: &ClaimRequest<'_>,
    lease_token: i64,
    mut lane: VecDeque<Uuid>,
    taken: &mut Taken,
) -> Result<()> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let mut left = limit.saturating_sub(taken.leased.len());
    let mut shares: Vec<VecDeque<i64>> = Vec::new();
    // Each round gives every message the same share; one that had more than its share gets another round.
    while left > 0 && !lane.is_empty() {
        let share = left.div_ceil(lane.len());
        for message in std::mem::take(&mut lane) {
            let share = share.min(left);
            if share == 0 {
                break;
            }
            let rows: Vec<(i64, String)> = on_tx!(&mut *tx, conn, d => sqlx::query_as(CLAIM.of(d))
                .bind(lease_token).bind(request.lease_until.as_millis()).bind(request.channel.to_string())
                .bind(request.now.as_millis()).bind(i64::try_from(share).unwrap_or(i64::MAX)).bind(message)
                .fetch_all(conn).await?);
            if rows.len() == share {
                lane.push_back(message);
            }
            let all = rows.len();
            let mut ids: Vec<i64> =
                rows.into_iter().filter(|(_, state)| state == LEASED).map(|(id, _)| id).collect();
            // `RETURNING` has no order.
            ids.sort_unstable();
            taken.suppressed += (all - ids.len()) as u64;
            left -= ids.len();
            shares.push(ids.into());
        }
    }
    // In turns on the wire, too.
    while !shares.is_empty() {
        shares.retain_mut(|share| share.pop_front().map(|id| taken.leased.push(id)).is_some());
    }
    Ok(())
}

/// Groups `(message, lane)`, sorted by lane, into lanes.
fn lanes(due: Vec<(Uuid, i64)>) -> Vec<VecDeque<Uuid>> {
    let mut lanes: Vec<(i64, VecDeque<Uuid>)> = Vec::new();
    for (message, lane) in due {
        match lanes.last_mut() {
            Some((last, messages)) if *last == lane => messages.push_back(message),
            _ => lanes.push((lane, VecDeque::from([message]))),
        }
    }
    lanes.into_iter().map(|(_, messages)| messages).collect()
}
