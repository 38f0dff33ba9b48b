//! Tenants.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use uuid::Uuid;

use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::tenancy::audit;
use crate::{Actor, Result, Store};

const INSERT: Sql = Sql::new(
    "INSERT INTO organisations (id, code, name, created_at) VALUES ($1, $2, $3, $4) ON CONFLICT (code) DO NOTHING",
);
const BY_CODE: Sql = Sql::new("SELECT id, code, name, created_at FROM organisations WHERE code = $1");

const ALL: Sql = Sql::new("SELECT id, code, name, created_at FROM organisations ORDER BY code");

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: OrganisationId,
    /// The short name that the command line takes: `utrecht`.
    pub code: String,
    /// The full name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The code is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeTaken;

impl Store {
    /// Makes an organisation.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement. The inner result says
    /// whether the code was taken.
    pub async fn create_organisation(
        &self,
        code: &str,
        name: &str,
        now: Timestamp,
    ) -> Result<Result<Organisation, CodeTaken>> {
        let id = OrganisationId::generate();
        let mut tx = self.db.begin().await?;
        let inserted = on_tx!(&mut tx, conn, d => sqlx::query(INSERT.of(d))
            .bind(id.0).bind(code).bind(name).bind(now.as_millis())
            .execute(conn).await?.rows_affected());
        if inserted == 0 {
            return Ok(Err(CodeTaken));
        }
        // Only the command line makes organisations.
        let detail = serde_json::json!({ "code": code });
        audit::append(&mut tx, id, Actor::CommandLine, "organisation.created", &id.to_string(), detail, now)
            .await?;
        tx.commit().await?;
        Ok(Ok(Organisation { id, code: code.to_owned(), name: name.to_owned(), created_at: now }))
    }

    /// All organisations, by their codes: for the command line.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn organisations(&self) -> Result<Vec<Organisation>> {
        let rows: Vec<Row> =
            on_db!(read self.db, pool, d => sqlx::query_as(ALL.of(d)).fetch_all(pool).await?);
        Ok(rows.into_iter().map(Row::into_organisation).collect())
    }

    /// Finds one by its code.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn organisation_by_code(&self, code: &str) -> Result<Option<Organisation>> {
        let row: Option<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(BY_CODE.of(d)).bind(code).fetch_optional(pool).await?);
        Ok(row.map(Row::into_organisation))
    }
}

from_row! {
    struct Row {
        id: Uuid,
        code: String,
        name: String,
        created_at: i64,
    }
}

impl Row {
    fn into_organisation(self) -> Organisation {
        Organisation {
            id: OrganisationId(self.id),
            code: self.code,
            name: self.name,
            created_at: Timestamp::from_millis(self.created_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, NOW};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    #[rstest]
    #[tokio::test]
    async fn a_code_belongs_to_one_organisation(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let made = f.store.create_organisation("tilburg", "Tilburg", NOW).await.unwrap().unwrap();
        assert_eq!(f.store.organisation_by_code("tilburg").await.unwrap(), Some(made));
        assert_eq!(f.store.create_organisation("tilburg", "Other", NOW).await.unwrap(), Err(CodeTaken));
        assert_eq!(f.store.organisation_by_code("tilburg").await.unwrap().unwrap().name, "Tilburg");
        assert_eq!(f.store.organisation_by_code("nowhere").await.unwrap(), None);
    }
}
