//! SQLite: a file, one writer, as many readers as may run at once.

use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::Connection as _;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};

use super::migrations;
use crate::engine::db::Db;
use crate::{Result, StoreError, StoreOptions};

/// In KiB, as SQLite takes it. The pages that a writer has read stay good, because no other connection writes.
const WRITER_CACHE: &str = "-65536";
/// Each reader forgets its pages at the next commit of the writer, so there is no use in many; eight readers of a large alert
/// took half a gigabyte.
const READER_CACHE: &str = "-4096";

/// Opens the file, makes it if there is none, and migrates it.
pub(super) async fn open(options: &StoreOptions) -> Result<Db> {
    let bad_url = || {
        StoreError::BadUrl(
            "use sqlite:FILE, such as sqlite:klaroen.db; a database in memory is lost with the process"
                .into(),
        )
    };
    if options.url.contains(":memory:") {
        return Err(bad_url());
    }
    let connect = SqliteConnectOptions::from_str(&options.url)
        .map_err(|_| bad_url())?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Another process (an import at the command line) may hold the write lock for a transaction, which is a second at most on
        // most disks.
        .busy_timeout(Duration::from_secs(10))
        // Rows that may wait to be taken: with few, the database's thread and ours wake each other for every handful.
        .row_buffer_size(1024)
        // 64 MiB: the hot indexes of a large alert stay in memory.
        .pragma("cache_size", WRITER_CACHE)
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", "16000")
        .pragma("journal_size_limit", "67108864");
    // The writer is never closed for age or idleness: reopening would cost its cache.
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(ended_cleanly)
        .connect_with(connect.clone())
        .await?;
    migrations::migrator(migrations::SQLITE).run(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_release(ended_cleanly)
        .connect_lazy_with(connect.read_only(true).pragma("cache_size", READER_CACHE));
    Ok(Db::Sqlite { writer, readers })
}

/// Whether the pool keeps a connection. If the disk is full or fails, SQLite rolls back by itself. The rollback that the pool
/// does then fails, and the connection would count one open transaction for ever and begin none.
fn ended_cleanly(
    connection: &mut SqliteConnection,
    _: PoolConnectionMetadata,
) -> BoxFuture<'_, sqlx::Result<bool>> {
    Box::pin(async move {
        let ended = !connection.is_in_transaction();
        if !ended {
            tracing::warn!("a transaction did not end cleanly: its connection is replaced");
        }
        Ok(ended)
    })
}
