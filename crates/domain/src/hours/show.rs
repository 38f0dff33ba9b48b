//! Writes hours in their one canonical form, which reads back to the same value.

use std::fmt;

use super::{DAY, DailySpan, WEEK, WeeklyHours};

const NAMES: [&str; 7] = ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"];

/// Start and end in minutes from a day's midnight; the end may lie in the next day.
type Spans = Vec<(u16, u16)>;

impl fmt::Display for WeeklyHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.spans == [(0, WEEK)] {
            return f.write_str("24/7");
        }
        let days = by_day(&self.spans);
        let mut between = "";
        for (first, spans) in days.iter().enumerate() {
            // Days with the same spans stand together, where the first of them would stand.
            if spans.is_empty() || days[..first].contains(spans) {
                continue;
            }
            let same: Vec<usize> = (first..7).filter(|&day| days[day] == *spans).collect();
            write!(f, "{between}{} ", day_names(&same))?;
            between = "; ";
            let mut comma = "";
            for &span in spans {
                f.write_str(comma)?;
                write_span(f, span)?;
                comma = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Display for DailySpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_span(f, (self.start, self.end))
    }
}

/// The spans of each day. A span shorter than a day belongs to the day it starts on; a longer one is cut at midnights.
fn by_day(spans: &[(u16, u16)]) -> [Spans; 7] {
    let mut spans = spans.to_vec();
    // Sunday night that runs into Monday was cut at the week's end.
    if let (Some(&(0, early)), Some(&(late, WEEK))) = (spans.first(), spans.last()) {
        spans.remove(0);
        spans.pop();
        spans.push((late, WEEK + early));
    }
    let mut days: [Spans; 7] = Default::default();
    for (mut start, end) in spans {
        while start < end {
            let midnight = (start / DAY + 1) * DAY;
            let stop = if end - start < DAY { end } else { end.min(midnight) };
            let from = start % DAY;
            days[usize::from(start / DAY % 7)].push((from, from + (stop - start)));
            start = stop;
        }
    }
    for day in &mut days {
        day.sort_unstable();
    }
    days
}

/// `Mo,We-Fr`.
fn day_names(days: &[usize]) -> String {
    let runs = days.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [first, .., last] => format!("{}-{}", NAMES[*first], NAMES[*last]),
        [only] => NAMES[*only].to_owned(),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(",")
}

fn write_span(f: &mut fmt::Formatter<'_>, (start, end): (u16, u16)) -> fmt::Result {
    let end = if end > DAY { end - DAY } else { end };
    write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_canonical_form_reads_back(
            spans in prop::collection::vec((0..WEEK / 15, 1..=WEEK / 15), 1..8)
        ) {
            let spans = spans.into_iter().map(|(start, length)| (start * 15, (start + length) * 15));
            let hours = WeeklyHours::from_spans(spans.collect());
            let text = hours.to_string();
            prop_assert_eq!(text.parse::<WeeklyHours>(), Ok(hours.clone()), "{}", &text);
            let again = text.parse::<WeeklyHours>().map(|h| h.to_string());
            prop_assert_eq!(again, Ok(text));
        }

        #[test]
        fn a_minute_is_inside_where_a_span_says_so(
            spans in prop::collection::vec((0..WEEK, 1..=WEEK), 1..6), minute in 0..WEEK
        ) {
            let expected = spans.iter().any(|&(start, length)| (minute + WEEK - start) % WEEK < length);
            let hours = WeeklyHours::from_spans(spans.iter().map(|&(s, l)| (s, s + l)).collect());
            prop_assert_eq!(hours.contains_minute(minute), expected);
        }

        #[test]
        fn no_text_panics(text in "[MoTuzd0-9:,; –/-]{0,24}") {
            if let Ok(hours) = text.parse::<WeeklyHours>() {
                prop_assert_eq!(hours.to_string().parse(), Ok(hours));
            }
        }
    }
}
