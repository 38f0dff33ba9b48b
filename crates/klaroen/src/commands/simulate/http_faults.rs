//! The faults of a simulated HTTP provider as flags.

use clap::Args;
use klaroen_simulator::HttpFaults;

use super::faults::parse_range;

/// The faults of the simulated provider. Everything is off without its flag; PUT /simulator/faults changes it at run time.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults (a SHARE is a fraction from 0 to 1)")]
pub struct HttpFaultArgs {
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
    /// Messages that are taken, answered, and never heard of again: no ring, no final receipt.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    never_settled: f64,
    /// Messages that ring and whose receipt never comes.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    no_receipt: f64,
    /// Messages whose last receipt has a status that the contract does not know.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    unknown_status: f64,
    /// Submits per second that are taken; the others are throttled.
    #[arg(long, value_name = "NUMBER")]
    throttle_above: Option<u32>,
    /// Submits that are throttled: 429, or the contract's own word.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    throttled: f64,
    /// Write a Retry-After of this number of seconds into throttled answers.
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// Submits that are answered with the contract's internal error, and not taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    internal_error: f64,
    /// Submits that are answered with 503 and HTML, and not taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    bare_error: f64,
    /// Submits that are answered with 502 and HTML, although taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    bare_error_after_taking: f64,
    /// Submits that are taken and whose answer breaks off in its body.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    garbled_response: f64,
    /// Numbers that are always refused.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reject_number: f64,
    /// Numbers that said STOP to the provider.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    blocked_number: f64,
    /// Submits at which the connection drops, and the message is not taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    close_before_taking: f64,
    /// Submits at which the connection drops, although the message was taken.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    close_after_taking: f64,
    /// Submits that are neither taken nor answered.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    ignored: f64,
    /// Submits that are taken and never answered.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    lost_response: f64,
    /// Submits that are taken and answered late.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    late_response: f64,
    /// Milliseconds to a late answer.
    #[arg(long, value_name = "FROM-TO", value_parser = parse_range, default_value = "5000")]
    late_response_delay_ms: (u64, u64),
    /// Final receipts that come twice.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    duplicate_receipt: f64,
    /// Messages whose receipt comes before the answer to their submit.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    early_receipt: f64,
    /// Final receipts that are followed by the older "sent".
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    reordered_receipt: f64,
    /// Answer every look-up with 503.
    #[arg(long)]
    lookups_fail: bool,
    /// Refuse numbers that had 6 identical or 20 different messages within an hour, as Infobip does.
    #[arg(long)]
    flooding_filter: bool,
}

impl HttpFaultArgs {
    /// As the simulator takes them; it checks them itself.
    pub fn to_faults(&self) -> HttpFaults {
        HttpFaults {
            response_delay_ms: self.response_delay_ms,
            receipt_delay_ms: self.receipt_delay_ms,
            undelivered: self.undelivered,
            expired: self.expired,
            rejected: self.rejected,
            never_settled: self.never_settled,
            no_receipt: self.no_receipt,
            unknown_status: self.unknown_status,
            throttle_above_per_second: self.throttle_above,
            throttled: self.throttled,
            retry_after_s: self.retry_after,
            internal_error: self.internal_error,
            bare_error: self.bare_error,
            bare_error_after_taking: self.bare_error_after_taking,
            garbled_response: self.garbled_response,
            reject_number: self.reject_number,
            blocked_number: self.blocked_number,
            close_before_taking: self.close_before_taking,
            close_after_taking: self.close_after_taking,
            ignored: self.ignored,
            lost_response: self.lost_response,
            late_response: self.late_response,
            late_response_delay_ms: self.late_response_delay_ms,
            duplicate_receipt: self.duplicate_receipt,
            early_receipt: self.early_receipt,
            reordered_receipt: self.reordered_receipt,
            lookups_fail: self.lookups_fail,
            flooding_filter: self.flooding_filter,
        }
    }
}
