//! Submits whose answer was lost. Each is written down, asked for at the provider if the provider can be asked, and settled
//! once, in a way that can be counted.
//!
//! A doubt is opened in the transaction that makes its delivery `unknown`, and settled in the one that moves the delivery on. It
//! is guarded by the lock of its delivery's row; only asking and counting take it alone, and pass over what is locked.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use klaroen_domain::time::Timestamp;
use serde_json::json;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::{Result, Store, StoreError};

/// How long after its time a doubt may wait for the worker that asks the provider. Then the policy decides.
pub const ASKED_WITHIN: Duration = Duration::from_mins(1);

/// How a lost submit came to be known, or what the policy made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Its receipt came.
    Receipt,
    /// The provider was asked, and has it.
    LookupFound,
    /// The provider was asked, and does not know it: it was not taken, and went back to the queue.
    LookupNotFound,
    /// It was handed over again under the same reference, which the provider knows to be the same message.
    IdempotentResend,
    /// Nothing settled it, and it was sent once more: the phone may ring twice.
    PolicyResend,
    /// Nothing settled it, and it is left as it is.
    PolicyHold,
    /// The answer came after all.
    LateAnswer,
}

impl Resolution {
    /// Every one, in the order of the API.
    pub const ALL: [Self; 7] = [
        Self::Receipt,
        Self::LookupFound,
        Self::LookupNotFound,
        Self::IdempotentResend,
        Self::PolicyResend,
        Self::PolicyHold,
        Self::LateAnswer,
    ];

    /// The name as it stands in the API, the metric and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::LookupFound => "lookup_found",
            Self::LookupNotFound => "lookup_not_found",
            Self::IdempotentResend => "idempotent_resend",
            Self::PolicyResend => "policy_resend",
            Self::PolicyHold => "policy_hold",
            Self::LateAnswer => "late_answer",
        }
    }

    pub(crate) fn parse(word: &str) -> Result<Self> {
        let corrupt = StoreError::Corrupt { table: "doubts", column: "settled_by" };
        Self::ALL.into_iter().find(|resolution| resolution.as_str() == word).ok_or(corrupt)
    }
}

/// How many submits of a message were in doubt, and how each came to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoubtCounts {
    /// Not settled yet.
    pub open: u64,
    /// Settled, by how.
    pub settled: BTreeMap<Resolution, u64>,
}

impl DoubtCounts {
    /// All that ever were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.open + self.settled.values().sum::<u64>()
    }

    pub(crate) fn add(&mut self, settled_by: Option<&str>, count: u64) -> Result<()> {
        match settled_by {
            None => self.open += count,
            Some(how) => *self.settled.entry(Resolution::parse(how)?).or_default() += count,
        }
        Ok(())
    }
}

pub(crate) const OPEN: Sql = Sql::each(
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     SELECT d.id, COALESCE(d.lease_token, 0), d.organisation_id, d.message_id,
         rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/'), d.changed_at, d.settle_at
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value
     WHERE d.state = 'unknown' AND d.settle_at IS NOT NULL
     ON CONFLICT (delivery_id, lease_token) DO NOTHING",
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     SELECT d.id, COALESCE(d.lease_token, 0), d.organisation_id, d.message_id,
         rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/'), d.changed_at, d.settle_at
     FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         AND d.state || '' = 'unknown' AND d.settle_at IS NOT NULL
     ON CONFLICT (delivery_id, lease_token) DO NOTHING",
);
/// Whether the provider was asked, or is being asked, about the attempt that a delivery has. On PostgreSQL no worker begins
/// to ask before the transaction ends.
const ASKED: Sql = Sql::each(
    "SELECT x.delivery_id, x.asker IS NOT NULL OR x.unanswered > 0 OR x.missed_at IS NOT NULL OR x.resent > 0
     FROM doubts x JOIN deliveries d ON d.id = x.delivery_id AND d.lease_token = x.lease_token
     WHERE x.delivery_id IN (SELECT value FROM json_each($1))",
    "SELECT x.delivery_id, x.asker IS NOT NULL OR x.unanswered > 0 OR x.missed_at IS NOT NULL OR x.resent > 0
     FROM doubts x JOIN deliveries d ON d.id = x.delivery_id AND d.lease_token = x.lease_token
     WHERE x.delivery_id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
     ORDER BY x.delivery_id FOR UPDATE OF x",
);
/// A delivery keeps the lease token of its last attempt until it is claimed again: that is the doubt that is meant.
const SETTLE: Sql = Sql::each(
    "UPDATE doubts SET settled_by = $2, settled_at = $3, ask_at = NULL, asker = NULL, counted = FALSE
     WHERE delivery_id IN (SELECT value FROM json_each($1)) AND (settled_by IS NULL OR settled_by <> $2)
         AND lease_token = (SELECT COALESCE(d.lease_token, 0) FROM deliveries d WHERE d.id = doubts.delivery_id)",
    "UPDATE doubts SET settled_by = $2, settled_at = $3, ask_at = NULL, asker = NULL, counted = FALSE
     WHERE delivery_id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         AND (settled_by IS NULL OR settled_by <> $2)
         AND lease_token = (SELECT COALESCE(d.lease_token, 0) FROM deliveries d WHERE d.id = doubts.delivery_id)",
);
const CAN_BE_ASKED: Sql =
    Sql::new("UPDATE channels SET can_be_asked = $2 WHERE gateway = $1 AND can_be_asked <> $2");
const ANY_UNCOUNTED: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM doubts WHERE settled_by IS NOT NULL AND NOT counted)");
const COUNT: Sql = Sql::each(
    "UPDATE doubts SET counted = TRUE
     WHERE (delivery_id, lease_token) IN (
         SELECT delivery_id, lease_token FROM doubts WHERE settled_by IS NOT NULL AND NOT counted LIMIT 10000)
     RETURNING gateway, settled_by",
    "WITH uncounted AS (
         SELECT delivery_id, lease_token FROM doubts WHERE settled_by IS NOT NULL AND NOT counted LIMIT 10000
         FOR UPDATE SKIP LOCKED)
     UPDATE doubts SET counted = TRUE FROM uncounted u
     WHERE doubts.delivery_id = u.delivery_id AND doubts.lease_token = u.lease_token
     RETURNING doubts.gateway, doubts.settled_by",
);

/// Writes down that these deliveries, which are `unknown` now, are in doubt.
pub(crate) async fn open(tx: &mut Tx, deliveries: &[i64]) -> Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let ids = json!(deliveries).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(OPEN.of(d)).bind(ids).execute(conn).await?.rows_affected());
    Ok(())
}

/// Writes down how the last doubt about each of these deliveries ended.
pub(crate) async fn settle(
    tx: &mut Tx,
    deliveries: &[i64],
    resolution: Resolution,
    now: Timestamp,
) -> Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let ids = json!(deliveries).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(SETTLE.of(d))
        .bind(ids).bind(resolution.as_str()).bind(now.as_millis()).execute(conn).await?.rows_affected());
    Ok(())
}

impl Store {
    /// Notes whether the provider behind a gateway can be asked about lost submits, or takes them again harmlessly: the
    /// policy then leaves [`ASKED_WITHIN`] to the worker that asks. For a worker that holds a channel of the gateway.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn note_can_be_asked(&self, gateway: &str, can_be_asked: bool) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(CAN_BE_ASKED.of(d))
            .bind(gateway).bind(can_be_asked).execute(pool).await?.rows_affected());
        Ok(())
    }

    /// How many doubts were settled since the last call, by gateway and how. Each is told once, to one process.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn count_settled_doubts(&self) -> Result<Vec<(String, Resolution)>> {
        let any: bool =
            on_db!(read self.db, pool, d => sqlx::query_scalar(ANY_UNCOUNTED.of(d)).fetch_one(pool).await?);
        if !any {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, String)> =
            on_db!(write self.db, pool, d => sqlx::query_as(COUNT.of(d)).fetch_all(pool).await?);
        rows.into_iter().map(|(gateway, how)| Ok((gateway, Resolution::parse(&how)?))).collect()
    }
}
/// Those of these deliveries that may have been handed over again under the lease token that they have, because their provider was
/// asked about them: that they were not taken at first says nothing any more.
pub(crate) async fn asked(tx: &mut Tx, deliveries: &[i64]) -> Result<HashSet<i64>> {
    if deliveries.is_empty() {
        return Ok(HashSet::new());
    }
    let deliveries = json!(deliveries).to_string();
    let rows: Vec<(i64, bool)> =
        on_tx!(tx, conn, d => sqlx::query_as(ASKED.of(d)).bind(deliveries).fetch_all(conn).await?);
    Ok(rows.into_iter().filter(|(_, asked)| *asked).map(|(id, _)| id).collect())
}
