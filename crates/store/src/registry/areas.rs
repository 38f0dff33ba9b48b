//! The library of named polygons.

use std::collections::BTreeMap;

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use serde_json::json;

use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::text_cursor;
use crate::engine::sql::sql;
use crate::tenancy::audit;
use crate::{Actor, Page, PageRequest, Result, Store};

const COUNT_EXISTING: Sql =
    sql!("SELECT count(*) FROM areas WHERE organisation_id = $1 AND code IN {texts($2)}");
// `WHERE true`: without it SQLite reads the ON of ON CONFLICT as a join's.
const PUT: Sql = sql!(
    "INSERT INTO areas (organisation_id, code, name, kind, geometry, updated_at)
     SELECT $1, j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, $3 FROM {rows($2)} j WHERE true
     ON CONFLICT (organisation_id, code) DO UPDATE SET
         name = excluded.name, kind = excluded.kind, geometry = excluded.geometry, updated_at = excluded.updated_at"
);
const GET: Sql = Sql::new(
    "SELECT code, name, kind, geometry, updated_at FROM areas WHERE organisation_id = $1 AND code = $2",
);
const BY_CODES: Sql = sql!(
    "SELECT code, name, kind, geometry, updated_at FROM areas
     WHERE organisation_id = $1 AND code IN {texts($2)} ORDER BY code"
);
const LIST: Sql = Sql::new(
    "SELECT code, name, kind, geometry, updated_at FROM areas
     WHERE organisation_id = $1 AND code > $2 ORDER BY code LIMIT $3",
);

/// Areas that one statement writes.
const BATCH: usize = 500;
/// Bytes of outlines that one statement writes. It holds them three times: as values, as JSON, and as the database reads it.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A named polygon.
#[derive(Clone, Debug, PartialEq)]
pub struct Area {
    /// `BU03440011`, or a code of one's own.
    pub code: String,
    /// The name that people use for it.
    pub name: String,
    /// municipality, district, neighbourhood, …
    pub kind: String,
    /// A `GeoJSON` `Polygon` or `MultiPolygon`, validated, as text: as values it would take ten times the memory.
    pub geometry: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Store {
    /// Creates or replaces areas, all or none; of two with the same code the later one counts. Returns how many were new.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn put_areas(
        &self,
        organisation: OrganisationId,
        areas: &[Area],
        actor: Actor,
        now: Timestamp,
    ) -> Result<u64> {
        let by_code: BTreeMap<&str, &Area> = areas.iter().map(|area| (area.code.as_str(), area)).collect();
        let unique: Vec<&Area> = by_code.into_values().collect();
        let [first, ..] = unique.as_slice() else {
            return Ok(0);
        };
        let mut created = 0;
        let mut tx = self.db.begin().await?;
        for batch in batches(&unique) {
            let codes: Vec<&str> = batch.iter().map(|area| area.code.as_str()).collect();
            let codes = json!(codes).to_string();
            let existing: i64 = on_tx!(&mut tx, conn, d => sqlx::query_scalar(COUNT_EXISTING.of(d))
                .bind(organisation.0).bind(codes).fetch_one(conn).await?);
            created += batch.len() as u64 - existing.unsigned_abs();
            let rows: Vec<_> =
                batch.iter().map(|area| json!([area.code, area.name, area.kind, area.geometry])).collect();
            let rows = json!(rows).to_string();
            on_tx!(&mut tx, conn, d => sqlx::query(PUT.of(d))
                .bind(organisation.0).bind(rows).bind(now.as_millis()).execute(conn).await?.rows_affected());
        }
        let subject = if unique.len() == 1 { first.code.clone() } else { organisation.to_string() };
        let detail = json!({ "areas": unique.len(), "created": created });
        audit::append(&mut tx, organisation, actor, "areas.put", &subject, detail, now).await?;
        tx.commit().await?;
        Ok(created)
    }

    /// One area.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn area(&self, organisation: OrganisationId, code: &str) -> Result<Option<Area>> {
        let row: Option<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(organisation.0).bind(code).fetch_optional(pool).await?);
        Ok(row.map(Row::into_area))
    }

    /// Several areas in the order of their codes; codes that do not exist are missing from the result.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn areas_by_code(&self, organisation: OrganisationId, codes: &[String]) -> Result<Vec<Area>> {
        let codes = json!(codes).to_string();
        let rows: Vec<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(BY_CODES.of(d)).bind(organisation.0).bind(codes).fetch_all(pool).await?);
        Ok(rows.into_iter().map(Row::into_area).collect())
    }

    /// The library, by code.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::BadCursor`]
    /// if a list did not return the cursor of `page`.
    pub async fn list_areas(&self, organisation: OrganisationId, page: &PageRequest) -> Result<Page<Area>> {
        let after = page.after_text()?.unwrap_or_default();
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(after).bind(page.fetch()).fetch_all(pool).await?);
        let areas = rows.into_iter().map(Row::into_area).collect();
        Ok(Page::from_rows(areas, page, |area: &Area| text_cursor(&area.code)))
    }
}

/// Cuts into batches of at most [`BATCH`] areas and about [`BATCH_BYTES`].
fn batches<'a>(mut areas: &'a [&'a Area]) -> impl Iterator<Item = &'a [&'a Area]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = areas.iter().take(BATCH).take_while(|area| {
            let fits = bytes < BATCH_BYTES;
            bytes += area.geometry.len();
            fits
        });
        let (batch, rest) = areas.split_at(fit.count());
        areas = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

from_row! {
    struct Row {
        code: String,
        name: String,
        kind: String,
        geometry: String,
        updated_at: i64,
    }
}

impl Row {
    fn into_area(self) -> Area {
        Area {
            code: self.code,
            name: self.name,
            kind: self.kind,
            geometry: self.geometry,
            updated_at: Timestamp::from_millis(self.updated_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, after, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    fn area(code: &str, name: &str) -> Area {
        // Digits that a detour through another text form would lose.
        let corner = 5.121_400_000_000_001;
        let ring = json!([[[corner, 52.0], [5.2, 52.0], [5.2, 52.1], [corner, 52.0]]]);
        Area {
            code: code.into(),
            name: name.into(),
            kind: "neighbourhood".into(),
            geometry: json!({ "type": "Polygon", "coordinates": ring }).to_string(),
            updated_at: NOW,
        }
    }

    #[rstest]
    #[tokio::test]
    async fn areas_are_created_replaced_and_counted(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let put = [area("b", "B"), area("a", "A"), area("b", "B again")];
        assert_eq!(f.store.put_areas(f.organisation, &put, ACTOR, NOW).await.unwrap(), 2);
        assert_eq!(f.store.area(f.organisation, "b").await.unwrap(), Some(area("b", "B again")));

        let later = NOW.plus(Duration::from_secs(1));
        let put = [area("b", "Best"), area("c", "C")];
        assert_eq!(f.store.put_areas(f.organisation, &put, ACTOR, later).await.unwrap(), 1);
        let best = Area { updated_at: later, ..area("b", "Best") };
        assert_eq!(f.store.area(f.organisation, "b").await.unwrap(), Some(best));
        assert_eq!(f.store.area(f.organisation, "a").await.unwrap(), Some(area("a", "A")));
        assert_eq!(f.store.area(f.stranger, "a").await.unwrap(), None);
        assert_eq!(f.store.put_areas(f.organisation, &[], ACTOR, NOW).await.unwrap(), 0);
    }

    #[test]
    fn a_batch_is_bounded_by_its_bytes_too() {
        let large = Area { geometry: "x".repeat(BATCH_BYTES / 2 + 1), ..area("a", "A") };
        let small = area("b", "B");
        let all = [vec![&large; 5], vec![&small; BATCH + 1]].concat();
        let lengths: Vec<usize> = batches(&all).map(<[&Area]>::len).collect();
        assert_eq!(lengths, [2, 2, BATCH, 2]);
    }

    #[rstest]
    #[tokio::test]
    async fn more_than_one_batch_is_one_change(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let put: Vec<Area> = (0..=BATCH).map(|n| area(&format!("BU{n:04}"), "N")).collect();
        assert_eq!(f.store.put_areas(f.organisation, &put, ACTOR, NOW).await.unwrap(), BATCH as u64 + 1);
        let last = f.store.list_audit(f.organisation, &first(9)).await.unwrap().items.remove(0);
        assert_eq!((last.seq, last.detail), (2, json!({ "areas": BATCH + 1, "created": BATCH + 1 })));
    }

    #[rstest]
    #[tokio::test]
    async fn areas_are_listed_by_code_and_found_by_several(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let put = [area("c", "C"), area("a", "A"), area("b", "B")];
        f.store.put_areas(f.organisation, &put, ACTOR, NOW).await.unwrap();
        let codes = |areas: Vec<Area>| areas.into_iter().map(|area| area.code).collect::<Vec<_>>();
        let page = f.store.list_areas(f.organisation, &first(2)).await.unwrap();
        assert_eq!(codes(page.items), ["a", "b"]);
        let rest = f.store.list_areas(f.organisation, &after(2, page.next_cursor)).await.unwrap();
        assert_eq!((codes(rest.items), rest.next_cursor), (vec!["c".to_owned()], None));

        let wanted = ["c", "nowhere", "a"].map(String::from);
        assert_eq!(codes(f.store.areas_by_code(f.organisation, &wanted).await.unwrap()), ["a", "c"]);
        assert_eq!(f.store.areas_by_code(f.stranger, &wanted).await.unwrap(), []);
    }
}
