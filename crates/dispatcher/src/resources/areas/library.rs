//! The library of areas: reading it, and putting areas into it.

use klaroen_domain::id::OrganisationId;
use klaroen_store::PageRequest;
use klaroen_store::areas::Area;

use super::view::{AreaSummary, Mended, PutAreas};
use crate::auth::caller::Caller;
use crate::problem::{FieldError, Problem};
use crate::request::fields::is_code;
use crate::request::query::List;
use crate::state::App;

/// One area with its shape.
///
/// # Errors
/// 404 if the organisation has no such area, 503 if the database is not available.
pub async fn find(app: &App, organisation: OrganisationId, code: &str) -> Result<Area, Problem> {
    let area = if is_code(code) { app.store.area(organisation, code).await? } else { None };
    area.ok_or_else(|| Problem::not_found("area"))
}

/// One page of the library by code, without the shapes.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    organisation: OrganisationId,
    page: &PageRequest,
) -> Result<List<AreaSummary>, Problem> {
    let page = app.store.list_areas(organisation, page).await?;
    Ok(List::from_page(page, AreaSummary::from))
}

/// Creates or replaces areas, all or none. `mended` says what was mended in their shapes.
///
/// # Errors
/// 503 if the database is not available.
pub async fn put(
    app: &App,
    caller: &Caller,
    areas: &[Area],
    mended: Vec<FieldError>,
) -> Result<PutAreas, Problem> {
    let created = app.store.put_areas(caller.organisation(), areas, caller.actor(), app.now()).await?;
    let total = areas.len() as u64;
    Ok(PutAreas {
        areas: total,
        created,
        updated: total.saturating_sub(created),
        mended: mended.into_iter().map(Mended::from).collect(),
    })
}
