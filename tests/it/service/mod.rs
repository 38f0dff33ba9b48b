//! A worker on a world's database, connected to a simulated message centre.

pub mod control_room;
pub mod desk;
pub mod front;

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::delivery::DeliveryState;
use klaroen_domain::id::AlertId;
use klaroen_domain::phone::Country;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::config::GatewayConfig;
use klaroen_simulator::{Faults, Smsc, SmscConfig};
use klaroen_store::alerts::AlertView;
use klaroen_store::retention::Retention;
use klaroen_worker::{
    ChannelConfig, ChannelHealth, GatewayRoute, SelfTest, SettleAfter, Worker, WorkerError, WorkerSettings,
};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::world::{Answers, World};

/// The number that alerts come from.
pub const SENDER: &str = "1000";

/// Longer than anything takes: a wait that ends here has failed.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub async fn smsc(faults: Faults) -> Smsc {
    let config = SmscConfig { seed: 4711, faults, ..SmscConfig::default() };
    Smsc::start(config).await.unwrap()
}

/// A worker that runs until it is stopped.
pub struct Service {
    pub wake: Arc<Notify>,
    /// How the channels stand; stays good after the worker has stopped.
    pub health: Arc<dyn Fn() -> Vec<ChannelHealth> + Send + Sync>,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), WorkerError>>,
}

impl Service {
    /// Starts a worker with one bind; `more` are members of the gateway's configuration.
    pub fn start(world: &World, smsc: &Smsc, more: serde_json::Value) -> Self {
        Self::start_with_clock(world, smsc, more, Arc::new(SystemClock))
    }

    /// The same by another clock than the system's.
    pub fn start_with_clock(
        world: &World,
        smsc: &Smsc,
        more: serde_json::Value,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::start_gateway(world, &gateway(smsc, more), clock)
    }

    /// The same with a gateway of any type.
    pub fn start_gateway(world: &World, config: &GatewayConfig, clock: Arc<dyn Clock>) -> Self {
        Self::start_gateways(world, std::slice::from_ref(config), clock)
    }

    /// The same with several of them.
    pub fn start_gateways(world: &World, gateways: &[GatewayConfig], clock: Arc<dyn Clock>) -> Self {
        let wake = Arc::new(Notify::new());
        let shared = gateways.iter().cloned().map(Arc::new);
        let channels =
            shared.flat_map(|config| ChannelConfig::for_gateway(&config, Country::NL, &clock)).collect();
        let settings = WorkerSettings {
            routes: gateways.iter().map(|config| GatewayRoute::from_config(config).unwrap()).collect(),
            channels,
            country: Country::NL,
            receipt_grace: Duration::from_hours(24),
            rules: world.rules.clone(),
            texts: Arc::new(Answers),
            drain_deadline: Duration::from_secs(5),
            settle_after: SettleAfter::default(),
            retention: Retention {
                idempotency: Duration::from_hours(24),
                parked_receipts: Duration::from_hours(168),
                receipts: Duration::from_hours(2160),
            },
            clock_watch: Arc::default(),
            self_tests: gateways.iter().filter_map(SelfTest::from_config).collect::<Result<_, _>>().unwrap(),
        };
        let worker = Worker::new(world.store.clone(), clock, Arc::clone(&wake), settings);
        let health = Arc::new(worker.health());
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        Self { wake, health, shutdown, worker }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

pub fn gateway(smsc: &Smsc, more: serde_json::Value) -> GatewayConfig {
    let mut json = serde_json::json!({
        "type": "smpp", "name": "main", "sender": SENDER, "host": "127.0.0.1", "port": smsc.addr().port(),
        "system_id": "klaroen", "password": "geheim", "window": 50,
    });
    let serde_json::Value::Object(more) = more else { panic!("members") };
    json.as_object_mut().unwrap().extend(more);
    serde_json::from_value(json).unwrap()
}

/// Looks at an alert until it is as wanted, as long as it goes on: a busy machine takes its time. Sums are checked at every look.
pub async fn until(world: &World, alert: AlertId, wanted: impl Fn(&AlertView) -> bool) -> AlertView {
    let mut deadline = tokio::time::Instant::now() + PATIENCE;
    let mut queued = u64::MAX;
    loop {
        let view = world.view(alert).await;
        for message in &view.messages {
            assert_eq!(message.counts.values().sum::<u64>(), message.recipients, "the states add up");
        }
        if wanted(&view) {
            return view;
        }
        let still = (0..view.messages.len()).map(|n| in_states(&view, n, &[DeliveryState::Queued])).sum();
        if still < queued {
            (queued, deadline) = (still, tokio::time::Instant::now() + PATIENCE);
        }
        let counts: Vec<_> = view.messages.iter().map(|m| (m.kind, &m.counts)).collect();
        assert!(tokio::time::Instant::now() < deadline, "waited too long: {} {counts:?}", view.state);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How many deliveries of message `n` are in one of these states.
pub fn in_states(view: &AlertView, n: usize, states: &[DeliveryState]) -> u64 {
    view.messages.get(n).map_or(0, |message| states.iter().map(|state| message.counts[state]).sum())
}
