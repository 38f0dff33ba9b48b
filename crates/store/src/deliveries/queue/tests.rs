use std::collections::BTreeMap;

use klaroen_domain::delivery::DeliveryState;
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::*;
use crate::engine::db::Db;
use crate::engine::sql::sql;
use crate::tests::fixture::{ACTOR, Fixture, NOW, draft};

const MESSAGE: Sql = Sql::new(
    "INSERT INTO messages (id, organisation_id, kind, priority, lane, text, encoding, segments, recipients, expires_at,
                           created_at)
     VALUES ($1, $2, 'service', 'urgent', 2, 't', 'gsm7', 1, 1, 9000000000000, 0)",
);
const TO_SO_MANY: Sql = Sql::new(
    "INSERT INTO deliveries (organisation_id, message_id, participant_id, recipient, lane, state, due_at, changed_at)
     SELECT organisation_id, $1, id, recipient, 2, 'queued', 0, 0 FROM participants ORDER BY id LIMIT $2",
);
const STATES: Sql = Sql::new("SELECT state, COUNT(*) FROM deliveries GROUP BY state");
const SETTLED_BY: Sql = Sql::new("SELECT settled_by FROM doubts");
/// From now on no delivery can be written. Two texts, because a trigger of PostgreSQL calls a function.
const BREAK: Sql = Sql::each(
    "CREATE TRIGGER broken BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'broken'); END",
    "CREATE TRIGGER broken BEFORE UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION audit_is_append_only()",
);
const MEND: Sql = sql!("DROP TRIGGER IF EXISTS broken {postgres(ON deliveries)}");
/// The server ends the connection at the commit.
const CUT_OFF: &str = "CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
     CREATE CONSTRAINT TRIGGER cut_off AFTER UPDATE ON deliveries DEFERRABLE INITIALLY DEFERRED
     FOR EACH ROW EXECUTE FUNCTION cut_off()";
const SOMEBODY_WAITS: &str =
    "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
     AND (classid::bigint << 32) | objid::bigint = $1)";

/// One channel of a gateway, and messages to the people of a registry.
struct Sending {
    fixture: Fixture,
    channel: ChannelName,
    part: Option<Part>,
    scan: Scan,
    turns: Turns,
    now: Timestamp,
}

impl Sending {
    async fn new(engine: Engine, people: u32) -> Self {
        let fixture = Fixture::new(engine).await;
        for n in 0..people {
            fixture
                .store
                .create_participant(fixture.organisation, &draft(n), ACTOR, NOW)
                .await
                .unwrap()
                .unwrap();
        }
        let channel = ChannelName { gateway: "main".into(), channel: 0 };
        Self { fixture, channel, part: None, scan: Scan::default(), turns: Turns::default(), now: NOW }
    }

    /// The same for a gateway that may take a part, which is all.
    async fn of_a_part(engine: Engine, people: u32) -> Self {
        let roles = Roles { by_country: vec![], others: Role::WHOLE };
        let part = Part { life_threatening: roles.clone(), urgent: roles.clone(), normal: roles };
        Self { part: Some(part), ..Self::new(engine, people).await }
    }

    async fn message(&self, recipients: i64) -> MessageId {
        let id = MessageId::generate();
        on_db!(write self.fixture.store.db, pool, d => {
            sqlx::query(MESSAGE.of(d)).bind(id.0).bind(self.fixture.organisation.0).execute(pool).await.unwrap();
            sqlx::query(TO_SO_MANY.of(d)).bind(id.0).bind(recipients).execute(pool).await.unwrap().rows_affected()
        });
        id
    }

    async fn try_claim(&mut self, limit: u32, lease_token: i64) -> Result<Claim, ClaimError> {
        let (channel, now, lease_until) = (&self.channel, self.now, self.now.plus(Duration::from_mins(1)));
        let request = ClaimRequest { channel, limit, lease_until, now, lease_token };
        let store = &self.fixture.store;
        match &self.part {
            None => store.claim(&request, &mut self.turns).await,
            Some(part) => store.claim_part(&request, part, &mut self.scan, &mut self.turns).await,
        }
    }

    /// How many of each message a claim returns.
    async fn claim(&mut self, limit: u32) -> BTreeMap<MessageId, usize> {
        let mut by_message = BTreeMap::new();
        for claimed in self.try_claim(limit, lease_token()).await.unwrap().claimed {
            *by_message.entry(claimed.message).or_default() += 1;
        }
        by_message
    }

    async fn give_back(&self, lease_token: i64, now: Timestamp) -> u64 {
        self.fixture.store.give_back("main", lease_token, now).await.unwrap()
    }

    async fn count(&self, state: DeliveryState) -> i64 {
        let rows: Vec<(String, i64)> = on_db!(read self.fixture.store.db, pool, d =>
            sqlx::query_as(STATES.of(d)).fetch_all(pool).await.unwrap());
        rows.into_iter().find(|(found, _)| found == state.as_str()).map_or(0, |(_, count)| count)
    }

    async fn sweep(&self, now: Timestamp) {
        self.fixture.store.sweep(Duration::from_hours(24), now).await.unwrap();
    }

    async fn settled_by(&self) -> Vec<Option<String>> {
        on_db!(read self.fixture.store.db, pool, d => sqlx::query_scalar(SETTLED_BY.of(d)).fetch_all(pool).await.unwrap())
    }
}

async fn sendings(engine: Engine, people: u32) -> [Sending; 2] {
    [Sending::new(engine, people).await, Sending::of_a_part(engine, people).await]
}

#[rstest]
#[tokio::test]
async fn a_gateway_that_takes_one_at_a_time_serves_messages_in_turn(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    for mut sending in sendings(engine, 6).await {
        let (first, second) = (sending.message(6).await, sending.message(6).await);
        for message in [first, second, first, second] {
            assert_eq!(sending.claim(1).await, BTreeMap::from([(message, 1)]));
        }
        // One that comes meanwhile has its turn, too, and what is used up is passed over.
        let third = sending.message(1).await;
        for message in [third, first, second, first, second] {
            assert_eq!(sending.claim(1).await, BTreeMap::from([(message, 1)]));
        }
    }
}

#[rstest]
#[tokio::test]
async fn what_does_not_divide_among_messages_goes_round(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    for mut sending in sendings(engine, 10).await {
        let mut messages = Vec::new();
        for _ in 0..6 {
            messages.push(sending.message(10).await);
        }
        let mut all = BTreeMap::new();
        for _ in 0..3 {
            let claim = sending.claim(10).await;
            assert_eq!(claim.len(), 6, "nobody is left out");
            assert_eq!(claim.values().sum::<usize>(), 10);
            for (message, count) in claim {
                *all.entry(message).or_default() += count;
            }
        }
        assert_eq!(all, messages.into_iter().map(|message| (message, 5)).collect());
    }
}

#[rstest]
#[tokio::test]
async fn a_small_message_behind_a_large_one_has_half_and_leaves_it_the_rest(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    for mut sending in sendings(engine, 30).await {
        let (large, small) = (sending.message(30).await, sending.message(6).await);
        assert_eq!(sending.claim(10).await, BTreeMap::from([(large, 5), (small, 5)]));
        assert_eq!(sending.claim(10).await, BTreeMap::from([(large, 9), (small, 1)]));
    }
}

#[rstest]
#[tokio::test]
async fn what_a_claim_that_failed_had_looked_at_is_there_for_the_next_one(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    for mut sending in sendings(engine, 4).await {
        let (first, second) = (sending.message(4).await, sending.message(4).await);
        on_db!(write sending.fixture.store.db, pool, d =>
            sqlx::query(BREAK.of(d)).execute(pool).await.unwrap().rows_affected());
        assert!(matches!(sending.try_claim(3, lease_token()).await, Err(ClaimError::NotMade(_))));
        on_db!(write sending.fixture.store.db, pool, d =>
            sqlx::query(MEND.of(d)).execute(pool).await.unwrap().rows_affected());
        assert_eq!(sending.claim(3).await, BTreeMap::from([(first, 2), (second, 1)]));
    }
}

#[rstest]
#[tokio::test]
async fn what_a_claim_leased_that_nobody_saw_goes_back_and_nothing_else(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let mut sending = Sending::new(engine, 5).await;
    let message = sending.message(5).await;
    sending.try_claim(3, 1).await.unwrap();
    sending.try_claim(1, 2).await.unwrap();
    assert_eq!(sending.give_back(3, NOW).await, 0);
    assert_eq!(sending.give_back(1, NOW).await, 3);
    assert_eq!(
        (sending.count(DeliveryState::Queued).await, sending.count(DeliveryState::Sending).await),
        (4, 1)
    );
    assert_eq!(sending.claim(9).await, BTreeMap::from([(message, 4)]));
    assert_eq!(sending.give_back(1, NOW).await, 0, "they are another's now");
}

#[rstest]
#[tokio::test]
async fn what_counts_as_lost_before_it_is_given_back_is_no_longer_in_doubt(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(61, 120)] seconds: u64,
) {
    let mut sending = Sending::new(engine, 2).await;
    sending.message(2).await;
    sending.try_claim(2, 1).await.unwrap();
    sending.sweep(NOW.plus(Duration::from_secs(61))).await;
    let now = NOW.plus(Duration::from_secs(seconds));
    // After the second time the policy has held them, and their message is done with.
    sending.sweep(now).await;
    assert_eq!(sending.count(DeliveryState::Unknown).await, 2);
    assert_eq!(sending.give_back(1, now).await, 2);
    assert_eq!(sending.count(DeliveryState::Queued).await, 2);
    assert_eq!(sending.settled_by().await, vec![Some("late_answer".to_owned()); 2]);
    sending.now = now;
    assert_eq!(sending.claim(9).await.values().sum::<usize>(), 2);
}

#[rstest]
#[tokio::test]
async fn what_the_provider_is_being_asked_about_is_not_given_back(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let mut sending = Sending::new(engine, 2).await;
    sending.message(2).await;
    sending.try_claim(2, 1).await.unwrap();
    let lost = NOW.plus(Duration::from_secs(61));
    sending.sweep(lost).await;
    let now = lost.plus(Duration::from_secs(31));
    let doubts =
        sending.fixture.store.take_doubts("main", 1, now.plus(Duration::from_secs(30)), now).await.unwrap();
    assert_eq!(doubts.len(), 1);
    assert_eq!(sending.give_back(1, now).await, 1, "it may be handed over again at this moment");
    assert_eq!(
        (sending.count(DeliveryState::Queued).await, sending.count(DeliveryState::Unknown).await),
        (1, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_server_is_still_at_is_waited_for() {
    let sending = Sending::new(Engine::Postgres, 3).await;
    let message = sending.message(3).await;
    let Db::Postgres { pool, .. } = &sending.fixture.store.db else { panic!("this is about PostgreSQL") };
    let request = ClaimRequest {
        channel: &sending.channel,
        limit: 3,
        lease_until: NOW.plus(Duration::from_mins(1)),
        now: NOW,
        lease_token: lease_token(),
    };
    let mut tx = sending.fixture.store.db.begin().await.unwrap();
    let Candidates { leased, .. } = all_candidates(&mut tx, &request, message.0, 3).await.unwrap();
    lease(&mut tx, &request, &leased, &[]).await.unwrap();
    let (store, token) = (sending.fixture.store.clone(), request.lease_token);
    let given_back = tokio::spawn(async move { store.give_back("main", token, NOW).await });
    let waits = || async {
        let waits = sqlx::query_scalar::<_, bool>(SOMEBODY_WAITS).bind(token).fetch_one(pool).await.unwrap();
        waits || given_back.is_finished()
    };
    while !waits().await {
        tokio::task::yield_now().await;
    }
    tx.commit().await.unwrap();
    assert_eq!(given_back.await.unwrap().unwrap(), 3);
    assert_eq!(sending.count(DeliveryState::Queued).await, 3);
}

#[tokio::test]
async fn a_commit_without_an_answer_leaves_it_open_whether_anything_is_leased() {
    let mut sending = Sending::new(Engine::Postgres, 2).await;
    let (first, second) = (sending.message(2).await, sending.message(2).await);
    let Db::Postgres { pool, .. } = sending.fixture.store.db.clone() else {
        panic!("this is about PostgreSQL")
    };
    sqlx::raw_sql(CUT_OFF).execute(&pool).await.unwrap();
    let failed = sending.try_claim(1, 1).await;
    assert!(matches!(&failed, Err(ClaimError::InDoubt(error)) if error.is_retryable()), "{failed:?}");
    sqlx::raw_sql("DROP TRIGGER cut_off ON deliveries").execute(&pool).await.unwrap();
    assert_eq!(sending.give_back(1, NOW).await, 0);
    assert_eq!(sending.claim(3).await, BTreeMap::from([(first, 2), (second, 1)]), "nobody has lost a turn");
}
