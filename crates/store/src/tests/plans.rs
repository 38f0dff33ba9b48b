//! The statements of the sending path must cost what their batch costs, not what was ever sent: the databases' own choice of a
//! join order has been wrong for some of them.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::alerts::follow_ups;
use crate::deliveries::{cancel, doubts, lifecycle, lost, messages, outcomes, queue, receipts, refusals};
use crate::engine::db::{Db, Dialect, Sql, Tx};
use crate::matching::query;
use crate::replies::{opt_outs, senders};
use crate::tests::fixture::Fixture;
use crate::upkeep::sweep;
use klaroen_test_databases::Engine;

async fn plan(fixture: &Fixture, statement: Sql) -> Vec<String> {
    let Db::Sqlite { writer, .. } = &fixture.store.db else { panic!("this is about SQLite") };
    let text = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", statement.of(Dialect::Sqlite)));
    let rows = sqlx::query(text).fetch_all(writer).await.unwrap();
    rows.iter().map(|row| row.get(3)).collect()
}

#[tokio::test]
async fn a_batch_is_read_first_and_looked_up_in_the_tables() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for statement in [receipts::FIND, receipts::INSERT_FOUND, receipts::PARKED, query::MEMBERS] {
        let plan = plan(&fixture, statement).await;
        assert!(plan[0].starts_with("SCAN j "), "{plan:#?}");
    }
}

#[tokio::test]
async fn upkeep_reads_only_the_receipts_that_are_parked() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for (statement, index) in [
        (sweep::PARKED_BY_ID, "receipts USING INDEX receipts_parked_age"),
        (sweep::PARKED_BY_PHONE, "r USING INDEX receipts_parked_recipient"),
    ] {
        let plan = plan(&fixture, statement).await;
        assert!(plan.iter().any(|step| step.contains(index)), "{plan:#?}");
        // `r` and `d` are the bounded selections of these; few messages are open.
        let bounded = ["SCAN r", "SCAN d", "SCAN messages USING COVERING INDEX messages_unsettled"];
        let unbounded = |step: &String| step.starts_with("SCAN") && !bounded.contains(&step.as_str());
        assert!(!plan.iter().any(unbounded), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_claim_costs_what_it_takes() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for statement in [
        queue::CANDIDATES,
        queue::SHARE,
        queue::HANDED,
        queue::LEASE,
        outcomes::SENT,
        outcomes::SUBMITTED_WHOLE,
        messages::SENT_TIMES_OF,
        outcomes::CURRENT,
        lifecycle::STANDING,
        lifecycle::APPLY,
        receipts::DELIVERIES,
        lifecycle::MOVE,
    ] {
        let plan = plan(&fixture, statement).await;
        // `d`, `w` and `f` are bounded selections of candidates, `s` the messages of a batch.
        let unbounded = |step: &String| {
            step.starts_with("SCAN")
                && !step.starts_with("SCAN j ")
                && !["SCAN d", "SCAN s", "SCAN w", "SCAN f", "SCAN CONSTANT ROW"].contains(&step.as_str())
                && !step.contains("json_each")
                && !step.starts_with("SCAN (subquery")
        };
        assert!(!plan.iter().any(unbounded), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_reply_costs_what_its_number_received() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for statement in [senders::HEARD, senders::WRITTEN_TO_BY] {
        let plan = plan(&fixture, statement).await;
        assert!(plan[0].starts_with("SEARCH d USING INDEX deliveries_recipient (recipient=?"), "{plan:#?}");
        assert!(!plan.iter().any(|step| step.starts_with("SCAN")), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_share_is_looked_for_where_the_claim_before_it_stopped() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let index = "SEARCH deliveries USING INDEX deliveries_queue (message_id=? AND due_at=? AND id>?)";
    let plan = plan(&fixture, queue::SHARE).await;
    assert!(plan.iter().any(|step| step == index), "{plan:#?}");
    let handed = self::plan(&fixture, queue::HANDED).await;
    assert!(handed.iter().any(|step| step.contains("q USING INDEX deliveries_handed")), "{handed:#?}");
}

#[tokio::test]
async fn a_match_reads_nothing_but_its_index() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let plan = plan(&fixture, query::IN_RANGES).await;
    assert!(plan.iter().any(|step| step.contains("p USING COVERING INDEX places_match")), "{plan:#?}");
}

#[tokio::test]
async fn what_is_lost_is_looked_for_among_open_messages() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let plan = plan(&fixture, lost::LOST).await;
    assert!(plan.iter().any(|step| step.contains("d USING INDEX deliveries_state")), "{plan:#?}");
}

/// The parameter types of [`lifecycle::MOVE`].
const MOVE: &str = "text, text, text, boolean, boolean, text, bigint, bigint, bigint, bigint";

/// The plan that PostgreSQL keeps for a prepared statement, whatever its parameters are.
pub(super) async fn generic_plan(db: &mut PgConnection, statement: Sql, types: &str) -> Vec<String> {
    let nulls = vec!["NULL"; types.split(',').count()].join(", ");
    plan_of(db, statement, types, &nulls, "force_generic_plan").await
}

/// The plan that PostgreSQL makes in this mode for these values.
pub(super) async fn plan_of(
    db: &mut PgConnection,
    statement: Sql,
    types: &str,
    values: &str,
    mode: &str,
) -> Vec<String> {
    let text = statement.of(Dialect::Postgres);
    for text in [format!("SET plan_cache_mode = {mode}"), format!("PREPARE examined ({types}) AS {text}")] {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *db).await.unwrap();
    }
    let rows = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE examined ({values})")))
        .fetch_all(&mut *db)
        .await
        .unwrap();
    sqlx::raw_sql("DEALLOCATE examined").execute(db).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// A PostgreSQL in its first minutes: 20,000 messages to 20,000 people of which PostgreSQL knows nothing yet, and which `state`
/// they are in, all of them.
pub(super) async fn postgres_before_analyze(state: &str) -> Fixture {
    let fixture = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    for text in [
        format!(
            "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
             SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', gen_random_uuid(), decode(md5(n::text), 'hex'), 0,
                 '{state}', n, n
             FROM generate_series(1, 20000) n"
        ),
        "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, submitted_at)
         SELECT 'north', md5(n::text), n, 1, 1, gen_random_uuid(), n FROM generate_series(1, 20000) n"
            .to_owned(),
        "INSERT INTO receipts (gateway, provider_id, status, raw, received_at)
         SELECT 'north', md5(n::text), 'delivered', '', n FROM generate_series(1, 20000) n"
            .to_owned(),
    ] {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(pool).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn postgres_looks_each_receipt_up_instead_of_reading_what_the_gateway_ever_sent() {
    let fixture = postgres_before_analyze("sent").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    let mut db = pool.acquire().await.unwrap();
    let found = generic_plan(&mut db, receipts::INSERT_FOUND, "text, text, text").await.join("\n");
    assert!(found.contains("Index Scan using deliveries_pkey") && !found.contains("Join"), "{found}");
    for statement in [receipts::FIND, receipts::PARKED] {
        let plan = generic_plan(&mut db, statement, "text, text").await.join("\n");
        let by_id = "Index Cond: ((gateway = $2) AND (provider_id = ";
        assert!(
            plan.contains(by_id) && !plan.contains("Hash Join") && !plan.contains("Merge Join"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn postgres_looks_for_one_thing_that_is_due_and_no_more() {
    // The queue was empty when PostgreSQL last looked: what has come since is the worst it can be wrong by.
    let fixture = postgres_before_analyze("sent").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    let mut db = pool.acquire().await.unwrap();
    for analyzed in [false, true] {
        if analyzed {
            sqlx::raw_sql("ANALYZE deliveries").execute(&mut *db).await.unwrap();
        }
        for (statement, types) in [(queue::DUE, "bigint, text"), (refusals::OPEN, "text")] {
            let plan = generic_plan(&mut db, statement, types).await.join("\n");
            assert!(plan.contains("SubPlan") && plan.contains("(message_id = m.id)"), "{plan}");
            assert!(!plan.contains("Semi Join") && !plan.contains("HashAggregate"), "{plan}");
        }
    }
}

/// PostgreSQL's statistics of the queue at most times, and the queue's content then: 20,000 finished deliveries of which it
/// knows, and 20,000 more that have come since, in `state`.
pub(super) async fn postgres_that_knows_an_empty_queue(state: &str) -> Fixture {
    let fixture = postgres_before_analyze("delivered").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    for text in [
        "ANALYZE".to_owned(),
        format!(
            "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, settle_at,
                 changed_at)
             SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000002', gen_random_uuid(), decode(md5(n::text), 'hex'), 0,
                 '{state}', n, n, n
             FROM generate_series(1, 20000) n"
        ),
    ] {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(pool).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn postgres_looks_a_batch_up_by_its_ids_however_empty_it_thinks_the_queue_is() {
    for state in ["queued", "unknown"] {
        let fixture = postgres_that_knows_an_empty_queue(state).await;
        let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
        let mut db = pool.acquire().await.unwrap();
        let moved = format!("'[1,2]', '{state}', 'delivered', FALSE, TRUE, NULL, NULL, NULL, 0, 5");
        for (statement, types, values, index) in [
            (
                queue::LEASE,
                "text, bigint, bigint, text, bigint",
                "'[1,2]', 1, 2, 'a/0', 3",
                "deliveries_pkey",
            ),
            (lifecycle::STANDING, "text", "'[1,2]'", "deliveries_pkey"),
            (opt_outs::QUEUED, "bytea", "'x'", "deliveries_recipient"),
            (senders::HEARD, "bytea, bigint, bigint", "'x', 1, 2", "deliveries_recipient"),
            (senders::WRITTEN_TO_BY, "bytea", "'x'", "deliveries_recipient"),
            (lifecycle::MOVE, MOVE, &moved, "deliveries_pkey"),
            (doubts::OPEN, "text", "'[1,2]'", "deliveries_pkey"),
        ] {
            for mode in ["force_generic_plan", "force_custom_plan"] {
                let plan = plan_of(&mut db, statement, types, values, mode).await;
                let scans = plan.iter().filter(|step| step.contains(" on deliveries"));
                let mut scans = scans.filter(|step| !step.contains("Update on")).peekable();
                assert!(scans.peek().is_some() && scans.all(|step| step.contains(index)), "{mode} {plan:#?}");
            }
        }
    }
}

#[tokio::test]
async fn postgres_goes_by_the_index_in_the_middle_of_an_alert() {
    // Statistics were taken while all was queued.
    let fixture = postgres_before_analyze("queued").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    let mut db = pool.acquire().await.unwrap();
    sqlx::raw_sql("ANALYZE").execute(&mut *db).await.unwrap();
    for (statement, types) in [
        (queue::DUE, "bigint, text"),
        (queue::CANDIDATES, "uuid, bigint, bigint, text, bigint"),
        (refusals::OPEN, "text"),
    ] {
        let plan = generic_plan(&mut db, statement, types).await.join("\n");
        assert!(
            plan.contains("using deliveries_queue") && !plan.contains("Seq Scan on deliveries"),
            "{plan}"
        );
    }
}

#[tokio::test]
async fn postgres_reads_no_more_of_the_queue_than_a_claim_looks_at() {
    const SHARE: &str = "uuid, bigint, bigint, bigint, bigint, bigint, text, bigint, bigint, text, bigint, bigint, bigint, bigint";
    // A new database, in which nothing was ever counted, and one that was counted while nothing was queued.
    for fixture in
        [postgres_before_analyze("queued").await, postgres_that_knows_an_empty_queue("queued").await]
    {
        let Tx::Postgres(mut db, _) = fixture.store.db.begin_claim().await.unwrap() else {
            panic!("no PostgreSQL")
        };
        for (statement, types, indexes) in [
            (queue::DUE, "bigint, text", &["deliveries_queue"][..]),
            (queue::CANDIDATES, "uuid, bigint, bigint, text, bigint", &["deliveries_queue"]),
            (queue::SHARE, SHARE, &["deliveries_queue", "deliveries_pkey"]),
            (queue::HANDED, "uuid, bigint, bigint, text, text, bigint, bigint", &["deliveries_handed"]),
        ] {
            let plan = generic_plan(&mut db, statement, types).await;
            let scans: Vec<_> = plan.iter().filter(|step| step.contains(" on deliveries")).collect();
            let expected = scans.iter().zip(indexes).all(|(step, index)| step.contains(index));
            assert!(scans.len() == indexes.len() && expected, "{plan:#?}");
        }
    }
}

#[tokio::test]
async fn postgres_looks_up_what_is_on_a_page_instead_of_reading_an_alert() {
    let fixture = postgres_before_analyze("queued").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    let mut db = pool.acquire().await.unwrap();
    for analyzed in [false, true] {
        if analyzed {
            sqlx::raw_sql("ANALYZE deliveries").execute(&mut *db).await.unwrap();
        }
        for (statement, types) in [
            (cancel::QUEUED, "uuid, bigint"),
            (cancel::UNRECEIPTED, "uuid, bigint"),
            (refusals::LEFT, "uuid, text, bigint"),
        ] {
            let plan = generic_plan(&mut db, statement, types).await.join("\n");
            assert!(
                plan.contains("Index Cond: (message_id = $1)")
                    || plan.contains("Index Cond: ((message_id = $1)"),
                "{plan}"
            );
            assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
        }
        for (statement, types) in [(refusals::HAND_OVER, "uuid, text, bigint"), (lifecycle::MOVE, MOVE)] {
            let plan = generic_plan(&mut db, statement, types).await.join("\n");
            assert!(plan.contains("Index Cond: (id = ANY ("), "{plan}");
            assert!(!plan.contains("Seq Scan on deliveries"), "{plan}");
        }
        let these = generic_plan(&mut db, follow_ups::FOLLOW_THESE, "uuid, bigint, text").await.join("\n");
        assert!(these.contains("Index Cond: (id = "), "{these}");
        for (statement, types) in
            [(follow_ups::FOLLOW, "uuid, bigint, uuid, bigint"), (follow_ups::OWED, "uuid, uuid, bigint")]
        {
            let plan = generic_plan(&mut db, statement, types).await.join("\n");
            assert!(
                plan.contains("SubPlan")
                    && plan.contains("((recipient = d.recipient) AND (message_id = $1))"),
                "{plan}"
            );
        }
    }
}

#[tokio::test]
async fn sqlite_takes_a_page_from_the_queue_of_its_message() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for statement in [cancel::QUEUED, cancel::UNRECEIPTED, refusals::HAND_OVER, refusals::LEFT] {
        let plan = plan(&fixture, statement).await;
        let of_message = |step: &String| step.contains("INDEX deliveries_") && step.contains("(message_id=?");
        assert!(plan.iter().any(of_message), "{plan:#?}");
    }
}
