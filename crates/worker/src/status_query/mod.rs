//! Queries the provider about submits whose answer was lost, if no receipt settled them in time. It first asks whether
//! the provider has the message. If repeating the same reference cannot ring a phone twice, it then submits the message
//! again. The policy decides about the rest.
//!
//! Each holder of a channel of the gateway does this, a few doubts at a time and within the gateway's pace. Doubts are
//! reserved for a limited time, so after a crash the next holder queries them again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use klaroen_domain::alert::Priority;
use klaroen_domain::outcome::{Failure, ProviderId, Scope, SubmitOutcome, storable};
use klaroen_domain::time::{Clock, Timestamp};
use klaroen_gateway::{Candidate, OutboundSms, SmsGateway, StatusAnswer};
use klaroen_store::doubts::{Answered, Because, Doubt, Found};
use klaroen_store::{Store, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::gateway::handle::GatewayHandle;
use crate::gateway::request::submit;
use crate::gateway::routing::allocation::is_usable;
use crate::instruments::ChannelInstruments;
use crate::jitter;
use crate::session::claim::LEASE;
use crate::session::message_cache::MessageCache;

/// How often to look for doubts that are due.
const POLL: Duration = Duration::from_secs(1);
/// Doubts that are queried at the same time: they must not crowd out messages.
const AT_ONCE: u16 = 16;
/// A provider that answers takes milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For one doubt, including the wait for the rate.
const DONE_WITHIN: Duration = Duration::from_secs(20);
/// Longer than that, so that two workers do not query the same doubt.
const TAKEN_FOR: Duration = Duration::from_secs(30);
/// A provider's list may lag behind its intake, so "not found" is believed if it is repeated after this time.
const MISSES_APART: Duration = Duration::from_secs(5);
/// Waits after a query without an answer. There is one more query than waits.
const LOOK_AGAIN: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// The waits if a life is in danger: the policy would send once more, and each second counts.
const LOOK_AGAIN_SOON: &[Duration] = &[Duration::from_secs(2)];
/// Waits after a resubmit without a result: three attempts in all.
const REPEAT_AGAIN: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(5)];

/// Everything that status queries need.
pub(crate) struct StatusQueries {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) messages: Arc<MessageCache>,
    /// The gateway's name in the configuration.
    pub(crate) name: String,
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) wake: Arc<Notify>,
}

impl StatusQueries {
    /// Runs until it is dropped, which may be at any time. Ends by itself if the provider cannot be queried.
    pub(crate) async fn run(self) {
        let can = self.gateway.capabilities();
        let can_be_asked = can.status_query || can.idempotent_submit;
        let mut noted = false;
        let mut full = false;
        loop {
            if !noted {
                match self.store.note_can_be_asked(&self.name, can_be_asked).await {
                    Ok(()) => noted = true,
                    Err(error) => {
                        tracing::debug!(gateway = self.name, %error, "could not record yet whether the gateway supports status queries");
                    }
                }
            }
            if noted && !can_be_asked {
                return;
            }
            let pause = if full { Duration::ZERO } else { jitter::around(POLL) };
            tokio::time::sleep(pause).await;
            // A gateway that refuses us, or that an operator stopped, is not queried.
            if !is_usable(self.handle.routing_state()) {
                full = false;
                continue;
            }
            full = match self.query_due().await {
                Ok(asked) => asked >= usize::from(AT_ONCE),
                Err(error) => {
                    tracing::warn!(gateway = self.name, %error, "status queries failed; retrying");
                    false
                }
            };
        }
    }

    /// Queries the doubts that are due. Returns how many there were.
    async fn query_due(&self) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let doubts = self.store.take_doubts(&self.name, AT_ONCE, now.plus(TAKEN_FOR), now).await?;
        let count = doubts.len();
        if count == 0 {
            return Ok(0);
        }
        let deadline = Instant::now() + DONE_WITHIN;
        let mut answered = join_all(doubts.into_iter().map(|doubt| async move {
            let found = self.query(&doubt, deadline).await;
            Answered { doubt, found }
        }))
        .await;
        self.reject_duplicates(&mut answered);
        let back = answered.iter().any(|answered| answered.found == Found::NotKnown);
        self.store.answer_doubts(&self.name, answered, self.clock.now()).await?;
        if back {
            self.wake.notify_waiters();
        }
        Ok(count)
    }

    async fn query(&self, doubt: &Doubt, deadline: Instant) -> Found {
        let Some(phone) = doubt.phone.clone() else { return Found::Nothing };
        let message = match self.messages.get(&self.store, doubt.message).await {
            Ok(Some(message)) => message,
            Ok(None) => return Found::Nothing,
            Err(error) => {
                tracing::warn!(message = %doubt.message, %error, "message text not read; retrying");
                return self.retry_later(POLL, Because::NotAsked);
            }
        };
        let sms = OutboundSms {
            delivery: doubt.id,
            attempt: doubt.lease_token,
            to: phone,
            text: Arc::clone(&message.text),
            validity: message.expires_at.since(self.clock.now()),
        };
        let can = self.gateway.capabilities();
        let look_again = look_again(doubt.priority);
        let tried = usize::try_from(doubt.unanswered).unwrap_or(usize::MAX);
        if can.status_query && tried <= look_again.len() {
            let found = self.look_up(&sms, doubt, deadline).await;
            let in_vain = matches!(found, Found::Again { because: Because::Unanswered, .. });
            if !in_vain || tried < look_again.len() || (can.idempotent_submit && doubt.may_ring) {
                return found;
            }
        } else if can.idempotent_submit && doubt.may_ring {
            return self.resubmit(sms, message.segments, doubt, deadline).await;
        }
        Found::Nothing
    }

    /// Asks whether the provider has the message.
    async fn look_up(&self, sms: &OutboundSms, doubt: &Doubt, deadline: Instant) -> Found {
        if !self.wait_for_rate(1, deadline).await {
            return self.retry_later(Duration::ZERO, Because::NotAsked);
        }
        // It was not submitted before it was leased, however old its message is.
        let since = doubt.lease_until.map_or(doubt.since, |until| until.minus(LEASE).max(doubt.since));
        let asked = AssertUnwindSafe(self.gateway.query_status(sms, since)).catch_unwind();
        let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
        let answer = match answer.ok().and_then(Result::ok).unwrap_or(StatusAnswer::NoAnswer) {
            StatusAnswer::Alike { candidates, complete } => {
                self.own_candidate(doubt, candidates, complete).await
            }
            answer => answer,
        };
        match answer {
            StatusAnswer::Alike { .. } => self.retry_later(POLL, Because::NotAsked),
            StatusAnswer::Found { provider_id, status, error } => Found::Known {
                provider_ids: provider_id.into_iter().map(ProviderId::kept).collect(),
                segments: sms.text.segments(),
                status,
                error: error.map(|error| storable(error, Failure::CODE_LENGTH_MAX)),
            },
            StatusAnswer::NotFound => not_found(doubt.missed_at, self.clock.now()),
            StatusAnswer::NoAnswer | StatusAnswer::Unsupported => {
                let tried = usize::try_from(doubt.unanswered).unwrap_or(usize::MAX);
                let wait = look_again(doubt.priority).get(tried).copied().unwrap_or_default();
                self.retry_later(wait, Because::Unanswered)
            }
        }
    }

    /// The oldest of several messages with the same number and text that no other delivery of ours holds.
    async fn own_candidate(&self, doubt: &Doubt, candidates: Vec<Candidate>, complete: bool) -> StatusAnswer {
        let ids: Vec<ProviderId> = candidates.iter().map(|c| c.provider_id.clone()).collect();
        let held = match self.store.held_elsewhere(&self.name, &ids, doubt.id).await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(gateway = self.name, %error, "could not check which deliveries hold these messages; retrying");
                return StatusAnswer::NoAnswer;
            }
        };
        match candidates.into_iter().rfind(|candidate| !held.contains(&candidate.provider_id)) {
            Some(Candidate { provider_id, status, error }) => {
                StatusAnswer::Found { provider_id: Some(provider_id), status, error }
            }
            None if complete => StatusAnswer::NotFound,
            None => StatusAnswer::NoAnswer,
        }
    }

    /// Two lost messages may have found the same message of the provider. The first one gets it, and the other one
    /// queries again after that is recorded.
    fn reject_duplicates(&self, answered: &mut [Answered]) {
        let mut found: Vec<ProviderId> = Vec::new();
        for answered in answered {
            let Found::Known { provider_ids, .. } = &answered.found else { continue };
            if provider_ids.iter().any(|id| found.contains(id)) {
                answered.found = self.retry_later(POLL, Because::NotAsked);
            } else {
                found.extend(provider_ids.iter().cloned());
            }
        }
    }

    /// Submits the message again under the same reference: a provider that has it says so, and no phone rings twice.
    async fn resubmit(&self, sms: OutboundSms, segments: u8, doubt: &Doubt, deadline: Instant) -> Found {
        let tried = usize::try_from(doubt.resent).unwrap_or(usize::MAX);
        if tried > REPEAT_AGAIN.len() {
            return Found::Nothing;
        }
        if !self.wait_for_rate(segments, deadline).await {
            return self.retry_later(Duration::ZERO, Because::NotAsked);
        }
        let done = submit(Arc::clone(&self.gateway), sms, deadline.min(Instant::now() + ANSWER_WITHIN)).await;
        self.instruments.submitted(&done.outcome, done.took);
        // Both calls without an await between them, because this future may be dropped while it waits. Gateways that
        // can be queried have no connection that could be down.
        self.handle.on_submit(doubt.id, 1);
        self.handle.count_outcomes(&[&done.outcome], self.clock.now());
        self.handle.on_response(doubt.id, &[&done.outcome], done.took, true);
        match done.outcome {
            SubmitOutcome::Accepted { provider_ids, segments } => Found::Taken { provider_ids, segments },
            SubmitOutcome::Rejected(failure) if failure.scope == Scope::Recipient => Found::Refused(failure),
            _ => match REPEAT_AGAIN.get(tried) {
                Some(wait) => self.retry_later(*wait, Because::NotTaken),
                None => Found::Nothing,
            },
        }
    }

    /// Waits for the gateway's pace. Returns whether the tokens came in time.
    async fn wait_for_rate(&self, segments: u8, deadline: Instant) -> bool {
        while let Err(wait) = self.handle.pace.try_acquire(segments) {
            let at = Instant::now() + wait;
            if at + ANSWER_WITHIN > deadline {
                return false;
            }
            tokio::time::sleep_until(at).await;
        }
        true
    }

    fn retry_later(&self, wait: Duration, because: Because) -> Found {
        Found::Again { ask_at: self.clock.now().plus(wait), because }
    }
}

const fn look_again(priority: Priority) -> &'static [Duration] {
    match priority {
        Priority::LifeThreatening => LOOK_AGAIN_SOON,
        Priority::Urgent | Priority::Normal => LOOK_AGAIN,
    }
}

/// Interprets a "not found": it is believed at the second time.
fn not_found(missed_at: Option<Timestamp>, now: Timestamp) -> Found {
    let since = missed_at.unwrap_or(now);
    if missed_at.is_some() && now.since(since) >= MISSES_APART {
        Found::NotKnown
    } else {
        Found::Again { ask_at: since.plus(MISSES_APART), because: Because::Missed }
    }
}

#[cfg(test)]
mod tests;
