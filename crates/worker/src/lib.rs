//! The sending side: claims deliveries, paces them, hands them to gateways and tracks what became of them.
//!
//! One task per channel holds its lease and feeds its connection; results are written in batches by a task of their own;
//! a sweeper does what time brings about. Everything that must survive is in the database: a worker that is killed leaves
//! leases behind, and whoever comes next settles them.

mod channel;
mod events;
mod gateway;
mod instruments;
mod jitter;
mod lease;
mod outcome_writer;
mod self_test;
mod session;
mod status_query;
mod supervise;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use channel::config::ChannelConfig;
pub use channel::health::ChannelHealth;
pub use gateway::routing::allocation::GatewayRoute;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::matching::MatchRules;
use klaroen_store::refusals::Serving;
use klaroen_store::replies::AutoReplyTexts;
use klaroen_store::retention::Retention;
pub use self_test::SelfTest;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::health::HealthBoard;
use crate::channel::{ChannelTask, handles};
use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::router::Router;
use crate::session::message_cache::MessageCache;
use crate::supervise::{supervise, with_shutdown_grace};

/// What the configuration says.
pub struct WorkerSettings {
    /// The connections.
    pub channels: Vec<ChannelConfig>,
    /// When each gateway is used, of all that are configured, in the order of the configuration. One that is not named here is
    /// used after all others, for everything.
    pub routes: Vec<GatewayRoute>,
    /// Whose national numbers senders use.
    pub country: Country,
    /// How long after a message's expiry a receipt may come.
    pub receipt_grace: Duration,
    /// For alerts whose deliveries a crash cut off.
    pub rules: MatchRules,
    /// Automatic answers.
    pub texts: Arc<dyn AutoReplyTexts>,
    /// How long a shutdown waits for what is under way; closing may take some 5 s more.
    pub drain_deadline: Duration,
    /// How long things are kept.
    pub retention: Retention,
    /// How gateways are tested; one without a number to test with is not among them.
    pub self_tests: Vec<SelfTest>,
}

/// Why a worker stopped before it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A task failed again and again, each time soon after its start.
    #[error("{task} kept failing; the log says why")]
    KeptFailing {
        /// The channel's name, or `sweeper`.
        task: String,
    },
}

/// What all tasks of a worker share.
struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    messages: Arc<MessageCache>,
    board: Arc<HealthBoard>,
    country: Country,
    receipt_grace: Duration,
    rules: MatchRules,
    texts: Arc<dyn AutoReplyTexts>,
    drain_deadline: Duration,
    retention: Retention,
    /// The gateways that are configured, whoever holds them.
    gateways: Vec<Serving>,
    self_tests: Vec<SelfTest>,
}

/// Sends what is queued, until it is told to stop.
pub struct Worker {
    shared: Arc<Shared>,
    channels: Vec<Arc<ChannelConfig>>,
    routes: Vec<GatewayRoute>,
}

impl Worker {
    /// Prepares a worker. `wake` is notified (all waiters) by whoever queues something in this process.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, wake: Arc<Notify>, settings: WorkerSettings) -> Self {
        let channels: Vec<_> = settings.channels.into_iter().map(Arc::new).collect();
        let shared = Shared {
            store,
            clock,
            wake,
            messages: Arc::default(),
            board: HealthBoard::new(channels.iter().map(|config| config.name.clone())),
            country: settings.country,
            receipt_grace: settings.receipt_grace,
            rules: settings.rules,
            texts: settings.texts,
            drain_deadline: settings.drain_deadline,
            retention: settings.retention,
            gateways: serving(&channels, &settings.routes),
            self_tests: settings.self_tests,
        };
        Self { shared: Arc::new(shared), channels, routes: settings.routes }
    }

    /// A way to ask how the channels stand, for readiness; stays good while and after the worker runs.
    pub fn health(&self) -> impl Fn() -> Vec<ChannelHealth> + Send + Sync + 'static {
        let board = Arc::clone(&self.shared.board);
        move || board.snapshot()
    }

    /// Runs until `shutdown`, then drains: nothing more is claimed, what was not submitted goes back into the queue, and
    /// what is under way is waited for.
    ///
    /// # Errors
    /// [`WorkerError`]; the other tasks have drained by then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        // A task that fails for good stops the others, not the caller.
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        let worker = Uuid::new_v4();
        let handles = handles(&self.channels, worker);
        let all = Arc::clone(&self.shared);
        let once = each_once(&handles);
        let (store, clock) = (all.store.clone(), Arc::clone(&all.clock));
        let router = Router::new(store, clock, worker, self.routes, &once);
        let (running, wake, board_stop) = (Arc::clone(&router), Arc::clone(&all.wake), stop.clone());
        tasks.spawn(async move {
            let start = || {
                let (board, wake, stop) = (Arc::clone(&running), Arc::clone(&wake), board_stop.clone());
                with_shutdown_grace(stop.clone(), async move { board.run(&wake, &stop).await })
            };
            ("router".to_owned(), supervise("router", &board_stop, start).await)
        });
        for handle in once {
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            tasks.spawn(async move {
                let start = || {
                    let (shared, handle, stop) = (Arc::clone(&shared), Arc::clone(&handle), stop.clone());
                    with_shutdown_grace(stop.clone(), async move {
                        handle.peers.run(&shared.store, &*shared.clock, &stop).await;
                    })
                };
                ("peers".to_owned(), supervise("peers", &stop, start).await)
            });
        }
        for (index, (config, handle)) in self.channels.into_iter().zip(handles).enumerate() {
            let (shared, stop) = (Arc::clone(&self.shared), stop.clone());
            let name = config.name.to_string();
            let channel =
                Arc::new(ChannelTask { shared, config, handle, router: Arc::clone(&router), index });
            tasks.spawn(async move {
                let kept = supervise(&name, &stop, || Arc::clone(&channel).run(stop.clone())).await;
                (name, kept)
            });
        }
        let (shared, tests_stop) = (Arc::clone(&self.shared), stop.clone());
        tasks.spawn(async move {
            let run = || self_test::schedule::run(Arc::clone(&shared), tests_stop.clone());
            let start = || with_shutdown_grace(tests_stop.clone(), run());
            ("self-tests".to_owned(), supervise("self-tests", &tests_stop, start).await)
        });
        let (shared, upkeep_stop) = (self.shared, stop.clone());
        tasks.spawn(async move {
            let run = || upkeep::run(Arc::clone(&shared), upkeep_stop.clone());
            let start = || with_shutdown_grace(upkeep_stop.clone(), run());
            ("upkeep".to_owned(), supervise("upkeep", &upkeep_stop, start).await)
        });
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let task = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((task, Err(supervise::KeptFailing))) => task,
                Err(_) => "a supervisor".to_owned(),
            };
            stop.cancel();
            result = Err(WorkerError::KeptFailing { task });
        }
        let farewell = async {
            router.withdraw_reports().await;
            if let Err(error) = all.store.forget_worker(worker, all.clock.now()).await {
                tracing::debug!(%error, "the others find out by themselves that this worker is gone");
            }
        };
        with_shutdown_grace(stop, farewell).await;
        result
    }
}

/// Each gateway once: as it is routed, or for everything.
fn serving(channels: &[Arc<ChannelConfig>], routes: &[GatewayRoute]) -> Vec<Serving> {
    let mut serving: BTreeMap<&String, Serving> = BTreeMap::new();
    for config in channels {
        let gateway = config.name.gateway.clone();
        serving.insert(&config.name.gateway, Serving { gateway, ..Serving::default() });
    }
    for route in routes {
        let (priorities, countries) = (route.priorities.clone(), route.countries.clone());
        serving.insert(&route.name, Serving { gateway: route.name.clone(), priorities, countries });
    }
    serving.into_values().collect()
}

/// The channels of a gateway share one handle.
fn each_once(handles: &[Arc<GatewayHandle>]) -> Vec<Arc<GatewayHandle>> {
    let mut once: Vec<Arc<GatewayHandle>> = Vec::new();
    for handle in handles {
        if !once.iter().any(|known| Arc::ptr_eq(known, handle)) {
            once.push(Arc::clone(handle));
        }
    }
    once
}
