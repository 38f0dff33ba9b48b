//! A provider inside the process: accepts, and sends receipts after a while, in seeded shares. For training and tests,
//! without any network.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::outcome::{ProviderId, ReceiptStatus, SubmitOutcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::failure::{not_taken, unknown};
use crate::redeliver::redeliver;
use crate::settings::{ConfigFault, Routing};
use crate::sms::{
    Capabilities, Channel, ChannelStatus, ClientReference, Delivered, GatewayEvent, OutboundSms, Receipt,
    SmsGateway,
};

/// Events that may wait for the consumer.
const EVENTS_MAX: usize = 1_000;
/// Messages whose receipt is still to come; beyond it the simulator says "slower", as a provider would.
const PENDING_MAX: usize = 100_000;

/// `type = "simulator"`. Shares are percentages of the messages, drawn from a seeded generator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatorConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// The number that replies would go to.
    #[serde(default)]
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// Two runs with one seed and one order of messages are alike.
    #[serde(default = "SimulatorConfig::seed")]
    pub seed: u64,
    /// Share of accepted messages whose receipt says delivered.
    #[serde(default = "SimulatorConfig::delivered_percent")]
    pub delivered_percent: u8,
    /// Share of accepted messages whose receipt says undelivered; what is left of 100 gets no receipt.
    #[serde(default = "SimulatorConfig::undelivered_percent")]
    pub undelivered_percent: u8,
    /// Share of submits that are answered with "slower".
    #[serde(default)]
    pub throttled_percent: u8,
    /// Share of submits whose answer is lost for good.
    #[serde(default)]
    pub unknown_percent: u8,
    /// Share of submits whose answer comes after the caller gave up.
    #[serde(default)]
    pub late_percent: u8,
    /// Milliseconds between a submit and its receipt (or late answer), give or take half.
    #[serde(default = "SimulatorConfig::receipt_delay_ms")]
    pub receipt_delay_ms: u64,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

impl SimulatorConfig {
    const fn seed() -> u64 {
        1
    }

    // The two shares are what control rooms report for a healthy registry; the rest are phones that stay silent.
    const fn delivered_percent() -> u8 {
        92
    }

    const fn undelivered_percent() -> u8 {
        5
    }

    /// Long enough to see the counters move, short enough for a demonstration.
    const fn receipt_delay_ms() -> u64 {
        1_500
    }

    pub(crate) fn validate(&self, faults: &mut Vec<ConfigFault>) {
        if u16::from(self.delivered_percent) + u16::from(self.undelivered_percent) > 100 {
            faults.push(ConfigFault::new(
                "undelivered_percent",
                "more than 100 together with delivered_percent",
            ));
        }
        let lost = [self.throttled_percent, self.unknown_percent, self.late_percent];
        if lost.iter().map(|x| u16::from(*x)).sum::<u16>() > 100 {
            faults.push(ConfigFault::new(
                "throttled_percent",
                "more than 100 together with unknown_ and late_percent",
            ));
        }
    }
}

struct SimulatorGateway {
    config: SimulatorConfig,
    rng: Mutex<StdRng>,
    /// Weak, so that the consumer's end closes with the gateway.
    events: mpsc::WeakSender<Delivered>,
    alive: Mutex<Option<mpsc::Sender<Delivered>>>,
    status: watch::Sender<ChannelStatus>,
    pending: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

pub(crate) const CAPABILITIES: Capabilities =
    Capabilities { client_reference: true, receipts: true, max_segments: u8::MAX, ..Capabilities::NONE };

/// The fate of one message, by the dice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Throttled,
    Lost,
    Late(Option<ReceiptStatus>),
    Accepted(Option<ReceiptStatus>),
}

/// Starts it. Needs a tokio runtime.
pub(crate) fn connect(config: &SimulatorConfig) -> Channel {
    let (sender, events) = mpsc::channel(EVENTS_MAX);
    let (status_sender, status) = watch::channel(ChannelStatus::Up);
    let stop = CancellationToken::new();
    let gateway = SimulatorGateway {
        rng: Mutex::new(StdRng::seed_from_u64(config.seed)),
        config: config.clone(),
        events: sender.downgrade(),
        alive: Mutex::new(Some(sender)),
        status: status_sender,
        pending: Arc::new(Semaphore::new(PENDING_MAX)),
        tasks: TaskTracker::new(),
        stop: stop.clone(),
        _stop_on_drop: stop.drop_guard(),
    };
    Channel { gateway: Arc::new(gateway), events, status }
}

/// Three throws for each message, whatever comes of them, so that one share does not shift the others.
fn throw(config: &SimulatorConfig, rng: &mut StdRng) -> (Fate, Duration) {
    let (submit, receipt): (u8, u8) = (rng.random_range(0..100), rng.random_range(0..100));
    let delay = Duration::from_millis(config.receipt_delay_ms).mul_f64(rng.random_range(0.5..1.5));
    let status = if receipt < config.delivered_percent {
        Some(ReceiptStatus::Delivered)
    } else if receipt < config.delivered_percent.saturating_add(config.undelivered_percent) {
        Some(ReceiptStatus::Undelivered)
    } else {
        None
    };
    let lost_from = config.throttled_percent;
    let late_from = lost_from.saturating_add(config.unknown_percent);
    let fate = if submit < lost_from {
        Fate::Throttled
    } else if submit < late_from {
        Fate::Lost
    } else if submit < late_from.saturating_add(config.late_percent) {
        Fate::Late(status)
    } else {
        Fate::Accepted(status)
    };
    (fate, delay)
}

#[async_trait]
impl SmsGateway for SimulatorGateway {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        let Some(events) = self.events.upgrade() else {
            return not_taken("closed", "the gateway is closed");
        };
        let (fate, delay) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            throw(&self.config, &mut rng)
        };
        let reference = ClientReference::of(sms.delivery);
        let provider_id = ProviderId(format!("sim-{}", reference.0));
        let (delivery, attempt) = (sms.delivery, sms.attempt);
        let accepted = SubmitOutcome::Accepted {
            provider_ids: vec![provider_id.clone()],
            segments: sms.text.segments(),
        };
        let (answer, late_answer, status) = match fate {
            Fate::Throttled => return SubmitOutcome::Throttled { retry_after: None },
            Fate::Lost => return unknown("simulated", "the answer was lost"),
            Fate::Late(status) => (unknown("simulated", "the answer is late"), Some(accepted), status),
            Fate::Accepted(status) => (accepted, None, status),
        };
        let Ok(permit) = Arc::clone(&self.pending).try_acquire_owned() else {
            return SubmitOutcome::Throttled { retry_after: None };
        };
        let receipt = status.map(|status| Receipt {
            raw: format!("id:{} stat:{}", provider_id.0, status.as_str()),
            error: (status == ReceiptStatus::Undelivered).then(|| "simulated".to_owned()),
            recipient: Some(sms.to.clone()),
            reference: Some(reference),
            provider_id,
            status,
        });
        let stop = self.stop.clone();
        self.tasks.spawn(stop.run_until_cancelled_owned(async move {
            let _permit = permit;
            tokio::time::sleep(delay).await;
            if let Some(outcome) = late_answer {
                redeliver(&events, GatewayEvent::LateAnswer { delivery, attempt, outcome }).await;
            }
            if let Some(receipt) = receipt {
                redeliver(&events, GatewayEvent::Receipt(receipt)).await;
            }
        }));
        answer
    }

    async fn close(&self, _deadline: Duration) {
        // The receipts that are still to come are lost, as those of a real provider would not be: it is a simulation.
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.status.send_replace(ChannelStatus::Closed);
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::id::DeliveryId;
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use serde_json::{Value, json};

    use super::*;
    use crate::sms::Ack;

    fn config(changes: &Value) -> SimulatorConfig {
        let mut table = json!({"name": "train"});
        for (key, value) in changes.as_object().unwrap() {
            table[key] = value.clone();
        }
        serde_json::from_value(table).unwrap()
    }

    fn sms(id: i64) -> OutboundSms {
        OutboundSms {
            delivery: DeliveryId(id),
            attempt: 3,
            to: PhoneNumber::from_sealed("+31612345678".into()),
            text: Arc::new(MessageText::parse("Kijk uit", 3).unwrap()),
            validity: Duration::from_mins(10),
        }
    }

    #[test]
    fn shares_come_out_as_configured() {
        let config = config(&json!({"throttled_percent": 10, "unknown_percent": 10, "late_percent": 10,
                                    "delivered_percent": 50, "undelivered_percent": 30}));
        let mut rng = StdRng::seed_from_u64(7);
        let fates: Vec<_> = (0..10_000).map(|_| throw(&config, &mut rng).0).collect();
        let share = |wanted: fn(&Fate) -> bool| fates.iter().filter(|fate| wanted(fate)).count() / 100;
        assert!((9..=11).contains(&share(|f| *f == Fate::Throttled)));
        assert!((9..=11).contains(&share(|f| *f == Fate::Lost)));
        assert!((9..=11).contains(&share(|f| matches!(f, Fate::Late(_)))));
        assert!((34..=36).contains(&share(|f| *f == Fate::Accepted(Some(ReceiptStatus::Delivered)))));
        assert!((20..=22).contains(&share(|f| *f == Fate::Accepted(Some(ReceiptStatus::Undelivered)))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_receipt_comes_until_it_is_stored_and_then_no_more() {
        let mut channel = connect(&config(&json!({"delivered_percent": 100, "undelivered_percent": 0})));
        let SubmitOutcome::Accepted { provider_ids, .. } = channel.gateway.submit(&sms(5)).await else {
            panic!()
        };
        for ack in [Ack::Retry, Ack::Stored] {
            let delivered = channel.events.recv().await.unwrap();
            let GatewayEvent::Receipt(receipt) = delivered.event else { panic!() };
            assert_eq!((&receipt.provider_id, receipt.status), (&provider_ids[0], ReceiptStatus::Delivered));
            assert_eq!(receipt.reference, Some(ClientReference::of(DeliveryId(5))));
            delivered.ack.send(ack).unwrap();
        }
        channel.gateway.close(Duration::ZERO).await;
        assert!(channel.events.recv().await.is_none());
        assert!(matches!(channel.gateway.submit(&sms(6)).await, SubmitOutcome::NotTaken(_)));
        assert_eq!(*channel.status.borrow(), ChannelStatus::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_settles_what_was_unknown() {
        let mut channel = connect(&config(&json!({"late_percent": 100})));
        assert!(matches!(channel.gateway.submit(&sms(5)).await, SubmitOutcome::Unknown(_)));
        let event = channel.events.recv().await.unwrap().event;
        let GatewayEvent::LateAnswer { delivery, attempt, outcome } = event else { panic!() };
        assert_eq!((delivery, attempt), (DeliveryId(5), 3));
        assert!(matches!(outcome, SubmitOutcome::Accepted { .. }));
    }
}
