//! The faults of the simulated SMSC as flags.

use clap::Args;
use klaroen_simulator::Faults;

/// The faults of the simulated SMSC. Everything is off without its flag.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults (a SHARE is a fraction from 0 to 1)")]
pub struct FaultArgs {
    /// Milliseconds from a submit to its answer.
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range, default_value = "0")]
    response_delay_ms: (u64, u64),
    /// Milliseconds from a submit to the ring and the receipt.
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range, default_value = "0")]
    receipt_delay_ms: (u64, u64),
    /// Messages that end as undelivered.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    undelivered: f64,
    /// Messages that end as expired.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    expired: f64,
    /// Messages that end as rejected.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    rejected: f64,
    /// Messages that ring and whose receipt never comes.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    no_receipt: f64,
    /// Submits per second that are taken; the others are answered with "throttled" (0x58).
    #[arg(long, value_name = "NUMBER")]
    throttle_above: Option<u32>,
    /// Submits that are answered with "queue full" (0x14).
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    queue_full: f64,
    /// Numbers that are always refused (0x0B).
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reject_number: f64,
    /// Submits at which the connection drops, and the message is not taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    close_before_taking: f64,
    /// Submits at which the connection drops, although the message was taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    close_after_taking: f64,
    /// Submits that are taken and never answered.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    lost_response: f64,
    /// Submits that are taken and answered late.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    late_response: f64,
    /// Milliseconds to a late answer.
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range, default_value = "5000")]
    late_response_delay_ms: (u64, u64),
    /// Receipts that come twice.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    duplicate_receipt: f64,
    /// Receipts that come before the answer to their submit.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    early_receipt: f64,
    /// Receipts that are followed by an older one.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reordered_receipt: f64,
    /// Refuse every bind with this command status, such as 13.
    #[arg(long, value_name = "STATUS")]
    bind_refusal: Option<u32>,
}

impl FaultArgs {
    /// As the simulator takes them; it checks them itself.
    pub fn to_faults(&self) -> Faults {
        Faults {
            response_delay_ms: self.response_delay_ms,
            receipt_delay_ms: self.receipt_delay_ms,
            undelivered: self.undelivered,
            expired: self.expired,
            rejected: self.rejected,
            no_receipt: self.no_receipt,
            throttle_above_per_second: self.throttle_above,
            queue_full: self.queue_full,
            reject_number: self.reject_number,
            close_before_taking: self.close_before_taking,
            close_after_taking: self.close_after_taking,
            lost_response: self.lost_response,
            late_response: self.late_response,
            late_response_delay_ms: self.late_response_delay_ms,
            duplicate_receipt: self.duplicate_receipt,
            early_receipt: self.early_receipt,
            reordered_receipt: self.reordered_receipt,
            bind_refusal: self.bind_refusal,
            ..Faults::default()
        }
    }
}

/// `5-50`, or one number for both ends.
pub fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let number =
        |part: &str| part.parse::<u64>().map_err(|_| "write milliseconds, such as 20 or 5-50".to_owned());
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let range = (number(from)?, number(to)?);
    if range.0 > range.1 {
        return Err("the smaller number comes first".into());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_number_or_two() {
        assert_eq!(parse_range("5-50"), Ok((5, 50)));
        assert_eq!(parse_range("7"), Ok((7, 7)));
        for wrong in ["", "-5", "5-", "50-5", "a"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }
}
