//! The statements of the sending path must cost what their batch costs, not what was ever sent: SQLite's own choice of a join
//! order has been wrong for some of them.

use sqlx::{AssertSqlSafe, Row};

use crate::db::{Db, Dialect, Sql};
use crate::fixture::Fixture;
use crate::{channels, claims, matching, outcomes, receipts, sweep};
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
    for statement in [receipts::FIND, receipts::PARKED, matching::MEMBERS] {
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
        let bounded = ["SCAN r", "SCAN d", "SCAN messages USING COVERING INDEX messages_open"];
        let unbounded = |step: &String| step.starts_with("SCAN") && !bounded.contains(&step.as_str());
        assert!(!plan.iter().any(unbounded), "{plan:#?}");
    }
}

#[tokio::test]
async fn a_claim_costs_what_it_takes() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    for statement in [
        claims::CANDIDATES,
        claims::SHARE,
        claims::HANDED,
        claims::LEASE,
        outcomes::SENT,
        outcomes::SUBMITTED_WHOLE,
        outcomes::SENT_TIMES_OF,
        outcomes::CURRENT,
        outcomes::APPLY,
        receipts::DELIVERIES,
        receipts::MOVE,
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
async fn a_share_is_looked_for_where_the_claim_before_it_stopped() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let index = "SEARCH deliveries USING INDEX deliveries_queue (message_id=? AND due_at=? AND id>?)";
    let plan = plan(&fixture, claims::SHARE).await;
    assert!(plan.iter().any(|step| step == index), "{plan:#?}");
    let handed = self::plan(&fixture, claims::HANDED).await;
    assert!(handed.iter().any(|step| step.contains("q USING INDEX deliveries_handed")), "{handed:#?}");
}

#[tokio::test]
async fn a_match_reads_nothing_but_its_index() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let plan = plan(&fixture, matching::IN_RANGES).await;
    assert!(plan.iter().any(|step| step.contains("p USING COVERING INDEX places_match")), "{plan:#?}");
}

#[tokio::test]
async fn what_is_lost_is_looked_for_among_open_messages() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let plan = plan(&fixture, channels::LOSE).await;
    assert!(plan.iter().any(|step| step.contains("deliveries USING INDEX deliveries_state")), "{plan:#?}");
}
