use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// A pace whose channels are all held by this worker.
fn ours(segments_per_second: u32) -> Pace {
    let pace = Pace::new(segments_per_second, 1);
    pace.set_channels_held(1);
    pace
}

async fn take(pace: &Pace, messages: u32, segments: u8) -> Duration {
    let start = Instant::now();
    for _ in 0..messages {
        while let Err(wait) = pace.try_acquire(segments) {
            tokio::time::sleep(wait).await;
        }
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_long_message_costs_its_segments() {
    let (short, long) = (ours(100), ours(100));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (short, long) = (take(&short, 110, 1).await, take(&long, 110, 3).await);
    // 110 segments at 100 a second; 330.
    assert!((1.0..1.2).contains(&short.as_secs_f64()), "{short:?}");
    assert!((3.1..3.4).contains(&long.as_secs_f64()), "{long:?}");
}

#[tokio::test(start_paused = true)]
async fn zero_is_no_limit_until_the_provider_complains() {
    let pace = ours(0);
    assert_eq!(take(&pace, 10_000, 1).await, Duration::ZERO);
    assert_eq!(pace.on_throttled(2000.0), Some(1000.0));
    let slowed = take(&pace, 1000, 1).await;
    assert!((0.95..1.1).contains(&slowed.as_secs_f64()), "{slowed:?}");
    // A quarter more each second from one half.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(take(&pace, 10_000, 1).await, Duration::ZERO);
    assert_eq!(pace.rate(), None);
}

/// The number of segments in the fullest second that ends with one of `times`, which are in order.
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

/// Workers that share a gateway, and the times at which segments left.
struct Relay {
    workers: Vec<Pace>,
    held: Vec<u16>,
    left: Vec<Instant>,
}

impl Relay {
    fn new(workers: usize, rate: u32, channels: u16) -> Self {
        let workers: Vec<Pace> = (0..workers).map(|_| Pace::new(rate, channels)).collect();
        Self { held: vec![0; workers.len()], workers, left: Vec::new() }
    }

    /// From now on each worker holds this many channels. A worker that loses a channel stops before the next one
    /// begins.
    fn hand_out(&mut self, now: &[u16]) {
        let mut order: Vec<usize> = (0..now.len()).collect();
        order.sort_by_key(|&w| now[w] > self.held[w]);
        for w in order {
            if now[w] != self.held[w] {
                self.workers[w].set_channels_held(now[w]);
            }
        }
        self.held = now.to_vec();
    }

    /// A worker with an endless queue sends whatever it may. `next` has the segments of its next message.
    fn send(&mut self, w: usize, next: &mut u8, mut then: impl FnMut() -> u8) {
        while self.held[w] > 0 && self.workers[w].try_acquire(*next).is_ok() {
            self.left.extend(std::iter::repeat_n(Instant::now(), usize::from(*next)));
            *next = then();
        }
    }
}

/// Three workers with endless queues, and channels that change hands at random. Returns when each segment left.
async fn relay(random: &mut StdRng, rate: u32, channels: u16, longest: u8) -> Vec<Instant> {
    const WORKERS: usize = 3;
    let mut relay = Relay::new(WORKERS, rate, channels);
    let mut holders = vec![None; usize::from(channels)];
    let mut next = [1_u8; WORKERS];
    let mut awake_at = [Instant::now(); WORKERS];
    let unrest = random.random_range(0.0005..0.03);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        if random.random_bool(unrest) {
            let chance = random.random_range(0.1..1.0);
            for holder in &mut holders {
                if random.random_bool(chance) {
                    *holder = random.random_bool(0.8).then(|| random.random_range(0..WORKERS));
                }
            }
            let of = |w| u16::try_from(holders.iter().filter(|h| **h == Some(w)).count()).unwrap();
            relay.hand_out(&[of(0), of(1), of(2)]);
        }
        for w in 0..WORKERS {
            if Instant::now() < awake_at[w] {
                continue;
            }
            relay.send(w, &mut next[w], || random.random_range(1..=longest));
            if random.random_bool(0.002) {
                awake_at[w] = Instant::now() + Duration::from_millis(random.random_range(1..1_500));
            }
        }
        let stall = random.random_bool(0.001);
        let micros = if stall { random.random_range(0..900_000) } else { random.random_range(0..6_000) };
        tokio::time::advance(Duration::from_micros(micros)).await;
    }
    relay.left
}

#[tokio::test(start_paused = true)]
async fn no_second_sees_more_than_the_rate_and_no_burst_whoever_takes_over_from_whom() {
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let (channels, longest) = (random.random_range(1..7_u16), random.random_range(1..=4_u8));
        let rate = random.random_range(1..800);
        let left = relay(&mut random, rate, channels, longest).await;
        let fullest = fullest_second(&left);
        // If a channel's part is less than a message, each worker still sends one.
        let least = u32::from(longest) * u32::from(channels);
        let most = if rate >= least { rate } else { rate + 3 * u32::from(longest) };
        assert!(
            fullest <= most,
            "{seed}: {fullest} at {rate}, {channels} channels, up to {longest} segments"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn less_than_a_segment_a_second_is_not_nothing() {
    let pace = Pace::new(1, 4);
    pace.set_channels_held(2);
    let took = take(&pace, 5, 1).await;
    assert!((8.0..=11.0).contains(&took.as_secs_f64()), "two seconds for each: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_shares_of_all_make_up_the_whole_rate() {
    for held in [[3, 0, 0], [1, 1, 1], [0, 2, 1]] {
        let mut relay = Relay::new(3, 300, 3);
        relay.hand_out(&held);
        let begun = Instant::now() + Duration::from_secs(2);
        while Instant::now() < begun + Duration::from_secs(10) {
            for w in 0..3 {
                relay.send(w, &mut 1, || 1);
            }
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        // The first second is shared with the previous sender.
        let left = relay.left.iter().filter(|at| **at >= begun).count();
        assert!((2_950..=3_000).contains(&left), "{left}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_stays_owed_when_the_rate_changes() {
    let pace = ours(30);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(pace.try_acquire(30), Ok(()), "longer than what is saved up: 20 are owed");
    pace.on_throttled(30.0);
    let paid = Duration::from_secs_f64(21.0 / 15.0);
    let wait = async {
        let start = Instant::now();
        while let Err(wait) = pace.try_acquire(1) {
            tokio::time::sleep(wait).await;
        }
        start.elapsed()
    };
    // A quarter more after a second.
    assert!(wait.await >= paid.mul_f64(0.9));
}

#[tokio::test(start_paused = true)]
async fn a_slower_pace_that_ends_leaves_the_second_as_full_as_it_was() {
    let pace = ours(400);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut left = Vec::new();
    for n in 0..4_000_u32 {
        while let Err(wait) = pace.try_acquire(1) {
            tokio::time::sleep(wait).await;
        }
        left.push(Instant::now());
        if n == 500 {
            pace.on_throttled(400.0);
        }
        pace.on_accepted(1);
    }
    assert_eq!(pace.rate(), Some(400.0));
    let fullest = fullest_second(&left);
    assert!((380..=400).contains(&fullest), "{fullest}");
}

#[tokio::test(start_paused = true)]
async fn what_was_learnt_about_the_provider_is_scaled_with_the_share() {
    let pace = Pace::new(1_000, 4);
    pace.set_channels_held(2);
    assert_eq!(pace.rate(), Some(500.0));
    assert_eq!(pace.on_throttled(0.0), Some(250.0));
    pace.set_channels_held(1);
    assert_eq!(pace.rate(), Some(125.0));
    assert!((pace.factor() - 0.5).abs() < 1e-9);
    pace.set_channels_held(4);
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(pace.rate(), Some(1_000.0));
}

/// Plays a provider that accepts `limit` segments a second and complains about the rest.
async fn play(pace: &Pace, limit: u32, seconds: u32) -> (u32, u32) {
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..seconds {
        let second = Instant::now() + Duration::from_secs(1);
        let mut left = limit;
        while Instant::now() < second {
            match pace.try_acquire(1) {
                Ok(()) if left > 0 => {
                    left -= 1;
                    taken += 1;
                    pace.on_accepted(1);
                }
                Ok(()) => {
                    refused += 1;
                    pace.on_throttled(2_000.0);
                }
                Err(wait) => tokio::time::sleep(wait.max(Duration::from_micros(100))).await,
            }
        }
    }
    (taken, refused)
}

#[tokio::test(start_paused = true)]
async fn the_pace_settles_just_above_what_the_provider_takes() {
    let pace = ours(1_000);
    play(&pace, 200, 10).await;
    let (taken, refused) = play(&pace, 200, 10).await;
    assert!(taken > 1_900, "{taken}");
    assert!(refused < 250, "{refused}");
    // The provider accepts everything again.
    play(&pace, 100_000, 10).await;
    assert_eq!(pace.rate(), Some(1_000.0));
}

#[tokio::test(start_paused = true)]
async fn a_steady_few_complaints_do_not_grind_the_pace_down() {
    let pace = ours(1_000);
    for n in 0..30_000_u32 {
        while let Err(wait) = pace.try_acquire(1) {
            tokio::time::sleep(wait).await;
        }
        if n % 25 == 0 {
            pace.on_throttled(1_000.0);
        } else {
            pace.on_accepted(1);
        }
    }
    assert!(pace.rate().is_none_or(|rate| rate > 400.0), "{:?}", pace.rate());
}

#[tokio::test(start_paused = true)]
async fn a_window_full_of_complaints_cuts_once() {
    let pace = ours(1000);
    assert_eq!(pace.on_throttled(900.0), Some(500.0));
    for _ in 0..49 {
        assert_eq!(pace.on_throttled(900.0), None);
    }
    assert_eq!(pace.rate(), Some(500.0));
    tokio::time::sleep(ROUND).await;
    assert_eq!(pace.rate(), Some(250.0), "nothing was taken: half again, and no less");
}

#[tokio::test(start_paused = true)]
async fn the_rate_comes_back_and_never_dies() {
    let pace = ours(100);
    for _ in 0..20 {
        pace.on_throttled(100.0);
        tokio::time::sleep(ROUND).await;
    }
    assert_eq!(pace.rate(), Some(1.0));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(pace.rate(), Some(100.0));
    assert!((pace.factor() - 1.0).abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn it_saves_up_to_its_capacity_and_no_more() {
    let start = Instant::now();
    let mut bucket = TokenBucket::new(10.0, 5.0, 100.0, start);
    assert_eq!((0..9).filter(|_| bucket.try_acquire(1, start).is_ok()).count(), 5);
    let later = start + Duration::from_mins(1);
    assert_eq!((0..9).filter(|_| bucket.try_acquire(1, later).is_ok()).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_message_longer_than_the_bucket_is_paid_for_afterwards() {
    let start = Instant::now();
    let mut bucket = TokenBucket::new(1.0, 2.0, 2.0, start);
    assert_eq!(bucket.try_acquire(6, start), Ok(()));
    assert_eq!(bucket.try_acquire(1, start), Err(Duration::from_secs(5)));
    assert_eq!(bucket.try_acquire(1, start + Duration::from_secs(5)), Ok(()));
}
