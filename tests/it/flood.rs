//! A message centre that sends all receipts at once, without a window, and never again.

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_simulator::{Faults, Smsc, SmscConfig};
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::json;

use crate::pipeline::world;
use crate::service::{Service, in_states, until};

/// Three receipts for each come to 60,000: what was seen to be lost, when 1,000 was the most that could wait.
const PEOPLE: usize = 20_000;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_come_all_at_once_and_never_again_are_all_stored(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let people = PEOPLE as u64;
    let world = world(engine, PEOPLE).await;
    let faults = Faults { duplicate_receipt: 1.0, reordered_receipt: 1.0, ..Faults::default() };
    let config = SmscConfig {
        faults: Faults { hold_deliveries: true, ..faults.clone() },
        deliver_window: usize::MAX,
        deliver_attempts_max: 1,
        record_texts: false,
        ..SmscConfig::default()
    };
    let smsc = Smsc::start(config).await.unwrap();
    let service = Service::start(&world, &smsc, json!({ "window": 500 }));
    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Sent]) == people).await;
    assert_eq!((smsc.stats().deliveries_sent, smsc.stats().pending), (0, 3 * people));
    smsc.set_faults(faults);
    // In steps, each of which may take its time.
    for step in 1..=8 {
        until(&world, alert, |v| in_states(v, 0, &[S::Delivered]) >= people * step / 8).await;
    }
    service.stop().await;
    smsc.shutdown().await;
    // An acknowledged SMS or receipt is committed.
    let stats = smsc.stats();
    assert_eq!((stats.deliveries_sent, stats.deliveries_acknowledged), (3 * people, 3 * people));
}
