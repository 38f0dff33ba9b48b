//! Plans of a PostgreSQL as it comes, in its first minutes: its costs are the defaults, it knows nothing of the tables, or it made
//! the plan of a prepared statement while they were empty and keeps it.

use klaroen_test_databases::Engine;

use crate::deliveries::{outcomes, queue, receipts};
use crate::engine::db::Db;
use crate::matching::query;
use crate::tests::fixture::Fixture;
use crate::tests::plans::{
    generic_plan, plan_of, postgres_before_analyze, postgres_that_knows_an_empty_queue,
};

/// Everything is being sent, and PostgreSQL knows that.
async fn postgres_that_counted_all() -> Fixture {
    let fixture = postgres_before_analyze("sending").await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    sqlx::raw_sql("ANALYZE").execute(pool).await.unwrap();
    fixture
}

#[tokio::test]
async fn postgres_looks_up_what_was_sent_instead_of_comparing_it_with_all_that_is_being_sent() {
    for fixture in [
        postgres_before_analyze("sending").await,
        postgres_that_knows_an_empty_queue("sending").await,
        postgres_that_counted_all().await,
    ] {
        let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
        let mut db = pool.acquire().await.unwrap();
        for mode in ["force_custom_plan", "force_generic_plan"] {
            let values = r#"'{"1":5,"2":5}', 7, 1"#;
            let plan = plan_of(&mut db, outcomes::SENT, "text, bigint, bigint", values, mode).await;
            let scans = plan.iter().filter(|step| step.contains(" on deliveries"));
            let scans: Vec<_> = scans.filter(|step| !step.contains("Update on")).collect();
            assert!(
                scans.len() == 1 && scans[0].contains("Index Scan using deliveries_pkey"),
                "{mode} {plan:#?}"
            );
        }
    }
}

#[tokio::test]
async fn a_plan_that_was_made_while_the_tables_were_empty_does_not_read_them_whole() {
    const SHARE: &str = "uuid, bigint, bigint, bigint, bigint, bigint, text, bigint, bigint, text, bigint, bigint, bigint, bigint";
    const TABLES: [&str; 5] = ["deliveries", "submissions", "receipts", "participants", "places"];
    let fixture = Fixture::new(Engine::Postgres).await;
    let Db::Postgres { pool, .. } = &fixture.store.db else { panic!("this is about PostgreSQL") };
    let mut db = pool.acquire().await.unwrap();
    // Never counted, PostgreSQL expects ten pages; counted when it was empty, none, and reading none costs nothing.
    for counted in [false, true] {
        if counted {
            sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *db).await.unwrap();
        }
        for (statement, types) in [
            (query::IN_RANGES, "text, uuid, bigint"),
            (queue::DUE, "bigint, text"),
            (queue::CANDIDATES, "uuid, bigint, bigint, text, bigint"),
            (queue::SHARE, SHARE),
            (queue::LEASE, "text, bigint, bigint, text, bigint"),
            (outcomes::SENT, "text, bigint, bigint"),
            (outcomes::SUBMITTED_WHOLE, "text, text"),
            (outcomes::CURRENT, "text"),
            (receipts::FIND, "text, text"),
            (receipts::PARKED, "text, text"),
            (receipts::INSERT_FOUND, "text, text, text"),
            (receipts::DELIVERIES, "text"),
        ] {
            let plan = generic_plan(&mut db, statement, types).await;
            let whole =
                |step: &&String| TABLES.iter().any(|table| step.contains(&format!("Seq Scan on {table} ")));
            assert!(!plan.iter().any(|step| whole(&step)), "counted: {counted} {plan:#?}");
        }
    }
}
