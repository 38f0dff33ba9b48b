//! A migrated SQLite file, of which every test gets a copy: migrating takes some 40 ms of a processor, a copy less than one.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode};
use sqlx::{ConnectOptions, Connection};
use uuid::Uuid;

use crate::{migrations, shared};

/// Puts a migrated database there.
pub(crate) async fn copy(to: &Path) {
    std::fs::copy(template().await, to).expect("a file can be copied");
}

async fn template() -> PathBuf {
    let migrations = migrations::of("sqlite").await;
    let template = shared::directory().join(format!("template-{}.db", migrations::fingerprint(&migrations)));
    if !template.exists() {
        // Several tests may find none at once: each makes one, and they are alike.
        let draft = template.with_extension(Uuid::new_v4().simple().to_string());
        let options = SqliteConnectOptions::new()
            .filename(&draft)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let mut connection: SqliteConnection = options.connect().await.expect("a file can be made");
        migrations.run(&mut connection).await.expect("the migrations can be run");
        // The last connection folds the log into the file.
        connection.close().await.expect("a database can be closed");
        std::fs::rename(&draft, &template).expect("a file can be renamed");
    }
    template
}
