//! Time: epoch milliseconds inside, RFC 3339 outside, and a clock that tests can set.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment, in milliseconds since 1970-01-01T00:00:00Z. Written and read as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment and `duration` later; stays at the end of time rather than wrapping.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment and `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads a time as RFC 3339 §5.6 has it and no other form of ISO 8601, such as `2026-11-23T16:00:00+01:00`. `t` and `z`
    /// may be lower case, as its grammar says; a space for the `T` is not in the grammar. A leap second stands at the end of a month
    /// in UTC, and is the first second of the next one, as in POSIX. Digits behind the milliseconds are cut.
    ///
    /// # Errors
    /// Returns [`TimestampError`] if the text is something else, or has no offset.
    pub fn parse(text: &str) -> Result<Self, TimestampError> {
        date_time(text).ok_or(TimestampError)
    }
}

const EPOCH: jiff::civil::Date = jiff::civil::date(1970, 1, 1);

/// Reads `date-time` of RFC 3339 §5.6.
fn date_time(text: &str) -> Option<Timestamp> {
    let number = |from: usize, length: usize| {
        let digits = text.get(from..from + length)?;
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<i16>().ok())?
    };
    let small = |from: usize, max: i8| i8::try_from(number(from, 2)?).ok().filter(|number| *number <= max);
    let is = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let date = jiff::civil::Date::new(number(0, 4)?, small(5, 12)?, small(8, 31)?).ok()?;
    let (hour, minute, second) = (small(11, 23)?, small(14, 59)?, small(17, 60)?);
    let rest = text.get(19..)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("0", rest),
    };
    let millis =
        fraction.bytes().chain(*b"00").take(3).fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let minutes_east = match zone.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = i64::from(small(at, 23)?) * 60 + i64::from(small(at + 3, 59)?);
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let days = date.duration_since(EPOCH).as_hours() / 24;
    let seconds =
        ((days * 24 + i64::from(hour)) * 60 + i64::from(minute) - minutes_east) * 60 + i64::from(second);
    let is_month = || {
        let date =
            EPOCH.checked_add(jiff::SignedDuration::from_hours(seconds.div_euclid(86_400) * 24)).ok()?;
        Some(seconds.rem_euclid(86_400) == 0 && date.day() == 1)
    };
    if fraction.is_empty() || (second == 60 && is_month() != Some(true)) {
        return None;
    }
    Some(Timestamp(seconds * 1_000 + millis))
}

/// The text is not a time in RFC 3339 with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with an offset, such as 2026-11-23T16:00:00+01:00")]
pub struct TimestampError;

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The source of `now`. The only place that reads the wall clock is [`SystemClock`].
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(0).plus(since_epoch)
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_millis()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.0.fetch_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_time_needs_an_offset() {
        assert!(Timestamp::parse("2026-11-23T16:00:00").is_err());
        assert!(Timestamp::parse("2026-11-23").is_err());
        let t = Timestamp::parse("2026-11-23T16:00:00.5+01:00").unwrap();
        assert_eq!(t.to_string(), "2026-11-23T15:00:00.500Z");
        assert_eq!(Timestamp::parse(&t.to_string()), Ok(t));
    }

    #[rstest]
    #[case("2026-11-30T10:00:00Z", "2026-11-30T10:00:00.000Z")]
    #[case("2026-11-30t10:00:00z", "2026-11-30T10:00:00.000Z")]
    #[case("2026-11-30T10:00:00-00:00", "2026-11-30T10:00:00.000Z")]
    #[case("2026-11-30T10:00:00+23:59", "2026-11-29T10:01:00.000Z")]
    #[case("2026-11-30T10:00:00.1Z", "2026-11-30T10:00:00.100Z")]
    #[case("2026-11-30T10:00:00.123456789012Z", "2026-11-30T10:00:00.123Z")]
    #[case("2024-02-29T00:00:00-05:30", "2024-02-29T05:30:00.000Z")]
    #[case("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500Z")]
    #[case("1990-12-31T23:59:60Z", "1991-01-01T00:00:00.000Z")]
    #[case("1990-12-31T15:59:60-08:00", "1991-01-01T00:00:00.000Z")]
    #[case("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z")]
    fn rfc_3339_is_read(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), expected);
    }

    #[rstest]
    fn other_forms_of_iso_8601_are_refused(
        #[values(
            "2026-11-30T10:00:00+25:59",
            "2026-11-30T10:00:00+24:00",
            "2026-11-30T10:00:00+01:60",
            "20261130T100000Z",
            "2026-11-30T10:00Z",
            "2026-11-30T10Z",
            "2026-11-30 10:00:00Z",
            "2026-11-30_10:00:00Z",
            "2026-11-30T10:00:00",
            "2026-11-30T10:00:00+0100",
            "2026-11-30T10:00:00+01",
            "2026-11-30T10:00:00+01:00:00",
            "2026-11-30T10:00:00,5Z",
            "2026-11-30T10:00:00.Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T10:60:00Z",
            "2026-11-30T10:00:61Z",
            "2026-11-30T10:00:60Z",
            "2026-11-30T23:59:60Z+01:00",
            "2026-12-15T23:59:60Z",
            "2026-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "+002026-11-30T10:00:00Z",
            "-000001-11-30T10:00:00Z",
            "2026-W48-1T10:00:00Z",
            "2026-334T10:00:00Z",
            " 2026-11-30T10:00:00Z",
            "2026-11-30T10:00:00Z ",
            "2026-11-30T10:00:00Z[Europe/Amsterdam]",
            "2026-11-30T10:00:00 +01:00",
            "2026-11-30T10:00:00\u{2212}01:00",
            "٢026-11-30T10:00:00Z",
            "2026-1-30T10:00:00Z",
            "",
            "Z"
        )]
        text: &str,
    ) {
        assert_eq!(Timestamp::parse(text), Err(TimestampError));
    }

    #[test]
    fn arithmetic_never_wraps() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(Timestamp::from_millis(5).since(end), Duration::ZERO);
    }
}
