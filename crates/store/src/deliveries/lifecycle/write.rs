//! The two statements that write how a delivery stands.

use klaroen_domain::delivery::{DeliveryState, Life};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};

use super::{Answer, CORRUPT, Reason, Step};
use crate::Result;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::sql::sql;

/// Deliveries that move alike.
///
/// Two texts, because PostgreSQL has to be told how: `state || ''` keeps it from reading the index of what is queued (see
/// `LEASE` of the queue), and `ARRAY` makes it look each one up, whatever it thinks of how many they are.
pub(crate) const MOVE: Sql = Sql::each(
    "UPDATE deliveries SET state = $3, in_doubt = $4, reason = CASE WHEN $5 THEN reason ELSE $6 END, settle_at = $7,
         due_at = COALESCE($8, due_at), attempt = attempt + $9, changed_at = $10
     WHERE state = $2 AND id IN (SELECT value FROM json_each($1))",
    "UPDATE deliveries SET state = $3, in_doubt = $4, reason = CASE WHEN $5 THEN reason ELSE $6 END, settle_at = $7,
         due_at = COALESCE($8, due_at), attempt = attempt + $9, changed_at = $10
     WHERE state || '' = $2 AND id = ANY (ARRAY(SELECT value::bigint FROM json_array_elements_text($1::json)))",
);
/// Answers to attempts. Columns of the JSON: id, old state, new state, lease token, due, retries to add, settle, segments, sent,
/// reason, now, handed over by, whether the reason is kept. No answer begins a doubt about an attempt before it, or ends one, so
/// `in_doubt` stays.
pub(crate) const APPLY: Sql = sql!(
    "UPDATE deliveries SET
         state = j.value ->> 2,
         due_at = COALESCE({int(j, 4)}, due_at),
         retries = retries + ({int(j, 5)}),
         settle_at = {int(j, 6)},
         segments = COALESCE({int(j, 7)}, segments),
         sent_at = COALESCE({int(j, 8)}, sent_at),
         reason = CASE WHEN {bool(j, 12)} THEN reason ELSE j.value ->> 9 END,
         changed_at = {int(j, 10)},
         handed_by = j.value ->> 11
     FROM {rows($1)} j
     WHERE deliveries.id = {int(j, 0)} AND deliveries.state = j.value ->> 1 AND deliveries.lease_token = {int(j, 3)}"
);

/// The values that deliveries with the same move have in common.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Move<'a> {
    before: Life,
    after: Life,
    reason: Reason<'a>,
    settle_at: Option<Timestamp>,
    due_at: Option<Timestamp>,
    claims: u8,
    at: Timestamp,
}

impl<'a> Move<'a> {
    pub(super) const fn of(step: &Step<'a>, after: Life) -> Self {
        let Step { delivery, reason, settle_at, due_at, claims, at, .. } = *step;
        Self { before: delivery.life, after, reason, settle_at, due_at, claims, at }
    }
}

/// Of the reason: whether it is kept, and which it is from now on.
const fn parts(reason: Reason<'_>) -> (bool, Option<&str>) {
    match reason {
        Reason::Kept => (true, None),
        Reason::Is(reason) => (false, reason),
    }
}

/// Writes one kind of move.
pub(super) async fn moves(tx: &mut Tx, way: &Move<'_>, ids: &[i64]) -> Result<u64> {
    let (kept, reason) = parts(way.reason);
    let written = on_tx!(tx, conn, d => sqlx::query(MOVE.of(d))
        .bind(json!(ids).to_string()).bind(way.before.state.as_str())
        .bind(way.after.state.as_str()).bind(way.after.in_doubt).bind(kept).bind(reason)
        .bind(way.settle_at.map(Timestamp::as_millis)).bind(way.due_at.map(Timestamp::as_millis))
        .bind(i64::from(way.claims)).bind(way.at.as_millis())
        .execute(conn).await?.rows_affected());
    all(written, ids.len())
}

/// A row of [`APPLY`].
pub(super) fn row(step: &Step<'_>, answer: &Answer<'_>, after: Life) -> Value {
    let before = step.delivery.life.state;
    let taken = answer.taken;
    // Why it did not arrive is worth more than that it was taken.
    let arrived_not = before == DeliveryState::Undelivered && after.state == before;
    let (kept, reason) = parts(if arrived_not { Reason::Kept } else { step.reason });
    json!([
        step.delivery.id,
        before.as_str(),
        after.state.as_str(),
        answer.lease_token,
        step.due_at.map(Timestamp::as_millis),
        answer.retries,
        step.settle_at.map(Timestamp::as_millis),
        taken.map(|taken| taken.segments),
        taken.map(|taken| taken.at.as_millis()),
        reason,
        step.at.as_millis(),
        answer.handed_by,
        kept,
    ])
}

/// Writes answers.
pub(super) async fn answers(tx: &mut Tx, rows: Vec<Value>) -> Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let count = rows.len();
    let rows = Value::Array(rows).to_string();
    let written =
        on_tx!(tx, conn, d => sqlx::query(APPLY.of(d)).bind(rows).execute(conn).await?.rows_affected());
    all(written, count)
}

/// They were read under the lock that is still held, so each of them must be what it was.
fn all(written: u64, expected: usize) -> Result<u64> {
    if written == expected as u64 { Ok(written) } else { Err(CORRUPT) }
}
