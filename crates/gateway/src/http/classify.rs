//! From what a provider said to an outcome: one table for its codes, and one rule for answers that are not in its words.

use std::time::Duration;

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};

use super::client::Answer;
use crate::failure::{not_taken, unknown};

/// The meaning of a contract's code for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Slower; it was not taken.
    Throttled,
    /// Not now; it was not taken.
    Temporary,
    /// This number, and only this one.
    Recipient,
    /// This number, which stopped messages at the provider.
    OptedOut,
    /// This text or sender, for every recipient.
    Message,
    /// No recipient gets anything: key, credit, account.
    Gateway,
}

/// The codes of a contract: codes, what they mean, and what the operator is told.
pub(super) type Codes = &'static [(&'static [&'static str], Meaning, &'static str)];

/// The words of a provider's refusal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    pub(super) code: &'a str,
    /// HTTP status.
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
}

impl<'a> Refusal<'a> {
    pub(super) fn of(answer: &Answer, code: &'a str) -> Self {
        Self { code, status: answer.status, retry_after: answer.retry_after }
    }
}

/// The outcome of an answer in the words of the contract. A code that is not in the table is a trouble of the provider's own
/// where the status says so (5xx), of the gateway's where it is about who we are (401, 402, 403), and otherwise of this
/// recipient: the queue is not burned for a code that we do not know.
pub(super) fn refused(codes: Codes, refusal: Refusal<'_>) -> SubmitOutcome {
    let code = presentable(refusal.code);
    let found = codes.iter().find(|(known, ..)| known.contains(&refusal.code));
    let (meaning, detail) = match found {
        Some((_, meaning, detail)) => (*meaning, *detail),
        None if refusal.status >= 500 => (Meaning::Temporary, "a fault of the provider's own"),
        None if matches!(refusal.status, 401..=403) => {
            (Meaning::Gateway, "key, credit or account are refused, with a code that is not in the contract")
        }
        None => (Meaning::Recipient, "refused, with a code that is not in the contract"),
    };
    outcome(meaning, &code, detail, refusal.retry_after)
}

pub(super) fn outcome(
    meaning: Meaning,
    code: &str,
    detail: &str,
    retry_after: Option<Duration>,
) -> SubmitOutcome {
    let rejected = |scope, code: &str, detail: String| {
        SubmitOutcome::Rejected(Failure { scope, code: code.to_owned(), detail })
    };
    match meaning {
        Meaning::Throttled => SubmitOutcome::Throttled { retry_after },
        Meaning::Temporary => not_taken(code, detail),
        Meaning::Recipient => rejected(Scope::Recipient, code, detail.to_owned()),
        Meaning::OptedOut => {
            rejected(Scope::Recipient, Failure::OPTED_OUT, format!("{detail} (code {code})"))
        }
        Meaning::Message => rejected(Scope::Message, code, detail.to_owned()),
        Meaning::Gateway => rejected(Scope::Gateway, code, detail.to_owned()),
    }
}

/// Answers that no contract is asked about: their status says all.
pub(super) fn outside_the_contract(answer: &Answer) -> Option<SubmitOutcome> {
    match answer.status {
        // 502 and 504 come from a proxy that lost the provider after it had passed the request on.
        300..=399 | 502 | 504 => Some(by_status(answer)),
        429 => Some(SubmitOutcome::Throttled { retry_after: answer.retry_after }),
        _ => None,
    }
}

/// The outcome of an answer that is not in the words of the contract: a proxy's page, a cut body, nothing at all.
pub(super) fn by_status(answer: &Answer) -> SubmitOutcome {
    let code = format!("http_{}", answer.status);
    match answer.status {
        429 => SubmitOutcome::Throttled { retry_after: answer.retry_after },
        // RFC 9110 §15.4: these say where the request belongs, and so that it was not acted on here.
        301 | 307 | 308 => {
            outcome(Meaning::Gateway, &code, "the provider's address redirects: base_url is not right", None)
        }
        // RFC 9110 §15.5.9, RFC 8470: the request did not arrive, or was not looked at.
        425 => not_taken(&code, "the provider asks to send it again"),
        // A proxy says 408 also when the provider was too slow.
        408 => unknown(&code, "an answer that leaves open whether it was taken"),
        // A refusal in other words than the contract's says nothing of the message: wrong address, blocked by a proxy.
        400..=499 => outcome(Meaning::Gateway, &code, "refused, and not in the words of the contract", None),
        200..=299 => unknown(&code, "an answer that cannot be read"),
        _ => unknown(&code, "an answer that leaves open whether it was taken"),
    }
}

/// The same for a request with `messages` in it. One that is malformed or too large in other words than the contract's may be so
/// for one message or for their number: it is a refusal of these messages, which go again in smaller company, and says
/// something of the gateway only where one message alone is answered so.
pub(super) fn of_request(answer: &Answer, messages: usize) -> SubmitOutcome {
    match answer.status {
        400 | 413 | 422 if messages > 1 => {
            let code = format!("http_{}", answer.status);
            outcome(
                Meaning::Message,
                &code,
                "the request is refused, and not in the words of the contract",
                None,
            )
        }
        _ => by_status(answer),
    }
}

/// A provider's code as it may be shown: short, plain, and too short for a phone number.
pub(super) fn presentable(code: &str) -> String {
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    let digits = code.bytes().filter(u8::is_ascii_digit).count();
    if code.is_empty() || code.len() > 48 || !plain || digits > 6 {
        "unreadable".to_owned()
    } else {
        code.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: Codes =
        &[(&["7", "33"], Meaning::Recipient, "barred"), (&["21610"], Meaning::OptedOut, "stopped")];

    fn refusal(code: &str, status: u16) -> SubmitOutcome {
        refused(CODES, Refusal { code, status, retry_after: None })
    }

    #[test]
    fn a_code_counts_and_an_unknown_one_burns_nothing() {
        assert!(
            matches!(refusal("33", 200), SubmitOutcome::Rejected(f) if f.scope == Scope::Recipient && f.code == "33")
        );
        assert!(matches!(refusal("99", 400), SubmitOutcome::Rejected(f) if f.scope == Scope::Recipient));
        for status in [401, 402, 403] {
            assert!(matches!(refusal("99", status), SubmitOutcome::Rejected(f) if f.scope == Scope::Gateway));
        }
        assert!(matches!(refusal("99", 503), SubmitOutcome::NotTaken(f) if f.code == "99"));
    }

    #[test]
    fn an_opt_out_is_marked_and_keeps_its_code() {
        let SubmitOutcome::Rejected(failure) = refusal("21610", 400) else { panic!() };
        assert!(failure.is_opt_out() && failure.detail.contains("21610"));
        let SubmitOutcome::Rejected(failure) = refusal("7", 400) else { panic!() };
        assert!(!failure.is_opt_out());
    }

    #[test]
    fn no_code_carries_a_number_or_a_text() {
        for code in ["31612345678", "+31612345678", "an alert text", "", "é", &"x".repeat(49)] {
            assert_eq!(presentable(code), "unreadable");
        }
        assert_eq!(presentable("REJECTED_OPERATOR"), "REJECTED_OPERATOR");
    }
}
