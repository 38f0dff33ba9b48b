//! `/v1/gateways/{name}/test` and `/tests`: one SMS to the gateway's own test number, to see whether it works.

use axum::http::StatusCode;
use klaroen_domain::gateway::TestState;
use klaroen_domain::id::GatewayTestId;
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::gateway_tests::{GatewayTest, TestRequest};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Principal;
use crate::problem::Problem;
use crate::request::fields::path_id;
use crate::request::query::List;
use crate::resources::schemas;
use crate::settings::gateway::ConfiguredGateway;
use crate::state::App;

/// A test of a gateway: one SMS to the test number in its configuration.
#[derive(Debug, Serialize, ToSchema)]
pub struct Test {
    /// The id of the test.
    #[schema(schema_with = schemas::id)]
    pub id: GatewayTestId,
    /// The name of the gateway.
    #[schema(example = "main")]
    pub gateway: String,
    /// Whether this is the daily test.
    pub daily: bool,
    /// The actor who requested the test: `key:<id>` or `system`.
    pub requested_by: String,
    /// The state of the test.
    #[schema(schema_with = schemas::test_state)]
    pub state: TestState,
    /// Whether the gateway works. `null` while the test is open.
    pub ok: Option<bool>,
    /// When the test was requested.
    #[schema(schema_with = schemas::time)]
    pub requested_at: Timestamp,
    /// When the SMS was handed over. `null` until then.
    #[schema(schema_with = schemas::time_or_null)]
    pub submitted_at: Option<Timestamp>,
    /// Milliseconds until the provider answered.
    pub answer_ms: Option<u64>,
    /// Milliseconds until the receipt came.
    pub receipt_ms: Option<u64>,
    /// The connection that handed it over.
    #[schema(example = "main/0")]
    pub channel: Option<String>,
    /// The provider's code, or a word of this service, if the test failed.
    pub code: Option<String>,
    /// The meaning of the code.
    pub detail: Option<String>,
}

impl Test {
    pub(crate) fn show(test: GatewayTest) -> Self {
        let ms = |at: Option<Timestamp>| {
            let since = at?.since(test.submitted_at?);
            Some(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        };
        let ok = test.succeeded();
        Self {
            id: test.id,
            daily: test.daily,
            requested_by: test.requested_by,
            state: test.state,
            ok,
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

fn configured<'a>(app: &'a App, name: &str) -> Result<&'a ConfiguredGateway, Problem> {
    app.settings.gateway(name).ok_or_else(|| Problem::not_found("gateway"))
}

/// Requests a test of a gateway, which a worker then sends.
///
/// # Errors
/// 404 if no gateway has this name, 409 if another test of it is under way, 422 if its configuration has no number to test
/// with, 429 if it was tested too often in the last hour, 503 if the database is not available.
pub async fn request(app: &App, principal: &Principal, name: &str) -> Result<Test, Problem> {
    if !configured(app, name)?.can_be_tested {
        let detail = format!(
            "gateway `{name}` has no `test_number` in its configuration; set it to a phone that you can read"
        );
        return Err(Problem::invalid_field("", detail));
    }
    match app.store.request_gateway_test(principal.actor(), name, app.now()).await? {
        TestRequest::Made(test) => Ok(Test::show(*test)),
        TestRequest::UnderWay => Err(Problem::conflict("another test of this gateway is running")),
        TestRequest::TooMany { wait } => {
            let detail = "this gateway was tested too often in the last hour; each test is an SMS";
            Err(Problem::try_later(StatusCode::TOO_MANY_REQUESTS, wait.as_secs() + 1, detail))
        }
    }
}

/// One page of the tests of a gateway, newest first.
///
/// # Errors
/// 404 if no gateway has this name, 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(app: &App, name: &str, page: &PageRequest) -> Result<List<Test>, Problem> {
    configured(app, name)?;
    let page = app.store.list_gateway_tests(name, page).await?;
    Ok(List::from_page(page, Test::show))
}

/// One test of a gateway.
///
/// # Errors
/// 404 if there is no such gateway or test, 503 if the database is not available.
pub async fn find(app: &App, name: &str, id: &str) -> Result<Test, Problem> {
    configured(app, name)?;
    let test = app.store.gateway_test(name, path_id(id, "test")?).await?;
    let test = test.ok_or_else(|| Problem::not_found("test"))?;
    Ok(Test::show(test))
}
