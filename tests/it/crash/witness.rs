//! Compares what the API says about an alert with what rang.

use std::collections::{HashMap, HashSet};

use klaroen_simulator::Smsc;

use crate::client::{Client, Delivery, count, text};

/// Who watches one alert of which every recipient gets no other message.
pub struct Witness {
    pub alert: String,
    /// Digits of each recipient's number, by participant.
    numbers: HashMap<String, String>,
    /// How often a phone may ring at most, if it was in doubt each time before the last.
    rings_max: u32,
    /// Participants whose delivery was seen to be in doubt.
    pub in_doubt: HashSet<String>,
}

/// The states in which no delivery can be whose phone rang.
const DID_NOT_LEAVE: [&str; 5] = ["failed", "cancelled", "suppressed", "expired", "undelivered"];

impl Witness {
    pub fn new(alert: String, numbers: HashMap<String, String>, rings_max: u32) -> Self {
        Self { alert, numbers, rings_max, in_doubt: HashSet::new() }
    }

    /// Checks the conditions that have to hold at every moment.
    pub async fn look(&mut self, client: &Client, smsc: &Smsc) {
        // Rings are counted before and after: what rang before was claimed, what is delivered rang.
        let before = smsc.ring_counts();
        let alert = client.alert(&self.alert).await;
        assert_eq!(alert["recipients"], self.numbers.len(), "nobody is lost: {alert:#}");
        let deliveries = client.deliveries(&self.alert).await;
        let after = smsc.ring_counts();
        assert_eq!(deliveries.len(), self.numbers.len());
        let mut seen = HashSet::new();
        for delivery in &deliveries {
            let number = &self.numbers[&delivery.participant];
            assert!(seen.insert(number), "one delivery each");
            if delivery.state == "unknown" {
                self.in_doubt.insert(delivery.participant.clone());
            }
            if before.contains_key(number) {
                self.check_rung(delivery);
            }
            let rings = after.get(number).copied().unwrap_or(0);
            assert!(delivery.state != "delivered" || rings > 0, "delivered, and did not ring: {delivery:?}");
        }
    }

    fn check_rung(&self, delivery: &Delivery) {
        assert!(delivery.attempts > 0, "it rang before it was claimed: {delivery:?}");
        assert!(!DID_NOT_LEAVE.contains(&delivery.state.as_str()), "it rang: {delivery:?}");
        // The policy may put one back that was in doubt; without it what rang is never in the queue again.
        assert!(delivery.state != "queued" || self.rings_max > 1, "it rang: {delivery:?}");
    }

    /// Waits until nothing changes any more: `open` are the states that end.
    pub async fn until_quiet(&mut self, client: &Client, smsc: &Smsc, open: &[&str]) -> Vec<Delivery> {
        let deadline = tokio::time::Instant::now() + crate::program::PATIENCE;
        loop {
            self.look(client, smsc).await;
            let alert = client.alert(&self.alert).await;
            let doubts = client.deliveries_in(&self.alert, "unknown").await;
            let settled = doubts.iter().all(|d| d.reason.as_deref() == Some("policy_hold"));
            if count(&alert, 0, open) == 0 && settled && smsc.stats().pending == 0 {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "it does not get quiet: {alert:#}");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        self.look(client, smsc).await;
        assert_eq!(client.broken_sums().await, 0);
        client.deliveries(&self.alert).await
    }

    /// Checks the conditions on the rings of the recipients. Returns how many rang more than once.
    pub fn check_rings(&self, smsc: &Smsc, deliveries: &[Delivery]) -> usize {
        let rings = smsc.ring_counts();
        let mut repeated = 0;
        for delivery in deliveries {
            let times = rings.get(&self.numbers[&delivery.participant]).copied().unwrap_or(0);
            assert!(times <= self.rings_max, "rang {times} times: {delivery:?}");
            if times > 1 {
                repeated += 1;
                assert!(delivery.attempts > 1, "a second ring that is not shown: {delivery:?}");
                assert!(self.in_doubt.contains(&delivery.participant), "it was never in doubt: {delivery:?}");
            }
        }
        repeated
    }

    /// Whether the phone of a delivery rang.
    pub fn rang(&self, smsc: &Smsc, delivery: &Delivery) -> bool {
        !smsc.rings_of(&self.numbers[&delivery.participant]).is_empty()
    }
}

/// The alert that an incident was reported with.
pub fn alert_id(incident: &serde_json::Value) -> String {
    text(&incident["alerts"][0]["id"])
}
