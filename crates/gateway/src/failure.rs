//! Outcomes whose cause is on our side of the wire.

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};

/// It was certainly not taken.
pub(crate) fn not_taken(code: &str, detail: &str) -> SubmitOutcome {
    SubmitOutcome::NotTaken(failure(code, detail))
}

/// It may have been taken.
pub(crate) fn unknown(code: &str, detail: &str) -> SubmitOutcome {
    SubmitOutcome::Unknown(failure(code, detail))
}

fn failure(code: &str, detail: &str) -> Failure {
    Failure { scope: Scope::Gateway, code: code.to_owned(), detail: detail.to_owned() }
}
