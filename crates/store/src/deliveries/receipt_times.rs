//! The figures that the receipts of the last quarter of an hour contain for each gateway: whether messages arrive, and how
//! soon.

use std::collections::BTreeMap;
use std::time::Duration;

use klaroen_domain::outcome::ReceiptStatus;
use klaroen_domain::time::Timestamp;

use crate::engine::db::{Sql, on_db};
use crate::{Result, Store};

/// How far back.
const BACK: Duration = Duration::from_mins(15);
/// Receipts that are looked at: the newest of all gateways. Enough to tell a half from a tenth, and read in milliseconds.
const NEWEST: i64 = 2_000;

/// The figures from the receipts of one gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReceiptTimes {
    /// Receipts that said delivered.
    pub delivered: u64,
    /// Receipts that said undelivered.
    pub undelivered: u64,
    /// Seconds between answer and receipt, in the middle of them.
    pub median_s: f64,
}

const RECENT: Sql = Sql::new(
    "SELECT r.gateway, r.status, r.received_at - d.sent_at
     FROM (SELECT gateway, status, delivery_id, received_at FROM receipts WHERE received_at > $1
           ORDER BY received_at DESC LIMIT $2) r
         JOIN deliveries d ON d.id = r.delivery_id
     WHERE d.sent_at IS NOT NULL",
);

impl Store {
    /// Returns the figures from the newest receipts for each gateway, whichever process the receipts came to. Only final ones
    /// count.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn receipt_times(&self, now: Timestamp) -> Result<BTreeMap<String, ReceiptTimes>> {
        let rows: Vec<(String, String, i64)> = on_db!(read self.db, pool, d => sqlx::query_as(RECENT.of(d))
            .bind(now.minus(BACK).as_millis()).bind(NEWEST).fetch_all(pool).await?);
        let mut by_gateway: BTreeMap<String, (ReceiptTimes, Vec<i64>)> = BTreeMap::new();
        for (gateway, status, millis) in rows {
            let delivered = match status.parse() {
                Ok(ReceiptStatus::Delivered) => true,
                Ok(ReceiptStatus::Undelivered) => false,
                _ => continue,
            };
            let (times, all) = by_gateway.entry(gateway).or_default();
            times.delivered += u64::from(delivered);
            times.undelivered += u64::from(!delivered);
            // A receipt may come before its answer is written.
            all.push(millis.max(0));
        }
        let times = by_gateway.into_iter().map(|(gateway, (times, mut all))| {
            all.sort_unstable();
            let middle = all.get(all.len() / 2).copied().unwrap_or_default();
            let median_s = Duration::from_millis(middle.unsigned_abs()).as_secs_f64();
            (gateway, ReceiptTimes { median_s, ..times })
        });
        Ok(times.collect())
    }
}
