//! The migrations of this checkout, read when a test runs: a template is never older than they are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use sqlx::migrate::Migrator;

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");

/// Those of one engine: `sqlite` or `postgres`.
pub(crate) async fn of(engine: &str) -> Migrator {
    Migrator::new(PathBuf::from(DIRECTORY).join(engine)).await.expect("the migrations can be read")
}

/// A name for what they make: another one when a migration is added, changed or taken away.
pub(crate) fn fingerprint(migrations: &Migrator) -> String {
    let mut hasher = DefaultHasher::new();
    for migration in migrations.iter() {
        (migration.version, &migration.checksum).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
