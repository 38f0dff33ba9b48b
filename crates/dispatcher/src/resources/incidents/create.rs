//! A new incident, with or without an alert about it.

use klaroen_store::idempotency::{Idempotency, Once};

use super::find::find;
use super::request::NewIncident;
use super::view::Incident;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::idempotency;
use crate::resources::alerts::fan_out::Command;
use crate::state::App;

/// Takes an incident, and starts its alert: incident, alert and the first deliveries are safe when this returns.
///
/// # Errors
/// 422 if the idempotency key was used for another request, 503 if the database is not available.
pub async fn create(
    app: &App,
    caller: &Caller,
    new: NewIncident,
    idempotency: Option<Idempotency>,
) -> Result<Incident, Problem> {
    let work = move |command: Command| async move {
        let NewIncident { incident, alert } = new;
        let once = command.app.store.take_incident(&command.intake(), &incident, alert.as_ref()).await?;
        command.fan_out(&once).await;
        Ok(once)
    };
    let id = match Command::new(app, caller, idempotency).run_to_completion(work).await? {
        Once::Done(taken) => taken.incident,
        Once::Repeated(id) => id.into(),
        Once::KeyReused => return Err(idempotency::reused()),
    };
    find(app, caller.organisation(), id).await
}
