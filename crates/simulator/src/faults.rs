//! Faults, each with its unit and its default: nothing.

use serde::{Deserialize, Serialize};

/// The faults of an SMSC. All are off by default: every message is taken at once, rings at once and
/// gets its receipt at once where it asks for one.
///
/// A share is a fraction from 0 (never, the default) to 1 (always); a delay is a range of
/// milliseconds, both ends included, `(0, 0)` by default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Milliseconds from a submit to its answer.
    pub response_delay_ms: (u64, u64),
    /// Milliseconds from a submit to its final state: the ring and the receipt.
    pub receipt_delay_ms: (u64, u64),

    /// Share of messages that end as UNDELIV: no ring. The four final states share one draw, so these three add up to at most 1.
    pub undelivered: f64,
    /// Share of messages that end as EXPIRED: no ring.
    pub expired: f64,
    /// Share of messages that end as REJECTD: no ring.
    pub rejected: f64,
    /// Share of messages whose receipt never comes; they ring all the same.
    pub no_receipt: f64,

    /// Submits per second that are taken, in any sliding second; the others are answered with 0x58 (`ESME_RTHROTTLED`). None by default.
    pub throttle_above_per_second: Option<u32>,
    /// Share of submits answered with 0x14 (`ESME_RMSGQFUL`) and not taken.
    pub queue_full: f64,
    /// Share of phone numbers whose every submit is answered with 0x0B (`ESME_RINVDSTADR`).
    pub reject_number: f64,

    /// Share of submits at which the connection drops and the message is not taken.
    pub close_before_taking: f64,
    /// Share of submits at which the connection drops although the message was taken: it rings, and the client is not told.
    pub close_after_taking: f64,
    /// Share of submits that are taken, ring and are never answered.
    pub lost_response: f64,
    /// Share of submits that are taken and answered late, after `late_response_delay_ms`.
    pub late_response: f64,
    /// Milliseconds from the submit to a late answer. Default `(5000, 5000)`.
    pub late_response_delay_ms: (u64, u64),

    /// Share of receipts that come twice.
    pub duplicate_receipt: f64,
    /// Share of messages whose receipt comes before the answer to their submit, with no delay.
    pub early_receipt: f64,
    /// Share of receipts that are followed by an older one (ENROUTE).
    pub reordered_receipt: f64,

    /// No `deliver_sm` is sent: receipts and SMS wait, and all leave at once when this is off again. What is at once is up to
    /// [`crate::SmscConfig::deliver_window`].
    pub hold_deliveries: bool,

    /// The `command_status` that every bind is refused with, such as 13 (`ESME_RBINDFAIL`). None by default.
    pub bind_refusal: Option<u32>,

    /// How message ids look in `submit_sm_resp`. Default decimal.
    pub message_id: MessageIdFormat,
    /// How they look in receipts. Default the same.
    pub receipt_id: ReceiptIdFormat,
    /// The place of a receipt's content. Default both.
    pub receipt_form: ReceiptForm,
}

/// How a message id looks in `submit_sm_resp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageIdFormat {
    /// `439041101`
    #[default]
    Decimal,
    /// `1A2B3C4D`
    HexUpper,
    /// `1a2b3c4d`
    HexLower,
    /// Ten decimal digits with leading zeros, as of Appendix B: `0439041101`.
    ZeroPadded,
    /// 36 characters, RFC 9562.
    Uuid,
}

/// How a message id looks in a receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptIdFormat {
    /// As in the `submit_sm_resp`.
    #[default]
    AsSubmitted,
    /// Always decimal: with a hexadecimal id in the `submit_sm_resp` the well-known mismatch. A UUID stays one.
    Decimal,
    /// Always hexadecimal, upper case. A UUID stays one.
    HexUpper,
}

/// The place of a receipt's content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptForm {
    /// The TLVs `receipted_message_id` and `message_state`, and the text of SMPP 3.4 Appendix B.
    #[default]
    Both,
    /// The TLVs; the `short_message` is empty.
    Tlv,
    /// The text; no TLV.
    Text,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            response_delay_ms: (0, 0),
            receipt_delay_ms: (0, 0),
            undelivered: 0.0,
            expired: 0.0,
            rejected: 0.0,
            no_receipt: 0.0,
            throttle_above_per_second: None,
            queue_full: 0.0,
            reject_number: 0.0,
            close_before_taking: 0.0,
            close_after_taking: 0.0,
            lost_response: 0.0,
            late_response: 0.0,
            late_response_delay_ms: (5_000, 5_000),
            duplicate_receipt: 0.0,
            early_receipt: 0.0,
            reordered_receipt: 0.0,
            hold_deliveries: false,
            bind_refusal: None,
            message_id: MessageIdFormat::default(),
            receipt_id: ReceiptIdFormat::default(),
            receipt_form: ReceiptForm::default(),
        }
    }
}

/// Faults that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultsError {
    /// A share outside 0 to 1.
    #[error("{0} is a share: from 0 to 1")]
    Share(&'static str),
    /// Shares that exclude each other and come to more than 1.
    #[error("{0} come to more than 1")]
    Sum(&'static str),
    /// A range whose first end is the larger one.
    #[error("{0} is a range: the smaller number first")]
    Range(&'static str),
}

impl Faults {
    /// Whether these faults can be: for configuration that a person wrote. An SMSC that is given others all the same
    /// reads a share below 0 as never, above 1 as always, and a range the wrong way round as its first number.
    ///
    /// # Errors
    /// [`FaultsError`], naming the first member that is wrong.
    pub fn check(&self) -> Result<(), FaultsError> {
        for (name, share) in self.shares() {
            if !(0.0..=1.0).contains(&share) {
                return Err(FaultsError::Share(name));
            }
        }
        // The tolerance lets 0.7 + 0.2 + 0.1 pass, which is 1.0000000000000002 in binary.
        if self.undelivered + self.expired + self.rejected > 1.0 + 1e-9 {
            return Err(FaultsError::Sum("undelivered, expired and rejected"));
        }
        for (name, (from, to)) in [
            ("response_delay_ms", self.response_delay_ms),
            ("receipt_delay_ms", self.receipt_delay_ms),
            ("late_response_delay_ms", self.late_response_delay_ms),
        ] {
            if from > to {
                return Err(FaultsError::Range(name));
            }
        }
        Ok(())
    }

    fn shares(&self) -> [(&'static str, f64); 13] {
        [
            ("undelivered", self.undelivered),
            ("expired", self.expired),
            ("rejected", self.rejected),
            ("no_receipt", self.no_receipt),
            ("queue_full", self.queue_full),
            ("reject_number", self.reject_number),
            ("close_before_taking", self.close_before_taking),
            ("close_after_taking", self.close_after_taking),
            ("lost_response", self.lost_response),
            ("late_response", self.late_response),
            ("duplicate_receipt", self.duplicate_receipt),
            ("early_receipt", self.early_receipt),
            ("reordered_receipt", self.reordered_receipt),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_without_faults_and_checks() {
        let faults: Faults = serde_json::from_str("{}").unwrap();
        assert_eq!(faults, Faults::default());
        assert_eq!(faults.check(), Ok(()));
        assert!(faults.shares().iter().all(|(_, share)| *share == 0.0));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let share = Faults { queue_full: f64::NAN, ..Faults::default() };
        assert_eq!(share.check(), Err(FaultsError::Share("queue_full")));
        let sum = Faults { undelivered: 0.6, expired: 0.6, ..Faults::default() };
        assert!(matches!(sum.check(), Err(FaultsError::Sum(_))));
        let range = Faults { receipt_delay_ms: (2, 1), ..Faults::default() };
        assert_eq!(range.check(), Err(FaultsError::Range("receipt_delay_ms")));
        assert!(serde_json::from_str::<Faults>(r#"{"lost_respons": 0.1}"#).is_err());
    }
}
