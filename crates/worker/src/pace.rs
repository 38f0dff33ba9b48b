//! How fast a gateway is fed: a token bucket in segments per second, shared by its channels, that slows down when the
//! provider says "too fast", follows what the provider takes, and comes back by and by.
//!
//! A worker that feeds k of a gateway's n channels has k/n of its rate and of its burst. The shares of all workers add up to
//! one at the most, because a channel has one holder, so no second sees more than the rate and one burst, whoever takes
//! over from whom: a share that is new begins with an empty bucket, and one that grows keeps what is in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::bucket::Bucket;

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
/// Segments that all workers together may save up: the longest message, or what 20 ms bring.
const LEAST_BURST: f64 = 10.0;
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

#[derive(Debug)]
struct State {
    /// For all channels.
    whole: Option<f64>,
    /// The part of the gateway's channels that we feed, or fed last.
    share: f64,
    /// We feed none.
    idle: bool,
    /// For our share.
    pursuit: Pursuit,
    /// `None`: no limit.
    bucket: Option<Bucket>,
}

impl State {
    /// A bucket for the present rate, with `tokens` in it.
    fn refill(&mut self, tokens: f64) {
        let burst = |rate: f64| (rate * BURST).max(LEAST_BURST * self.share);
        let now = Instant::now();
        self.bucket = self.pursuit.rate().map(|rate| Bucket::new(rate, burst(rate), tokens, now));
    }
}

/// The pace of one gateway.
#[derive(Debug)]
pub(crate) struct Pace(Mutex<State>);

impl Pace {
    /// `segments_per_second` of all channels together: 0 is no limit. It begins with all channels as its share.
    pub(crate) fn new(segments_per_second: u32) -> Self {
        let whole = (segments_per_second > 0).then(|| f64::from(segments_per_second));
        let mut state = State { whole, share: 1.0, idle: false, pursuit: Pursuit::new(whole), bucket: None };
        state.refill(0.0);
        Self(Mutex::new(state))
    }

    /// From now on `fed` of the gateway's `channels` are ours. What was learnt about the provider stays.
    pub(crate) fn share(&self, fed: u16, channels: u16) {
        self.with(|state| {
            let began = std::mem::replace(&mut state.idle, fed == 0);
            if fed == 0 {
                return;
            }
            let share = f64::from(fed) / f64::from(channels.max(1));
            // What was saved up while others may have sent in our place is not ours.
            let saved = state.bucket.as_ref().filter(|_| !began);
            let tokens = saved.map_or(0.0, |bucket| bucket.tokens(Instant::now()));
            state.pursuit.scale(share / state.share);
            // Set anew rather than scaled again and again.
            state.pursuit.configured = state.whole.map(|whole| whole * share);
            state.share = share;
            state.refill(tokens);
        });
    }

    /// Every look at the state first ends the window that is over.
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        // A panic in here leaves numbers behind, no half-done work.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.pursuit.settle(Instant::now()) {
            // Slowing down must not begin with a burst.
            state.refill(0.0);
        }
        f(&mut state)
    }

    /// Takes the tokens of one message, or says how long to wait before trying again.
    pub(crate) fn try_take(&self, segments: u8) -> Result<(), Duration> {
        self.with(|state| match &mut state.bucket {
            Some(bucket) => bucket.try_take(segments.max(1), Instant::now()),
            None => Ok(()),
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
        // 110 segments at 100 a second; 330.
        assert!((1.08..1.2).contains(&short.as_secs_f64()), "{short:?}");
        assert!((3.27..3.4).contains(&long.as_secs_f64()), "{long:?}");
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

    /// Segments in the fullest second that ends with one of `times`, which are in order.
    fn fullest_second(times: &[Instant]) -> u32 {
        let mut first = 0;
        let mut fullest = 0;
        for (last, at) in times.iter().enumerate() {
            while at.duration_since(times[first]) >= Duration::from_secs(1) {
                first += 1;
            }
            fullest = fullest.max(u32::try_from(last + 1 - first).unwrap());
        }
        fullest
    }

    /// Plays workers with endless queues: `fed[t][w]` is how many of the channels worker `w` feeds in the `t`th tenth of a
    /// second. Gives when each segment left.
    async fn relay(rate: u32, channels: u16, fed: &[Vec<u16>]) -> Vec<Instant> {
        let workers: Vec<Pace> = fed[0].iter().map(|_| Pace::new(rate)).collect();
        for worker in &workers {
            worker.share(0, channels);
        }
        let (mut before, mut left) = (vec![0; workers.len()], Vec::new());
        for now in fed {
            // Who loses a channel stops before the next one begins.
            let mut order: Vec<usize> = (0..workers.len()).collect();
            order.sort_by_key(|&w| now[w] > before[w]);
            for w in order {
                if now[w] != before[w] {
                    workers[w].share(now[w], channels);
                }
            }
            before.clone_from(now);
            for _ in 0..100 {
                for (w, pace) in workers.iter().enumerate() {
                    while now[w] > 0 && pace.try_take(1).is_ok() {
                        left.push(Instant::now());
                    }
                }
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        left
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_sees_more_than_the_rate_and_one_burst_whoever_takes_over_from_whom() {
        use rand::rngs::StdRng;
        use rand::{RngExt, SeedableRng};
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let (rate, channels) = (random.random_range(20..800), random.random_range(1..7_u16));
            // Each channel has a holder or none; it changes at random, sometimes back and forth at once.
            let mut holders = vec![None; usize::from(channels)];
            let mut fed = Vec::new();
            for _ in 0..200 {
                for holder in &mut holders {
                    if random.random_bool(0.1) {
                        *holder = random.random_bool(0.8).then(|| random.random_range(0..3_usize));
                    }
                }
                let of = |w| u16::try_from(holders.iter().filter(|h| **h == Some(w)).count()).unwrap();
                fed.push((0..3).map(of).collect());
            }
            let left = relay(rate, channels, &fed).await;
            let burst = (f64::from(rate) * BURST).max(LEAST_BURST);
            let (fullest, most) = (f64::from(fullest_second(&left)), f64::from(rate) + burst);
            // Of the first and the last token of a second some part lies outside it.
            assert!(fullest <= most + 1.0, "{seed}: {fullest} of {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_shares_of_all_make_up_the_whole_rate() {
        for fed in [vec![3, 0, 0], vec![1, 1, 1], vec![0, 2, 1]] {
            let left = relay(300, 3, &vec![fed; 100]).await;
            assert!((2_980..=3_010).contains(&left.len()), "{}", left.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learnt_about_the_provider_is_scaled_with_the_share() {
        let pace = Pace::new(1_000);
        pace.share(2, 4);
        assert_eq!(pace.rate(), Some(500.0));
        assert_eq!(pace.throttled(0.0), Some(250.0));
        pace.share(1, 4);
        assert_eq!(pace.rate(), Some(125.0));
        assert!((pace.factor() - 0.5).abs() < 1e-9);
        pace.share(4, 4);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(pace.rate(), Some(1_000.0));
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
