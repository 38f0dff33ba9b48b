//! Every receipt as it came.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::incoming::IncomingReceipt;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::hex;
use crate::engine::json_object::object;
use crate::{Result, StoreError};

/// Of deliveries whose phone is the one that they name; most of a batch. `$1` is
/// `{"delivery": [provider id, raw, received at, error]}`: what the delivery's row has is not sent along, and a short array is
/// what both databases take apart soonest.
pub(crate) const INSERT_FOUND: Sql = Sql::each(
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT d.organisation_id, $2, j.value ->> 0, $3, j.value ->> 3, d.recipient, j.value ->> 1, j.value ->> 2, d.id
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = CAST(j.key AS INTEGER)",
    "INSERT INTO receipts
         (organisation_id, gateway, provider_id, status, error, recipient, raw, received_at, delivery_id)
     SELECT d.organisation_id, $2, j.value ->> 0, $3, j.value ->> 3, d.recipient, j.value ->> 1, (j.value ->> 2)::bigint, d.id
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

/// The rows that a batch adds to the log.
#[derive(Default)]
pub(super) struct Log<'a> {
    /// By status; each with its delivery.
    found: BTreeMap<&'static str, Vec<(i64, &'a IncomingReceipt)>>,
    /// Rows of [`INSERT`].
    others: Vec<Value>,
}

impl<'a> Log<'a> {
    /// A receipt about a delivery that was found by the provider's id.
    pub(super) fn found(&mut self, receipt: &'a IncomingReceipt, delivery: i64) {
        // A receipt that names no phone is kept so.
        if receipt.recipient.is_none() {
            return self.other(receipt, Some(delivery));
        }
        self.found.entry(receipt.status.as_str()).or_default().push((delivery, receipt));
    }

    /// Any other, with the id of the delivery or test that it is about, if that is known.
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
        for (status, receipts) in self.found {
            let rows = object(receipts.iter().map(|(delivery, receipt)| {
                let IncomingReceipt { provider_id, raw, received_at, error, .. } = receipt;
                (*delivery, (&provider_id.0, raw, received_at.as_millis(), error))
            }));
            let written = on_tx!(&mut *tx, conn, d => sqlx::query(INSERT_FOUND.of(d))
                .bind(rows).bind(gateway).bind(status).execute(conn).await?.rows_affected());
            // A delivery is never deleted by itself. If one has gone, none of the batch is acknowledged.
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

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{ProviderId, ReceiptStatus};
    use klaroen_test_databases::Engine;
    use rstest::rstest;
    use uuid::Uuid;

    use super::*;
    use crate::engine::db::on_db;
    use crate::engine::seal::Recipient;
    use crate::tests::fixture::{Fixture, NOW, phone};

    const DELIVERY: Sql = Sql::new(
        "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
         VALUES ($1, $2, $2, $3, 2, 'sent', 0, 0) RETURNING id",
    );
    const MESSAGE: Sql = Sql::new(
        "INSERT INTO messages (id, organisation_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
                               created_at)
         VALUES ($1, $2, 'start', 'urgent', 2, 't', 'gsm7', 1, 2, 9000000000000, 0)",
    );
    const SUBMISSION: Sql = Sql::new(
        "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, submitted_at)
         VALUES ('north', $1, $2, 0, 1, $3, 0)",
    );
    const KEPT: Sql = Sql::new(
        "SELECT organisation_id, provider_id, status, error, recipient, raw, received_at, delivery_id FROM receipts ORDER BY raw",
    );
    const STATES: Sql = Sql::new("SELECT state FROM deliveries ORDER BY id");

    type Kept = (Option<Uuid>, String, String, Option<String>, Option<Vec<u8>>, String, i64, Option<i64>);

    #[rstest]
    #[tokio::test]
    async fn every_receipt_is_kept_as_it_came(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let phones: Vec<Recipient> = (0..2).map(|n| f.store.keys().recipient(&phone(n))).collect();
        let (message, organisation) = (Uuid::now_v7(), f.organisation.0);
        let mut deliveries = Vec::new();
        on_db!(write f.store.db, pool, d => {
            sqlx::query(MESSAGE.of(d)).bind(message).bind(organisation).execute(pool).await.unwrap();
            for (name, Recipient(recipient)) in ["a\"1", "é'2"].iter().zip(&phones) {
                let id: i64 = sqlx::query_scalar(DELIVERY.of(d)).bind(organisation).bind(message).bind(&recipient[..])
                    .fetch_one(pool).await.unwrap();
                sqlx::query(SUBMISSION.of(d)).bind(*name).bind(id).bind(organisation).execute(pool).await.unwrap();
                deliveries.push(id);
            }
        });
        let receipt = |raw: &str, name: &str, status, error: Option<&str>, recipient| IncomingReceipt {
            provider_id: ProviderId(name.into()),
            delivery: None,
            status,
            error: error.map(str::to_owned),
            recipient,
            raw: raw.to_owned(),
            received_at: NOW,
        };
        let (first, second) = (Some(phones[0]), Some(phones[1]));
        let batch = [
            receipt("1 \\ \"quoted\"", "a\"1", ReceiptStatus::Underway, None, first),
            receipt("2 of the same", "a\"1", ReceiptStatus::Delivered, None, first),
            receipt("3 names no phone", "a\"1", ReceiptStatus::Delivered, None, None),
            receipt("4 ünd", "é'2", ReceiptStatus::Undelivered, Some("it's 27"), second),
            receipt("5 is of another phone", "é'2", ReceiptStatus::Delivered, None, first),
            receipt("6 is of nobody", "c", ReceiptStatus::Delivered, None, second),
            receipt("7 of the same, too", "a\"1", ReceiptStatus::Delivered, None, first),
            receipt("8 as the first, with an error", "é'2", ReceiptStatus::Delivered, Some(""), second),
        ];
        let counts = f.store.store_receipts("north", &batch).await.unwrap();
        assert_eq!((counts.joined, counts.parked, counts.moved), (6, 2, 2));
        let (kept, states): (Vec<Kept>, Vec<String>) = on_db!(read f.store.db, pool, d => (
            sqlx::query_as(KEPT.of(d)).fetch_all(pool).await.unwrap(),
            sqlx::query_scalar(STATES.of(d)).fetch_all(pool).await.unwrap(),
        ));
        let [one, two] = [0, 1].map(|n| Some(deliveries[n]));
        let about = [one, one, one, two, None, None, one, two];
        let expected: Vec<Kept> = batch
            .iter()
            .zip(about)
            .map(|(receipt, about)| {
                (
                    about.map(|_| organisation),
                    receipt.provider_id.0.clone(),
                    receipt.status.as_str().to_owned(),
                    receipt.error.clone(),
                    receipt.recipient.map(|Recipient(recipient)| recipient.to_vec()),
                    receipt.raw.clone(),
                    receipt.received_at.as_millis(),
                    about,
                )
            })
            .collect();
        assert_eq!(kept, expected);
        assert_eq!(states, ["delivered", "delivered"]);
    }
}
