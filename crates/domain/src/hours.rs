//! Weekly hours: when a place wants alerts. Written as a subset of the `OpenStreetMap`
//! `opening_hours` form: `Mo-Fr 08:00-18:00; Sa 10:00-02:00`. Dutch day names work too (`ma-vr`).
//!
//! Hours are wall clock: across a change of summer time `08:00` stays eight o'clock.

mod daily;
mod parse;
mod show;
mod wall_clock;

use std::str::FromStr;

pub use daily::{DailyTime, Today};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
pub use wall_clock::{WallClock, WallClockError};

use crate::time::Timestamp;

/// Minutes in a day.
const DAY: u16 = 24 * 60;
/// Minutes in a week.
const WEEK: u16 = 7 * DAY;

/// An IANA time zone.
#[derive(Clone, Debug)]
pub struct Zone(pub TimeZone);

impl FromStr for Zone {
    type Err = HoursError;

    /// # Errors
    /// Returns [`HoursError`] if the tz database does not know the name.
    fn from_str(name: &str) -> Result<Self, HoursError> {
        match TimeZone::get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            _ => Err(HoursError(format!(
                "{} is not an IANA time zone such as Europe/Amsterdam",
                parse::quoted(name)
            ))),
        }
    }
}

/// The mistake in the hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HoursError(pub String);

/// The minute of the week, 0 (Monday 00:00) to 10,079, that the wall clock of `zone` shows at `at`.
///
/// One alert looks at many places: compute this once and ask [`WeeklyHours::contains_minute`].
#[must_use]
pub fn minute_of_week(at: Timestamp, zone: &Zone) -> u16 {
    let wall = wall_clock(at, zone);
    u16::from(wall.weekday().to_monday_zero_offset().unsigned_abs()) * DAY + minute_of_day(wall)
}

fn minute_of_day(wall: DateTime) -> u16 {
    let part = |value: i8| u16::from(value.unsigned_abs());
    part(wall.hour()) * 60 + part(wall.minute())
}

/// Returns the date and time on the wall clock of `zone` at `at`.
fn wall_clock(at: Timestamp, zone: &Zone) -> DateTime {
    let end_of_time = if at.as_millis() < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    zone.0.to_datetime(jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or(end_of_time))
}

/// Spans of minutes in a week; a span may pass midnight. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeeklyHours {
    /// Start and end (exclusive) in minutes of the week: sorted, apart from each other, not past the week's end.
    spans: Box<[(u16, u16)]>,
}

impl WeeklyHours {
    /// Of spans that start in the week and may run past its end; they may overlap.
    fn from_spans(spans: Vec<(u16, u16)>) -> Self {
        let mut cut = Vec::with_capacity(spans.len() + 1);
        for (start, end) in spans {
            cut.push((start, end.min(WEEK)));
            if end > WEEK {
                cut.push((0, end - WEEK));
            }
        }
        cut.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::with_capacity(cut.len());
        for (start, end) in cut {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        Self { spans: joined.into() }
    }

    /// Whether `at` falls inside the hours, on the wall clock of `zone`. The end of a span is not inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp, zone: &Zone) -> bool {
        self.contains_minute(minute_of_week(at, zone))
    }

    /// Whether a minute of [`minute_of_week`] falls inside the hours.
    #[must_use]
    pub fn contains_minute(&self, minute_of_week: u16) -> bool {
        let after = self.spans.partition_point(|&(start, _)| start <= minute_of_week);
        self.spans[..after].last().is_some_and(|&(_, end)| minute_of_week < end)
    }
}

/// A span of every day, such as the quiet hours `22:00-07:00`; may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailySpan {
    /// Minutes of the day; `end` (exclusive) runs past 1,440 if the span passes midnight.
    start: u16,
    end: u16,
}

impl DailySpan {
    /// Whether `at` falls inside, on the wall clock of `zone`. The end is not inside.
    #[must_use]
    pub fn contains(&self, at: Timestamp, zone: &Zone) -> bool {
        let minute = minute_of_week(at, zone) % DAY;
        (self.start..self.end).contains(&minute) || minute + DAY < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn hours(text: &str) -> WeeklyHours {
        text.parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn amsterdam() -> Zone {
        "Europe/Amsterdam".parse().unwrap()
    }

    /// 2026-11-23 is a Monday.
    #[rstest]
    #[case("Mo-Fr 08:00-18:00", "2026-11-23T07:59:59+01:00", false)]
    #[case("Mo-Fr 08:00-18:00", "2026-11-23T08:00:00+01:00", true)]
    #[case("Mo-Fr 08:00-18:00", "2026-11-23T17:59:59+01:00", true)]
    #[case("Mo-Fr 08:00-18:00", "2026-11-23T18:00:00+01:00", false)]
    #[case("Mo-Fr 08:00-18:00", "2026-11-28T12:00:00+01:00", false)]
    #[case("Sa 10:00-02:00", "2026-11-29T01:59:00+01:00", true)]
    #[case("Sa 10:00-02:00", "2026-11-29T02:00:00+01:00", false)]
    #[case("Sa 10:00-02:00", "2026-11-28T01:00:00+01:00", false)]
    #[case("Su 22:00-04:00", "2026-11-23T03:00:00+01:00", true)]
    #[case("Sa-Mo 09:00-10:00", "2026-11-23T09:30:00+01:00", true)]
    #[case("Sa-Mo 09:00-10:00", "2026-11-24T09:30:00+01:00", false)]
    #[case("24/7", "2026-11-29T23:59:59+01:00", true)]
    #[case("00:00-24:00", "2026-11-25T23:59:59+01:00", true)]
    fn a_moment_is_inside_or_not(#[case] text: &str, #[case] moment: &str, #[case] inside: bool) {
        assert_eq!(hours(text).contains(at(moment), &amsterdam()), inside);
    }

    /// 2026-03-29: from 01:59:59 +01:00 the clock goes to 03:00 +02:00.
    #[rstest]
    #[case("Su 01:00-02:00", "2026-03-29T00:59:59Z", true)]
    #[case("Su 01:00-02:30", "2026-03-29T01:00:00Z", false)]
    #[case("Su 02:00-03:00", "2026-03-29T00:59:59Z", false)]
    #[case("Su 02:00-03:00", "2026-03-29T01:00:00Z", false)]
    #[case("Su 03:00-04:00", "2026-03-29T01:00:00Z", true)]
    #[case("Mo-Su 08:00-18:00", "2026-03-28T07:00:00Z", true)]
    #[case("Mo-Su 08:00-18:00", "2026-03-29T06:00:00Z", true)]
    #[case("Mo-Su 08:00-18:00", "2026-03-29T05:59:59Z", false)]
    fn the_night_that_is_an_hour_short(#[case] text: &str, #[case] moment: &str, #[case] inside: bool) {
        assert_eq!(hours(text).contains(at(moment), &amsterdam()), inside);
    }

    /// 2026-10-25: 02:00 to 03:00 comes twice, first at +02:00, then at +01:00.
    #[rstest]
    #[case("Su 02:00-03:00", "2026-10-25T00:30:00Z", true)]
    #[case("Su 02:00-03:00", "2026-10-25T01:30:00Z", true)]
    #[case("Su 02:00-03:00", "2026-10-25T02:00:00Z", false)]
    #[case("Sa 22:00-02:30", "2026-10-25T01:29:00Z", true)]
    #[case("Mo-Su 08:00-18:00", "2026-10-25T06:59:59Z", false)]
    #[case("Mo-Su 08:00-18:00", "2026-10-25T07:00:00Z", true)]
    fn the_night_that_is_an_hour_long(#[case] text: &str, #[case] moment: &str, #[case] inside: bool) {
        assert_eq!(hours(text).contains(at(moment), &amsterdam()), inside);
    }

    #[rstest]
    #[case("22:00-07:00", "2026-11-23T21:59:59+01:00", false)]
    #[case("22:00-07:00", "2026-11-23T22:00:00+01:00", true)]
    #[case("22:00-07:00", "2026-11-24T00:00:00+01:00", true)]
    #[case("22:00-07:00", "2026-11-24T06:59:59+01:00", true)]
    #[case("22:00-07:00", "2026-11-24T07:00:00+01:00", false)]
    #[case("12:00-14:00", "2026-11-24T13:00:00+01:00", true)]
    #[case("12:00-14:00", "2026-11-24T14:00:00+01:00", false)]
    #[case("22:00-24:00", "2026-11-24T00:00:00+01:00", false)]
    #[case("22:00-07:00", "2026-10-25T01:30:00Z", true)]
    fn quiet_hours_pass_midnight(#[case] text: &str, #[case] moment: &str, #[case] inside: bool) {
        let span: DailySpan = text.parse().unwrap();
        assert_eq!(span.contains(at(moment), &amsterdam()), inside);
        assert_eq!(span.to_string(), text);
    }

    #[test]
    fn a_zone_is_known_by_name() {
        assert!("Europe/Amsterdam".parse::<Zone>().is_ok());
        for name in ["Europe/Utrecht", "", "Etc/Unknown", "CEST"] {
            assert!(name.parse::<Zone>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_week_starts_on_monday_and_the_ends_of_time_have_a_minute() {
        assert_eq!(minute_of_week(at("2026-11-23T00:00:30+01:00"), &amsterdam()), 0);
        assert_eq!(minute_of_week(at("2026-11-29T23:59:59+01:00"), &amsterdam()), WEEK - 1);
        for millis in [i64::MIN, i64::MAX] {
            assert!(minute_of_week(Timestamp::from_millis(millis), &amsterdam()) < WEEK);
        }
    }
}
