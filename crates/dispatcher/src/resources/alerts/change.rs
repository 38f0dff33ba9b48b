//! What an operator does to an alert: correct it, withdraw it, end it, ask more people, stop it.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method};
use klaroen_domain::alert::{AlertEvent, AlertState, Outcome, advance};
use klaroen_domain::id::AlertId;
use klaroen_domain::text::MessageText;
use klaroen_store::StoreError;
use klaroen_store::alerts::ChangeRefused;
use klaroen_store::idempotency::Once;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{JsonBody, NoBody};
use crate::request::fields::{Node, Report, path_id};
use crate::request::idempotency;
use crate::resources::alerts::area::{AreaFields, AreaRequest};
use crate::resources::alerts::fan_out::Request;
use crate::resources::alerts::http::find;
use crate::resources::alerts::request::read_text;
use crate::resources::alerts::view::Alert;
use crate::resources::schemas;
use crate::state::App;

/// A text to those reached.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// The text of the SMS.
    #[schema(min_length = 1, max_length = 4000)]
    pub text: String,
}

/// The end of an alert.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndRequest {
    /// The text of the SMS to those reached.
    #[schema(min_length = 1, max_length = 4000)]
    pub text: String,
    /// What came of it.
    #[schema(schema_with = schemas::outcome)]
    pub outcome: String,
}

/// More people.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendRequest {
    /// Where; people who were asked already are not asked again.
    pub area: AreaRequest,
}

/// What every change has: the alert, the key and the body of the request.
struct Change {
    request: Request,
    id: AlertId,
    exercise: bool,
}

impl Change {
    async fn begin(
        app: &App,
        caller: Caller,
        id: &str,
        verb: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Self, Problem> {
        let id: AlertId = path_id(id, "alert")?;
        let path = format!("/v1/alerts/{id}/{verb}");
        let idempotency = idempotency::read(headers, &Method::POST, &path, body)?;
        let alert = find(app, caller.organisation(), id).await?;
        let request = Request { app: app.clone(), caller, idempotency, now: app.now() };
        Ok(Self { request, id, exercise: alert.exercise })
    }

    /// Runs the change to its end, wakes the worker, and shows what came of it.
    async fn carry_out<T, F>(self, work: impl FnOnce(Request, AlertId) -> F) -> Result<Json<Alert>, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<Result<Once<T>, ChangeRefused>, StoreError>> + Send + 'static,
    {
        let (app, organisation, id) = (self.request.app.clone(), self.request.caller.organisation(), self.id);
        let wake = app.wake.clone();
        let once = self
            .request
            .carry_out(|request| {
                let change = work(request, id);
                async move {
                    let once = change.await?.map_err(refused)?;
                    wake.notify_waiters();
                    Ok(once)
                }
            })
            .await?;
        if matches!(once, Once::KeyReused) {
            return Err(idempotency::reused());
        }
        find(&app, organisation, id).await.map(Json)
    }
}

/// What can be done in a state, by the names of the calls.
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
        return format!("the alert is {state}: nothing can be done to it any more");
    }
    format!("the alert is {state}: possible are {}", verbs.join(", "))
}

fn read_text_request(app: &App, body: &JsonBody, exercise: bool) -> Result<MessageText, Problem> {
    let report = Report::default();
    let text = Node::root(&body.value, &report).object().and_then(|mut members| {
        let text = members.read("text", |n| read_text(&n, app.settings.max_segments, exercise));
        members.finish();
        text
    });
    report.finish(text)
}

/// Send a correction or addition to those reached
#[utoipa::path(post, path = "/v1/alerts/{id}/update", tag = "alerts", operation_id = "update_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = TextRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let change = Change::begin(&app, caller, &id, "update", &headers, &body.bytes).await?;
    let text = read_text_request(&app, &body, change.exercise)?;
    change
        .carry_out(|r, id| async move {
            let changed = r.app.store.update_alert(&r.intake(), id, &text).await?;
            r.finish_change(id, &changed).await;
            Ok(changed)
        })
        .await
}

/// Withdraw a wrong alert
///
/// What has not left is stopped; those reached get the text.
#[utoipa::path(post, path = "/v1/alerts/{id}/retract", tag = "alerts", operation_id = "retract_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = TextRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn retract(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let change = Change::begin(&app, caller, &id, "retract", &headers, &body.bytes).await?;
    let text = read_text_request(&app, &body, change.exercise)?;
    change
        .carry_out(|r, id| async move {
            let changed = r.app.store.retract_alert(&r.intake(), id, &text).await?;
            r.finish_change(id, &changed).await;
            Ok(changed)
        })
        .await
}

/// End an alert
///
/// What has not left is stopped; the end message goes to exactly those who were reached.
#[utoipa::path(post, path = "/v1/alerts/{id}/end", tag = "alerts", operation_id = "end_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = EndRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let change = Change::begin(&app, caller, &id, "end", &headers, &body.bytes).await?;
    let (text, outcome) = read_end(&app, &body, change.exercise)?;
    change
        .carry_out(move |r, id| async move {
            let changed = r.app.store.end_alert(&r.intake(), id, &text, outcome).await?;
            r.finish_change(id, &changed).await;
            Ok(changed)
        })
        .await
}

fn read_end(app: &App, body: &JsonBody, exercise: bool) -> Result<(MessageText, Outcome), Problem> {
    let report = Report::default();
    let read = Node::root(&body.value, &report).object().and_then(|mut members| {
        let text = members.read("text", |n| read_text(&n, app.settings.max_segments, exercise));
        let words: Vec<&str> = Outcome::ALL.iter().map(|o| o.as_str()).collect();
        let outcome = members.read("outcome", |n| n.word(&words));
        members.finish();
        Some((text?, outcome?))
    });
    report.finish(read)
}

/// Ask more people
#[utoipa::path(post, path = "/v1/alerts/{id}/extend", tag = "alerts", operation_id = "extend_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = ExtendRequest,
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn extend(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    mut body: JsonBody,
) -> Result<Json<Alert>, Problem> {
    let organisation = caller.organisation();
    let change = Change::begin(&app, caller, &id, "extend", &headers, &body.bytes).await?;
    let read_area = |node: &Node<'_>| {
        let mut members = node.object()?;
        let area = members.read("area", |n| Some(AreaFields::read(&n)));
        members.finish();
        area
    };
    let (fields, mut report) = app.shapes.read(&mut body, read_area).await?;
    let area = match fields {
        Some(fields) => fields.resolve(&app, organisation, &mut report).await?,
        None => None,
    };
    let (geofence, area) = report.finish(area)?;
    change
        .carry_out(move |r, id| async move {
            let taken = r.app.store.extend_alert(&r.intake(), id, &geofence, &area).await?;
            if let Ok(once) = &taken {
                r.fan_out(once).await;
            }
            Ok(taken)
        })
        .await
}

/// Stop what has not left
///
/// Takes no body, or an empty object.
#[utoipa::path(post, path = "/v1/alerts/{id}/cancel", tag = "alerts", operation_id = "cancel_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 200, description = "The alert", body = Alert)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    _: NoBody,
) -> Result<Json<Alert>, Problem> {
    let change = Change::begin(&app, caller, &id, "cancel", &headers, b"").await?;
    change
        .carry_out(|r, id| async move {
            let changed = r.app.store.cancel_alert(&r.intake(), id).await?;
            r.finish_change(id, &changed).await;
            Ok(changed)
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_is_possible() {
        assert_eq!(possible(AlertState::Ended), "the alert is ended: nothing can be done to it any more");
        assert_eq!(possible(AlertState::Expired), "the alert is expired: possible are end, retract");
        let problem = refused(ChangeRefused::NotPossible(AlertState::Cancelled));
        assert_eq!(
            (problem.status, problem.detail.as_str()),
            (409, "the alert is cancelled: possible are end")
        );
        assert_eq!(refused(ChangeRefused::NotFound).status, 404);
    }
}
