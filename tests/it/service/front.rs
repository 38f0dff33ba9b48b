//! A dispatcher for the callbacks of providers, beside a worker on the same database.

use std::net::SocketAddr;
use std::sync::Arc;

use klaroen_dispatcher::{
    CallbackGateways, Dispatcher, DispatcherSettings, GatewayHealth, ServeError, serve,
};
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::GatewayConfig;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control_room::recorder;
use crate::world::{Answers, World};

/// The unguessable part of the callback addresses.
pub const TOKEN: &str = "token-0123456789-abcdef";

/// The address, before anything answers there: gateways and providers are told of it first.
pub struct Door(TcpListener);

impl Door {
    pub async fn open() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The address at which a provider calls back; `kind` is `receipts` or `inbound`.
    pub fn callback(&self, gateway: &str, kind: &str) -> String {
        format!("{}/v1/gateways/{gateway}/{TOKEN}/{kind}", self.url())
    }

    /// Answers the callbacks of `gateways`; `wake` is the worker's, and so is `clock`.
    pub fn answer(
        self,
        world: &World,
        gateways: &[GatewayConfig],
        wake: &Arc<Notify>,
        clock: Arc<dyn Clock>,
    ) -> Front {
        let callbacks = CallbackGateways::new(gateways, Country::NL, Arc::new(Answers)).unwrap();
        let dispatcher = Dispatcher {
            clock_watch: Arc::default(),
            store: world.store.clone(),
            clock,
            wake: Arc::clone(wake),
            settings: Arc::new(DispatcherSettings::new(Country::NL, world.rules.clone())),
            callbacks: Arc::new(callbacks),
            health: Arc::new(|| GatewayHealth::Up),
            metrics: recorder(),
            tasks: TaskTracker::new(),
        };
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(self.0, dispatcher, shutdown.clone()));
        Front { shutdown, server }
    }
}

/// A running dispatcher.
pub struct Front {
    shutdown: CancellationToken,
    server: JoinHandle<Result<(), ServeError>>,
}

impl Front {
    pub async fn close(self) {
        self.shutdown.cancel();
        self.server.await.unwrap().unwrap();
    }
}
