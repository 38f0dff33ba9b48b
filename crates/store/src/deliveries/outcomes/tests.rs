use klaroen_domain::outcome::ReceiptStatus;
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::*;
use crate::engine::db::{Db, on_db};
use crate::tests::fixture::{Fixture, NOW, come_to_wait, connection};

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

const SENDING: Sql = Sql::new(
    "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at, lease_token)
     VALUES ($1, $2, $2, $3, 2, 'sending', 0, 0, 5) RETURNING id",
);
const HOLD: &str = "SELECT id FROM messages WHERE id = $1 FOR NO KEY UPDATE";
const FREE: &str =
    "SELECT COUNT(*) FROM (SELECT id FROM messages WHERE id <> $1 FOR NO KEY UPDATE SKIP LOCKED) free";

/// Two that take the same messages in two orders wait for each other until the server ends one of them.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn messages_are_locked_in_the_order_of_their_ids(#[values(true, false)] all_sent: bool) {
    let f = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
    // As they lie in the table, the first is the last.
    let messages: Vec<Uuid> = (0..12).rev().map(Uuid::from_u128).collect();
    let mut batch = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        sqlx::query(MESSAGE.of(crate::engine::db::Dialect::Postgres))
            .bind(message)
            .bind(f.organisation.0)
            .execute(pool)
            .await
            .unwrap();
        let id: i64 = sqlx::query_scalar(SENDING.of(crate::engine::db::Dialect::Postgres))
            .bind(f.organisation.0)
            .bind(message)
            .bind([7_u8; 16].as_slice())
            .fetch_one(pool)
            .await
            .unwrap();
        let back = Decision::PutBack { due_at: NOW, spent: true };
        batch.push(Finished {
            id: DeliveryId(id),
            lease_token: 5,
            decision: if all_sent || n > 0 { Decision::Sent } else { back },
            provider_ids: vec![ProviderId(format!("p{n}"))],
            segments: 1,
            at: NOW,
        });
    }
    let mut first = pool.begin().await.unwrap();
    sqlx::query(HOLD).bind(messages[11]).execute(&mut *first).await.unwrap();
    let store = f.store.clone();
    let finishing = tokio::spawn(async move { store.finish("main", &batch).await });
    assert!(come_to_wait(&mut first, pool, &finishing).await);
    let free: i64 = sqlx::query_scalar(FREE).bind(messages[11]).fetch_one(pool).await.unwrap();
    assert_eq!(free, 11, "the first is waited for before another is taken");
    first.commit().await.unwrap();
    assert_eq!(finishing.await.unwrap().unwrap().applied, 12);
}

/// A message whose answer is on its way, the answer, and its receipt.
async fn under_way(f: &Fixture) -> (Finished, IncomingReceipt) {
    let message = Uuid::now_v7();
    let delivery: i64 = on_db!(write f.store.db, pool, d => {
        sqlx::query(MESSAGE.of(d)).bind(message).bind(f.organisation.0).execute(pool).await.unwrap();
        sqlx::query_scalar(SENDING.of(d)).bind(f.organisation.0).bind(message).bind([7_u8; 32].as_slice())
            .fetch_one(pool).await.unwrap()
    });
    let result = Finished {
        id: DeliveryId(delivery),
        lease_token: 5,
        decision: Decision::Sent,
        provider_ids: vec![ProviderId("p".into())],
        segments: 1,
        at: NOW,
    };
    let receipt = IncomingReceipt {
        provider_id: ProviderId("p".into()),
        delivery: None,
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: None,
        raw: String::new(),
        received_at: NOW,
    };
    (result, receipt)
}

const JOINED: ReceiptCounts = ReceiptCounts { joined: 1, parked: 0, moved: 1 };

#[rstest]
#[tokio::test]
async fn receipts_are_written_after_the_results_before_them(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(true, false)] with_results: bool,
) {
    let f = Fixture::new(engine).await;
    let (result, receipt) = under_way(&f).await;
    let receipts = Arc::new(vec![receipt]);
    if !with_results {
        f.store.finish("main", std::slice::from_ref(&result)).await.unwrap();
    }
    let results = if with_results { vec![result] } else { vec![] };
    let recorded = f.store.record("main", &results, &receipts).await.unwrap();
    assert_eq!((recorded.finished.applied, recorded.finished.joined), (results.len() as u64, 0));
    assert_eq!(recorded.receipts.stored().await.unwrap(), JOINED);
}

/// Neither sees what the other has not committed.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_and_its_answer_that_are_written_at_once_find_each_other(
    #[values(true, false)] answer_first: bool,
    #[values(1, 2)] parts: u64,
) {
    let f = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
    let (mut result, receipt) = under_way(&f).await;
    if parts > 1 {
        // A long message, which is written another way; one part of it says nothing of the whole.
        result.provider_ids.push(ProviderId("q".into()));
    }
    let store = f.store.clone();
    if answer_first {
        let (mut answering, _) = f.store.finish_in("main", &[result]).await.unwrap();
        let storing = tokio::spawn(async move { store.store_receipts("main", &[receipt]).await });
        assert!(come_to_wait(connection(&mut answering), pool, &storing).await, "it did not wait");
        answering.commit().await.unwrap();
        assert_eq!(storing.await.unwrap().unwrap(), ReceiptCounts { moved: 2 - parts, ..JOINED });
    } else {
        let mut storing = f.store.db.begin().await.unwrap();
        let counts =
            receipts::store(&mut storing, "main", &[receipt], &mut DeferredEffects::default()).await.unwrap();
        assert_eq!(counts, ReceiptCounts { joined: 0, parked: 1, moved: 0 });
        let answering = tokio::spawn(async move { store.finish("main", &[result]).await });
        assert!(come_to_wait(connection(&mut storing), pool, &answering).await, "it did not wait");
        storing.commit().await.unwrap();
        assert_eq!(answering.await.unwrap().unwrap(), FinishedCounts { applied: 1, fenced: 0, joined: 1 });
    }
}
