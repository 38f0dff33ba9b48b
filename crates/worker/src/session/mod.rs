//! A session sends over one connection: it claims ahead, keeps the window full and passes on every outcome.
//!
//! One task owns everything in here. A request is a future that this task polls, and the number of futures is the
//! number of requests in flight, so a window cannot leak. A message is submitted only after a place for its result was
//! reserved. So a result can always be passed on, and a database that is away stops the sending but not the answers.

pub(crate) mod attempt;
pub(crate) mod claim;
mod drain;
pub(crate) mod message_cache;
mod responses;
mod run;
mod submit;
pub(crate) mod unknown_attempts;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use klaroen_domain::id::DeliveryId;
use klaroen_gateway::{ChannelStatus, SmsGateway};
use klaroen_store::StoreError;
use klaroen_store::claims::Part;
use klaroen_store::outcomes::Finished;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::gateway::handle::GatewayHandle;
use crate::gateway::request::SubmitResponses;
use crate::gateway::routing::allocation::no_share;
use crate::gateway::routing::router::{Router, RoutingPlan};
use crate::instruments::ChannelInstruments;
use crate::lease::channel_lease::LeaseStatus;
use crate::session::claim::batch_size::{ClaimLatency, Throughput};
use crate::session::claim::{Batch, Claimer, Ready};
use crate::session::unknown_attempts::UnknownAttempts;

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The worker shuts down, or another worker should have the channel.
    Shutdown,
    /// Another process holds the channel now.
    LeaseLost,
    /// The connection was closed for good, or a task of the session failed. The connection is opened again.
    Broken,
}

type Claiming = JoinHandle<Result<Batch, StoreError>>;

/// Everything that a session needs.
pub(crate) struct SessionContext {
    pub(crate) claimer: Claimer,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) router: Arc<Router>,
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) status: watch::Receiver<ChannelStatus>,
    pub(crate) unknown_attempts: Arc<UnknownAttempts>,
    pub(crate) lease_status: LeaseStatus,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) window: usize,
}

/// A session of one connection.
pub(crate) struct Session {
    context: SessionContext,
    /// The index of the gateway in `plan`.
    gateway_index: usize,
    plan: watch::Receiver<RoutingPlan>,
    share: Arc<Part>,
    /// Leased and not submitted yet.
    queue: VecDeque<Ready>,
    /// In flight, each with the place that is reserved for its result.
    attempts: HashMap<DeliveryId, (Ready, mpsc::OwnedPermit<Finished>)>,
    in_flight: FuturesUnordered<BoxFuture<'static, SubmitResponses>>,
    /// Slots of the window that the requests in flight take.
    places: usize,
    /// How many messages fit one request; 1 if the provider takes them one by one.
    batch_max: u16,
    /// Whether each segment takes a slot of the window.
    window_of_segments: bool,
    claiming: Option<Claiming>,
    last_claim: usize,
    /// When the last claim began.
    claim_began: Instant,
    latency: ClaimLatency,
    /// A leased message that needs this many slots had to be put back. Nothing more is leased until they are free.
    stalled: Option<usize>,
    throughput: Throughput,
    /// Notified when something is queued. It is armed before each claim, so that no notification is missed.
    work: Pin<Box<OwnedNotified>>,
    /// Nothing was due: the next claim is at this time, or after a notification.
    idle_until: Option<Instant>,
}

/// The reason why the next submit is delayed.
enum Hold {
    /// Nothing, or something that an answer or a claim will end.
    Nothing,
    /// The rate, until this time.
    Until(Instant),
    /// Earlier results are not written yet.
    Results,
}

impl Session {
    pub(crate) fn new(context: SessionContext) -> Self {
        let work = Box::pin(Arc::clone(&context.wake).notified_owned());
        let can = context.gateway.capabilities();
        let (gateway_index, plan) = context.router.subscribe(&context.claimer.channel.gateway);
        Self {
            context,
            gateway_index,
            plan,
            share: Arc::new(no_share()),
            work,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            in_flight: FuturesUnordered::new(),
            places: 0,
            batch_max: can.batch_max.max(1),
            window_of_segments: can.window_of_segments,
            claiming: None,
            last_claim: 0,
            claim_began: Instant::now(),
            latency: ClaimLatency::default(),
            stalled: None,
            throughput: Throughput::default(),
            idle_until: None,
        }
    }
}

/// After a panic the deliveries in flight become unknown when their leases end. The gateway must not wait for their
/// answers.
impl Drop for Session {
    fn drop(&mut self) {
        self.context.handle.on_abandoned(self.attempts.keys().copied());
    }
}
