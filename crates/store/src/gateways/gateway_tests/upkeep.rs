//! The changes that time and receipts make to the tests of gateways.

use std::time::Duration;

use klaroen_domain::gateway::TestState;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::ReceiptStatus;
use klaroen_domain::time::Timestamp;
use serde_json::json;

use super::{GatewayTest, Row};
use crate::deliveries::receipts::incoming::IncomingReceipt;
use crate::deliveries::receipts::parked;
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::hex;
use crate::{Result, Store, StoreError};

/// A test that no worker takes in this time did not leave: an operator is waiting for it, and one that leaves in the middle of the
/// night after an outage tells no operator anything.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// A receipt that takes longer is no good to an alert.
const RECEIPT: Duration = Duration::from_mins(10);
/// How long tests are kept: as long as an operator may ask when a gateway last worked.
pub(crate) const KEEP_TESTS: Duration = Duration::from_hours(24 * 400);

const ANY_OPEN: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM gateway_tests WHERE under_way) OR EXISTS (SELECT 1 FROM gateway_tests WHERE awaits_receipt)",
);
const NOT_TAKEN: Sql = Sql::new(
    "UPDATE gateway_tests SET state = 'refused', under_way = FALSE, code = 'no_connection',
         detail = 'no worker with a connection of this gateway took the test'
     WHERE under_way AND state = 'requested' AND requested_at <= $1",
);
const LOST: Sql = Sql::new(
    "UPDATE gateway_tests SET state = 'unknown', under_way = FALSE, awaits_receipt = FALSE, code = 'lease_lost',
         detail = 'the worker ended before the provider answered'
     WHERE under_way AND state = 'submitting' AND lease_until <= $1",
);
const NO_RECEIPT: Sql = Sql::new(
    "UPDATE gateway_tests SET state = 'no_receipt', under_way = FALSE, awaits_receipt = FALSE, code = 'no_receipt',
         detail = 'no receipt came in 10 minutes'
     WHERE awaits_receipt AND state = 'accepted' AND submitted_at <= $1",
);
const ANY_FAILED: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM gateway_tests
     WHERE NOT told AND state IN ('refused', 'unknown', 'undelivered', 'no_receipt') AND requested_at > $1)",
);
const FAILED: Sql = Sql::new(
    "UPDATE gateway_tests SET told = TRUE
     WHERE NOT told AND state IN ('refused', 'unknown', 'undelivered', 'no_receipt') AND requested_at > $1
     RETURNING id, number, gateway, day, requested_by, organisation_id, state, awaits_receipt, channel, requested_at,
         submitted_at, answered_at, receipt_at, code, detail",
);
/// Receipts that were quicker than the answer to their test.
const PARKED: Sql = Sql::new(
    "SELECT r.id, r.status, r.error, r.received_at, t.number FROM gateway_tests t
         JOIN receipts r ON r.gateway = t.gateway AND r.provider_id = t.provider_id
     WHERE t.awaits_receipt AND r.delivery_id IS NULL AND r.received_at >= t.submitted_at - 60000
         AND (r.recipient IS NULL OR t.recipient IS NULL OR r.recipient = t.recipient)
     ORDER BY r.id",
);
/// Columns of the JSON: the provider's id, whose phone, when it came. A provider may use an id again: what came before a test
/// left, or is about another phone, is not about the test.
const BY_PROVIDER_ID: Sql = Sql::each(
    "SELECT j.key, MAX(t.number) FROM json_each($1) j
         CROSS JOIN gateway_tests t ON t.gateway = $2 AND t.provider_id = j.value ->> 0
             AND t.submitted_at <= (j.value ->> 2) + 60000
             AND (j.value ->> 1 IS NULL OR t.recipient IS NULL OR t.recipient = unhex(j.value ->> 1))
     GROUP BY j.key",
    "SELECT j.nth - 1, MAX(t.number) FROM json_array_elements($1::json) WITH ORDINALITY AS j(value, nth)
         JOIN gateway_tests t ON t.gateway = $2 AND t.provider_id = j.value ->> 0
             AND t.submitted_at <= (j.value ->> 2)::bigint + 60000
             AND (j.value ->> 1 IS NULL OR t.recipient IS NULL OR t.recipient = decode(j.value ->> 1, 'hex'))
     GROUP BY j.nth",
);
const BY_NUMBER: Sql = Sql::each(
    "SELECT t.number FROM json_each($1) j CROSS JOIN gateway_tests t ON t.number = j.value AND t.gateway = $2",
    "SELECT t.number FROM json_array_elements_text($1::json) AS j(value)
         JOIN gateway_tests t ON t.number = j.value::bigint AND t.gateway = $2",
);
const STATE: Sql = Sql::each(
    "SELECT state FROM gateway_tests WHERE number = $1",
    "SELECT state FROM gateway_tests WHERE number = $1 FOR UPDATE",
);
/// One that is settled is over; one that is under way stays so until its answer and its receipt came.
const SETTLE: Sql = Sql::each(
    "UPDATE gateway_tests SET state = $3, receipt_at = CASE WHEN $4 THEN $5 ELSE receipt_at END,
         under_way = under_way AND NOT $4, awaits_receipt = NOT $4,
         code = CASE WHEN $4 THEN $6 ELSE code END, detail = CASE WHEN $4 THEN NULL ELSE detail END
     WHERE number = $1 AND state = $2",
    "UPDATE gateway_tests SET state = $3, receipt_at = CASE WHEN $4::boolean THEN $5::bigint ELSE receipt_at END,
         under_way = under_way AND NOT $4::boolean, awaits_receipt = NOT $4::boolean,
         code = CASE WHEN $4::boolean THEN $6 ELSE code END, detail = CASE WHEN $4::boolean THEN NULL ELSE detail END
     WHERE number = $1 AND state = $2",
);

/// The test that a receipt of a batch is about: which receipt, which test.
pub(crate) type Found = (usize, i64);

/// Which receipts of a batch are about tests: by our reference, and for those in `unowned` by what the provider calls it. Asks
/// nothing if neither can be.
pub(crate) async fn find(
    tx: &mut Tx,
    gateway: &str,
    batch: &[IncomingReceipt],
    unowned: &[usize],
) -> Result<Vec<Found>> {
    let named: Vec<Found> =
        batch.iter().enumerate().filter_map(|(i, r)| Some((i, test_of(r.delivery)?))).collect();
    let mut found = Vec::new();
    if !named.is_empty() {
        let numbers = json!(named.iter().map(|(_, number)| number).collect::<Vec<_>>()).to_string();
        let known: Vec<i64> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(BY_NUMBER.of(d))
            .bind(numbers).bind(gateway).fetch_all(conn).await?);
        found.extend(named.into_iter().filter(|(_, number)| known.contains(number)));
    }
    if !unowned.is_empty() {
        let asked: Vec<usize> =
            unowned.iter().copied().filter(|i| test_of(batch[*i].delivery).is_none()).collect();
        let receipts = asked.iter().map(|index| {
            let receipt = &batch[*index];
            let phone = receipt.recipient.map(|recipient| hex::encode(&recipient.0));
            json!([receipt.provider_id.0, phone, receipt.received_at.as_millis()])
        });
        let receipts = json!(receipts.collect::<Vec<_>>()).to_string();
        let known: Vec<(i64, i64)> = on_tx!(&mut *tx, conn, d => sqlx::query_as(BY_PROVIDER_ID.of(d))
            .bind(receipts).bind(gateway).fetch_all(conn).await?);
        for (nth, number) in known {
            let index = usize::try_from(nth).ok().and_then(|nth| asked.get(nth));
            found.extend(index.map(|index| (*index, number)));
        }
    }
    Ok(found)
}

fn test_of(reference: Option<DeliveryId>) -> Option<i64> {
    reference.and_then(DeliveryId::test_number)
}

/// Moves a test by what a receipt says.
pub(crate) async fn settle(
    tx: &mut Tx,
    number: i64,
    status: ReceiptStatus,
    error: Option<&str>,
    at: Timestamp,
) -> Result<()> {
    let state: Option<String> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(STATE.of(d)).bind(number).fetch_optional(conn).await?);
    let Some(state) = state else { return Ok(()) };
    let state: TestState =
        state.parse().map_err(|_| StoreError::Corrupt { table: "gateway_tests", column: "state" })?;
    let next = state.after(status);
    if next == state {
        return Ok(());
    }
    let over = next != TestState::Accepted;
    let code = error.filter(|_| next == TestState::Undelivered);
    on_tx!(tx, conn, d => sqlx::query(SETTLE.of(d))
        .bind(number).bind(state.as_str()).bind(next.as_str()).bind(over).bind(at.as_millis()).bind(code)
        .execute(conn).await?.rows_affected());
    Ok(())
}

impl Store {
    /// Brings tests on that wait: joins receipts that came before the answer, and ends those whose time is over. Costs one look
    /// if nothing waits.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn tend_gateway_tests(&self, now: Timestamp) -> Result<()> {
        let open: bool =
            on_db!(read self.db, pool, d => sqlx::query_scalar(ANY_OPEN.of(d)).fetch_one(pool).await?);
        if !open {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let parked: Vec<(i64, String, Option<String>, i64, i64)> =
            on_tx!(&mut tx, conn, d => sqlx::query_as(PARKED.of(d)).fetch_all(conn).await?);
        let owners: Vec<(i64, i64)> =
            parked.iter().map(|(id, .., number)| (*id, DeliveryId::of_test(*number).0)).collect();
        parked::unpark(&mut tx, &owners).await?;
        for (_, status, error, at, number) in parked {
            let status =
                status.parse().map_err(|_| StoreError::Corrupt { table: "receipts", column: "status" })?;
            settle(&mut tx, number, status, error.as_deref(), Timestamp::from_millis(at)).await?;
        }
        for (statement, before) in
            [(NOT_TAKEN, now.minus(PATIENCE)), (LOST, now), (NO_RECEIPT, now.minus(RECEIPT))]
        {
            on_tx!(&mut tx, conn, d => sqlx::query(statement.of(d)).bind(before.as_millis())
                .execute(conn).await?.rows_affected());
        }
        tx.commit().await
    }

    /// Tests of the last days that failed and that no operator was told of: each is returned once, to one process.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn failed_gateway_tests(&self, now: Timestamp) -> Result<Vec<GatewayTest>> {
        let recent = now.minus(Duration::from_hours(48)).as_millis();
        let any: bool = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(ANY_FAILED.of(d)).bind(recent).fetch_one(pool).await?);
        if !any {
            return Ok(Vec::new());
        }
        let rows: Vec<Row> = on_db!(write self.db, pool, d => sqlx::query_as(FAILED.of(d))
            .bind(recent).fetch_all(pool).await?);
        rows.into_iter().map(Row::into_test).collect()
    }
}
