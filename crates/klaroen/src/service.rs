//! Dispatcher and worker in one process, on one database file: what `serve`, the demo and the bench run.

mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use klaroen_dispatcher::{CallbackGateways, Dispatcher, DispatcherSettings, GatewayHealth};
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_gateway::ChannelStatus;
use klaroen_gateway::config::GatewayConfig;
use klaroen_store::matching::MatchRules;
use klaroen_store::retention::Retention;
use klaroen_store::{Store, StoreOptions};
use klaroen_worker::{ChannelHealth, ChannelSpec, Worker, WorkerSettings};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::config::Checked;
use crate::config::check::CONNECTIONS_MAX;
use crate::failure::{Because, Failure, chain};
use crate::lock::DatabaseLock;

/// What a shutdown gives to messages that are under way: an SMSC under load may take tens of seconds to answer, and
/// systemd kills after 90.
const DRAIN_DEADLINE: Duration = Duration::from_secs(30);
/// Repetitions of a request come within minutes; a day is what clients are promised.
const KEEP_IDEMPOTENCY: Duration = Duration::from_hours(24);
/// A receipt for nothing of ours is kept until no message is left that it could be about.
const KEEP_PARKED_RECEIPTS: Duration = Duration::from_hours(7 * 24);
/// Evidence of what a provider said, for a quarter.
const KEEP_RECEIPTS: Duration = Duration::from_hours(24 * 90);
const HOUR: Duration = Duration::from_hours(1);

/// What runs.
pub struct Service {
    address: SocketAddr,
    store: Store,
    /// Cleared before anything stops, so that a proxy sends nothing more.
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
    /// The dispatcher and the worker; each says how it ended.
    parts: JoinSet<Result<(), String>>,
    _upkeep: AbortOnDropHandle<()>,
    /// The last to go.
    _lock: DatabaseLock,
}

impl Service {
    /// Takes the database, settles what a crash left, and starts. When this returns, requests are answered.
    pub async fn start(checked: Checked) -> Result<Self, Failure> {
        let lock = DatabaseLock::take(&checked.database.path)?;
        checked.database.make_private().because(checked.database.path.display())?;
        let options = StoreOptions::new(checked.database.url.clone(), checked.keys.clone());
        let store = Store::open(&options).await?;
        // The lock says that nobody else sends: what was under way at a crash is settled now, not when leases run out.
        store.release_all_channels().await?;
        let listen = checked.http.listen;
        let listener = TcpListener::bind(listen).await.because(format_args!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;

        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let wake = Arc::new(Notify::new());
        let ready = Arc::new(AtomicBool::new(true));
        let rules = MatchRules {
            zone: checked.sending.zone.clone(),
            quiet_hours: checked.sending.quiet_hours,
            max_alerts_per_day: checked.sending.max_alerts_per_day,
        };
        let (metrics, upkeep) = metrics::recorder()?;
        let dispatcher_settings = dispatcher_settings(&checked, rules.clone());
        let callbacks = callbacks(&checked)?;
        let worker_settings = worker_settings(checked, rules, &clock);
        let worker = Worker::new(store.clone(), Arc::clone(&clock), Arc::clone(&wake), worker_settings);
        let dispatcher = Dispatcher {
            store: store.clone(),
            clock,
            wake,
            settings: Arc::new(dispatcher_settings),
            callbacks: Arc::new(callbacks),
            health: Arc::new(health(worker.health(), Arc::clone(&ready))),
            metrics,
            tasks: TaskTracker::new(),
        };
        let shutdown = CancellationToken::new();
        let parts = run_parts(listener, dispatcher, worker, &shutdown);
        Ok(Self { address, store, ready, shutdown, parts, _upkeep: upkeep, _lock: lock })
    }

    /// Where requests are answered.
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
        self.store.close().await;
        result
    }
}

/// The dispatcher stops first; the worker sends until the last request was answered and its deliveries are written.
fn run_parts(
    listener: TcpListener,
    dispatcher: Dispatcher,
    worker: Worker,
    shutdown: &CancellationToken,
) -> JoinSet<Result<(), String>> {
    let mut parts = JoinSet::new();
    let (stop_dispatcher, stop_worker) = (shutdown.clone(), CancellationToken::new());
    let after_dispatcher = stop_worker.clone().drop_guard();
    parts.spawn(async move {
        let _after_dispatcher = after_dispatcher;
        let tasks = dispatcher.tasks.clone();
        let served = klaroen_dispatcher::serve(listener, dispatcher, stop_dispatcher).await;
        tasks.close();
        tasks.wait().await;
        served.map_err(|error| chain(&error))
    });
    parts.spawn(async move { worker.run(stop_worker).await.map_err(|error| chain(&error)) });
    parts
}

fn dispatcher_settings(checked: &Checked, rules: MatchRules) -> DispatcherSettings {
    let requests = checked.http.requests_per_second;
    DispatcherSettings {
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
    }
}

/// What reads the callbacks of the gateways; nothing is connected for it.
fn callbacks(checked: &Checked) -> Result<CallbackGateways, Failure> {
    let sending = &checked.sending;
    let texts = Arc::new(sending.texts.clone());
    CallbackGateways::new(&checked.gateways, sending.country, texts).because("gateways")
}

fn worker_settings(checked: Checked, rules: MatchRules, clock: &Arc<dyn Clock>) -> WorkerSettings {
    let sending = checked.sending;
    let gateways = checked.gateways.into_iter().map(Arc::new);
    WorkerSettings {
        channels: gateways.flat_map(|gateway| ChannelSpec::of(&gateway, sending.country, clock)).collect(),
        country: sending.country,
        receipt_grace: HOUR * sending.receipt_grace_hours,
        rules,
        texts: Arc::new(sending.texts),
        drain_deadline: DRAIN_DEADLINE,
        retention: Retention {
            idempotency: KEEP_IDEMPOTENCY,
            parked_receipts: KEEP_PARKED_RECEIPTS,
            receipts: KEEP_RECEIPTS,
        },
    }
}

/// One connection that is up is enough; a process that ends is not ready.
fn health(
    channels: impl Fn() -> Vec<ChannelHealth> + Send + Sync + 'static,
    ready: Arc<AtomicBool>,
) -> impl Fn() -> GatewayHealth + Send + Sync + 'static {
    move || {
        let up = channels().iter().any(|channel| channel.status == ChannelStatus::Up);
        if up && ready.load(Ordering::Relaxed) { GatewayHealth::Up } else { GatewayHealth::Down }
    }
}

/// What all gateways may send together in a second; 0 where one has no limit.
fn segments_per_second(gateways: &[GatewayConfig]) -> f64 {
    let limits = gateways.iter().map(GatewayConfig::segments_per_second);
    if limits.clone().any(|limit| limit == 0) { 0.0 } else { limits.map(f64::from).sum() }
}

#[cfg(test)]
mod tests {
    use klaroen_simulator::{Smsc, SmscConfig};
    use tempfile::TempDir;

    use super::*;
    use crate::scratch;

    fn checked(directory: &TempDir, smsc: &Smsc) -> Checked {
        scratch::configuration(directory.path(), smsc.addr(), 1).unwrap()
    }

    #[tokio::test]
    async fn a_service_is_alone_on_its_database_and_not_ready_once_it_ends() {
        let directory = tempfile::tempdir().unwrap();
        scratch::make_keys(directory.path()).unwrap();
        let smsc = Smsc::start(SmscConfig::default()).await.unwrap();
        let service = Service::start(checked(&directory, &smsc)).await.unwrap();
        let refused = Service::start(checked(&directory, &smsc)).await.err().unwrap().to_string();
        assert!(refused.contains("another `klaroen serve`"), "{refused}");

        let api = scratch::client(service.address(), "none").unwrap();
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
