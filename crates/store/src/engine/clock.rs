//! The time that leases are judged by: the database's. Workers on several machines compare each other's deadlines, and two
//! machines never agree to the millisecond.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock, Timestamp};
use tokio::time::Instant;

use crate::engine::db::Db;
use crate::{Result, Store};

/// A clock that drifts by 50 ppm, as cheap ones do, is 3 ms off after this time.
const MEASURE_EVERY: Duration = Duration::from_mins(1);
/// After a measurement that failed: the database may be another one when it comes back.
const MEASURE_AGAIN: Duration = Duration::from_secs(5);
/// The answer with the shortest way counts: half of its way is what the clock may be off.
const SAMPLES: u32 = 5;
/// Beyond this an operator should look at the machine's NTP.
const WARN_ABOVE: Duration = Duration::from_secs(1);

const SERVER_TIME: &str = "SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::bigint";

/// The database server's clock, as far as it can be read from here: its time when it was last asked, and what has passed
/// since by our own steady clock. A jump of this machine's wall clock does not move it.
#[derive(Debug)]
pub struct DatabaseClock {
    /// The instant from which the steady clock counts.
    began: Instant,
    /// The server's time at `began`, in milliseconds.
    base: AtomicI64,
    store: Store,
}

/// One answer of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sample {
    /// The server's time at `began`, as this answer has it.
    base: i64,
    /// From the question to the answer.
    way: Duration,
}

impl DatabaseClock {
    /// Asks the server for its time. With SQLite the server is this machine.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn new(store: Store) -> Result<Self> {
        let clock = Self { began: Instant::now(), base: AtomicI64::new(0), store };
        clock.measure().await?;
        Ok(clock)
    }

    /// Asks again each minute, as long as the process runs. Not at all with SQLite, which has no server to ask.
    pub async fn keep(&self) {
        if matches!(self.store.db, Db::Sqlite { .. }) {
            return std::future::pending().await;
        }
        loop {
            let pause = match self.measure().await {
                Ok(()) => MEASURE_EVERY,
                Err(error) => {
                    tracing::warn!(%error, "the database's clock could not be read");
                    MEASURE_AGAIN
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn measure(&self) -> Result<()> {
        let Db::Postgres { pool, heartbeat } = &self.store.db else {
            return Ok(());
        };
        let mut samples = Vec::new();
        for _ in 0..SAMPLES {
            let asked = Instant::now();
            let server: i64 = sqlx::query_scalar(SERVER_TIME).fetch_one(heartbeat.guarded(pool)).await?;
            samples.push(sample(asked.duration_since(self.began), self.began.elapsed(), server));
        }
        if let Some(best) = samples.into_iter().min_by_key(|sample| sample.way) {
            self.base.store(best.base, Ordering::Relaxed);
        }
        let off = off(self.now(), SystemClock.now());
        if off > WARN_ABOVE {
            tracing::warn!(
                off_ms = off.as_millis(),
                "this machine's clock and the database's differ: leases go by the database's; look at NTP"
            );
        }
        Ok(())
    }
}

/// The server's answer is from the middle of its way.
fn sample(asked: Duration, answered: Duration, server: i64) -> Sample {
    let way = answered.saturating_sub(asked);
    Sample { base: server.saturating_sub(millis(asked + way / 2)), way }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn off(one: Timestamp, other: Timestamp) -> Duration {
    one.since(other).max(other.since(one))
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        match self.store.db {
            Db::Sqlite { .. } => SystemClock.now(),
            Db::Postgres { .. } => {
                let base = self.base.load(Ordering::Relaxed);
                Timestamp::from_millis(base.saturating_add(millis(self.began.elapsed())))
            }
        }
    }
}

/// Beyond this the wall clock was set, and did not drift.
const STEP: Duration = Duration::from_secs(5);

/// The wall clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockStep {
    /// The time that it showed afterwards.
    pub at: Timestamp,
    /// By how many milliseconds; less than zero: back.
    pub by_ms: i64,
}

/// Compares the clock that the work goes by with the steady one, whenever somebody looks.
#[derive(Debug)]
pub struct ClockWatch {
    began: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The clock, and how long the process has run by the steady one.
    last: Option<(Timestamp, Duration)>,
    steps: u64,
    step: Option<ClockStep>,
}

impl Default for ClockWatch {
    fn default() -> Self {
        Self { began: Instant::now(), seen: Mutex::default() }
    }
}

impl ClockWatch {
    /// Looks at the clock, which shows `now`. Returns the step since the last look, if there was one, to one caller.
    pub fn look(&self, now: Timestamp) -> Option<ClockStep> {
        let step = self.look_at(now, self.began.elapsed());
        if let Some(ClockStep { by_ms, .. }) = step {
            tracing::warn!(by_ms, "the clock was set; what waited for a time is pulled in");
        }
        step
    }

    fn look_at(&self, now: Timestamp, steady: Duration) -> Option<ClockStep> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (then, before) = seen.last.replace((now, steady))?;
        let by_ms = now.as_millis() - then.as_millis() - millis(steady.saturating_sub(before));
        if by_ms.unsigned_abs() <= STEP.as_millis().try_into().unwrap_or(u64::MAX) {
            return None;
        }
        let step = ClockStep { at: now, by_ms };
        seen.steps += 1;
        seen.step = Some(step);
        Some(step)
    }

    /// The steps since the process began: how many, and the last.
    pub fn steps(&self) -> (u64, Option<ClockStep>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.steps, seen.step)
    }
}

#[cfg(test)]
mod tests {
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::Fixture;

    #[test]
    fn an_answer_counts_for_the_middle_of_its_way() {
        let second = Duration::from_secs(1);
        let sample = sample(10 * second, 12 * second, 1_000_000);
        assert_eq!(sample, Sample { base: 1_000_000 - 11_000, way: 2 * second });
    }

    #[test]
    fn how_far_clocks_are_apart_has_no_sign() {
        let (early, late) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(off(early, late), off(late, early));
        assert!(off(early, late) > WARN_ABOVE);
    }

    #[test]
    fn a_step_is_seen_once_and_a_drift_is_none() {
        let (watch, at) = (ClockWatch::default(), Timestamp::from_millis);
        let (second, hour) = (Duration::from_secs(1), 3_600_000);
        assert_eq!(watch.look_at(at(10 * hour), Duration::ZERO), None, "the first look knows nothing");
        assert_eq!(watch.look_at(at(10 * hour + 5_900), second), None, "almost 5 seconds");
        let back = ClockStep { at: at(9 * hour), by_ms: -hour - 6_900 };
        assert_eq!(watch.look_at(at(9 * hour), 2 * second), Some(back));
        assert_eq!(watch.look_at(at(9 * hour + 1_000), 3 * second), None);
        let on = ClockStep { at: at(10 * hour + 2_000), by_ms: hour };
        assert_eq!(watch.look_at(at(10 * hour + 2_000), 4 * second), Some(on));
        assert_eq!(watch.steps(), (2, Some(on)));
        // Nobody looked for a day.
        assert_eq!(watch.look_at(at(34 * hour + 2_000), 4 * second + Duration::from_hours(24)), None);
    }

    #[rstest]
    #[tokio::test]
    async fn the_clock_shows_the_servers_time(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let fixture = Fixture::new(engine).await;
        let clock = DatabaseClock::new(fixture.store.clone()).await.unwrap();
        let before = SystemClock.now();
        let shown = clock.now();
        // Server and test share a machine: the way of the answer is all that can be between them.
        assert!(off(shown, before) < Duration::from_secs(10), "{shown} {before}");
        if let Db::Postgres { .. } = fixture.store.db {
            clock.base.fetch_add(5_000_000, Ordering::Relaxed);
            assert!(off(clock.now(), before) > Duration::from_secs(1_000), "it does not show our own time");
            clock.measure().await.unwrap();
            assert!(off(clock.now(), before) < Duration::from_secs(1_000), "it was set again");
        }
    }
}
