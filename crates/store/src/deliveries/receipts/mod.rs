//! Receipts: stored as they came, merged by `advance`, parked if their delivery is not known yet.

mod correlate;
pub(crate) mod incoming;
mod log;
pub(crate) mod parked;

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::delivery::{DeliveryEvent, merge_parts, stronger};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, ReceiptStatus};
use klaroen_domain::time::Timestamp;
use serde_json::json;

#[cfg(test)]
pub(crate) use self::correlate::FIND;
pub use self::incoming::IncomingReceipt;
pub(crate) use self::incoming::PartReceipt;
#[cfg(test)]
pub(crate) use self::log::INSERT_FOUND;
use self::log::Log;
#[cfg(test)]
pub(crate) use self::parked::PARKED;
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::lifecycle::{self, Standing, Step};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::lock::{self, ProviderIds};
use crate::gateways::gateway_tests;
use crate::{Result, Store, StoreError};

/// The changes that a batch of receipts made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptCounts {
    /// Belonged to a delivery.
    pub joined: u64,
    /// No delivery has this id yet: parked.
    pub parked: u64,
    /// Deliveries that moved.
    pub moved: u64,
}

/// How deliveries stand, as one JSON value; columns: id, state, in doubt, parts.
pub(crate) const DELIVERIES: Sql = Sql::each(
    "SELECT json_group_array(json_array(d.id, d.state, d.in_doubt,
         COALESCE((SELECT MAX(s.parts) FROM submissions s WHERE s.delivery_id = d.id AND s.parts > 1), 1)))
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value",
    "WITH d AS (
         SELECT id, state, in_doubt FROM deliveries
         WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) ORDER BY id FOR UPDATE)
     SELECT COALESCE(json_agg(json_build_array(d.id, d.state, d.in_doubt::int,
         COALESCE((SELECT MAX(s.parts) FROM submissions s WHERE s.delivery_id = d.id AND s.parts > 1), 1))), '[]')::text
     FROM d",
);
const PART_STATUSES: Sql =
    Sql::new("SELECT part, status FROM submissions WHERE delivery_id = $1 AND parts > 1 ORDER BY part");
const SET_PART: Sql =
    Sql::new("UPDATE submissions SET status = $3 WHERE delivery_id = $1 AND part = $2 AND parts > 1");
/// A row of [`DELIVERIES`]: id, state, in doubt, parts.
#[derive(serde::Deserialize)]
struct Row<'a>(i64, &'a str, u8, i64);

impl Store {
    /// Stores a batch and moves the deliveries, in one transaction. Of a long message every part must be delivered.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read. Then nothing of the batch is stored, and the caller may acknowledge no receipt.
    pub async fn store_receipts(&self, gateway: &str, batch: &[IncomingReceipt]) -> Result<ReceiptCounts> {
        let mut tx = self.db.begin().await?;
        let mut deferred = DeferredEffects::default();
        let counts = store(&mut tx, gateway, batch, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(counts)
    }
}

/// Stores a batch and moves the deliveries.
pub(crate) async fn store(
    tx: &mut Tx,
    gateway: &str,
    batch: &[IncomingReceipt],
    deferred: &mut DeferredEffects,
) -> Result<ReceiptCounts> {
    if batch.is_empty() {
        return Ok(ReceiptCounts::default());
    }
    let mut lost = HashSet::new();
    let mut found = correlate::find(tx, gateway, &batch.iter().collect::<Vec<_>>(), &mut lost).await?;
    let known = correlate::known_references(tx, batch, &mut lost).await?;
    let mut unowned: Vec<usize> = (0..batch.len())
        .filter(|i| found[*i].is_none() && !batch[*i].delivery.is_some_and(|d| known.contains(&d.0)))
        .collect();
    if !unowned.is_empty() && matches!(tx, Tx::Postgres(..)) {
        ProviderIds::Miss.take(tx, gateway).await?;
        let missed: Vec<_> = unowned.iter().map(|i| &batch[*i]).collect();
        for (i, now) in unowned.iter().zip(correlate::find(tx, gateway, &missed, &mut lost).await?) {
            found[*i] = now;
        }
        unowned.retain(|i| found[*i].is_none());
    }
    let tests: HashMap<usize, i64> =
        gateway_tests::find(tx, gateway, batch, &unowned).await?.into_iter().collect();
    let mut log = Log::default();
    let mut receipts = Vec::with_capacity(batch.len());
    let mut joined = 0;
    for (index, receipt) in batch.iter().enumerate() {
        let (test, by_id) = (tests.get(&index).copied(), found[index]);
        // Our own reference outranks an id that the provider may use again.
        let ours = receipt.delivery.filter(|d| known.contains(&d.0));
        let owner = match (ours, by_id) {
            (Some(ours), Some((delivery, part))) if delivery == ours.0 => Some((delivery, part)),
            (Some(ours), _) => Some((ours.0, 0)),
            (None, by_id) => by_id,
        };
        match owner {
            // The phone that it names is the delivery's.
            Some((delivery, _)) if owner == by_id => log.found(receipt, delivery),
            _ => log.other(
                receipt,
                test.map(|number| DeliveryId::of_test(number).0).or(owner.map(|(delivery, _)| delivery)),
            ),
        }
        if let Some(number) = test {
            let error = receipt.error.as_deref();
            gateway_tests::settle(tx, number, receipt.status, error, receipt.received_at).await?;
            joined += 1;
            continue;
        }
        // The delivery tells the phone, if there is one: see `apply`.
        if let (None, Some(Failure::OPTED_OUT), Some(phone)) =
            (owner, receipt.error.as_deref(), receipt.recipient)
        {
            deferred.stop(phone, receipt.received_at);
        }
        if let Some((delivery, part)) = owner {
            receipts.push(PartReceipt {
                delivery,
                part,
                status: receipt.status,
                error: receipt.error.clone(),
                at: receipt.received_at.as_millis(),
            });
        }
    }
    log.write(tx, gateway).await?;
    joined += receipts.len() as u64;
    let late: Vec<i64> = receipts.iter().map(|r| r.delivery).filter(|id| lost.contains(id)).collect();
    if !late.is_empty() {
        lock::alerts_of(tx, &json!(late).to_string()).await?;
    }
    let moved = apply(tx, &receipts, deferred).await?;
    Ok(ReceiptCounts { joined, parked: batch.len() as u64 - joined, moved })
}

/// Moves deliveries by what their receipts say. Returns how many moved.
pub(crate) async fn apply(
    tx: &mut Tx,
    receipts: &[PartReceipt],
    deferred: &mut DeferredEffects,
) -> Result<u64> {
    if receipts.is_empty() {
        return Ok(0);
    }
    // A batch may hold several receipts about one delivery: fold them first, one write for each row.
    let mut by_delivery: BTreeMap<i64, Vec<&PartReceipt>> = BTreeMap::new();
    for receipt in receipts {
        by_delivery.entry(receipt.delivery).or_default().push(receipt);
    }
    let ids = json!(by_delivery.keys().collect::<Vec<_>>()).to_string();
    let rows: String =
        on_tx!(&mut *tx, conn, d => sqlx::query_scalar(DELIVERIES.of(d)).bind(ids).fetch_one(conn).await?);
    let rows: Vec<Row<'_>> = serde_json::from_str(&rows)
        .map_err(|_| StoreError::Corrupt { table: "deliveries", column: "state" })?;
    let mut steps = Vec::with_capacity(rows.len());
    for Row(id, state, in_doubt, parts) in rows {
        let Some(of_this) = by_delivery.get(&id) else { continue };
        let status = if parts > 1 {
            merged_parts(tx, id, of_this).await?
        } else {
            of_this.iter().map(|receipt| receipt.status).reduce(stronger)
        };
        let Some(status) = status else { continue };
        let at = of_this.iter().map(|receipt| receipt.at).max().unwrap_or(0);
        let delivery = Standing::new(id, state, in_doubt != 0)?;
        let step = Step::new(delivery, DeliveryEvent::Receipt(status), Timestamp::from_millis(at));
        let error = of_this.iter().rev().find_map(|receipt| receipt.error.as_deref());
        steps.push(match error {
            Some(error) if status == ReceiptStatus::Undelivered => step.because(error),
            _ => step,
        });
    }
    let moved = lifecycle::apply(tx, &steps).await?;
    for stopped in receipts.iter().filter(|r| r.error.as_deref() == Some(Failure::OPTED_OUT)) {
        deferred.stop_phone_of(stopped.delivery, Timestamp::from_millis(stopped.at));
    }
    Ok(moved)
}

/// Notes what the receipts say of single parts and returns what the parts say together. Long messages are the exception, so
/// this asks row by row.
async fn merged_parts(
    tx: &mut Tx,
    delivery: i64,
    receipts: &[&PartReceipt],
) -> Result<Option<ReceiptStatus>> {
    let kept: Vec<(i64, Option<String>)> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as(PART_STATUSES.of(d)).bind(delivery).fetch_all(conn).await?);
    let mut parts: BTreeMap<i64, Option<ReceiptStatus>> =
        kept.into_iter().map(|(part, status)| (part, status.and_then(|s| s.parse().ok()))).collect();
    for receipt in receipts {
        let status = match parts.get(&receipt.part).copied().flatten() {
            Some(before) => stronger(before, receipt.status),
            None => receipt.status,
        };
        parts.insert(receipt.part, Some(status));
        on_tx!(&mut *tx, conn, d => sqlx::query(SET_PART.of(d))
            .bind(delivery).bind(receipt.part).bind(status.as_str()).execute(conn).await?.rows_affected());
    }
    Ok(merge_parts(&parts.into_values().collect::<Vec<_>>()))
}

/// Joins receipts that came before the answer to their submit. Returns how many. `submissions` returns the JSON of the
/// insert, which is made only if something is parked.
pub(crate) async fn join_parked(
    tx: &mut Tx,
    gateway: &str,
    submissions: impl FnOnce() -> String,
    deferred: &mut DeferredEffects,
) -> Result<u64> {
    let receipts = parked::take(tx, gateway, submissions).await?;
    apply(tx, &receipts, deferred).await?;
    Ok(receipts.len() as u64)
}

#[cfg(test)]
mod tests;
