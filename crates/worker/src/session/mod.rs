//! Feeding one connection: claim ahead, keep the window full, pass on every answer.
//!
//! One task owns everything in here. A request is a future that this task polls; the number of futures is the number of
//! requests under way, so a window cannot leak. A message begins only with a place for its result reserved, so a result
//! always has somewhere to go and a database that is away stops the sending, not the answers.

pub(crate) mod claim;
mod drain;
pub(crate) mod message_cache;
mod responses;
mod submit;
pub(crate) mod unknown_attempts;

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use klaroen_domain::id::DeliveryId;
use klaroen_gateway::{ChannelStatus, SmsGateway};
use klaroen_store::StoreError;
use klaroen_store::outcomes::Finished;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::responses::next_done;
use crate::gateway::handle::{Fed, GatewayControl};
use crate::gateway::request::Answers;
use crate::gateway::routing::router::{Plan, Switchboard, Taking};
use crate::instruments::ChannelInstruments;
use crate::jitter;
use crate::lease::channel_lease::{Holding, Lease};
use crate::session::claim::batch_size::{Lead, Meter, claim_size, handed_over};
use crate::session::claim::{Batch, Claimer, Ready};
use crate::session::unknown_attempts::InDoubt;

/// The queue is looked at this often even if nobody wakes us: another process may have filled it.
const POLL: Duration = Duration::from_secs(1);

/// An empty claim is not repeated sooner, whatever the clock of another machine says is due.
const BREATH: Duration = Duration::from_millis(5);

/// While one message tries a gateway, the others look this often whether it is decided: where no other gateway could take what
/// is due, the decision changes nobody's plan and so wakes nobody.
const LOOK: Duration = Duration::from_millis(250);

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
pub(crate) struct Parts {
    pub(crate) claimer: Claimer,
    pub(crate) control: Arc<GatewayControl>,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) status: watch::Receiver<ChannelStatus>,
    pub(crate) in_doubt: Arc<InDoubt>,
    pub(crate) holding: Holding,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) window: usize,
}

/// One connection being fed.
pub(crate) struct Session {
    parts: Parts,
    /// The number of the gateway, and what each may take.
    seat: usize,
    plan: watch::Receiver<Plan>,
    taking: Taking,
    /// Leased and not submitted.
    queue: VecDeque<Ready>,
    /// Under way, with the place that is reserved for the result.
    attempts: HashMap<DeliveryId, (Ready, mpsc::OwnedPermit<Finished>)>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answers>>,
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
    lead: Lead,
    /// What was leased, and needs so many places of the window, had to be put back: nothing more is leased before they are free.
    stalled: Option<usize>,
    meter: Meter,
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
    pub(crate) fn new(parts: Parts) -> Self {
        let work = Box::pin(Arc::clone(&parts.wake).notified_owned());
        let can = parts.gateway.capabilities();
        let (seat, plan) = parts.switchboard.seat(&parts.claimer.channel.gateway);
        Self {
            parts,
            seat,
            plan,
            taking: Taking::Nothing,
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
            lead: Lead::default(),
            stalled: None,
            meter: Meter::default(),
            idle_until: None,
        }
    }

    /// Feeds the connection until there is a reason to stop.
    pub(crate) async fn run(
        &mut self,
        lease: &Lease,
        fed: &mut Fed<'_>,
        shutdown: &CancellationToken,
    ) -> Ended {
        let (lost, stop) = (lease.lost().cancelled(), shutdown.cancelled());
        tokio::pin!(lost, stop);
        let results = self.parts.claimer.results.clone();
        loop {
            let now = Instant::now();
            if !lease.holding().is_held(now) {
                return Ended::LeaseLost;
            }
            if results.is_closed() {
                return Ended::Broken;
            }
            let up = *self.parts.status.borrow_and_update() == ChannelStatus::Up;
            self.parts.instruments.up.set(if up { 1.0 } else { 0.0 });
            if fed.show(up) {
                self.parts.switchboard.changed();
            }
            self.look_at_plan();
            let (hold, look_at) = if up && self.taking != Taking::Nothing {
                let hold = self.submit_ready(now);
                (hold, self.claim_ahead(now))
            } else {
                (self.put_back_queue(), None)
            };
            let timer = match hold {
                Hold::Until(at) => Some(at),
                _ => self.idle_until.filter(|_| up),
            };
            let timer = timer.into_iter().chain(look_at).min();
            tokio::select! {
                biased;
                () = &mut stop => {
                    self.begin_all();
                    return Ended::Shutdown;
                }
                () = &mut lost => return Ended::LeaseLost,
                // The switchboard outlives its channels.
                Ok(()) = self.plan.changed() => {}
                changed = self.parts.status.changed() => if changed.is_err() { return Ended::Broken },
                // Rare, so before the answers, of which there may always be one.
                claimed = join(&mut self.claiming) => self.claimed(claimed),
                done = next_done(&mut self.in_flight) => self.settle_all(done),
                () = &mut self.work, if self.idle_until.is_some() => self.idle_until = None,
                place = results.reserve(), if matches!(hold, Hold::Results) => drop(place),
                () = sleep_until(timer) => {}
            }
        }
    }

    /// What was just handed over has its tokens and leaves now, not when something else has been waited for.
    fn begin_all(&mut self) {
        if let Some(done) = next_done(&mut self.in_flight).now_or_never() {
            self.settle_all(done);
        }
    }

    /// What we may take now. A change is a reason to look at the queue.
    fn look_at_plan(&mut self) {
        let taking = self.plan.borrow_and_update().get(self.seat).cloned().unwrap_or(Taking::Nothing);
        if taking != self.taking {
            self.taking = taking;
            self.idle_until = None;
        }
    }

    /// Starts the next claim before the queue is empty, so that the wire does not wait for the disk. Gives when to look again
    /// where nothing else says so.
    fn claim_ahead(&mut self, now: Instant) -> Option<Instant> {
        if self.idle_until.is_some_and(|until| now >= until) {
            self.idle_until = None;
        }
        let (control, window) = (&self.parts.control, self.parts.window);
        let probing = control.is_probing();
        let look_at = probing.then(|| now + LOOK);
        if self.claiming.is_some() || self.idle_until.is_some() || self.queue.len() > self.low_water() {
            return look_at;
        }
        if !probing && self.stalled.is_some_and(|needed| self.is_full(needed)) {
            // A provider that does not answer holds its window, and not what others could send.
            return None;
        }
        self.stalled = None;
        if probing && !(self.queue.is_empty() && control.wants_probe()) {
            // One message tries a gateway that had failed; its answer decides about the rest.
            return look_at;
        }
        // Two full requests, not a window of them: a crash leaves in doubt what is leased, and a claim is soon repeated.
        let batches = if self.batch_max > 1 { 2 * usize::from(self.batch_max) } else { 0 };
        let room = window.max(batches);
        let size = || claim_size(self.meter.rate(), control.pace.rate(), room, &self.lead);
        let limit = if probing { 1 } else { size() };
        self.claim_began = now;
        self.work = Box::pin(Arc::clone(&self.parts.wake).notified_owned());
        self.work.as_mut().enable();
        let (claimer, taking) = (self.parts.claimer.clone(), self.taking.clone());
        self.claiming = Some(tokio::spawn(async move { claimer.claim(limit, &taking).await }));
        look_at
    }

    /// Whether so many more places are not free in the window. One message finds its place in an empty one, however long it is.
    fn is_full(&self, needed: usize) -> bool {
        self.places > 0 && self.places.saturating_add(needed) > self.parts.window
    }

    /// What may be left when the next claim begins: half of the last one, or what a claim's commit takes to be handed over.
    fn low_water(&self) -> usize {
        let half = self.last_claim / 2;
        // Under a limit the tokens are what is waited for, and more would only wait under a lease.
        let limited = self.parts.control.pace.rate().is_some();
        if limited { half } else { half.max(handed_over(self.meter.rate())) }
    }

    /// Takes in what a claim brought, or says when to try again.
    fn claimed(&mut self, claimed: Result<Result<Batch, StoreError>, JoinError>) {
        self.claiming = None;
        self.parts.instruments.rate_factor.set(self.parts.control.pace.factor());
        let again = Instant::now() + jitter::around(POLL);
        match claimed {
            Ok(Ok(batch)) => {
                if batch.queue_is_empty {
                    let due = batch.next_due.map_or(again, |wait| Instant::now() + wait.max(BREATH));
                    self.idle_until = Some(due.min(again));
                } else {
                    #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
                    self.parts.instruments.claim_size.record(batch.ready.len() as f64);
                    self.lead.record(self.claim_began.elapsed());
                }
                self.last_claim = batch.ready.len();
                self.queue.extend(batch.ready);
            }
            Ok(Err(error)) => {
                tracing::warn!(channel = %self.parts.claimer.channel, %error, "nothing could be claimed");
                self.idle_until = Some(again);
            }
            Err(error) => {
                let panicked = error.is_panic();
                tracing::error!(channel = %self.parts.claimer.channel, panicked, "a claim failed half-way");
                self.idle_until = Some(again);
            }
        }
    }

    /// Back into the queue with what was leased and not submitted: not in doubt, and another channel may take it.
    fn put_back_queue(&mut self) -> Hold {
        let now = self.parts.claimer.clock.now();
        while let Some(ready) = self.queue.front() {
            let Ok(place) = self.parts.claimer.results.try_reserve() else { return Hold::Results };
            place.send(ready.attempt.put_back(now));
            self.queue.pop_front();
        }
        self.last_claim = 0;
        Hold::Nothing
    }
}

/// What is under way when a session ends in a panic is in doubt when its lease ends; the gateway is not to count it as waited for.
impl Drop for Session {
    fn drop(&mut self) {
        self.parts.control.given_up(self.attempts.keys().copied());
    }
}

async fn join(claiming: &mut Option<Claiming>) -> Result<Result<Batch, StoreError>, JoinError> {
    match claiming {
        Some(claiming) => claiming.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
