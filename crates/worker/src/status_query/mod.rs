//! Asking the provider about submits whose answer was lost, once no receipt has settled them in time: first whether it has the
//! message, then, where repeating the same reference cannot ring twice, by handing it over again. What that does not settle is
//! left to the policy.
//!
//! Whoever holds a channel of the gateway does this, a few doubts at once and within the gateway's pace. The doubts are taken for
//! a while only, so what a crash leaves behind is asked again by the next.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use klaroen_domain::alert::Priority;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::outcome::{Scope, SubmitOutcome};
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

/// How often doubts that are due are looked for.
const POLL: Duration = Duration::from_secs(1);
/// Doubts that are asked about at once: they must not crowd out what is being sent.
const AT_ONCE: u16 = 16;
/// A provider that answers takes milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// For one doubt, waiting for its turn included.
const DONE_WITHIN: Duration = Duration::from_secs(20);
/// Longer than that, so that two do not ask about the same doubt.
const TAKEN_FOR: Duration = Duration::from_secs(30);
/// A list of the provider's may lag behind its intake: "not known" is believed when it is said twice, so far apart.
const MISSES_APART: Duration = Duration::from_secs(5);
/// Waits after a look-up in vain; as many look-ups as there are waits, and one more.
const LOOK_AGAIN: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// The same where a life depends on it: the policy would send once more, and each second counts.
const LOOK_AGAIN_SOON: &[Duration] = &[Duration::from_secs(2)];
/// Waits after a repetition that came to nothing: three times in all.
const REPEAT_AGAIN: &[Duration] = &[Duration::from_secs(2), Duration::from_secs(5)];

/// What asking needs.
pub(crate) struct StatusQueries {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) messages: Arc<MessageCache>,
    /// Its name in the configuration.
    pub(crate) name: String,
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) wake: Arc<Notify>,
}

impl StatusQueries {
    /// Runs until it is dropped, which may be at any time; ends by itself where the provider cannot be asked.
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
                        tracing::debug!(gateway = self.name, %error, "not noted yet what it can be asked");
                    }
                }
            }
            if noted && !can_be_asked {
                return;
            }
            let pause = if full { Duration::ZERO } else { jitter::around(POLL) };
            tokio::time::sleep(pause).await;
            // A provider that refuses us is left alone, and so is one that an operator paused.
            if !is_usable(self.handle.routing_state()) {
                full = false;
                continue;
            }
            full = match self.query_due().await {
                Ok(asked) => asked >= usize::from(AT_ONCE),
                Err(error) => {
                    tracing::warn!(gateway = self.name, %error, "lost submits are not settled yet");
                    false
                }
            };
        }
    }

    /// Asks about what is due; gives how many that was.
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
                tracing::warn!(message = %doubt.message, %error, "the text could not be read yet");
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

    /// Asks whether the provider has it.
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
                provider_ids: provider_id.into_iter().collect(),
                segments: sms.text.segments(),
                status,
                error,
            },
            StatusAnswer::NotFound => not_found(doubt.missed_at, self.clock.now()),
            StatusAnswer::NoAnswer | StatusAnswer::Unsupported => {
                let tried = usize::try_from(doubt.unanswered).unwrap_or(usize::MAX);
                let wait = look_again(doubt.priority).get(tried).copied().unwrap_or_default();
                self.retry_later(wait, Because::Unanswered)
            }
        }
    }

    /// The one among messages with the same number and text: the oldest that no other delivery of ours holds.
    async fn own_candidate(&self, doubt: &Doubt, candidates: Vec<Candidate>, complete: bool) -> StatusAnswer {
        let ids: Vec<ProviderId> = candidates.iter().map(|c| c.provider_id.clone()).collect();
        let held = match self.store.held_elsewhere(&self.name, &ids, doubt.id).await {
            Ok(held) => held,
            Err(error) => {
                tracing::warn!(gateway = self.name, %error, "whose messages these are could not be read yet");
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

    /// Two that were lost may have found the same message: it is that of the first, and the other asks again, when that is
    /// written down.
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

    /// Hands it over again under the same reference: a provider that has it says so, and no phone rings twice.
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
        // Both now: we may be dropped while we wait. What can be asked has no connection that could be down.
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

    /// Waits for the gateway's pace; whether its turn came in time.
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

/// What a "not known" is worth.
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
