//! Feeding one connection: claim ahead, keep the window full, pass on every answer.
//!
//! One task owns everything in here. A submit is a future that this task polls; the number of futures is the number of
//! messages under way, so a window cannot leak. A message begins only with a place for its result reserved, so a result
//! always has somewhere to go and a database that is away stops the sending, not the answers.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use klaroen_domain::decide::Decision;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_gateway::{ChannelStatus, OutboundSms, SmsGateway};
use klaroen_store::StoreError;
use klaroen_store::outcomes::Finished;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::claimer::{Batch, Claimer, Ready};
use crate::control::GatewayControl;
use crate::demand::{Meter, claim_size};
use crate::in_doubt::InDoubt;
use crate::instruments::ChannelInstruments;
use crate::jitter;
use crate::lease::Lease;
use crate::submit::{Attempt, Done, submit};

/// The queue is looked at this often even if nobody wakes us: another process may have filled it.
const POLL: Duration = Duration::from_secs(1);

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
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) status: watch::Receiver<ChannelStatus>,
    pub(crate) in_doubt: Arc<InDoubt>,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) wake: Arc<Notify>,
    pub(crate) window: usize,
}

/// One connection being fed.
pub(crate) struct Session {
    parts: Parts,
    /// Leased and not submitted.
    pub(crate) queue: VecDeque<Ready>,
    /// Under way, with the place that is reserved for the result.
    pub(crate) attempts: HashMap<DeliveryId, (Attempt, mpsc::OwnedPermit<Finished>)>,
    pub(crate) in_flight: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(crate) claiming: Option<Claiming>,
    last_claim: usize,
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
        Self {
            parts,
            work,
            queue: VecDeque::new(),
            attempts: HashMap::new(),
            in_flight: FuturesUnordered::new(),
            claiming: None,
            last_claim: 0,
            meter: Meter::default(),
            idle_until: None,
        }
    }

    /// Feeds the connection until there is a reason to stop.
    pub(crate) async fn run(&mut self, lease: &Lease, shutdown: &CancellationToken) -> Ended {
        let (lost, stop) = (lease.lost().cancelled(), shutdown.cancelled());
        tokio::pin!(lost, stop);
        let results = self.parts.claimer.results.clone();
        loop {
            let now = Instant::now();
            if !lease.is_held(now) {
                return Ended::LeaseLost;
            }
            if results.is_closed() {
                return Ended::Broken;
            }
            let paused_until = self.parts.control.paused_until(now);
            let up = *self.parts.status.borrow_and_update() == ChannelStatus::Up;
            self.parts.instruments.up.set(if up { 1.0 } else { 0.0 });
            let hold = if up && paused_until.is_none() {
                let hold = self.submit_ready(now);
                self.claim_ahead(now);
                hold
            } else {
                self.put_back_queue().await;
                paused_until.map_or(Hold::Nothing, Hold::Until)
            };
            let timer = match hold {
                Hold::Until(at) => Some(at),
                _ => self.idle_until.filter(|_| up),
            };
            tokio::select! {
                biased;
                () = &mut stop => return Ended::Shutdown,
                () = &mut lost => return Ended::LeaseLost,
                changed = self.parts.status.changed() => if changed.is_err() { return Ended::Broken },
                done = next_done(&mut self.in_flight) => self.settle_all(done),
                claimed = join(&mut self.claiming) => self.claimed(claimed),
                () = &mut self.work, if self.idle_until.is_some() => self.idle_until = None,
                place = results.reserve(), if matches!(hold, Hold::Results) => drop(place),
                () = sleep_until(timer) => {}
            }
        }
    }

    /// Submits what window, rate and the places for results allow.
    fn submit_ready(&mut self, now: Instant) -> Hold {
        let window = self.parts.control.window(self.parts.window);
        let wall = self.parts.claimer.clock.now();
        while let Some(next) = self.queue.front() {
            let Ok(place) = self.parts.claimer.results.clone().try_reserve_owned() else {
                return Hold::Results;
            };
            let attempt = next.attempt;
            if wall >= attempt.expires_at {
                place.send(attempt.unsubmitted(Decision::Expired, wall));
                self.queue.pop_front();
                continue;
            }
            if now >= next.hand_over_by {
                place.send(attempt.put_back(wall));
                self.queue.pop_front();
                continue;
            }
            if self.in_flight.len() >= window {
                return Hold::Until(next.hand_over_by);
            }
            if let Err(wait) = self.parts.control.pace.try_take(next.message.segments) {
                return Hold::Until(now + wait);
            }
            let Some(ready) = self.queue.pop_front() else { break };
            let sms = OutboundSms {
                delivery: attempt.id,
                to: ready.phone,
                text: Arc::clone(&ready.message.text),
                validity: attempt.expires_at.since(wall),
            };
            self.meter.begin(now);
            self.in_flight.push(submit(Arc::clone(&self.parts.gateway), sms, ready.deadline));
            self.attempts.insert(attempt.id, (attempt, place));
        }
        Hold::Nothing
    }

    /// Starts the next claim when less than half of the last one is left, so that the wire does not wait for the disk.
    fn claim_ahead(&mut self, now: Instant) {
        if self.idle_until.is_some_and(|until| now >= until) {
            self.idle_until = None;
        }
        if self.claiming.is_some() || self.idle_until.is_some() || self.queue.len() * 2 > self.last_claim {
            return;
        }
        let window = self.parts.control.window(self.parts.window);
        if window < self.parts.window && !(self.queue.is_empty() && self.in_flight.is_empty()) {
            // One message tries a gateway that had refused us; its answer decides about the rest.
            return;
        }
        let limit = if window < self.parts.window {
            1
        } else {
            claim_size(self.meter.rate(), self.parts.control.pace.rate(), window)
        };
        self.work = Box::pin(Arc::clone(&self.parts.wake).notified_owned());
        self.work.as_mut().enable();
        let claimer = self.parts.claimer.clone();
        self.claiming = Some(tokio::spawn(async move { claimer.claim(limit).await }));
    }

    /// Takes in what a claim brought, or says when to try again.
    pub(crate) fn claimed(&mut self, claimed: Result<Result<Batch, StoreError>, JoinError>) {
        self.claiming = None;
        let again = Instant::now() + jitter::around(POLL);
        match claimed {
            Ok(Ok(batch)) => {
                if batch.queue_is_empty {
                    let due = batch.next_due.map_or(again, |wait| Instant::now() + wait);
                    self.idle_until = Some(due.min(again));
                } else {
                    #[expect(clippy::cast_precision_loss, reason = "at most 500")]
                    self.parts.instruments.claim_size.record(batch.ready.len() as f64);
                }
                self.queue.extend(batch.ready);
                self.last_claim = self.queue.len();
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

    pub(crate) fn settle_all(&mut self, done: Vec<Done>) {
        self.meter.record(Instant::now(), done.len(), !self.in_flight.is_empty());
        for done in done {
            self.settle(done);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most the window")]
        self.parts.instruments.in_flight.set(self.in_flight.len() as f64);
    }

    fn settle(&mut self, done: Done) {
        let Some((attempt, place)) = self.attempts.remove(&done.id) else { return };
        self.parts.instruments.submitted(&done.outcome, done.took);
        self.learn(&done.outcome);
        let unknown = matches!(done.outcome, SubmitOutcome::Unknown(_));
        place.send(attempt.conclude(done.outcome, self.parts.claimer.clock.now(), jitter::signed()));
        if unknown {
            // After its result is on its way, so that the late answer is written after the doubt.
            self.parts.in_doubt.remember(attempt);
        }
    }

    /// What an answer says about the gateway rather than the message.
    fn learn(&self, outcome: &SubmitOutcome) {
        let control = &self.parts.control;
        match outcome {
            SubmitOutcome::Throttled { .. } => {
                control.answered();
                let measured = self.meter.guess(Instant::now()) * f64::from(control.channels);
                if let Some(rate) = control.pace.throttled(measured) {
                    let gateway = &self.parts.claimer.channel.gateway;
                    tracing::warn!(
                        gateway,
                        segments_per_second = rate,
                        "the provider says too fast: slowing down"
                    );
                    self.parts.instruments.rate_factor.set(control.pace.factor());
                }
            }
            SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway => {
                control.refused(failure, Instant::now());
            }
            SubmitOutcome::Accepted { .. } | SubmitOutcome::Rejected(_) => control.answered(),
            SubmitOutcome::NotTaken(_) | SubmitOutcome::Unknown(_) => {}
        }
    }

    /// Back into the queue with what was leased and not submitted: not in doubt, and another channel may take it.
    pub(crate) async fn put_back_queue(&mut self) {
        let now = self.parts.claimer.clock.now();
        while let Some(ready) = self.queue.pop_front() {
            if self.parts.claimer.results.send(ready.attempt.put_back(now)).await.is_err() {
                tracing::error!(delivery = %ready.attempt.id, "a result has nowhere to go: the delivery becomes unknown");
            }
        }
        self.last_claim = 0;
    }

    pub(crate) const fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// Waits for an answer, and takes all that are there: one pass through the loop for many.
pub(crate) async fn next_done(in_flight: &mut FuturesUnordered<BoxFuture<'static, Done>>) -> Vec<Done> {
    let mut all = Vec::new();
    std::future::poll_fn(|context| {
        while let Poll::Ready(Some(done)) = in_flight.poll_next_unpin(context) {
            all.push(done);
        }
        if all.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    all
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
