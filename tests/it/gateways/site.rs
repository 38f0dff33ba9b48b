//! A whole service with one HTTP gateway, and the provider that it speaks to.

use std::net::SocketAddr;
use std::sync::Arc;

use klaroen_dispatcher::{
    CallbackGateways, Dispatcher, DispatcherSettings, GatewayHealth, ServeError, serve,
};
use klaroen_domain::phone::Country;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::config::GatewayConfig;
use klaroen_simulator::{Account, CallbackUrls, Contract, HttpConfig, HttpFaults, HttpProvider};
use klaroen_store::PageRequest;
use klaroen_test_databases::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::relay::Relay;
use crate::control_room::recorder;
use crate::service::{SENDER, Service};
use crate::world::{Answers, World, phone};

/// The unguessable part of the callback addresses.
pub const TOKEN: &str = "token-0123456789-abcdef";
/// The number to which test messages go.
pub const TEST_NUMBER: &str = "+31687654321";
/// The secret that shows who we are.
pub const SECRET: &str = "secret-of-the-account";

/// A database with people, the provider, the worker, and the dispatcher behind its public address.
pub struct Site {
    pub world: World,
    pub provider: HttpProvider,
    pub service: Service,
    pub relay: Relay,
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Site {
    pub async fn open(engine: Engine, contract: Contract, people: usize, faults: HttpFaults) -> Self {
        Self::open_with(engine, contract, people, faults, Arc::new(SystemClock), &json!({})).await
    }

    /// The same by a clock of the test's, with these keys in the gateway's table.
    pub async fn open_with(
        engine: Engine,
        contract: Contract,
        people: usize,
        faults: HttpFaults,
        clock: Arc<dyn Clock>,
        keys: &Value,
    ) -> Self {
        let world = World::at(engine, SystemClock.now()).await;
        world.import(people, 5.0).await;
        let [inside, outside] = [
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        ];
        let relay = Relay::start(outside, inside.local_addr().unwrap());
        let provider = provider(contract, &relay, faults).await;
        let config = gateway(contract, provider.addr(), &relay, keys);
        assert_eq!(config.validate(), []);
        let service = Service::start_gateway(&world, &config, Arc::clone(&clock));
        let dispatcher = Dispatcher {
            clock_watch: Arc::default(),
            store: world.store.clone(),
            clock,
            wake: Arc::clone(&service.wake),
            settings: Arc::new(DispatcherSettings::new(Country::NL, world.rules.clone())),
            callbacks: Arc::new(CallbackGateways::new([&config], Country::NL, Arc::new(Answers)).unwrap()),
            health: Arc::new(|| GatewayHealth::Up),
            metrics: recorder(),
            tasks: TaskTracker::new(),
        };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(inside, dispatcher, shutdown.clone()));
        Self { world, provider, service, relay, shutdown, server }
    }

    /// Whether person `n` has opted out.
    pub async fn has_opted_out(&self, n: usize) -> bool {
        let page = PageRequest { limit: 1, cursor: None };
        let found = self
            .world
            .store
            .list_participants(self.world.organisation, Some(&phone(n)), &page)
            .await
            .unwrap();
        found.items[0].opted_out
    }

    pub async fn close(self) {
        self.service.stop().await;
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
        self.provider.shutdown().await;
    }
}

async fn provider(contract: Contract, relay: &Relay, faults: HttpFaults) -> HttpProvider {
    let url = |kind: &str| Some(format!("{}/v1/gateways/main/{TOKEN}/{kind}", relay.base_url()));
    let config = HttpConfig {
        seed: 4711,
        account: Account { secret: Some(SECRET.to_owned()), ..Account::default() },
        callbacks: CallbackUrls { receipts: url("receipts"), inbound: url("inbound") },
        faults,
        ..HttpConfig::new(contract)
    };
    HttpProvider::start(config).await.unwrap()
}

fn gateway(contract: Contract, provider: SocketAddr, relay: &Relay, keys: &Value) -> GatewayConfig {
    let mut table = json!({
        "type": contract.as_str(), "name": "main", "sender": SENDER, "base_url": format!("http://{provider}"),
        "callback_token": TOKEN, "callback_url": relay.base_url(), "test_number": TEST_NUMBER,
    });
    for more in [&account(contract), keys] {
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    serde_json::from_value(table).unwrap()
}

/// The keys of an account at the provider, in the gateway's table.
pub fn account(contract: Contract) -> Value {
    match contract {
        Contract::Twilio => json!({"account_sid": "AC1", "auth_token": SECRET}),
        Contract::Infobip => json!({"api_key": SECRET}),
        Contract::Http => json!({
            "api_secret": SECRET, "path": "/messages", "headers": {"Authorization": "Bearer {secret}"},
            "body": r#"{"from":"{from}","to":"{to}","text":"{text}","reference":"{reference}","callback":"{receipts_url}","validity_seconds":{validity_s}}"#,
            "answer": {"id": "/id", "code": "/error/code", "throttled": ["throttled"], "temporary": ["internal"],
                "recipient": ["invalid_number"], "opted_out": ["opted_out"], "message": ["invalid_text"]},
            "receipts": {"reference": "/reference", "id": "/id", "status": "/status", "error": "/error", "recipient": "/to",
                "delivered": ["delivered"], "undelivered": ["undelivered", "expired", "rejected", "blocked"],
                "underway": ["sent"], "opted_out": ["blocked"]},
            "inbound": {"id": "/id", "from": "/from", "to": "/to", "text": "/text"},
        }),
    }
}
