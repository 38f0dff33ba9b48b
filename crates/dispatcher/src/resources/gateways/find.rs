//! Gateways as they stand.

use super::overview::{Overview, Seen};
use super::view::{Gateway, Gateways};
use crate::problem::Problem;
use crate::state::App;

/// The gateways, in the order of the configuration.
///
/// # Errors
/// 503 if the database is not available.
pub async fn list(app: &App) -> Result<Gateways, Problem> {
    let all = Overview::read(&app.settings.gateways, &app.store, app.now()).await?;
    let tests = app.store.latest_gateway_tests().await?;
    let show = |seen| Gateway::show(&all, seen, &tests);
    Ok(Gateways { items: all.gateways.iter().map(show).collect() })
}

/// One gateway.
///
/// # Errors
/// 404 if no gateway has this name, 503 if the database is not available.
pub async fn find(app: &App, name: &str) -> Result<Gateway, Problem> {
    let all = Overview::read(&app.settings.gateways, &app.store, app.now()).await?;
    let seen = among(&all, name)?;
    let tests = app.store.latest_gateway_tests().await?;
    Ok(Gateway::show(&all, seen, &tests))
}

/// The gateway of this name among all.
pub(crate) fn among<'a, 'b>(all: &'b Overview<'a>, name: &str) -> Result<&'b Seen<'a>, Problem> {
    all.gateways.iter().find(|seen| seen.configured.name == name).ok_or_else(|| Problem::not_found("gateway"))
}
