//! Refuses parameters that a call does not document. A query parameter that was ignored would make a dry run a real one,
//! and an `Idempotency-Key` that was ignored would make a second thing. Made from the description of the API itself, so that
//! no call can forget it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, ParameterIn};

use crate::openapi::{names, operations, refuses_idempotency_key};
use crate::problem::Problem;
use crate::request::fields::Report;
use crate::request::idempotency::IDEMPOTENCY_KEY;
use crate::request::query::{Misnamed, Parameters};

/// The parameters of one call, without its path and body.
#[derive(Debug, Default)]
struct Call {
    query: Vec<String>,
    refuses_key: bool,
}

/// The parameters of every call.
#[derive(Debug, Default)]
pub struct DocumentedParameters(HashMap<(Method, String), Call>);

impl DocumentedParameters {
    /// Reads the description of the API.
    #[must_use]
    pub fn of(openapi: &OpenApi) -> Self {
        let calls = openapi.paths.paths.iter().flat_map(|(path, item)| {
            let call = |(method, operation): (Method, &Operation)| {
                let query = names(operation, &ParameterIn::Query).map(str::to_owned).collect();
                let refuses_key = refuses_idempotency_key(&method, operation);
                ((method, path.clone()), Call { query, refuses_key })
            };
            operations(item).map(call)
        });
        Self(calls.collect())
    }
}

/// Lets a request pass that asks for nothing else than its call offers.
pub async fn reject_undocumented(
    State(documented): State<Arc<DocumentedParameters>>,
    parameters: Parameters,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // A HEAD is a GET without its body (RFC 9110 §9.3.2).
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let none = Call::default();
    let call = documented.0.get(&(method.clone(), path.to_owned())).unwrap_or(&none);
    let report = Report::default();
    parameters.only(&call.query, &report);
    if call.refuses_key && request.headers().contains_key(IDEMPOTENCY_KEY) {
        let detail = "is not supported by this call; before you repeat a request, check whether the first one succeeded";
        report.add("/Idempotency-Key", detail);
    } else if !call.query.is_empty() {
        // Its reader names them together with the values that are wrong.
        request.extensions_mut().insert(Misnamed(report.into_errors()));
        return Ok(next.run(request).await);
    }
    report.finish(Some(()))?;
    Ok(next.run(request).await)
}
