//! Where requests come in: what is asked is read, decided and answered. What all connections share.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::calls::Job;
use super::config::{CallbackUrls, HttpConfig};
use super::contract::{Answered, Asked, Context, Search, Traits, Wire};
use super::faults::{HttpFate, HttpFaults, Mishap};
use super::message::{Message, Refusal, Sms};
use super::records::Records;
use super::settling::Settling;
use super::stats::HttpStats;
use super::wire::{Reply, Request};
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::schedule::Agenda;

/// How long the answer to a submit waits for its early receipt to be answered.
const EARLY_RECEIPT_WAIT: Duration = Duration::from_secs(5);
/// Mishaps that can be ordered ahead.
const SCRIPT_MAX: usize = 100_000;

/// What all connections of a provider share.
pub(crate) struct Desk {
    pub config: HttpConfig,
    pub wire: &'static dyn Wire,
    pub traits: Traits,
    pub settlings: Agenda<Settling>,
    pub calls: Agenda<Job>,
    faults: Mutex<Arc<HttpFaults>>,
    urls: Mutex<Arc<CallbackUrls>>,
    balance: Mutex<Option<u64>>,
    script: Mutex<VecDeque<Mishap>>,
    stats: Mutex<HttpStats>,
    /// Messages taken so far, for whoever waits for so many.
    pub taken: watch::Sender<u64>,
    ledger: Mutex<Ledger>,
    records: Mutex<Records>,
    pace: Mutex<Pace>,
    next_id: AtomicU64,
    next_nonce: AtomicU64,
    started: Instant,
    started_ms: i64,
}

/// What is done with a request.
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

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// A desk that opened at `started_ms` (milliseconds since the epoch).
    pub(crate) fn new(config: HttpConfig, started_ms: i64) -> Self {
        let wire = config.contract.wire();
        Self {
            wire,
            traits: wire.traits(),
            settlings: Agenda::new(),
            calls: Agenda::new(),
            faults: Mutex::new(Arc::new(config.faults.clone())),
            urls: Mutex::new(Arc::new(config.callbacks.clone())),
            balance: Mutex::new(config.balance),
            script: Mutex::default(),
            stats: Mutex::default(),
            taken: watch::Sender::new(0),
            ledger: Mutex::new(Ledger::new(config.record_texts)),
            records: Mutex::new(Records::new(config.kept_max)),
            pace: Mutex::default(),
            // Ids of two providers with different seeds differ, and so do those of two runs.
            next_id: AtomicU64::new(crate::fate::mix(config.seed ^ started_ms.unsigned_abs()) >> 16),
            next_nonce: AtomicU64::new(crate::fate::mix(!config.seed ^ started_ms.unsigned_abs()) >> 16),
            started: Instant::now(),
            started_ms,
            config,
        }
    }

    /// The wall clock at `at`, in milliseconds since the epoch. It runs with the time of the runtime.
    pub(crate) fn wall_ms(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count(&self, counted: impl FnOnce(&mut HttpStats)) {
        counted(&mut lock(&self.stats));
    }

    pub(crate) fn stats(&self) -> HttpStats {
        let pending = self.settlings.len() + self.calls.len();
        HttpStats {
            rings: self.with_ledger(|ledger| ledger.total_rings()),
            pending: u64::try_from(pending).unwrap_or(u64::MAX),
            peak_submits_per_second: u64::try_from(lock(&self.pace).peak()).unwrap_or(u64::MAX),
            ..*lock(&self.stats)
        }
    }

    pub(crate) fn faults(&self) -> Arc<HttpFaults> {
        Arc::clone(&lock(&self.faults))
    }

    pub(crate) fn set_faults(&self, faults: HttpFaults) {
        *lock(&self.faults) = Arc::new(faults);
    }

    pub(crate) fn set_urls(&self, urls: CallbackUrls) {
        *lock(&self.urls) = Arc::new(urls);
    }

    pub(crate) fn balance(&self) -> Option<u64> {
        *lock(&self.balance)
    }

    pub(crate) fn set_balance(&self, balance: Option<u64>) {
        *lock(&self.balance) = balance;
    }

    /// Lets the next `times` submits fare like that, before anything else is drawn.
    pub(crate) fn order(&self, mishap: Mishap, times: usize) {
        let mut script = lock(&self.script);
        let room = SCRIPT_MAX.saturating_sub(script.len());
        script.extend(std::iter::repeat_n(mishap, times.min(room)));
    }

    pub(crate) fn with_ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut lock(&self.ledger))
    }

    pub(crate) fn with_records<T>(&self, work: impl FnOnce(&mut Records) -> T) -> T {
        work(&mut lock(&self.records))
    }

    /// Hands on what an answer or a callback of this moment is made from.
    pub(crate) fn with_context<T>(&self, work: impl FnOnce(&Context<'_>) -> T) -> T {
        let urls = Arc::clone(&lock(&self.urls));
        work(&Context {
            account: &self.config.account,
            urls: &urls,
            now_ms: self.wall_ms(Instant::now()),
            nonce: self.next_nonce.fetch_add(1, Ordering::Relaxed),
            balance: self.balance().unwrap_or(u64::MAX >> 12),
        })
    }

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
        if self.settlings.len() + messages.len() > self.config.pending_max {
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
