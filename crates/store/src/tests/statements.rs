//! Every statement in the source is prepared on both engines: a text that one of them does not understand fails here, and not
//! in the night.

use std::path::Path;

use klaroen_test_databases::Engine;
use rstest::rstest;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr};

use crate::engine::db::{Db, Dialect};
use crate::engine::sql::expanded;
use crate::tests::fixture::Fixture;

/// Files that have such calls and no statements.
const SELVES: [&str; 3] = ["tests/statements.rs", "engine/db.rs", "engine/sql.rs"];

/// A statement as it stands in the source.
struct Statement {
    place: String,
    /// SQLite's, PostgreSQL's.
    texts: [String; 2],
}

/// Of all files of this crate, by the calls of `Sql::new`, `Sql::each` and `sql!`, whose texts are plain literals.
fn statements() -> Vec<Statement> {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found
}

fn collect(directory: &Path, found: &mut Vec<Statement>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if !SELVES.iter().any(|own| path.ends_with(own)) {
            let source = std::fs::read_to_string(&path).unwrap();
            for (call, texts) in [("Sql::new(", 1), ("Sql::each(", 2), ("sql!(", 1)] {
                // Those that a macro puts together have the tests of their own file.
                let written = |at: &usize| !source[at + call.len()..].trim_start().starts_with("concat!");
                for at in source.match_indices(call).map(|(at, _)| at).filter(written) {
                    let place = format!("{}:{}", path.display(), source[..at].lines().count());
                    let texts = literals(&source[at + call.len()..], texts, &place);
                    let texts = match call {
                        "sql!(" => {
                            [Dialect::Sqlite, Dialect::Postgres].map(|dialect| expanded(&texts[0], dialect))
                        }
                        _ => [texts[0].clone(), texts[texts.len() - 1].clone()],
                    };
                    found.push(Statement { place, texts });
                }
            }
        }
    }
}

/// The next `count` string literals.
fn literals(source: &str, count: usize, place: &str) -> Vec<String> {
    let quoted: Vec<&str> = source.splitn(2 * count + 1, '"').collect();
    assert!(quoted[0].trim().is_empty(), "{place}: the text of a statement is a literal");
    (0..count)
        .map(|n| quoted[2 * n + 1].replace("\\\n", "\n"))
        .inspect(|text| assert!(!text.contains('\\'), "{place}"))
        .collect()
}

#[rstest]
#[tokio::test]
async fn every_statement_is_understood(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
    let fixture = Fixture::new(engine).await;
    let statements = statements();
    assert!(statements.len() > 100, "only {} statements were found", statements.len());
    let mut bad = Vec::new();
    for statement in statements {
        let [sqlite, postgres] = statement.texts.map(|text| AssertSqlSafe(text).into_sql_str());
        let prepared = match &fixture.store.db {
            Db::Sqlite { writer, .. } => writer.prepare(sqlite).await.map(drop),
            Db::Postgres { pool, .. } => pool.prepare(postgres).await.map(drop),
        };
        if let Err(error) = prepared {
            bad.push(format!("{}: {error}", statement.place));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// The text of every `UPDATE deliveries` outside of tests that sets the state or the doubt, by its file.
fn writers_of_lives(directory: &Path, found: &mut Vec<String>) {
    const UPDATE: &str = "UPDATE deliveries";
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                writers_of_lives(&path, found);
            }
        } else if !path.ends_with("tests.rs") {
            let source = std::fs::read_to_string(&path).unwrap();
            // PostgreSQL's text of a statement is the second.
            for (at, _) in source.match_indices(UPDATE) {
                let text = source[at..].split('"').next().unwrap_or_default();
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let set = text
                    .split(" FROM ")
                    .next()
                    .and_then(|set| set.split(" WHERE ").next())
                    .unwrap_or_default();
                if set.contains(" state = ") || set.contains(" in_doubt = ") {
                    found.push(path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string());
                }
            }
        }
    }
}

/// Whatever else happens to a delivery is an event in its life: see `deliveries::lifecycle`.
#[test]
fn four_statements_write_how_a_delivery_stands() {
    let mut found = Vec::new();
    writers_of_lives(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    // A text for each database, if they differ.
    let expected = [
        ["src/deliveries/lifecycle/write.rs"; 3].as_slice(),
        &["src/deliveries/outcomes/sent.rs"; 2],
        &["src/deliveries/queue/mod.rs"; 2],
    ];
    assert_eq!(found, expected.concat());
}
