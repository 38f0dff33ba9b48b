//! Receipts: stored as they came, merged by `advance`, parked where their delivery is not known yet.

mod correlate;
mod log;

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::delivery::{DeliveryEvent, DeliveryState, advance, merge_parts, stronger};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::incoming::Receipt;
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus};
use klaroen_domain::time::Timestamp;
use serde_json::json;

#[cfg(test)]
pub(crate) use self::correlate::FIND;
use self::correlate::counts_as_lost;
#[cfg(test)]
pub(crate) use self::log::INSERT_FOUND;
use self::log::Log;
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::doubts::{self, Resolution};
use crate::deliveries::outcomes::reopen;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::lock::{self, ProviderIds};
use crate::engine::seal::{Keys, Recipient};
use crate::gateways::gateway_tests;
use crate::{Result, Store, StoreError};

/// One receipt.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingReceipt {
    /// The provider's id, canonical.
    pub provider_id: ProviderId,
    /// Our reference, where the provider echoes it: joins without the id.
    pub delivery: Option<DeliveryId>,
    /// What it says.
    pub status: ReceiptStatus,
    /// Error code, where there is one.
    pub error: Option<String>,
    /// Whose phone, where the receipt names it.
    pub recipient: Option<Recipient>,
    /// As it came, without addresses and text.
    pub raw: String,
    /// When it came.
    pub received_at: Timestamp,
}

impl IncomingReceipt {
    /// What a gateway read, as it is kept: the phone by its hash.
    #[must_use]
    pub fn of(receipt: Receipt, keys: &Keys, received_at: Timestamp) -> Self {
        Self {
            provider_id: receipt.provider_id,
            delivery: receipt.reference.and_then(|reference| reference.delivery()),
            status: receipt.status,
            error: receipt.error,
            recipient: receipt.recipient.map(|phone| keys.recipient(&phone)),
            raw: receipt.raw,
            received_at,
        }
    }
}

/// What a batch of receipts did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiptCounts {
    /// Belonged to a delivery.
    pub joined: u64,
    /// No delivery has this id yet: parked.
    pub parked: u64,
    /// Deliveries that moved.
    pub moved: u64,
}

/// How deliveries stand, as one JSON value; columns: id, state, parts.
pub(crate) const DELIVERIES: Sql = Sql::each(
    "SELECT json_group_array(json_array(d.id, d.state,
         COALESCE((SELECT MAX(s.parts) FROM submissions s WHERE s.delivery_id = d.id AND s.parts > 1), 1)))
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value",
    "WITH d AS (
         SELECT id, state FROM deliveries
         WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) ORDER BY id FOR UPDATE)
     SELECT COALESCE(json_agg(json_build_array(d.id, d.state,
         COALESCE((SELECT MAX(s.parts) FROM submissions s WHERE s.delivery_id = d.id AND s.parts > 1), 1))), '[]')::text
     FROM d",
);
const PART_STATUSES: Sql =
    Sql::new("SELECT part, status FROM submissions WHERE delivery_id = $1 AND parts > 1 ORDER BY part");
const SET_PART: Sql =
    Sql::new("UPDATE submissions SET status = $3 WHERE delivery_id = $1 AND part = $2 AND parts > 1");
pub(crate) const MOVE: Sql = Sql::each(
    "UPDATE deliveries SET state = $3, reason = COALESCE($4, reason), settle_at = NULL, changed_at = $5
     WHERE state = $2 AND id IN (SELECT value FROM json_each($1))",
    "UPDATE deliveries SET state = $3, reason = COALESCE($4, reason), settle_at = NULL, changed_at = $5
     WHERE state || '' = $2 AND id IN (SELECT value::bigint FROM json_array_elements_text($1::json))",
);
/// A start that counted as lost rang after all: its phone is owed what was said since.
const OWE_FOLLOW_UPS: Sql = Sql::each(
    "UPDATE messages SET awaits_start = TRUE, settled = FALSE
     WHERE kind IN ('update', 'end', 'retract') AND alert_id IN (
         SELECT d.alert_id FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value
             JOIN messages s ON s.id = d.message_id AND s.kind = 'start' JOIN alerts a ON a.id = d.alert_id
         WHERE messages.kind <> 'update' OR a.state IN ('active', 'expired'))",
    "UPDATE messages SET awaits_start = TRUE, settled = FALSE
     WHERE kind IN ('update', 'end', 'retract') AND alert_id IN (
         SELECT d.alert_id FROM json_array_elements_text($1::json) AS j(value) JOIN deliveries d ON d.id = j.value::bigint
             JOIN messages s ON s.id = d.message_id AND s.kind = 'start' JOIN alerts a ON a.id = d.alert_id
         WHERE messages.kind <> 'update' OR a.state IN ('active', 'expired'))",
);
const ANY_PARKED: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM receipts WHERE gateway = $1 AND delivery_id IS NULL)");
/// Parked receipts about the parts of a batch of submissions, whose JSON is that of the insert. In this order for the same
/// reason.
pub(crate) const PARKED: Sql = Sql::each(
    "SELECT r.id, r.status, r.error, r.received_at, j.value ->> 1 AS delivery_id, j.value ->> 2 AS part
     FROM json_each($1) j
         CROSS JOIN receipts r ON r.gateway = $2 AND r.provider_id = j.value ->> 0 AND r.delivery_id IS NULL
             AND r.received_at >= (j.value ->> 5) - 60000
         CROSS JOIN deliveries d ON d.id = j.value ->> 1 AND (r.recipient IS NULL OR d.recipient = r.recipient)
     ORDER BY r.id",
    "SELECT r.id, r.status, r.error, r.received_at, (j.value ->> 1)::bigint AS delivery_id, (j.value ->> 2)::bigint AS part
     FROM json_array_elements($1::json) AS j(value)
         CROSS JOIN LATERAL (
             SELECT * FROM receipts WHERE gateway = $2 AND provider_id = j.value ->> 0 AND delivery_id IS NULL
                 AND received_at >= (j.value ->> 5)::bigint - 60000 OFFSET 0) r
         JOIN deliveries d ON d.id = (j.value ->> 1)::bigint AND (r.recipient IS NULL OR d.recipient = r.recipient)
     ORDER BY r.id",
);
const UNPARK: Sql = Sql::each(
    "UPDATE receipts SET delivery_id = j.value ->> 1,
         organisation_id = (SELECT organisation_id FROM deliveries d WHERE d.id = j.value ->> 1)
     FROM json_each($1) j WHERE receipts.id = j.value ->> 0 AND receipts.delivery_id IS NULL",
    "UPDATE receipts SET delivery_id = (j.value ->> 1)::bigint,
         organisation_id = (SELECT organisation_id FROM deliveries d WHERE d.id = (j.value ->> 1)::bigint)
     FROM json_array_elements($1::json) AS j(value)
     WHERE receipts.id = (j.value ->> 0)::bigint AND receipts.delivery_id IS NULL",
);

/// What a receipt says about a part of a delivery.
#[derive(Clone, Debug)]
pub(crate) struct PartReceipt {
    pub(crate) delivery: i64,
    pub(crate) part: i64,
    pub(crate) status: ReceiptStatus,
    pub(crate) error: Option<String>,
    pub(crate) at: i64,
}

/// From which state to which, why, and when.
type Move<'a> = (&'static str, &'static str, Option<&'a str>, i64);

/// A row of [`DELIVERIES`]: id, state, parts.
#[derive(serde::Deserialize)]
struct Standing<'a>(i64, &'a str, i64);

struct ParkedRow {
    id: i64,
    status: String,
    error: Option<String>,
    received_at: i64,
    delivery_id: i64,
    part: i64,
}

from_row!(ParkedRow: id, status, error, received_at, delivery_id, part);

impl Store {
    /// Stores a batch and moves the deliveries, in one transaction. Of a long message every part must be delivered.
    ///
    /// # Errors
    /// What the database says; nothing of the batch is stored then, and no receipt may be acknowledged.
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
        // The delivery tells the phone, where there is one: see `apply`.
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

/// Moves deliveries by what their receipts say; gives how many moved.
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
    let corrupt = || StoreError::Corrupt { table: "deliveries", column: "state" };
    let rows: Vec<Standing<'_>> = serde_json::from_str(&rows).map_err(|_| corrupt())?;
    // Most of a batch moves the same way, so it is a statement for each way, and a list of numbers.
    let mut alike: BTreeMap<Move<'_>, Vec<i64>> = BTreeMap::new();
    let (mut reopened, mut late_rings, mut settled) = (Vec::new(), Vec::new(), Vec::new());
    let mut latest = 0;
    for Standing(id, state, parts) in rows {
        let state: DeliveryState = state.parse().map_err(|_| corrupt())?;
        let Some(of_this) = by_delivery.get(&id) else { continue };
        let next = if parts > 1 {
            match merged_parts(tx, id, of_this).await? {
                Some(status) => advance(state, DeliveryEvent::Receipt(status)),
                None => state,
            }
        } else {
            of_this.iter().fold(state, |s, r| advance(s, DeliveryEvent::Receipt(r.status)))
        };
        if next != state {
            let error = of_this.iter().rev().find_map(|r| r.error.as_deref());
            let reason = if next == DeliveryState::Undelivered { error } else { None };
            let at = of_this.iter().map(|r| r.at).max().unwrap_or(0);
            alike.entry((state.as_str(), next.as_str(), reason, at)).or_default().push(id);
            if next == DeliveryState::Sent {
                reopened.push(id);
            }
            // What waits in the queue and has a receipt was in doubt, and waits to be sent again.
            if matches!(state, DeliveryState::Unknown | DeliveryState::Queued) {
                settled.push(id);
                latest = latest.max(at);
            }
            if next.reached() && counts_as_lost(state) {
                late_rings.push(id);
            }
        }
    }
    let mut moved = 0;
    for ((state, next, reason, at), ids) in alike {
        moved += on_tx!(&mut *tx, conn, d => sqlx::query(MOVE.of(d))
            .bind(json!(ids).to_string()).bind(state).bind(next).bind(reason).bind(at)
            .execute(conn).await?.rows_affected());
    }
    let owe = (!late_rings.is_empty()).then(|| json!(late_rings).to_string());
    if let Some(late_rings) = &owe {
        // Those that were seen to be lost before they were locked have it by now.
        lock::alerts_of(tx, late_rings).await?;
        lock::messages_and_follow_ups(tx, &json!(reopened).to_string(), late_rings).await?;
    }
    reopen(tx, &reopened).await?;
    doubts::settle(tx, &settled, Resolution::Receipt, Timestamp::from_millis(latest)).await?;
    if let Some(late_rings) = owe {
        on_tx!(&mut *tx, conn, d => sqlx::query(OWE_FOLLOW_UPS.of(d)).bind(late_rings).execute(conn).await?.rows_affected());
    }
    for stopped in receipts.iter().filter(|r| r.error.as_deref() == Some(Failure::OPTED_OUT)) {
        deferred.stop_phone_of(stopped.delivery, Timestamp::from_millis(stopped.at));
    }
    Ok(moved)
}

/// Notes what the receipts say of single parts and gives what the parts say together. Long messages are the exception, so
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

/// Joins receipts that came before the answer to their submit. `submissions` gives the JSON of the insert, which is made only
/// where something is parked.
pub(crate) async fn join_parked(
    tx: &mut Tx,
    gateway: &str,
    submissions: impl FnOnce() -> String,
    deferred: &mut DeferredEffects,
) -> Result<u64> {
    let parked: bool = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(ANY_PARKED.of(d)).bind(gateway).fetch_one(conn).await?);
    if !parked {
        return Ok(0);
    }
    let rows: Vec<ParkedRow> = on_tx!(&mut *tx, conn, d => sqlx::query_as(PARKED.of(d))
        .bind(submissions()).bind(gateway).fetch_all(conn).await?);
    let owners: Vec<(i64, i64)> = rows.iter().map(|row| (row.id, row.delivery_id)).collect();
    let receipts = rows
        .into_iter()
        .map(|row| {
            Ok(PartReceipt {
                delivery: row.delivery_id,
                part: row.part,
                status: row
                    .status
                    .parse()
                    .map_err(|_| StoreError::Corrupt { table: "receipts", column: "status" })?,
                error: row.error,
                at: row.received_at,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    unpark(tx, &owners).await?;
    apply(tx, &receipts, deferred).await?;
    Ok(receipts.len() as u64)
}

/// Gives parked receipts `(receipt, delivery)` their delivery.
pub(crate) async fn unpark(tx: &mut Tx, owners: &[(i64, i64)]) -> Result<()> {
    if owners.is_empty() {
        return Ok(());
    }
    let owners = json!(owners).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(UNPARK.of(d)).bind(owners).execute(conn).await?.rows_affected());
    Ok(())
}

#[cfg(test)]
mod tests;
