//! Handling requests: reading, deciding and answering.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http::contracts::contract::{Answered, Asked, Search};
use crate::http::contracts::message::{Message, Refusal, Sms};
use crate::http::faults::{HttpFate, HttpFaults, Mishap};
use crate::http::state::{ProviderState, lock};
use crate::http::wire::{Reply, Request};

/// How long the answer to a submit waits for its early receipt to be answered.
const EARLY_RECEIPT_WAIT: Duration = Duration::from_secs(5);
/// The answer to a request, and when it is due.
pub(crate) struct Handled {
    pub outcome: Outcome,
    /// When to answer.
    pub at: Instant,
    /// Resolve when the receipts that come first were answered.
    pub early: Vec<oneshot::Receiver<()>>,
}

/// How a connection goes on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reply(Reply),
    /// The answer breaks off in its body.
    Cut(Reply),
    Silence,
    Close,
}

impl Handled {
    pub(crate) fn now(reply: Reply) -> Self {
        Self { outcome: Outcome::Reply(reply), at: Instant::now(), early: Vec::new() }
    }

    /// Waits until it is time to answer.
    pub(crate) async fn wait(&mut self) {
        let first = async {
            for early in self.early.drain(..) {
                // A receipt that was dropped is waited for no longer.
                let _ = early.await;
            }
        };
        let _ = tokio::time::timeout(EARLY_RECEIPT_WAIT, first).await;
        tokio::time::sleep_until(self.at).await;
    }
}

impl ProviderState {
    /// Decides what is done with a request, and does it.
    pub(crate) fn handle(&self, request: &Request<'_>) -> Handled {
        self.count(|stats| stats.requests += 1);
        match self.wire.read(request, &self.config.account) {
            Err(reply) => {
                self.count(|stats| stats.refused += 1);
                Handled::now(reply)
            }
            Ok(Asked::Find(search)) => Handled::now(self.look_up(&search)),
            Ok(Asked::Balance(reply)) => {
                self.count(|stats| stats.lookups += 1);
                Handled::now(self.with_context(|context| reply(context.balance)))
            }
            Ok(Asked::Send(messages)) => self.submit(messages),
        }
    }

    fn look_up(&self, search: &Search) -> Reply {
        self.count(|stats| stats.lookups += 1);
        if self.faults().lookups_fail {
            return Reply::html(503);
        }
        let found = self.with_records(|records| records.find(search));
        self.with_context(|context| self.wire.found(search, &found, context))
    }

    fn submit(&self, mut messages: Vec<Message>) -> Handled {
        let (now, faults) = (Instant::now(), self.faults());
        self.count(|stats| stats.submits += 1);
        if !lock(&self.pace).submit(now, faults.throttle_above_per_second) {
            return self.refused_whole(Mishap::Throttled, &faults, now);
        }
        let fates: Vec<HttpFate> = messages.iter().map(|message| self.fate(message, &faults)).collect();
        let Some(first) = fates.first() else { return Handled::now(self.wire.refuse(Refusal::Number)) };
        let mishap = lock(&self.script).pop_front().or(first.mishap);
        let at = now + Duration::from_millis(first.answer_after_ms);
        if let Some(mishap) = mishap.filter(|mishap| !mishap.takes()) {
            return self.refused_whole(mishap, &faults, at);
        }
        if self.handset_events.len() + messages.len() > self.config.pending_max {
            return self.refused_whole(Mishap::InternalError, &faults, at);
        }
        self.judge(&mut messages, &fates, &faults, now);
        let refused = messages.iter().filter_map(|message| message.refused).collect::<Vec<_>>();
        self.count(|stats| stats.messages_refused += u64::try_from(refused.len()).unwrap_or(0));
        if let Some(refusal) = refused.first().filter(|_| !self.traits.mixed) {
            let reply = self.wire.refuse(*refusal);
            return Handled { outcome: Outcome::Reply(reply), at, early: Vec::new() };
        }
        let (reply, early) = self.take(&messages, &fates, now);
        Handled { outcome: self.outcome(mishap, reply), at, early }
    }

    fn fate(&self, message: &Message, faults: &HttpFaults) -> HttpFate {
        let nth = self.with_ledger(|ledger| ledger.submit(&message.to));
        HttpFate::of(faults, self.config.seed, &message.to, nth)
    }

    /// A submit of which nothing is taken.
    fn refused_whole(&self, mishap: Mishap, faults: &HttpFaults, at: Instant) -> Handled {
        let outcome = match mishap {
            Mishap::Throttled => {
                self.count(|stats| stats.throttled += 1);
                let retry_after_s = faults.retry_after_s;
                Outcome::Reply(self.wire.refuse(Refusal::Throttled { retry_after_s }))
            }
            Mishap::CloseBeforeTaking => {
                self.count(|stats| stats.connections_dropped += 1);
                Outcome::Close
            }
            Mishap::Ignored => {
                self.count(|stats| stats.ignored += 1);
                Outcome::Silence
            }
            Mishap::BareError => {
                self.count(|stats| stats.errors += 1);
                Outcome::Reply(Reply::html(503))
            }
            _ => {
                self.count(|stats| stats.errors += 1);
                Outcome::Reply(self.wire.refuse(Refusal::Internal))
            }
        };
        Handled { outcome, at, early: Vec::new() }
    }

    /// How the answer to a submit that was taken fares.
    fn outcome(&self, mishap: Option<Mishap>, reply: Reply) -> Outcome {
        let Some(mishap) = mishap else { return Outcome::Reply(reply) };
        self.count(|stats| stats.answers_lost += 1);
        match mishap {
            Mishap::BareErrorAfterTaking => Outcome::Reply(Reply::html(502)),
            Mishap::GarbledResponse => Outcome::Cut(reply),
            Mishap::CloseAfterTaking => {
                self.count(|stats| stats.connections_dropped += 1);
                Outcome::Close
            }
            _ => Outcome::Silence,
        }
    }

    /// Marks the messages that are not taken, and has the others paid for: all of a batch or none where the contract
    /// answers as a whole.
    fn judge(&self, messages: &mut [Message], fates: &[HttpFate], faults: &HttpFaults, now: Instant) {
        let traits = self.traits;
        let mut balance = lock(&self.balance);
        let mut left = *balance;
        let mut seen: HashSet<Box<str>> = HashSet::new();
        for (message, fate) in messages.iter_mut().zip(fates) {
            let known = traits.dedupes
                && message.reference.as_ref().is_some_and(|reference| {
                    !seen.insert(reference.clone())
                        || self.with_records(|records| records.has_reference(reference))
                });
            let floods = faults.flooding_filter
                && self.with_records(|records| records.floods(&message.to, &message.text, now));
            let parts = u64::from(message.parts());
            let unpaid = left.is_some_and(|left| left < parts);
            let refusal = match () {
                () if known => Some(Refusal::Duplicate),
                () if fate.number_refused => Some(Refusal::Number),
                () if fate.number_blocked => Some(Refusal::Blocked),
                () if floods => Some(Refusal::Flooding),
                () if unpaid => Some(Refusal::Balance),
                () => None,
            };
            message.refused = message.refused.or(refusal);
            if message.refused.is_none() {
                left = left.map(|left| left - parts);
            }
        }
        if traits.mixed || messages.iter().all(|message| message.refused.is_none()) {
            *balance = left;
        }
    }

    /// Takes what was not refused; the answer, and what it has to wait for.
    fn take(
        &self,
        messages: &[Message],
        fates: &[HttpFate],
        now: Instant,
    ) -> (Reply, Vec<oneshot::Receiver<()>>) {
        let created_ms = self.wall_ms(now);
        let (mut answered, mut early) = (Vec::with_capacity(messages.len()), Vec::new());
        // One id for a batch where the contract answers as a whole.
        let whole = self.next_id();
        for (message, fate) in messages.iter().zip(fates) {
            let id = self.wire.id(if self.traits.mixed { self.next_id() } else { whole });
            if let Some(refusal) = message.refused {
                answered.push(Answered { message, outcome: Err(refusal) });
                continue;
            }
            self.count(|stats| stats.taken += 1);
            self.taken.send_modify(|taken| *taken += 1);
            let sms = Arc::new(Sms { id: id.clone(), message: message.clone(), created_ms });
            self.with_records(|records| records.insert(&sms, now));
            early.extend(self.schedule(sms, *fate, now));
            answered.push(Answered { message, outcome: Ok(id) });
        }
        (self.with_context(|context| self.wire.answer(&answered, context)), early)
    }
}
