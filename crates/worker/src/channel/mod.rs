//! One channel: acquire its lease, connect, send, drain; and again, until shutdown.

pub(crate) mod config;
mod connection;
pub(crate) mod health;

use std::sync::Arc;
use std::time::Duration;

use klaroen_gateway::{Channel, ChannelStatus, Delivered, SmsGateway};
use klaroen_store::channels::ChannelName;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::channel::connection::Connection;
use crate::events::EventReader;
use crate::events::replies::{self, ReplyReader};
use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::router::Router;
use crate::instruments::ChannelInstruments;
use crate::lease::channel_lease::{Lease, LeaseRequest};
use crate::outcome_writer::OutcomeWriter;
use crate::self_test::SelfTester;
use crate::session::claim::Claimer;
use crate::session::unknown_attempts::UnknownAttempts;
use crate::session::{Ended, Session, SessionContext};
use crate::status_query::StatusQueries;
use crate::supervise::{ChildTask, with_shutdown_grace};
use crate::{ChannelConfig, Shared, jitter};

/// How long to wait before a connection is opened again that was closed for good or could not be opened.
const RECONNECT: Duration = Duration::from_secs(5);

/// One channel, and what it shares with others.
pub(crate) struct ChannelTask {
    pub(crate) shared: Arc<Shared>,
    pub(crate) config: Arc<ChannelConfig>,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) router: Arc<Router>,
    /// The index of the channel on the health board.
    pub(crate) index: usize,
}

impl ChannelTask {
    /// Runs until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let (store, clock) = (&self.shared.store, &self.shared.clock);
        let instruments = Arc::new(ChannelInstruments::new(&self.config.name));
        instruments.up.set(0.0);
        let peers = &self.handle.peers;
        let applicant = LeaseRequest {
            store,
            sharing: self.shared.sharing,
            clock,
            name: &self.config.name,
            peers,
            wake: &self.shared.wake,
            elsewhere: &|elsewhere| self.shared.board.elsewhere(self.index, elsewhere),
        };
        loop {
            // Cancelled by another worker that should have the channel, or by the shutdown. Both mean the same to the
            // session.
            let stop = shutdown.child_token();
            let Some((lease, held)) = applicant.acquire(&stop, &shutdown).await else { break };
            tracing::info!(channel = %self.config.name, "channel leased");
            let ended = self.session(&lease, &instruments, &stop, &shutdown).await;
            instruments.up.set(0.0);
            let give_back = async {
                lease.release().await;
                drop(held);
                peers.report(store, &**clock).await;
                if let Err(error) = store.announce().await {
                    tracing::debug!(%error, "could not notify other processes of a free channel");
                }
            };
            with_shutdown_grace(shutdown.clone(), give_back).await;
            tracing::info!(channel = %self.config.name, ?ended, "channel given back");
        }
    }

    async fn session(
        &self,
        lease: &Lease,
        instruments: &Arc<ChannelInstruments>,
        stop: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Ended {
        let Channel { gateway, events, status } = match (self.config.connect)() {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(channel = %self.config.name, %error, "could not open the connection; retrying");
                let (_status, refused) = watch::channel(ChannelStatus::Refused { reason: error.to_string() });
                let _shown = self.shared.board.show(self.index, refused);
                return broken(stop).await;
            }
        };
        let _shown = self.shared.board.show(self.index, status.clone());
        let mut connection = self.connected(gateway, events, status, lease, instruments);
        let ended = {
            let mut guard = self.handle.bind();
            connection.run(lease, &mut guard, stop).await
        };
        connection.stop_status_queries();
        // The other channels take over the messages of this one.
        self.router.on_change();
        connection.close(ended, self.shared.drain_deadline, shutdown).await;
        if ended == Ended::Broken { broken(stop).await } else { ended }
    }

    /// Starts the session of a connection and the tasks that belong to it.
    fn connected(
        &self,
        gateway: Arc<dyn SmsGateway>,
        events: mpsc::Receiver<Delivered>,
        status: watch::Receiver<ChannelStatus>,
        lease: &Lease,
        instruments: &Arc<ChannelInstruments>,
    ) -> Connection {
        let writer = OutcomeWriter::start(
            self.shared.store.clone(),
            self.config.name.gateway.clone(),
            Arc::clone(&self.shared.wake),
        );
        let unknown_attempts = Arc::new(UnknownAttempts::default());
        let (stop_events, stop_tests) = (CancellationToken::new(), CancellationToken::new());
        let [events, replies] = self.listen(events, &writer, &unknown_attempts, instruments, &stop_events);
        let status_queries =
            ChildTask::start("status queries", self.status_queries(&gateway, instruments).run());
        let self_tests = self.self_tests(&gateway, &status, &stop_tests);
        let session = Session::new(SessionContext {
            claimer: self.claimer(&writer),
            handle: Arc::clone(&self.handle),
            router: Arc::clone(&self.router),
            gateway: Arc::clone(&gateway),
            status,
            unknown_attempts,
            lease_status: lease.status().clone(),
            instruments: Arc::clone(instruments),
            wake: Arc::clone(&self.shared.wake),
            window: self.config.window.max(1),
        });
        let status_queries = Some(status_queries);
        Connection {
            gateway,
            session,
            writer,
            events,
            replies,
            status_queries,
            self_tests,
            stop_events,
            stop_tests,
        }
    }

    /// Starts the task that submits test messages. It ends at once if the gateway has no number for tests.
    fn self_tests(
        &self,
        gateway: &Arc<dyn SmsGateway>,
        status: &watch::Receiver<ChannelStatus>,
        stop: &CancellationToken,
    ) -> ChildTask {
        let own = self.shared.self_tests.iter().find(|test| test.gateway == self.config.name.gateway);
        let self_tester = own.map(|own| SelfTester {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            channel: self.config.name.clone(),
            handle: Arc::clone(&self.handle),
            gateway: Arc::clone(gateway),
            status: status.clone(),
            number: own.number.clone(),
        });
        let stop = stop.clone();
        ChildTask::start("self-tests", async move {
            if let Some(self_tester) = self_tester {
                self_tester.run(stop).await;
            }
        })
    }

    fn claimer(&self, writer: &OutcomeWriter) -> Claimer {
        Claimer {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            messages: Arc::clone(&self.shared.messages),
            results: writer.sender(),
            channel: self.config.name.clone(),
            known: Arc::default(),
            settle_after: self.shared.settle_after,
            abandoned: writer.abandoned(),
        }
    }

    fn status_queries(
        &self,
        gateway: &Arc<dyn SmsGateway>,
        instruments: &Arc<ChannelInstruments>,
    ) -> StatusQueries {
        StatusQueries {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            messages: Arc::clone(&self.shared.messages),
            name: self.config.name.gateway.clone(),
            gateway: Arc::clone(gateway),
            handle: Arc::clone(&self.handle),
            instruments: Arc::clone(instruments),
            wake: Arc::clone(&self.shared.wake),
        }
    }

    /// Starts the tasks that read the events of the connection. They end when the connection does, or are aborted with
    /// the session.
    fn listen(
        &self,
        events: mpsc::Receiver<Delivered>,
        writer: &OutcomeWriter,
        unknown_attempts: &Arc<UnknownAttempts>,
        instruments: &Arc<ChannelInstruments>,
        stop: &CancellationToken,
    ) -> [ChildTask; 2] {
        let (sender, received) = mpsc::channel(replies::WAITING);
        let reader = EventReader {
            store: self.shared.store.clone(),
            clock: Arc::clone(&self.shared.clock),
            gateway: self.config.name.gateway.clone(),
            results: writer.sender(),
            receipts: writer.receipts(),
            replies: sender,
            unknown_attempts: Arc::clone(unknown_attempts),
            instruments: Arc::clone(instruments),
            handle: Arc::clone(&self.handle),
            router: Arc::clone(&self.router),
        };
        let replies = ReplyReader {
            store: self.shared.store.clone(),
            gateway: self.config.name.gateway.clone(),
            country: self.shared.country,
            texts: Arc::clone(&self.shared.texts),
            wake: Arc::clone(&self.shared.wake),
        };
        [
            ChildTask::start("events", reader.run(events, stop.clone())),
            ChildTask::start("replies", replies.run(received)),
        ]
    }
}

/// Waits before the next attempt. The channel stays leased and its status published, so that the operator sees the
/// reason.
async fn broken(shutdown: &CancellationToken) -> Ended {
    tokio::select! {
        () = tokio::time::sleep(jitter::around(RECONNECT)) => {}
        () = shutdown.cancelled() => {}
    }
    Ended::Broken
}

/// The handle of each channel's gateway, in the order of `configs`. The channels of a gateway share one handle.
pub(crate) fn handles(configs: &[Arc<ChannelConfig>], worker: Uuid) -> Vec<Arc<GatewayHandle>> {
    let mut known: Vec<(&str, Arc<GatewayHandle>)> = Vec::new();
    let handle = |ChannelName { gateway, .. }: &'_ ChannelName, rate: u32| {
        let channels = configs.iter().filter(|config| config.name.gateway == *gateway).count();
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        Arc::new(GatewayHandle::new(gateway.clone(), rate, channels, worker))
    };
    for config in configs {
        if !known.iter().any(|(name, _)| *name == config.name.gateway) {
            known.push((&config.name.gateway, handle(&config.name, config.segments_per_second)));
        }
    }
    let of = |config: &Arc<ChannelConfig>| {
        known.iter().find(|(name, _)| *name == config.name.gateway).map(|(_, handle)| Arc::clone(handle))
    };
    configs.iter().filter_map(of).collect()
}
