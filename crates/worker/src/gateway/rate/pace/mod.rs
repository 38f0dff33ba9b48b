//! The pace of a gateway: a token bucket in segments per second that its channels share. It slows down when the
//! provider says "too fast", follows what the provider accepts, and recovers gradually.
//!
//! The bucket spreads segments over the second and makes up for late timers. Its savings would come on top of a
//! second's rate, so a [`SlidingWindow`] holds the log of the last second and limits what leaves in any second.
//!
//! A worker that holds k of a gateway's n channels has k/n of its rate. The shares of all workers add up to at most
//! one, because a channel has one holder. What the previous holder of a channel sent leaves the provider's second as
//! fast as the window lets the next holder send. So no second sees more than the rate, whichever worker takes over.
//!
//! This does not hold if the share of a channel is less than one message. Each worker then sends a whole message at a
//! time and waits until its tokens are paid. The rate holds on average, but two workers may choose the same second.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::rate::sliding_window::SlidingWindow;

/// The pace is recomputed this often while the provider slows us down.
const ROUND: Duration = Duration::from_secs(1);
/// The pace after a round with complaints is this much above what the provider accepted, so that we notice when it
/// accepts more.
const PROBE: f64 = 1.06;
/// Growth after a round without a complaint: from one a second to ten thousand in under a minute.
const GROWTH: f64 = 1.25;
/// The first complaint cuts the pace to this factor, and no later round cuts it further than that.
const CUT: f64 = 0.5;
/// The minimum of segments per second, however often the provider complains: enough to notice that it accepts more
/// again.
const LEAST_RATE: f64 = 1.0;
/// Segments of the longest message that can be configured.
const LONGEST: f64 = 10.0;
/// Segments that all workers together may save up: the longest message, or the segments of 20 ms.
const LEAST_BURST: f64 = LONGEST;
const BURST: f64 = 0.02;

/// For rounding: a wait that was computed from missing tokens must not end slightly too early.
const ENOUGH: f64 = 1e-6;
/// A bucket for less than one token would never release anything.
const LEAST_CAPACITY: f64 = 1.0;

/// In any time t it releases at most `capacity + rate · t` tokens, plus the part of the last message that is longer
/// than the capacity: such a message leaves when the bucket is full, and the bucket then owes the rest.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Tokens per second, more than 0.
    rate: f64,
    capacity: f64,
    /// Below 0 while tokens are owed.
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A bucket with at most `tokens` in it.
    pub(crate) fn new(rate: f64, capacity: f64, tokens: f64, at: Instant) -> Self {
        let capacity = capacity.max(LEAST_CAPACITY);
        Self { rate, capacity, tokens: tokens.min(capacity), at }
    }

    /// The tokens in it.
    pub(crate) fn tokens(&self, now: Instant) -> f64 {
        let gained = self.rate * now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + gained).min(self.capacity)
    }

    /// Takes the tokens of one message, or returns how long to wait for them.
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

/// The rate and its history. It has no clock and no lock.
///
/// The segments that the provider accepts show its limit: after the first cut the rate follows the share of segments
/// that were accepted in the last round, and a little more, so a few steady complaints do not grind the pace down. It is
/// a share because a round in which the link was down or the queue was empty says nothing about the limit.
#[derive(Debug)]
struct AdaptiveRate {
    /// From the configuration; `None`: no limit.
    configured: Option<f64>,
    /// Set while the provider slows us down.
    slowed: Option<Slowed>,
}

#[derive(Clone, Copy, Debug)]
struct Slowed {
    /// The configured rate, or the throughput at the first complaint. Recovery ends there.
    base: f64,
    rate: f64,
    round_began: Instant,
    /// Segments that were accepted in this round, and complaints.
    taken: f64,
    complaints: u32,
}

impl AdaptiveRate {
    const fn new(configured: Option<f64>) -> Self {
        Self { configured, slowed: None }
    }

    /// Scales all rates because the share of the gateway's channels changed.
    fn scale(&mut self, by: f64) {
        if let Some(configured) = &mut self.configured {
            *configured *= by;
        }
        if let Some(slowed) = &mut self.slowed {
            slowed.base *= by;
            slowed.rate *= by;
        }
    }

    /// Segments per second; `None` means no limit.
    fn rate(&self) -> Option<f64> {
        self.slowed.map_or(self.configured, |slowed| Some(slowed.rate))
    }

    fn factor(&self) -> f64 {
        self.slowed.map_or(1.0, |slowed| slowed.rate / slowed.base)
    }

    /// The provider accepted `segments`.
    fn on_accepted(&mut self, segments: u8) {
        if let Some(slowed) = &mut self.slowed {
            slowed.taken += f64::from(segments);
        }
    }

    /// The provider said "too fast". Returns whether that changed the rate. `measured` is the present throughput, which
    /// is the base if no limit is configured.
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

    /// Ends the round if it is over. Returns whether that changed the rate.
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
    /// All configured channels of the gateway.
    channels: u16,
    /// The configured rate of all channels.
    whole: Option<f64>,
    /// The part of the gateway's channels that this worker holds, or held last.
    share: f64,
    /// This worker holds none.
    idle: bool,
    /// The rate for our share.
    adaptive_rate: AdaptiveRate,
    /// `None`: no limit.
    bucket: Option<TokenBucket>,
    /// `None`: no limit is configured.
    window: Option<SlidingWindow>,
}

impl State {
    /// Replaces the bucket by one for the present rate. It gets the tokens of the old one, but at most `tokens`. Debts
    /// remain.
    fn refill(&mut self, tokens: f64) {
        let burst = |rate: f64| (rate * BURST).max(LEAST_BURST * self.share);
        let now = Instant::now();
        let tokens = self.bucket.as_ref().map_or(0.0, |bucket| bucket.tokens(now)).min(tokens);
        self.bucket = self.adaptive_rate.rate().map(|rate| TokenBucket::new(rate, burst(rate), tokens, now));
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

/// How long the longest burst of a worker takes at its rate, which is at least that of one channel.
fn longest_burst(rate: f64, channels: u16) -> Duration {
    Duration::from_secs_f64((LONGEST * f64::from(channels) / rate).max(BURST))
}

/// The pace of one gateway.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

impl Pace {
    /// `segments_per_second` is for all `channels` together; 0 means no limit. This worker holds none of them yet.
    pub(crate) fn new(segments_per_second: u32, channels: u16) -> Self {
        let channels = channels.max(1);
        let whole = (segments_per_second > 0).then(|| f64::from(segments_per_second));
        let window = whole.map(|whole| SlidingWindow::new(longest_burst(whole, channels), Instant::now()));
        let adaptive_rate = AdaptiveRate::new(whole);
        let mut state =
            State { channels, whole, share: 1.0, idle: true, adaptive_rate, bucket: None, window };
        state.refill(0.0);
        Self(Mutex::new(state))
    }

    /// From now on this worker holds `held` of the gateway's channels. What was learnt about the provider is kept.
    pub(crate) fn set_channels_held(&self, held: u16) {
        self.with(|state| {
            let began = std::mem::replace(&mut state.idle, held == 0);
            let share = f64::from(held) / f64::from(state.channels);
            if let (Some(window), Some(whole)) = (&mut state.window, state.whole) {
                window.set_limit(whole * share, Instant::now());
            }
            if held == 0 {
                return;
            }
            state.adaptive_rate.scale(share / state.share);
            // Computed anew, so that scaling again and again does not add rounding errors.
            state.adaptive_rate.configured = state.whole.map(|whole| whole * share);
            state.share = share;
            // Tokens that were saved while other workers sent over these channels are not ours.
            state.refill(if began { 0.0 } else { f64::INFINITY });
        });
    }

    /// Each access to the state first ends a round that is over.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic in here leaves plain numbers behind, no half-done work.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.adaptive_rate.end_round(Instant::now()) {
            // A slower pace must not begin with a burst.
            state.refill(0.0);
        }
        f(&mut state)
    }

    /// Takes the tokens of one message, or returns how long to wait before the next attempt.
    pub(crate) fn try_acquire(&self, segments: u8) -> Result<(), Duration> {
        self.with(|state| state.try_acquire(segments.max(1), Instant::now()))
    }

    /// The provider accepted a message.
    pub(crate) fn on_accepted(&self, segments: u8) {
        self.with(|state| state.adaptive_rate.on_accepted(segments));
    }

    /// The provider said "too fast". Returns the new rate if it changed. `measured` is the present number of messages
    /// per second.
    pub(crate) fn on_throttled(&self, measured: f64) -> Option<f64> {
        self.with(|state| {
            if !state.adaptive_rate.on_throttled(Instant::now(), measured) {
                return None;
            }
            state.refill(0.0);
            state.adaptive_rate.rate()
        })
    }

    /// Segments per second now; `None` means no limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.with(|state| state.adaptive_rate.rate())
    }

    /// The rate as a part of the unreduced rate; 1 is full speed.
    pub(crate) fn factor(&self) -> f64 {
        self.with(|state| state.adaptive_rate.factor())
    }
}

#[cfg(test)]
mod tests;
