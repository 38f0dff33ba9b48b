//! Lost answers at providers that can be asked about them: nobody rings twice unseen, everything is settled, and the counts say
//! how.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_domain::time::Clock;
use klaroen_simulator::{Contract, HttpFaults, Mishap};
use klaroen_store::PageRequest;
use klaroen_store::alerts::AlertView;
use klaroen_store::deliveries::DeliveryView;
use klaroen_store::doubts::{DoubtCounts, Resolution};
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::json;

use super::digits;
use super::site::Site;
use crate::control_room::recorder;
use crate::failover::time::{Ahead, STEP};
use crate::service::{in_states, until};

const PEOPLE: usize = 30;
/// Of these the provider took the message, and the connection dropped.
const TAKEN: usize = 10;
/// Of these it did not.
const NOT_TAKEN: usize = 8;
/// How often what goes on by itself is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Seconds that pass at most until everything is settled.
const SECONDS_MOST: u32 = 600;

/// A site of whose alert the first answers are lost.
struct Lost {
    site: Site,
    time: Arc<Ahead>,
    alert: AlertId,
}

impl Lost {
    async fn open(engine: Engine, contract: Contract, priority: Priority, faults: HttpFaults) -> Self {
        let time = Arc::new(Ahead::default());
        // Every fault of a request here befalls one message.
        let alone = contract == Contract::Infobip;
        let keys = if alone { json!({"batch_max": 1}) } else { json!({}) };
        let site =
            Site::open_with(engine, contract, PEOPLE, faults, Arc::clone(&time) as Arc<dyn Clock>, &keys)
                .await;
        site.provider.order(Mishap::CloseAfterTaking, TAKEN);
        site.provider.order(Mishap::CloseBeforeTaking, NOT_TAKEN);
        let mut draft = site.world.alert_draft(10_000.0);
        draft.priority = priority;
        let alert = site.world.take(&draft).await.alert.unwrap();
        site.service.wake.notify_waiters();
        let view = until(&site.world, alert, |v| in_states(v, 0, &[S::Queued, S::Sending]) == 0).await;
        assert_eq!(view.messages[0].doubts.total(), (TAKEN + NOT_TAKEN) as u64);
        Self { site, time, alert }
    }

    /// Lets a second pass whenever nothing more happens in the present one, until it is as wanted.
    async fn until(&self, wanted: impl Fn(&AlertView) -> bool) -> AlertView {
        let (mut requests, mut seconds) = (0, 0);
        loop {
            let view = self.site.world.view(self.alert).await;
            if wanted(&view) {
                return view;
            }
            assert!(seconds < SECONDS_MOST, "{view:#?}");
            let before = std::mem::replace(&mut requests, self.site.provider.stats().requests);
            // A message that is leased for seconds without being sent goes back to the queue, and counts one attempt more.
            let under_way = in_states(&view, 0, &[S::Queued, S::Sending]) > 0;
            if requests == before && !under_way {
                self.time.step_kept(STEP, &self.site.world.store, &["main"]).await;
                seconds += 1;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn settled(&self) -> AlertView {
        let done =
            |v: &AlertView| v.messages[0].doubts.open == 0 && in_states(v, 0, &[S::Queued, S::Sending]) == 0;
        self.until(done).await
    }

    /// How often each phone rang.
    fn rings(&self) -> Vec<usize> {
        (0..PEOPLE).map(|n| self.site.provider.rings_of(&digits(n)).len()).collect()
    }

    async fn deliveries(&self) -> Vec<DeliveryView> {
        let page = PageRequest { limit: 500, cursor: None };
        let world = &self.site.world;
        let found = world.store.list_deliveries(world.organisation, self.alert, None, &page).await;
        found.unwrap().unwrap().items
    }
}

fn counts(settled: &[(Resolution, usize)]) -> DoubtCounts {
    DoubtCounts { open: 0, settled: settled.iter().map(|(how, count)| (*how, *count as u64)).collect() }
}

#[rstest]
#[tokio::test]
async fn look_ups_settle_lost_answers_and_nobody_rings_twice(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip)] contract: Contract,
) {
    // No receipts, so that only the provider can be asked.
    let faults = HttpFaults { no_receipt: 1.0, ..HttpFaults::default() };
    let lost = Lost::open(engine, contract, Priority::LifeThreatening, faults).await;
    let view = lost.settled().await;
    let expected = [(Resolution::LookupFound, TAKEN), (Resolution::LookupNotFound, NOT_TAKEN)];
    assert_eq!(view.messages[0].doubts, counts(&expected));
    assert_eq!(view.messages[0].in_doubt, 0, "nothing was sent again that may have rung");
    assert_eq!(lost.rings(), [1; PEOPLE]);
    let deliveries = lost.deliveries().await;
    let by = |how| deliveries.iter().filter(move |d| d.settled_by == Some(how));
    assert!(by(Resolution::LookupFound).all(|d| d.state == S::Delivered), "{deliveries:#?}");
    assert!(by(Resolution::LookupNotFound).all(|d| d.state == S::Sent && d.attempts == 2), "{deliveries:#?}");
    assert_eq!(deliveries.iter().filter(|d| d.settled_by.is_none()).count(), PEOPLE - TAKEN - NOT_TAKEN);
    let counted = || {
        let metrics = recorder().render();
        expected.iter().all(|(how, count)| {
            let labels = format!(r#"{{gateway="main",resolution="{}"}}"#, how.as_str());
            metrics.contains(&format!("klaroen_unknown_submits_total{labels} {count}\n"))
        })
    };
    lost.until(|_| counted()).await;
    lost.site.close().await;
}

/// A provider that knows the message and not yet what became of it: it was sent, and is not sent again.
#[rstest]
#[tokio::test]
async fn a_look_up_that_knows_no_end_settles_the_doubt_all_the_same(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip)] contract: Contract,
) {
    // No receipts, which would settle the doubt before the provider is asked.
    let faults = HttpFaults { never_settled: 1.0, no_receipt: 1.0, ..HttpFaults::default() };
    let lost = Lost::open(engine, contract, Priority::LifeThreatening, faults).await;
    let view = lost.settled().await;
    let expected = [(Resolution::LookupFound, TAKEN), (Resolution::LookupNotFound, NOT_TAKEN)];
    assert_eq!(view.messages[0].doubts, counts(&expected));
    assert_eq!(in_states(&view, 0, &[S::Sent]), PEOPLE as u64);
    lost.site.close().await;
}

#[rstest]
#[tokio::test]
async fn receipts_come_first_and_everything_arrives(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip)] contract: Contract,
) {
    // One that comes before the loss is noticed leaves nothing to doubt.
    let faults = HttpFaults { receipt_delay_ms: (2_500, 2_500), ..HttpFaults::default() };
    let lost = Lost::open(engine, contract, Priority::Urgent, faults).await;
    let rang = (PEOPLE - NOT_TAKEN) as u64;
    until(&lost.site.world, lost.alert, |v| in_states(v, 0, &[S::Delivered]) == rang).await;
    let view = lost.until(|v| in_states(v, 0, &[S::Delivered]) == PEOPLE as u64).await;
    let expected = [(Resolution::Receipt, TAKEN), (Resolution::LookupNotFound, NOT_TAKEN)];
    assert_eq!(view.messages[0].doubts, counts(&expected));
    assert_eq!(lost.rings(), [1; PEOPLE]);
    lost.site.close().await;
}

#[rstest]
#[tokio::test]
async fn what_no_look_up_settles_is_repeated_harmlessly_or_left_to_the_policy(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(
        (Contract::Twilio, Priority::Urgent),
        (Contract::Twilio, Priority::LifeThreatening),
        (Contract::Infobip, Priority::Urgent)
    )]
    case: (Contract, Priority),
) {
    let (contract, priority) = case;
    let faults = HttpFaults { no_receipt: 1.0, lookups_fail: true, ..HttpFaults::default() };
    let lost = Lost::open(engine, contract, priority, faults).await;
    let view = lost.settled().await;
    let (doubts, rings) = (view.messages[0].doubts.clone(), lost.rings());
    let times = |count| rings.iter().filter(|rung| **rung == count).count();
    match (contract, priority) {
        (Contract::Infobip, _) => {
            assert_eq!(doubts, counts(&[(Resolution::IdempotentResend, TAKEN + NOT_TAKEN)]));
            assert_eq!(times(1), PEOPLE, "the provider knows its ids: {rings:?}");
            assert_eq!(in_states(&view, 0, &[S::Sent]), PEOPLE as u64);
        }
        (_, Priority::LifeThreatening) => {
            // Once more for each: ten phones ring twice, for all to see.
            assert_eq!(doubts, counts(&[(Resolution::PolicyResend, TAKEN + NOT_TAKEN)]));
            assert_eq!((times(1), times(2)), (PEOPLE - TAKEN, TAKEN));
            assert_eq!(view.messages[0].in_doubt, (TAKEN + NOT_TAKEN) as u64);
        }
        _ => {
            assert_eq!(doubts, counts(&[(Resolution::PolicyHold, TAKEN + NOT_TAKEN)]));
            assert_eq!((times(1), times(0)), (PEOPLE - NOT_TAKEN, NOT_TAKEN));
            assert_eq!(in_states(&view, 0, &[S::Unknown]), (TAKEN + NOT_TAKEN) as u64);
        }
    }
    let looked_up = lost.site.provider.stats().lookups;
    assert!(looked_up >= 2 * (TAKEN + NOT_TAKEN) as u64, "it was asked {looked_up} times");
    lost.site.close().await;
}
