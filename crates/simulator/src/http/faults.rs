//! Faults of an HTTP provider, and the fate of one message.

use serde::{Deserialize, Serialize};

use crate::fault_plan::{Answer, Dice, Fate, FinalState, Question, Receipts};
use crate::faults::{Faults, FaultsError};

/// The faults of an HTTP provider. All are off by default: every message is taken, rings and is reported at once.
///
/// A share is a fraction from 0 (never, the default) to 1 (always); a delay is a range of milliseconds, both ends
/// included, `(0, 0)` by default. What is said of a submit concerns the whole request; in a batch its first number
/// decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpFaults {
    /// Milliseconds from a submit to its answer.
    pub response_delay_ms: (u64, u64),
    /// Milliseconds from a submit to its final state: the ring and the receipt.
    pub receipt_delay_ms: (u64, u64),

    /// Share of messages that end as undelivered: no ring. The final states share one draw, so these three add up to at most 1.
    pub undelivered: f64,
    /// Share of messages that end as expired: no ring.
    pub expired: f64,
    /// Share of messages that end as rejected: no ring.
    pub rejected: f64,
    /// Share of messages that are taken and answered, and then never heard of again: no ring, no final receipt.
    pub never_settled: f64,
    /// Share of messages that ring and whose receipt never comes.
    pub no_receipt: f64,
    /// Share of messages whose last receipt has a status that the contract does not know.
    pub unknown_status: f64,

    /// Submits per second that are taken, in any sliding second; the others are throttled. None by default.
    pub throttle_above_per_second: Option<u32>,
    /// Share of submits that are throttled (429, or the contract's own word).
    pub throttled: f64,
    /// Seconds in the `Retry-After` of a throttled answer; none is written by default.
    pub retry_after_s: Option<u32>,
    /// Share of submits answered with the contract's own internal error, and not taken.
    pub internal_error: f64,
    /// Share of submits answered with a 503 that is HTML and not of the contract, and not taken.
    pub bare_error: f64,
    /// Share of submits answered with a 502 that is HTML and not of the contract, although taken.
    pub bare_error_after_taking: f64,
    /// Share of submits that are taken and whose answer breaks off in its body.
    pub garbled_response: f64,
    /// Share of phone numbers that are always refused.
    pub reject_number: f64,
    /// Share of phone numbers that the provider has on its list of those who said STOP.
    pub blocked_number: f64,

    /// Share of submits at which the connection drops and the message is not taken.
    pub close_before_taking: f64,
    /// Share of submits at which the connection drops although the message was taken.
    pub close_after_taking: f64,
    /// Share of submits that are neither taken nor answered: a provider that hangs.
    pub ignored: f64,
    /// Share of submits that are taken, ring and are never answered.
    pub lost_response: f64,
    /// Share of submits that are taken and answered late, after `late_response_delay_ms`.
    pub late_response: f64,
    /// Milliseconds from the submit to a late answer. Default `(5000, 5000)`.
    pub late_response_delay_ms: (u64, u64),

    /// Share of messages whose final receipt comes twice.
    pub duplicate_receipt: f64,
    /// Share of messages whose receipt comes, and was answered, before the answer to their submit.
    pub early_receipt: f64,
    /// Share of messages whose final receipt is followed by the older "sent", if the contract has that.
    pub reordered_receipt: f64,

    /// Whether look-ups are answered with a 503 that is not of the contract. Default no.
    pub lookups_fail: bool,
    /// Whether a number that had 6 identical or 20 different messages within an hour is refused (Infobip's status 20). Default no.
    pub flooding_filter: bool,
}

impl Default for HttpFaults {
    fn default() -> Self {
        Self {
            response_delay_ms: (0, 0),
            receipt_delay_ms: (0, 0),
            undelivered: 0.0,
            expired: 0.0,
            rejected: 0.0,
            never_settled: 0.0,
            no_receipt: 0.0,
            unknown_status: 0.0,
            throttle_above_per_second: None,
            throttled: 0.0,
            retry_after_s: None,
            internal_error: 0.0,
            bare_error: 0.0,
            bare_error_after_taking: 0.0,
            garbled_response: 0.0,
            reject_number: 0.0,
            blocked_number: 0.0,
            close_before_taking: 0.0,
            close_after_taking: 0.0,
            ignored: 0.0,
            lost_response: 0.0,
            late_response: 0.0,
            late_response_delay_ms: (5_000, 5_000),
            duplicate_receipt: 0.0,
            early_receipt: 0.0,
            reordered_receipt: 0.0,
            lookups_fail: false,
            flooding_filter: false,
        }
    }
}

/// A fault of one submit as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mishap {
    /// 429 or the contract's own word; not taken.
    Throttled,
    /// The contract's own internal error; not taken.
    InternalError,
    /// 503 with HTML; not taken.
    BareError,
    /// 502 with HTML; taken.
    BareErrorAfterTaking,
    /// The answer breaks off in its body; taken.
    GarbledResponse,
    /// No answer ever; not taken.
    Ignored,
    /// No answer ever; taken.
    LostResponse,
    /// The connection drops; not taken.
    CloseBeforeTaking,
    /// The connection drops; taken.
    CloseAfterTaking,
}

/// All that happens to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent draws; every combination can occur")]
pub(crate) struct HttpFate {
    pub mishap: Option<Mishap>,
    pub answer_after_ms: u64,
    pub number_refused: bool,
    pub number_blocked: bool,
    pub state: FinalState,
    pub settles_after_ms: u64,
    pub never_settled: bool,
    pub unknown_status: bool,
    pub receipts: Receipts,
}

impl HttpFaults {
    /// Those that an SMSC has as well.
    fn shared(&self) -> Faults {
        Faults {
            response_delay_ms: self.response_delay_ms,
            receipt_delay_ms: self.receipt_delay_ms,
            undelivered: self.undelivered,
            expired: self.expired,
            rejected: self.rejected,
            no_receipt: self.no_receipt,
            throttle_above_per_second: self.throttle_above_per_second,
            queue_full: self.internal_error,
            reject_number: self.reject_number,
            close_before_taking: self.close_before_taking,
            close_after_taking: self.close_after_taking,
            lost_response: self.lost_response,
            late_response: self.late_response,
            late_response_delay_ms: self.late_response_delay_ms,
            duplicate_receipt: self.duplicate_receipt,
            early_receipt: self.early_receipt,
            reordered_receipt: self.reordered_receipt,
            ..Faults::default()
        }
    }

    /// Whether these faults can be: for configuration that a person wrote.
    ///
    /// # Errors
    /// [`FaultsError`], naming the first member that is wrong; the internal error goes by its name at an SMSC, `queue_full`.
    pub fn check(&self) -> Result<(), FaultsError> {
        for (name, share) in [
            ("never_settled", self.never_settled),
            ("unknown_status", self.unknown_status),
            ("throttled", self.throttled),
            ("internal_error", self.internal_error),
            ("bare_error", self.bare_error),
            ("bare_error_after_taking", self.bare_error_after_taking),
            ("garbled_response", self.garbled_response),
            ("blocked_number", self.blocked_number),
            ("ignored", self.ignored),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err(FaultsError::Share(name));
            }
        }
        self.shared().check()
    }
}

impl HttpFate {
    /// The fate of the `nth` submit (from 0) to `number`: the one that an SMSC would give it, and what only HTTP has.
    pub(crate) fn of(faults: &HttpFaults, seed: u64, number: &str, nth: u32) -> Self {
        let fate = Fate::of(&faults.shared(), seed, number, nth);
        let dice = Dice::of(seed, number, u64::from(nth) + 1);
        let (answered, answer_after_ms) = match fate.answer {
            Answer::Taken { after_ms } | Answer::NumberRefused { after_ms } => (None, after_ms),
            Answer::QueueFull { after_ms } => (Some(Mishap::InternalError), after_ms),
            Answer::TakenInSilence => (Some(Mishap::LostResponse), 0),
            Answer::TakenThenClosed => (Some(Mishap::CloseAfterTaking), 0),
            Answer::Closed => (Some(Mishap::CloseBeforeTaking), 0),
        };
        let bare = faults.bare_error;
        let own = if dice.hits(Question::Throttled, faults.throttled) {
            Some(Mishap::Throttled)
        } else if dice.hits(Question::Ignored, faults.ignored) {
            Some(Mishap::Ignored)
        } else if dice.hits(Question::Bare, bare) {
            Some(Mishap::BareError)
        } else if dice.hits(Question::Bare, bare + faults.bare_error_after_taking) {
            Some(Mishap::BareErrorAfterTaking)
        } else if dice.hits(Question::Garbled, faults.garbled_response) {
            Some(Mishap::GarbledResponse)
        } else {
            None
        };
        Self {
            mishap: own.or(answered),
            answer_after_ms,
            number_refused: matches!(fate.answer, Answer::NumberRefused { .. }),
            number_blocked: Dice::of(seed, number, 0).hits(Question::NumberBlocked, faults.blocked_number),
            state: fate.state,
            settles_after_ms: fate.settles_after_ms,
            never_settled: dice.hits(Question::NeverSettled, faults.never_settled),
            unknown_status: dice.hits(Question::UnknownStatus, faults.unknown_status),
            receipts: fate.receipts,
        }
    }
}

impl Mishap {
    /// Whether the messages of the submit are taken all the same.
    pub(crate) const fn takes(self) -> bool {
        match self {
            Self::Throttled
            | Self::InternalError
            | Self::BareError
            | Self::CloseBeforeTaking
            | Self::Ignored => false,
            Self::BareErrorAfterTaking
            | Self::GarbledResponse
            | Self::LostResponse
            | Self::CloseAfterTaking => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(HttpFaults { throttled: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::Throttled))]
    #[case(HttpFaults { internal_error: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::InternalError))]
    #[case(HttpFaults { bare_error: 0.1, bare_error_after_taking: 0.3, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::BareError))]
    #[case(HttpFaults { bare_error: 0.3, bare_error_after_taking: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::BareErrorAfterTaking))]
    #[case(HttpFaults { garbled_response: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::GarbledResponse))]
    #[case(HttpFaults { ignored: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::Ignored))]
    #[case(HttpFaults { lost_response: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::LostResponse))]
    #[case(HttpFaults { close_after_taking: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.mishap == Some(Mishap::CloseAfterTaking))]
    #[case(HttpFaults { never_settled: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.never_settled)]
    #[case(HttpFaults { unknown_status: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.unknown_status)]
    #[case(HttpFaults { blocked_number: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.number_blocked)]
    #[case(HttpFaults { reject_number: 0.1, ..HttpFaults::default() }, |f: HttpFate| f.number_refused)]
    fn a_share_hits_that_share(#[case] faults: HttpFaults, #[case] hit: fn(HttpFate) -> bool) {
        assert_eq!(faults.check(), Ok(()));
        // A tenth of 10,000 draws; five standard deviations are 150.
        let hits = (0..10_000).filter(|i| hit(HttpFate::of(&faults, 42, &format!("3161{i:07}"), 0))).count();
        assert!((850..=1_150).contains(&hits), "{hits} of 10,000");
    }

    #[test]
    fn a_message_fares_at_a_provider_as_at_an_smsc() {
        let http =
            HttpFaults { undelivered: 0.3, expired: 0.2, receipt_delay_ms: (1, 90), ..HttpFaults::default() };
        let smpp = http.shared();
        for i in 0..100 {
            let number = format!("316{i}");
            let (one, other) = (HttpFate::of(&http, 3, &number, 2), Fate::of(&smpp, 3, &number, 2));
            assert_eq!((one.state, one.settles_after_ms), (other.state, other.settles_after_ms));
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let share = HttpFaults { throttled: 1.5, ..HttpFaults::default() };
        assert_eq!(share.check(), Err(FaultsError::Share("throttled")));
        let range = HttpFaults { receipt_delay_ms: (2, 1), ..HttpFaults::default() };
        assert_eq!(range.check(), Err(FaultsError::Range("receipt_delay_ms")));
        assert!(serde_json::from_str::<HttpFaults>(r#"{"throtled": 0.1}"#).is_err());
    }
}
