//! Which delivery each receipt is about.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use super::incoming::IncomingReceipt;
use crate::deliveries::lifecycle::counts_as_lost;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::hex;
use crate::{Result, StoreError};

/// A receipt may be this much older than its submit by our clocks.
const CLOCKS_DIFFER: Duration = Duration::from_mins(1);

/// The submits that a batch of receipts names, as one JSON value, because a row for each would be most of the work. `$1` is
/// the provider ids. Columns: which of them, the delivery, part, time of the submit, whose phone (the first 8 bytes of its
/// hash), the state.
///
/// `CROSS JOIN` keeps the order in SQLite: left to itself it reads every submit of the gateway and looks each one up in the
/// batch, so that a receipt costs more the more was ever sent. `OFFSET 0` is the same for PostgreSQL.
pub(crate) const FIND: Sql = Sql::each(
    "SELECT json_group_array(json_array(j.key, s.delivery_id, s.part, s.submitted_at, lower(hex(substr(d.recipient, 1, 8))), d.state))
     FROM json_each($1) j
         CROSS JOIN submissions s ON s.gateway = $2 AND s.provider_id = j.value
         CROSS JOIN deliveries d ON d.id = s.delivery_id",
    "SELECT COALESCE(json_agg(json_build_array(j.nth - 1, s.delivery_id, s.part, s.submitted_at,
         encode(substr(d.recipient, 1, 8), 'hex'), d.state)), '[]')::text
     FROM json_array_elements_text($1::json) WITH ORDINALITY AS j(value, nth)
         CROSS JOIN LATERAL (SELECT * FROM submissions WHERE gateway = $2 AND provider_id = j.value OFFSET 0) s
         CROSS JOIN LATERAL (SELECT recipient, state FROM deliveries WHERE id = s.delivery_id OFFSET 0) d",
);
/// References of ours that are real.
const KNOWN: Sql = Sql::each(
    "SELECT d.id, d.state FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value",
    "SELECT d.id, d.state FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
);

/// A row of [`FIND`]: receipt, delivery, part, time of the submit, recipient, state.
#[derive(serde::Deserialize)]
struct Found<'a>(usize, i64, i64, i64, &'a str, &'a str);

/// Which delivery and part each receipt of a batch is about. A provider may use an id again, and others may share its
/// account: the newest submit to that phone counts, and none that is a minute younger than the receipt.
/// Those that count as lost are noted in `lost`.
pub(super) async fn find(
    tx: &mut Tx,
    gateway: &str,
    batch: &[&IncomingReceipt],
    lost: &mut HashSet<i64>,
) -> Result<Vec<Option<(i64, i64)>>> {
    let ids = json!(batch.iter().map(|r| &r.provider_id).collect::<Vec<_>>()).to_string();
    let rows: String = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(FIND.of(d))
        .bind(ids).bind(gateway).fetch_one(conn).await?);
    let corrupt = StoreError::Corrupt { table: "submissions", column: "delivery_id" };
    let rows: Vec<Found<'_>> = serde_json::from_str(&rows).map_err(|_| corrupt)?;
    let recipients: Vec<Option<String>> =
        batch.iter().map(|r| r.recipient.map(|recipient| hex::encode(&recipient.0[..8]))).collect();
    let mut newest: Vec<Option<(i64, (i64, i64))>> = vec![None; batch.len()];
    for Found(index, delivery, part, submitted_at, recipient, state) in rows {
        lost.extend(state.parse().is_ok_and(counts_as_lost).then_some(delivery));
        let (Some(receipt), Some(best)) = (batch.get(index), newest.get_mut(index)) else { continue };
        let in_time = submitted_at <= receipt.received_at.plus(CLOCKS_DIFFER).as_millis();
        let theirs = recipients[index].as_deref().is_none_or(|named| named == recipient);
        if in_time && theirs && best.is_none_or(|(at, _)| submitted_at > at) {
            *best = Some((submitted_at, (delivery, part)));
        }
    }
    Ok(newest.into_iter().map(|best| best.map(|(_, owner)| owner)).collect())
}

/// Which references in the batch are deliveries that exist: a provider may echo anything.
pub(super) async fn known_references(
    tx: &mut Tx,
    batch: &[IncomingReceipt],
    lost: &mut HashSet<i64>,
) -> Result<HashSet<i64>> {
    let references: Vec<i64> = batch.iter().filter_map(|r| r.delivery.map(|d| d.0)).collect();
    if references.is_empty() {
        return Ok(HashSet::new());
    }
    let known: Vec<(i64, String)> = on_tx!(tx, conn, d => sqlx::query_as(KNOWN.of(d))
        .bind(json!(references).to_string()).fetch_all(conn).await?);
    lost.extend(known.iter().filter(|(_, state)| state.parse().is_ok_and(counts_as_lost)).map(|(id, _)| *id));
    Ok(known.into_iter().map(|(id, _)| id).collect())
}
