//! Claiming: leases deliveries before anything is sent, and reads their texts.

pub(crate) mod batch_size;

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::decide::Decision;
use klaroen_domain::outcome::{Failure, Scope};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::{Clock, Timestamp};
use klaroen_store::channels::ChannelName;
use klaroen_store::claims::{Claim, ClaimError, ClaimRequest, Claimed, Part, Scan, Turns, lease_token};
use klaroen_store::outcomes::Finished;
use klaroen_store::{Store, StoreError};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::SettleAfter;
use crate::gateway::routing::allocation::is_everything;
use crate::outcome_writer::{FIRST_WAIT, LONGEST_WAIT};
use crate::session::attempt::Attempt;
use crate::session::message_cache::{MessageCache, Outgoing};

/// How long a delivery is leased: longer than any gateway's own time-out.
pub(crate) const LEASE: Duration = Duration::from_mins(1);
/// Clocks may differ by this much, and the result must be written before the lease ends.
const SKEW: Duration = Duration::from_secs(10);
/// A delivery that could not be submitted in this time is put back, because no other channel can send it under this
/// lease.
const HANDOVER_MOST: Duration = Duration::from_secs(2);
/// A message that is submitted again under the same lease has at least this long for its answer.
const AGAIN_LEAST: Duration = Duration::from_secs(20);
/// How long a delivery whose text could not be read waits before it is due again.
const READ_AGAIN: Duration = Duration::from_secs(5);

/// A leased delivery with its text.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) attempt: Attempt,
    pub(crate) phone: PhoneNumber,
    pub(crate) message: Arc<Outgoing>,
    /// It is put back after this time.
    pub(crate) hand_over_by: Instant,
    /// Its submit is abandoned at this time.
    pub(crate) deadline: Instant,
    /// How many messages its request may have, including itself.
    pub(crate) together: u16,
}

impl Ready {
    /// The message for its next submit, in a request of up to `together` messages, after a batch was refused as a
    /// whole.
    pub(crate) fn again(self, together: u16, now: Instant) -> Self {
        let last = self.deadline.checked_sub(AGAIN_LEAST).unwrap_or(now);
        Self { together, hand_over_by: last.min(now + HANDOVER_MOST), ..self }
    }
}

/// The result of a claim.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) ready: Vec<Ready>,
    /// Nothing was due: wait for a notification or for `next_due`.
    pub(crate) queue_is_empty: bool,
    /// How long until the next delivery is due.
    pub(crate) next_due: Option<Duration>,
}

/// A share of the queue, and how far it was scanned.
type Scanned = (Arc<Part>, Scan);

/// State that one claim of a channel passes to the next.
#[derive(Debug, Default)]
pub(crate) struct ClaimState {
    /// How far the queue was scanned, and for which share.
    scanned: Option<Scanned>,
    turns: Turns,
}

/// Everything that claiming needs.
#[derive(Clone)]
pub(crate) struct Claimer {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) messages: Arc<MessageCache>,
    pub(crate) results: mpsc::Sender<Finished>,
    pub(crate) channel: ChannelName,
    pub(crate) known: Arc<Mutex<ClaimState>>,
    pub(crate) settle_after: SettleAfter,
    /// Cancelled when the process ends and results that the database does not take are abandoned.
    pub(crate) abandoned: CancellationToken,
}

impl Claimer {
    /// Leases up to `limit` deliveries and reads their texts. A delivery whose text cannot be read gets its result
    /// here, so that it does not block others. If it is not known whether the deliveries are leased, they are put back
    /// before this returns.
    ///
    /// # Errors
    /// Any error of the database: nothing is leased then.
    pub(crate) async fn claim(&self, limit: u32, share: &Arc<Part>) -> Result<Batch, StoreError> {
        let (now, started, lease_token) = (self.clock.now(), Instant::now(), lease_token());
        let claim = match self.lease(limit, share, now, lease_token).await {
            Ok(claim) => claim,
            Err(ClaimError::NotMade(error)) => return Err(error),
            Err(ClaimError::InDoubt(error)) => {
                tracing::warn!(channel = %self.channel, %error, "the database did not answer a claim: its deliveries are put back");
                self.give_back(lease_token).await;
                return Err(error);
            }
        };
        let mut batch = Batch {
            queue_is_empty: claim.claimed.is_empty() && claim.suppressed == 0,
            next_due: claim.next_due.map(|due| due.since(now)),
            ready: Vec::with_capacity(claim.claimed.len()),
        };
        for claimed in claim.claimed {
            match self.text(claimed).await {
                Ok((attempt, phone, message)) => batch.ready.push(Ready {
                    attempt,
                    phone,
                    message,
                    hand_over_by: started + HANDOVER_MOST,
                    deadline: started + LEASE.saturating_sub(SKEW),
                    together: u16::MAX,
                }),
                Err(finished) => {
                    if self.results.send(finished).await.is_err() {
                        tracing::error!(
                            "result not recorded, because the result writer has stopped: the delivery becomes unknown"
                        );
                    }
                }
            }
        }
        Ok(batch)
    }

    async fn lease(
        &self,
        limit: u32,
        share: &Arc<Part>,
        now: Timestamp,
        lease_token: i64,
    ) -> Result<Claim, ClaimError> {
        let lease_until = now.plus(LEASE);
        let request = ClaimRequest { channel: &self.channel, limit, lease_until, now, lease_token };
        let mut known = self.known.lock().await;
        let ClaimState { scanned, turns } = &mut *known;
        if share.is_nothing() {
            return Ok(Claim::default());
        }
        if is_everything(share) {
            return self.store.claim(&request, turns).await;
        }
        let (_, scan) = match scanned {
            Some(known) if Arc::ptr_eq(&known.0, share) => known,
            other => other.insert((Arc::clone(share), Scan::default())),
        };
        self.store.claim_part(&request, share, scan, turns).await
    }

    /// Puts back deliveries that a claim without an answer may have leased, as soon as the database answers. None of
    /// them was submitted, but only this process knows that.
    async fn give_back(&self, lease_token: i64) {
        let mut wait = FIRST_WAIT;
        loop {
            match self.store.give_back(&self.channel.gateway, lease_token, self.clock.now()).await {
                Ok(deliveries) => {
                    return tracing::info!(channel = %self.channel, deliveries, "the deliveries of an unanswered claim were put back");
                }
                Err(error) if error.is_retryable() && !self.abandoned.is_cancelled() => {
                    tracing::debug!(channel = %self.channel, %error, "the deliveries of an unanswered claim are not put back yet");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.abandoned.cancelled() => {}
                    }
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
                Err(error) => {
                    return tracing::error!(
                        channel = %self.channel,
                        %error,
                        "the deliveries of an unanswered claim were not put back: they become unknown when their leases end"
                    );
                }
            }
        }
    }

    /// Puts back the deliveries of a claim for which its session did not wait. The writer of results stays open for it.
    pub(crate) async fn put_back(self, claiming: impl Future<Output = Option<Batch>>) {
        let Some(batch) = claiming.await else { return };
        for ready in batch.ready {
            if self.results.send(ready.attempt.put_back(self.clock.now())).await.is_err() {
                tracing::error!(
                    "a claim ended after its session and could not be put back: its deliveries become unknown when their leases end"
                );
                return;
            }
        }
    }

    /// The text and the number of a delivery, or its result without them.
    async fn text(&self, claimed: Claimed) -> Result<(Attempt, PhoneNumber, Arc<Outgoing>), Finished> {
        let message = match self.messages.get(&self.store, claimed.message).await {
            Ok(Some(message)) => message,
            Ok(None) => {
                tracing::error!(message = %claimed.message, "the message of a delivery does not exist");
                return Err(
                    self.without_text(&claimed, failed("message_missing", "the message does not exist"))
                );
            }
            Err(error) if error.is_retryable() => {
                tracing::warn!(message = %claimed.message, %error, "message text not read; retrying");
                let due_at = self.clock.now().plus(READ_AGAIN);
                return Err(self.without_text(&claimed, Decision::PutBack { due_at, spent: false }));
            }
            Err(error) => {
                tracing::error!(message = %claimed.message, %error, "the stored message text is unreadable");
                let decision = failed("message_unreadable", "the stored message cannot be read");
                return Err(self.without_text(&claimed, decision));
            }
        };
        let attempt = Attempt {
            id: claimed.id,
            lease_token: claimed.lease_token,
            retries: claimed.retries,
            claims: claimed.claims,
            expires_at: message.expires_at,
            priority: message.priority,
            settle_after: self.settle_after.of(message.priority),
        };
        if let Some(phone) = claimed.phone {
            Ok((attempt, phone, message))
        } else {
            let decision = failed("phone_unreadable", "the sealed phone number does not open");
            Err(attempt.unsubmitted(decision, self.clock.now()))
        }
    }

    fn without_text(&self, claimed: &Claimed, decision: Decision) -> Finished {
        Finished {
            id: claimed.id,
            lease_token: claimed.lease_token,
            decision,
            provider_ids: Vec::new(),
            segments: 0,
            at: self.clock.now(),
        }
    }
}

/// Fails only this delivery, with a reason.
fn failed(code: &str, detail: &str) -> Decision {
    Decision::Failed(Failure { scope: Scope::Recipient, code: code.into(), detail: detail.into() })
}

#[cfg(test)]
mod tests;
