//! Dates and times as people and spreadsheets write them: RFC 3339, ISO 8601 without an offset, and Dutch ones such as
//! `15-01-2026 10:00` and `15 januari 2026`, on the wall clock of the configured zone.

use klaroen_domain::hours::{WallClock, WallClockError, Zone};
use klaroen_domain::text::invisible::visible;
use klaroen_domain::time::Timestamp;

/// An earlier year is a mistake: nobody could get an SMS.
const YEAR_MIN: i16 = 1990;

const MONTHS: [[&str; 2]; 12] = [
    ["januari", "january"],
    ["februari", "february"],
    ["maart", "march"],
    ["april", "april"],
    ["mei", "may"],
    ["juni", "june"],
    ["juli", "july"],
    ["augustus", "august"],
    ["september", "september"],
    ["oktober", "october"],
    ["november", "november"],
    ["december", "december"],
];

const WEEKDAYS: [&str; 7] = ["maandag", "dinsdag", "woensdag", "donderdag", "vrijdag", "zaterdag", "zondag"];

/// Why a text is no date that counts as evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// Something else.
    #[error(
        "must be a date such as 2026-01-31 or 31-01-2026, with a time such as 10:00 if you like, or a time in RFC 3339"
    )]
    Form,
    /// `15-01-26`.
    #[error("has a year of two digits: write all four, such as 31-01-2026")]
    ShortYear,
    /// The year 26, or 1900, which spreadsheets write for an empty cell.
    #[error("is before 1990: check the year")]
    LongAgo,
    /// `46037`.
    #[error(
        "is a number: the spreadsheet wrote the date as a count of days; give the column the format Date and save it again"
    )]
    Serial,
    /// `01/02/2026`.
    #[error("may be the first or the second number for the month: write 2026-01-31")]
    MonthOrDay,
    /// `1/31/2026`.
    #[error("has the month first, as in America: write 2026-01-31")]
    American,
    /// The clock never shows it.
    #[error(transparent)]
    WallClock(#[from] WallClockError),
}

/// Reads a date or time.
///
/// # Errors
/// [`MomentError`].
pub fn read(text: &str, zone: &Zone) -> Result<Timestamp, MomentError> {
    let text = visible(text);
    let at = match Timestamp::parse(&text) {
        Ok(at) => at,
        Err(_) => read_wall_clock(&text)?.moment(zone)?,
    };
    let earliest = WallClock { year: YEAR_MIN, month: 1, day: 1, time: None }.moment(zone)?;
    if at < earliest { Err(MomentError::LongAgo) } else { Ok(at) }
}

fn read_wall_clock(text: &str) -> Result<WallClock, MomentError> {
    let text = text.to_lowercase();
    let mut words: Vec<&str> =
        text.split(|ch: char| ch.is_whitespace() || ch == ',').filter(|word| !word.is_empty()).collect();
    if is_serial(text.trim()) {
        return Err(MomentError::Serial);
    }
    // `2026-01-15T10:00`
    if let [whole] = words[..]
        && let Some((date, time)) = whole.split_once('t')
        && time.contains(':')
    {
        words = vec![date, time];
    }
    if words.last() == Some(&"uur") {
        words.pop();
    }
    if words.first().is_some_and(|word| is_weekday(word)) {
        words.remove(0);
    }
    let time = match words.last() {
        Some(word) if word.contains(':') => {
            let time = read_time(word).ok_or(MomentError::Form)?;
            words.pop();
            if words.last() == Some(&"om") {
                words.pop();
            }
            Some(time)
        }
        _ => None,
    };
    let (year, month, day) = read_date(&words)?;
    Ok(WallClock { year, month, day, time })
}

/// Days since 1900, with a fraction for the time, as a spreadsheet keeps a date: from 1990 to 2100.
fn is_serial(text: &str) -> bool {
    let (days, fraction) = text.split_once([',', '.']).unwrap_or((text, ""));
    days.len() == 5 && is_digits(days) && (fraction.is_empty() || is_digits(fraction))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_weekday(word: &str) -> bool {
    let word = word.trim_end_matches('.');
    WEEKDAYS.iter().any(|day| *day == word || word.len() == 2 && day.starts_with(word))
}

/// `10:00`, `10:00:00` and `10:00:00.000`.
fn read_time(text: &str) -> Option<(i8, i8, i8)> {
    let mut parts = text.split(':');
    let mut two = |required: bool| match parts.next() {
        Some(part) if part.len() <= 2 && is_digits(part) => part.parse().ok(),
        Some(part) if !required => {
            let (seconds, fraction) = part.split_once(['.', ','])?;
            if is_digits(fraction) && seconds.len() == 2 && is_digits(seconds) {
                seconds.parse().ok()
            } else {
                None
            }
        }
        None if !required => Some(0),
        _ => None,
    };
    let time = (two(true)?, two(true)?, two(false)?);
    parts.next().is_none().then_some(time)
}

fn read_date(words: &[&str]) -> Result<(i16, i8, i8), MomentError> {
    let parts: Vec<&str> = match words {
        [word] if word.len() == 8 && is_digits(word) => vec![&word[..4], &word[4..6], &word[6..]],
        [word] => word.split(['-', '/', '.']).collect(),
        words => words.iter().map(|word| word.trim_end_matches('.')).collect(),
    };
    let [first, second, third] = parts[..] else { return Err(MomentError::Form) };
    if first.len() == 4 && is_digits(first) {
        return Ok((number(first)?, small(second)?, small(third)?));
    }
    let (day, named) = (small(first)?, month_of(second));
    let month = named.map_or_else(|| small(second), Ok)?;
    if third.len() == 2 && is_digits(third) {
        return Err(MomentError::ShortYear);
    }
    if third.len() != 4 || !is_digits(third) {
        return Err(MomentError::Form);
    }
    if named.is_none() && month > 12 && day <= 12 {
        return Err(MomentError::American);
    }
    // Dutch dates have dashes. With slashes they come from Belgium or from America.
    if words.iter().any(|word| word.contains('/')) && day <= 12 && day != month {
        return Err(MomentError::MonthOrDay);
    }
    Ok((number(third)?, month, day))
}

fn number(text: &str) -> Result<i16, MomentError> {
    text.parse().map_err(|_| MomentError::Form)
}

/// One or two digits.
fn small(text: &str) -> Result<i8, MomentError> {
    if text.len() > 2 || !is_digits(text) {
        return Err(MomentError::Form);
    }
    text.parse().map_err(|_| MomentError::Form)
}

/// `januari`, `jan`, `mrt`.
fn month_of(word: &str) -> Option<i8> {
    let place = MONTHS.iter().position(|names| {
        names.iter().any(|name| *name == word || word.len() >= 3 && name.starts_with(word))
            || word == "mrt" && names[0] == "maart"
    })?;
    i8::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn at(text: &str) -> Result<String, MomentError> {
        read(text, &"Europe/Amsterdam".parse().unwrap()).map(|at| at.to_string())
    }

    #[rstest]
    #[case::rfc_3339("2026-01-15T10:00:00+01:00", "2026-01-15T09:00:00.000Z")]
    #[case("2026-01-15T09:00:00Z", "2026-01-15T09:00:00.000Z")]
    #[case::dutch("15-01-2026 10:00", "2026-01-15T09:00:00.000Z")]
    #[case("15-1-2026 10:00:00", "2026-01-15T09:00:00.000Z")]
    #[case("15-1-2026  9:05", "2026-01-15T08:05:00.000Z")]
    #[case("15/01/2026 10:00", "2026-01-15T09:00:00.000Z")]
    #[case("15.01.2026", "2026-01-14T23:00:00.000Z")]
    #[case("02-01-2026", "2026-01-01T23:00:00.000Z")]
    #[case("15 januari 2026 om 10:00 uur", "2026-01-15T09:00:00.000Z")]
    #[case("do 15-jan-2026", "2026-01-14T23:00:00.000Z")]
    #[case("donderdag 15 jan. 2026", "2026-01-14T23:00:00.000Z")]
    #[case("1 mrt 2026", "2026-02-28T23:00:00.000Z")]
    #[case::sql("2026-01-15 10:00:00.000", "2026-01-15T09:00:00.000Z")]
    #[case::iso("2026-01-15T10:00", "2026-01-15T09:00:00.000Z")]
    #[case::basic("20260115", "2026-01-14T23:00:00.000Z")]
    #[case::summer("15-07-2026 10:00", "2026-07-15T08:00:00.000Z")]
    #[case::no_break("15-01-2026\u{a0}10:00", "2026-01-15T09:00:00.000Z")]
    #[case::marks("\u{200e}15\u{200e}-\u{200e}01\u{200e}-\u{200e}2026", "2026-01-14T23:00:00.000Z")]
    #[case::twice_in_autumn("25-10-2026 02:30", "2026-10-25T01:30:00.000Z")]
    fn dates_are_on_the_wall_clock(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(at(text).as_deref(), Ok(expected));
    }

    #[rstest]
    #[case("15-01-26", MomentError::ShortYear)]
    #[case("15-01-26 10:00", MomentError::ShortYear)]
    #[case("15 jan 26", MomentError::ShortYear)]
    #[case("26-01-15", MomentError::ShortYear)]
    #[case("0026-01-15", MomentError::LongAgo)]
    #[case("0026-01-15T10:00:00Z", MomentError::LongAgo)]
    #[case("15-01-0026", MomentError::LongAgo)]
    #[case::empty_cell("30-12-1899", MomentError::LongAgo)]
    #[case::epoch("1970-01-01", MomentError::LongAgo)]
    #[case("46037", MomentError::Serial)]
    #[case("46037,4166666667", MomentError::Serial)]
    #[case("46037.0", MomentError::Serial)]
    #[case("1/31/2026", MomentError::American)]
    #[case("01/02/2026", MomentError::MonthOrDay)]
    #[case("29-03-2026 02:30", MomentError::WallClock(WallClockError::Skipped))]
    #[case("31-04-2026", MomentError::WallClock(WallClockError::Calendar))]
    #[case("15-13-2026", MomentError::WallClock(WallClockError::Calendar))]
    #[case("15-01-2026 25:00", MomentError::WallClock(WallClockError::Calendar))]
    #[case("15-01", MomentError::Form)]
    #[case("januari 2026", MomentError::Form)]
    #[case("gisteren", MomentError::Form)]
    #[case("########", MomentError::Form)]
    #[case("1,77E+12", MomentError::Form)]
    #[case("15-01-2026 10:00 PM", MomentError::Form)]
    #[case("15-01-2026 10:00 +01:00", MomentError::Form)]
    #[case("WAAR", MomentError::Form)]
    #[case("ja", MomentError::Form)]
    #[case("-", MomentError::Form)]
    #[case("é-é-2026", MomentError::Form)]
    fn what_is_no_evidence_says_why(#[case] text: &str, #[case] expected: MomentError) {
        assert_eq!(at(text), Err(expected));
    }
}
