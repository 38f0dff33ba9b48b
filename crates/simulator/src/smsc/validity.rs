//! The validity period of a message (SMPP 3.4 §7.1.1) and the dates of a receipt.

use std::time::Duration;

use jiff::civil::DateTime;

/// A time that is no time of SMPP 3.4 §7.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotATime;

/// How long from `now_ms` (milliseconds since the epoch) a message is valid; `None` if nothing is asked, zero if
/// the time is over. Relative years and months count 365 and 30 days.
pub(crate) fn validity(field: &str, now_ms: i64) -> Result<Option<Duration>, NotATime> {
    if field.is_empty() {
        return Ok(None);
    }
    let (digits, sign) = field.split_at_checked(15).ok_or(NotATime)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotATime);
    }
    let pair = |at: usize| -> i64 { digits[at..at + 2].parse().unwrap_or(0) };
    let [year, month, day, hour, minute, second] = [0, 2, 4, 6, 8, 10].map(pair);
    let tenths: i64 = digits[12..13].parse().unwrap_or(0);
    match sign {
        "R" => {
            let days = year * 365 + month * 30 + day;
            let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
            Ok(Some(Duration::from_millis(u64::try_from(seconds * 1_000).unwrap_or(0))))
        }
        "+" | "-" => {
            let offset_ms = pair(13) * 15 * 60 * 1_000 * if sign == "+" { 1 } else { -1 };
            let small = |value: i64| i8::try_from(value).map_err(|_| NotATime);
            let year = i16::try_from(2_000 + year).map_err(|_| NotATime)?;
            let local = DateTime::new(
                year,
                small(month)?,
                small(day)?,
                small(hour)?,
                small(minute)?,
                small(second)?,
                0,
            )
            .and_then(|local| jiff::tz::Offset::UTC.to_timestamp(local))
            .map_err(|_| NotATime)?;
            let at_ms = local.as_millisecond() + tenths * 100 - offset_ms;
            Ok(Some(Duration::from_millis(u64::try_from(at_ms - now_ms).unwrap_or(0))))
        }
        _ => Err(NotATime),
    }
}

/// `YYMMDDhhmm` in UTC, as of SMPP 3.4 Appendix B, of milliseconds since the epoch.
pub(crate) fn receipt_date(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| "0000000000".to_owned(), |at| at.strftime("%y%m%d%H%M").to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // 2026-11-23T16:00:00Z
    const NOW_MS: i64 = 1_795_449_600_000;

    #[rstest]
    #[case("", Ok(None))]
    #[case("000000010000000R", Ok(Some(3_600)))]
    #[case("000002000000000R", Ok(Some(172_800)))]
    #[case("261123173000004+", Ok(Some(1_800)))]
    #[case("261123150000000-", Ok(Some(0)))]
    #[case("261123163000000+", Ok(Some(1_800)))]
    #[case("261323163000000+", Err(NotATime))]
    #[case("26112316300000", Err(NotATime))]
    #[case("26112316300000XR", Err(NotATime))]
    #[case("261123163000000Z", Err(NotATime))]
    fn periods(#[case] field: &str, #[case] seconds: Result<Option<u64>, NotATime>) {
        assert_eq!(validity(field, NOW_MS), seconds.map(|s| s.map(Duration::from_secs)));
    }

    #[test]
    fn receipts_have_short_dates() {
        assert_eq!(receipt_date(NOW_MS), "2611231600");
        assert_eq!(receipt_date(i64::MAX), "0000000000");
    }
}
