//! The names of actors on what all organisations share: gateways and opt-outs.

use klaroen_domain::id::OrganisationId;

/// The name of an actor of another organisation.
const ELSEWHERE: &str = "another organisation";

/// Returns the actor as `organisation` may see it.
pub(crate) fn actor(by: &str, whose: Option<OrganisationId>, organisation: OrganisationId) -> String {
    if whose.is_none_or(|whose| whose == organisation) { by.to_owned() } else { ELSEWHERE.to_owned() }
}
