//! What has to hold at the end.

use std::collections::HashMap;
use std::time::Duration;

use super::reports::Report;
use super::stage::{Cluster, FEW, RATE};
use crate::client::{Client, count};
use crate::program::PATIENCE;

/// Waits until nothing of an alert is under way, as long as it goes on: a busy machine takes its time.
async fn quiet(client: &Client, alert: &str) {
    let mut fewest = u64::MAX;
    let mut deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let view = client.alert(alert).await;
        // What was handed over still needs its receipt.
        let left = 2 * count(&view, 0, &["queued", "sending"]) + count(&view, 0, &["sent"]);
        if left == 0 {
            return;
        }
        if left < fewest {
            (fewest, deadline) = (left, tokio::time::Instant::now() + PATIENCE);
        }
        assert!(tokio::time::Instant::now() < deadline, "it does not get quiet: {view:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How often each phone rang with each text.
fn rings(cluster: &Cluster) -> HashMap<(String, String), u32> {
    let mut rings = HashMap::new();
    for number in cluster.smsc.ring_counts().into_keys() {
        for ring in cluster.smsc.rings_of(&number) {
            *rings.entry((number.clone(), ring.text.to_string())).or_default() += 1;
        }
    }
    rings
}

/// Everybody whom an alert asked rang once, or is shown to be in doubt. Gives how many are in doubt.
async fn check_alert(
    client: &Client,
    numbers: &HashMap<String, String>,
    rings: &HashMap<(String, String), u32>,
    report: &Report,
    people: usize,
) -> usize {
    let deliveries = client.deliveries(&report.alert).await;
    assert_eq!(deliveries.len(), people, "{}: nobody is lost", report.reference);
    let text = format!("Let op ({}): man, rode jas.", report.reference);
    let mut doubts = 0;
    for delivery in deliveries {
        let number = numbers[&delivery.participant].clone();
        let rang = rings.get(&(number, text.clone())).copied().unwrap_or(0);
        match delivery.state.as_str() {
            "delivered" => assert_eq!(rang, 1, "{delivery:?}"),
            // The message centre says so of what it took and did not bring.
            "undelivered" => assert!(rang <= 1, "{delivery:?}"),
            "unknown" => {
                assert!(rang <= 1, "it rang {rang} times: {delivery:?}");
                doubts += 1;
            }
            _ => panic!("{}: {delivery:?} rang {rang} times", report.reference),
        }
    }
    doubts
}

/// Waits for quiet and checks everything. Gives how many are in doubt.
pub async fn check(cluster: &mut Cluster, large: &[(Report, usize)], small: &[Report]) -> usize {
    cluster.all_run();
    let client = cluster.client();
    for (report, _) in large {
        quiet(&client, &report.alert).await;
    }
    for report in small {
        quiet(&client, &report.alert).await;
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while cluster.smsc.stats().pending > 0 {
        assert!(tokio::time::Instant::now() < deadline, "receipts are not taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.broken_sums().await, 0);
    let (numbers, rings) = (client.numbers().await, rings(cluster));
    let mut doubts = 0;
    for (report, people) in large {
        doubts += check_alert(&client, &numbers, &rings, report, *people).await;
    }
    assert!(!small.is_empty());
    let taken: Vec<(String, String)> = client.all_incidents().await;
    for report in small {
        let same = taken.iter().filter(|(_, reference)| *reference == report.reference);
        assert_eq!(
            same.map(|(id, _)| id).collect::<Vec<_>>(),
            [&report.incident],
            "one incident for one key"
        );
        doubts += check_alert(&client, &numbers, &rings, report, FEW).await;
    }
    assert_eq!(taken.len(), large.len() + small.len(), "nothing that was not reported");
    let peak = cluster.smsc.stats().peak_submits_per_second;
    let late = cluster.lateness.allows(RATE);
    assert!(peak <= RATE + late, "{peak} in one second, and {RATE} are allowed: {late} may be late");
    doubts
}
