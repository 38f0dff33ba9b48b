//! Taking a message, settling it, and telling its sender: what all connections share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock};
use rusmpp::pdus::SubmitSm;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::SmscConfig;
use crate::fault_plan::{self, Answer, Fate, FinalState, Receipts};
use crate::faults::Faults;
use crate::ledger::{Arrival, Effect, Ledger};
use crate::pace::Pace;
use crate::schedule::Agenda;
use crate::smsc::bind_account::{Account, Content, Delivery, Receipt, Stage};
use crate::smsc::counters::{Counters, Stats, count};
use crate::smsc::submission::{Submission, Wanted};
use crate::smsc::wire::status;
use crate::text::{Alphabet, Part};

/// How long the answer to a submit waits where its receipt comes first, so that it does so through any connection.
const EARLY_RECEIPT_LEAD: Duration = Duration::from_millis(20);

/// Message ids start here: more than nine digits apart in decimal and hexadecimal, and with letters in the latter.
const FIRST_MESSAGE_ID: u64 = 0x1A2B_3C4D;

/// Octets of a message that its receipt repeats (SMPP 3.4 Appendix B).
const EXCERPT_MAX: usize = 20;

/// The answer to a submitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The `command_status`, the message id where it was taken, and when to say so.
    Answer { status: u32, message_id: Option<u64>, at: Instant },
    /// Nothing.
    Silence,
    /// The connection drops.
    Drop,
}

/// A message on its way to a handset.
pub(crate) struct Message {
    id: u64,
    account: Arc<Account>,
    sender: Box<str>,
    number: Box<str>,
    octets: Box<[u8]>,
    alphabet: Alphabet,
    data_coding: u8,
    part: Option<Part>,
    validity: Option<Duration>,
    wanted: Wanted,
    state: FinalState,
    receipts: Receipts,
    submitted: Instant,
}

/// Things to do later.
pub(crate) enum Task {
    Settle(Box<Message>),
    Deliver(Arc<Account>, Delivery),
}

/// State that all connections of an SMSC share.
pub(crate) struct SmscCore {
    pub config: SmscConfig,
    pub faults: watch::Sender<Arc<Faults>>,
    pub counters: Counters,
    /// Messages taken so far, for a caller who waits for a number of them.
    pub taken: watch::Sender<u64>,
    pub agenda: Agenda<Task>,
    /// The accounts of all connections that can receive, one entry a connection.
    pub receivers: watch::Sender<Vec<Arc<Account>>>,
    accounts: Mutex<HashMap<String, Arc<Account>>>,
    ledger: Mutex<Ledger>,
    pace: Mutex<Pace>,
    next_message_id: AtomicU64,
    started: Instant,
    started_ms: i64,
}

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil what they guard.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SmscCore {
    pub(crate) fn new(config: SmscConfig) -> Self {
        Self {
            faults: watch::Sender::new(Arc::new(config.faults.clone())),
            counters: Counters::default(),
            taken: watch::Sender::new(0),
            agenda: Agenda::new(),
            receivers: watch::Sender::new(Vec::new()),
            accounts: Mutex::default(),
            ledger: Mutex::new(Ledger::new(config.record_texts)),
            pace: Mutex::default(),
            next_message_id: AtomicU64::new(FIRST_MESSAGE_ID),
            started: Instant::now(),
            started_ms: SystemClock.now().as_millis(),
            config,
        }
    }

    /// The wall clock at `at`, in milliseconds since the epoch. It runs with the time of the runtime, so that a paused
    /// test is consistent.
    fn wall_ms(&self, at: Instant) -> i64 {
        let since = at.saturating_duration_since(self.started).as_millis();
        self.started_ms.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// The account of a `system_id`; it is made at its first bind.
    pub(crate) fn account(&self, system_id: &str) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        let make = || Arc::new(Account::new(self.config.deliver_queue_max));
        Arc::clone(accounts.entry(system_id.to_owned()).or_insert_with(make))
    }

    /// Decides what becomes of a submit, and does it.
    pub(crate) fn take(&self, account: &Arc<Account>, submit: &SubmitSm, faults: &Faults) -> Verdict {
        let now = Instant::now();
        let refuse = |status, after_ms| Verdict::Answer {
            status,
            message_id: None,
            at: now + Duration::from_millis(after_ms),
        };
        count(&self.counters.submits);
        if !lock(&self.pace).submit(now, faults.throttle_above_per_second) {
            count(&self.counters.throttled);
            return refuse(status::THROTTLED, 0);
        }
        let submission = match Submission::read(submit, self.wall_ms(now)) {
            Ok(submission) => submission,
            Err(status) => return refuse(status, 0),
        };
        let nth = lock(&self.ledger).submit(submission.number);
        let fate = Fate::of(faults, self.config.seed, submission.number, nth);
        let after_ms = match fate.answer {
            Answer::NumberRefused { after_ms } => {
                count(&self.counters.numbers_refused);
                return refuse(status::INVALID_DESTINATION, after_ms);
            }
            Answer::QueueFull { after_ms } => {
                count(&self.counters.queue_full);
                return refuse(status::QUEUE_FULL, after_ms);
            }
            Answer::Closed => {
                count(&self.counters.connections_dropped);
                return Verdict::Drop;
            }
            Answer::Taken { after_ms } => after_ms,
            Answer::TakenInSilence | Answer::TakenThenClosed => 0,
        };
        if fate.settles_after_ms > 0 && self.agenda.len() >= self.config.pending_max {
            count(&self.counters.queue_full);
            return refuse(status::QUEUE_FULL, after_ms);
        }
        let (message_id, early) = self.accept(account, &submission, fate, now);
        match fate.answer {
            Answer::TakenInSilence => {
                count(&self.counters.responses_lost);
                Verdict::Silence
            }
            Answer::TakenThenClosed => {
                count(&self.counters.connections_dropped);
                Verdict::Drop
            }
            _ => {
                let lead = if early { EARLY_RECEIPT_LEAD } else { Duration::ZERO };
                let at = now + Duration::from_millis(after_ms).max(lead);
                Verdict::Answer { status: status::OK, message_id: Some(message_id), at }
            }
        }
    }

    /// Takes a message: it will be settled, now or later. Its id, and whether its receipt comes before the answer.
    fn accept(
        &self,
        account: &Arc<Account>,
        submission: &Submission<'_>,
        fate: Fate,
        now: Instant,
    ) -> (u64, bool) {
        count(&self.counters.taken);
        self.taken.send_modify(|taken| *taken += 1);
        let id = self.next_message_id.fetch_add(1, Ordering::Relaxed);
        let delivered = fate.state == FinalState::Delivered;
        let early =
            fate.receipts.before_the_answer && !fate.receipts.none && submission.receipt.after(delivered);
        let message = Message {
            id,
            account: Arc::clone(account),
            sender: submission.sender.into(),
            number: submission.number.into(),
            octets: submission.octets.into(),
            alphabet: submission.alphabet,
            data_coding: submission.data_coding,
            part: submission.part,
            validity: submission.validity,
            wanted: submission.receipt,
            state: fate.state,
            receipts: fate.receipts,
            submitted: now,
        };
        let delay = if early { Duration::ZERO } else { Duration::from_millis(fate.settles_after_ms) };
        let delay = submission.validity.map_or(delay, |validity| delay.min(validity));
        if delay.is_zero() {
            self.settle(&message, now);
        } else {
            self.agenda.push(now + delay, Task::Settle(Box::new(message)));
        }
        (id, early)
    }

    /// A message reaches its final state: its handset rings or not, and its receipts are made.
    fn settle(&self, message: &Message, now: Instant) {
        let over = message.validity.is_some_and(|validity| now >= message.submitted + validity);
        let state = if over { FinalState::Expired } else { message.state };
        if state == FinalState::Delivered {
            self.ring(message, now);
        }
        if message.receipts.none || !message.wanted.after(state == FinalState::Delivered) {
            return;
        }
        let last = self.receipt(message, Stage::Final(state), now);
        if message.receipts.twice {
            self.deliver(&message.account, last.clone());
        }
        self.deliver(&message.account, last);
        if message.receipts.older_one_after {
            self.deliver(&message.account, self.receipt(message, Stage::Enroute, now));
        }
    }

    fn ring(&self, message: &Message, now: Instant) {
        let effect = lock(&self.ledger).arrive(&Arrival {
            number: &message.number,
            sender: &message.sender,
            octets: &message.octets,
            alphabet: message.alphabet,
            data_coding: message.data_coding,
            part: message.part,
            validity: message.validity,
            at: now,
        });
        match effect {
            Effect::Waits => {}
            Effect::Lost => count(&self.counters.parts_lost),
            Effect::Rang { before } => self.reply(message, before, now),
        }
    }

    fn reply(&self, message: &Message, rings_before: u32, now: Instant) {
        let shares = self.config.auto_replies.iter().map(|reply| reply.share);
        let Some(reply) = fault_plan::reply(shares, self.config.seed, &message.number, rings_before)
            .and_then(|index| self.config.auto_replies.get(index))
        else {
            return;
        };
        let content = Content::Text {
            from: message.number.clone(),
            to: message.sender.clone(),
            text: reply.text.as_str().into(),
        };
        let delivery = Delivery { content, attempts: 0, answered: None };
        let at = now + Duration::from_millis(reply.delay_ms);
        self.agenda.push(at, Task::Deliver(Arc::clone(&message.account), delivery));
    }

    fn receipt(&self, message: &Message, stage: Stage, now: Instant) -> Content {
        let excerpt = match message.alphabet {
            Alphabet::Ucs2 => &[],
            Alphabet::Gsm7 | Alphabet::Latin1 => &message.octets[..message.octets.len().min(EXCERPT_MAX)],
        };
        Content::Receipt(Receipt {
            message_id: message.id,
            from: message.number.clone(),
            to: message.sender.clone(),
            stage,
            submitted_ms: self.wall_ms(message.submitted),
            done_ms: self.wall_ms(now),
            excerpt: excerpt.into(),
        })
    }

    fn deliver(&self, account: &Account, content: Content) {
        self.enqueue(account, Delivery { content, attempts: 0, answered: None });
    }

    /// Puts something into the queue of an account, or drops and counts it if that is full.
    pub(crate) fn enqueue(&self, account: &Account, delivery: Delivery) {
        if !account.push(delivery) {
            count(&self.counters.deliveries_dropped);
        }
    }

    /// Does what is due, until the future is dropped.
    pub(crate) async fn work_off(&self) {
        loop {
            match self.agenda.due().await {
                Task::Settle(message) => self.settle(&message, Instant::now()),
                Task::Deliver(account, delivery) => self.enqueue(&account, delivery),
            }
        }
    }

    pub(crate) fn with_ledger<T>(&self, read: impl FnOnce(&Ledger) -> T) -> T {
        read(&lock(&self.ledger))
    }

    pub(crate) fn stats(&self) -> Stats {
        let waiting: usize = lock(&self.accounts).values().map(|account| account.len()).sum();
        let pace = lock(&self.pace);
        Stats {
            rings: self.with_ledger(Ledger::total_rings),
            pending: u64::try_from(self.agenda.len() + waiting).unwrap_or(u64::MAX),
            first_submit: pace.first(),
            last_submit: pace.last(),
            peak_submits_per_second: u64::try_from(pace.peak()).unwrap_or(u64::MAX),
            ..Stats::of(&self.counters)
        }
    }
}
