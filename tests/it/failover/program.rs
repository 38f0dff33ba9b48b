//! The same with the real program and two message centres: what stands in its configuration is what it does.

use std::collections::HashMap;

use klaroen_simulator::{Faults, Smsc, SmscConfig};
use klaroen_test_databases::Engine;
use reqwest::StatusCode;
use rstest::rstest;

use crate::client::{Client, count, incident, registry, text};
use crate::program::{Installation, PATIENCE};

/// In neighbourhood 0.
pub const PEOPLE: usize = 3_000;
pub const BEFORE: u64 = 900;
/// In neighbourhood 1, whom the alerts ask that show whether the first gateway is back.
pub const FEW: usize = 200;
pub const WINDOW: u64 = 50;
/// The states in which no delivery may ever be: it would be lost to failover.
const LOST: [&str; 4] = ["failed", "expired", "cancelled", "suppressed"];

pub async fn message_centre(seed: u64) -> Smsc {
    // With a full window some 1,000 a second on each connection, on the fastest machine too: an alert lasts long enough to be
    // cut off.
    let faults = Faults { response_delay_ms: (40, 60), receipt_delay_ms: (10, 50), ..Faults::default() };
    Smsc::start(SmscConfig { seed, faults, ..SmscConfig::default() }).await.unwrap()
}

/// With `binds` at each of them; `first` goes first, with so many segments a second (0: no limit).
pub async fn installation(
    engine: Engine,
    directory: &tempfile::TempDir,
    first: (&Smsc, u32),
    second: &Smsc,
    binds: u16,
) -> Installation {
    let (first, rate) = first;
    let url = match engine {
        Engine::Sqlite => "sqlite:klaroen.db".to_owned(),
        Engine::Postgres => engine.database(directory.path()).await,
    };
    let more = format!(
        "priority = 20\nbinds = {binds}\n[[gateways]]\nname = \"first\"\ntype = \"smpp\"\nhost = \"127.0.0.1\"\nport = {}\n\
         system_id = \"klaroen\"\npassword = \"geheim\"\nsender = \"1000\"\npriority = 10\nwindow = {WINDOW}\nbinds = {binds}\n\
         segments_per_second = {rate}\n",
        first.addr().port()
    );
    let installation = Installation::on(&url, second, &more);
    let few = registry(2, FEW);
    let few: String = few.lines().skip(1 + FEW).flat_map(|line| [line, "\n"]).collect();
    installation.import(&(registry(1, PEOPLE) + &few));
    installation
}

/// Reports an incident in a neighbourhood; returns its alert.
pub async fn raise(client: &Client, reference: &str, neighbourhood: usize) -> String {
    let body = incident(reference, neighbourhood, "urgent");
    let (status, taken) = client.post("/v1/incidents", reference, &body).await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{taken}");
    text(&taken["alerts"][0]["id"])
}

/// How often each phone rang at either message centre for the incident with this reference.
pub fn rings(centres: [&Smsc; 2], reference: &str) -> HashMap<String, u32> {
    let mut rings = HashMap::new();
    for centre in centres {
        for number in centre.ring_counts().into_keys() {
            let of =
                centre.rings_of(&number).into_iter().filter(|ring| ring.text.contains(reference)).count();
            *rings.entry(number).or_default() += u32::try_from(of).unwrap();
        }
    }
    rings.retain(|_, times| *times > 0);
    rings
}

/// Waits until nothing is queued or under way, and nobody is given up meanwhile.
pub async fn until_out(client: &Client, alert: &str) {
    let out = |alert: &serde_json::Value| {
        assert_eq!(count(alert, 0, &LOST), 0, "nobody is given up: {alert:#}");
        count(alert, 0, &["queued", "sending"]) == 0
    };
    client.until(alert, "everybody to be asked", out).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_message_centre_that_goes_away_hands_over_and_takes_up_again(
    #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
) {
    let directory = tempfile::tempdir().unwrap();
    let (first, second) = (message_centre(1).await, message_centre(2).await);
    let installation = installation(engine, &directory, (&first, 0), &second, 1).await;
    let program = installation.serve();
    let client = Client::new(&installation, &program);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while first.stats().binds + second.stats().binds < 2 {
        assert!(tokio::time::Instant::now() < deadline, "they are not bound");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let alert = raise(&client, "2026-groot", 0).await;
    tokio::time::timeout(PATIENCE, first.until_taken(BEFORE)).await.unwrap();
    assert_eq!(second.submits(), 0, "it is the reserve");
    first.stop_listening().await;
    until_out(&client, &alert).await;
    let doubts = client.deliveries_in(&alert, "unknown").await;
    assert!(doubts.len() as u64 <= WINDOW, "{} are in doubt", doubts.len());
    assert!(second.total_rings() > 0);

    first.listen_again().await.unwrap();
    // A ring before the connection was gone is reported through the next one.
    let reported = |alert: &serde_json::Value| {
        count(alert, 0, &["delivered", "unknown"]) == PEOPLE as u64
            && count(alert, 0, &["delivered"]) == first.total_rings() + second.total_rings()
    };
    client.until(&alert, "the receipts", reported).await;
    let (numbers, rang) = (client.numbers().await, rings([&first, &second], "2026-groot"));
    for delivery in client.deliveries(&alert).await {
        let times = rang.get(&numbers[&delivery.participant]).copied().unwrap_or(0);
        assert_eq!(times, u32::from(delivery.state == "delivered"), "{delivery:?} rang {times} times");
    }

    let deadline = tokio::time::Instant::now() + PATIENCE;
    for n in 0.. {
        let (reference, before) = (format!("2026-klein-{n}."), first.total_rings());
        let alert = raise(&client, &reference, 1).await;
        let delivered = |alert: &serde_json::Value| count(alert, 0, &["delivered"]) == FEW as u64;
        client.until(&alert, "the few", delivered).await;
        let rang = rings([&first, &second], &reference);
        assert!(rang.len() == FEW && rang.values().all(|times| *times == 1), "each of them once");
        if first.total_rings() - before == FEW as u64 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the first gateway does not come back");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    assert_eq!(client.broken_sums().await, 0);
    assert_eq!(program.terminate().code(), Some(0));
    first.shutdown().await;
    second.shutdown().await;
}
