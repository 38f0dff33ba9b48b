//! Reads `Mo-Fr 08:00-12:00,13:00-17:00; Sa 10:00-02:00`.

use std::str::FromStr;

use super::{DAY, DailySpan, HoursError, WEEK, WeeklyHours};

/// Longer texts are not hours. It bounds the work for one field of an import.
const LENGTH_MAX: usize = 500;

/// English (OpenStreetMap) and Dutch, Monday first.
const DAYS: [(&str, &str); 7] =
    [("mo", "ma"), ("tu", "di"), ("we", "wo"), ("th", "do"), ("fr", "vr"), ("sa", "za"), ("su", "zo")];

impl FromStr for WeeklyHours {
    type Err = HoursError;

    /// # Errors
    /// Returns [`HoursError`] if a part cannot be read. It names the part that is wrong and what would be right.
    fn from_str(text: &str) -> Result<Self, HoursError> {
        if text.len() > LENGTH_MAX {
            return Err(HoursError(format!("hours are at most {LENGTH_MAX} characters long")));
        }
        let rules = text.split(';').map(str::trim).filter(|rule| !rule.is_empty());
        let mut spans = Vec::new();
        for rule in rules {
            spans.extend(read_rule(rule)?);
        }
        if spans.is_empty() {
            return Err(HoursError("hours are empty: write 24/7 for always".to_owned()));
        }
        Ok(Self::from_spans(spans))
    }
}

impl FromStr for DailySpan {
    type Err = HoursError;

    /// # Errors
    /// Returns [`HoursError`] if a part cannot be read. It names the part that is wrong.
    fn from_str(text: &str) -> Result<Self, HoursError> {
        let (start, end) = read_span(text.trim())?;
        Ok(Self { start, end })
    }
}

/// The part of the input that an error is about, cut to what fits a line.
pub(super) fn quoted(part: &str) -> String {
    let short: String = part.chars().take(40).collect();
    format!("{short:?}")
}

/// `Mo-Fr,Su 08:00-12:00,13:00-17:00`, the days left out for every day, or `24/7`.
fn read_rule(rule: &str) -> Result<Vec<(u16, u16)>, HoursError> {
    if rule == "24/7" {
        return Ok(vec![(0, WEEK)]);
    }
    let Some(times_at) = rule.find(|c: char| c.is_ascii_digit()) else {
        return Err(HoursError(format!("{} has no times: write them as Mo-Fr 08:00-18:00", quoted(rule))));
    };
    let (days, times) = rule.split_at(times_at);
    let days = read_days(days.trim())?;
    let mut spans = Vec::new();
    for span in times.split(',') {
        let (start, end) = read_span(span.trim())?;
        spans.extend(
            (0..7_u16).zip(days).filter(|(_, on)| *on).map(|(day, _)| (day * DAY + start, day * DAY + end)),
        );
    }
    Ok(spans)
}

fn read_days(text: &str) -> Result<[bool; 7], HoursError> {
    if text.is_empty() {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once(['-', '–']) {
            Some((first, last)) => (read_day(first)?, read_day(last)?),
            None => (read_day(part)?, read_day(part)?),
        };
        // Sa-Mo runs over the end of the week.
        let length = (last + 7 - first) % 7;
        for step in 0..=length {
            days[(first + step) % 7] = true;
        }
    }
    Ok(days)
}

fn read_day(text: &str) -> Result<usize, HoursError> {
    let name = text.trim().to_lowercase();
    let day = DAYS.iter().position(|(english, dutch)| name == *english || name == *dutch);
    day.ok_or_else(|| {
        HoursError(format!(
            "{} is not a day: use Mo Tu We Th Fr Sa Su or ma di wo do vr za zo",
            quoted(text.trim())
        ))
    })
}

/// Minutes of the day; the end runs past 1,440 if the span passes midnight.
fn read_span(text: &str) -> Result<(u16, u16), HoursError> {
    let Some((start, end)) = text.split_once(['-', '–']) else {
        return Err(HoursError(format!("{} is not a span of time such as 08:00-18:00", quoted(text))));
    };
    let (start, end) = (read_time(start)?, read_time(end)?);
    if start == DAY {
        return Err(HoursError(format!("{} starts at 24:00: write 00:00", quoted(text))));
    }
    if start == end {
        return Err(HoursError(format!("{} is empty: write 00:00-24:00 for the whole day", quoted(text))));
    }
    Ok((start, if end < start { end + DAY } else { end }))
}

/// `08:00`, `8:00` or `24:00`.
pub(super) fn read_time(text: &str) -> Result<u16, HoursError> {
    let text = text.trim();
    let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| -> Option<u16> {
        let fits = lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if fits { part.parse().ok() } else { None }
    };
    let time = text.split_once(':').and_then(|(h, m)| Some((digits(h, 1..=2)?, digits(m, 2..=2)?)));
    match time {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= DAY => Ok(hour * 60 + minute),
        _ => Err(HoursError(format!("{} is not a time from 00:00 to 24:00", quoted(text)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ma-vr 08:00-18:00", "Mo-Fr 08:00-18:00")]
    #[case("MO,we,Vr 9:00-17:00", "Mo,We,Fr 09:00-17:00")]
    #[case("Mo 08:00-12:00, 13:00-17:00", "Mo 08:00-12:00,13:00-17:00")]
    #[case("za-ma 10:00-12:00", "Mo,Sa-Su 10:00-12:00")]
    #[case("Fr 22:00-24:00; Sa 00:00-02:00", "Fr 22:00-02:00")]
    #[case("00:00-24:00", "24/7")]
    #[case("Mo-Su 00:00-12:00; 11:00-24:00", "24/7")]
    #[case("10:00-11:00", "Mo-Su 10:00-11:00")]
    #[case("Mo 08:00–18:00;", "Mo 08:00-18:00")]
    #[case("Mo 08:00-10:00; Mo 09:00-11:00; Mo 11:00-12:00", "Mo 08:00-12:00")]
    #[case("Su 23:00-01:00", "Su 23:00-01:00")]
    fn ways_to_write_the_same(#[case] text: &str, #[case] canonical: &str) {
        assert_eq!(text.parse::<WeeklyHours>().unwrap().to_string(), canonical);
    }

    #[rstest]
    #[case("", "empty")]
    #[case(" ; ", "empty")]
    #[case("Mo-Fr", "\"Mo-Fr\" has no times")]
    #[case("Xx 08:00-18:00", "\"Xx\" is not a day")]
    #[case("Mo-Fr 08:00-18:00; Zz 08:00-10:00", "\"Zz\" is not a day")]
    #[case("Mo, 08:00-18:00", "\"\" is not a day")]
    #[case("Mo 08:00", "\"08:00\" is not a span")]
    #[case("Mo 08:00-25:00", "\"25:00\" is not a time")]
    #[case("Mo 08:60-10:00", "\"08:60\" is not a time")]
    #[case("Mo 08:00-24:01", "\"24:01\" is not a time")]
    #[case("Mo 0800-1800", "\"0800\" is not a time")]
    #[case("Mo 24:00-02:00", "starts at 24:00")]
    #[case("Mo 08:00-08:00", "is empty")]
    #[case("Mo 08:00-18:00 off", "\"18:00 off\" is not a time")]
    #[case("Mo 99999:00-18:00", "is not a time")]
    fn the_bad_part_is_named(#[case] text: &str, #[case] expected: &str) {
        let error = text.parse::<WeeklyHours>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_long_text_is_refused() {
        assert!("Mo 08:00-18:00;".repeat(100).parse::<WeeklyHours>().is_err());
    }
}
