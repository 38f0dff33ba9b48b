//! A new alert about an incident.

use klaroen_domain::id::IncidentId;
use klaroen_store::alerts::AlertDraft;
use klaroen_store::idempotency::{Idempotency, Once};

use super::fan_out::Command;
use super::find::find;
use super::view::Alert;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::idempotency;
use crate::state::App;

/// Starts an alert about an incident: its first deliveries are safe when this returns.
///
/// # Errors
/// 404 if the caller's organisation has no such incident, 422 if the idempotency key was used for another request, 503 if the
/// database is not available.
pub async fn create(
    app: &App,
    caller: &Caller,
    incident: IncidentId,
    draft: AlertDraft,
    idempotency: Option<Idempotency>,
) -> Result<Alert, Problem> {
    let work = move |command: Command| async move {
        let taken = command.app.store.take_alert(&command.intake(), incident, &draft).await?;
        let once = taken.map_err(|_| Problem::not_found("incident"))?;
        command.fan_out(&once).await;
        Ok(once)
    };
    let alert = match Command::new(app, caller, idempotency).run_to_completion(work).await? {
        Once::Done(taken) => taken.alert.ok_or_else(Problem::internal)?,
        Once::Repeated(id) => id.into(),
        Once::KeyReused => return Err(idempotency::reused()),
    };
    find(app, caller.organisation(), alert).await
}
