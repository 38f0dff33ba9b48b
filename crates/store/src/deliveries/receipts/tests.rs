use std::time::Duration;

use klaroen_domain::alert::Outcome;
use klaroen_domain::hours::Zone;
use klaroen_domain::id::{AlertId, KeyId};
use klaroen_domain::incoming::Receipt;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::text::MessageText;
use klaroen_test_databases::Engine;
use rstest::rstest;
use sqlx::PgPool;
use uuid::Uuid;

use super::*;
use crate::alerts::create::Intake;
use crate::engine::db::Db;
use crate::matching::query::MatchRules;
use crate::tests::fixture::{Fixture, NOW, come_to_wait, connection};

const INCIDENT: &str =
    "INSERT INTO incidents (id, organisation_id, category, description, latitude, longitude, created_at,
         created_by)
     VALUES ($1, $2, 'c', 'd', 52, 5, 0, $1)";
const ALERT: &str = "INSERT INTO alerts (id, organisation_id, incident_id, state, priority, area, audience, exercise, expires_at,
         created_at, created_by, text, geofence)
     VALUES ($1, $2, $1, 'active', 'urgent', '{}', '{}', FALSE, 9000000000000, 0, $1, 't', '{}')";
const MESSAGE: &str =
    "INSERT INTO messages (id, organisation_id, alert_id, kind, priority, lane, text, encoding, segments,
         recipients, expires_at, created_at)
     VALUES (gen_random_uuid(), $1, $2, $3, 'urgent', 2, 't', 'gsm7', 1, 1, 9000000000000, 0) RETURNING id";
const LOST: &str = "INSERT INTO deliveries (organisation_id, alert_id, message_id, participant_id, recipient, lane, state, due_at,
         changed_at)
     VALUES ($1, $2, $3, $3, 'x', 2, 'undelivered', 0, 0) RETURNING id";
const ENDS: &str =
    "SELECT COUNT(*) FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE m.kind = 'end'";

/// An alert whose only delivery counts as lost, and the receipt by which it rang after all.
async fn lost(f: &Fixture, pool: &PgPool) -> (AlertId, [IncomingReceipt; 1]) {
    let alert = Uuid::now_v7();
    for insert in [INCIDENT, ALERT] {
        sqlx::query(insert).bind(alert).bind(f.organisation.0).execute(pool).await.unwrap();
    }
    let start: Uuid = sqlx::query_scalar(MESSAGE)
        .bind(f.organisation.0)
        .bind(alert)
        .bind("start")
        .fetch_one(pool)
        .await
        .unwrap();
    let delivery: i64 = sqlx::query_scalar(LOST)
        .bind(f.organisation.0)
        .bind(alert)
        .bind(start)
        .fetch_one(pool)
        .await
        .unwrap();
    let receipt = IncomingReceipt {
        provider_id: ProviderId("p".into()),
        delivery: Some(DeliveryId(delivery)),
        status: ReceiptStatus::Delivered,
        error: None,
        recipient: None,
        raw: String::new(),
        received_at: NOW,
    };
    (AlertId(alert), [receipt])
}

async fn ends_after_upkeep(f: &Fixture, pool: &PgPool) -> i64 {
    f.store.sweep(Duration::from_hours(24), NOW).await.unwrap();
    sqlx::query_scalar(ENDS).fetch_one(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_is_found_to_have_rung_while_its_alert_is_ended_gets_the_end() {
    let f = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
    let (alert, receipts) = lost(&f, pool).await;
    let mut tx = f.store.db.begin().await.unwrap();
    store(&mut tx, "g", &receipts, &mut DeferredEffects::default()).await.unwrap();
    let (ending, organisation) = (f.store.clone(), f.organisation);
    let ended = tokio::spawn(async move {
        let rules = MatchRules {
            zone: "Europe/Amsterdam".parse::<Zone>().unwrap(),
            quiet_hours: None,
            max_alerts_per_day: 0,
        };
        let operator = KeyId::generate();
        let intake = Intake { organisation, operator, idempotency: None, rules: &rules, now: NOW };
        let text = MessageText::parse("Gevonden, dank u.", 4).unwrap();
        ending.end_alert(&intake, alert, &text, Outcome::Found).await.unwrap().is_ok()
    });
    come_to_wait(connection(&mut tx), pool, &ended).await;
    tx.commit().await.unwrap();
    assert!(ended.await.unwrap());
    assert_eq!(ends_after_upkeep(&f, pool).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_comes_while_the_end_is_written_waits_for_it() {
    let f = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
    let (alert, receipts) = lost(&f, pool).await;
    // The result of ending an alert, if no recipient was reached.
    let mut ending = pool.begin().await.unwrap();
    sqlx::query("UPDATE alerts SET state = 'ended' WHERE id = $1")
        .bind(alert.0)
        .execute(&mut *ending)
        .await
        .unwrap();
    sqlx::query(MESSAGE)
        .bind(f.organisation.0)
        .bind(alert.0)
        .bind("end")
        .execute(&mut *ending)
        .await
        .unwrap();
    let store = f.store.clone();
    let storing = tokio::spawn(async move { store.store_receipts("g", &receipts).await });
    come_to_wait(&mut ending, pool, &storing).await;
    ending.commit().await.unwrap();
    assert_eq!(storing.await.unwrap().unwrap().moved, 1);
    assert_eq!(ends_after_upkeep(&f, pool).await, 1);
}

#[rstest]
#[tokio::test]
async fn a_receipt_with_a_text_that_no_database_takes_costs_the_others_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let receipt = |id: &str, error: &str, raw: &str| {
        let receipt = Receipt {
            provider_id: ProviderId(id.into()),
            reference: None,
            status: ReceiptStatus::Undelivered,
            error: Some(error.into()),
            recipient: None,
            raw: raw.into(),
        };
        IncomingReceipt::of(receipt, f.store.keys(), NOW)
    };
    let long = "7".repeat(60_000);
    let batch = [
        receipt("a", "1", "id:a"),
        receipt("b\0", "\u{0}27", "id:b\0 err:\0"),
        receipt("c", &long, &long),
        receipt("d", "4", "id:d"),
    ];
    assert!(batch.iter().all(|receipt| !receipt.raw.contains('\0') && receipt.raw.len() < 3_000));
    assert_eq!(batch[1].error.as_deref(), Some("27"));
    assert_eq!(batch[2].error.as_deref(), Some(&long[..Failure::CODE_LENGTH_MAX]));
    let counts = f.store.store_receipts("g", &batch).await.unwrap();
    assert_eq!(counts, ReceiptCounts { joined: 0, parked: 4, moved: 0 });
}
