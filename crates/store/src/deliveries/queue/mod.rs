//! Claiming: the journal entry before the first byte.

mod give_back;
mod share;
mod turns;

use std::time::Duration;

use klaroen_domain::delivery::DeliveryEvent;
use klaroen_domain::id::{DeliveryId, MessageId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::deliveries::lifecycle::{self, Reason, Standing, Step};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::hex;
use crate::gateways::channels::ChannelName;
use crate::{Result, Store, StoreError};
#[cfg(test)]
pub(crate) use share::{HANDED, SHARE};
pub use share::{Part, Role, Roles, SLOTS, Scan};
pub use turns::Turns;
use turns::claim_lane;

/// A gateway that handed a delivery over leaves it to others for this time. Then it may have it again, because the others may
/// be gone.
const RELUCTANCE: Duration = Duration::from_secs(2);

/// A delivery under lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The delivery.
    pub id: DeliveryId,
    /// The message; see [`Store::outbound_message`].
    pub message: MessageId,
    /// The fence of every later write about this attempt.
    pub lease_token: i64,
    /// Steps taken on the retry ladder before this attempt.
    pub retries: u32,
    /// Claims before this one: more than `retries` if the delivery was put back for no fault of its own.
    pub claims: u32,
    /// The phone number. `None` if the stored number does not open, which is a fault to be reported.
    pub phone: Option<PhoneNumber>,
}

/// The deliveries to claim.
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
    /// A new [`lease_token`]. It fences attempts from each other, a row has one attempt at a time, and what a claim whose
    /// answer was lost has leased is found by it.
    pub lease_token: i64,
}

/// A fence for one claim.
#[must_use]
pub fn lease_token() -> i64 {
    i64::from_ne_bytes(rand::rng().next_u64().to_ne_bytes())
}

/// Why a claim returned nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Nothing is leased.
    #[error("{0}")]
    NotMade(#[from] StoreError),
    /// Whether it was committed is not known. The deliveries that it leased would become `unknown` in time, although no
    /// worker has them: [`Store::give_back`].
    #[error("it is not known whether it was committed: {0}")]
    InDoubt(#[source] StoreError),
}

/// The result of a claim.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Leased, in the order in which they are to leave.
    pub claimed: Vec<Claimed>,
    /// How many the claim took out of the queue because their owner had opted out or was erased.
    pub suppressed: u64,
    /// When the next delivery that waits for its time is due, if nothing was due now.
    pub next_due: Option<Timestamp>,
}

/// Messages that are open and have something due, first lane first. `$2` is the gateway, which may have refused a message for
/// all recipients.
///
/// `OFFSET 0` keeps PostgreSQL from making a join of it: it takes the queue for next to empty, as it is at most times, and
/// would read the whole of an alert to learn that there is something. `ORDER BY` is for the opposite: if all was queued when
/// it last looked, it would walk through the table from its beginning, past more and more that has left.
pub(crate) const DUE: Sql = Sql::new(
    "SELECT m.id, m.lane, m.priority, m.gateway IS NOT NULL FROM messages m
     WHERE NOT m.settled AND m.open AND m.expires_at > $1 AND (m.gateway IS NULL OR m.gateway = $2)
       AND NOT EXISTS (SELECT 1 FROM message_refusals r WHERE r.message_id = m.id AND r.gateway = $2)
       AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued' AND d.due_at <= $1
                   ORDER BY d.due_at LIMIT 1 OFFSET 0)
     ORDER BY m.lane, m.id",
);
const NEXT_DUE: Sql = Sql::new(
    "SELECT MIN((SELECT MIN(d.due_at) FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued'))
     FROM messages m
     WHERE NOT m.settled AND m.open AND m.expires_at > $1 AND (m.gateway IS NULL OR m.gateway = $2)
       AND NOT EXISTS (SELECT 1 FROM message_refusals r WHERE r.message_id = m.id AND r.gateway = $2)",
);
/// The due deliveries of a message, `$3` at most, as one JSON value, because a row for each would be most of the work of a
/// claim. Columns: id, retries, claims, for whom the number is sealed, the sealed number, whether the person opted out.
///
/// A number is the participant's, and sealed for them, or the delivery's own, and sealed for the recipient. A participant who was
/// erased, or whose number was changed since the match, has no number here: the number that was matched, and checked for an
/// opt-out, is the number that rings. Automatic answers (lane 0) pass the opt-out: they are what confirms it.
///
/// Two texts, because PostgreSQL locks what it chooses before it looks up the participants, and has other words for blobs and truth
/// values in JSON.
pub(crate) const CANDIDATES: Sql = Sql::each(
    "SELECT json_group_array(json_array(d.id, d.retries, d.attempt, lower(hex(COALESCE(d.participant_id, d.recipient))),
         lower(hex(COALESCE(d.phone, p.phone))), d.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient)))
     FROM (SELECT id, retries, attempt, participant_id, recipient, phone, lane FROM deliveries
           WHERE message_id = $1 AND state = 'queued' AND due_at <= $2
               AND (handed_by IS NULL OR handed_by <> $4 OR due_at <= $5)
           ORDER BY due_at, id LIMIT $3) d
         LEFT JOIN participants p ON p.id = d.participant_id AND p.recipient = d.recipient",
    "WITH d AS (
         SELECT id, retries, attempt, participant_id, recipient, phone, lane FROM deliveries
         WHERE message_id = $1 AND state = 'queued' AND due_at <= $2
             AND (handed_by IS NULL OR handed_by <> $4 OR due_at <= $5)
         ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
     SELECT COALESCE(json_agg(json_build_array(d.id, d.retries, d.attempt,
         COALESCE(d.participant_id::text, encode(d.recipient, 'hex')), COALESCE(encode(COALESCE(d.phone, p.phone), 'hex'), ''),
         (d.lane > 0 AND EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient))::int)), '[]')::text
     FROM d LEFT JOIN participants p ON p.id = d.participant_id AND p.recipient = d.recipient",
);
/// `state || ''` keeps PostgreSQL from reading the index of what is queued and looking there for a handful of rows: it takes that
/// index for next to empty, as it is at most times, and each claim would read the whole queue. The same in other statements that
/// have a list of ids. The advisory lock is `Lock::Claim`: taken along, because each question to the server counts here.
pub(crate) const LEASE: Sql = Sql::each(
    "UPDATE deliveries SET
         state = 'sending', attempt = attempt + 1, lease_token = $2, lease_until = $3, channel = $4, settle_at = NULL, changed_at = $5,
         reason = CASE WHEN in_doubt THEN reason END
     WHERE state = 'queued' AND id IN (SELECT value FROM json_each($1))",
    "UPDATE deliveries SET
         state = 'sending', attempt = attempt + 1, lease_token = $2, lease_until = $3, channel = $4, settle_at = NULL, changed_at = $5,
         reason = CASE WHEN in_doubt THEN reason END
     WHERE (SELECT pg_advisory_xact_lock($2)) IS NOT NULL
         AND state || '' = 'queued' AND id IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
);
/// A row of [`DUE`]: message, lane, priority, whether no other gateway may take it.
type DueMessage = (Uuid, i64, String, bool);

/// Whose deliveries a claim takes.
enum Whose<'a> {
    /// Whatever is due.
    All,
    /// A part of it.
    Part(&'a Part, &'a mut Scan),
}

/// A row of [`CANDIDATES`].
#[derive(serde::Deserialize)]
struct Candidate<'a>(i64, i64, i64, &'a str, &'a str, i64);

impl Store {
    /// Leases what is due: lower lanes first; within a lane every message gets an equal share, so that a large alert does not
    /// hold up a small one. Opted-out recipients are suppressed in the same statement. `turns` is what the channel's claims
    /// before this one left.
    ///
    /// # Errors
    ///
    /// Returns [`ClaimError::NotMade`] if nothing is leased, or [`ClaimError::InDoubt`] if it is not known whether the claim
    /// was committed. `turns` is as before then.
    pub async fn claim(&self, request: &ClaimRequest<'_>, turns: &mut Turns) -> Result<Claim, ClaimError> {
        if self.may_be_due(request).await?
            && let Some(claim) = self.lease_due(request, &mut Whose::All, turns).await?
        {
            return Ok(claim);
        }
        let next: Option<i64> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(NEXT_DUE.of(d)).bind(request.now.as_millis()).bind(&request.channel.gateway)
                .fetch_one(pool).await.map_err(StoreError::from)?);
        Ok(Claim { next_due: next.map(Timestamp::from_millis), ..Claim::default() })
    }

    /// The same for a gateway that may take a part of it. `scan` is what it has looked at before; it is to be a new one when the
    /// part changes.
    ///
    /// # Errors
    ///
    /// Returns [`ClaimError::NotMade`] if nothing is leased, or [`ClaimError::InDoubt`] if it is not known whether the claim
    /// was committed. `scan` and `turns` are as before then, so that what was looked at is looked at again.
    pub async fn claim_part(
        &self,
        request: &ClaimRequest<'_>,
        part: &Part,
        scan: &mut Scan,
        turns: &mut Turns,
    ) -> Result<Claim, ClaimError> {
        let mut looked_at = scan.clone();
        if (part.takes_by_itself() || self.anything_for(&request.channel.gateway).await?)
            && self.may_be_due(request).await?
            && let Some(claim) =
                self.lease_due(request, &mut Whose::Part(part, &mut looked_at), turns).await?
        {
            *scan = looked_at;
            if !claim.claimed.is_empty() || claim.suppressed > 0 {
                return Ok(claim);
            }
            if part.takes_by_itself() && !scan.has_ended() {
                // The rows that were looked at were not ours; there are more.
                return Ok(Claim { next_due: Some(request.now), ..Claim::default() });
            }
        }
        let next_due = self.next_due_after(request.now).await?;
        Ok(Claim { next_due, ..Claim::default() })
    }

    /// Whether a claim may find something. SQLite's readers say so, because its one writer is not taken for nothing; with PostgreSQL
    /// the claim itself is as cheap a question.
    async fn may_be_due(&self, request: &ClaimRequest<'_>) -> Result<bool> {
        if request.limit == 0 || self.is_shared() {
            return Ok(request.limit > 0);
        }
        let due: Vec<DueMessage> = on_db!(read self.db, pool, d =>
            sqlx::query_as(DUE.of(d)).bind(request.now.as_millis()).bind(&request.channel.gateway)
                .fetch_all(pool).await?);
        Ok(!due.is_empty())
    }

    /// `None`: no message has anything due.
    async fn lease_due(
        &self,
        request: &ClaimRequest<'_>,
        whose: &mut Whose<'_>,
        turns: &mut Turns,
    ) -> Result<Option<Claim>, ClaimError> {
        let mut tx = self.db.begin_claim().await?;
        // Under SQLite's lock: an alert that was ended since is not claimed from.
        let due: Vec<DueMessage> = on_tx!(&mut tx, conn, d =>
            sqlx::query_as(DUE.of(d)).bind(request.now.as_millis()).bind(&request.channel.gateway)
                .fetch_all(conn).await.map_err(StoreError::from)?);
        if due.is_empty() {
            return Ok(None);
        }
        if let Whose::Part(_, scan) = whose {
            scan.begin(&due, request.now);
        }
        let (mut taken, mut turned) = (Taken::default(), turns.clone());
        for lane in turns.lanes(due) {
            claim_lane(&mut tx, request, whose, &mut turned, lane, &mut taken).await?;
        }
        tx.commit().await.map_err(ClaimError::InDoubt)?;
        *turns = turned;
        // The numbers are opened after it, so that no other claim waits for the writer meanwhile.
        let claimed = taken.leased.iter().map(|leased| self.claimed(request.lease_token, leased)).collect();
        Ok(Some(Claim { claimed, suppressed: taken.suppressed, next_due: None }))
    }

    fn claimed(&self, lease_token: i64, leased: &Leased) -> Claimed {
        let phone = self.keys.open_phone(&leased.sealed, leased.sealed_for.as_bytes()).ok();
        if phone.is_none() {
            tracing::error!(delivery = leased.id, "the sealed phone number does not open");
        }
        Claimed {
            id: DeliveryId(leased.id),
            message: MessageId(leased.message),
            lease_token,
            retries: u32::try_from(leased.retries).unwrap_or(u32::MAX),
            claims: u32::try_from(leased.claims).unwrap_or(u32::MAX),
            phone,
        }
    }
}

/// A delivery that is to be leased.
struct Leased {
    id: i64,
    message: Uuid,
    retries: i64,
    claims: i64,
    sealed: Vec<u8>,
    /// The participant or the recipient.
    sealed_for: Uuid,
}

/// The deliveries that a claim takes out of the queue.
#[derive(Default)]
struct Taken {
    /// In the order in which they are to leave.
    leased: Vec<Leased>,
    suppressed: u64,
}

/// Who is to be leased, and who is to be suppressed.
#[derive(Default)]
struct Candidates {
    leased: Vec<Leased>,
    suppressed: Vec<i64>,
}

/// At most `share` deliveries of a message that are due.
async fn all_candidates(
    tx: &mut Tx,
    request: &ClaimRequest<'_>,
    message: Uuid,
    share: usize,
) -> Result<Candidates> {
    let rows: String = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(CANDIDATES.of(d))
        .bind(message).bind(request.now.as_millis()).bind(i64::try_from(share).unwrap_or(i64::MAX))
        .bind(&request.channel.gateway).bind(request.now.minus(RELUCTANCE).as_millis())
        .fetch_one(conn).await?);
    let rows: Vec<Candidate<'_>> = serde_json::from_str(&rows).map_err(|_| corrupt("id"))?;
    Candidates::of(message, rows)
}

const fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt { table: "deliveries", column }
}

impl Candidates {
    fn of(message: Uuid, rows: Vec<Candidate<'_>>) -> Result<Self> {
        let mut of = Self { leased: Vec::with_capacity(rows.len()), suppressed: Vec::new() };
        for Candidate(id, retries, claims, sealed_for, sealed, opted_out) in rows {
            if opted_out != 0 || sealed.is_empty() {
                of.suppressed.push(id);
                continue;
            }
            of.leased.push(Leased {
                id,
                message,
                retries,
                claims,
                sealed: hex::decode(sealed).ok_or_else(|| corrupt("phone"))?,
                sealed_for: Uuid::parse_str(sealed_for).map_err(|_| corrupt("recipient"))?,
            });
        }
        // An aggregate has no order.
        of.leased.sort_unstable_by_key(|leased| leased.id);
        Ok(of)
    }
}

/// Writes the journal: what is not written here does not leave.
async fn lease(tx: &mut Tx, request: &ClaimRequest<'_>, leased: &[Leased], suppressed: &[i64]) -> Result<()> {
    let now = request.now.as_millis();
    if !suppressed.is_empty() {
        suppress(tx, suppressed, request.now).await?;
    }
    if !leased.is_empty() {
        let ids: Vec<i64> = leased.iter().map(|leased| leased.id).collect();
        let written = on_tx!(&mut *tx, conn, d => sqlx::query(LEASE.of(d))
            .bind(json!(ids).to_string()).bind(request.lease_token).bind(request.lease_until.as_millis())
            .bind(request.channel.to_string()).bind(now).execute(conn).await?.rows_affected());
        // They were read under the same lock, so each of them must be ours now.
        if written != ids.len() as u64 {
            return Err(StoreError::Corrupt { table: "deliveries", column: "state" });
        }
    }
    Ok(())
}

/// Takes deliveries to people who may be sent nothing out of the queue. The rows of this claim are locked already.
async fn suppress(tx: &mut Tx, ids: &[i64], now: Timestamp) -> Result<()> {
    let deliveries = Standing::take(tx, ids).await?;
    let steps = deliveries.into_iter().map(|delivery| {
        // Why an earlier attempt is in doubt still matters.
        let reason = if delivery.life.in_doubt { Reason::Kept } else { Reason::Is(None) };
        Step { reason, claims: 1, ..Step::new(delivery, DeliveryEvent::OptedOut, now) }
    });
    lifecycle::apply(tx, &steps.collect::<Vec<_>>()).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
