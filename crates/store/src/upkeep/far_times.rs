//! Times that lie further ahead than anything here sets them: the clock was set back since. Without this, what waits for such a time
//! waits as long as the clock was set back by, and so does every process that starts meanwhile.
//!
//! Each statement looks first without a lock: as good as always there is nothing to do.

use std::time::Duration;

use klaroen_domain::decide::LONGEST_WAIT;
use klaroen_domain::time::Timestamp;

use crate::engine::db::{Sql, on_db};
use crate::engine::sql::sql;
use crate::{Result, Store};

/// No lease of a delivery is longer, and none of a channel or of a question to a provider.
const LONGEST_LEASE: Duration = Duration::from_mins(1);
/// Rows of one kind that a statement changes: the one writer is not held up for longer than some milliseconds.
const BATCH: i64 = 5_000;

/// Queued deliveries that are due too late are due now.
///
/// `$1`: the present moment; `$2`: the latest time that may be; `$3`: how many.
const QUEUED: Sql = sql!(
    "UPDATE deliveries SET due_at = $1 WHERE id IN (
         SELECT d.id FROM messages m {sqlite(CROSS)} JOIN deliveries d ON d.message_id = m.id
         WHERE NOT m.settled AND d.state = 'queued' AND d.due_at > $2 LIMIT $3 {lock_skip(d)})"
);
const QUEUED_EXIST: Sql = sql!(
    "SELECT EXISTS (SELECT 1 FROM messages m {sqlite(CROSS)} JOIN deliveries d ON d.message_id = m.id
         WHERE NOT m.settled AND d.state = 'queued' AND d.due_at > $1)"
);
/// A worker that lives writes what comes of its deliveries whatever the lease says, so a lease that is too long ends at the latest time
/// that it may, and not now.
const LEASED: Sql = sql!(
    "UPDATE deliveries SET lease_until = $1 WHERE id IN (
         SELECT d.id FROM messages m {sqlite(CROSS)} JOIN deliveries d ON d.message_id = m.id
         WHERE NOT m.settled AND d.state = 'sending' AND d.lease_until > $1 LIMIT $2 {lock_skip(d)})"
);
const LEASED_EXIST: Sql = sql!(
    "SELECT EXISTS (SELECT 1 FROM messages m {sqlite(CROSS)} JOIN deliveries d ON d.message_id = m.id
         WHERE NOT m.settled AND d.state = 'sending' AND d.lease_until > $1)"
);
const IN_DOUBT: Sql = sql!(
    "UPDATE deliveries SET settle_at = $1 WHERE id IN (
         SELECT id FROM deliveries WHERE state = 'unknown' AND settle_at IS NOT NULL AND settle_at > $1
         LIMIT $2 {lock_skip})"
);
const IN_DOUBT_EXIST: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM deliveries WHERE state = 'unknown' AND settle_at IS NOT NULL AND settle_at > $1)",
);
const QUESTIONS: Sql = Sql::new("UPDATE doubts SET ask_at = $1 WHERE ask_at IS NOT NULL AND ask_at > $1");
const CHANNELS: Sql = Sql::new("UPDATE channels SET lease_until = $1 WHERE lease_until > $1");
/// Who lives says so again within a second.
const REPORTS: Sql = Sql::new("DELETE FROM gateway_reports WHERE seen_until > $1");
const WORKERS: Sql = Sql::new("DELETE FROM workers WHERE seen_until > $1");

impl Store {
    /// Brings every time that is further ahead than it can have been set back to where it may be. Returns the number of queued
    /// deliveries that are due again, so that workers are woken if there are any. `settle_after`: no doubt waits longer for the
    /// policy.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn pull_in_far_times(&self, settle_after: Duration, now: Timestamp) -> Result<u64> {
        let leased = now.plus(LONGEST_LEASE).as_millis();
        let settled = now.plus(settle_after.max(LONGEST_LEASE)).as_millis();
        let mut due = 0;
        let latest = now.plus(LONGEST_WAIT).as_millis();
        while self.is_any_after(QUEUED_EXIST, latest).await? {
            let rows = on_db!(write self.db, pool, d => sqlx::query(QUEUED.of(d))
                .bind(now.as_millis()).bind(latest).bind(BATCH).execute(pool).await?.rows_affected());
            due += rows;
            // The others are locked: by somebody who changes them, or until the next time.
            if rows == 0 {
                break;
            }
        }
        for (exist, change, latest) in [(LEASED_EXIST, LEASED, leased), (IN_DOUBT_EXIST, IN_DOUBT, settled)] {
            while self.is_any_after(exist, latest).await? {
                let rows = on_db!(write self.db, pool, d => sqlx::query(change.of(d))
                    .bind(latest).bind(BATCH).execute(pool).await?.rows_affected());
                if rows == 0 {
                    break;
                }
            }
        }
        for (table, change) in [
            (FAR_QUESTIONS, QUESTIONS),
            (FAR_CHANNELS, CHANNELS),
            (FAR_REPORTS, REPORTS),
            (FAR_WORKERS, WORKERS),
        ] {
            if self.is_any_after(table, leased).await? {
                on_db!(write self.db, pool, d =>
                    sqlx::query(change.of(d)).bind(leased).execute(pool).await?.rows_affected());
            }
        }
        Ok(due)
    }

    async fn is_any_after(&self, exist: Sql, latest: i64) -> Result<bool> {
        Ok(
            on_db!(read self.db, pool, d => sqlx::query_scalar(exist.of(d)).bind(latest).fetch_one(pool).await?),
        )
    }
}

const FAR_QUESTIONS: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM doubts WHERE ask_at IS NOT NULL AND ask_at > $1)");
const FAR_CHANNELS: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM channels WHERE lease_until > $1)");
const FAR_REPORTS: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM gateway_reports WHERE seen_until > $1)");
const FAR_WORKERS: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM workers WHERE seen_until > $1)");
