//! The migrations of both engines, which are part of the program.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// The files of one engine: number, name and text. A test compares them with the folder.
pub(super) type Files = &'static [(i64, &'static str, &'static str)];

pub(super) const SQLITE: Files =
    &[(1, "initial", include_str!("../../../../../migrations/sqlite/0001_initial.sql"))];

pub(super) const POSTGRES: Files =
    &[(1, "initial", include_str!("../../../../../migrations/postgres/0001_initial.sql"))];

/// Runs those that a database does not have yet.
pub(super) fn migrator(files: Files) -> Migrator {
    let migration = |&(version, name, text): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(files.iter().map(migration).collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::sqlite("sqlite", SQLITE)]
    #[case::postgres("postgres", POSTGRES)]
    #[tokio::test]
    async fn every_file_of_the_folder_is_part_of_the_program(#[case] engine: &str, #[case] files: Files) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../migrations").join(engine);
        let found = Migrator::new(folder).await.unwrap();
        let all = |migrator: &Migrator| {
            let each = migrator.iter();
            each.map(|m| (m.version, m.description.clone(), m.checksum.clone())).collect::<Vec<_>>()
        };
        assert_eq!(all(&migrator(files)), all(&found));
    }
}
