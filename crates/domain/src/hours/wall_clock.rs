//! A date and time on the wall clock of a zone, as people write it without an offset.

use jiff::civil::Date;
use jiff::tz::AmbiguousOffset;

use super::Zone;
use crate::time::Timestamp;

/// A moment on a wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallClock {
    /// The year, with all of its digits.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
    /// Hour, minute, second. `None` is the beginning of the day, which need not be midnight.
    pub time: Option<(i8, i8, i8)>,
}

/// Why a wall clock never shows a date and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WallClockError {
    /// 31 April, or 25:00.
    #[error("is not a date and time of the calendar")]
    Calendar,
    /// The hour that is left out when summer time begins.
    #[error("is in the hour that the clock skips when summer time begins")]
    Skipped,
}

impl WallClock {
    /// The moment at which the clock of `zone` shows this. When summer time ends it shows an hour twice; the later one counts,
    /// so that nothing is taken to have happened before it did.
    ///
    /// # Errors
    /// Returns [`WallClockError`] if the clock never shows it.
    pub fn moment(self, zone: &Zone) -> Result<Timestamp, WallClockError> {
        let date = Date::new(self.year, self.month, self.day).map_err(|_| WallClockError::Calendar)?;
        let (hour, minute, second) = self.time.unwrap_or_default();
        let time = jiff::civil::Time::new(hour, minute, second, 0).map_err(|_| WallClockError::Calendar)?;
        let found = zone.0.to_ambiguous_timestamp(date.to_datetime(time));
        let at = match found.offset() {
            AmbiguousOffset::Gap { .. } if self.time.is_some() => return Err(WallClockError::Skipped),
            AmbiguousOffset::Fold { .. } if self.time.is_some() => found.later(),
            _ => found.compatible(),
        };
        at.map(|at| Timestamp::from_millis(at.as_millisecond())).map_err(|_| WallClockError::Calendar)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::winter(2026, 1, 15, Some((10, 0, 0)), Ok("2026-01-15T09:00:00.000Z"))]
    #[case::summer(2026, 7, 15, Some((10, 0, 0)), Ok("2026-07-15T08:00:00.000Z"))]
    #[case::date(2026, 7, 15, None, Ok("2026-07-14T22:00:00.000Z"))]
    #[case::before_spring(2026, 3, 29, Some((1, 59, 59)), Ok("2026-03-29T00:59:59.000Z"))]
    #[case::skipped(2026, 3, 29, Some((2, 30, 0)), Err(WallClockError::Skipped))]
    #[case::after_spring(2026, 3, 29, Some((3, 0, 0)), Ok("2026-03-29T01:00:00.000Z"))]
    #[case::before_autumn(2026, 10, 25, Some((1, 59, 59)), Ok("2026-10-24T23:59:59.000Z"))]
    #[case::twice(2026, 10, 25, Some((2, 30, 0)), Ok("2026-10-25T01:30:00.000Z"))]
    #[case::after_autumn(2026, 10, 25, Some((3, 0, 0)), Ok("2026-10-25T02:00:00.000Z"))]
    #[case::day_of_spring(2026, 3, 29, None, Ok("2026-03-28T23:00:00.000Z"))]
    #[case::no_day(2026, 4, 31, None, Err(WallClockError::Calendar))]
    #[case::no_hour(2026, 4, 30, Some((25, 0, 0)), Err(WallClockError::Calendar))]
    fn both_changes_of_summer_time(
        #[case] year: i16,
        #[case] month: i8,
        #[case] day: i8,
        #[case] time: Option<(i8, i8, i8)>,
        #[case] expected: Result<&str, WallClockError>,
    ) {
        let zone: Zone = "Europe/Amsterdam".parse().unwrap();
        let moment = WallClock { year, month, day, time }.moment(&zone).map(|at| at.to_string());
        assert_eq!(moment, expected.map(str::to_owned));
    }
}
