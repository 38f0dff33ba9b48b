//! References that a provider has never had from us. A delivery's reference is its id, and a self-test's its number; a
//! database that is restored from a backup, or made anew, would count on from numbers that were used before. A provider that
//! takes each reference once would answer that it has the message (and the recipient would not get it), and late receipts
//! would be taken for those of others. So each start of a process counts on from the time, which is behind every number that
//! was used before: to pass it would take more than a thousand deliveries in every millisecond since.

use klaroen_domain::time::Timestamp;

use crate::engine::db::Tx;
use crate::engine::lock::Lock;
use crate::{Result, Store};

/// Ids for each millisecond of the clock. With these an id has some 51 bits, which every reader of JSON takes for a whole number.
const PER_MILLISECOND: i64 = 1_000;

/// SQLite's counters: the table that has one.
const TABLES: [&str; 2] = ["deliveries", "gateway_tests"];
const RAISE: &str = "UPDATE sqlite_sequence SET seq = $2 WHERE name = $1 AND seq < $2";
/// There is no row before the first insertion.
const BEGIN: &str = "INSERT INTO sqlite_sequence (name, seq)
     SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $1)";

/// PostgreSQL's sequences.
const SEQUENCES: [&str; 2] = [
    "SELECT setval('deliveries_id_seq', $1) FROM deliveries_id_seq WHERE last_value < $1",
    "SELECT setval('gateway_tests_number_seq', $1) FROM gateway_tests_number_seq WHERE last_value < $1",
];

impl Store {
    /// From now on references are ones that no provider has had, whatever became of the database before. Called when a
    /// process starts, before it takes anything. Never goes back, also if several processes do it at once.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn begin_references(&self, now: Timestamp) -> Result<()> {
        let first = now.as_millis().saturating_mul(PER_MILLISECOND);
        let mut tx = self.db.begin().await?;
        Lock::References.take(&mut tx).await?;
        match &mut tx {
            Tx::Sqlite(tx) => {
                for table in TABLES {
                    for statement in [RAISE, BEGIN] {
                        sqlx::query(statement).bind(table).bind(first).execute(&mut **tx).await?;
                    }
                }
            }
            Tx::Postgres(tx, heartbeat) => {
                for statement in SEQUENCES {
                    let conn = heartbeat.guarded(&mut **tx);
                    sqlx::query(statement).bind(first).execute(conn).await?;
                }
            }
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_test_databases::Engine;
    use rstest::rstest;
    use uuid::Uuid;

    use crate::engine::db::{Sql, on_db};
    use crate::tests::fixture::{Fixture, NOW};

    const MESSAGE: Sql = Sql::new(
        "INSERT INTO messages (id, organisation_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
                               created_at)
         VALUES ($1, $2, 'start', 'urgent', 2, 't', 'gsm7', 1, 1, 0, 0)",
    );
    const DELIVERY: Sql = Sql::new(
        "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
         VALUES ($1, $2, $2, $3, 2, 'queued', 0, 0) RETURNING id",
    );
    const TEST: Sql = Sql::new("SELECT max(number) FROM gateway_tests");

    /// The ids that a delivery and a self-test get now.
    async fn next(f: &Fixture, day: &str) -> [i64; 2] {
        let message = Uuid::now_v7();
        f.store.request_daily_test(day, day, NOW).await.unwrap();
        on_db!(write f.store.db, pool, d => {
            sqlx::query(MESSAGE.of(d)).bind(message).bind(f.organisation.0).execute(pool).await.unwrap();
            let delivery: i64 = sqlx::query_scalar(DELIVERY.of(d)).bind(f.organisation.0).bind(message)
                .bind([7_u8; 32].as_slice()).fetch_one(pool).await.unwrap();
            [delivery, sqlx::query_scalar(TEST.of(d)).fetch_one(pool).await.unwrap()]
        })
    }

    #[rstest]
    #[tokio::test]
    async fn a_database_that_was_put_back_gives_out_no_reference_twice(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        // Two that know nothing of each other, as a backup and what came after it, or an old and a new installation.
        let [old, restored] = [Fixture::new(engine).await, Fixture::new(engine).await];
        assert_eq!(next(&old, "before").await, next(&restored, "before").await);
        old.store.begin_references(NOW).await.unwrap();
        restored.store.begin_references(NOW.plus(Duration::from_secs(1))).await.unwrap();
        let (given, [delivery, test]) = (next(&old, "after").await, next(&restored, "after").await);
        assert!(given[0] + 999_999 < delivery && given[1] + 999_999 < test, "{given:?} {delivery} {test}");
        // A whole number for every reader of JSON.
        assert!(delivery < 1 << 53);
    }

    #[rstest]
    #[tokio::test]
    async fn a_clock_that_was_put_back_and_a_second_process_begin_nothing_again(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        f.store.begin_references(NOW).await.unwrap();
        let [delivery, test] = next(&f, "first").await;
        for now in [NOW, NOW.minus(Duration::from_hours(1))] {
            f.store.begin_references(now).await.unwrap();
        }
        assert_eq!(next(&f, "second").await, [delivery + 1, test + 1]);
    }
}
