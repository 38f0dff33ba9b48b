use std::time::Duration;

use klaroen_domain::gateway::TestState;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{ProviderId, ReceiptStatus};
use klaroen_domain::time::Timestamp;
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::upkeep::{KEEP_TESTS, PATIENCE};
use super::*;
use crate::deliveries::receipts::{IncomingReceipt, ReceiptCounts};
use crate::tests::fixture::{ACTOR, Fixture, NOW, first, phone};
use crate::upkeep::retention::Retention;

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_mins(1);

fn channel() -> ChannelName {
    ChannelName { gateway: "main".into(), channel: 0 }
}

fn receipt(
    provider_id: &str,
    delivery: Option<DeliveryId>,
    status: ReceiptStatus,
    at: Timestamp,
) -> IncomingReceipt {
    IncomingReceipt {
        provider_id: ProviderId(provider_id.into()),
        delivery,
        status,
        error: (status == ReceiptStatus::Undelivered).then(|| "1".to_owned()),
        recipient: None,
        raw: String::new(),
        received_at: at,
    }
}

fn accepted(provider_id: &str) -> TestAnswer {
    TestAnswer {
        state: TestState::Accepted,
        provider_id: Some(ProviderId(provider_id.into())),
        awaits_receipt: true,
        failure: None,
    }
}

impl Fixture {
    async fn ask(&self, at: Timestamp) -> TestRequest {
        self.store.request_gateway_test(ACTOR, "main", at).await.unwrap()
    }

    async fn made(&self, at: Timestamp) -> GatewayTest {
        match self.ask(at).await {
            TestRequest::Made(test) => *test,
            other => panic!("{other:?}"),
        }
    }

    async fn claimed(&self, at: Timestamp) -> ClaimedTest {
        self.store.claim_gateway_test(&channel(), at.plus(LEASE), at).await.unwrap().expect("a test")
    }

    async fn finish(&self, test: &ClaimedTest, answer: &TestAnswer, at: Timestamp) -> bool {
        self.store.finish_gateway_test(test.number, test.lease_token, answer, at).await.unwrap()
    }

    async fn test(&self, id: GatewayTestId) -> GatewayTest {
        self.store.gateway_test("main", id).await.unwrap().unwrap()
    }
}

#[rstest]
#[tokio::test]
async fn a_test_goes_its_way_and_keeps_its_times(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let made = f.made(NOW).await;
    assert_eq!((made.state, made.succeeded(), made.daily), (TestState::Requested, None, false));
    assert_eq!(f.ask(NOW).await, TestRequest::UnderWay);
    let elsewhere = ChannelName { gateway: "other".into(), channel: 0 };
    assert_eq!(f.store.claim_gateway_test(&elsewhere, NOW.plus(LEASE), NOW).await.unwrap(), None);
    let given_back = f.claimed(NOW).await;
    f.store.release_gateway_test(&given_back).await.unwrap();
    let claimed = f.claimed(NOW.plus(SECOND)).await;
    assert!(!f.store.begin_gateway_test(&given_back, &phone(1), NOW).await.unwrap(), "it is another's now");
    assert_eq!(f.store.claim_gateway_test(&channel(), NOW.plus(LEASE), NOW).await.unwrap(), None, "once");
    assert!(f.store.begin_gateway_test(&claimed, &phone(1), NOW.plus(2 * SECOND)).await.unwrap());
    let stranger = ClaimedTest { lease_token: claimed.lease_token ^ 1, ..claimed };
    assert!(!f.finish(&stranger, &accepted("p"), NOW).await, "the fence");
    assert!(f.finish(&claimed, &accepted("p"), NOW.plus(3 * SECOND)).await);
    assert_eq!(f.ask(NOW).await, TestRequest::UnderWay, "its receipt is to come");
    let batch = [
        receipt("p", None, ReceiptStatus::Underway, NOW.plus(4 * SECOND)),
        receipt("p", None, ReceiptStatus::Delivered, NOW.plus(5 * SECOND)),
    ];
    let counts = f.store.store_receipts("main", &batch).await.unwrap();
    assert_eq!(counts, ReceiptCounts { joined: 2, parked: 0, moved: 0 });
    let test = f.test(claimed.id).await;
    assert_eq!(
        (test.state, test.succeeded(), test.channel.as_deref()),
        (TestState::Delivered, Some(true), Some("main/0"))
    );
    let times = [test.submitted_at, test.answered_at, test.receipt_at];
    assert_eq!(times, [2, 3, 5].map(|s| Some(NOW.plus(s * SECOND))));
    assert_eq!(f.store.latest_gateway_tests().await.unwrap(), std::slice::from_ref(&test));
    let newer = f.made(NOW.plus(LEASE)).await;
    let page = f.store.list_gateway_tests("main", &first(1)).await.unwrap();
    assert_eq!((page.items[0].id, page.next_cursor.is_some()), (newer.id, true));
    assert_eq!(f.store.latest_gateway_tests().await.unwrap(), [test]);
    let audit = f.store.list_audit(f.organisation, &first(1)).await.unwrap();
    assert_eq!((audit.items[0].action.as_str(), audit.items[0].subject.as_str()), ("gateway.tested", "main"));
}

#[rstest]
#[tokio::test]
async fn a_receipt_before_the_answer_is_joined_by_reference_and_by_id(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(true, false)] echoed: bool,
) {
    let f = Fixture::new(engine).await;
    f.made(NOW).await;
    let claimed = f.claimed(NOW).await;
    let reference = echoed.then(|| DeliveryId::of_test(claimed.number));
    let batch = [receipt("p", reference, ReceiptStatus::Delivered, NOW.plus(SECOND))];
    let counts = f.store.store_receipts("main", &batch).await.unwrap();
    assert_eq!(counts.parked, u64::from(!echoed));
    assert!(f.finish(&claimed, &accepted("p"), NOW.plus(2 * SECOND)).await);
    f.store.tend_gateway_tests(NOW.plus(2 * SECOND)).await.unwrap();
    let test = f.test(claimed.id).await;
    assert_eq!((test.state, test.receipt_at), (TestState::Delivered, Some(NOW.plus(SECOND))));
    assert!(test.answered_at.is_some() && !test.awaits_receipt);
    // Nothing of it stays behind, parked.
    let day = Duration::from_hours(24);
    let kept = Retention { idempotency: day, parked_receipts: Duration::ZERO, receipts: 1_000 * day };
    assert_eq!(f.store.prune(&kept, NOW.plus(LEASE)).await.unwrap().rows, 0);
    assert!(matches!(f.ask(NOW.plus(LEASE)).await, TestRequest::Made(_)));
}

#[rstest]
#[tokio::test]
async fn a_receipt_of_another_gateway_or_of_no_test_changes_nothing(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    f.made(NOW).await;
    let claimed = f.claimed(NOW).await;
    assert!(f.finish(&claimed, &accepted("p"), NOW).await);
    let reference = Some(DeliveryId::of_test(claimed.number));
    let nobodys = Some(DeliveryId::of_test(claimed.number + 1));
    let of = |gateway, reference, id: &str| {
        let batch = [receipt(id, reference, ReceiptStatus::Undelivered, NOW)];
        let store = &f.store;
        async move { store.store_receipts(gateway, &batch).await.unwrap() }
    };
    for (gateway, reference, id) in [("other", reference, "p"), ("main", nobodys, "x"), ("main", None, "x")] {
        assert_eq!(of(gateway, reference, id).await.parked, 1, "{gateway} {id}");
    }
    assert_eq!(f.test(claimed.id).await.state, TestState::Accepted);
}

#[rstest]
#[tokio::test]
async fn a_receipt_about_another_phone_or_from_before_the_test_is_not_its_own(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(true, false)] answered: bool,
) {
    let f = Fixture::new(engine).await;
    f.made(NOW).await;
    let claimed = f.claimed(NOW).await;
    assert!(f.store.begin_gateway_test(&claimed, &phone(1), NOW).await.unwrap());
    if answered {
        assert!(f.finish(&claimed, &accepted("p"), NOW).await);
    }
    let about = |n| Some(f.store.keys.recipient(&phone(n)));
    // A provider that uses its ids again: the same id then belongs to another message.
    let another =
        IncomingReceipt { recipient: about(2), ..receipt("p", None, ReceiptStatus::Delivered, NOW) };
    let before = receipt("p", None, ReceiptStatus::Delivered, NOW.minus(2 * LEASE));
    let counts = f.store.store_receipts("main", &[another, before]).await.unwrap();
    assert_eq!(counts.parked, 2);
    if !answered {
        assert!(f.finish(&claimed, &accepted("p"), NOW).await);
    }
    f.store.tend_gateway_tests(NOW).await.unwrap();
    assert_eq!(f.test(claimed.id).await.state, TestState::Accepted);
    let own = IncomingReceipt { recipient: about(1), ..receipt("p", None, ReceiptStatus::Delivered, NOW) };
    assert_eq!(f.store.store_receipts("main", &[own]).await.unwrap().parked, 0);
    assert_eq!(f.test(claimed.id).await.state, TestState::Delivered);
}

#[rstest]
#[tokio::test]
async fn a_test_of_a_worker_that_died_is_in_doubt_and_leaves_no_second_time(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    f.made(NOW).await;
    let claimed = f.claimed(NOW).await;
    f.store.tend_gateway_tests(NOW.plus(LEASE).minus(SECOND)).await.unwrap();
    assert_eq!(f.test(claimed.id).await.state, TestState::Submitting);
    f.store.tend_gateway_tests(NOW.plus(LEASE)).await.unwrap();
    let test = f.test(claimed.id).await;
    assert_eq!((test.state, test.succeeded()), (TestState::Unknown, Some(false)));
    assert!(
        !f.store.begin_gateway_test(&claimed, &phone(1), NOW).await.unwrap(),
        "it may not leave any more"
    );
    let later = NOW.plus(LEASE);
    assert_eq!(f.store.claim_gateway_test(&channel(), later.plus(LEASE), later).await.unwrap(), None);
    let failed = f.store.failed_gateway_tests(later).await.unwrap();
    assert_eq!(failed.iter().map(|test| test.id).collect::<Vec<_>>(), [claimed.id]);
    assert_eq!(f.store.failed_gateway_tests(later).await.unwrap(), [], "told once");
    // While another one is under way its own answer comes after all.
    let second = f.made(later).await;
    assert!(f.finish(&claimed, &accepted("late"), later).await);
    assert_eq!(f.test(claimed.id).await.state, TestState::Accepted);
    let batch = [receipt("late", None, ReceiptStatus::Delivered, later.plus(SECOND))];
    f.store.store_receipts("main", &batch).await.unwrap();
    assert_eq!(f.test(claimed.id).await.state, TestState::Delivered);
    assert_eq!(f.test(second.id).await.state, TestState::Requested);
}

#[rstest]
#[tokio::test]
async fn what_nobody_takes_and_what_brings_no_receipt_ends(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    let nobody = f.made(NOW).await;
    let late = NOW.plus(PATIENCE);
    assert_eq!(
        f.store.claim_gateway_test(&channel(), late.plus(LEASE), late).await.unwrap(),
        None,
        "too late"
    );
    f.store.tend_gateway_tests(late).await.unwrap();
    let nobody = f.test(nobody.id).await;
    assert_eq!((nobody.state, nobody.code.as_deref()), (TestState::Refused, Some("no_connection")));
    f.made(late).await;
    let silent = f.claimed(late).await;
    f.finish(&silent, &accepted("p"), late).await;
    let end = late.plus(Duration::from_mins(10));
    f.store.tend_gateway_tests(end.minus(SECOND)).await.unwrap();
    assert_eq!(f.test(silent.id).await.succeeded(), None);
    f.store.tend_gateway_tests(end).await.unwrap();
    assert_eq!(f.test(silent.id).await.state, TestState::NoReceipt);
    assert_eq!(f.store.failed_gateway_tests(end).await.unwrap().len(), 2);
    let batch = [receipt("p", None, ReceiptStatus::Undelivered, end)];
    f.store.store_receipts("main", &batch).await.unwrap();
    let late_word = f.test(silent.id).await;
    assert_eq!((late_word.state, late_word.code.as_deref()), (TestState::Undelivered, Some("1")));
    let retention = Retention { idempotency: PATIENCE, parked_receipts: PATIENCE, receipts: KEEP_TESTS * 2 };
    assert_eq!(f.store.prune(&retention, late.plus(KEEP_TESTS)).await.unwrap().rows, 1);
}

#[rstest]
#[tokio::test]
async fn a_gateway_without_receipts_is_well_once_it_accepted(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let f = Fixture::new(engine).await;
    f.made(NOW).await;
    let claimed = f.claimed(NOW).await;
    f.finish(&claimed, &TestAnswer { awaits_receipt: false, ..accepted("p") }, NOW).await;
    f.store.tend_gateway_tests(NOW.plus(Duration::from_hours(1))).await.unwrap();
    assert_eq!(f.test(claimed.id).await.succeeded(), Some(true));
    assert!(matches!(f.ask(NOW).await, TestRequest::Made(_)));
}

#[rstest]
#[tokio::test]
async fn of_an_hour_only_a_few_are_taken(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let refused = TestAnswer {
        state: TestState::Refused,
        provider_id: None,
        awaits_receipt: false,
        failure: Some(("credit".into(), "none left".into())),
    };
    assert_eq!(f.store.request_daily_test("main", "2026-11-23", NOW).await.unwrap(), DailyTest::Made);
    f.finish(&f.claimed(NOW).await, &refused, NOW).await;
    for minute in 0..TESTS_PER_HOUR {
        let at = NOW.plus(minute * LEASE);
        f.made(at).await;
        f.finish(&f.claimed(at).await, &refused, at).await;
    }
    let minutes = |n: u64| NOW.plus(Duration::from_mins(n));
    assert_eq!(f.ask(minutes(10)).await, TestRequest::TooMany { wait: Duration::from_mins(50) });
    assert!(matches!(f.ask(minutes(60)).await, TestRequest::Made(_)));
}

#[rstest]
#[tokio::test]
async fn a_day_has_one_test_whoever_asks(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let f = Fixture::new(engine).await;
    let day = |day| f.store.request_daily_test("main", day, NOW);
    let all = futures::future::join_all((0..8).map(|_| day("2026-11-23"))).await;
    let made = all.iter().filter(|made| matches!(made, Ok(DailyTest::Made))).count();
    let done = all.iter().filter(|made| matches!(made, Ok(DailyTest::Done))).count();
    assert_eq!((made, done), (1, 7));
    assert_eq!(day("2026-11-24").await.unwrap(), DailyTest::UnderWay);
    let claimed = f.claimed(NOW).await;
    f.finish(&claimed, &TestAnswer { awaits_receipt: false, ..accepted("p") }, NOW).await;
    assert_eq!(day("2026-11-24").await.unwrap(), DailyTest::Made);
    assert!(f.test(claimed.id).await.daily);
    // Many connections, one of which gets it.
    let channel = channel();
    let claims = (0..8).map(|_| f.store.claim_gateway_test(&channel, NOW.plus(LEASE), NOW));
    let claims = futures::future::join_all(claims).await;
    assert_eq!(claims.into_iter().filter(|claim| claim.as_ref().unwrap().is_some()).count(), 1);
}
