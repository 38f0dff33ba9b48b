use klaroen_test_databases::Engine;
use rstest::rstest;

use super::*;
use crate::db::on_db;
use crate::fixture::{Fixture, NOW};

const MESSAGE: Sql = Sql::new(
    "INSERT INTO messages (id, organisation_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
                           created_at)
     VALUES ($1, $2, 'start', 'urgent', 2, 't', 'gsm7', 1, 1, 9000000000000, 0)",
);
/// In doubt, and left as it is.
const HELD: Sql = Sql::new(
    "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at, lease_token)
     VALUES ($1, $2, $2, $3, 2, 'unknown', 0, 0, 5) RETURNING id",
);
const SETTLE: Sql = Sql::new("UPDATE messages SET settled = TRUE WHERE id = $1");
const SETTLED: Sql = Sql::new("SELECT settled FROM messages WHERE id = $1");

/// An answer came after all, and says that the provider never took it.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_settled_while_a_delivery_goes_back_to_the_queue_is_open_again(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let message = Uuid::now_v7();
    let delivery: i64 = on_db!(write f.store.db, pool, d => {
        sqlx::query(MESSAGE.of(d)).bind(message).bind(f.organisation.0).execute(pool).await.unwrap();
        sqlx::query_scalar(HELD.of(d)).bind(f.organisation.0).bind(message).bind([7_u8; 32].as_slice())
            .fetch_one(pool).await.unwrap()
    });
    let mut upkeep = f.store.db.begin().await.unwrap();
    on_tx!(&mut upkeep, conn, d => sqlx::query(SETTLE.of(d)).bind(message).execute(conn).await.unwrap().rows_affected());
    let store = f.store.clone();
    let late = tokio::spawn(async move {
        let finished = Finished {
            id: DeliveryId(delivery),
            lease_token: 5,
            decision: Decision::PutBack { due_at: NOW, spent: true },
            provider_ids: vec![],
            segments: 0,
            at: NOW,
        };
        store.finish("main", &[finished]).await
    });
    // Time to come as far as it can; whatever it does in it, the end is the same.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    upkeep.commit().await.unwrap();
    assert_eq!(late.await.unwrap().unwrap().applied, 1);
    let settled: bool = on_db!(read f.store.db, pool, d =>
        sqlx::query_scalar(SETTLED.of(d)).bind(message).fetch_one(pool).await.unwrap());
    assert!(!settled, "it would never be sent, nor expire");
}
