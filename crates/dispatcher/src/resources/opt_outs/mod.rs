//! Opt-outs: phone numbers that get no messages. Phone numbers are masked.

mod actor;
pub(crate) mod http;

use klaroen_domain::id::{OptOutId, OrganisationId, ParticipantId};
use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::idempotency::{Idempotency, Once};
use klaroen_store::reads::Read;
use klaroen_store::replies::{Lifted, NewOptOut, OptOut as Stored, OptOutSource};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use self::actor::actor;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::idempotency;
use crate::request::query::List;
use crate::resources::schemas;
use crate::state::App;

/// Characters of a note and of a reason.
const NOTE_MAX: usize = 500;

/// The opt-out of a phone number.
#[derive(Serialize, ToSchema)]
pub struct OptOut {
    /// The id of the opt-out.
    #[schema(schema_with = schemas::id)]
    pub id: OptOutId,
    /// The number, masked. `null` if only its hash is kept: the number said STOP itself and is not a participant's of this
    /// organisation.
    pub phone: Option<String>,
    /// The participant who has the number. `null` if this organisation has none.
    #[schema(schema_with = schemas::id_or_null)]
    pub participant_id: Option<ParticipantId>,
    /// `sms`: the number said STOP. `provider`: the number stopped messages at the provider. `person`: somebody recorded it
    /// with this API.
    #[schema(schema_with = schemas::opt_out_source)]
    pub source: OptOutSource,
    /// The note of the person who recorded it. `null` if there is none, or if another organisation recorded it.
    pub note: Option<String>,
    /// The actor who recorded it: `key:<id>`, or `another organisation`. `null` if the source is not `person`.
    pub recorded_by: Option<String>,
    /// When the number opted out.
    #[schema(schema_with = schemas::time)]
    pub opted_out_at: Timestamp,
    /// How the opt-out ended. `null` while it holds.
    pub lifted: Option<LiftedOptOut>,
}

/// The end of an opt-out.
#[derive(Serialize, ToSchema)]
pub struct LiftedOptOut {
    /// When the opt-out was lifted.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
    /// The actor who lifted it: `key:<id>`.
    pub by: String,
    /// The reason. `null` if the participant was erased since then.
    pub reason: Option<String>,
}

/// An opt-out that was recorded.
#[derive(Serialize, ToSchema)]
pub struct RecordedOptOut {
    /// The opt-out.
    #[serde(flatten)]
    pub opt_out: OptOut,
    /// Number of messages that a worker is handing over to a provider at this moment. They may still arrive.
    pub in_flight: u64,
}

/// An opt-out that is to be recorded.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OptOutRequest {
    /// The number that opts out: E.164, or national in the country of the configuration.
    #[schema(example = "0612345678")]
    pub phone: String,
    /// Who asked for it, and how.
    #[schema(min_length = 1, max_length = 500, example = "asked by telephone")]
    pub note: Option<String>,
}

/// The reason why an opt-out is lifted.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LiftRequest {
    /// The reason, for people who ask later.
    #[schema(
        min_length = 1,
        max_length = 500,
        example = "the participant asked for alerts again, by letter"
    )]
    pub reason: String,
}

/// The filter of the list of opt-outs.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OptOutFilter {
    /// Only opt-outs of this number.
    pub phone: Option<String>,
}

/// An [`OptOutRequest`], read whole. `Debug` is not derived: the note may name a person.
#[derive(Clone)]
pub struct ReadOptOut {
    /// The number.
    pub phone: PhoneNumber,
    /// The note, if there is one.
    pub note: Option<String>,
}

impl OptOut {
    /// As `organisation` may see it.
    fn show(stored: Stored, organisation: OrganisationId) -> Self {
        Self {
            id: stored.id,
            phone: stored.phone.map(|phone| phone.to_string()),
            participant_id: stored.participant,
            source: stored.source,
            note: stored.note,
            recorded_by: stored.recorded_by.map(|by| actor(&by, stored.holder, organisation)),
            opted_out_at: stored.opted_out_at,
            lifted: stored.lifted.map(|end| LiftedOptOut { at: end.at, by: end.by, reason: end.reason }),
        }
    }
}

/// Reads an [`OptOutRequest`].
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_opt_out(document: &Value, country: Country) -> Result<ReadOptOut, Problem> {
    let report = Report::default();
    let read = Node::root(document, &report).object().and_then(|mut members| {
        let phone = members.read("phone", |n| {
            let text = n.text(NOTE_MAX)?;
            n.taken(PhoneNumber::parse(text, country))
        });
        let note = members.read_optional("note", |n| n.text(NOTE_MAX).map(str::to_owned));
        members.finish();
        Some(ReadOptOut { phone: phone?, note: note? })
    });
    report.finish(read)
}

/// Reads a [`LiftRequest`]: the reason.
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_lift(document: &Value) -> Result<String, Problem> {
    let report = Report::default();
    let read = Node::root(document, &report).object().and_then(|mut members| {
        let reason = members.read("reason", |n| n.text(NOTE_MAX).map(str::to_owned));
        members.finish();
        reason
    });
    report.finish(read)
}

/// Records an opt-out. Returns it, and whether the organisation had not recorded it before.
///
/// # Errors
/// 409 if this is a repetition and the opt-out is gone, 422 if the idempotency key was used for another request, 503 if the
/// database is not available.
pub async fn record(
    app: &App,
    caller: &Caller,
    request: &ReadOptOut,
    idempotency: Option<&Idempotency>,
) -> Result<(RecordedOptOut, bool), Problem> {
    let ReadOptOut { phone, note } = request;
    let (organisation, new) = (caller.organisation(), NewOptOut { phone, note: note.as_deref() });
    let texts = app.callbacks.texts();
    let recorded =
        app.store.record_opt_out(organisation, &new, idempotency, caller.actor(), texts, app.now()).await?;
    let (id, new) = match recorded {
        Once::Done(recorded) => (recorded.id, recorded.new),
        Once::Repeated(id) => (id.into(), true),
        Once::KeyReused => return Err(idempotency::reused()),
    };
    if new {
        // The confirmation waits in the queue.
        app.wake.notify_waiters();
        if let Err(error) = app.store.announce().await {
            tracing::debug!(%error, "could not notify the workers; they find the confirmation in the queue");
        }
    }
    let in_flight = app.store.in_flight_to(phone).await?;
    let stored = app.store.opt_out(organisation, id).await?.ok_or_else(|| {
        let detail = "the opt-out that this Idempotency-Key recorded is gone: the number sent START; \
                      use a new key to record another";
        Problem::conflict(detail)
    })?;
    Ok((RecordedOptOut { opt_out: OptOut::show(stored, organisation), in_flight }, new))
}

/// One page of the opt-outs that concern an organisation, oldest first; with `phone` only those of this number.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    phone: Option<&PhoneNumber>,
    page: &PageRequest,
) -> Result<List<OptOut>, Problem> {
    let organisation = caller.organisation();
    let page = app.store.list_opt_outs(organisation, phone, page).await?;
    let read = Read::OptOuts { count: page.items.len(), by_number: phone.is_some() };
    app.store.audit_read(organisation, caller.actor(), &read, app.now()).await?;
    Ok(List::from_page(page, |stored| OptOut::show(stored, organisation)))
}

/// One opt-out.
///
/// # Errors
/// 404 if no such opt-out concerns the organisation, 503 if the database is not available.
pub async fn find(app: &App, organisation: OrganisationId, id: OptOutId) -> Result<OptOut, Problem> {
    let stored = app.store.opt_out(organisation, id).await?;
    stored.map(|stored| OptOut::show(stored, organisation)).ok_or_else(|| Problem::not_found("opt-out"))
}

/// Lifts an opt-out.
///
/// # Errors
/// 404 if no such opt-out concerns the organisation, 409 if another organisation recorded it, 503 if the database is not
/// available.
pub async fn lift(app: &App, caller: &Caller, id: OptOutId, reason: &str) -> Result<(), Problem> {
    let lifted = app.store.lift_opt_out(caller.organisation(), id, reason, caller.actor(), app.now()).await?;
    match lifted {
        Lifted::Done => Ok(()),
        Lifted::Unknown => Err(Problem::not_found("opt-out")),
        Lifted::OfAnother => Err(Problem::conflict(
            "another organisation recorded this opt-out, and only that organisation can lift it; the participant can send START",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_is_wrong_with_an_opt_out_is_named() {
        let country = "NL".parse().unwrap();
        let wrong = |value: &Value| {
            let problem = read_opt_out(value, country).err().expect("refused");
            problem.errors.into_iter().map(|error| error.pointer).collect::<Vec<_>>()
        };
        assert_eq!(wrong(&json!({})), ["/phone"]);
        assert_eq!(wrong(&json!({"phone": "12", "note": 7, "reason": "x"})), ["/note", "/phone", "/reason"]);
        assert_eq!(wrong(&json!({"phone": "0612345678", "note": "x".repeat(501)})), ["/note"]);
        assert_eq!(wrong(&json!([])), [""]);
        let read = read_opt_out(&json!({"phone": "06 12345678", "note": " belde "}), country).unwrap();
        assert_eq!((read.phone.expose(), read.note.as_deref()), ("+31612345678", Some("belde")));
        assert!(read_opt_out(&json!({"phone": "0612345678"}), country).unwrap().note.is_none());
        for no_reason in [json!({}), json!({"reason": " "}), json!({"reason": null})] {
            assert_eq!(read_lift(&no_reason).unwrap_err().errors[0].pointer, "/reason");
        }
    }
}
