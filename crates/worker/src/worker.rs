//! The worker as a whole: starts its tasks and waits for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::refusals::Serving;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::config::ChannelConfig;
use crate::channel::health::{ChannelHealth, HealthBoard};
use crate::channel::{ChannelTask, handles};
use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::allocation::GatewayRoute;
use crate::gateway::routing::router::Router;
use crate::lease::sharing::Sharing;
use crate::supervise::{KeptFailing, supervise, with_shutdown_grace};
use crate::{Shared, WorkerError, WorkerSettings, self_test, upkeep};

/// Sends what is queued until it is shut down.
pub struct Worker {
    shared: Arc<Shared>,
    channels: Vec<Arc<ChannelConfig>>,
    routes: Vec<GatewayRoute>,
}

impl Worker {
    /// Creates a worker. `wake` must be notified (all waiters) when something is queued in this process.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, wake: Arc<Notify>, settings: WorkerSettings) -> Self {
        let channels: Vec<_> = settings.channels.into_iter().map(Arc::new).collect();
        let shared = Shared {
            sharing: Sharing::of_database(&store),
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
            settle_after: settings.settle_after,
            retention: settings.retention,
            gateways: serving(&channels, &settings.routes),
            self_tests: settings.self_tests,
            clock_watch: settings.clock_watch,
        };
        Self { shared: Arc::new(shared), channels, routes: settings.routes }
    }

    /// Returns a function that reports the health of the channels. The function works during and after [`Worker::run`].
    pub fn health(&self) -> impl Fn() -> Vec<ChannelHealth> + Send + Sync + 'static {
        let board = Arc::clone(&self.shared.board);
        move || board.snapshot()
    }

    /// Runs until `shutdown`, then drains: it claims nothing more, puts unsubmitted deliveries back into the queue and
    /// waits for submits that are under way.
    ///
    /// # Errors
    /// [`WorkerError::KeptFailing`] if one of its tasks failed again and again. The other tasks have drained by then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), WorkerError> {
        // A task that keeps failing stops the other tasks, but not the caller.
        let stop = shutdown.child_token();
        let Self { shared, channels, routes } = self;
        let worker = Uuid::new_v4();
        let handles = handles(&channels, worker);
        let gateways = each_once(&handles);
        let router = Router::new(
            shared.store.clone(),
            shared.sharing,
            Arc::clone(&shared.clock),
            worker,
            routes,
            &gateways,
        );
        let mut tasks = Tasks::new(stop.clone());
        let (routing, wake) = (Arc::clone(&router), Arc::clone(&shared.wake));
        tasks.spawn("router", move |stop| {
            let (router, wake) = (Arc::clone(&routing), Arc::clone(&wake));
            async move { router.run(&wake, &stop).await }
        });
        for handle in gateways {
            let all = Arc::clone(&shared);
            tasks.spawn("peers", move |stop| {
                let (all, handle) = (Arc::clone(&all), Arc::clone(&handle));
                async move { handle.peers.run(&all.store, &*all.clock, &stop).await }
            });
        }
        for (index, (config, handle)) in channels.into_iter().zip(handles).enumerate() {
            let (shared, router) = (Arc::clone(&shared), Arc::clone(&router));
            tasks.spawn_channel(ChannelTask { shared, config, handle, router, index });
        }
        let all = Arc::clone(&shared);
        tasks.spawn("self-tests", move |stop| self_test::schedule::run(Arc::clone(&all), stop));
        let all = Arc::clone(&shared);
        tasks.spawn("upkeep", move |stop| upkeep::run(Arc::clone(&all), stop));
        let result = tasks.join().await;
        let farewell = async {
            router.withdraw_reports().await;
            if let Err(error) = shared.store.forget_worker(worker, shared.clock.now()).await {
                tracing::debug!(%error, "could not sign this worker off: its report expires by itself");
            }
        };
        with_shutdown_grace(stop, farewell).await;
        result
    }
}

/// The supervised tasks of a worker.
struct Tasks {
    running: JoinSet<(String, Result<(), KeptFailing>)>,
    stop: CancellationToken,
}

impl Tasks {
    fn new(stop: CancellationToken) -> Self {
        Self { running: JoinSet::new(), stop }
    }

    /// Runs the task that `start` returns until the shutdown. A step that hangs then is abandoned.
    fn spawn<F>(&mut self, name: &'static str, start: impl Fn(CancellationToken) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let start = || with_shutdown_grace(stop.clone(), start(stop.clone()));
            (name.to_owned(), supervise(name, &stop, start).await)
        });
    }

    /// Runs a channel until the shutdown. A channel has its own deadlines after that.
    fn spawn_channel(&mut self, channel: ChannelTask) {
        let stop = self.stop.clone();
        self.running.spawn(async move {
            let (name, channel) = (channel.config.name.to_string(), Arc::new(channel));
            let ended = supervise(&name, &stop, || Arc::clone(&channel).run(stop.clone())).await;
            (name, ended)
        });
    }

    /// Waits for all tasks. A task that keeps failing stops the others.
    async fn join(mut self) -> Result<(), WorkerError> {
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            let task = match ended {
                Ok((_, Ok(()))) => continue,
                Ok((task, Err(KeptFailing))) => task,
                Err(_) => "a supervisor".to_owned(),
            };
            self.stop.cancel();
            result = Err(WorkerError::KeptFailing { task });
        }
        result
    }
}

/// Each gateway once, with its route. A gateway without a route serves every message.
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

/// Each handle once: the channels of a gateway share one.
fn each_once(handles: &[Arc<GatewayHandle>]) -> Vec<Arc<GatewayHandle>> {
    let mut once: Vec<Arc<GatewayHandle>> = Vec::new();
    for handle in handles {
        if !once.iter().any(|known| Arc::ptr_eq(known, handle)) {
            once.push(Arc::clone(handle));
        }
    }
    once
}
