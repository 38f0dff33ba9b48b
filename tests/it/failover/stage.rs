//! A worker with two gateways: the first over HTTP with callbacks, the second over SMPP.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::delivery::DeliveryState as S;
use klaroen_domain::id::AlertId;
use klaroen_gateway::config::GatewayConfig;
use klaroen_simulator::{
    Account, CallbackUrls, Contract, Faults, HttpConfig, HttpFaults, HttpProvider, Smsc,
};
use klaroen_store::PageRequest;
use klaroen_store::alerts::{AlertDraft, AlertView};
use klaroen_store::deliveries::DeliveryView;
use klaroen_test_databases::Engine;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::time::{Ahead, STEP};
use crate::front::{Door, Front, TOKEN};
use crate::gateways::site::{SECRET, account};
use crate::pipeline::world;
use crate::service::{PATIENCE, SENDER, Service, in_states, smsc};
use crate::world::World;

/// Requests under way at the first gateway.
pub const WINDOW: u64 = 20;
/// How long the first gateway is waited for. Longer than any silence that health overlooks.
const RESPONSE_TIMEOUT_S: u64 = 6;
/// The states in which no delivery may ever be: it would be lost to failover.
const LOST: [S; 4] = [S::Failed, S::Expired, S::Cancelled, S::Suppressed];

pub struct Stage {
    pub world: World,
    pub first: HttpProvider,
    pub second: Smsc,
    time: Arc<Ahead>,
    service: Service,
    front: Front,
}

/// How a provider answers that is well.
pub fn well() -> HttpFaults {
    HttpFaults { response_delay_ms: (5, 15), receipt_delay_ms: (10, 50), ..HttpFaults::default() }
}

impl Stage {
    pub async fn set(engine: Engine, people: usize) -> Self {
        let world = world(engine, people).await;
        let door = Door::open().await;
        let url = |kind| Some(door.callback("first", kind));
        let first = HttpProvider::start(HttpConfig {
            seed: 4711,
            account: Account { secret: Some(SECRET.to_owned()), ..Account::default() },
            callbacks: CallbackUrls { receipts: url("receipts"), inbound: url("inbound") },
            faults: well(),
            ..HttpConfig::new(Contract::Http)
        })
        .await
        .unwrap();
        let faults = Faults { response_delay_ms: (5, 15), receipt_delay_ms: (10, 50), ..Faults::default() };
        let second = smsc(faults).await;
        let mut first_table = json!({
            "type": "http", "name": "first", "sender": SENDER, "priority": 10, "base_url": first.base_url(),
            "callback_token": TOKEN, "callback_url": door.url(), "window": WINDOW,
            "response_timeout_s": RESPONSE_TIMEOUT_S,
        });
        let account = account(Contract::Http);
        first_table.as_object_mut().unwrap().extend(account.as_object().unwrap().clone());
        let gateways = [
            gateway(first_table),
            gateway(json!({
                "type": "smpp", "name": "second", "sender": SENDER, "priority": 20, "host": "127.0.0.1",
                "port": second.addr().port(), "system_id": "klaroen", "password": "geheim", "window": 50,
            })),
        ];
        let time = Arc::new(Ahead::default());
        let service = Service::start_gateways(&world, &gateways, Arc::clone(&time) as _);
        let front = door.answer(&world, &gateways, &service.wake, Arc::clone(&time) as _);
        let stage = Self { world, first, second, time, service, front };
        // Both are there before anything is sent: otherwise the second has nothing to take over with.
        stage.wait("the second gateway is bound", async || stage.second.stats().binds == 1).await;
        stage
    }

    /// An alert to all who live within `radius_m`, written to its end; they are `people`.
    pub async fn raise(&self, radius_m: f64, people: u32, priority: Priority) -> AlertId {
        let draft = AlertDraft { priority, ..self.world.alert_draft(radius_m) };
        let alert = self.world.raise(&draft).await;
        // The worker's upkeep may have taken the writing over, if the machine is busy.
        let written = async || self.world.view(alert).await.messages[0].recipients == u64::from(people);
        self.wait("the alert is written to its end", written).await;
        self.service.wake.notify_waiters();
        alert
    }

    /// Looks at an alert until it is as wanted, as long as it goes on. At every look nobody is lost and the states add up.
    pub async fn until(&self, alert: AlertId, wanted: impl Fn(&AlertView) -> bool) -> AlertView {
        let (mut before, mut deadline) = (BTreeMap::new(), Instant::now() + PATIENCE);
        loop {
            let view = self.world.view(alert).await;
            let message = &view.messages[0];
            assert_eq!(message.counts.values().sum::<u64>(), message.recipients, "the states add up");
            assert_eq!(in_states(&view, 0, &LOST), 0, "nobody is given up: {:?}", message.counts);
            if wanted(&view) {
                return view;
            }
            assert!(Instant::now() < deadline, "waited too long: {:?}", message.counts);
            if message.counts != before {
                (before, deadline) = (message.counts.clone(), Instant::now() + PATIENCE);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the first gateway has taken so many, as long as it goes on: a busy machine takes its time.
    pub async fn until_taken(&self, messages: u64) {
        let mut taken = 0;
        while timeout(PATIENCE, self.first.until_taken(messages)).await.is_err() {
            let before = std::mem::replace(&mut taken, self.first.stats().taken);
            assert!(taken > before, "nothing goes out any more: {taken} of {messages}");
        }
    }

    /// Lets time pass, a step when the one before was long enough for the channels to be kept.
    pub async fn leap(&self, by: Duration) {
        let mut left = by;
        while !left.is_zero() {
            let step = left.min(STEP);
            self.time.step_kept(step, &self.world.store, &["first", "second"]).await;
            left -= step;
        }
    }

    /// Waits until something is so.
    pub async fn wait(&self, what: &str, mut look: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !look().await {
            assert!(Instant::now() < deadline, "waited too long until {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The deliveries of an alert; those in one state.
    pub async fn deliveries(&self, alert: AlertId, state: Option<S>) -> Vec<DeliveryView> {
        let (mut all, mut page) = (Vec::new(), PageRequest { limit: 500, cursor: None });
        loop {
            let found = self.world.store.list_deliveries(self.world.organisation, alert, state, &page);
            let found = found.await.unwrap().unwrap();
            all.extend(found.items);
            match found.next_cursor {
                Some(next) => page.cursor = Some(next),
                None => return all,
            }
        }
    }

    /// How often each phone rang, whichever gateway it was.
    pub fn rings(&self) -> HashMap<String, u32> {
        let mut rings = self.first.ring_counts();
        for (number, times) in self.second.ring_counts() {
            *rings.entry(number).or_default() += times;
        }
        rings
    }

    pub async fn close(self) {
        self.service.stop().await;
        self.front.close().await;
        self.first.shutdown().await;
        self.second.shutdown().await;
    }
}

fn gateway(table: Value) -> GatewayConfig {
    let config: GatewayConfig = serde_json::from_value(table).unwrap();
    assert_eq!(config.validate(), []);
    config
}
