//! A message reaches its final state: its handset rings or not, and its receipts are made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fault_plan::{self, FinalState};
use crate::http::contracts::contract::Inbound;
use crate::http::contracts::message::{Message, Sms, Stage};
use crate::http::faults::HttpFate;
use crate::http::state::ProviderState;
use crate::http::state::job::{Event, HandsetEvent, Job};
use crate::ledger::{Arrival, Effect};
use crate::text::{Alphabet, encode};

/// How a message ends. Who said STOP, and who cannot be reached, is told so by a receipt where the submit did not.
fn final_stage(fate: &HttpFate) -> Stage {
    if fate.number_blocked {
        return Stage::Blocked;
    }
    if fate.number_refused {
        return Stage::Rejected;
    }
    match fate.state {
        FinalState::Delivered => Stage::Delivered,
        FinalState::Undelivered => Stage::Undelivered,
        FinalState::Expired => Stage::Expired,
        FinalState::Rejected => Stage::Rejected,
    }
}

/// The receipts of a message, in their order.
fn receipts(fate: &HttpFate, end: Stage) -> Vec<Stage> {
    let told = if fate.unknown_status { Stage::Unknown } else { end };
    if fate.receipts.none {
        return Vec::new();
    }
    if fate.never_settled {
        return vec![Stage::Sent];
    }
    let times = if fate.receipts.twice { 2 } else { 1 };
    let last = std::iter::repeat_n(told, times);
    if fate.receipts.older_one_after {
        last.chain([Stage::Sent]).collect()
    } else {
        [Stage::Sent].into_iter().chain(last).collect()
    }
}

impl ProviderState {
    /// Settles a message now or later. What its answer has to wait for, where its receipt comes first.
    pub(crate) fn schedule(
        &self,
        sms: Arc<Sms>,
        fate: HttpFate,
        now: Instant,
    ) -> Option<oneshot::Receiver<()>> {
        if fate.receipts.before_the_answer && !fate.receipts.none {
            let (done, wait) = oneshot::channel();
            self.settle(&sms, fate, now, now, Some(done));
            return Some(wait);
        }
        let delay = Duration::from_millis(fate.settles_after_ms);
        let delay = sms.message.validity.map_or(delay, |validity| delay.min(validity));
        if delay.is_zero() {
            self.settle(&sms, fate, now, now, None);
        } else {
            self.handset_events.push(now + delay, HandsetEvent::Message { sms, fate, taken: now });
        }
        None
    }

    fn settle(
        &self,
        sms: &Arc<Sms>,
        fate: HttpFate,
        taken: Instant,
        now: Instant,
        done: Option<oneshot::Sender<()>>,
    ) {
        let over = sms.message.validity.is_some_and(|validity| now >= taken + validity);
        let end = if over { Stage::Expired } else { final_stage(&fate) };
        let at_ms = self.wall_ms(now);
        if !fate.never_settled {
            self.with_records(|records| records.settle(sms, end, at_ms));
            if end == Stage::Delivered {
                self.ring(&sms.message, now);
            }
        }
        let wanted = receipts(&fate, end).into_iter().filter(|stage| sms.message.reported & stage.bit() != 0);
        let events = wanted.map(|stage| Event::Receipt { sms: Arc::clone(sms), stage, done_ms: at_ms });
        self.call(Job::new(events, done));
    }

    /// Puts a job into the queue, or drops and counts it if that is full.
    pub(crate) fn call(&self, job: Job) {
        if job.is_empty() {
            return;
        }
        if self.callbacks.len() >= self.config.callback_queue_max {
            self.count(|stats| stats.callbacks_dropped += 1);
            return;
        }
        self.callbacks.push(Instant::now(), job);
    }

    fn ring(&self, message: &Message, now: Instant) {
        let rang = self.ring_with(&message.to, &message.from, &message.text, message.validity, now);
        if let Some(before) = rang {
            self.reply(message, before, now);
        }
    }

    /// A handset rings; how often it had rung before.
    pub(crate) fn ring_with(
        &self,
        number: &str,
        sender: &str,
        text: &str,
        validity: Option<Duration>,
        at: Instant,
    ) -> Option<u32> {
        let (octets, data_coding) = encode(text);
        let alphabet = Alphabet::of(data_coding);
        let arrival =
            Arrival { number, sender, octets: &octets, alphabet, data_coding, part: None, validity, at };
        match self.with_ledger(|ledger| ledger.arrive(&arrival)) {
            Effect::Rang { before } => Some(before),
            Effect::Waits | Effect::Lost => None,
        }
    }

    fn reply(&self, message: &Message, rings_before: u32, now: Instant) {
        let shares = self.config.auto_replies.iter().map(|reply| reply.share);
        let chosen = fault_plan::reply(shares, self.config.seed, &message.to, rings_before);
        let Some(reply) = chosen.and_then(|index| self.config.auto_replies.get(index)) else { return };
        let (from, to) = (message.to.clone(), Arc::clone(&message.from));
        let settling = HandsetEvent::Reply { from, to, text: reply.text.as_str().into() };
        self.handset_events.push(now + Duration::from_millis(reply.delay_ms), settling);
    }

    /// The callback of an SMS from a handset.
    pub(crate) fn inbound_event(&self, from: &str, to: &str, text: &str) -> Event {
        let (n, at_ms) = (self.next_id(), self.wall_ms(Instant::now()));
        Event::Inbound(Arc::new(Inbound {
            n,
            from: from.into(),
            to: to.into(),
            text: text.to_owned(),
            at_ms,
        }))
    }

    /// Does what is due, until the future is dropped.
    pub(crate) async fn work_off(&self) {
        loop {
            match self.handset_events.due().await {
                HandsetEvent::Message { sms, fate, taken } => {
                    self.settle(&sms, fate, taken, Instant::now(), None);
                }
                HandsetEvent::Reply { from, to, text } => {
                    self.call(Job::new([self.inbound_event(&from, &to, &text)], None));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::faults::HttpFaults;

    fn fate(change: impl FnOnce(&mut HttpFaults)) -> HttpFate {
        let mut faults = HttpFaults::default();
        change(&mut faults);
        HttpFate::of(&faults, 1, "31612345678", 0)
    }

    #[test]
    fn receipts_come_in_their_order_unless_a_fault_says_otherwise() {
        use Stage::{Delivered, Sent, Unknown};
        let of = |change: fn(&mut HttpFaults)| receipts(&fate(change), Delivered);
        assert_eq!(of(|_| {}), [Sent, Delivered]);
        assert_eq!(of(|f| f.duplicate_receipt = 1.0), [Sent, Delivered, Delivered]);
        assert_eq!(of(|f| f.reordered_receipt = 1.0), [Delivered, Sent]);
        assert_eq!(of(|f| f.unknown_status = 1.0), [Sent, Unknown]);
        assert_eq!(of(|f| f.never_settled = 1.0), [Sent]);
        assert_eq!(of(|f| f.no_receipt = 1.0), []);
    }

    #[test]
    fn who_cannot_be_reached_ends_so() {
        assert_eq!(final_stage(&fate(|f| f.blocked_number = 1.0)), Stage::Blocked);
        assert_eq!(final_stage(&fate(|f| f.reject_number = 1.0)), Stage::Rejected);
        assert_eq!(final_stage(&fate(|f| f.expired = 1.0)), Stage::Expired);
        assert_eq!(final_stage(&fate(|_| {})), Stage::Delivered);
    }
}
