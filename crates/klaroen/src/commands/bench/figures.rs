//! The figures of a bench and how they are shown.

use std::fmt::Write as _;

use serde::Serialize;

/// One alert. Times are milliseconds from the `POST`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Round {
    /// A preview: matching and an HTTP round trip, nothing written.
    pub preview_ms: f64,
    /// The `POST` was answered: matched, written, on the disk.
    pub answered_ms: f64,
    /// The SMSC saw the first submit.
    pub first_submit_ms: f64,
    /// The SMSC saw the last submit.
    pub last_submit_ms: f64,
    /// Every receipt was stored and counted.
    pub all_delivered_ms: f64,
    /// Recipients by the time from the first submit to the last receipt stored.
    pub sms_per_second: f64,
}

/// All runs with one number of recipients.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    pub recipients: u32,
    pub import_rows_per_second: f64,
    pub rounds: Vec<Round>,
    pub bare_sms_per_second: Vec<f64>,
}

impl Figures {
    /// Before the first run.
    pub const fn new(recipients: u32, import_rows_per_second: f64) -> Self {
        Self { recipients, import_rows_per_second, rounds: Vec::new(), bare_sms_per_second: Vec::new() }
    }
}

/// The middle value; of an even number the mean of the two in the middle. 0 of none.
pub fn median<T>(items: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = items.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// One column for each number of recipients.
pub fn table(sizes: &[Figures]) -> String {
    type Value = fn(&Figures) -> f64;
    let rows: [(&str, &str, Value); 9] = [
        ("recipients", "", |f| f64::from(f.recipients)),
        ("import from CSV", "rows/s", |f| f.import_rows_per_second),
        ("preview (matching)", "ms", |f| median(&f.rounds, |r| r.preview_ms)),
        ("POST answered (on disk)", "ms", |f| median(&f.rounds, |r| r.answered_ms)),
        ("POST to first submit", "ms", |f| median(&f.rounds, |r| r.first_submit_ms)),
        ("POST to last submit", "ms", |f| median(&f.rounds, |r| r.last_submit_ms)),
        ("POST to all receipts stored", "ms", |f| median(&f.rounds, |r| r.all_delivered_ms)),
        ("sustained, receipts tracked", "SMS/s", |f| median(&f.rounds, |r| r.sms_per_second)),
        ("bare SMPP client (ceiling)", "SMS/s", |f| median(&f.bare_sms_per_second, |bare| *bare)),
    ];
    let mut text = String::new();
    for (name, unit, value) in rows {
        write!(text, "{name:<28}").unwrap_or_else(|_| unreachable!("a String takes everything"));
        for size in sizes {
            let number = value(size);
            let digits = usize::from(number < 100.0 && unit == "ms");
            write!(text, " {number:>10.digits$} {unit:<6}")
                .unwrap_or_else(|_| unreachable!("a String takes everything"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let of = |values: &[f64]| median(values, |v| *v);
        assert!((of(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((of(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
        assert!(of(&[]).abs() < 1e-9);
    }
}
