//! A file that may not grow, at each place of a transaction where it would have to.

use klaroen_test_databases::Engine;
use sqlx::AssertSqlSafe;

use super::fixture::{ACTOR, Fixture, NOW, draft};
use crate::StoreError;
use crate::engine::db::Db;

/// Pages that are left at most, in one attempt after the other: each time another statement finds no room.
const PAGES_LEFT: u32 = 40;

/// More than any of these files takes.
const PLENTY: u32 = 1 << 20;

/// Says that the file may grow by so many pages, to the one connection that writes.
async fn leave(fixture: &Fixture, pages: u32) {
    let Db::Sqlite { writer, .. } = &fixture.store.db else { panic!("this is about SQLite") };
    let has: u32 = sqlx::query_scalar("PRAGMA page_count").fetch_one(writer).await.unwrap();
    let limit = format!("PRAGMA max_page_count = {}", has + pages);
    let limited: u32 = sqlx::query_scalar(AssertSqlSafe(limit)).fetch_one(writer).await.unwrap();
    assert_eq!(limited, has + pages);
}

/// Enrols people until one is refused. Returns who and why.
async fn until_refused(fixture: &Fixture, from: u32) -> (u32, StoreError) {
    for n in from.. {
        let made = fixture.store.create_participant(fixture.organisation, &draft(n), ACTOR, NOW).await;
        if let Err(refused) = made {
            return (n, refused);
        }
    }
    unreachable!("the file is full before that")
}

#[tokio::test]
async fn a_transaction_that_a_full_file_ends_leaves_the_next_one_a_connection_that_begins_it() {
    let fixture = Fixture::new(Engine::Sqlite).await;
    let mut next = 0;
    for pages in 0..PAGES_LEFT {
        leave(&fixture, pages).await;
        let (n, refused) = until_refused(&fixture, next).await;
        assert!(refused.is_retryable(), "{pages} pages left: {refused}");
        leave(&fixture, PLENTY).await;
        fixture.store.probe_write(NOW).await.unwrap();
        fixture.store.create_participant(fixture.organisation, &draft(n), ACTOR, NOW).await.unwrap().unwrap();
        next = n + 1;
    }
}
