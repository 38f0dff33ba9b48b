//! Reported incidents.

use klaroen_domain::alert::SubjectKind;
use klaroen_domain::id::{IncidentId, KeyId, OrganisationId};
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;

use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::uuid_cursor;
use crate::{Page, PageRequest, Result, Store, StoreError};

const INSERT: Sql = Sql::new(
    "INSERT INTO incidents (id, organisation_id, reference, category, description, subject_kind, subject_text,
                            latitude, longitude, occurred_at, created_at, created_by)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
);
const GET: Sql = Sql::new(
    "SELECT id, reference, category, description, subject_kind, subject_text, latitude, longitude, occurred_at,
            created_at, created_by
     FROM incidents WHERE organisation_id = $1 AND id = $2",
);
const NEWEST_FIRST: Sql = Sql::new(
    "SELECT id, reference, category, description, subject_kind, subject_text, latitude, longitude, occurred_at,
            created_at, created_by
     FROM incidents WHERE organisation_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
);

/// The content of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentDraft {
    /// The control room's own number.
    pub reference: Option<String>,
    /// `burglary`, `missing_person`, …: the control room's own words.
    pub category: String,
    /// A description of the event.
    pub description: String,
    /// The person or thing to look out for.
    pub subject: Option<(SubjectKind, String)>,
    /// The place of the event.
    pub location: Point,
    /// When.
    pub occurred_at: Option<Timestamp>,
}

/// A report that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// The content of the report.
    pub draft: IncidentDraft,
    /// When it was taken.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: KeyId,
}

/// Writes an incident down, in the transaction that takes it.
pub(crate) async fn insert(
    tx: &mut Tx,
    organisation: OrganisationId,
    draft: &IncidentDraft,
    created_by: KeyId,
    now: Timestamp,
) -> Result<IncidentId> {
    let id = IncidentId::generate();
    let (subject_kind, subject_text) =
        draft.subject.as_ref().map(|(kind, text)| (kind.as_str(), text)).unzip();
    on_tx!(tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(id.0).bind(organisation.0).bind(&draft.reference).bind(&draft.category).bind(&draft.description)
        .bind(subject_kind).bind(subject_text).bind(draft.location.latitude()).bind(draft.location.longitude())
        .bind(draft.occurred_at.map(Timestamp::as_millis)).bind(now.as_millis()).bind(created_by.0)
        .execute(conn).await?.rows_affected());
    Ok(id)
}

impl Store {
    /// One incident.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn incident(&self, organisation: OrganisationId, id: IncidentId) -> Result<Option<Incident>> {
        let row: Option<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(organisation.0).bind(id.0).fetch_optional(pool).await?);
        row.map(Row::into_incident).transpose()
    }

    /// The incidents of an organisation, newest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, or [`StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn list_incidents(
        &self,
        organisation: OrganisationId,
        page: &PageRequest,
    ) -> Result<Page<Incident>> {
        let before = page.after_uuid()?.unwrap_or(Uuid::max());
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(NEWEST_FIRST.of(d))
            .bind(organisation.0).bind(before).bind(page.fetch()).fetch_all(pool).await?);
        let incidents = rows.into_iter().map(Row::into_incident).collect::<Result<_>>()?;
        Ok(Page::from_rows(incidents, page, |incident: &Incident| uuid_cursor(incident.id.0)))
    }
}

from_row! {
    struct Row {
        id: Uuid,
        reference: Option<String>,
        category: String,
        description: String,
        subject_kind: Option<String>,
        subject_text: Option<String>,
        latitude: f64,
        longitude: f64,
        occurred_at: Option<i64>,
        created_at: i64,
        created_by: Uuid,
    }
}

impl Row {
    fn into_incident(self) -> Result<Incident> {
        let corrupt = |column| StoreError::Corrupt { table: "incidents", column };
        let subject = match (self.subject_kind, self.subject_text) {
            (Some(kind), Some(text)) => Some((kind.parse().map_err(|_| corrupt("subject_kind"))?, text)),
            _ => None,
        };
        Ok(Incident {
            id: IncidentId(self.id),
            draft: IncidentDraft {
                reference: self.reference,
                category: self.category,
                description: self.description,
                subject,
                location: Point::wgs84(self.latitude, self.longitude).map_err(|_| corrupt("latitude"))?,
                occurred_at: self.occurred_at.map(Timestamp::from_millis),
            },
            created_at: Timestamp::from_millis(self.created_at),
            created_by: KeyId(self.created_by),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, NOW, after, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    const AUTHOR: KeyId = KeyId(Uuid::from_u128(0xac));

    fn draft() -> IncidentDraft {
        IncidentDraft {
            reference: Some("2026-0001".into()),
            category: "missing_person".into(),
            description: "Left the house an hour ago".into(),
            subject: Some((SubjectKind::Person, "red coat".into())),
            location: Point::wgs84(52.0907, 5.1214).unwrap(),
            occurred_at: Some(NOW),
        }
    }

    async fn take(f: &Fixture, draft: &IncidentDraft) -> IncidentId {
        let mut tx = f.store.db.begin().await.unwrap();
        let id = insert(&mut tx, f.organisation, draft, AUTHOR, NOW).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    #[rstest]
    #[tokio::test]
    async fn an_incident_is_read_as_it_was_taken_by_its_own_organisation(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let bare = IncidentDraft { reference: None, subject: None, occurred_at: None, ..draft() };
        for draft in [draft(), bare] {
            let id = take(&f, &draft).await;
            let expected = Incident { id, draft, created_at: NOW, created_by: AUTHOR };
            assert_eq!(f.store.incident(f.organisation, id).await.unwrap(), Some(expected));
            assert_eq!(f.store.incident(f.stranger, id).await.unwrap(), None);
        }
    }

    #[rstest]
    #[tokio::test]
    async fn incidents_are_listed_newest_first(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let ids = [take(&f, &draft()).await, take(&f, &draft()).await, take(&f, &draft()).await];
        let page = f.store.list_incidents(f.organisation, &first(2)).await.unwrap();
        assert_eq!(page.items.iter().map(|i| i.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
        let rest = f.store.list_incidents(f.organisation, &after(2, page.next_cursor)).await.unwrap();
        assert_eq!(rest.items.iter().map(|i| i.id).collect::<Vec<_>>(), [ids[0]]);
        assert_eq!(rest.next_cursor, None);
        assert_eq!(f.store.list_incidents(f.stranger, &first(9)).await.unwrap().items, []);
    }
}
