//! The calls under `/v1/opt_outs`.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{LiftRequest, OptOut, OptOutFilter, OptOutRequest, RecordedOptOut, read_lift, read_opt_out};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::path_id;
use crate::request::idempotency;
use crate::request::query::{List, PageParameters, Parameters};
use crate::resources::created;
use crate::state::App;

/// Record that a phone number opts out
///
/// The call does what a STOP by SMS does. The number gets no messages from any organisation of this installation, queued
/// deliveries to it are not sent, and the participant gets one confirmation by SMS. The opt-out outlives the registration: an
/// import or a new registration does not bring the number back. It ends when it is lifted, or when the participant sends START.
/// A repetition with the same `Idempotency-Key` and body changes nothing. If the organisation has recorded the number before,
/// the response is 200 with that opt-out.
#[utoipa::path(post, path = "/v1/opt_outs", tag = "opt-outs", operation_id = "record_opt_out",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    request_body = OptOutRequest,
    responses((status = 201, description = "Recorded", body = RecordedOptOut, headers(("Location" = String))),
              (status = 200, description = "Recorded before", body = RecordedOptOut),
              (status = 409, description = "The opt-out that the key recorded is gone", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn record(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let idempotency = idempotency::read(&headers, &Method::POST, "/v1/opt_outs", &body.bytes)?;
    let request = read_opt_out(&body.value, app.settings.country)?;
    let (recorded, new) = super::record(&app, &caller, &request, idempotency.as_ref()).await?;
    if new {
        created(&format!("/v1/opt_outs/{}", recorded.opt_out.id), &recorded)
    } else {
        Ok(Json(recorded).into_response())
    }
}

/// List the opt-outs, oldest first
///
/// The list has the opt-outs that the organisation recorded, those of its participants, and those of numbers that answered its
/// alerts with STOP. An opt-out holds for all organisations of the installation.
#[utoipa::path(get, path = "/v1/opt_outs", tag = "opt-outs", operation_id = "list_opt_outs",
    params(OptOutFilter, PageParameters),
    responses((status = 200, description = "A page", body = List<OptOut>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Json<List<OptOut>>, Problem> {
    let report = parameters.report();
    let phone = parameters.phone("phone", app.settings.country, &report);
    let page = parameters.page(&report);
    let page = report.finish(Some(page))?;
    super::list(&app, &caller, phone.as_ref(), &page).await.map(Json)
}

/// Get an opt-out
///
/// An opt-out that the organisation lifted is still shown, with the reason.
#[utoipa::path(get, path = "/v1/opt_outs/{id}", tag = "opt-outs", operation_id = "get_opt_out",
    params(("id" = uuid::Uuid, Path, description = "The opt-out")),
    responses((status = 200, description = "The opt-out", body = OptOut)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<OptOut>, Problem> {
    super::find(&app, caller.organisation(), path_id(&id, "opt-out")?).await.map(Json)
}

/// Lift an opt-out
///
/// The number gets messages again, unless it has another opt-out: its own STOP and the records of several organisations each
/// count. Only the organisation that recorded an opt-out can lift it. To lift an opt-out again has no effect.
#[utoipa::path(delete, path = "/v1/opt_outs/{id}", tag = "opt-outs", operation_id = "lift_opt_out",
    params(("id" = uuid::Uuid, Path, description = "The opt-out")),
    request_body = LiftRequest,
    responses((status = 204, description = "The opt-out is lifted"),
              (status = 409, description = "Another organisation recorded it", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn lift(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<StatusCode, Problem> {
    let id = path_id(&id, "opt-out")?;
    super::lift(&app, &caller, id, &read_lift(&body.value)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
