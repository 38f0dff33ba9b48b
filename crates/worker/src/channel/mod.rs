//! One channel: hold its lease, connect, feed the connection, wind down; and again, until shutdown.

pub(crate) mod config;
pub(crate) mod health;

use std::sync::Arc;
use std::time::Duration;

use klaroen_gateway::{Channel, ChannelStatus, SmsGateway};
use klaroen_store::channels::ChannelName;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::events::Inbound;
use crate::events::replies::{self, Replies};
use crate::gateway::handle::GatewayControl;
use crate::gateway::routing::router::Switchboard;
use crate::instruments::ChannelInstruments;
use crate::lease::channel_lease::{Applicant, Lease};
use crate::outcome_writer::Finisher;
use crate::self_test::SelfTester;
use crate::session::claim::Claimer;
use crate::session::unknown_attempts::InDoubt;
use crate::session::{Ended, Parts, Session};
use crate::status_query::Settler;
use crate::supervise::{Beside, ends_soon};
use crate::{ChannelSpec, Shared, jitter};

/// What the last answers, and what only the connection knows, may take after the drain deadline.
const LAST: Duration = Duration::from_secs(2);
/// What storing the last events may take after that.
const EVENTS: Duration = Duration::from_secs(1);
/// What taking leave of the provider and the last commits may take after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a connection whose lease is lost gets to hear its last answers.
const LOST: Duration = Duration::from_secs(2);
/// Before a connection that was closed for good, or could not be tried, is made anew.
const RECONNECT: Duration = Duration::from_secs(5);

/// One channel and what it shares with others.
pub(crate) struct ChannelTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) spec: Arc<ChannelSpec>,
    pub(crate) control: Arc<GatewayControl>,
    pub(crate) switchboard: Arc<Switchboard>,
    /// Its place on the board.
    pub(crate) index: usize,
}

impl ChannelTask {
    /// Runs until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let (store, clock) = (&self.shared.store, &self.shared.clock);
        let instruments = Arc::new(ChannelInstruments::new(&self.spec.name));
        instruments.up.set(0.0);
        let crew = &self.control.crew;
        let applicant = Applicant {
            store,
            clock,
            name: &self.spec.name,
            crew,
            wake: &self.shared.wake,
            elsewhere: &|elsewhere| self.shared.board.elsewhere(self.index, elsewhere),
        };
        loop {
            // Asked back by another worker or by the end of the process: the same to the session.
            let stop = shutdown.child_token();
            let Some((lease, held)) = applicant.acquire(&stop, &shutdown).await else { break };
            tracing::info!(channel = %self.spec.name, "channel leased");
            let ended = self.session(&lease, &instruments, &stop, &shutdown).await;
            instruments.up.set(0.0);
            let give_back = async {
                lease.release().await;
                drop(held);
                crew.report(store, &**clock).await;
                if let Err(error) = store.announce().await {
                    tracing::debug!(%error, "nobody was told that a channel is free");
                }
            };
            ends_soon(shutdown.clone(), give_back).await;
            tracing::info!(channel = %self.spec.name, ?ended, "channel given back");
        }
    }

    async fn session(
        &self,
        lease: &Lease,
        instruments: &Arc<ChannelInstruments>,
        stop: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Ended {
        let Channel { gateway, events, status } = match (self.spec.connect)() {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(channel = %self.spec.name, %error, "the connection cannot even be tried");
                let (_status, refused) = watch::channel(ChannelStatus::Refused { reason: error.to_string() });
                let _shown = self.shared.board.show(self.index, refused);
                return broken(stop).await;
            }
        };
        let _shown = self.shared.board.show(self.index, status.clone());
        let finisher = Finisher::start(
            self.shared.store.clone(),
            self.spec.name.gateway.clone(),
            Arc::clone(&self.shared.wake),
        );
        let in_doubt = Arc::new(InDoubt::default());
        let stop_events = CancellationToken::new();
        let [mut inbound, mut replies] = self.listen(events, &finisher, &in_doubt, instruments, &stop_events);
        let mut asking = Beside::start("settler", self.settler(&gateway, instruments).run());
        let stop_tests = CancellationToken::new();
        let mut tester = self.tester(&gateway, &status, &stop_tests);
        let mut session = Session::new(Parts {
            claimer: self.claimer(&finisher),
            control: Arc::clone(&self.control),
            switchboard: Arc::clone(&self.switchboard),
            gateway: Arc::clone(&gateway),
            status,
            in_doubt,
            holding: lease.holding().clone(),
            instruments: Arc::clone(instruments),
            wake: Arc::clone(&self.shared.wake),
            window: self.spec.window.max(1),
        });
        let ended = {
            let mut fed = self.control.feed();
            tokio::select! {
                biased;
                ended = session.run(lease, &mut fed, stop) => ended,
                // What is sent on would have no receipts, or a STOP would be refused: begin anew.
                () = inbound.failed() => Ended::Broken,
                () = replies.failed() => Ended::Broken,
                () = asking.failed() => Ended::Broken,
                () = tester.failed() => Ended::Broken,
            }
        };
        // What it was asking about is asked again by whoever comes next.
        drop(asking);
        // The others take over what would have been ours.
        self.switchboard.changed();

        if ended == Ended::LeaseLost {
            // What still waits in the connection goes back at once, and is not in doubt.
            gateway.halt();
        }
        let patience = self.shared.drain_deadline;
        // Another process may be connecting already, and a provider counts connections.
        let patience = if ended == Ended::LeaseLost { patience.min(LOST) } else { patience };
        let drained_by = Instant::now() + patience;
        let told_by = drained_by + LAST;
        let (heard_by, closed_by) = (told_by + EVENTS, told_by + EVENTS + FAREWELL);
        stop_tests.cancel();
        session.wind_down(drained_by).await;
        if !tester.end(drained_by).await {
            tracing::warn!("a test message was not answered in time: it is in doubt");
        }
        // While its events are taken, so that no answer and no part of a reply is lost.
        drain(&*gateway, told_by).await;
        // While the connection is open, so that what is stored is acknowledged.
        stop_events.cancel();
        if !(inbound.end(heard_by).await && replies.end(heard_by).await) {
            tracing::warn!("events were not stored in time: the provider is to send them again");
        }
        close(&*gateway, closed_by).await;
        // A database that is away comes back; only the end of the process cannot wait for it.
        let give_up = async {
            shutdown.cancelled().await;
            tokio::time::sleep_until(closed_by.max(Instant::now() + FAREWELL)).await;
        };
        finisher.close(give_up).await;
        if ended == Ended::Broken { broken(stop).await } else { ended }
    }

    /// Starts what hands over test messages; it ends at once where the gateway has no number to test with.
    fn tester(
        &self,
        gateway: &Arc<dyn SmsGateway>,
        status: &watch::Receiver<ChannelStatus>,
        stop: &CancellationToken,
    ) -> Beside {
        let own = self.shared.self_tests.iter().find(|test| test.gateway == self.spec.name.gateway);
        let tester = own.map(|own| SelfTester {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            channel: self.spec.name.clone(),
            control: Arc::clone(&self.control),
            gateway: Arc::clone(gateway),
            status: status.clone(),
            number: own.number.clone(),
        });
        let stop = stop.clone();
        Beside::start("tester", async move {
            if let Some(tester) = tester {
                tester.run(stop).await;
            }
        })
    }

    fn claimer(&self, finisher: &Finisher) -> Claimer {
        Claimer {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            messages: Arc::clone(&self.shared.messages),
            results: finisher.sender(),
            channel: self.spec.name.clone(),
            known: Arc::default(),
            given_up: finisher.given_up(),
        }
    }

    fn settler(&self, gateway: &Arc<dyn SmsGateway>, instruments: &Arc<ChannelInstruments>) -> Settler {
        Settler {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            messages: Arc::clone(&self.shared.messages),
            name: self.spec.name.gateway.clone(),
            gateway: Arc::clone(gateway),
            control: Arc::clone(&self.control),
            instruments: Arc::clone(instruments),
            wake: Arc::clone(&self.shared.wake),
        }
    }

    /// Starts what takes the connection's events; the tasks end after it, and die with the session.
    fn listen(
        &self,
        events: mpsc::Receiver<klaroen_gateway::Delivered>,
        finisher: &Finisher,
        in_doubt: &Arc<InDoubt>,
        instruments: &Arc<ChannelInstruments>,
        stop: &CancellationToken,
    ) -> [Beside; 2] {
        let (sender, received) = mpsc::channel(replies::WAITING);
        let inbound = Inbound {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            gateway: self.spec.name.gateway.clone(),
            results: finisher.sender(),
            receipts: finisher.receipts(),
            replies: sender,
            in_doubt: Arc::clone(in_doubt),
            instruments: Arc::clone(instruments),
            control: Arc::clone(&self.control),
            switchboard: Arc::clone(&self.switchboard),
        };
        let replies = Replies {
            store: self.shared.store.clone(),
            gateway: self.spec.name.gateway.clone(),
            country: self.shared.country,
            texts: Arc::clone(&self.shared.texts),
            wake: Arc::clone(&self.shared.wake),
        };
        [
            Beside::start("inbound", inbound.run(events, stop.clone())),
            Beside::start("replies", replies.run(received)),
        ]
    }
}

/// Waits before the next try. The channel stays leased and shown meanwhile, so that the operator sees why.
async fn broken(shutdown: &CancellationToken) -> Ended {
    tokio::select! {
        () = tokio::time::sleep(jitter::around(RECONNECT)) => {}
        () = shutdown.cancelled() => {}
    }
    Ended::Broken
}

/// Waits for the last answers and for what only the connection knows.
async fn drain(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.drain(left)).await.is_err() {
        tracing::warn!("the connection was not drained in time");
    }
}

/// Takes leave of the provider; an adapter that does not come back is left behind.
async fn close(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.close(left)).await.is_err() {
        tracing::warn!("the connection did not close in time");
    }
}

/// The channels of each gateway share one control; as many controls as gateways, in the order of `specs`.
pub(crate) fn controls(specs: &[Arc<ChannelSpec>], worker: Uuid) -> Vec<Arc<GatewayControl>> {
    let mut known: Vec<(&str, Arc<GatewayControl>)> = Vec::new();
    let control = |ChannelName { gateway, .. }: &'_ ChannelName, rate: u32| {
        let channels = specs.iter().filter(|spec| spec.name.gateway == *gateway).count();
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        Arc::new(GatewayControl::new(gateway.clone(), rate, channels, worker))
    };
    for spec in specs {
        if !known.iter().any(|(name, _)| *name == spec.name.gateway) {
            known.push((&spec.name.gateway, control(&spec.name, spec.segments_per_second)));
        }
    }
    let of = |spec: &Arc<ChannelSpec>| {
        known.iter().find(|(name, _)| *name == spec.name.gateway).map(|(_, control)| Arc::clone(control))
    };
    specs.iter().filter_map(of).collect()
}
