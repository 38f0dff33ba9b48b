//! How fast a gateway is fed: a token bucket in segments per second, shared by its channels, that slows down when the
//! provider says "too fast" and comes back by and by (additive increase, multiplicative decrease).

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// One step back up, and how long a step takes.
const STEP: f64 = 0.05;
const STEP_EVERY: Duration = Duration::from_secs(10);
/// A window full of "too fast" is one message to us, not fifty.
const SLOW_DOWN_ONCE_PER: Duration = Duration::from_secs(1);
/// Segments per second that are left however often we are told off: it still notices when the provider is well again.
const LEAST_RATE: f64 = 1.0;
/// Tokens that may be saved up: the longest message, or what 20 ms bring.
const LEAST_BURST: u32 = 10;
const BURST: f64 = 0.02;

/// The rate and its history: no clock, no lock.
#[derive(Debug)]
struct Aimd {
    /// From the configuration; `None`: no limit.
    configured: Option<f64>,
    /// What the factor is of: the configured rate, or what was measured when the provider first complained.
    base: Option<f64>,
    factor: f64,
    /// When the factor last changed; `None` while it is 1.
    changed_at: Option<Instant>,
}

impl Aimd {
    const fn new(configured: Option<f64>) -> Self {
        Self { configured, base: configured, factor: 1.0, changed_at: None }
    }

    /// Segments per second, or no limit.
    fn rate(&self) -> Option<f64> {
        self.base.map(|base| (base * self.factor).max(LEAST_RATE))
    }

    /// Halves the rate. `measured` is the present throughput: where no limit is set, half of it is what we try next.
    fn throttled(&mut self, now: Instant, measured: f64) -> bool {
        if self.changed_at.is_some_and(|at| now.duration_since(at) < SLOW_DOWN_ONCE_PER && self.factor < 1.0)
        {
            return false;
        }
        let base = *self.base.get_or_insert(measured.max(LEAST_RATE));
        self.factor = (self.factor / 2.0).max((LEAST_RATE / base).min(1.0));
        self.changed_at = Some(now);
        true
    }

    /// Takes the steps back up that are due.
    fn recover(&mut self, now: Instant) -> bool {
        let Some(changed_at) = self.changed_at else { return false };
        let steps = u32::try_from(now.duration_since(changed_at).as_secs() / STEP_EVERY.as_secs())
            .unwrap_or(u32::MAX);
        if steps == 0 {
            return false;
        }
        self.factor += STEP * f64::from(steps);
        self.changed_at = Some(changed_at + STEP_EVERY * steps.min(1_000));
        // A hair below 1 is 1: the steps are not exact in binary.
        if self.factor > 0.999 {
            *self = Self::new(self.configured);
        }
        true
    }
}

/// Tokio's clock, which tests can stop, for the token bucket.
#[derive(Clone, Debug)]
struct TokioClock(Instant);

impl GovernorClock for TokioClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Duration>>;

#[derive(Debug)]
struct Bucket {
    limiter: Limiter,
    burst: NonZeroU32,
}

impl Bucket {
    fn new(rate: f64) -> Option<Self> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive; saturates")]
        let burst = NonZeroU32::new(((rate * BURST) as u32).max(LEAST_BURST))?;
        let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate))?.allow_burst(burst);
        let limiter = RateLimiter::direct_with_clock(quota, TokioClock(Instant::now()));
        Some(Self { limiter, burst })
    }

    /// A bucket that starts empty: slowing down must not begin with a burst.
    fn empty(rate: f64) -> Option<Self> {
        let bucket = Self::new(rate)?;
        // It was full a moment ago, so all of it can be taken.
        let _taken = bucket.limiter.check_n(bucket.burst);
        Some(bucket)
    }
}

#[derive(Debug)]
struct State {
    aimd: Aimd,
    /// `None`: no limit.
    bucket: Option<Bucket>,
}

/// The pace of one gateway.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

impl Pace {
    /// `segments_per_second`: 0 is no limit.
    pub(crate) fn new(segments_per_second: u32) -> Self {
        let configured = (segments_per_second > 0).then(|| f64::from(segments_per_second));
        let bucket = configured.and_then(Bucket::new);
        Self(Mutex::new(State { aimd: Aimd::new(configured), bucket }))
    }

    /// Every look at the state first takes the steps that are due.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic in here leaves numbers behind, no half-done work.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.aimd.recover(Instant::now()) {
            state.bucket = state.aimd.rate().and_then(Bucket::empty);
        }
        f(&mut state)
    }

    /// Takes the tokens of one message, or says how long to wait before trying again.
    pub(crate) fn try_take(&self, segments: u8) -> Result<(), Duration> {
        self.with(|state| {
            let Some(bucket) = &state.bucket else { return Ok(()) };
            let cost = NonZeroU32::new(u32::from(segments)).unwrap_or(NonZeroU32::MIN).min(bucket.burst);
            match bucket.limiter.check_n(cost) {
                Ok(Ok(())) => Ok(()),
                Ok(Err(not_until)) => Err(not_until.wait_time_from(bucket.limiter.clock().now())),
                // Cannot be: the cost is at most the burst.
                Err(_insufficient) => Ok(()),
            }
        })
    }

    /// The provider said "too fast"; gives the new rate where it changed. `measured`: messages per second now.
    pub(crate) fn throttled(&self, measured: f64) -> Option<f64> {
        self.with(|state| {
            if !state.aimd.throttled(Instant::now(), measured) {
                return None;
            }
            let rate = state.aimd.rate();
            state.bucket = rate.and_then(Bucket::empty);
            rate
        })
    }

    /// Segments per second now; `None`: no limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.with(|state| state.aimd.rate())
    }

    /// 1 is full speed.
    pub(crate) fn factor(&self) -> f64 {
        self.with(|state| state.aimd.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(pace: &Pace, messages: u32, segments: u8) -> Duration {
        let start = Instant::now();
        for _ in 0..messages {
            while let Err(wait) = pace.try_take(segments) {
                tokio::time::sleep(wait).await;
            }
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_message_costs_its_segments() {
        let short = take(&Pace::new(100), 110, 1).await;
        let long = take(&Pace::new(100), 110, 3).await;
        // 110 segments less the burst of 10 at 100 a second; 330 less 10.
        assert!((0.99..1.1).contains(&short.as_secs_f64()), "{short:?}");
        assert!((3.19..3.4).contains(&long.as_secs_f64()), "{long:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn zero_is_no_limit_until_the_provider_complains() {
        let pace = Pace::new(0);
        assert_eq!(take(&pace, 10_000, 1).await, Duration::ZERO);
        assert_eq!(pace.throttled(2000.0), Some(1000.0));
        let slowed = take(&pace, 1000, 1).await;
        assert!((0.95..1.1).contains(&slowed.as_secs_f64()), "{slowed:?}");
        // Ten steps of 5 % from one half.
        tokio::time::sleep(Duration::from_secs(101)).await;
        assert_eq!(take(&pace, 10_000, 1).await, Duration::ZERO);
        assert_eq!(pace.rate(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_full_of_complaints_halves_once() {
        let pace = Pace::new(1000);
        assert_eq!(pace.throttled(900.0), Some(500.0));
        for _ in 0..49 {
            assert_eq!(pace.throttled(900.0), None);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pace.throttled(900.0), Some(250.0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_comes_back_in_steps_and_never_dies() {
        let pace = Pace::new(100);
        for _ in 0..20 {
            pace.throttled(100.0);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(pace.rate(), Some(1.0));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!((pace.rate().unwrap() - 6.0).abs() < 1e-9, "{:?}", pace.rate());
        tokio::time::sleep(Duration::from_secs(200)).await;
        assert_eq!(pace.rate(), Some(100.0));
        assert!((pace.factor() - 1.0).abs() < f64::EPSILON);
    }
}
