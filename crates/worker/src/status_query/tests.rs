//! The reaction to each answer of a provider, and its limits.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use klaroen_domain::id::{DeliveryId, MessageId};
use klaroen_domain::outcome::{Failure, ReceiptStatus};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::ManualClock;
use klaroen_gateway::Capabilities;
use klaroen_store::StoreOptions;
use klaroen_store::channels::ChannelName;
use klaroen_store::seal::Keys;
use klaroen_test_databases::Engine;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::session::message_cache::Outgoing;

const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

/// A scripted provider. A call without a script panics, which is one of the cases.
#[derive(Default)]
struct Scripted {
    can: Capabilities,
    statuses: Mutex<VecDeque<StatusAnswer>>,
    outcomes: Mutex<VecDeque<SubmitOutcome>>,
    hangs: bool,
    /// The time from which it last searched for a message.
    since: Arc<Mutex<Option<Timestamp>>>,
}

#[async_trait]
impl SmsGateway for Scripted {
    fn capabilities(&self) -> Capabilities {
        self.can
    }

    async fn submit(&self, _sms: &OutboundSms) -> SubmitOutcome {
        self.outcomes.lock().unwrap().pop_front().expect("a scripted outcome")
    }

    async fn query_status(&self, _sms: &OutboundSms, since: Timestamp) -> StatusAnswer {
        *self.since.lock().unwrap() = Some(since);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.statuses.lock().unwrap().pop_front().expect("a scripted status")
    }
}

fn doubt() -> Doubt {
    Doubt {
        id: DeliveryId(7),
        lease_token: 1,
        asker: 2,
        message: MessageId(Uuid::nil()),
        phone: Some(PhoneNumber::from_sealed("+31612345678".into())),
        priority: Priority::Urgent,
        since: NOW,
        lease_until: None,
        lost_at: NOW,
        unanswered: 0,
        missed_at: None,
        resent: 0,
        may_ring: true,
    }
}

const LOOKS_UP: Capabilities = Capabilities {
    status_query: true,
    client_reference: true,
    idempotent_submit: false,
    receipts: true,
    inbound: true,
    max_segments: 6,
    batch_max: 0,
    window_of_segments: false,
};
const BOTH: Capabilities = Capabilities { idempotent_submit: true, ..LOOKS_UP };
const REPEATS: Capabilities = Capabilities { status_query: false, ..BOTH };

async fn queries(gateway: Scripted) -> (StatusQueries, TempDir) {
    let directory = TempDir::new().unwrap();
    let url = Engine::Sqlite.database(directory.path()).await;
    let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
    let messages = Arc::new(MessageCache::default());
    let text = Arc::new(MessageText::parse("Let op.", 1).unwrap());
    let expires_at = NOW.plus(Duration::from_hours(1));
    let outgoing = Outgoing { text, segments: 1, expires_at, priority: Priority::Urgent };
    messages.keep(MessageId(Uuid::nil()), Arc::new(outgoing));
    let name = ChannelName { gateway: "main".into(), channel: 0 };
    let queries = StatusQueries {
        store,
        clock: Arc::new(ManualClock::new(NOW)),
        messages,
        name: "main".into(),
        gateway: Arc::new(gateway),
        handle: Arc::new(GatewayHandle::new("main".into(), 0, 1, Uuid::nil())),
        instruments: Arc::new(ChannelInstruments::new(&name)),
        wake: Arc::default(),
    };
    (queries, directory)
}

async fn asked(gateway: Scripted, doubt: Doubt) -> Found {
    let (queries, _directory) = queries(gateway).await;
    queries.query(&doubt, Instant::now() + DONE_WITHIN).await
}

async fn looked_up(can: Capabilities, answer: StatusAnswer, doubt: Doubt) -> Found {
    asked(Scripted { can, statuses: Mutex::new([answer].into()), ..Scripted::default() }, doubt).await
}

async fn repeated(can: Capabilities, outcome: SubmitOutcome, doubt: Doubt) -> Found {
    asked(Scripted { can, outcomes: Mutex::new([outcome].into()), ..Scripted::default() }, doubt).await
}

fn again(wait_s: u64, because: Because) -> Found {
    Found::Again { ask_at: NOW.plus(Duration::from_secs(wait_s)), because }
}

fn failure(scope: Scope) -> Failure {
    Failure { scope, code: "x".into(), detail: "y".into() }
}

#[tokio::test]
async fn a_look_up_says_what_the_provider_has() {
    let found = looked_up(LOOKS_UP, StatusAnswer::found("p1", ReceiptStatus::Delivered), doubt()).await;
    let provider_ids = vec![ProviderId("p1".into())];
    let known = Found::Known { provider_ids, segments: 1, status: ReceiptStatus::Delivered, error: None };
    assert_eq!(found, known);
    assert_eq!(looked_up(LOOKS_UP, StatusAnswer::NotFound, doubt()).await, again(5, Because::Missed));
    let missed = Doubt { missed_at: Some(NOW.minus(MISSES_APART)), ..doubt() };
    assert_eq!(looked_up(LOOKS_UP, StatusAnswer::NotFound, missed).await, Found::NotKnown);
}

fn candidate(id: &str) -> Candidate {
    Candidate { provider_id: ProviderId(id.into()), status: ReceiptStatus::Delivered, error: None }
}

#[tokio::test]
async fn of_messages_that_are_alike_each_is_taken_for_one_lost_submit_only() {
    let alike =
        |complete| StatusAnswer::Alike { candidates: vec![candidate("new"), candidate("old")], complete };
    let found = looked_up(LOOKS_UP, alike(true), doubt()).await;
    let provider_ids = vec![ProviderId("old".into())];
    let known = Found::Known { provider_ids, segments: 1, status: ReceiptStatus::Delivered, error: None };
    assert_eq!(found, known);

    let (queries, _directory) = queries(Scripted::default()).await;
    let mut answered: Vec<Answered> = [1, 2]
        .map(|id| Answered { doubt: Doubt { id: DeliveryId(id), ..doubt() }, found: known.clone() })
        .into();
    queries.reject_duplicates(&mut answered);
    assert_eq!(answered[0].found, known);
    assert!(matches!(answered[1].found, Found::Again { because: Because::NotAsked, .. }));
}

#[tokio::test]
async fn a_message_from_before_the_lease_is_not_asked_for() {
    let gateway = Scripted {
        can: LOOKS_UP,
        statuses: Mutex::new([StatusAnswer::NotFound].into()),
        ..Scripted::default()
    };
    let since = Arc::clone(&gateway.since);
    let (queries, _directory) = queries(gateway).await;
    let leased_at = NOW.plus(Duration::from_mins(30));
    let doubt = Doubt { lease_until: Some(leased_at.plus(LEASE)), ..doubt() };
    queries.query(&doubt, Instant::now() + DONE_WITHIN).await;
    assert_eq!(*since.lock().unwrap(), Some(leased_at));
}

#[tokio::test]
async fn look_ups_in_vain_are_repeated_with_growing_waits_and_not_for_ever() {
    for (unanswered, expected) in [
        (0, again(2, Because::Unanswered)),
        (1, again(4, Because::Unanswered)),
        (2, again(8, Because::Unanswered)),
        (3, Found::Nothing),
    ] {
        let doubt = Doubt { unanswered, ..doubt() };
        assert_eq!(looked_up(LOOKS_UP, StatusAnswer::NoAnswer, doubt).await, expected);
    }
    let life = Doubt { unanswered: 1, priority: Priority::LifeThreatening, ..doubt() };
    assert_eq!(looked_up(LOOKS_UP, StatusAnswer::NoAnswer, life).await, Found::Nothing);
    assert_eq!(
        asked(Scripted { can: LOOKS_UP, ..Scripted::default() }, doubt()).await,
        again(2, Because::Unanswered)
    );
}

#[tokio::test]
async fn a_provider_that_hangs_is_waited_for_within_bounds() {
    let gateway = Scripted { can: LOOKS_UP, hangs: true, ..Scripted::default() };
    let (queries, _directory) = queries(gateway).await;
    tokio::time::pause();
    let began = Instant::now();
    let found = queries.query(&doubt(), Instant::now() + DONE_WITHIN).await;
    assert_eq!((found, began.elapsed() <= ANSWER_WITHIN * 2), (again(2, Because::Unanswered), true));
}

#[tokio::test]
async fn after_the_last_look_up_the_message_is_repeated_where_that_is_harmless() {
    let last = Doubt { unanswered: 3, ..doubt() };
    let next = again(0, Because::Unanswered);
    assert_eq!(looked_up(BOTH, StatusAnswer::NoAnswer, last).await, next);
    let spent = Doubt { unanswered: 4, ..doubt() };
    let accepted = || SubmitOutcome::Accepted { provider_ids: vec![ProviderId("r".into())], segments: 2 };
    let taken = Found::Taken { provider_ids: vec![ProviderId("r".into())], segments: 2 };
    assert_eq!(repeated(BOTH, accepted(), spent.clone()).await, taken);
    assert_eq!(repeated(REPEATS, accepted(), doubt()).await, taken);
    for held in [Doubt { may_ring: false, ..spent.clone() }, Doubt { resent: 3, ..spent }] {
        assert_eq!(repeated(BOTH, accepted(), held).await, Found::Nothing);
    }
    let gone = Doubt { phone: None, ..doubt() };
    assert_eq!(repeated(REPEATS, accepted(), gone).await, Found::Nothing);
}

#[tokio::test]
async fn a_repetition_is_tried_three_times() {
    let lost = || SubmitOutcome::Unknown(failure(Scope::Recipient));
    for (resent, expected) in
        [(0, again(2, Because::NotTaken)), (1, again(5, Because::NotTaken)), (2, Found::Nothing)]
    {
        let doubt = Doubt { resent, ..doubt() };
        for outcome in [lost(), SubmitOutcome::Throttled { retry_after: None }] {
            assert_eq!(repeated(REPEATS, outcome, doubt.clone()).await, expected);
        }
    }
    let refused = SubmitOutcome::Rejected(failure(Scope::Recipient));
    assert_eq!(repeated(REPEATS, refused, doubt()).await, Found::Refused(failure(Scope::Recipient)));
}

#[tokio::test]
async fn a_provider_that_refuses_us_while_we_ask_is_left_alone() {
    let outcomes = Mutex::new([SubmitOutcome::Rejected(failure(Scope::Gateway))].into());
    let (queries, _directory) = queries(Scripted { can: REPEATS, outcomes, ..Scripted::default() }).await;
    let mut guard = queries.handle.bind();
    guard.set_up(true);
    assert!(is_usable(queries.handle.routing_state()));
    let found = queries.query(&doubt(), Instant::now() + DONE_WITHIN).await;
    assert_eq!(found, again(2, Because::NotTaken));
    assert!(!is_usable(queries.handle.routing_state()));
}

#[test]
fn not_known_is_believed_the_second_time() {
    let missed = Found::Again { ask_at: NOW.plus(MISSES_APART), because: Because::Missed };
    assert_eq!(not_found(None, NOW), missed);
    assert_eq!(not_found(Some(NOW), NOW.plus(MISSES_APART / 2)), missed);
    assert_eq!(not_found(Some(NOW), NOW.plus(MISSES_APART)), Found::NotKnown);
}

#[test]
fn asking_ends_before_the_policy_stops_waiting() {
    let all = |waits: &[Duration]| {
        waits.iter().sum::<Duration>() + ANSWER_WITHIN * (u32::try_from(waits.len()).unwrap() + 1)
    };
    let longest = all(LOOK_AGAIN) + all(REPEAT_AGAIN);
    assert!(longest <= klaroen_store::doubts::ASKED_WITHIN, "{longest:?}");
    assert!(DONE_WITHIN < TAKEN_FOR);
}
