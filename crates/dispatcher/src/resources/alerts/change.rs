//! Changes to an alert: correct it, withdraw it, end it, ask more people, stop it.

use klaroen_domain::alert::{AlertEvent, AlertState, Outcome, advance};
use klaroen_domain::geofence::Geofence;
use klaroen_domain::id::AlertId;
use klaroen_domain::text::MessageText;
use klaroen_store::alerts::ChangeRefused;
use klaroen_store::idempotency::{Idempotency, Once};
use serde_json::Value;

use super::fan_out::Command;
use super::find::find;
use super::view::Alert;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::idempotency;
use crate::state::App;

/// A change to an alert.
#[derive(Clone, Debug)]
pub enum AlertChange {
    /// Sends a correction or addition to the people who were reached.
    Update {
        /// The text of the SMS.
        text: MessageText,
    },
    /// Withdraws a wrong alert: stops what has not left, and sends the text to the people who were reached.
    Retract {
        /// The text of the SMS.
        text: MessageText,
    },
    /// Ends the alert: stops what has not left, and sends the text to the people who were reached.
    End {
        /// The text of the SMS.
        text: MessageText,
        /// The outcome of the incident.
        outcome: Outcome,
    },
    /// Asks the people of another area who were not asked yet.
    Extend {
        /// The shape of the area.
        geofence: Geofence,
        /// The area as it was asked for.
        area: Value,
    },
    /// Stops what has not left.
    Cancel,
}

/// Changes an alert: the change holds when this returns. If it is a large one, its last deliveries are still being written.
///
/// # Errors
/// 404 if the caller's organisation has no such alert, 409 if the state of the alert does not allow the change, 422 if the
/// idempotency key was used for another request, 503 if the database is not available.
pub async fn change_alert(
    app: &App,
    caller: &Caller,
    id: AlertId,
    change: AlertChange,
    idempotency: Option<Idempotency>,
) -> Result<Alert, Problem> {
    let work = move |command: Command| async move {
        apply(&command, id, &change).await?;
        command.app.wake.notify_waiters();
        Ok(())
    };
    Command::new(app, caller, idempotency).run_to_completion(work).await?;
    find(app, caller.organisation(), id).await
}

async fn apply(command: &Command, id: AlertId, change: &AlertChange) -> Result<(), Problem> {
    let (store, intake) = (&command.app.store, command.intake());
    let changed = match change {
        AlertChange::Update { text } => store.update_alert(&intake, id, text).await?,
        AlertChange::Retract { text } => store.retract_alert(&intake, id, text).await?,
        AlertChange::End { text, outcome } => store.end_alert(&intake, id, text, *outcome).await?,
        AlertChange::Cancel => store.cancel_alert(&intake, id).await?,
        AlertChange::Extend { geofence, area } => {
            let once = store.extend_alert(&intake, id, geofence, area).await?.map_err(refused)?;
            command.fan_out(&once).await;
            return not_reused(&once);
        }
    };
    let once = changed.map_err(refused)?;
    command.finish_change(id, &once).await;
    not_reused(&once)
}

fn not_reused<T>(once: &Once<T>) -> Result<(), Problem> {
    if matches!(once, Once::KeyReused) { Err(idempotency::reused()) } else { Ok(()) }
}

/// The changes that a state may allow, by the names of the calls.
const CHANGES: [(&str, AlertEvent); 5] = [
    ("update", AlertEvent::Change),
    ("extend", AlertEvent::Change),
    ("end", AlertEvent::End),
    ("retract", AlertEvent::Retract),
    ("cancel", AlertEvent::Cancel),
];

fn refused(refusal: ChangeRefused) -> Problem {
    match refusal {
        ChangeRefused::NotFound => Problem::not_found("alert"),
        ChangeRefused::NotPossible(state) => Problem::conflict(possible(state)),
    }
}

fn possible(state: AlertState) -> String {
    let verbs: Vec<&str> =
        CHANGES.iter().filter(|(_, event)| advance(state, *event).is_ok()).map(|(verb, _)| *verb).collect();
    if verbs.is_empty() {
        return format!("the alert is {state} and cannot be changed any more");
    }
    format!("the alert is {state}; possible changes: {}", verbs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_possible() {
        assert_eq!(possible(AlertState::Ended), "the alert is ended and cannot be changed any more");
        assert_eq!(possible(AlertState::Expired), "the alert is expired; possible changes: end, retract");
        let problem = refused(ChangeRefused::NotPossible(AlertState::Cancelled));
        assert_eq!(
            (problem.status, problem.detail.as_str()),
            (409, "the alert is cancelled; possible changes: end")
        );
        assert_eq!(refused(ChangeRefused::NotFound).status, 404);
    }
}
