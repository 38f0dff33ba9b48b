//! Commands that write more deliveries than one transaction holds: they are carried out whether or not the client waits.

use std::time::Duration;

use klaroen_domain::id::AlertId;
use klaroen_domain::time::Timestamp;
use klaroen_store::StoreError;
use klaroen_store::alerts::{Changed, Intake, Taken};
use klaroen_store::idempotency::{Idempotency, Once};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::state::App;

/// Tries of a page of deliveries while the database is away; after that a worker goes on.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(500);
/// The time that a response waits until all deliveries are written: half of what a request may take. A million take longer on
/// a small machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// The same for a change to an alert, which holds from its first transaction on. An operator who stops one wants to see it
/// soon.
const CHANGE_WITHIN: Duration = Duration::from_secs(3);

/// A command of a caller, in a form that outlives the request.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    /// The state of the service.
    pub(crate) app: App,
    caller: Caller,
    idempotency: Option<Idempotency>,
    now: Timestamp,
}

impl Command {
    /// A command given now.
    pub(crate) fn new(app: &App, caller: &Caller, idempotency: Option<Idempotency>) -> Self {
        Self { app: app.clone(), caller: *caller, idempotency, now: app.now() }
    }

    /// The command as the store takes it.
    pub(crate) fn intake(&self) -> Intake<'_> {
        Intake {
            organisation: self.caller.organisation(),
            operator: self.caller.key(),
            idempotency: self.idempotency.as_ref(),
            rules: &self.app.settings.rules,
            now: self.now,
        }
    }

    /// Runs `work` to its end even if the client hangs up: an alert that was committed is fanned out.
    pub(crate) async fn run_to_completion<T, F>(self, work: impl FnOnce(Self) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let tasks = self.app.tasks.clone();
        tasks.spawn(work(self).in_current_span()).await.unwrap_or_else(|error| {
            tracing::error!(%error, "command did not finish");
            Err(Problem::internal())
        })
    }

    /// Wakes the worker for the first page and has the others written. Waits for them, so that the answer has the whole number
    /// of recipients; but not for as long as a client waits: one that hears nothing may ask for the same alert again.
    pub(crate) async fn fan_out(&self, once: &Once<Taken>) {
        let Once::Done(taken) = once else { return };
        let Some(alert) = taken.alert else { return };
        self.app.wake.notify_waiters();
        if !taken.more {
            return;
        }
        let rest = self.app.tasks.spawn(write_rest(self.app.clone(), alert).in_current_span());
        if !is_done_within(ANSWER_WITHIN, rest).await {
            tracing::info!(%alert, "rest of the alert is still being written; answering now");
        }
    }

    /// Has what remains of a change done, and waits a moment for it, so that the answer to one that is not large has the counts
    /// as they will be.
    pub(crate) async fn finish_change(&self, alert: AlertId, once: &Once<Changed>) {
        let Once::Done(changed) = once else { return };
        self.app.wake.notify_waiters();
        if changed.is_whole() {
            return;
        }
        let rest = self.app.tasks.spawn(change_rest(self.app.clone(), alert, *changed).in_current_span());
        if !is_done_within(CHANGE_WITHIN, rest).await {
            tracing::info!(%alert, "rest of the change is still being written; answering now");
        }
    }
}

/// Waits for a task, which goes on by itself when the time is over; whether it came to its end.
async fn is_done_within(time: Duration, task: JoinHandle<()>) -> bool {
    tokio::time::timeout(time, task).await.is_ok()
}

/// Writes the pages after the first, and wakes the worker for each.
async fn write_rest(app: App, alert: AlertId) {
    let (wake, rules) = (&app.wake, &app.settings.rules);
    try_on(alert, || app.store.continue_fanout(alert, rules, app.now(), || wake.notify_waiters())).await;
}

/// Writes the pages of a change after the first, and wakes the worker for deliveries that are to be sent.
async fn change_rest(app: App, alert: AlertId, changed: Changed) {
    let wake = &app.wake;
    try_on(alert, || app.store.continue_change(alert, &changed, app.now(), || wake.notify_waiters())).await;
}

/// Does what can be done again until it is done. Nobody is told when it fails: what was answered holds, and the sweep of a
/// worker does the rest.
async fn try_on<F>(alert: AlertId, work: impl Fn() -> F)
where
    F: Future<Output = Result<(), StoreError>>,
{
    for attempt in 1..=TRIES {
        match work().await {
            Ok(()) => return,
            Err(error) if error.is_retryable() && attempt < TRIES => {
                tracing::warn!(%alert, %error, attempt, "database not available; trying again to write the rest of an alert");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%alert, %error, "could not write the rest of an alert; leaving it to a worker");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_than_the_answer_waits_is_done_all_the_same() {
        let written = Arc::new(AtomicBool::new(false));
        let write = |after: Duration| {
            let written = Arc::clone(&written);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                written.store(true, Ordering::Release);
            })
        };
        assert!(is_done_within(ANSWER_WITHIN, write(ANSWER_WITHIN / 2)).await);
        assert!(written.swap(false, Ordering::AcqRel));
        assert!(!is_done_within(ANSWER_WITHIN, write(ANSWER_WITHIN * 2)).await);
        assert!(!written.load(Ordering::Acquire));
        tokio::time::sleep(ANSWER_WITHIN * 2).await;
        assert!(written.load(Ordering::Acquire));
    }
}
