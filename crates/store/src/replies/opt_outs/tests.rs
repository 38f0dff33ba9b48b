//! What is kept of an opt-out.

use klaroen_domain::participant::Language;
use klaroen_domain::text::MessageText;
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::{NewOptOut, RecordedOptOut};
use crate::engine::db::{Sql, on_db};
use crate::replies::views::{AutoReply, AutoReplyTexts};
use crate::tenancy::idempotency::{Idempotency, Once};
use crate::tests::fixture::{ACTOR, Fixture, NOW, phone};

const FINGERPRINTS: Sql = Sql::new("SELECT fingerprint FROM idempotency_keys");

struct Texts;

impl AutoReplyTexts for Texts {
    fn text(&self, _: AutoReply, _: Language) -> MessageText {
        MessageText::parse("dank", 1).unwrap()
    }
}

#[rstest]
#[tokio::test]
async fn no_hash_of_a_number_is_kept_that_can_be_made_without_the_key(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let request = Idempotency { key: "k".into(), fingerprint: [7; 32] };
    let number = phone(1);
    let new = NewOptOut { phone: &number, note: None };
    let once = f.store.record_opt_out(f.organisation, &new, Some(&request), ACTOR, &Texts, NOW).await;
    assert!(matches!(once.unwrap(), Once::Done(RecordedOptOut { new: true, .. })));
    let kept: Vec<Vec<u8>> = on_db!(read f.store.db, pool, d =>
        sqlx::query_scalar(FINGERPRINTS.of(d)).fetch_all(pool).await.unwrap());
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].windows(8).any(|part| part == [7; 8]), "{kept:?}");
}
