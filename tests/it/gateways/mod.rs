//! Every adapter for a provider over HTTP, from the alert to the handset and back through the callback routes.

mod batches;
mod lost;
mod relay;
mod self_tests;
pub mod site;

use klaroen_domain::alert::Outcome;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_simulator::{Contract, HttpFaults};
use klaroen_store::PageRequest;
use klaroen_test_databases::Engine;
use rstest::rstest;

use self::relay::{Recorded, Relay};
use self::site::{Site, TOKEN};
use crate::service::{PATIENCE, SENDER, in_states, until};
use crate::world::{phone, text};

const PEOPLE: usize = 24;
const END: &str = "Gevonden.";

fn is_signed(contract: Contract) -> bool {
    contract == Contract::Twilio
}

/// Those that say in so many words that a number stopped messages.
fn tells_opt_outs(contract: Contract) -> bool {
    matches!(contract, Contract::Twilio | Contract::Http)
}

fn digits(n: usize) -> String {
    phone(n).expose_digits().to_owned()
}

/// Waits until something is so.
async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_lives_its_whole_life_and_stop_ends_it(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let faults = HttpFaults { undelivered: 0.3, blocked_number: 0.2, ..HttpFaults::default() };
    let site = Site::open(engine, contract, PEOPLE, faults).await;
    let alert = site.world.alert_all().await;
    site.service.wake.notify_waiters();
    let view = until(&site.world, alert, |v| {
        in_states(v, 0, &[S::Delivered, S::Undelivered, S::Failed]) == PEOPLE as u64
    })
    .await;
    let delivered = in_states(&view, 0, &[S::Delivered]);
    assert_eq!(delivered, site.provider.total_rings());
    assert!(delivered > 0 && in_states(&view, 0, &[S::Undelivered]) > 0, "{view:#?}");

    // A stop that the provider knows of has become ours.
    let page = PageRequest { limit: 500, cursor: None };
    let deliveries = site.world.store.list_deliveries(site.world.organisation, alert, None, &page).await;
    let deliveries = deliveries.unwrap().unwrap().items;
    let stopped = deliveries.iter().filter(|d| d.reason.as_deref() == Some("opted_out")).count();
    let mut opted_out = Vec::new();
    for n in 0..PEOPLE {
        if site.has_opted_out(n).await {
            opted_out.push(n);
        }
    }
    assert_eq!((opted_out.len(), stopped > 0), (stopped, tells_opt_outs(contract)));

    site.provider.set_faults(HttpFaults::default());
    let n = (0..PEOPLE).find(|n| !site.provider.rings_of(&digits(*n)).is_empty()).unwrap();
    let status = site.provider.send_inbound(&digits(n), SENDER, "Stop, dank u").await.unwrap();
    assert!((200..300).contains(&status), "{status}");
    assert!(site.has_opted_out(n).await, "it was answered when it was done");
    eventually("the confirmation", async || {
        let rings = site.provider.rings_of(&digits(n));
        rings.iter().any(|ring| &*ring.text == "OptOutConfirmed nl").then_some(())
    })
    .await;
    let (intake, end) = (site.world.intake(None), text(END));
    site.world.store.end_alert(&intake, alert, &end, Outcome::Found).await.unwrap().unwrap();
    site.service.wake.notify_waiters();
    until(&site.world, alert, |v| in_states(v, 1, &[S::Delivered]) == delivered - 1).await;
    let ends = (0..PEOPLE).flat_map(|n| site.provider.rings_of(&digits(n)));
    assert_eq!(ends.filter(|ring| &*ring.text == END).count() as u64, delivered - 1);
    assert_eq!(site.provider.stats().texts_in_answers, 0, "nothing that we answer is sent to a phone");
    site.close().await;
}

/// Variants of a callback that are not the provider's, with the statuses that they may be answered with.
fn forgeries(contract: Contract, genuine: &Recorded) -> Vec<(Recorded, &'static [u16])> {
    let retarget =
        |from: &str, to: &str| Recorded { target: genuine.target.replace(from, to), ..genuine.clone() };
    let mut forged = vec![
        (retarget(TOKEN, "token-0123456789-abcdeF"), &[404][..]),
        (retarget(TOKEN, ""), &[404]),
        (retarget("/main/", "/other/"), &[404]),
    ];
    if !is_signed(contract) {
        return forged;
    }
    let is_signature = |(name, _): &(String, String)| name == "x-twilio-signature";
    if genuine.headers.iter().any(is_signature) {
        let mut unsigned = genuine.clone();
        unsigned.headers.retain(|header| !is_signature(header));
        forged.push((unsigned, &[403]));
        let mut altered = genuine.clone();
        for (_, value) in altered.headers.iter_mut().filter(|header| is_signature(header)) {
            let middle = value.len() / 2;
            let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
            value.replace_range(middle..=middle, other);
        }
        forged.push((altered, &[403]));
    }
    let query = genuine.target.find('?').unwrap_or(genuine.target.len());
    let target = changed(genuine.target.as_bytes(), query)
        .into_iter()
        .map(|target| Recorded { target: String::from_utf8(target).unwrap(), ..genuine.clone() });
    let body = changed(&genuine.body, 0).into_iter().map(|body| Recorded { body, ..genuine.clone() });
    forged.extend(target.chain(body).map(|changed| (changed, &[403, 400][..])));
    forged
}

/// Copies with one digit changed, at places from `begin` to the end. Digits that escape another character are left alone.
fn changed(genuine: &[u8], begin: usize) -> Vec<Vec<u8>> {
    let escapes = |at: usize| (1..=2).any(|back| at >= back && genuine[at - back] == b'%');
    let places: Vec<_> =
        (begin..genuine.len()).filter(|at| genuine[*at].is_ascii_digit() && !escapes(*at)).collect();
    places
        .iter()
        .step_by(places.len().div_ceil(12).max(1))
        .map(|at| {
            let mut copy = genuine.to_vec();
            copy[*at] = if copy[*at] == b'1' { b'2' } else { b'1' };
            copy
        })
        .collect()
}

async fn forge(contract: Contract, relay: &Relay, genuine: &Recorded) {
    for (forged, statuses) in forgeries(contract, genuine) {
        let said = relay.send(&forged).await;
        assert!(statuses.contains(&said.status), "{contract}: {said:?} to {forged:?}");
        assert_eq!(said.content_type.as_deref(), Some("application/problem+json"));
        assert!(!said.body.contains(TOKEN), "{said:?}");
    }
}

/// The callback that the provider tries to make for an SMS, which it cannot deliver.
async fn captured(site: &Site, words: &str) -> Recorded {
    let before = site.relay.recorded("/inbound");
    let answered = site.provider.send_inbound(&digits(0), SENDER, words).await;
    assert!(answered.is_err(), "{answered:?}");
    // A repetition of an earlier one may have come meanwhile, with a signature of its own.
    let found = site.relay.recorded("/inbound").into_iter().skip(before.len());
    let says = |recorded: &Recorded| {
        let all = format!("{}{}", recorded.target, String::from_utf8_lossy(&recorded.body));
        all.contains(words)
    };
    found.into_iter().find(says).unwrap()
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_providers_or_comes_again_has_no_effect(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    #[values(Contract::Twilio, Contract::Infobip, Contract::Http)] contract: Contract,
) {
    let site = Site::open(engine, contract, 1, HttpFaults::default()).await;
    site.relay.hold();
    let alert = site.world.alert_all().await;
    site.service.wake.notify_waiters();
    until(&site.world, alert, |v| in_states(v, 0, &[S::Sent]) == 1).await;
    let mut next = 0;
    while site.world.count(alert, 0, S::Delivered).await == 0 {
        let genuine =
            eventually("a receipt", async || site.relay.recorded("/receipts").get(next).cloned()).await;
        next += 1;
        forge(contract, &site.relay, &genuine).await;
        assert_eq!(site.world.count(alert, 0, S::Sent).await, 1, "no forgery moved it");
        let said = site.relay.send(&genuine).await;
        assert!((200..300).contains(&said.status), "{said:?}");
        assert_eq!(site.relay.send(&genuine).await, said, "a repetition hears the same");
    }
    let stop = captured(&site, "STOP").await;
    forge(contract, &site.relay, &stop).await;
    assert!(!site.has_opted_out(0).await);
    let said = site.relay.send(&stop).await;
    assert!((200..300).contains(&said.status), "{said:?}");
    assert!(site.has_opted_out(0).await);
    let start = captured(&site, "START").await;
    assert_eq!(site.relay.send(&start).await.status, said.status);
    assert!(!site.has_opted_out(0).await);
    assert_eq!(site.relay.send(&stop).await, said);
    assert!(!site.has_opted_out(0).await, "the STOP of before START counts once");
    site.close().await;
}
