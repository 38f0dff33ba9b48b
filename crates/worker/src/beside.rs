//! The tasks beside a session. What each does is needed, so none may fail unnoticed.

use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A task that dies with whoever started it.
pub(crate) struct Beside {
    what: &'static str,
    task: AbortOnDropHandle<()>,
    over: bool,
}

impl Beside {
    /// Starts it. `what`: for the log.
    pub(crate) fn start(what: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { what, task: AbortOnDropHandle::new(tokio::spawn(task)), over: false }
    }

    /// Waits until it fails, and for ever where it ends as it should.
    pub(crate) async fn failed(&mut self) {
        if !self.ended().await {
            return;
        }
        std::future::pending::<()>().await;
    }

    /// Waits for its end; whether that came in time.
    pub(crate) async fn end(mut self, by: Instant) -> bool {
        tokio::time::timeout_at(by, self.ended()).await.is_ok()
    }

    /// Waits for its end; whether it ended as it should. Its failure is told once.
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
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_noticed_and_an_end_is_none() {
        let mut good = Beside::start("good", async {});
        let mut bad = Beside::start("bad", async { panic!("scripted panic") });
        bad.failed().await;
        tokio::task::yield_now().await;
        assert!(good.failed().now_or_never().is_none());
        assert!(good.failed().now_or_never().is_none(), "and again");
        let by = Instant::now() + Duration::from_secs(1);
        assert!(good.end(by).await && bad.end(by).await);
        assert!(!Beside::start("slow", std::future::pending()).end(by).await);
    }
}
