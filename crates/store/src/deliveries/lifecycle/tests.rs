//! Every life and every event, taken through the database.

use std::collections::BTreeMap;

use klaroen_domain::outcome::ReceiptStatus;
use klaroen_test_databases::Engine;
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::deliveries::{outcomes, queue};
use crate::engine::db::on_db;
use crate::engine::from_row::from_row;
use crate::tests::fixture::{Fixture, NOW};

const INCIDENT: Sql = Sql::new(
    "INSERT INTO incidents (id, organisation_id, category, description, latitude, longitude, created_at, created_by)
     VALUES ($1, $2, 'c', 'd', 52, 5, 0, $1)",
);
const ALERT: Sql = Sql::new(
    "INSERT INTO alerts (id, organisation_id, incident_id, state, priority, area, audience, exercise, expires_at, created_at,
         created_by, text, geofence)
     VALUES ($1, $2, $3, 'ended', 'urgent', '{}', '{}', FALSE, 9000000000000, 0, $1, 't', '{}')",
);
/// Done with.
const MESSAGE: Sql = Sql::new(
    "INSERT INTO messages (id, organisation_id, alert_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
         created_at, settled)
     VALUES ($1, $2, $3, $4, 'urgent', 2, 't', 'gsm7', 1, 1, 9000000000000, 0, TRUE)",
);
const DELIVERY: Sql = Sql::new(
    "INSERT INTO deliveries (organisation_id, alert_id, message_id, participant_id, recipient, lane, state, in_doubt, due_at,
         lease_token, channel, reason, changed_at)
     VALUES ($1, $2, $3, $3, $4, 2, $5, $6, 0, 5, 'north/0', 'before', 0) RETURNING id",
);
const DOUBT: Sql = Sql::new(
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     VALUES ($1, 5, $2, $3, 'north', 0, 0)",
);
const ENDS: Sql = Sql::new(
    "SELECT d.id, d.state, d.in_doubt, d.reason, s.settled, s.first_sent_at, f.awaits_start, x.delivery_id, x.settled_by
     FROM deliveries d JOIN messages s ON s.id = d.message_id
         JOIN messages f ON f.alert_id = d.alert_id AND f.kind = 'end'
         LEFT JOIN doubts x ON x.delivery_id = d.id AND x.lease_token = 5",
);

/// Gives every column that a fast path could write, or forget, a value that none of them writes.
const DRESS: Sql = Sql::new(
    "UPDATE deliveries SET due_at = 11, settle_at = 12, changed_at = 13, sent_at = 14, retries = 3, attempt = 4, segments = 5,
         handed_by = 'south', lease_until = 15",
);
const WRITTEN: Sql = Sql::new(
    "SELECT id, state, in_doubt, reason, due_at, settle_at, handed_by, retries, attempt, changed_at, segments, sent_at, lease_token,
         lease_until, channel
     FROM deliveries",
);

const TOKEN: i64 = 5;
const LATER: Timestamp = Timestamp::from_millis(NOW.as_millis() + 1_000);

from_row! {
    /// How a delivery ended, and what came of it.
    #[derive(Debug)]
    struct End {
        id: i64,
        state: String,
        in_doubt: bool,
        reason: Option<String>,
        /// Of its message.
        settled: bool,
        /// Of its message.
        first_sent_at: Option<i64>,
        /// Of the follow-up of its alert.
        awaits_start: bool,
        /// Of its doubt.
        delivery_id: Option<i64>,
        /// Of its doubt.
        settled_by: Option<String>,
    }
}

from_row! {
    /// All that a delivery's life leaves in its row.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Written {
        id: i64,
        state: String,
        in_doubt: bool,
        reason: Option<String>,
        due_at: i64,
        settle_at: Option<i64>,
        handed_by: Option<String>,
        retries: i64,
        attempt: i64,
        changed_at: i64,
        segments: Option<i64>,
        sent_at: Option<i64>,
        lease_token: Option<i64>,
        lease_until: Option<i64>,
        channel: Option<String>,
    }
}

impl End {
    fn life(&self) -> Life {
        Life { state: self.state.parse().unwrap(), in_doubt: self.in_doubt }
    }
}

/// Deliveries of alerts of their own, each `times` in every life; those that wait or are unknown have a doubt that is open.
async fn one_of_each(f: &Fixture, times: usize) -> Vec<(i64, Life)> {
    let (incident, organisation) = (Uuid::now_v7(), f.organisation.0);
    let mut made = Vec::new();
    let mut tx = f.store.db.begin().await.unwrap();
    on_tx!(&mut tx, conn, d => sqlx::query(INCIDENT.of(d))
        .bind(incident).bind(organisation).execute(conn).await.unwrap().rows_affected());
    for life in Life::ALL.into_iter().cycle().take(times * Life::ALL.len()) {
        let [alert, start, end] = [(); 3].map(|()| Uuid::now_v7());
        on_tx!(&mut tx, conn, d => sqlx::query(ALERT.of(d))
            .bind(alert).bind(organisation).bind(incident).execute(conn).await.unwrap().rows_affected());
        for (message, kind) in [(start, "start"), (end, "end")] {
            on_tx!(&mut tx, conn, d => sqlx::query(MESSAGE.of(d))
                .bind(message).bind(organisation).bind(alert).bind(kind).execute(conn).await.unwrap().rows_affected());
        }
        let id: i64 = on_tx!(&mut tx, conn, d => sqlx::query_scalar(DELIVERY.of(d))
            .bind(organisation).bind(alert).bind(start).bind(start.as_bytes().as_slice())
            .bind(life.state.as_str()).bind(life.in_doubt).fetch_one(conn).await.unwrap());
        if matches!(life.state, DeliveryState::Queued | DeliveryState::Unknown) {
            on_tx!(&mut tx, conn, d => sqlx::query(DOUBT.of(d))
                .bind(id).bind(organisation).bind(start).execute(conn).await.unwrap().rows_affected());
        }
        made.push((id, life));
    }
    tx.commit().await.unwrap();
    made
}

async fn ends(f: &Fixture) -> BTreeMap<i64, End> {
    let ends: Vec<End> =
        on_db!(read f.store.db, pool, d => sqlx::query_as(ENDS.of(d)).fetch_all(pool).await.unwrap());
    ends.into_iter().map(|end| (end.id, end)).collect()
}

/// As the code that learns of the event would say it.
fn step(delivery: Standing, event: DeliveryEvent) -> Step<'static> {
    use DeliveryEvent as E;
    let mut step = Step::new(delivery, event, NOW).because("after");
    let answer = Answer { lease_token: TOKEN, retries: 0, taken: None, handed_by: None };
    match event {
        E::Accepted => step.answer = Some(Answer { taken: Some(Taken { segments: 1, at: NOW }), ..answer }),
        E::PutBack | E::OutOfTime | E::Rejected => step.answer = Some(answer),
        E::AnswerLost => {
            step.answer = Some(answer);
            step.settle_at = Some(LATER);
        }
        E::LeaseLost => step.settle_at = Some(LATER),
        _ => {}
    }
    step
}

/// How a doubt about a delivery that stood so ends by an event; `None`: it stays open.
fn ended(before: Life, event: DeliveryEvent) -> Option<&'static str> {
    use DeliveryEvent as E;
    use DeliveryState as S;
    use ReceiptStatus as R;
    match (before.state, event) {
        (S::Queued | S::Unknown, E::Receipt(R::Underway | R::Delivered | R::Undelivered)) => Some("receipt"),
        (S::Queued | S::Unknown, E::Accepted) | (S::Unknown, E::PutBack) => Some("late_answer"),
        (S::Unknown, E::OutOfTime | E::Rejected) if !before.in_doubt => Some("late_answer"),
        (S::Unknown, E::Resend) => Some("policy_resend"),
        (S::Unknown, E::Held) => Some("policy_hold"),
        _ => None,
    }
}

#[rstest]
#[tokio::test]
async fn every_event_in_every_life_is_written_as_the_table_says(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    use DeliveryEvent as E;
    use DeliveryState as S;
    let f = Fixture::new(engine).await;
    let made = one_of_each(&f, E::ALL.len()).await;
    let cases: Vec<_> = made.chunks(Life::ALL.len()).zip(E::ALL).collect();
    for (deliveries, event) in &cases {
        let mut tx = f.store.db.begin().await.unwrap();
        let ids: Vec<i64> = deliveries.iter().map(|(id, _)| *id).collect();
        let standing = Standing::take(&mut tx, &ids).await.unwrap();
        let steps: Vec<Step<'_>> = standing.into_iter().map(|delivery| step(delivery, *event)).collect();
        let written = apply(&mut tx, &steps).await.unwrap();
        tx.commit().await.unwrap();
        let expected = deliveries.iter().filter(|(_, before)| {
            let moves = advance(*before, *event) != *before;
            moves || *event == E::Accepted || (*event == E::Held && before.state == S::Unknown)
        });
        assert_eq!(written, expected.count() as u64, "{event:?}");
    }
    let ends = ends(&f).await;
    for (deliveries, event) in cases {
        for (id, before) in deliveries {
            let (end, after) = (&ends[id], advance(*before, event));
            let what = format!("{before:?} after {event:?}: {end:?}");
            assert_eq!(end.life(), after, "{what}");
            let (moved, taken) = (after != *before, event == E::Accepted);
            let open = taken || (moved && matches!(after.state, S::Queued | S::Sent));
            assert_eq!(!end.settled, open, "{what}");
            assert_eq!(end.first_sent_at, taken.then_some(NOW.as_millis()), "{what}");
            let lost = matches!(
                before.state,
                S::Undelivered | S::Failed | S::Expired | S::Cancelled | S::Suppressed
            );
            assert_eq!(end.awaits_start, lost && after.state == S::Delivered, "{what}");
            let begun = before.state == S::Sending
                && after.state == S::Unknown
                && matches!(event, E::AnswerLost | E::LeaseLost);
            let doubt = begun || matches!(before.state, S::Queued | S::Unknown);
            assert_eq!(end.delivery_id.is_some(), doubt, "{what}");
            assert_eq!(end.settled_by.as_deref(), ended(*before, event), "{what}");
            let kept = taken && before.state == S::Undelivered;
            let written = moved || taken || (event == E::Held && before.state == S::Unknown);
            let reason = if written && !kept { "after" } else { "before" };
            assert_eq!(end.reason.as_deref(), Some(reason), "{what}");
        }
    }
}

async fn written(f: &Fixture) -> BTreeMap<i64, Written> {
    let rows: Vec<Written> =
        on_db!(read f.store.db, pool, d => sqlx::query_as(WRITTEN.of(d)).fetch_all(pool).await.unwrap());
    rows.into_iter().map(|row| (row.id, row)).collect()
}

/// The lease that a claim takes.
const CLAIMED: (i64, Timestamp, &str) = (TOKEN + 1, LATER, "north/1");

/// What [`apply`] is told if a fast path would have done it.
fn slow(delivery: Standing, event: DeliveryEvent) -> Step<'static> {
    let step = Step::new(delivery, event, NOW);
    if event == DeliveryEvent::Claimed {
        let reason = if delivery.life.in_doubt { Reason::Kept } else { Reason::Is(None) };
        return Step { claims: 1, reason, ..step };
    }
    let taken = Some(Taken { segments: 1, at: NOW });
    let answer = Answer { lease_token: TOKEN, retries: 0, taken, handed_by: None };
    Step { reason: Reason::Is(None), answer: Some(answer), ..step }
}

/// The statements that write a state without asking [`advance`] leave the row that [`apply`] leaves, in every column, and only in the
/// states that they are for.
#[rstest]
#[tokio::test]
async fn the_fast_paths_write_what_apply_writes(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    use DeliveryEvent::{Accepted, Claimed};
    let f = Fixture::new(engine).await;
    let made = one_of_each(&f, 4).await;
    on_db!(write f.store.db, pool, d => sqlx::query(DRESS.of(d)).execute(pool).await.unwrap().rows_affected());
    let before = written(&f).await;
    let [leased, sent, by_claimed, by_accepted] =
        [0, 1, 2, 3].map(|i| &made[i * Life::ALL.len()..][..Life::ALL.len()]);

    let (token, until, channel) = CLAIMED;
    let ids = json!(leased.iter().map(|(id, _)| id).collect::<Vec<_>>()).to_string();
    let times: BTreeMap<String, i64> = sent.iter().map(|(id, _)| (id.to_string(), NOW.as_millis())).collect();
    on_db!(write f.store.db, pool, d => {
        sqlx::query(queue::LEASE.of(d)).bind(ids).bind(token).bind(until.as_millis()).bind(channel)
            .bind(NOW.as_millis()).execute(pool).await.unwrap();
        sqlx::query(outcomes::SENT.of(d)).bind(json!(times).to_string()).bind(TOKEN).bind(1_i64)
            .execute(pool).await.unwrap();
    });
    let mut tx = f.store.db.begin().await.unwrap();
    let twins =
        [(by_claimed, Claimed, DeliveryState::Queued), (by_accepted, Accepted, DeliveryState::Sending)];
    for (deliveries, event, state) in twins {
        // A delivery in another state is left to others.
        let meant = deliveries.iter().filter(|(_, life)| life.state == state);
        let steps = meant.map(|(id, life)| slow(Standing { id: *id, life: *life }, event));
        apply(&mut tx, &steps.collect::<Vec<_>>()).await.unwrap();
    }
    tx.commit().await.unwrap();

    let after = written(&f).await;
    let mut changed = 0;
    for (fast, slow, event) in [(leased, by_claimed, Claimed), (sent, by_accepted, Accepted)] {
        for ((id, life), (twin, _)) in fast.iter().zip(slow) {
            let mut expected = Written { id: *id, ..after[twin].clone() };
            let moves = after[twin] != before[twin];
            changed += usize::from(moves);
            if moves && event == Claimed {
                (expected.lease_token, expected.lease_until) = (Some(token), Some(until.as_millis()));
                expected.channel = Some(channel.to_owned());
            }
            assert_eq!(after[id], expected, "{life:?} by the fast path of {event:?}");
            let stands = if moves { advance(*life, event) } else { *life };
            assert_eq!(after[id].state.parse(), Ok(stands.state), "{life:?}");
            assert_eq!(after[id].in_doubt, stands.in_doubt, "{life:?}");
        }
    }
    let lives = |state| Life::ALL.iter().filter(|life| life.state == state).count();
    assert_eq!(changed, lives(DeliveryState::Queued) + lives(DeliveryState::Sending));
}

/// An answer to an attempt before the one that a delivery has is not written.
#[rstest]
#[tokio::test]
async fn an_answer_with_another_fence_changes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let made = one_of_each(&f, 1).await;
    let mut tx = f.store.db.begin().await.unwrap();
    let sending = made.iter().find(|(_, life)| life.state == DeliveryState::Sending).unwrap().0;
    let [delivery] = Standing::take(&mut tx, &[sending]).await.unwrap()[..] else { panic!("one") };
    let mut step = step(delivery, DeliveryEvent::Accepted);
    step.answer.as_mut().unwrap().lease_token = TOKEN + 1;
    assert!(apply(&mut tx, &[step]).await.is_err());
    drop(tx);
    assert_eq!(ends(&f).await[&sending].state, "sending");
}
