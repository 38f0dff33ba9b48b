//! One message on its way: the verdicts on its parts, who waits for them, and what happens to those that come late.

use std::sync::{Arc, Mutex, PoisonError};

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::unknown;
use crate::redeliver::redeliver;
use crate::smpp::config::ReceiptFor;
use crate::smpp::outcome;
use crate::smpp::submit::Message;
use crate::sms::{Delivered, GatewayEvent, OutboundSms};

/// Tells the consumer of answers that nobody waited for.
pub(in crate::smpp) struct Reporter {
    /// Weak, so that the consumer's end closes with the session.
    pub events: mpsc::WeakSender<Delivered>,
    /// Tasks that hold what the SMSC will not send again.
    pub kept: TaskTracker,
    /// Futures may be dropped outside the runtime.
    pub runtime: Handle,
    pub stop: CancellationToken,
    /// Bounds how many wait for the consumer.
    pub room: Arc<Semaphore>,
}

impl Reporter {
    fn late_answer(&self, delivery: DeliveryId, attempt: i64, outcome: SubmitOutcome) {
        let (Some(events), Ok(room)) = (self.events.upgrade(), Arc::clone(&self.room).try_acquire_owned())
        else {
            return;
        };
        tracing::info!(%delivery, "late response to a submit");
        let stop = self.stop.clone();
        let work = async move {
            let offer = redeliver(&events, GatewayEvent::LateAnswer { delivery, attempt, outcome });
            if stop.run_until_cancelled(offer).await != Some(true) {
                tracing::error!(%delivery, "late response was not stored; the delivery stays in doubt");
            }
            drop(room);
        };
        self.kept.spawn_on(work, &self.runtime);
    }
}

/// The state of one part.
enum Part {
    /// Nothing, and somebody waits.
    Open,
    /// No answer in time.
    Overdue,
    Settled(SubmitOutcome),
}

/// A message on its way. It outlives its caller, so that a late answer still settles it.
pub(in crate::smpp) struct Flight {
    delivery: DeliveryId,
    /// [`OutboundSms::attempt`].
    attempt: i64,
    reporter: Arc<Reporter>,
    receipt_for: ReceiptFor,
    parts: usize,
    progress: Mutex<Progress>,
}

struct Progress {
    parts: Vec<Part>,
    /// What the text takes on the air: more than there are parts if the provider cuts it.
    segments: u8,
    /// Until it was answered.
    caller: Option<oneshot::Sender<SubmitOutcome>>,
}

impl Flight {
    /// A message, and where its outcome comes out.
    pub(in crate::smpp) fn new(
        sms: &OutboundSms,
        message: &Message,
        reporter: Arc<Reporter>,
    ) -> (Self, oneshot::Receiver<SubmitOutcome>) {
        let (caller, outcome) = oneshot::channel();
        let (parts, receipt_for) = (message.parts(), message.receipt_for());
        let open = std::iter::repeat_with(|| Part::Open).take(parts).collect();
        let progress =
            Mutex::new(Progress { parts: open, segments: message.segments(), caller: Some(caller) });
        (
            Self { delivery: sms.delivery, attempt: sms.attempt, reporter, receipt_for, parts, progress },
            outcome,
        )
    }

    /// The verdict on a part.
    pub(in crate::smpp) fn settle(&self, part: usize, mut outcome: SubmitOutcome) {
        // An id whose receipt never comes would keep the message waiting for it.
        if let SubmitOutcome::Accepted { provider_ids, .. } = &mut outcome
            && !self.receipt_for.expects(part, self.parts)
        {
            provider_ids.clear();
        }
        self.note(part, Part::Settled(outcome));
    }

    /// No answer in time; it may still come.
    pub(in crate::smpp) fn overdue(&self, part: usize) {
        self.note(part, Part::Overdue);
    }

    fn note(&self, part: usize, known: Part) {
        let late = {
            // Nothing panics while holding it.
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.parts[part] = known;
            progress.conclude()
        };
        if let Some(outcome) = late {
            self.report(outcome);
        }
    }

    /// Tells the consumer what the caller does not know. It has `Unknown` already, or takes its silence for it.
    pub(in crate::smpp) fn report(&self, outcome: SubmitOutcome) {
        if !matches!(outcome, SubmitOutcome::Unknown(_)) {
            self.reporter.late_answer(self.delivery, self.attempt, outcome);
        }
    }
}

impl Progress {
    /// Answers the caller once no part is open; returns the outcome if it comes too late for that.
    fn conclude(&mut self) -> Option<SubmitOutcome> {
        if self.parts.iter().any(|part| matches!(part, Part::Open)) {
            return None;
        }
        let complete = self.parts.iter().all(|part| matches!(part, Part::Settled(_)));
        let heard = match self.caller.take() {
            Some(caller) => caller.send(self.outcome()).is_ok(),
            None => false,
        };
        (complete && !heard).then(|| self.outcome())
    }

    fn outcome(&self) -> SubmitOutcome {
        match outcome::fold(self.so_far()) {
            SubmitOutcome::Accepted { provider_ids, .. } => {
                SubmitOutcome::Accepted { provider_ids, segments: self.segments }
            }
            other => other,
        }
    }

    fn so_far(&self) -> Vec<SubmitOutcome> {
        let so_far = |part: &Part| match part {
            Part::Settled(outcome) => outcome.clone(),
            Part::Open | Part::Overdue => unknown("timeout", "no answer in time"),
        };
        self.parts.iter().map(so_far).collect()
    }
}
