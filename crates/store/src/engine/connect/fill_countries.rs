//! Fills in `participants.country` in a database that is older than the column. Once: a row of `meta` says that it is done.
//! Where several processes do it at once, they write the same.

use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, on_db};
use crate::engine::json_object::object;
use crate::registry::participants::write::country;
use crate::{Result, Store};

const IS_DONE: Sql = Sql::new("SELECT 1 FROM meta WHERE name = 'participant_countries'");
const DONE: Sql = Sql::each(
    "INSERT INTO meta (name, value) VALUES ('participant_countries', x'01') ON CONFLICT (name) DO NOTHING",
    "INSERT INTO meta (name, value) VALUES ('participant_countries', decode('01', 'hex')) ON CONFLICT (name) DO NOTHING",
);
const NEXT: Sql =
    Sql::new("SELECT id, phone FROM participants WHERE country IS NULL AND id > $1 ORDER BY id LIMIT $2");
const SET: Sql = Sql::each(
    "UPDATE participants SET country = j.value FROM json_each($1) j
     WHERE participants.id = unhex(j.key) AND participants.country IS NULL",
    "UPDATE participants SET country = j.value FROM json_each_text($1::json) AS j(key, value)
     WHERE participants.id = j.key::uuid AND participants.country IS NULL",
);

/// Registrations that one transaction fills in.
const PAGE: i64 = 5_000;

impl Store {
    pub(super) async fn fill_countries(&self) -> Result<()> {
        let done: Option<i32> =
            on_db!(read self.db, pool, d => sqlx::query_scalar(IS_DONE.of(d)).fetch_optional(pool).await?);
        if done.is_some() {
            return Ok(());
        }
        let mut last = Uuid::nil();
        loop {
            let rows: Vec<(Uuid, Vec<u8>)> = on_db!(read self.db, pool, d =>
                sqlx::query_as(NEXT.of(d)).bind(last).bind(PAGE).fetch_all(pool).await?);
            let Some((newest, _)) = rows.last() else { break };
            last = *newest;
            // One that does not open is reported when it is to be called; it has no country.
            let of = |(id, sealed): &(Uuid, Vec<u8>)| {
                let phone = self.keys.open_phone(sealed, id.as_bytes()).ok();
                (id.simple().to_string(), json!(phone.as_ref().map_or_else(String::new, country)))
            };
            let countries = object(rows.iter().map(of));
            on_db!(write self.db, pool, d =>
                sqlx::query(SET.of(d)).bind(countries).execute(pool).await?.rows_affected());
        }
        on_db!(write self.db, pool, d => sqlx::query(DONE.of(d)).execute(pool).await?.rows_affected());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, draft};

    const CLEAR: Sql = Sql::new("UPDATE participants SET country = NULL");
    const AGAIN: Sql = Sql::new("DELETE FROM meta WHERE name = 'participant_countries'");
    const ALL: Sql = Sql::new("SELECT country FROM participants ORDER BY country");

    async fn all(f: &Fixture) -> Vec<Option<String>> {
        on_db!(read f.store.db, pool, d => sqlx::query_scalar(ALL.of(d)).fetch_all(pool).await.unwrap())
    }

    async fn run(f: &Fixture, statement: Sql) {
        on_db!(write f.store.db, pool, d =>
            sqlx::query(statement.of(d)).execute(pool).await.unwrap().rows_affected());
    }

    #[rstest]
    #[tokio::test]
    async fn registrations_without_a_country_get_that_of_their_number(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        for (n, number) in [(1, "+31612345678"), (2, "+32470123456"), (3, "+999123456")] {
            let mut draft = draft(n);
            draft.phone = PhoneNumber::from_sealed(number.into());
            f.store.create_participant(f.organisation, &draft, ACTOR, NOW).await.unwrap().unwrap();
        }
        let written = all(&f).await;
        assert_eq!(written, ["", "BE", "NL"].map(|code| Some(code.to_owned())));
        run(&f, CLEAR).await;
        f.store.fill_countries().await.unwrap();
        assert_eq!(all(&f).await, [None, None, None], "a database that says that it has them is left alone");
        run(&f, AGAIN).await;
        f.store.fill_countries().await.unwrap();
        assert_eq!(all(&f).await, written);
    }
}
