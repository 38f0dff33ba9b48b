//! The names of those who paused or tested a gateway, which all organisations share.

use klaroen_domain::id::OrganisationId;

/// What an actor of another organisation is called.
const ELSEWHERE: &str = "another organisation";

/// Who did something, as `organisation` may know.
pub(crate) fn actor(by: &str, whose: Option<OrganisationId>, organisation: OrganisationId) -> String {
    if whose.is_none_or(|whose| whose == organisation) { by.to_owned() } else { ELSEWHERE.to_owned() }
}
