//! Who takes what, now: brings together how the gateways do in this process, what other processes report and what operators
//! ordered, and tells every channel what it may take. Each process does so for itself; there is no leader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::gateway::GatewayState;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_store::claims::Part;
use klaroen_store::gateways::GatewayReport;
use klaroen_store::{Store, StoreError};
use metrics::gauge;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::allocation::{GatewayRoute, Routes, is_usable, no_share};
use crate::lease::sharing::Sharing;

/// How often silence and the like are looked for.
const TICK: Duration = Duration::from_millis(250);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a report counts.
const COUNTS: Duration = Duration::from_secs(3);
/// Where nobody shares the database, what has not changed is written this seldom: each time costs a wait for the disk.
const REPORT_ALONE: Duration = Duration::from_secs(5);
const COUNTS_ALONE: Duration = Duration::from_secs(15);
/// How often receipts are looked at: they speak of minutes.
const RECEIPTS_EVERY: Duration = Duration::from_secs(15);

/// What every gateway may take, in the order of the configuration.
pub(crate) type RoutingPlan = Arc<Vec<Arc<Part>>>;

/// Shared by all channels of a worker.
pub(crate) struct Router {
    store: Store,
    sharing: Sharing,
    clock: Arc<dyn Clock>,
    worker: Uuid,
    routes: Vec<GatewayRoute>,
    /// In the order of `routes`; `None` for one without channels.
    handles: Vec<Option<Arc<GatewayHandle>>>,
    state: Mutex<State>,
    plan: watch::Sender<RoutingPlan>,
    /// Something is to be reported now.
    urgent: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The best that other processes say of a gateway.
    elsewhere: HashMap<String, GatewayState>,
    states: Vec<GatewayState>,
    unserved: Vec<String>,
    /// What operators ordered is known. Before, nothing is sent: it may be through a gateway that was taken out of use.
    orders_known: bool,
}

impl Router {
    /// `routes`: every configured gateway. One that has channels and no route takes everything, after those that have one.
    pub(crate) fn new(
        store: Store,
        sharing: Sharing,
        clock: Arc<dyn Clock>,
        worker: Uuid,
        mut routes: Vec<GatewayRoute>,
        handles: &[Arc<GatewayHandle>],
    ) -> Arc<Self> {
        for handle in handles {
            if !routes.iter().any(|route| route.name == handle.name()) {
                let name = handle.name().to_owned();
                let (countries, priorities) = (Vec::new(), Vec::new());
                routes.push(GatewayRoute { name, priority: u16::MAX, weight: 100, countries, priorities });
            }
        }
        let of = |route: &GatewayRoute| handles.iter().find(|c| c.name() == route.name).cloned();
        let handles = routes.iter().map(of).collect();
        let (plan, _) = watch::channel(Arc::new(vec![Arc::new(no_share()); routes.len()]));
        let (state, urgent) = (Mutex::default(), Notify::new());
        let this = Self { store, sharing, clock, worker, routes, handles, state, plan, urgent };
        this.recompute();
        Arc::new(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a gateway, and what every gateway may take.
    pub(crate) fn subscribe(&self, gateway: &str) -> (usize, watch::Receiver<RoutingPlan>) {
        let index = self.routes.iter().position(|route| route.name == gateway);
        (index.unwrap_or(usize::MAX), self.plan.subscribe())
    }

    /// Whether another gateway can take such a message now. `country` is asked for only where it matters.
    pub(crate) fn has_alternative(
        &self,
        of: usize,
        priority: Priority,
        country: impl FnOnce() -> Option<Country>,
    ) -> bool {
        if self.routes.len() < 2 {
            return false;
        }
        let named = self.routes.iter().any(|route| !route.countries.is_empty());
        let country = if named { country() } else { None };
        let state = self.state();
        Routes { gateways: &self.routes, states: &state.states }.has_alternative(of, priority, country)
    }

    /// A gateway stands differently: everybody is told what they may take now, and the other processes hear of it.
    pub(crate) fn on_change(&self) {
        self.recompute();
        self.urgent.notify_one();
    }

    /// Works out who may take what.
    fn recompute(&self) {
        // All of it under the lock, so that an older plan does not come after a newer one.
        let mut state = self.state();
        let own: Vec<GatewayState> = self
            .handles
            .iter()
            .map(|handle| handle.as_ref().map_or(GatewayState::Down, |handle| handle.routing_state()))
            .collect();
        let best = |(route, own): (&GatewayRoute, &GatewayState)| {
            state.elsewhere.get(&route.name).map_or(*own, |other| better(*other, *own))
        };
        let states: Vec<GatewayState> = self.routes.iter().zip(&own).map(best).collect();
        let routes = Routes { gateways: &self.routes, states: &states };
        let share = |(index, own): (usize, &GatewayState)| {
            Arc::new(if state.orders_known { routes.share(index, *own) } else { no_share() })
        };
        let plan: Vec<Arc<Part>> = own.iter().enumerate().map(share).collect();
        let unserved = routes.unserved();
        if state.orders_known && unserved != state.unserved && !unserved.is_empty() {
            tracing::warn!(?unserved, "no gateway takes these messages now: they wait");
        }
        for (index, handle) in self.handles.iter().enumerate() {
            let Some(handle) = handle else { continue };
            let mut others = states.iter().enumerate().filter(|(other, _)| *other != index);
            handle.set_only_gateway(!others.any(|(_, state)| is_usable(*state)));
            let usable = if is_usable(states[index]) { 1.0 } else { 0.0 };
            gauge!("klaroen_gateway_usable", "gateway" => handle.name().to_owned()).set(usable);
        }
        (state.states, state.unserved) = (states, unserved);
        self.plan.send_if_modified(|before| {
            let changed = **before != plan;
            if changed {
                *before = Arc::new(plan);
            }
            changed
        });
        drop(state);
    }

    /// Runs until shutdown.
    pub(crate) async fn run(&self, wake: &Notify, shutdown: &CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = LastReport::default();
        let mut exchange_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.urgent.notified() => exchange_at = Instant::now(),
                _ = ticks.tick() => {}
                // An order of an operator is announced like a new alert; the next tick looks for it.
                () = wake.notified() => {
                    exchange_at = exchange_at.min(Instant::now() + TICK);
                    continue;
                }
            }
            let changes = self.handles.iter().flatten().filter(|handle| handle.tick()).count();
            if changes > 0 {
                exchange_at = Instant::now();
            }
            self.recompute();
            if Instant::now() >= exchange_at {
                exchange_at = Instant::now() + REPORT_EVERY;
                if let Err(error) = self.exchange_reports(&mut last).await {
                    tracing::debug!(%error, "gateways: what was known before counts");
                }
                self.recompute();
            }
        }
    }

    /// Tells the others how the gateways do here, and hears how they do elsewhere and what operators ordered.
    async fn exchange_reports(&self, last: &mut LastReport) -> Result<(), StoreError> {
        let orders = self.store.gateway_pauses().await?;
        let mut stopped = false;
        for handle in self.handles.iter().flatten() {
            let is_ordered = orders.iter().any(|order| order.gateway == handle.name());
            stopped |= handle.set_stopped(is_ordered) && is_ordered;
        }
        self.state().orders_known = true;
        if stopped {
            // Nothing more is taken before the others hear that it is stopped: an operator relies on it.
            self.recompute();
        }
        let now = self.clock.now();
        if last.receipts.is_none_or(|at| at.elapsed() >= RECEIPTS_EVERY) {
            last.receipts = Some(Instant::now());
            let times = self.store.receipt_times(now).await?;
            for handle in self.handles.iter().flatten() {
                handle.record_receipts(times.get(handle.name()).copied());
            }
        }
        if self.sharing == Sharing::Shared {
            let reports = self.store.gateway_reports(now).await?;
            self.state().elsewhere = best(&reports, self.worker);
        }
        let reports: Vec<GatewayReport> =
            self.handles.iter().flatten().map(|handle| handle.report(now)).collect();
        let (every, counts) = match self.sharing {
            Sharing::Shared => (REPORT_EVERY, COUNTS),
            Sharing::Alone => (REPORT_ALONE, COUNTS_ALONE),
        };
        let states: Vec<_> = reports.iter().map(|report| (report.state, report.reason.clone())).collect();
        let news = last.states != states;
        if news || last.at.is_none_or(|at| at.elapsed() >= every.mul_f64(0.9)) {
            self.store.report_gateways(&reports, now.plus(counts)).await?;
            (last.at, last.states) = (Some(Instant::now()), states);
            if news {
                self.store.announce().await?;
            }
        }
        Ok(())
    }

    /// Takes back what was said of the gateways.
    pub(crate) async fn withdraw_reports(&self) {
        if let Err(error) = self.store.forget_gateway_reports(self.worker, self.clock.now()).await {
            tracing::debug!(%error, "what this worker said of its gateways runs out by itself");
        }
    }
}

/// What was reported last.
#[derive(Default)]
struct LastReport {
    at: Option<Instant>,
    states: Vec<(GatewayState, String)>,
    /// When receipts were looked at.
    receipts: Option<Instant>,
}

/// The best that processes other than `worker` say of each gateway; one that holds no channel of it knows nothing.
fn best(reports: &[GatewayReport], worker: Uuid) -> HashMap<String, GatewayState> {
    let mut best: HashMap<String, GatewayState> = HashMap::new();
    for report in reports.iter().filter(|report| report.worker != worker && report.channels_held > 0) {
        let known = best.entry(report.gateway.clone()).or_insert(report.state);
        *known = better(*known, report.state);
    }
    best
}

const fn better(a: GatewayState, b: GatewayState) -> GatewayState {
    if b.rank() < a.rank() { b } else { a }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::time::{ManualClock, Timestamp};
    use klaroen_store::seal::Keys;
    use klaroen_store::{Actor, StoreOptions};

    use super::*;
    use crate::gateway::routing::allocation::is_everything;

    const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

    #[tokio::test]
    async fn a_gateway_that_is_reported_to_be_stopped_takes_nothing_any_more() {
        let directory = tempfile::TempDir::new().unwrap();
        let url = format!("sqlite:{}", directory.path().join("klaroen.db").display());
        let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
        let organisation =
            store.create_organisation("utrecht", "Gemeente Utrecht", NOW).await.unwrap().unwrap();
        let handle = Arc::new(GatewayHandle::new("main".into(), 0, 1, Uuid::nil()));
        let mut guard = handle.bind();
        assert!(guard.set_up(true));
        let clock = Arc::new(ManualClock::new(NOW));
        let router = Router::new(
            store.clone(),
            Sharing::Alone,
            clock,
            Uuid::nil(),
            Vec::new(),
            &[Arc::clone(&handle)],
        );
        let (seat, plan) = router.subscribe("main");
        let takes = || plan.borrow()[seat].clone();
        let mut last = LastReport::default();
        router.exchange_reports(&mut last).await.unwrap();
        router.recompute();
        assert!(is_everything(&takes()));
        store.pause_gateway(organisation.id, Actor::System, "main", None, NOW).await.unwrap();
        router.exchange_reports(&mut last).await.unwrap();
        let reports = store.gateway_reports(NOW).await.unwrap();
        assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [GatewayState::Stopped]);
        assert!(takes().is_nothing(), "before anybody could read the report");
    }
}
