//! The worker's metrics. Labels are names from the configuration and words of this program, never a phone number or a
//! tenant.

use std::time::Duration;

use klaroen_domain::outcome::{Scope, SubmitOutcome};
use klaroen_store::channels::ChannelName;
use klaroen_store::doubts::Resolution;
use klaroen_store::receipts::ReceiptCounts;
use klaroen_store::replies::ReplyStored;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The metrics of one channel. The handles are looked up once, not for each message.
pub(crate) struct ChannelInstruments {
    accepted: Counter,
    throttled: Counter,
    not_taken: Counter,
    rejected: Counter,
    refused: Counter,
    unknown: Counter,
    pub(crate) late: Counter,
    /// Turns of the session's loop: a session with nothing to do makes a few each second.
    pub(crate) turns: Counter,
    submit_seconds: Histogram,
    pub(crate) claim_size: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) up: Gauge,
    pub(crate) rate_factor: Gauge,
}

impl ChannelInstruments {
    pub(crate) fn new(name: &ChannelName) -> Self {
        let submits = |outcome: &'static str| counter!("klaroen_submits_total", "gateway" => name.gateway.clone(), "outcome" => outcome);
        let gateway = name.gateway.clone();
        let channel = name.channel.to_string();
        Self {
            accepted: submits("accepted"),
            throttled: submits("throttled"),
            not_taken: submits("not_taken"),
            rejected: submits("rejected"),
            refused: submits("gateway_refused"),
            unknown: submits("unknown"),
            late: counter!("klaroen_late_answers_total", "gateway" => gateway.clone()),
            turns: counter!("klaroen_session_turns_total", "gateway" => gateway.clone(), "channel" => channel.clone()),
            submit_seconds: histogram!("klaroen_submit_seconds", "gateway" => gateway.clone()),
            claim_size: histogram!("klaroen_claim_batch_size", "gateway" => gateway.clone()),
            in_flight: gauge!("klaroen_in_flight", "gateway" => gateway.clone(), "channel" => channel.clone()),
            up: gauge!("klaroen_gateway_up", "gateway" => gateway.clone(), "channel" => channel),
            rate_factor: gauge!("klaroen_rate_factor", "gateway" => gateway),
        }
    }

    /// Counts a submit that ended.
    pub(crate) fn submitted(&self, outcome: &SubmitOutcome, took: Duration) {
        let counter = match outcome {
            SubmitOutcome::Accepted { .. } => &self.accepted,
            SubmitOutcome::Throttled { .. } => &self.throttled,
            SubmitOutcome::NotTaken(_) => &self.not_taken,
            SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway => &self.refused,
            SubmitOutcome::Rejected(_) => &self.rejected,
            SubmitOutcome::Unknown(_) => &self.unknown,
        };
        counter.increment(1);
        self.submit_seconds.record(took.as_secs_f64());
    }
}

/// Counts what happened to a batch of receipts.
pub(crate) fn receipts(gateway: &str, counts: ReceiptCounts) {
    let results = [("joined", counts.joined), ("parked", counts.parked)];
    for (result, count) in results {
        counter!("klaroen_receipts_total", "gateway" => gateway.to_owned(), "result" => result)
            .increment(count);
    }
}

/// Counts a submit whose answer was lost and that is settled now.
pub(crate) fn settled(gateway: String, resolution: Resolution) {
    counter!("klaroen_unknown_submits_total", "gateway" => gateway, "resolution" => resolution.as_str())
        .increment(1);
}

/// Counts an inbound SMS by what happened to it.
pub(crate) fn reply(stored: ReplyStored) {
    counter!("klaroen_replies_total", "kind" => stored.as_str()).increment(1);
}

/// Counts rows that upkeep changed.
pub(crate) fn swept(what: &'static str, count: u64) {
    counter!("klaroen_swept_total", "what" => what).increment(count);
}

/// Counts a restart of a task of the worker.
pub(crate) fn restarted(task: &str) {
    counter!("klaroen_worker_restarts_total", "task" => task.to_owned()).increment(1);
}

/// Counts a refusal of a gateway as a whole.
pub(crate) fn paused(gateway: &str) {
    counter!("klaroen_gateway_pauses_total", "gateway" => gateway.to_owned()).increment(1);
}

/// Shows how the last finished test of a gateway ended.
pub(crate) fn tested(gateway: &str, succeeded: bool) {
    gauge!("klaroen_gateway_test_ok", "gateway" => gateway.to_owned()).set(f64::from(u8::from(succeeded)));
}
