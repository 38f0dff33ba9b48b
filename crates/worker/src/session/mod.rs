//! Feeding one connection: claim ahead, keep the window full, pass on every answer.
//!
//! One task owns everything in here. A request is a future that this task polls; the number of futures is the number of
//! requests under way, so a window cannot leak. A message begins only with a place for its result reserved, so a result
//! always has somewhere to go and a database that is away stops the sending, not the answers.

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

/// Why feeding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// We are asked to stop.
    Shutdown,
    /// The channel is another's now.
    LeaseLost,
    /// The connection was closed for good, or the writer of results failed: begin anew.
    Broken,
}

type Claiming = JoinHandle<Result<Batch, StoreError>>;

/// What a session is made of.
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

/// One connection being fed.
pub(crate) struct Session {
    context: SessionContext,
    /// The number of the gateway, and what each may take.
    gateway_index: usize,
    plan: watch::Receiver<RoutingPlan>,
    share: Arc<Part>,
    /// Leased and not submitted.
    queue: VecDeque<Ready>,
    /// Under way, with the place that is reserved for the result.
    attempts: HashMap<DeliveryId, (Ready, mpsc::OwnedPermit<Finished>)>,
    in_flight: FuturesUnordered<BoxFuture<'static, SubmitResponses>>,
    /// What these take of the window.
    places: usize,
    /// Messages in one request; 1 where each goes by itself.
    batch_max: u16,
    /// Each segment takes a place of its own in the window.
    window_of_segments: bool,
    claiming: Option<Claiming>,
    last_claim: usize,
    /// When the last claim began, and how long claims take.
    claim_began: Instant,
    latency: ClaimLatency,
    /// What was leased, and needs so many places of the window, had to be put back: nothing more is leased before they are free.
    stalled: Option<usize>,
    throughput: Throughput,
    /// Wakes up when somebody queues something; armed before each claim, so that no wake-up falls between.
    work: Pin<Box<OwnedNotified>>,
    /// Nothing was due: do not claim before this time, or a wake-up.
    idle_until: Option<Instant>,
}

/// What holds the next submit up.
enum Hold {
    /// Nothing, or something that an answer or a claim will end.
    Nothing,
    /// Rate tokens, until then.
    Until(Instant),
    /// The results of others are not written yet.
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

/// What is under way when a session ends in a panic is in doubt when its lease ends; the gateway is not to count it as waited for.
impl Drop for Session {
    fn drop(&mut self) {
        self.context.handle.on_abandoned(self.attempts.keys().copied());
    }
}
