//! The same with a dispatcher and two workers as processes of their own, each with a connection to both message centres: what
//! one of them learns of a gateway and what is ordered by hand, both go by.

use klaroen_simulator::Smsc;
use klaroen_test_databases::Engine;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::program::{BEFORE, FEW, PEOPLE, WINDOW, installation, message_centre, raise, rings, until_out};
use crate::client::{Client, count};
use crate::program::{Installation, PATIENCE, Program};

const WORKERS: u16 = 2;
/// Segments a second with which an alert takes ten seconds: an order is heard by every worker long before.
const SLOW: u32 = 300;
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

struct Site {
    first: Smsc,
    second: Smsc,
    client: Client,
    installation: Installation,
    processes: Vec<Program>,
    _directory: tempfile::TempDir,
}

impl Site {
    /// With so many segments a second through the first gateway (0: no limit).
    async fn open(rate: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (first, second) = (message_centre(1).await, message_centre(2).await);
        let installation = installation(Engine::Postgres, &directory, (&first, rate), &second, WORKERS).await;
        let mut processes: Vec<_> =
            ["dispatcher", "worker", "worker"].iter().map(|part| installation.spawn_part(part)).collect();
        for process in &mut processes {
            process.wait_until_it_answers();
        }
        let client = Client::new(&installation, &processes[0]);
        let site = Self { first, second, client, installation, processes, _directory: directory };
        site.spread().await;
        site
    }

    /// Waits until each worker has a connection of each gateway.
    async fn spread(&self) {
        let workers: Vec<_> = self.processes[1..].iter().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut up = 0;
            for worker in &workers {
                let client = Client::new(&self.installation, worker);
                let metrics = client.metrics().await.unwrap_or_default();
                let held = |gateway: &str| {
                    let lines = metrics.lines().filter(|line| line.starts_with("klaroen_gateway_up{"));
                    lines.filter(|line| line.contains(gateway) && line.ends_with(" 1")).count()
                };
                up += usize::from(held("\"first\"") == 1 && held("\"main\"") == 1);
            }
            if up == workers.len() {
                return;
            }
            assert!(Instant::now() < deadline, "the connections do not spread");
            sleep(LOOK).await;
        }
    }

    /// Waits until the gateway is shown as wanted.
    async fn until_shown(&self, what: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let gateway = self.client.gateway("first").await;
            if wanted(&gateway) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {gateway:#}");
            sleep(LOOK).await;
        }
    }

    /// Small alerts until one goes through the first gateway alone; each rings every recipient once.
    async fn until_first_is_back(&self) {
        let deadline = Instant::now() + PATIENCE;
        for n in 0.. {
            let (reference, before) = (format!("2026-klein-{n}."), self.first.total_rings());
            let alert = raise(&self.client, &reference, 1).await;
            let delivered = |alert: &Value| count(alert, 0, &["delivered"]) == FEW as u64;
            self.client.until(&alert, "the few", delivered).await;
            let rang = rings([&self.first, &self.second], &reference);
            assert!(rang.len() == FEW && rang.values().all(|times| *times == 1), "each of them once");
            if self.first.total_rings() - before == FEW as u64 {
                return;
            }
            assert!(Instant::now() < deadline, "the first gateway does not come back");
            sleep(20 * LOOK).await;
        }
    }

    /// Every recipient rang as often as is shown: once, or not at all if that is not known.
    async fn check(&self, alert: &str, reference: &str, doubts_most: u64) {
        let reported = |alert: &Value| {
            count(alert, 0, &["delivered", "unknown"]) == PEOPLE as u64
                && count(alert, 0, &["delivered"])
                    == rings([&self.first, &self.second], reference).len() as u64
        };
        let shown = self.client.until(alert, "the receipts", reported).await;
        let doubts = count(&shown, 0, &["unknown"]);
        assert!(doubts <= doubts_most, "{doubts} are in doubt");
        let (numbers, rang) = (self.client.numbers().await, rings([&self.first, &self.second], reference));
        for delivery in self.client.deliveries(alert).await {
            let times = rang.get(&numbers[&delivery.participant]).copied().unwrap_or(0);
            assert_eq!(times, u32::from(delivery.state == "delivered"), "{delivery:?} rang {times} times");
        }
        assert_eq!(self.client.broken_sums().await, 0);
    }

    async fn close(self) {
        for program in self.processes {
            assert_eq!(program.terminate().code(), Some(0));
        }
        self.first.shutdown().await;
        self.second.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_workers_go_round_a_message_centre_that_goes_away() {
    let site = Site::open(0).await;
    let alert = raise(&site.client, "2026-groot", 0).await;
    timeout(PATIENCE, site.first.until_taken(BEFORE)).await.unwrap();
    assert_eq!(site.second.submits(), 0, "it is the reserve");
    site.first.stop_listening().await;
    until_out(&site.client, &alert).await;
    assert!(site.second.total_rings() > 0);
    site.first.listen_again().await.unwrap();
    site.check(&alert, "2026-groot", WINDOW * u64::from(WORKERS)).await;
    site.until_first_is_back().await;
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_by_a_gateway_whose_pause_is_in_force_until_it_is_resumed() {
    let site = Site::open(SLOW).await;
    let alert = raise(&site.client, "2026-groot", 0).await;
    timeout(PATIENCE, site.first.until_taken(WINDOW)).await.unwrap();
    site.installation.run(&["gateway", "pause", "first"], true);
    site.until_shown("the pause is in force", |gateway| {
        gateway["paused"]["in_force"] == json!(true) && gateway["queue"]["in_flight"] == json!(0)
    })
    .await;
    let before = site.first.submits();
    assert!(before < PEOPLE as u64, "it was over before");
    until_out(&site.client, &alert).await;
    assert_eq!(site.first.submits(), before, "nothing leaves by it any more");
    site.check(&alert, "2026-groot", 0).await;
    site.installation.run(&["gateway", "resume", "first"], true);
    site.until_first_is_back().await;
    site.close().await;
}
