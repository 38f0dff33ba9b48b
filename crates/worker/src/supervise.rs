//! Restarts tasks that end too early. One broken channel must not stop the others. A task that fails again and again
//! stops the worker, so that an operator notices.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::{instruments, jitter};

/// This many failures, each within [`FORGIVEN`] of the start before it, stop the worker.
const FAILURES: u32 = 5;
/// A task that ran this long is considered healthy again.
const FORGIVEN: Duration = Duration::from_mins(1);
const WAIT: Duration = Duration::from_secs(1);
/// How long a step may still take after the shutdown began. Tasks check for the shutdown between two steps, and a step
/// waits as long as the database does not answer, which can be longer than a process may take to stop.
const GRACE: Duration = Duration::from_secs(2);

/// A task kept failing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptFailing;

/// Runs the task that `start` returns until `shutdown`, and restarts it after a panic or an early end.
///
/// # Errors
/// [`KeptFailing`] after [`FAILURES`] failures in a row, or if the task fails during the shutdown.
pub(crate) async fn supervise<F>(
    name: &str,
    shutdown: &CancellationToken,
    start: impl Fn() -> F,
) -> Result<(), KeptFailing>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut failures = 0;
    loop {
        let started = Instant::now();
        // Aborted if this future is dropped.
        let ended = AbortOnDropHandle::new(tokio::spawn(start())).await;
        if shutdown.is_cancelled() && ended.is_ok() {
            return Ok(());
        }
        failures = if started.elapsed() >= FORGIVEN { 1 } else { failures + 1 };
        instruments::restarted(name);
        let panicked = ended.is_err_and(|error| error.is_panic());
        tracing::error!(task = name, panicked, failures, "a task of the worker ended unexpectedly");
        if failures >= FAILURES || shutdown.is_cancelled() {
            return Err(KeptFailing);
        }
        tokio::select! {
            () = tokio::time::sleep(jitter::around(WAIT)) => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

/// Returns the result of `task`, or `None` if it takes longer than [`GRACE`] after the shutdown began. The task is
/// dropped then, which leaves the same state as a crash.
pub(crate) async fn with_shutdown_grace<T>(
    shutdown: CancellationToken,
    task: impl Future<Output = T>,
) -> Option<T> {
    let late = async {
        shutdown.cancelled_owned().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        done = task => Some(done),
        () = late => {
            tracing::warn!("database shutdown timed out; abandoning step");
            None
        }
    }
}

/// A task that is aborted when its owner drops it.
pub(crate) struct ChildTask {
    what: &'static str,
    task: AbortOnDropHandle<()>,
    over: bool,
}

impl ChildTask {
    /// Starts the task. `what` names it in the log.
    pub(crate) fn start(what: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { what, task: AbortOnDropHandle::new(tokio::spawn(task)), over: false }
    }

    /// Returns if the task fails, and never if it ends normally.
    pub(crate) async fn failed(&mut self) {
        if !self.ended().await {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Waits for the end of the task until `by`. Returns whether it ended in time.
    pub(crate) async fn end(mut self, by: Instant) -> bool {
        tokio::time::timeout_at(by, self.ended()).await.is_ok()
    }

    /// Waits for the end of the task. Returns `true` if it ended normally or its failure was reported before.
    async fn ended(&mut self) -> bool {
        if self.over {
            return true;
        }
        let ended = (&mut self.task).await;
        self.over = true;
        if let Err(error) = &ended {
            tracing::error!(task = self.what, panicked = error.is_panic(), "a task of the channel failed");
        }
        ended.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_that_hangs_holds_nothing_up_once_all_is_to_end() {
        let shutdown = CancellationToken::new();
        let slow = tokio::time::sleep(Duration::from_hours(1));
        assert_eq!(
            with_shutdown_grace(shutdown.clone(), slow).await,
            Some(()),
            "before that it has all the time"
        );
        shutdown.cancel();
        assert_eq!(with_shutdown_grace(shutdown.clone(), async { 7 }).await, Some(7));
        assert_eq!(with_shutdown_grace(shutdown, std::future::pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn one_panic_is_survived_and_five_are_not() {
        let shutdown = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        let start = |good_from: u32| {
            let (starts, shutdown) = (Arc::clone(&starts), shutdown.clone());
            move || {
                let (starts, shutdown) = (Arc::clone(&starts), shutdown.clone());
                async move {
                    assert!(starts.fetch_add(1, Ordering::SeqCst) + 1 >= good_from, "scripted panic");
                    shutdown.cancel();
                }
            }
        };
        assert_eq!(supervise("t", &shutdown, start(u32::MAX)).await, Err(KeptFailing));
        assert_eq!(starts.swap(0, Ordering::SeqCst), FAILURES);
        assert_eq!(supervise("t", &shutdown, start(2)).await, Ok(()));
        assert_eq!(starts.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_noticed_and_an_end_is_none() {
        let mut good = ChildTask::start("good", async {});
        let mut bad = ChildTask::start("bad", async { panic!("scripted panic") });
        bad.failed().await;
        tokio::task::yield_now().await;
        assert!(good.failed().now_or_never().is_none());
        assert!(good.failed().now_or_never().is_none(), "and again");
        let by = Instant::now() + Duration::from_secs(1);
        assert!(good.end(by).await && bad.end(by).await);
        assert!(!ChildTask::start("slow", std::future::pending()).end(by).await);
    }
}
