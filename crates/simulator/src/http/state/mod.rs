//! State that all connections of a provider share.

pub(super) mod job;
pub(super) mod records;
pub(super) mod stats;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use self::job::{HandsetEvent, Job};
use self::records::Records;
use self::stats::HttpStats;
use crate::http::config::{CallbackUrls, HttpConfig};
use crate::http::contracts;
use crate::http::contracts::contract::{Context, Traits, Wire};
use crate::http::faults::{HttpFaults, Mishap};
use crate::ledger::Ledger;
use crate::pace::Pace;
use crate::schedule::Agenda;

/// Mishaps that can be ordered ahead.
const SCRIPT_MAX: usize = 100_000;

/// State that all connections of a provider share.
pub(crate) struct ProviderState {
    pub config: HttpConfig,
    pub wire: &'static dyn Wire,
    pub traits: Traits,
    pub handset_events: Agenda<HandsetEvent>,
    pub callbacks: Agenda<Job>,
    faults: Mutex<Arc<HttpFaults>>,
    urls: Mutex<Arc<CallbackUrls>>,
    pub(super) balance: Mutex<Option<u64>>,
    pub(super) script: Mutex<VecDeque<Mishap>>,
    stats: Mutex<HttpStats>,
    /// Messages taken so far, for a caller who waits for a number of them.
    pub taken: watch::Sender<u64>,
    ledger: Mutex<Ledger>,
    records: Mutex<Records>,
    pub(super) pace: Mutex<Pace>,
    next_id: AtomicU64,
    next_nonce: AtomicU64,
    started: Instant,
    started_ms: i64,
}

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProviderState {
    /// A state that opened at `started_ms` (milliseconds since the epoch).
    pub(crate) fn new(config: HttpConfig, started_ms: i64) -> Self {
        let wire = contracts::wire(config.contract);
        Self {
            wire,
            traits: wire.traits(),
            handset_events: Agenda::new(),
            callbacks: Agenda::new(),
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
            next_id: AtomicU64::new(crate::fault_plan::mix(config.seed ^ started_ms.unsigned_abs()) >> 16),
            next_nonce: AtomicU64::new(
                crate::fault_plan::mix(!config.seed ^ started_ms.unsigned_abs()) >> 16,
            ),
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
        let pending = self.handset_events.len() + self.callbacks.len();
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
}
