//! Every receipt as it came.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::IncomingReceipt;
use crate::db::{Sql, Tx, on_tx};
use crate::object::object;
use crate::{Result, StoreError, hex};

/// Of deliveries whose phone is the one that they name; most of a batch. `$1` is `{"delivery": [provider id, raw, received at]}`:
/// what the delivery's row has is not sent along, and a short array is what both databases take apart soonest.
pub(crate) const INSERT_FOUND: Sql = Sql::each(
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT d.organisation_id, $2, j.value ->> 0, $3, $4, d.recipient, j.value ->> 1, j.value ->> 2, d.id
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = CAST(j.key AS INTEGER)",
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT d.organisation_id, $2, j.value ->> 0, $3, $4, d.recipient, j.value ->> 1, (j.value ->> 2)::bigint, d.id
     FROM json_each($1::json) AS j(key, value)
         CROSS JOIN LATERAL (
             SELECT id, organisation_id, recipient FROM deliveries WHERE id = j.key::bigint OFFSET 0) d",
);
/// The others.
const INSERT: Sql = Sql::each(
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT (SELECT organisation_id FROM deliveries d WHERE d.id = j.value ->> 6), $2, j.value ->> 0, j.value ->> 1,
         j.value ->> 2, unhex(j.value ->> 3), j.value ->> 4, j.value ->> 5, j.value ->> 6
     FROM json_each($1) j",
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT (SELECT organisation_id FROM deliveries d WHERE d.id = (j.value ->> 6)::bigint), $2, j.value ->> 0,
         j.value ->> 1, j.value ->> 2, decode(j.value ->> 3, 'hex'), j.value ->> 4, (j.value ->> 5)::bigint,
         (j.value ->> 6)::bigint
     FROM json_array_elements($1::json) AS j(value)",
);

/// What a batch adds to the log.
#[derive(Default)]
pub(super) struct Log<'a> {
    /// By status and error; each with its delivery.
    found: BTreeMap<(&'static str, Option<&'a str>), Vec<(i64, &'a IncomingReceipt)>>,
    /// Rows of [`INSERT`].
    others: Vec<Value>,
}

impl<'a> Log<'a> {
    /// A receipt about a delivery that was found by the provider's id.
    pub(super) fn found(&mut self, receipt: &'a IncomingReceipt, delivery: i64) {
        // What names no phone is kept so.
        if receipt.recipient.is_none() {
            return self.other(receipt, Some(delivery));
        }
        let alike = (receipt.status.as_str(), receipt.error.as_deref());
        self.found.entry(alike).or_default().push((delivery, receipt));
    }

    /// Any other, with the id of the delivery or test that it is about, where that is known.
    pub(super) fn other(&mut self, receipt: &IncomingReceipt, about: Option<i64>) {
        self.others.push(json!([
            receipt.provider_id.0,
            receipt.status.as_str(),
            receipt.error,
            receipt.recipient.map(|r| hex::encode(&r.0)),
            receipt.raw,
            receipt.received_at.as_millis(),
            about,
        ]));
    }

    /// Writes all.
    pub(super) async fn write(self, tx: &mut Tx, gateway: &str) -> Result<()> {
        for ((status, error), receipts) in self.found {
            let rows = object(receipts.iter().map(|(delivery, receipt)| {
                (*delivery, (&receipt.provider_id.0, &receipt.raw, receipt.received_at.as_millis()))
            }));
            let written = on_tx!(&mut *tx, conn, d => sqlx::query(INSERT_FOUND.of(d))
                .bind(rows).bind(gateway).bind(status).bind(error).execute(conn).await?.rows_affected());
            // A delivery is never deleted by itself; none of the batch is acknowledged where one has gone.
            if written != receipts.len() as u64 {
                return Err(StoreError::Corrupt { table: "deliveries", column: "id" });
            }
        }
        if !self.others.is_empty() {
            on_tx!(&mut *tx, conn, d => sqlx::query(INSERT.of(d))
                .bind(Value::Array(self.others).to_string()).bind(gateway).execute(conn).await?.rows_affected());
        }
        Ok(())
    }
}
