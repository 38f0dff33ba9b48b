//! Participants as they stand.

use klaroen_domain::id::ParticipantId;
use klaroen_domain::phone::PhoneNumber;
use klaroen_store::PageRequest;
use klaroen_store::reads::Read;

use super::view::Participant;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::query::List;
use crate::state::App;

/// One participant. That it was read is in the audit log before it is returned.
///
/// # Errors
/// 404 if the organisation has no such participant, 503 if the database is not available.
pub async fn find(app: &App, caller: &Caller, id: ParticipantId) -> Result<Participant, Problem> {
    let stored = app.store.participant(caller.organisation(), id).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("participant"))?;
    app.store.audit_read(caller.organisation(), caller.actor(), &Read::Participant(id), app.now()).await?;
    Ok(Participant::from(stored))
}

/// One page of the registry, oldest first; with `phone` only participants who have this number. That it was read is in the audit
/// log before it is returned.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    phone: Option<&PhoneNumber>,
    page: &PageRequest,
) -> Result<List<Participant>, Problem> {
    let page = app.store.list_participants(caller.organisation(), phone, page).await?;
    let read = match phone {
        Some(_) => Read::ParticipantsByNumber { found: page.items.iter().map(|found| found.id).collect() },
        None => Read::Participants { count: page.items.len() },
    };
    app.store.audit_read(caller.organisation(), caller.actor(), &read, app.now()).await?;
    Ok(List::from_page(page, Participant::from))
}
