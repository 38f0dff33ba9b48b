//! What one request says about its gateway, as opposed to its messages.
//!
//! A batch without an answer is one failure of the network or the provider, not a hundred. If each message counted, one
//! lost answer would make a gateway suspect that needs ten lost answers if it takes messages one by one. So the circuit
//! breaker counts requests, good and bad alike, and figures and metrics count messages.

use klaroen_domain::outcome::{Scope, SubmitOutcome};

/// The outcome that represents the request: a refusal of the gateway as a whole if there is one, because it applies to
/// all that follow; otherwise an answer if at least half of the messages got one; otherwise the first of those without
/// an answer.
pub(crate) fn verdict<'a>(outcomes: &[&'a SubmitOutcome]) -> Option<&'a SubmitOutcome> {
    let refuses_us =
        |o: &&SubmitOutcome| matches!(o, SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway);
    if let Some(refusal) = outcomes.iter().copied().find(refuses_us) {
        return Some(refusal);
    }
    let is_bad = |o: &&SubmitOutcome| matches!(o, SubmitOutcome::Unknown(_) | SubmitOutcome::NotTaken(_));
    let bad = outcomes.iter().copied().filter(is_bad).count();
    outcomes.iter().copied().find(|outcome| is_bad(outcome) == (2 * bad > outcomes.len()))
}

/// The size of the next requests if a batch was refused as a whole; `None` otherwise. Such an answer says that one of
/// the messages, or their number, is wrong, but not which.
///
/// None of them was accepted, so they are sent again in halves until the wrong one is alone. If each was refused for
/// its own reason, the answers look the same and the second attempt costs one more request, but no message fails
/// because of another one.
pub(crate) fn split_batch(outcomes: &[&SubmitOutcome]) -> Option<u16> {
    let (first, others) = outcomes.split_first()?;
    let code = |outcome: &SubmitOutcome| match outcome {
        SubmitOutcome::Rejected(failure) if failure.scope != Scope::Gateway && !failure.is_opt_out() => {
            Some((failure.scope, failure.code.clone()))
        }
        _ => None,
    };
    let refused = code(first)?;
    let whole = !others.is_empty() && others.iter().all(|other| code(other).as_ref() == Some(&refused));
    whole.then(|| u16::try_from(outcomes.len() / 2).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::Failure;

    use super::*;

    const TAKEN: SubmitOutcome = SubmitOutcome::Accepted { provider_ids: vec![], segments: 1 };

    fn failure(scope: Scope, code: &str) -> Failure {
        Failure { scope, code: code.into(), detail: "it is".into() }
    }

    fn refused(scope: Scope, code: &str) -> SubmitOutcome {
        SubmitOutcome::Rejected(failure(scope, code))
    }

    #[test]
    fn a_request_stands_for_its_messages() {
        let (doubt, not_taken) = (
            SubmitOutcome::Unknown(failure(Scope::Recipient, "lost")),
            SubmitOutcome::NotTaken(failure(Scope::Gateway, "refused")),
        );
        let (number, balance) = (refused(Scope::Recipient, "303"), refused(Scope::Gateway, "102"));
        for (outcomes, expected) in [
            (vec![&TAKEN], &TAKEN),
            (vec![&doubt, &doubt, &doubt], &doubt),
            (vec![&doubt, &TAKEN], &TAKEN),
            (vec![&TAKEN, &doubt, &not_taken], &doubt),
            (vec![&number, &doubt], &number),
            (vec![&TAKEN, &TAKEN, &balance], &balance),
        ] {
            assert_eq!(verdict(&outcomes), Some(expected), "{outcomes:?}");
        }
        assert_eq!(verdict(&[]), None);
    }

    #[test]
    fn what_is_refused_as_a_whole_goes_again_by_halves() {
        let (number, other) = (refused(Scope::Recipient, "303"), refused(Scope::Recipient, "402"));
        let (text, gateway) = (refused(Scope::Message, "304"), refused(Scope::Gateway, "102"));
        let stopped = refused(Scope::Recipient, Failure::OPTED_OUT);
        for (outcomes, expected) in [
            (vec![&number; 100], Some(50)),
            (vec![&text; 3], Some(1)),
            (vec![&number; 2], Some(1)),
            (vec![&number], None),
            (vec![&number, &other], None),
            (vec![&number, &TAKEN], None),
            (vec![&gateway; 5], None),
            (vec![&stopped; 2], None),
        ] {
            assert_eq!(split_batch(&outcomes), expected, "{outcomes:?}");
        }
    }
}
