//! The calls under `/v1/gateways`, but for the callbacks of providers.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::find;
use super::pause::{self, OrderedGateway, PauseRequest, read_pause};
use super::self_test::{self, Test};
use super::view::{Gateway, Gateways};
use crate::auth::caller::Principal;
use crate::problem::Problem;
use crate::request::body::{JsonBody, NoBody};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::state::App;

/// List the gateways in the order of the configuration
#[utoipa::path(get, path = "/v1/gateways", tag = "gateways", operation_id = "list_gateways",
    responses((status = 200, description = "All gateways", body = Gateways)))]
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Gateways>, Problem> {
    find::list(&app).await.map(Json)
}

/// Get a gateway
#[utoipa::path(get, path = "/v1/gateways/{name}", tag = "gateways", operation_id = "get_gateway",
    params(("name" = String, Path, description = "The name of the gateway")),
    responses((status = 200, description = "The gateway", body = Gateway)))]
pub(crate) async fn get(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Gateway>, Problem> {
    find::find(&app, &name).await.map(Json)
}

/// Take a gateway out of use
///
/// Within two seconds no process hands it any more messages. Messages that wait for it go to other gateways or stay in
/// the queue. The order holds until the gateway is resumed. A second order changes nothing. Gateways belong to the
/// installation: every organisation sees the order with its reason, and has it in its audit log.
#[utoipa::path(post, path = "/v1/gateways/{name}/pause", tag = "gateways", operation_id = "pause_gateway",
    params(("name" = String, Path, description = "The name of the gateway")), request_body = PauseRequest,
    responses((status = 200, description = "The gateway is out of use", body = OrderedGateway)))]
pub(crate) async fn pause(
    State(app): State<App>,
    principal: Principal,
    Path(name): Path<String>,
    body: JsonBody,
) -> Result<Json<OrderedGateway>, Problem> {
    let reason = read_pause(&body.value)?;
    pause::pause(&app, &principal, &name, reason.as_deref()).await.map(Json)
}

/// Put a gateway back into use
///
/// The gateway takes messages again as soon as its state allows it. If no order keeps it out of use, nothing changes.
#[utoipa::path(post, path = "/v1/gateways/{name}/resume", tag = "gateways", operation_id = "resume_gateway",
    params(("name" = String, Path, description = "The name of the gateway")),
    responses((status = 200, description = "No order keeps the gateway out of use", body = OrderedGateway)))]
pub(crate) async fn resume(
    State(app): State<App>,
    principal: Principal,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Json<OrderedGateway>, Problem> {
    pause::resume(&app, &principal, &name).await.map(Json)
}

/// Test a gateway
///
/// A worker that serves the gateway sends one SMS to the `test_number` of its configuration, even if the gateway is out
/// of use. The text is fixed and says that it is a test. The SMS is sent once. If its answer is lost, the test ends as
/// `unknown`. If no worker takes it within two minutes, it ends as `refused`. If no receipt comes within ten minutes,
/// it ends as `no_receipt`.
#[utoipa::path(post, path = "/v1/gateways/{name}/test", tag = "gateways", operation_id = "test_gateway",
    params(("name" = String, Path, description = "The name of the gateway")),
    responses((status = 202, description = "The test waits for a worker", body = Test, headers(("Location" = String)))))]
pub(crate) async fn test(
    State(app): State<App>,
    principal: Principal,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    let test = self_test::request(&app, &principal, &name).await?;
    let location = format!("/v1/gateways/{name}/tests/{}", test.id);
    let location = HeaderValue::from_str(&location).map_err(|_| Problem::internal())?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(test)).into_response())
}

/// List the tests of a gateway, newest first
#[utoipa::path(get, path = "/v1/gateways/{name}/tests", tag = "gateways", operation_id = "list_gateway_tests",
    params(("name" = String, Path, description = "The name of the gateway"), PageParameters),
    responses((status = 200, description = "A page", body = List<Test>)))]
pub(crate) async fn list_tests(
    State(app): State<App>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Test>>, Problem> {
    let page = page_only(&parameters)?;
    self_test::list(&app, &name, &page).await.map(Json)
}

/// Get a test of a gateway
#[utoipa::path(get, path = "/v1/gateways/{name}/tests/{id}", tag = "gateways", operation_id = "get_gateway_test",
    params(("name" = String, Path, description = "The name of the gateway"), ("id" = uuid::Uuid, Path, description = "The test")),
    responses((status = 200, description = "The test", body = Test)))]
pub(crate) async fn get_test(
    State(app): State<App>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Test>, Problem> {
    self_test::find(&app, &name, &id).await.map(Json)
}
