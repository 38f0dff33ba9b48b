//! The state that every request shares.

pub mod blocking_pool;
pub mod callback_gateways;
pub mod concurrency_limit;
pub mod probe;
pub mod rate_limit;
pub mod single_flight;
pub mod streams;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use klaroen_domain::id::{AlertId, OrganisationId};
use klaroen_domain::time::{Clock, Timestamp};
use klaroen_store::Store;
use klaroen_store::clock::ClockWatch;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::blocking_pool::BlockingPool;
use self::callback_gateways::CallbackGateways;
use self::probe::Probe;
use self::rate_limit::RateLimit;
use self::single_flight::SingleFlight;
use self::streams::Streams;
use crate::resources::alerts::view::CountsEvent;
use crate::settings::DispatcherSettings;

/// Whether SMS can leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GatewayHealth {
    /// At least one connection is up.
    Up,
    /// None is.
    Down,
    /// Another process has the connections.
    Elsewhere,
}

/// The input of the dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    /// The database.
    pub store: Store,
    /// The source of the present time.
    pub clock: Arc<dyn Clock>,
    /// Sees whether it is set. The process has one.
    pub clock_watch: Arc<ClockWatch>,
    /// Notified (all waiters) when deliveries were written, so that every channel of a worker in this process claims at once.
    pub wake: Arc<Notify>,
    /// The configuration.
    pub settings: Arc<DispatcherSettings>,
    /// The gateways that providers call back.
    pub callbacks: Arc<CallbackGateways>,
    /// Whether SMS can leave.
    pub health: Arc<dyn Fn() -> GatewayHealth + Send + Sync>,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// Work that outlives its request (a large fan-out): the binary closes it and waits for it after [`crate::serve`].
    pub tasks: TaskTracker,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The state of the router. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

/// The content of an [`App`].
#[derive(Debug)]
pub struct Inner {
    dispatcher: Dispatcher,
    /// Requests per key.
    pub(crate) limit: RateLimit,
    /// Cancelled when the server shuts down: event streams end.
    pub(crate) closing: CancellationToken,
    /// The event streams that are open.
    pub(crate) streams: Streams,
    /// The counts that they show.
    pub(crate) alert_counts: SingleFlight<(OrganisationId, AlertId), CountsEvent>,
    /// Whether the database takes writes.
    pub(crate) probe: Probe,
    /// The shapes of alerts and single areas.
    pub(crate) shapes: BlockingPool,
    /// Collections of areas.
    pub(crate) libraries: BlockingPool,
}

impl App {
    /// The state of a service that stops its streams when `closing` is cancelled.
    #[must_use]
    pub fn new(dispatcher: Dispatcher, closing: CancellationToken) -> Self {
        let limit = RateLimit::new(
            dispatcher.settings.requests_per_second_per_key,
            dispatcher.settings.burst_per_key,
        );
        Self(Arc::new(Inner {
            dispatcher,
            limit,
            closing,
            streams: Streams::default(),
            alert_counts: SingleFlight::default(),
            probe: Probe::default(),
            shapes: BlockingPool::shapes(),
            libraries: BlockingPool::libraries(),
        }))
    }

    /// The present moment.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Deref for Inner {
    type Target = Dispatcher;
    fn deref(&self) -> &Dispatcher {
        &self.dispatcher
    }
}
