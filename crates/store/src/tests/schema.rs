//! The migrations of both databases make the same tables: the same columns, of types that correspond, required or not alike.

use std::collections::BTreeMap;

use klaroen_test_databases::Engine;

use crate::engine::db::Db;
use crate::tests::fixture::Fixture;

const SQLITE: &str = "SELECT t.name, c.name, c.type, c.\"notnull\" OR c.pk > 0
    FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'";
const POSTGRES: &str = "SELECT table_name::text, column_name::text, data_type::text, is_nullable = 'NO'
    FROM information_schema.columns WHERE table_schema = current_schema()";

/// Table and column, and what the column is.
type Columns = BTreeMap<(String, String), (String, bool)>;

async fn columns(engine: Engine) -> Columns {
    let fixture = Fixture::migrated(engine).await;
    let rows: Vec<(String, String, String, bool)> = match &fixture.store.db {
        Db::Sqlite { writer, .. } => sqlx::query_as(SQLITE).fetch_all(writer).await.unwrap(),
        Db::Postgres { pool, .. } => sqlx::query_as(POSTGRES).fetch_all(pool).await.unwrap(),
    };
    rows.into_iter()
        // The library's own, which differ.
        .filter(|(table, ..)| table != "_sqlx_migrations")
        .map(|(table, column, kind, required)| ((table, column), (kind, required)))
        .collect()
}

/// Whether a type of PostgreSQL keeps what one of SQLite keeps.
fn correspond(sqlite: &str, postgres: &str) -> bool {
    matches!(
        (sqlite, postgres),
        ("TEXT", "text")
            | ("INTEGER", "bigint" | "boolean")
            | ("REAL", "double precision")
            | ("BLOB", "bytea" | "uuid")
    )
}

#[tokio::test]
async fn both_databases_have_the_same_tables() {
    let (sqlite, postgres) = (columns(Engine::Sqlite).await, columns(Engine::Postgres).await);
    assert_eq!(sqlite.keys().collect::<Vec<_>>(), postgres.keys().collect::<Vec<_>>());
    assert!(sqlite.len() > 100, "only {} columns were found", sqlite.len());
    for (column, (kind, required)) in &sqlite {
        let (other, also_required) = &postgres[column];
        assert!(correspond(kind, other), "{column:?} is {kind} in SQLite, and {other} in PostgreSQL");
        assert_eq!(required, also_required, "whether {column:?} may be null");
    }
}
