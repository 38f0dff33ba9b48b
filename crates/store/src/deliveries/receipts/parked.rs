//! Receipts whose delivery was not known when they came.

use serde_json::json;

use super::incoming::PartReceipt;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::{Result, StoreError};

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
         CROSS JOIN LATERAL (SELECT recipient FROM deliveries WHERE id = (j.value ->> 1)::bigint OFFSET 0) d
     WHERE r.recipient IS NULL OR d.recipient = r.recipient
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

from_row! {
    struct ParkedRow {
        id: i64,
        status: String,
        error: Option<String>,
        received_at: i64,
        delivery_id: i64,
        part: i64,
    }
}

/// The parked receipts that are about submissions of this gateway, which have their deliveries from now on.
pub(super) async fn take(
    tx: &mut Tx,
    gateway: &str,
    submissions: impl FnOnce() -> String,
) -> Result<Vec<PartReceipt>> {
    let parked: bool = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(ANY_PARKED.of(d)).bind(gateway).fetch_one(conn).await?);
    if !parked {
        return Ok(Vec::new());
    }
    let rows: Vec<ParkedRow> = on_tx!(&mut *tx, conn, d => sqlx::query_as(PARKED.of(d))
        .bind(submissions()).bind(gateway).fetch_all(conn).await?);
    let owners: Vec<(i64, i64)> = rows.iter().map(|row| (row.id, row.delivery_id)).collect();
    unpark(tx, &owners).await?;
    rows.into_iter()
        .map(|row| {
            let corrupt = |_| StoreError::Corrupt { table: "receipts", column: "status" };
            Ok(PartReceipt {
                delivery: row.delivery_id,
                part: row.part,
                status: row.status.parse().map_err(corrupt)?,
                error: row.error,
                at: row.received_at,
            })
        })
        .collect()
}

/// Assigns parked receipts `(receipt, delivery)` to their delivery.
pub(crate) async fn unpark(tx: &mut Tx, owners: &[(i64, i64)]) -> Result<()> {
    if owners.is_empty() {
        return Ok(());
    }
    let owners = json!(owners).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(UNPARK.of(d)).bind(owners).execute(conn).await?.rows_affected());
    Ok(())
}
