//! `/v1/gateways/{name}/test` and `/tests`: one SMS to the gateway's own test number, to see whether it works.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klaroen_domain::gateway::TestState;
use klaroen_domain::id::{GatewayTestId, OrganisationId};
use klaroen_domain::time::Timestamp;
use klaroen_store::gateway_tests::{GatewayTest, TestRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::NoBody;
use crate::request::fields::path_id;
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::resources::gateways::actor::actor;
use crate::resources::schemas;
use crate::settings::gateway::ConfiguredGateway;
use crate::state::App;

/// A test of a gateway: one SMS to the number in its configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct Test {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: GatewayTestId,
    /// The gateway's name.
    #[schema(example = "main")]
    pub gateway: String,
    /// Whether it is the one of its day, which nobody asked for.
    pub daily: bool,
    /// Who asked: `key:<id>`, `system`, or `another organisation`.
    pub requested_by: String,
    /// Where it stands.
    #[schema(schema_with = schemas::test_state)]
    pub state: TestState,
    /// Whether the gateway did what it is for; `null` while that is open.
    pub ok: Option<bool>,
    /// When it was asked for.
    #[schema(schema_with = schemas::time)]
    pub requested_at: Timestamp,
    /// When it was handed over.
    #[schema(schema_with = schemas::time_or_null)]
    pub submitted_at: Option<Timestamp>,
    /// Milliseconds until the provider answered.
    pub answer_ms: Option<u64>,
    /// Milliseconds until the receipt came.
    pub receipt_ms: Option<u64>,
    /// The connection that handed it over.
    #[schema(example = "main/0")]
    pub channel: Option<String>,
    /// The provider's code or a word of ours, where it failed.
    pub code: Option<String>,
    /// What it means.
    pub detail: Option<String>,
}

impl Test {
    /// As `organisation` may see it.
    pub(crate) fn show(test: GatewayTest, organisation: OrganisationId) -> Self {
        let ms = |at: Option<Timestamp>| {
            let since = at?.since(test.submitted_at?);
            Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        };
        Self {
            id: test.id,
            daily: test.daily,
            requested_by: actor(&test.requested_by, test.organisation, organisation),
            state: test.state,
            ok: test.succeeded(),
            requested_at: test.requested_at,
            submitted_at: test.submitted_at,
            answer_ms: ms(test.answered_at),
            receipt_ms: ms(test.receipt_at),
            gateway: test.gateway,
            channel: test.channel,
            code: test.code,
            detail: test.detail,
        }
    }
}

fn known<'a>(app: &'a App, name: &str) -> Result<&'a ConfiguredGateway, Problem> {
    let mut gateways = app.settings.gateways.iter();
    gateways.find(|gateway| gateway.name == name).ok_or_else(|| Problem::not_found("gateway"))
}

/// Test a gateway
///
/// A worker that feeds the gateway sends one SMS to the `test_number` of its configuration, also while the gateway is out of
/// use; the text is fixed and says that it is a test. It is sent once: where its answer is lost, it ends as `unknown`. One that
/// no worker takes within two minutes ends as `refused`, one without a receipt within ten as `no_receipt`.
#[utoipa::path(post, path = "/v1/gateways/{name}/test", tag = "gateways", operation_id = "test_gateway",
    params(("name" = String, Path, description = "The gateway's name")),
    responses((status = 202, description = "It is waiting for a worker", body = Test, headers(("Location" = String)))))]
pub(crate) async fn request(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    _: NoBody,
) -> Result<Response, Problem> {
    if !known(&app, &name)?.can_be_tested {
        let detail =
            format!("gateway `{name}` has no `test_number` in its configuration: set it to a phone of yours");
        return Err(Problem::invalid_field("", detail));
    }
    let asked = app.store.request_gateway_test(caller.organisation(), caller.actor(), &name, app.now());
    let test = match asked.await? {
        TestRequest::Made(test) => *test,
        TestRequest::UnderWay => return Err(Problem::conflict("another test of this gateway is under way")),
        TestRequest::TooMany { wait } => {
            let detail = "this gateway was tested often enough in the last hour: each test is an SMS";
            return Err(Problem::try_later(StatusCode::TOO_MANY_REQUESTS, wait.as_secs() + 1, detail));
        }
    };
    let location = format!("/v1/gateways/{name}/tests/{}", test.id);
    let location = HeaderValue::from_str(&location).map_err(|_| Problem::internal())?;
    let body = Json(Test::show(test, caller.organisation()));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

/// The tests of a gateway, newest first
#[utoipa::path(get, path = "/v1/gateways/{name}/tests", tag = "gateways", operation_id = "list_gateway_tests",
    params(("name" = String, Path, description = "The gateway's name"), PageParameters),
    responses((status = 200, description = "A page", body = List<Test>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Test>>, Problem> {
    let page = page_only(&parameters)?;
    known(&app, &name)?;
    let page = app.store.list_gateway_tests(&name, &page).await?;
    Ok(Json(List::from_page(page, |test| Test::show(test, caller.organisation()))))
}

/// A test of a gateway
#[utoipa::path(get, path = "/v1/gateways/{name}/tests/{id}", tag = "gateways", operation_id = "get_gateway_test",
    params(("name" = String, Path, description = "The gateway's name"), ("id" = uuid::Uuid, Path, description = "The test")),
    responses((status = 200, description = "The test", body = Test)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Test>, Problem> {
    known(&app, &name)?;
    let test = app.store.gateway_test(&name, path_id(&id, "test")?).await?;
    let test = test.ok_or_else(|| Problem::not_found("test"))?;
    Ok(Json(Test::show(test, caller.organisation())))
}
