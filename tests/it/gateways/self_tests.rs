//! Test messages over every adapter: the reference of a test goes there and back, and settles the test.

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::gateway::TestState;
use klaroen_domain::time::{Clock as _, SystemClock};
use klaroen_simulator::{Contract, HttpFaults};
use klaroen_store::Actor;
use klaroen_store::gateway_tests::TestRequest;
use klaroen_test_databases::Engine;
use rstest::rstest;

use super::eventually;
use super::site::Site;
use crate::service::{in_states, until};

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_test_is_delivered_and_counts_for_no_alert(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let site = Site::open(engine, contract, 2, HttpFaults::default()).await;
    let store = &site.world.store;
    let asked = store.request_gateway_test(Actor::System, "main", SystemClock.now()).await;
    let TestRequest::Made(asked) = asked.unwrap() else { panic!("it is the first") };
    let alert = site.world.alert_all().await;
    site.service.wake.notify_waiters();
    // In whatever order they come.
    let test = eventually("the answer and the receipt of the test", async || {
        let test = store.gateway_test("main", asked.id).await.unwrap().unwrap();
        test.succeeded().and(test.answered_at).map(|_| test)
    })
    .await;
    assert_eq!((test.state, &test.code), (TestState::Delivered, &None), "{contract:?}");
    assert!(test.submitted_at <= test.answered_at && test.submitted_at <= test.receipt_at);
    let view = until(&site.world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending, S::Sent]) == 0).await;
    assert_eq!(in_states(&view, 0, &[S::Delivered]), 2);
    site.close().await;
}
