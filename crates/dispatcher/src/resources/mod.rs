//! The resources of the API, a folder for each aggregate.
//!
//! In each folder `http` has the handlers: they read requests and write responses. All else takes domain types and a
//! [`Caller`](crate::Caller), so that it can be called without HTTP: parse, draft, create.

pub mod alerts;
pub mod areas;
pub mod audit;
pub mod callbacks;
pub mod gateways;
pub mod groups;
pub mod health;
pub mod incidents;
pub mod keys;
pub mod opt_outs;
pub mod participants;
pub mod replies;
pub(crate) mod schemas;
pub mod warning;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::problem::Problem;

/// Returns `201` with the location of the new resource and its present state.
///
/// # Errors
/// 500 if `location` is not a header value, which is a defect.
pub(crate) fn created(location: &str, body: &impl Serialize) -> Result<Response, Problem> {
    let location = HeaderValue::from_str(location).map_err(|_| Problem::internal())?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(body)).into_response())
}
