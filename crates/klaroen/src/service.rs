//! Dispatcher, worker, or both in one process: what `serve`, `dispatcher`, `worker` and the demo run.

pub mod lock;
mod metrics;
mod sharing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klaroen_dispatcher::{
    CallbackGateways, ConfiguredGateway, Dispatcher, DispatcherSettings, GatewayHealth,
};
use klaroen_gateway::ChannelStatus;
use klaroen_gateway::config::GatewayConfig;
use klaroen_store::Store;
use klaroen_store::matching::MatchRules;
use klaroen_store::retention::Retention;
use klaroen_worker::{
    ChannelConfig, ChannelHealth, GatewayRoute, SelfTest, SettleAfter, Worker, WorkerSettings,
};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::lock::DatabaseLock;
use crate::config::Checked;
use crate::config::check::CONNECTIONS_MAX;
use crate::failure::{Because, Failure, chain};
use crate::service::sharing::Sharing;

/// The time that a shutdown leaves to messages that are under way: an SMSC under load may take tens of seconds to answer,
/// and systemd kills after 90.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Repetitions of a request come within minutes; a day is what clients are promised.
const KEEP_IDEMPOTENCY: Duration = Duration::from_hours(24);
/// A receipt for nothing of ours is kept until no message is left that it could be about.
const KEEP_PARKED_RECEIPTS: Duration = Duration::from_hours(7 * 24);
/// Evidence of what a provider said, for a quarter.
const KEEP_RECEIPTS: Duration = Duration::from_hours(24 * 90);
const HOUR: Duration = Duration::from_hours(1);

/// The parts that a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Takes alerts and sends them.
    Both,
    /// Takes alerts; workers elsewhere send them.
    Dispatcher,
    /// Sends what dispatchers elsewhere take.
    Worker,
}

/// The running parts.
pub struct Service {
    address: SocketAddr,
    store: Store,
    sharing: Sharing,
    /// Cleared before anything stops, so that a proxy sends nothing more.
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
    /// The dispatcher and the worker; each says how it ended.
    parts: JoinSet<Result<(), String>>,
    _upkeep: AbortOnDropHandle<()>,
    /// The last to go; only a file needs one.
    _lock: Option<DatabaseLock>,
}

impl Service {
    /// Both parts.
    pub async fn start(checked: Checked) -> Result<Self, Failure> {
        Self::start_parts(checked, Parts::Both).await
    }

    /// Takes the database, settles what a crash left, and starts. When this returns, requests are answered.
    pub async fn start_parts(checked: Checked, parts: Parts) -> Result<Self, Failure> {
        let lock = take_file(&checked, parts)?;
        checked.database.make_private().because(&checked.database)?;
        let store =
            Store::open(&checked.database.options(checked.keys.clone())).await.because(&checked.database)?;
        if lock.is_some() {
            // The lock says that no other process sends: what was under way at a crash is settled now, not when leases run out.
            store.release_all_channels().await?;
        }
        let listen = if parts == Parts::Worker { checked.worker.listen } else { checked.http.listen };
        let listener = TcpListener::bind(listen).await.because(format_args!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;

        let sharing = Sharing::start(&store, parts).await?;
        store.begin_references(sharing.clock.now()).await?;
        let ready = Arc::new(AtomicBool::new(true));
        let rules = MatchRules {
            zone: checked.sending.zone.clone(),
            quiet_hours: checked.sending.quiet_hours,
            max_alerts_per_day: checked.sending.max_alerts_per_day,
        };
        let (metrics, upkeep) = metrics::recorder()?;
        let dispatcher_settings = dispatcher_settings(&checked, rules.clone())?;
        let callbacks = callbacks(&checked)?;
        let worker = if parts == Parts::Dispatcher {
            None
        } else {
            let settings = worker_settings(checked, rules, &sharing)?;
            let (clock, wake) = (Arc::clone(&sharing.clock), Arc::clone(&sharing.wake));
            Some(Worker::new(store.clone(), clock, wake, settings))
        };
        let dispatcher = Dispatcher {
            store: store.clone(),
            clock: Arc::clone(&sharing.clock),
            clock_watch: Arc::clone(&sharing.clock_watch),
            wake: Arc::clone(&sharing.queued),
            settings: Arc::new(dispatcher_settings),
            callbacks: Arc::new(callbacks),
            health: health(worker.as_ref(), Arc::clone(&ready)),
            metrics,
            tasks: TaskTracker::new(),
        };
        let shutdown = CancellationToken::new();
        let parts = run_parts(listener, dispatcher, worker, parts, &shutdown);
        Ok(Self { address, store, sharing, ready, shutdown, parts, _upkeep: upkeep, _lock: lock })
    }

    /// The address on which requests are answered.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The database.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// From now on `/readyz` says no; everything else goes on.
    pub fn announce_end(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    /// Returns when a part ends without having been asked to, and says why.
    pub async fn failed(&mut self) -> Failure {
        match self.parts.join_next().await {
            Some(Ok(Err(reason))) => Failure::new(reason),
            Some(Ok(Ok(()))) => Failure::new("a part ended without having been asked to"),
            Some(Err(_)) => Failure::new("a part broke off; the log says where"),
            None => std::future::pending().await,
        }
    }

    /// Stops accepting, lets requests finish, then lets messages under way finish, and closes the database.
    pub async fn stop(mut self) -> Result<(), Failure> {
        self.announce_end();
        self.shutdown.cancel();
        let mut result = Ok(());
        while let Some(ended) = self.parts.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => result = Err(Failure::new(reason)),
                Err(_) => result = Err(Failure::new("a part broke off; the log says where")),
            }
        }
        self.sharing.stop().await;
        self.store.close().await;
        result
    }
}

/// The lock of a SQLite file, which serves one process.
fn take_file(checked: &Checked, parts: Parts) -> Result<Option<DatabaseLock>, Failure> {
    match (checked.database.file(), parts) {
        (None, _) => Ok(None),
        (Some(file), Parts::Both) => Ok(Some(DatabaseLock::take(file)?)),
        (Some(_), Parts::Dispatcher | Parts::Worker) => Err(Failure::new(
            "a SQLite file serves one process: use `klaroen serve`, or set [database] url to a PostgreSQL for `klaroen dispatcher` and `klaroen worker`",
        )),
    }
}

/// A dispatcher stops before its worker, which sends until the last request was answered and its deliveries are written.
/// Next to a worker that is alone the operations (health, numbers) stop last.
fn run_parts(
    listener: TcpListener,
    dispatcher: Dispatcher,
    worker: Option<Worker>,
    parts: Parts,
    shutdown: &CancellationToken,
) -> JoinSet<Result<(), String>> {
    let mut running = JoinSet::new();
    let second = CancellationToken::new();
    let after_first = second.clone().drop_guard();
    let (stop_worker, stop_server, worker_guard, server_guard) = match parts {
        Parts::Both | Parts::Dispatcher => (second, shutdown.clone(), None, Some(after_first)),
        Parts::Worker => (shutdown.clone(), second, Some(after_first), None),
    };
    running.spawn(async move {
        let _then_the_worker = server_guard;
        let tasks = dispatcher.tasks.clone();
        let served = if parts == Parts::Worker {
            klaroen_dispatcher::serve_operations(listener, dispatcher, stop_server).await
        } else {
            klaroen_dispatcher::serve(listener, dispatcher, stop_server).await
        };
        tasks.close();
        tasks.wait().await;
        served.map_err(|error| chain(&error))
    });
    if let Some(worker) = worker {
        running.spawn(async move {
            let _then_the_server = worker_guard;
            worker.run(stop_worker).await.map_err(|error| chain(&error))
        });
    }
    running
}

fn dispatcher_settings(checked: &Checked, rules: MatchRules) -> Result<DispatcherSettings, Failure> {
    let requests = checked.http.requests_per_second;
    let gateways: Result<Vec<_>, _> = checked.gateways.iter().map(ConfiguredGateway::of).collect();
    Ok(DispatcherSettings {
        gateways: gateways.because("gateways")?,
        public_url: Some(checked.http.public_url.trim_end_matches('/').to_owned()),
        country: checked.sending.country,
        rules,
        max_segments: checked.sending.max_segments,
        price_per_segment: checked.sending.price_per_segment,
        segments_per_second: segments_per_second(&checked.gateways),
        requests_per_second_per_key: requests,
        burst_per_key: requests.saturating_mul(2),
        connections_max: CONNECTIONS_MAX,
        connections_max_per_peer: checked.http.connections_per_client,
    })
}

/// Makes the readers of the gateways' callbacks; nothing is connected for it.
fn callbacks(checked: &Checked) -> Result<CallbackGateways, Failure> {
    let sending = &checked.sending;
    let texts = Arc::new(sending.texts.clone());
    CallbackGateways::new(&checked.gateways, sending.country, texts).because("gateways")
}

fn worker_settings(
    checked: Checked,
    rules: MatchRules,
    sharing: &Sharing,
) -> Result<WorkerSettings, Failure> {
    let routes: Result<Vec<_>, _> = checked.gateways.iter().map(GatewayRoute::from_config).collect();
    let routes = routes.map_err(|fault| Failure::new(format!("gateways: {fault}")))?;
    let self_tests: Result<Vec<_>, _> = checked.gateways.iter().filter_map(SelfTest::from_config).collect();
    let self_tests = self_tests.map_err(|fault| Failure::new(format!("gateways: {fault}")))?;
    let sending = checked.sending;
    let gateways = checked.gateways.into_iter().map(Arc::new);
    Ok(WorkerSettings {
        routes,
        channels: gateways
            .flat_map(|gateway| ChannelConfig::for_gateway(&gateway, sending.country, &sharing.clock))
            .collect(),
        country: sending.country,
        receipt_grace: HOUR * sending.receipt_grace_hours,
        rules,
        texts: Arc::new(sending.texts),
        drain_deadline: DRAIN_DEADLINE,
        settle_after: SettleAfter::default(),
        retention: Retention {
            idempotency: KEEP_IDEMPOTENCY,
            parked_receipts: KEEP_PARKED_RECEIPTS,
            receipts: KEEP_RECEIPTS,
        },
        self_tests,
        clock_watch: Arc::clone(&sharing.clock_watch),
    })
}

/// Whether SMS can leave, as the process sees it.
type Health = Arc<dyn Fn() -> GatewayHealth + Send + Sync>;

/// A process that ends is not ready.
fn health(worker: Option<&Worker>, ready: Arc<AtomicBool>) -> Health {
    let channels = worker.map(Worker::health);
    Arc::new(move || match &channels {
        _ if !ready.load(Ordering::Relaxed) => GatewayHealth::Down,
        Some(channels) => of_channels(&channels()),
        None => GatewayHealth::Elsewhere,
    })
}

/// One connection that is up is enough. A worker that holds none because others hold them all stands by.
fn of_channels(channels: &[ChannelHealth]) -> GatewayHealth {
    if channels.iter().any(|channel| channel.status == ChannelStatus::Up) {
        GatewayHealth::Up
    } else if !channels.is_empty() && channels.iter().all(|channel| channel.elsewhere) {
        GatewayHealth::Elsewhere
    } else {
        GatewayHealth::Down
    }
}

/// The segments that all gateways may send together in a second; 0 if one has no limit.
fn segments_per_second(gateways: &[GatewayConfig]) -> f64 {
    let limits = gateways.iter().map(GatewayConfig::segments_per_second);
    if limits.clone().any(|limit| limit == 0) { 0.0 } else { limits.map(f64::from).sum() }
}

#[cfg(test)]
mod tests {
    use klaroen_simulator::{Smsc, SmscConfig};
    use tempfile::TempDir;

    use super::*;
    use crate::demo::installation;

    fn checked(directory: &TempDir, smsc: &Smsc) -> Checked {
        installation::configuration(directory.path(), smsc.addr(), 1).unwrap()
    }

    #[test]
    fn a_worker_is_ready_where_one_channel_is_up_or_others_have_them_all() {
        let channel = |status, elsewhere: bool| ChannelHealth {
            name: klaroen_store::channels::ChannelName { gateway: "main".into(), channel: 0 },
            leased: !elsewhere,
            elsewhere,
            status,
        };
        let (up, away) = (channel(ChannelStatus::Up, false), channel(ChannelStatus::Closed, true));
        let down = channel(ChannelStatus::Connecting, false);
        for (channels, health) in [
            (vec![], GatewayHealth::Down),
            (vec![down.clone(), up, away.clone()], GatewayHealth::Up),
            (vec![away.clone(), away.clone()], GatewayHealth::Elsewhere),
            (vec![away, down], GatewayHealth::Down),
        ] {
            assert_eq!(of_channels(&channels), health, "{channels:?}");
        }
    }

    #[tokio::test]
    async fn a_file_serves_neither_a_dispatcher_nor_a_worker() {
        let directory = tempfile::tempdir().unwrap();
        installation::make_keys(directory.path()).unwrap();
        let smsc = Smsc::start(SmscConfig::default()).await.unwrap();
        for parts in [Parts::Dispatcher, Parts::Worker] {
            let refused = Service::start_parts(checked(&directory, &smsc), parts).await.err().unwrap();
            assert!(refused.to_string().contains("a SQLite file serves one process"), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_service_is_alone_on_its_database_and_not_ready_once_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        installation::make_keys(directory.path()).unwrap();
        let smsc = Smsc::start(SmscConfig::default()).await.unwrap();
        let service = Service::start(checked(&directory, &smsc)).await.unwrap();
        let refused = Service::start(checked(&directory, &smsc)).await.err().unwrap().to_string();
        assert!(refused.contains("another `klaroen serve`"), "{refused}");

        let api = installation::client(service.address(), "none").unwrap();
        while api.get("/readyz").await.is_err() {
            tokio::task::yield_now().await;
        }
        service.announce_end();
        let answer = api.get("/readyz").await.unwrap_err().to_string();
        assert!(answer.contains("503"), "{answer}");
        assert!(api.get("/livez").await.is_ok());

        service.stop().await.unwrap();
        Service::start(checked(&directory, &smsc)).await.unwrap().stop().await.unwrap();
    }
}
