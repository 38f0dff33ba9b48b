//! How fast a gateway is fed: a token bucket in segments per second, shared by its channels, that slows down when the
//! provider says "too fast", follows what the provider takes, and comes back by and by.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The pace is set anew this often while the provider slows us down.
const WINDOW: Duration = Duration::from_secs(1);
/// Above what the provider took in a window with complaints, so that we notice when it takes more.
const PROBE: f64 = 1.06;
/// Growth after a window without a complaint: from one a second to ten thousand in under a minute.
const GROWTH: f64 = 1.25;
/// The first complaint, and one window at the most, cost this much of the pace.
const CUT: f64 = 0.5;
/// Segments per second that are left however often we are told off: it still notices when the provider is well again.
const LEAST_RATE: f64 = 1.0;
/// Tokens that may be saved up: the longest message, or what 20 ms bring.
const LEAST_BURST: u32 = 10;
const BURST: f64 = 0.02;

/// The rate and its history: no clock, no lock.
///
/// What the provider takes is the truth about its limit: after the first cut the rate follows the share that was taken in the
/// last window, and a little more, so a steady few complaints do not grind the pace down. A share, because a window in which
/// the link was down or the queue empty says nothing about the limit.
#[derive(Debug)]
struct Pursuit {
    /// From the configuration; `None`: no limit.
    configured: Option<f64>,
    /// Set while the provider slows us down.
    slowed: Option<Slowed>,
}

#[derive(Clone, Copy, Debug)]
struct Slowed {
    /// The configured rate, or what was measured when the provider first complained: the way back ends there.
    base: f64,
    rate: f64,
    window_began: Instant,
    /// Segments that were taken in this window, and complaints.
    taken: f64,
    complaints: u32,
}

impl Pursuit {
    const fn new(configured: Option<f64>) -> Self {
        Self { configured, slowed: None }
    }

    /// Segments per second, or no limit.
    fn rate(&self) -> Option<f64> {
        self.slowed.map_or(self.configured, |slowed| Some(slowed.rate))
    }

    fn factor(&self) -> f64 {
        self.slowed.map_or(1.0, |slowed| slowed.rate / slowed.base)
    }

    /// The provider took `segments`.
    fn taken(&mut self, segments: u8) {
        if let Some(slowed) = &mut self.slowed {
            slowed.taken += f64::from(segments);
        }
    }

    /// The provider said "too fast"; whether that changed the rate. `measured` is the present throughput: where no limit is
    /// set, it is what we come from.
    fn throttled(&mut self, now: Instant, measured: f64) -> bool {
        if let Some(slowed) = &mut self.slowed {
            slowed.complaints += 1;
            return false;
        }
        let base = self.configured.unwrap_or(measured).max(LEAST_RATE);
        let rate = (base * CUT).max(LEAST_RATE);
        self.slowed = Some(Slowed { base, rate, window_began: now, taken: 0.0, complaints: 0 });
        true
    }

    /// Ends the window that is over, if one is; whether that changed the rate.
    fn settle(&mut self, now: Instant) -> bool {
        let Some(slowed) = &mut self.slowed else { return false };
        let time = now.duration_since(slowed.window_began);
        if time < WINDOW {
            return false;
        }
        // Idle windows are windows without a complaint.
        let windows = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let complaints = f64::from(slowed.complaints);
        let change = if slowed.complaints == 0 {
            GROWTH.powi(windows)
        } else {
            (PROBE * slowed.taken / (slowed.taken + complaints)).max(CUT)
        };
        slowed.rate = (slowed.rate * change).max(LEAST_RATE);
        (slowed.window_began, slowed.taken, slowed.complaints) = (now, 0.0, 0);
        if slowed.rate >= slowed.base {
            self.slowed = None;
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
    pursuit: Pursuit,
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
        Self(Mutex::new(State { pursuit: Pursuit::new(configured), bucket }))
    }

    /// Every look at the state first ends the window that is over.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic in here leaves numbers behind, no half-done work.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pursuit.settle(Instant::now()) {
            state.bucket = state.pursuit.rate().and_then(Bucket::empty);
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

    /// The provider took a message.
    pub(crate) fn taken(&self, segments: u8) {
        self.with(|state| state.pursuit.taken(segments));
    }

    /// The provider said "too fast"; gives the new rate where it changed. `measured`: messages per second now.
    pub(crate) fn throttled(&self, measured: f64) -> Option<f64> {
        self.with(|state| {
            if !state.pursuit.throttled(Instant::now(), measured) {
                return None;
            }
            let rate = state.pursuit.rate();
            state.bucket = rate.and_then(Bucket::empty);
            rate
        })
    }

    /// Segments per second now; `None`: no limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.with(|state| state.pursuit.rate())
    }

    /// 1 is full speed.
    pub(crate) fn factor(&self) -> f64 {
        self.with(|state| state.pursuit.factor())
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
        // A quarter more each second from one half.
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(take(&pace, 10_000, 1).await, Duration::ZERO);
        assert_eq!(pace.rate(), None);
    }

    /// Plays a provider that takes `limit` a second and complains about the rest.
    async fn play(pace: &Pace, limit: u32, seconds: u32) -> (u32, u32) {
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..seconds {
            let second = Instant::now() + Duration::from_secs(1);
            let mut left = limit;
            while Instant::now() < second {
                match pace.try_take(1) {
                    Ok(()) if left > 0 => {
                        left -= 1;
                        taken += 1;
                        pace.taken(1);
                    }
                    Ok(()) => {
                        refused += 1;
                        pace.throttled(2_000.0);
                    }
                    Err(wait) => tokio::time::sleep(wait.max(Duration::from_micros(100))).await,
                }
            }
        }
        (taken, refused)
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_settles_just_above_what_the_provider_takes() {
        let pace = Pace::new(1_000);
        play(&pace, 200, 10).await;
        let (taken, refused) = play(&pace, 200, 10).await;
        assert!(taken > 1_900, "{taken}");
        assert!(refused < 250, "{refused}");
        // The provider is well again.
        play(&pace, 100_000, 10).await;
        assert_eq!(pace.rate(), Some(1_000.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_few_complaints_do_not_grind_the_pace_down() {
        let pace = Pace::new(1_000);
        for n in 0..30_000_u32 {
            while let Err(wait) = pace.try_take(1) {
                tokio::time::sleep(wait).await;
            }
            if n % 25 == 0 {
                pace.throttled(1_000.0);
            } else {
                pace.taken(1);
            }
        }
        assert!(pace.rate().is_none_or(|rate| rate > 400.0), "{:?}", pace.rate());
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_full_of_complaints_cuts_once() {
        let pace = Pace::new(1000);
        assert_eq!(pace.throttled(900.0), Some(500.0));
        for _ in 0..49 {
            assert_eq!(pace.throttled(900.0), None);
        }
        assert_eq!(pace.rate(), Some(500.0));
        tokio::time::sleep(WINDOW).await;
        assert_eq!(pace.rate(), Some(250.0), "nothing was taken: half again, and no less");
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_comes_back_and_never_dies() {
        let pace = Pace::new(100);
        for _ in 0..20 {
            pace.throttled(100.0);
            tokio::time::sleep(WINDOW).await;
        }
        assert_eq!(pace.rate(), Some(1.0));
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(pace.rate(), Some(100.0));
        assert!((pace.factor() - 1.0).abs() < f64::EPSILON);
    }
}
