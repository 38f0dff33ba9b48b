//! Debian's Kannel between us and a message centre, and the same alert without it: every phone rings once, every receipt comes
//! back, replies and STOP come in.

mod boxes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_domain::time::SystemClock;
use klaroen_gateway::config::GatewayConfig;
use klaroen_simulator::{Faults, Smsc};
use klaroen_store::PageRequest;
use klaroen_store::alerts::AlertDraft;
use klaroen_test_databases::Engine;
use rstest::rstest;
use serde_json::json;

use self::boxes::{FIRST, Kannel, PASSWORD, USERNAME};
use crate::front::{Door, TOKEN};
use crate::pipeline::world;
use crate::service::{PATIENCE, SENDER, Service, in_states, smsc, until};
use crate::sizes::PEOPLE_BEHIND_KANNEL as PEOPLE;
use crate::world::{World, phone, text};

/// A second alert, to some hundred. Letters outside the alphabet of SMS: it goes out as UCS-2.
const NEXT: &str = "Let op ✓ Łódź";
const NEAR_M: f64 = 10.05;
/// Everything that an address or a form might stumble over.
const REPLY: &str = "Gezien & wel: 50% zeker + \"rode\" jas? één €";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Over HTTP to `smsbox`, and from `bearerbox` over SMPP to the message centre.
    ThroughKannel,
    /// Over SMPP to the message centre.
    Straight,
}

fn gateway(way: Way, smsc: &Smsc, door: &Door, kannel: Option<&Kannel>) -> GatewayConfig {
    let table = match (way, kannel) {
        (Way::ThroughKannel, Some(kannel)) => json!({
            "type": "kannel", "name": "kannel", "sender": SENDER, "base_url": kannel.url(), "username": USERNAME,
            "password": PASSWORD, "callback_token": TOKEN, "callback_url": door.url(),
        }),
        _ => json!({
            "type": "smpp", "name": "straight", "sender": SENDER, "host": "127.0.0.1", "port": smsc.addr().port(),
            "system_id": "klaroen", "password": "geheim", "window": 50,
        }),
    };
    let config: GatewayConfig = serde_json::from_value(table).unwrap();
    assert_eq!(config.validate(), []);
    config
}

/// Waits until something is so.
async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !look().await {
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn has_reply(world: &World, alert: AlertId, words: &str) -> bool {
    let page = PageRequest { limit: 10, cursor: None };
    let replies =
        world.store.list_replies(world.organisation, alert, None, &page).await.unwrap().unwrap().items;
    replies.iter().any(|reply| reply.text == words)
}

async fn has_opted_out(world: &World, n: usize) -> bool {
    let page = PageRequest { limit: 1, cursor: None };
    let found = world.store.list_participants(world.organisation, Some(&phone(n)), &page).await.unwrap();
    found.items[0].opted_out
}

fn digits(n: usize) -> String {
    phone(n).expose_digits().to_owned()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn everybody_rings_once_and_everything_comes_back(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Way::ThroughKannel, Way::Straight)] way: Way,
) {
    let world = world(engine, usize::try_from(PEOPLE).unwrap()).await;
    let smsc =
        smsc(Faults { response_delay_ms: (1, 5), receipt_delay_ms: (20, 100), ..Faults::default() }).await;
    let door = Door::open().await;
    let kannel = match way {
        Way::ThroughKannel => Some(Kannel::start(&smsc, &door).await),
        Way::Straight => None,
    };
    let config = gateway(way, &smsc, &door, kannel.as_ref());
    let service = Service::start_gateway(&world, &config, Arc::new(SystemClock));
    let front = door.answer(&world, &[config], &service.wake, Arc::new(SystemClock));

    let alert = world.alert_all().await;
    service.wake.notify_waiters();
    until(&world, alert, |v| in_states(v, 0, &[S::Delivered]) == PEOPLE).await;
    let all_once: HashMap<String, u32> = (0..PEOPLE).map(|n| (digits(n.try_into().unwrap()), 1)).collect();
    let mut rings = smsc.ring_counts();
    let before = u64::from(rings.remove(FIRST).unwrap_or(0));
    assert_eq!(rings, all_once);
    assert_eq!(smsc.rings_of(&digits(0))[0].text, "Let op: man, rode jas, te voet richting station.".into());

    assert_eq!(smsc.send_inbound(&digits(7), SENDER, REPLY).await, Ok(0));
    eventually("the reply", async || has_reply(&world, alert, REPLY).await).await;
    assert_eq!(smsc.send_inbound(&digits(8), SENDER, "Stop, dank u").await, Ok(0));
    eventually("the stop", async || has_opted_out(&world, 8).await).await;
    let rang = |n: usize, words: &str| smsc.rings_of(&digits(n)).iter().filter(|r| &*r.text == words).count();
    eventually("the confirmation", async || rang(8, "OptOutConfirmed nl") == 1).await;

    let draft = AlertDraft { text: text(NEXT), ..world.alert_draft(NEAR_M) };
    let next = world.raise(&draft).await;
    service.wake.notify_waiters();
    let near = world.view(next).await.messages[0].recipients;
    assert!(near > 8, "{near}");
    until(&world, next, |v| in_states(v, 0, &[S::Delivered]) == near).await;
    for n in 0..=usize::try_from(near).unwrap() {
        assert_eq!(rang(n, NEXT), usize::from(n != 8), "all that live near, but nobody after a stop");
    }
    // Both alerts, what STOP and the reply were answered with, and nothing of Kannel's own.
    let answers = rang(8, "OptOutConfirmed nl") + smsc.rings_of(&digits(7)).len() - 2;
    assert_eq!(smsc.total_rings() - before, PEOPLE + near + u64::try_from(answers).unwrap());
    service.stop().await;
    front.close().await;
    drop(kannel);
    smsc.shutdown().await;
}
