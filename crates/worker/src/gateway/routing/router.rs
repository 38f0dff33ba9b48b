//! The router: combines the states of the gateways in this process, the reports of other processes and the orders of
//! operators, and publishes which gateway may take what. Each process does this by itself; there is no leader.

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

/// How often the breakers check what is due.
const TICK: Duration = Duration::from_millis(250);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long a report is valid.
const COUNTS: Duration = Duration::from_secs(3);
/// If the process is alone on its database, unchanged reports are written this seldom, because each one waits for the
/// disk.
const REPORT_ALONE: Duration = Duration::from_secs(5);
const COUNTS_ALONE: Duration = Duration::from_secs(15);
/// How often receipts are evaluated: their figures cover minutes.
const RECEIPTS_EVERY: Duration = Duration::from_secs(15);

/// The share of each gateway, in the order of the configuration.
pub(crate) type RoutingPlan = Arc<Vec<Arc<Part>>>;

/// Shared by all channels of a worker.
pub(crate) struct Router {
    store: Store,
    sharing: Sharing,
    clock: Arc<dyn Clock>,
    worker: Uuid,
    routes: Vec<GatewayRoute>,
    /// In the order of `routes`; `None` for a gateway without channels here.
    handles: Vec<Option<Arc<GatewayHandle>>>,
    state: Mutex<State>,
    plan: watch::Sender<RoutingPlan>,
    /// Notified when a change must be reported at once.
    urgent: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The best state that other processes report of each gateway.
    elsewhere: HashMap<String, GatewayState>,
    states: Vec<GatewayState>,
    unserved: Vec<String>,
    /// Whether the orders of operators are known. Nothing is sent before, because an operator may have stopped the
    /// gateway.
    orders_known: bool,
}

impl Router {
    /// `routes` has every configured gateway. A gateway with channels and without a route takes everything, after those
    /// with a route.
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
        let (plan, _) =
            watch::channel(Arc::new(routes.iter().map(|_| Arc::new(no_share())).collect::<Vec<_>>()));
        let (state, urgent) = (Mutex::default(), Notify::new());
        let this = Self { store, sharing, clock, worker, routes, handles, state, plan, urgent };
        this.recompute();
        Arc::new(this)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index of a gateway, and the shares of all gateways.
    pub(crate) fn subscribe(&self, gateway: &str) -> (usize, watch::Receiver<RoutingPlan>) {
        let index = self.routes.iter().position(|route| route.name == gateway);
        (index.unwrap_or(usize::MAX), self.plan.subscribe())
    }

    /// Whether another gateway can take such a message now. `country` is computed only if it matters.
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

    /// The state of a gateway changed: recomputes the plan and reports the change to other processes.
    pub(crate) fn on_change(&self) {
        self.recompute();
        self.urgent.notify_one();
    }

    /// Computes and publishes the shares of all gateways.
    fn recompute(&self) {
        // All of it happens under the lock, so that an older plan never replaces a newer one.
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
            tracing::warn!(?unserved, "no usable gateway for these messages; they wait");
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
                // The order of an operator is announced like a new alert. The next tick reads it.
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
                    tracing::debug!(%error, "gateway reports not exchanged; using the previous ones");
                }
                self.recompute();
            }
        }
    }

    /// Reports the states here, and reads the states elsewhere and the orders of operators.
    async fn exchange_reports(&self, last: &mut LastReport) -> Result<(), StoreError> {
        let orders = self.store.gateway_pauses().await?;
        let mut stopped = false;
        for handle in self.handles.iter().flatten() {
            let is_ordered = orders.iter().any(|order| order.gateway == handle.name());
            stopped |= handle.set_stopped(is_ordered) && is_ordered;
        }
        self.state().orders_known = true;
        if stopped {
            // Nothing more may be taken before the others read that the gateway is stopped: an operator relies on it.
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

    /// Deletes this worker's reports.
    pub(crate) async fn withdraw_reports(&self) {
        if let Err(error) = self.store.forget_gateway_reports(self.worker, self.clock.now()).await {
            tracing::debug!(%error, "could not delete the gateway reports of this worker: they expire by themselves");
        }
    }
}

/// The last report.
#[derive(Default)]
struct LastReport {
    at: Option<Instant>,
    states: Vec<(GatewayState, String)>,
    /// When receipts were evaluated.
    receipts: Option<Instant>,
}

/// The best state of each gateway that other processes than `worker` report. A process without a channel of a gateway
/// knows nothing about it.
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
    use klaroen_test_databases::Engine;

    use super::*;
    use crate::gateway::routing::allocation::is_everything;

    const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

    #[tokio::test]
    async fn a_gateway_that_is_reported_to_be_stopped_takes_nothing_any_more() {
        let directory = tempfile::TempDir::new().unwrap();
        let url = Engine::Sqlite.database(directory.path()).await;
        let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
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
        let (index, plan) = router.subscribe("main");
        let takes = || plan.borrow()[index].clone();
        let mut last = LastReport::default();
        router.exchange_reports(&mut last).await.unwrap();
        router.recompute();
        assert!(is_everything(&takes()));
        store.pause_gateway(Actor::System, "main", None, NOW).await.unwrap();
        router.exchange_reports(&mut last).await.unwrap();
        let reports = store.gateway_reports(NOW).await.unwrap();
        assert_eq!(reports.iter().map(|report| report.state).collect::<Vec<_>>(), [GatewayState::Stopped]);
        assert!(takes().is_nothing(), "before anybody could read the report");
    }
}
