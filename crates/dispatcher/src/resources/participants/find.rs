//! Participants as they stand.

use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::PageRequest;

use super::view::Participant;
use crate::problem::Problem;
use crate::request::query::List;
use crate::state::App;

/// One participant.
///
/// # Errors
/// 404 if the organisation has no such participant, 503 if the database is not available.
pub async fn find(
    app: &App,
    organisation: OrganisationId,
    id: ParticipantId,
) -> Result<Participant, Problem> {
    let stored = app.store.participant(organisation, id).await?;
    stored.map(Participant::from).ok_or_else(|| Problem::not_found("participant"))
}

/// One page of the registry, oldest first; with `phone` only participants who have this number.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    phone: Option<&PhoneNumber>,
    page: &PageRequest,
) -> Result<List<Participant>, Problem> {
    let page = app.store.list_participants(organisation, phone, page).await?;
    Ok(List::from_page(page, Participant::from))
}
