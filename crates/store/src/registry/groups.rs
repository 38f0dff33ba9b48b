//! Named circles of participants.

use std::collections::{BTreeSet, HashMap};

use klaroen_domain::id::{GroupId, OrganisationId};
use klaroen_domain::time::Timestamp;

use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::text_cursor;
use crate::engine::sql::sql;
use crate::tenancy::audit;
use crate::{Actor, Page, PageRequest, Result, Store};

const INSERT: Sql = Sql::new(
    "INSERT INTO groups (id, organisation_id, code, name, created_at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (organisation_id, code) DO NOTHING",
);
const LIST: Sql = Sql::new(
    "SELECT g.id, g.code, g.name, g.created_at,
            (SELECT count(*) FROM memberships AS m WHERE m.group_id = g.id) AS participants
     FROM groups AS g WHERE g.organisation_id = $1 AND g.code > $2 ORDER BY g.code LIMIT $3",
);
const BY_CODES: Sql = sql!("SELECT code, id FROM groups WHERE organisation_id = $1 AND code IN {texts($2)}");

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// The short name that requests and CSV files use: `hondenwandelaars`.
    pub code: String,
    /// The full name.
    pub name: String,
    /// How many participants are in it.
    pub participants: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Store {
    /// Makes a group; `None` if the code is taken.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn create_group(
        &self,
        organisation: OrganisationId,
        code: &str,
        name: &str,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Option<Group>> {
        let id = GroupId::generate();
        let mut tx = self.db.begin().await?;
        let inserted = on_tx!(&mut tx, conn, d => sqlx::query(INSERT.of(d))
            .bind(id.0).bind(organisation.0).bind(code).bind(name).bind(now.as_millis())
            .execute(conn).await?.rows_affected());
        if inserted == 0 {
            return Ok(None);
        }
        let detail = json!({ "code": code });
        audit::append(&mut tx, organisation, actor, "group.created", &id.to_string(), detail, now).await?;
        tx.commit().await?;
        let (code, name) = (code.to_owned(), name.to_owned());
        Ok(Some(Group { id, code, name, participants: 0, created_at: now }))
    }

    /// The groups of an organisation, by code.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::BadCursor`] if a list did not return the cursor of `page`.
    pub async fn list_groups(&self, organisation: OrganisationId, page: &PageRequest) -> Result<Page<Group>> {
        let after = page.after_text()?.unwrap_or_default();
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.0).bind(after).bind(page.fetch()).fetch_all(pool).await?);
        let groups = rows.into_iter().map(Row::into_group).collect();
        Ok(Page::from_rows(groups, page, |group: &Group| text_cursor(&group.code)))
    }

    /// Which of these codes no group has, in the order given.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn unknown_groups(
        &self,
        organisation: OrganisationId,
        codes: &[String],
    ) -> Result<Vec<String>> {
        let codes_json = json!(codes).to_string();
        let rows: Vec<(String, Uuid)> = on_db!(read self.db, pool, d => sqlx::query_as(BY_CODES.of(d))
            .bind(organisation.0).bind(codes_json).fetch_all(pool).await?);
        Ok(missing(codes, &rows.into_iter().collect()))
    }
}

/// The ids of groups by their codes; codes that no group has are missing from the result.
pub(crate) async fn ids_by_code<'a>(
    tx: &mut Tx,
    organisation: OrganisationId,
    codes: impl Iterator<Item = &'a String>,
) -> Result<HashMap<String, Uuid>> {
    let codes: BTreeSet<&String> = codes.collect();
    if codes.is_empty() {
        return Ok(HashMap::new());
    }
    let codes = json!(codes).to_string();
    let rows: Vec<(String, Uuid)> = on_tx!(tx, conn, d => sqlx::query_as(BY_CODES.of(d))
        .bind(organisation.0).bind(codes).fetch_all(conn).await?);
    Ok(rows.into_iter().collect())
}

/// The codes that are not in `known`, each once, in the order given.
pub(crate) fn missing(codes: &[String], known: &HashMap<String, Uuid>) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for code in codes {
        if !known.contains_key(code) && !missing.contains(code) {
            missing.push(code.clone());
        }
    }
    missing
}

from_row! {
    struct Row {
        id: Uuid,
        code: String,
        name: String,
        created_at: i64,
        participants: i64,
    }
}

impl Row {
    fn into_group(self) -> Group {
        Group {
            id: GroupId(self.id),
            code: self.code,
            name: self.name,
            participants: self.participants.unsigned_abs(),
            created_at: Timestamp::from_millis(self.created_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, after, draft, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    async fn make(f: &Fixture, organisation: OrganisationId, code: &str) -> Option<Group> {
        f.store.create_group(organisation, code, "Name", ACTOR, NOW).await.unwrap()
    }

    #[rstest]
    #[tokio::test]
    async fn a_code_is_taken_once_per_organisation(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        assert!(make(&f, f.organisation, "dogs").await.is_some());
        assert_eq!(make(&f, f.organisation, "dogs").await, None);
        assert!(make(&f, f.stranger, "dogs").await.is_some());
    }

    #[rstest]
    #[tokio::test]
    async fn groups_are_listed_by_code_with_their_size(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        for code in ["shops", "dogs"] {
            make(&f, f.organisation, code).await.unwrap();
        }
        make(&f, f.stranger, "aaa").await.unwrap();
        let mut member = draft(1);
        member.groups = vec!["dogs".into()];
        f.store.create_participant(f.organisation, &member, ACTOR, NOW).await.unwrap().unwrap();

        let page = f.store.list_groups(f.organisation, &first(1)).await.unwrap();
        assert_eq!((page.items[0].code.as_str(), page.items[0].participants), ("dogs", 1));
        let rest = f.store.list_groups(f.organisation, &after(1, page.next_cursor)).await.unwrap();
        assert_eq!((rest.items[0].code.as_str(), rest.items[0].participants), ("shops", 0));
        assert_eq!(rest.next_cursor, None);
    }

    #[rstest]
    #[tokio::test]
    async fn unknown_codes_are_named_once_in_their_order(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        make(&f, f.organisation, "dogs").await.unwrap();
        make(&f, f.stranger, "shops").await.unwrap();
        let codes = ["shops", "dogs", "x'; --", "shops"].map(String::from);
        let unknown = f.store.unknown_groups(f.organisation, &codes).await.unwrap();
        assert_eq!(unknown, ["shops", "x'; --"]);
        assert_eq!(f.store.unknown_groups(f.organisation, &[]).await.unwrap(), Vec::<String>::new());
    }
}
