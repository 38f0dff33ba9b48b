//! A time of every day, such as `06:30`: for what is done once a day.

use std::fmt;
use std::str::FromStr;

use super::{DAY, HoursError, Zone, minute_of_day, parse, wall_clock};
use crate::time::Timestamp;

/// A minute of every day on the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DailyTime(u16);

impl FromStr for DailyTime {
    type Err = HoursError;

    /// # Errors
    /// Returns [`HoursError`] if the text is not a time from `00:00` to `23:59`.
    fn from_str(text: &str) -> Result<Self, HoursError> {
        match parse::read_time(text) {
            Ok(minute) if minute < DAY => Ok(Self(minute)),
            _ => Err(HoursError(format!("{} is not a time from 00:00 to 23:59", parse::quoted(text)))),
        }
    }
}

impl fmt::Display for DailyTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// The day, and the minute of it, that the wall clock of a zone shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Today {
    /// As in ISO 8601: `2026-11-23`.
    pub date: String,
    minute: u16,
}

impl Today {
    /// Returns the time on the wall clock of `zone` at `at`.
    #[must_use]
    pub fn at(at: Timestamp, zone: &Zone) -> Self {
        let wall = wall_clock(at, zone);
        Self { date: wall.date().to_string(), minute: minute_of_day(wall) }
    }

    /// Whether `time` has come on this day. One that the clock skips in spring has come right after.
    #[must_use]
    pub const fn is_past(&self, time: DailyTime) -> bool {
        self.minute >= time.0
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_time_of_day_reads_back() {
        for text in ["00:00", "06:30", "23:59"] {
            assert_eq!(text.parse::<DailyTime>().unwrap().to_string(), text);
        }
        assert_eq!("6:30".parse::<DailyTime>().unwrap().to_string(), "06:30");
        for bad in ["24:00", "06:60", "6", "half seven", "", "-1:00"] {
            assert!(bad.parse::<DailyTime>().is_err(), "{bad}");
        }
    }

    #[rstest]
    #[case("2026-11-23T05:29:59Z", "2026-11-23", false)]
    #[case("2026-11-23T05:30:00Z", "2026-11-23", true)]
    // Summer time, and a day that has begun here and not there.
    #[case("2026-07-01T04:30:00Z", "2026-07-01", true)]
    #[case("2026-11-23T23:10:00Z", "2026-11-24", false)]
    fn it_is_past_from_its_minute_to_the_end_of_the_day(
        #[case] at: &str,
        #[case] date: &str,
        #[case] past: bool,
    ) {
        let today = Today::at(Timestamp::parse(at).unwrap(), &"Europe/Amsterdam".parse().unwrap());
        assert_eq!((today.date.as_str(), today.is_past("06:30".parse().unwrap())), (date, past));
    }

    #[test]
    fn a_time_that_the_clock_skips_is_past_right_after() {
        let zone = "Europe/Amsterdam".parse().unwrap();
        let past = |at| Today::at(Timestamp::parse(at).unwrap(), &zone).is_past("02:30".parse().unwrap());
        assert!(!past("2026-03-29T00:59:59Z"));
        assert!(past("2026-03-29T01:00:00Z"));
    }
}
