//! Weekly hours: when a place wants alerts. Written as a subset of the OpenStreetMap
//! `opening_hours` form: `Mo-Fr 08:00-18:00; Sa 10:00-02:00`. Dutch day names work too (`ma-vr`).

use crate::time::Timestamp;

/// An IANA time zone.
#[derive(Clone, Debug)]
pub struct Zone(pub jiff::tz::TimeZone);

impl std::str::FromStr for Zone {
    type Err = HoursError;
    fn from_str(_: &str) -> Result<Self, HoursError> {
        unimplemented!()
    }
}

/// Spans of minutes in a week; a span may pass midnight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeeklyHours {}

/// What is wrong with the hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HoursError(pub String);

impl std::str::FromStr for WeeklyHours {
    type Err = HoursError;
    fn from_str(_: &str) -> Result<Self, HoursError> {
        unimplemented!()
    }
}

impl std::fmt::Display for WeeklyHours {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        unimplemented!()
    }
}

impl WeeklyHours {
    /// Whether `at` falls inside the hours, on the wall clock of `zone`.
    #[must_use]
    pub fn contains(&self, _at: Timestamp, _zone: &Zone) -> bool {
        unimplemented!()
    }
}

/// A span of every day, such as the quiet hours `22:00-07:00`; may pass midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DailySpan {}

impl std::str::FromStr for DailySpan {
    type Err = HoursError;
    fn from_str(_: &str) -> Result<Self, HoursError> {
        unimplemented!()
    }
}

impl DailySpan {
    /// Whether `at` falls inside, on the wall clock of `zone`.
    #[must_use]
    pub fn contains(&self, _at: Timestamp, _zone: &Zone) -> bool {
        unimplemented!()
    }
}
