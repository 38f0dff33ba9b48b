//! Deleting what is no longer needed.

use std::time::Duration;

use klaroen_domain::time::Timestamp;

use crate::engine::db::{Sql, on_db};
use crate::gateways::callbacks::KEEP_REPLAYS;
use crate::gateways::gateway_tests::KEEP_TESTS;
use crate::{Result, Store};

const PRUNE_KEYS: Sql = Sql::new(
    "DELETE FROM idempotency_keys WHERE (organisation_id, key) IN
         (SELECT organisation_id, key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)",
);
// The condition stands twice: a receipt that is joined between the two belongs to its delivery.
const PRUNE_RECEIPTS: Sql = Sql::new(
    "DELETE FROM receipts WHERE delivery_id IS NULL AND id IN
         (SELECT id FROM receipts WHERE delivery_id IS NULL AND received_at < $1 LIMIT $2)",
);

const PRUNE_ALL_RECEIPTS: Sql =
    Sql::new("DELETE FROM receipts WHERE id IN (SELECT id FROM receipts WHERE received_at < $1 LIMIT $2)");

const PRUNE_REPLAYS: Sql = Sql::new(
    "DELETE FROM callback_replays WHERE (gateway, key) IN
         (SELECT gateway, key FROM callback_replays WHERE seen_at < $1 LIMIT $2)",
);

const PRUNE_TESTS: Sql = Sql::new(
    "DELETE FROM gateway_tests WHERE number IN (SELECT number FROM gateway_tests WHERE requested_at < $1 LIMIT $2)",
);

/// Rows that one statement deletes: the one writer is not held up for longer than some milliseconds.
const BATCH: u64 = 10_000;
/// Batches of one kind that a call deletes at most: some seconds' work, after which other upkeep has its turn.
const BATCHES: u64 = 10;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Idempotency keys.
    pub idempotency: Duration,
    /// Receipts that no delivery claimed.
    pub parked_receipts: Duration,
    /// Receipts as they came; what they said of a delivery stays with it.
    pub receipts: Duration,
}

/// The number of rows that a call deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// How many rows.
    pub rows: u64,
    /// Whether there is more: call again soon.
    pub more: bool,
}

impl Store {
    /// Deletes what is older than it may be, a bounded number of rows at a time.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn prune(&self, retention: &Retention, now: Timestamp) -> Result<Pruned> {
        let kinds = [
            (PRUNE_KEYS, retention.idempotency),
            (PRUNE_RECEIPTS, retention.parked_receipts),
            (PRUNE_ALL_RECEIPTS, retention.receipts),
            (PRUNE_REPLAYS, KEEP_REPLAYS),
            (PRUNE_TESTS, KEEP_TESTS),
        ];
        let mut pruned = Pruned::default();
        for (statement, kept) in kinds {
            let rows = self.delete_before(statement, now.minus(kept)).await?;
            pruned.rows += rows;
            pruned.more |= rows == BATCH * BATCHES;
        }
        Ok(pruned)
    }

    async fn delete_before(&self, statement: Sql, end: Timestamp) -> Result<u64> {
        let mut deleted = 0;
        for _ in 0..BATCHES {
            let rows = on_db!(write self.db, pool, d => sqlx::query(statement.of(d))
                .bind(end.as_millis()).bind(i64::try_from(BATCH).unwrap_or(i64::MAX))
                .execute(pool).await?.rows_affected());
            deleted += rows;
            if rows < BATCH {
                break;
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sql::sql;
    use crate::tests::fixture::{Fixture, NOW};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    const HOUR: Duration = Duration::from_hours(1);
    const KEYS: Sql = sql!(
        "INSERT INTO idempotency_keys (organisation_id, key, fingerprint, resource, created_at)
         SELECT $1, j.value, {blob('00')}, $1, $2 FROM {values($3)} j"
    );
    const RECEIPTS: Sql = Sql::new(
        "INSERT INTO receipts (gateway, provider_id, status, raw, received_at, delivery_id)
         VALUES ('g', 'parked', 's', '', $1, NULL), ('g', 'joined', 's', '', $1, 7)",
    );
    const LEFT: Sql = Sql::new(
        "SELECT key FROM idempotency_keys UNION ALL SELECT provider_id || received_at FROM receipts ORDER BY 1",
    );

    async fn keys(f: &Fixture, names: &[String], at: Timestamp) {
        let names = serde_json::json!(names).to_string();
        on_db!(write f.store.db, pool, d => sqlx::query(KEYS.of(d))
            .bind(f.organisation.0).bind(at.as_millis()).bind(names).execute(pool).await.unwrap().rows_affected());
    }

    async fn receipts(f: &Fixture, at: Timestamp) {
        on_db!(write f.store.db, pool, d =>
            sqlx::query(RECEIPTS.of(d)).bind(at.as_millis()).execute(pool).await.unwrap().rows_affected());
    }

    async fn left(f: &Fixture) -> Vec<String> {
        on_db!(read f.store.db, pool, d => sqlx::query_scalar(LEFT.of(d)).fetch_all(pool).await.unwrap())
    }

    #[rstest]
    #[tokio::test]
    async fn only_what_is_too_old_and_belongs_to_nothing_goes(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let retention = Retention { idempotency: HOUR, parked_receipts: 2 * HOUR, receipts: 1_000 * HOUR };
        let (old, kept) = (NOW.minus(HOUR + Duration::from_millis(1)), NOW.minus(HOUR));
        keys(&f, &["old".into()], old).await;
        keys(&f, &["kept".into()], kept).await;
        let (old, kept) = (old.minus(HOUR), kept.minus(HOUR));
        receipts(&f, old).await;
        receipts(&f, kept).await;
        assert_eq!(f.store.prune(&retention, NOW).await.unwrap(), Pruned { rows: 2, more: false });
        let joined = |at: Timestamp| format!("joined{}", at.as_millis());
        let parked = format!("parked{}", kept.as_millis());
        assert_eq!(left(&f).await, [joined(old), joined(kept), "kept".into(), parked]);
        assert_eq!(f.store.prune(&retention, NOW).await.unwrap(), Pruned::default());
    }

    #[rstest]
    #[tokio::test]
    async fn a_call_deletes_so_much_and_tells_of_the_rest(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let retention = Retention { idempotency: HOUR, parked_receipts: HOUR, receipts: 1_000 * HOUR };
        let names: Vec<String> = (0..=BATCH * BATCHES).map(|n| n.to_string()).collect();
        keys(&f, &names, NOW.minus(2 * HOUR)).await;
        let all_but_one = Pruned { rows: BATCH * BATCHES, more: true };
        assert_eq!(f.store.prune(&retention, NOW).await.unwrap(), all_but_one);
        assert_eq!(f.store.prune(&retention, NOW).await.unwrap(), Pruned { rows: 1, more: false });
    }
}
