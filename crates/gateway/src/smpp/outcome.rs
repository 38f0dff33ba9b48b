//! The meaning of a `command_status` for a message (SMPP 3.4 §5.1.3, SMPP 5.0 §4.7.6), and what the parts of a long message
//! add up to.

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};

use crate::failure::unknown;

/// The meaning of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Not taken; slower.
    Throttled,
    /// Not taken; again later.
    Later,
    /// No, for as long as nothing changes.
    No(Scope),
}

use Meaning::{Later, No, Throttled};
use Scope::{Gateway, Message, Recipient};

/// Every status that says something. What comes from our configuration (sender, service type, flags) concerns the whole
/// gateway: it must not fail the recipients of an alert one by one.
const STATUSES: [(u32, Meaning, &str); 44] = [
    (0x01, No(Message), "message length is invalid"),
    (0x02, No(Message), "command length is invalid"),
    (0x03, No(Gateway), "submit_sm is not supported"),
    (0x04, No(Gateway), "not bound for submitting"),
    (0x05, No(Gateway), "already bound"),
    (0x06, No(Gateway), "priority flag is invalid: change priority_flag"),
    (0x07, No(Gateway), "registered delivery flag is invalid: change registered_delivery"),
    (0x08, Later, "system error"),
    (0x0A, No(Gateway), "source address is invalid"),
    (0x0B, No(Recipient), "destination address is invalid"),
    (0x0D, No(Gateway), "bind failed"),
    (0x0E, No(Gateway), "password is invalid"),
    (0x0F, No(Gateway), "system id is invalid"),
    (0x14, Throttled, "message queue is full"),
    (0x15, No(Gateway), "service type is invalid: change service_type"),
    (0x33, No(Recipient), "number of destinations is invalid"),
    (0x40, No(Recipient), "destination flag is invalid"),
    (0x43, No(Message), "esm_class is invalid: long_text may have to be \"sar\" or \"payload\""),
    (0x45, Later, "submit failed"),
    (0x48, No(Gateway), "source TON is invalid: change sender_ton"),
    (0x49, No(Gateway), "source NPI is invalid: change sender_npi"),
    (0x50, No(Recipient), "destination TON is invalid"),
    (0x51, No(Recipient), "destination NPI is invalid"),
    (0x53, No(Gateway), "system type is invalid"),
    (0x54, No(Gateway), "replace flag is invalid"),
    (0x58, Throttled, "throttled"),
    (0x61, No(Message), "delivery time is invalid"),
    (0x62, No(Gateway), "validity period is invalid: validity may have to be \"absolute\" or \"none\""),
    (0x63, No(Message), "predefined message is invalid"),
    (0x64, Later, "receiver has a temporary error"),
    (0x65, No(Message), "receiver has a permanent error"),
    (0x66, No(Message), "receiver rejects the message"),
    (0xC0, No(Message), "optional part is invalid"),
    (0xC1, No(Message), "optional parameter is not allowed"),
    (0xC2, No(Message), "parameter length is invalid"),
    (0xC3, No(Message), "optional parameter is missing"),
    (0xC4, No(Message), "optional parameter is invalid"),
    (0xFE, Later, "delivery failed"),
    (0xFF, Later, "unknown error"),
    (0x100, No(Gateway), "not authorised for the service type"),
    (0x101, No(Gateway), "prohibited"),
    (0x102, Later, "service is unavailable"),
    (0x103, No(Gateway), "service is denied"),
    (0x104, No(Message), "data coding is invalid: change data_coding_gsm7 or data_coding_ucs2"),
];

fn meaning(status: u32) -> (Meaning, &'static str) {
    STATUSES.iter().find(|(code, ..)| *code == status).map_or(
        // Reserved and vendor codes (from 0x400): it is an answer and not ESME_ROK, so nothing was taken, and since its cause
        // is unknown nobody is given up for it. Retries end with the alert.
        (Later, if status >= 0x400 { "vendor-specific error" } else { "reserved error code" }),
        |(_, meaning, text)| (*meaning, *text),
    )
}

/// The words for a status: for the operator and the log.
pub(crate) fn describe(status: u32) -> String {
    format!("{} ({})", meaning(status).1, code(status))
}

fn code(status: u32) -> String {
    format!("0x{status:08X}")
}

/// The outcome of a submit that was answered with a status other than `ESME_ROK`.
pub(crate) fn refused(status: u32) -> SubmitOutcome {
    let (meaning, text) = meaning(status);
    let failure = |scope| Failure { scope, code: code(status), detail: text.to_owned() };
    match meaning {
        Throttled => SubmitOutcome::Throttled { retry_after: None },
        Later => SubmitOutcome::NotTaken(failure(Gateway)),
        No(scope) => SubmitOutcome::Rejected(failure(scope)),
    }
}

/// The outcome of a message from the outcomes of its parts, in order.
///
/// If one part was taken and another not, nothing rang: a handset shows a long message when all its parts are there. Where
/// the provider only said "not now", the message goes again as if nothing had been taken: it has the same concatenation
/// reference, so it completes the message rather than doubling it. Where a part was refused for good, the taken one
/// cannot be called back: that is `Unknown`, and left to the policy for such.
pub(crate) fn fold(parts: Vec<SubmitOutcome>) -> SubmitOutcome {
    let count = parts.len();
    let segments = u8::try_from(count).unwrap_or(u8::MAX);
    let mut ids = Vec::new();
    let mut taken = 0;
    let mut refusal: Option<(usize, SubmitOutcome)> = None;
    for (index, part) in parts.into_iter().enumerate() {
        match part {
            SubmitOutcome::Accepted { provider_ids, .. } => {
                taken += 1;
                ids.extend(provider_ids);
            }
            SubmitOutcome::Unknown(failure) => return SubmitOutcome::Unknown(failure),
            throttled @ SubmitOutcome::Throttled { .. } => refusal = Some((index, throttled)),
            other => refusal = refusal.or(Some((index, other))),
        }
    }
    match refusal {
        None => SubmitOutcome::Accepted { provider_ids: ids, segments },
        Some((index, SubmitOutcome::Rejected(failure))) if taken > 0 => {
            unknown(&failure.code, &format!("part {} of {count} refused, others taken", index + 1))
        }
        Some((_, outcome)) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::ProviderId;
    use rstest::rstest;

    use super::*;

    fn taken(id: &str) -> SubmitOutcome {
        SubmitOutcome::Accepted { provider_ids: vec![ProviderId(id.into())], segments: 1 }
    }

    fn scope(outcome: &SubmitOutcome) -> Option<Scope> {
        match outcome {
            SubmitOutcome::Rejected(failure) => Some(failure.scope),
            _ => None,
        }
    }

    #[rstest]
    fn slow_down_is_throttled(#[values(0x58, 0x14)] status: u32) {
        assert_eq!(refused(status), SubmitOutcome::Throttled { retry_after: None });
    }

    #[rstest]
    fn temporary_and_unknown_codes_are_not_taken(
        #[values(0x08, 0x45, 0x64, 0xFE, 0xFF, 0x102, 0x09, 0x400, 0x55F, 0xFFFF_FFFF)] status: u32,
    ) {
        assert!(matches!(refused(status), SubmitOutcome::NotTaken(_)));
    }

    #[rstest]
    #[case(&[0x0B, 0x50, 0x51], Recipient)]
    #[case(&[0x01, 0x43, 0x61, 0x104], Message)]
    #[case(&[0x04, 0x06, 0x07, 0x0D, 0x0E, 0x0F, 0x0A, 0x15, 0x48, 0x49, 0x62, 0x101], Gateway)]
    fn refusals_have_their_scope(#[case] statuses: &[u32], #[case] expected: Scope) {
        for status in statuses {
            assert_eq!(scope(&refused(*status)), Some(expected), "0x{status:x}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_has_no_double() {
        assert!(STATUSES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn the_code_is_named() {
        let SubmitOutcome::Rejected(failure) = refused(0x0B) else { panic!("not rejected") };
        assert_eq!(failure.code, "0x0000000B");
        assert_eq!(describe(0x0E), "password is invalid (0x0000000E)");
    }

    #[test]
    fn parts_add_up() {
        let no = || refused(0x0B);
        let lost = || unknown("timeout", "");
        assert_eq!(
            fold(vec![taken("1"), taken("2")]),
            SubmitOutcome::Accepted {
                provider_ids: vec![ProviderId("1".into()), ProviderId("2".into())],
                segments: 2
            }
        );
        assert_eq!(fold(vec![no(), no()]), no());
        assert_eq!(
            fold(vec![refused(0x58), no()]),
            refused(0x58),
            "the first refusal where nothing was taken"
        );
        for (not_now, parts) in [
            (0x58, vec![taken("1"), refused(0x58)]),
            (0x08, vec![refused(0x08), taken("2")]),
            (0x58, vec![refused(0x08), taken("2"), refused(0x58)]),
        ] {
            assert_eq!(fold(parts), refused(not_now), "nothing rang, and it goes again");
        }
        assert!(matches!(fold(vec![refused(0x58), taken("2"), lost()]), SubmitOutcome::Unknown(_)));
        assert!(matches!(fold(vec![taken("1"), lost()]), SubmitOutcome::Unknown(_)));
        assert!(matches!(fold(vec![no(), lost()]), SubmitOutcome::Unknown(_)));
        let SubmitOutcome::Unknown(failure) = fold(vec![taken("1"), taken("2"), no()]) else {
            panic!("not unknown")
        };
        assert_eq!(failure.detail, "part 3 of 3 refused, others taken");
        assert_eq!(failure.code, "0x0000000B");
    }
}
