//! What the channels of one gateway share: its pace, its place among other workers, and whether the provider lets us in
//! at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use klaroen_domain::decide::GATEWAY_PAUSE;
use klaroen_domain::outcome::Failure;
use tokio::time::Instant;
use uuid::Uuid;

use crate::crew::Crew;
use crate::instruments;
use crate::pace::Pace;

/// The shared state of one gateway.
#[derive(Debug)]
pub(crate) struct GatewayControl {
    name: String,
    pub(crate) pace: Pace,
    pub(crate) crew: Arc<Crew>,
    /// All that are configured, whoever holds them.
    channels: u16,
    /// Those that this process feeds now.
    fed: Mutex<u16>,
    paused_until: Mutex<Option<Instant>>,
    /// After a pause one message goes first: fifty wrong passwords at once lock an account.
    probing: AtomicBool,
}

impl GatewayControl {
    pub(crate) fn new(name: String, segments_per_second: u32, channels: u16, worker: Uuid) -> Self {
        let pace = Pace::new(segments_per_second);
        pace.share(0, channels);
        Self {
            crew: Arc::new(Crew::new(name.clone(), worker)),
            name,
            pace,
            channels,
            fed: Mutex::new(0),
            paused_until: Mutex::new(None),
            probing: AtomicBool::new(false),
        }
    }

    /// A channel is fed from now on, until the value is dropped: it brings its part of the gateway's rate.
    pub(crate) fn feed(&self) -> Fed<'_> {
        self.count(|fed| *fed += 1);
        Fed(self)
    }

    fn count(&self, change: impl FnOnce(&mut u16)) {
        let mut fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut fed);
        self.pace.share(*fed, self.channels);
    }

    /// How many channels this process feeds.
    pub(crate) fn fed(&self) -> u16 {
        *self.fed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider refused us as a whole: nothing more for [`GATEWAY_PAUSE`]. Says so once for each pause.
    pub(crate) fn refused(&self, failure: &Failure, now: Instant) {
        let mut paused_until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        if paused_until.is_some_and(|until| now < until) {
            return;
        }
        *paused_until = Some(now + GATEWAY_PAUSE);
        self.probing.store(true, Ordering::Release);
        instruments::paused(&self.name);
        tracing::error!(
            gateway = self.name,
            code = failure.code,
            detail = failure.detail,
            pause_s = GATEWAY_PAUSE.as_secs(),
            "the provider refuses this gateway: it is paused and the queue waits"
        );
    }

    /// The provider answered a message on its own merits.
    pub(crate) fn answered(&self, now: Instant) {
        // Looked at for each message, written once for each pause. During the pause it is an answer to what had left before.
        if self.probing.load(Ordering::Acquire) && self.paused_until(now).is_none() {
            self.probing.store(false, Ordering::Release);
            tracing::info!(gateway = self.name, "the provider takes messages again");
        }
    }

    /// The end of the pause, while there is one.
    pub(crate) fn paused_until(&self, now: Instant) -> Option<Instant> {
        // A gateway that was never refused has nothing to look up.
        if !self.probing.load(Ordering::Acquire) {
            return None;
        }
        self.paused_until.lock().unwrap_or_else(PoisonError::into_inner).filter(|until| now < *until)
    }

    /// How many may be under way at once: all of `window`, or one to try.
    pub(crate) fn window(&self, window: usize) -> usize {
        if self.probing.load(Ordering::Acquire) { window.min(1) } else { window }
    }
}

/// A channel that is fed.
#[derive(Debug)]
pub(crate) struct Fed<'a>(&'a GatewayControl);

impl Drop for Fed<'_> {
    fn drop(&mut self) {
        self.0.count(|fed| *fed = fed.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::Scope;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_gateway_pauses_then_tries_one() {
        let control = GatewayControl::new("main".into(), 0, 1, Uuid::nil());
        let failure = Failure { scope: Scope::Gateway, code: "credit".into(), detail: "none left".into() };
        assert_eq!((control.paused_until(Instant::now()), control.window(50)), (None, 50));
        control.refused(&failure, Instant::now());
        let until = control.paused_until(Instant::now()).unwrap();
        tokio::time::advance(GATEWAY_PAUSE / 2).await;
        control.answered(Instant::now());
        // The rest of the window is refused too; that does not make the pause longer.
        control.refused(&failure, Instant::now());
        assert_eq!(control.paused_until(Instant::now()), Some(until));
        tokio::time::advance(GATEWAY_PAUSE / 2).await;
        assert_eq!((control.paused_until(Instant::now()), control.window(50)), (None, 1));
        control.answered(Instant::now());
        assert_eq!(control.window(50), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn each_channel_that_is_fed_brings_its_part_of_the_rate() {
        let control = GatewayControl::new("main".into(), 400, 4, Uuid::nil());
        let first = control.feed();
        assert_eq!((control.fed(), control.pace.rate()), (1, Some(100.0)));
        let second = control.feed();
        assert_eq!(control.pace.rate(), Some(200.0));
        drop(first);
        assert_eq!((control.fed(), control.pace.rate()), (1, Some(100.0)));
        drop(second);
        assert_eq!(control.fed(), 0);
    }
}
