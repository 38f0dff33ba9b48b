//! The calls under `/v1/gateways`, but for the callbacks of providers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::find;
use super::pause::{self, OrderedGateway, PauseRequest, read_pause};
use super::self_test::{self, Test};
use super::view::{Gateway, Gateways};
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::{JsonBody, NoBody};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::state::App;

/// The gateways, in the order of the configuration
#[utoipa::path(get, path = "/v1/gateways", tag = "gateways", operation_id = "list_gateways",
    responses((status = 200, description = "All of them", body = Gateways)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Gateways>, Problem> {
    find::list(&app, caller.organisation()).await.map(Json)
}

/// A gateway
#[utoipa::path(get, path = "/v1/gateways/{name}", tag = "gateways", operation_id = "get_gateway",
    params(("name" = String, Path, description = "The gateway's name")),
    responses((status = 200, description = "The gateway", body = Gateway)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Json<Gateway>, Problem> {
    find::find(&app, caller.organisation(), &name).await.map(Json)
}

/// Take a gateway out of use
///
/// Nothing more is handed to it, in any process, within two seconds; what waits for it goes elsewhere or stays in the queue. It
/// holds until it is taken back. A second order changes nothing.
#[utoipa::path(post, path = "/v1/gateways/{name}/pause", tag = "gateways", operation_id = "pause_gateway",
    params(("name" = String, Path, description = "The gateway's name")), request_body = PauseRequest,
    responses((status = 200, description = "It is out of use", body = OrderedGateway)))]
pub(crate) async fn pause(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<OrderedGateway>, Problem> {
    let reason = read_pause(&body.value)?;
    pause::pause(&app, &caller, &name, reason.as_deref()).await.map(Json)
}

/// Put a gateway back into use
///
/// It takes messages again when its state allows it. Without an order to take back nothing changes.
#[utoipa::path(post, path = "/v1/gateways/{name}/resume", tag = "gateways", operation_id = "resume_gateway",
    params(("name" = String, Path, description = "The gateway's name")),
    responses((status = 200, description = "No order keeps it out of use", body = OrderedGateway)))]
pub(crate) async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Json<OrderedGateway>, Problem> {
    pause::resume(&app, &caller, &name).await.map(Json)
}

/// Test a gateway
///
/// A worker that feeds the gateway sends one SMS to the `test_number` of its configuration, also while the gateway is out of
/// use; the text is fixed and says that it is a test. It is sent once: where its answer is lost, it ends as `unknown`. One that
/// no worker takes within two minutes ends as `refused`, one without a receipt within ten as `no_receipt`.
#[utoipa::path(post, path = "/v1/gateways/{name}/test", tag = "gateways", operation_id = "test_gateway",
    params(("name" = String, Path, description = "The gateway's name")),
    responses((status = 202, description = "It is waiting for a worker", body = Test, headers(("Location" = String)))))]
pub(crate) async fn test(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let test = self_test::request(&app, &caller, &name).await?;
    let location = format!("/v1/gateways/{name}/tests/{}", test.id);
    let location = HeaderValue::from_str(&location).map_err(|_| Problem::internal())?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(test)).into_response())
}

/// The tests of a gateway, newest first
#[utoipa::path(get, path = "/v1/gateways/{name}/tests", tag = "gateways", operation_id = "list_gateway_tests",
    params(("name" = String, Path, description = "The gateway's name"), PageParameters),
    responses((status = 200, description = "A page", body = List<Test>)))]
pub(crate) async fn list_tests(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Test>>, Problem> {
    let page = page_only(&parameters)?;
    self_test::list(&app, caller.organisation(), &name, &page).await.map(Json)
}

/// A test of a gateway
#[utoipa::path(get, path = "/v1/gateways/{name}/tests/{id}", tag = "gateways", operation_id = "get_gateway_test",
    params(("name" = String, Path, description = "The gateway's name"), ("id" = uuid::Uuid, Path, description = "The test")),
    responses((status = 200, description = "The test", body = Test)))]
pub(crate) async fn get_test(
    State(app): State<App>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Test>, Problem> {
    self_test::find(&app, caller.organisation(), &name, &id).await.map(Json)
}
