//! How fast a gateway is fed: a token bucket in segments per second, shared by its channels, that slows down when the
//! provider says "too fast", follows what the provider takes, and comes back by and by.
//!
//! The bucket spreads what leaves over the second, and makes up for a timer that rang late; what is saved up in it would come on
//! top of a second's rate. So a [`SlidingWindow`] beside it holds the log of the last second and lets no more leave in any.
//!
//! A worker that feeds k of a gateway's n channels has k/n of its rate. The shares of all workers add up to one at the most,
//! because a channel has one holder, and what others sent before they lost theirs leaves the provider's second as fast as the
//! window lets us take it up. So no second sees more than the rate, whoever takes over from whom.
//!
//! This does not hold where the share of a channel is less than a message: something has to leave, so each worker then sends a
//! whole message at a time and waits until it is paid for. On average it is the rate; two workers may choose the same second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::rate::sliding_window::SlidingWindow;

/// The pace is set anew this often while the provider slows us down.
const ROUND: Duration = Duration::from_secs(1);
/// Above what the provider took in a round with complaints, so that we notice when it takes more.
const PROBE: f64 = 1.06;
/// Growth after a round without a complaint: from one a second to ten thousand in under a minute.
const GROWTH: f64 = 1.25;
/// The first complaint, and one round at the most, cost this much of the pace.
const CUT: f64 = 0.5;
/// Segments per second that are left however often we are told off: it still notices when the provider is well again.
const LEAST_RATE: f64 = 1.0;
/// Segments of the longest message that can be configured.
const LONGEST: f64 = 10.0;
/// Segments that all workers together may save up: the longest message, or what 20 ms bring.
const LEAST_BURST: f64 = LONGEST;
const BURST: f64 = 0.02;

/// Rounding: a wait that was computed to the token must not end a hair too early.
const ENOUGH: f64 = 1e-6;
/// Less than one token saved would never send anything.
const LEAST_CAPACITY: f64 = 1.0;

/// In any time t it gives at most `capacity + rate · t` tokens, and the part of the last message that is longer than the
/// capacity: such a message leaves when the bucket is full and is owed.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Tokens per second, more than 0.
    rate: f64,
    capacity: f64,
    /// Below 0 while something is owed.
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// With at most `tokens` in it.
    pub(crate) fn new(rate: f64, capacity: f64, tokens: f64, at: Instant) -> Self {
        let capacity = capacity.max(LEAST_CAPACITY);
        Self { rate, capacity, tokens: tokens.min(capacity), at }
    }

    /// What is in it.
    pub(crate) fn tokens(&self, now: Instant) -> f64 {
        let gained = self.rate * now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + gained).min(self.capacity)
    }

    /// Takes the tokens of one message, or says how long to wait for them.
    pub(crate) fn try_acquire(&mut self, cost: u8, now: Instant) -> Result<(), Duration> {
        (self.tokens, self.at) = (self.tokens(now), now);
        let cost = f64::from(cost);
        let missing = cost.min(self.capacity) - self.tokens;
        if missing > ENOUGH {
            return Err(Duration::from_secs_f64(missing / self.rate));
        }
        self.tokens -= cost;
        Ok(())
    }
}

/// The rate and its history: no clock, no lock.
///
/// What the provider takes is the truth about its limit: after the first cut the rate follows the share that was taken in the
/// last round, and a little more, so a steady few complaints do not grind the pace down. A share, because a round in which
/// the link was down or the queue empty says nothing about the limit.
#[derive(Debug)]
struct AdaptiveRate {
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
    round_began: Instant,
    /// Segments that were taken in this round, and complaints.
    taken: f64,
    complaints: u32,
}

impl AdaptiveRate {
    const fn new(configured: Option<f64>) -> Self {
        Self { configured, slowed: None }
    }

    /// Everything in proportion: the share of the gateway's channels changed.
    fn scale(&mut self, by: f64) {
        if let Some(configured) = &mut self.configured {
            *configured *= by;
        }
        if let Some(slowed) = &mut self.slowed {
            slowed.base *= by;
            slowed.rate *= by;
        }
    }

    /// Segments per second, or no limit.
    fn rate(&self) -> Option<f64> {
        self.slowed.map_or(self.configured, |slowed| Some(slowed.rate))
    }

    fn factor(&self) -> f64 {
        self.slowed.map_or(1.0, |slowed| slowed.rate / slowed.base)
    }

    /// The provider took `segments`.
    fn on_accepted(&mut self, segments: u8) {
        if let Some(slowed) = &mut self.slowed {
            slowed.taken += f64::from(segments);
        }
    }

    /// The provider said "too fast"; whether that changed the rate. `measured` is the present throughput: where no limit is
    /// set, it is what we come from.
    fn on_throttled(&mut self, now: Instant, measured: f64) -> bool {
        if let Some(slowed) = &mut self.slowed {
            slowed.complaints += 1;
            return false;
        }
        let base = self.configured.unwrap_or(measured).max(LEAST_RATE);
        let rate = (base * CUT).max(LEAST_RATE);
        self.slowed = Some(Slowed { base, rate, round_began: now, taken: 0.0, complaints: 0 });
        true
    }

    /// Ends the round that is over, if one is; whether that changed the rate.
    fn end_round(&mut self, now: Instant) -> bool {
        let Some(slowed) = &mut self.slowed else { return false };
        let time = now.duration_since(slowed.round_began);
        if time < ROUND {
            return false;
        }
        // Idle rounds are rounds without a complaint.
        let rounds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
        let complaints = f64::from(slowed.complaints);
        let change = if slowed.complaints == 0 {
            GROWTH.powi(rounds)
        } else {
            (PROBE * slowed.taken / (slowed.taken + complaints)).max(CUT)
        };
        slowed.rate = (slowed.rate * change).max(LEAST_RATE);
        (slowed.round_began, slowed.taken, slowed.complaints) = (now, 0.0, 0);
        if slowed.rate >= slowed.base {
            self.slowed = None;
        }
        true
    }
}

#[derive(Debug)]
struct State {
    /// All channels that are configured.
    channels: u16,
    /// For all channels.
    whole: Option<f64>,
    /// The part of the gateway's channels that we feed, or fed last.
    share: f64,
    /// We feed none.
    idle: bool,
    /// For our share.
    pursuit: AdaptiveRate,
    /// `None`: no limit.
    bucket: Option<TokenBucket>,
    /// `None`: no limit is configured.
    window: Option<SlidingWindow>,
}

impl State {
    /// A bucket for the present rate, with what is in the present one, and at most `tokens`. What is owed stays so.
    fn refill(&mut self, tokens: f64) {
        let burst = |rate: f64| (rate * BURST).max(LEAST_BURST * self.share);
        let now = Instant::now();
        let tokens = self.bucket.as_ref().map_or(0.0, |bucket| bucket.tokens(now)).min(tokens);
        self.bucket = self.pursuit.rate().map(|rate| TokenBucket::new(rate, burst(rate), tokens, now));
    }

    fn try_acquire(&mut self, segments: u8, now: Instant) -> Result<(), Duration> {
        let wait = self.window.as_mut().map_or(Duration::ZERO, |window| window.wait(segments, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        if let Some(bucket) = &mut self.bucket {
            bucket.try_acquire(segments, now)?;
        }
        if let Some(window) = &mut self.window {
            window.record(segments, now);
        }
        Ok(())
    }
}

/// What the longest burst of a worker takes at its rate, which is at least that of one channel.
fn longest_burst(rate: f64, channels: u16) -> Duration {
    Duration::from_secs_f64((LONGEST * f64::from(channels) / rate).max(BURST))
}

/// The pace of one gateway.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

impl Pace {
    /// `segments_per_second` of all `channels` together: 0 is no limit. None of them is ours yet.
    pub(crate) fn new(segments_per_second: u32, channels: u16) -> Self {
        let channels = channels.max(1);
        let whole = (segments_per_second > 0).then(|| f64::from(segments_per_second));
        let window = whole.map(|whole| SlidingWindow::new(longest_burst(whole, channels), Instant::now()));
        let pursuit = AdaptiveRate::new(whole);
        let mut state = State { channels, whole, share: 1.0, idle: true, pursuit, bucket: None, window };
        state.refill(0.0);
        Self(Mutex::new(state))
    }

    /// From now on `fed` of the gateway's channels are ours. What was learnt about the provider stays.
    pub(crate) fn set_channels_held(&self, fed: u16) {
        self.with(|state| {
            let began = std::mem::replace(&mut state.idle, fed == 0);
            let share = f64::from(fed) / f64::from(state.channels);
            if let (Some(window), Some(whole)) = (&mut state.window, state.whole) {
                window.set_limit(whole * share, Instant::now());
            }
            if fed == 0 {
                return;
            }
            state.pursuit.scale(share / state.share);
            // Set anew rather than scaled again and again.
            state.pursuit.configured = state.whole.map(|whole| whole * share);
            state.share = share;
            // What was saved up while others may have sent in our place is not ours.
            state.refill(if began { 0.0 } else { f64::INFINITY });
        });
    }

    /// Every look at the state first ends the round that is over.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic in here leaves numbers behind, no half-done work.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pursuit.end_round(Instant::now()) {
            // Slowing down must not begin with a burst.
            state.refill(0.0);
        }
        f(&mut state)
    }

    /// Takes the tokens of one message, or says how long to wait before trying again.
    pub(crate) fn try_acquire(&self, segments: u8) -> Result<(), Duration> {
        self.with(|state| state.try_acquire(segments.max(1), Instant::now()))
    }

    /// The provider took a message.
    pub(crate) fn on_accepted(&self, segments: u8) {
        self.with(|state| state.pursuit.on_accepted(segments));
    }

    /// The provider said "too fast"; gives the new rate where it changed. `measured`: messages per second now.
    pub(crate) fn on_throttled(&self, measured: f64) -> Option<f64> {
        self.with(|state| {
            if !state.pursuit.on_throttled(Instant::now(), measured) {
                return None;
            }
            state.refill(0.0);
            state.pursuit.rate()
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
mod tests;
