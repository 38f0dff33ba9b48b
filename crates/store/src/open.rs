//! Opening a database: address, pools, migrations, and whether the key fits.

use std::str::FromStr;
use std::time::Duration;

use klaroen_domain::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::db::{Db, Sql, on_db};
use crate::seal::Keys;
use crate::{Result, StoreError};

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../../migrations/sqlite");

/// Everything that is kept. Cheap to clone: it is a handle.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) db: Db,
    pub(crate) keys: Keys,
}

/// How to open a database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite:klaroen.db`.
    pub url: String,
    /// The keys of the installation.
    pub keys: Keys,
    /// Connections that may read at once.
    pub readers: u32,
}

impl StoreOptions {
    /// With the usual number of readers.
    #[must_use]
    pub fn new(url: impl Into<String>, keys: Keys) -> Self {
        // Requests that read are short; eight at once keep two to sixteen cores busy.
        Self { url: url.into(), keys, readers: 8 }
    }
}

const CANARY_NAME: &str = "key_canary";
const CANARY_TEXT: &str = "klaroen";
const GET_CANARY: Sql = Sql::new("SELECT value FROM meta WHERE name = $1");
const PUT_CANARY: Sql =
    Sql::new("INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
const PROBE: Sql = Sql::new(
    "INSERT INTO meta (name, value) VALUES ('write_probe', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
);

/// In KiB, as SQLite takes it: what a writer has read stays good, because nobody else writes.
const WRITER_CACHE: &str = "-65536";
/// Each reader forgets its pages at the next commit of the writer, so there is no use in many; eight readers of a large alert
/// took half a gigabyte.
const READER_CACHE: &str = "-4096";

impl Store {
    /// Opens the database, creates the file where there is none, and migrates it.
    ///
    /// # Errors
    /// [`StoreError::BadUrl`], [`StoreError::NewerSchema`], [`StoreError::WrongKey`], or what the database says.
    pub async fn open(options: &StoreOptions) -> Result<Self> {
        let db = connect_sqlite(options).await?;
        match &db {
            Db::Sqlite { writer, .. } => SQLITE_MIGRATIONS.run(writer).await?,
        }
        let store = Self { db, keys: options.keys.clone() };
        store.check_key().await?;
        Ok(store)
    }

    /// The keys, for those who need the hash of a number.
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Refuses a key file that belongs to another database, before it seals anything.
    async fn check_key(&self) -> Result<()> {
        let canary = self.keys.seal(CANARY_TEXT, CANARY_NAME.as_bytes());
        on_db!(write self.db, pool, d => sqlx::query(PUT_CANARY.of(d)).bind(CANARY_NAME).bind(canary).execute(pool).await?);
        let kept: Vec<u8> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(GET_CANARY.of(d)).bind(CANARY_NAME).fetch_one(pool).await?);
        match self.keys.open(&kept, CANARY_NAME.as_bytes()) {
            Ok(text) if text == CANARY_TEXT => Ok(()),
            _ => Err(StoreError::WrongKey),
        }
    }

    /// Writes and commits something: the only proof that the database can be written.
    ///
    /// # Errors
    /// What the database says.
    pub async fn probe_write(&self, now: Timestamp) -> Result<()> {
        let value = now.as_millis().to_be_bytes().to_vec();
        on_db!(write self.db, pool, d => sqlx::query(PROBE.of(d)).bind(value).execute(pool).await?);
        Ok(())
    }

    /// Closes every connection; SQLite's write-ahead log is folded into the file.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

async fn connect_sqlite(options: &StoreOptions) -> Result<Db> {
    let bad_url = || {
        StoreError::BadUrl(
            "database.url: use sqlite:FILE, such as sqlite:klaroen.db (PostgreSQL is not supported yet)"
                .into(),
        )
    };
    if !options.url.starts_with("sqlite:") || options.url.contains(":memory:") {
        return Err(bad_url());
    }
    let connect = SqliteConnectOptions::from_str(&options.url)
        .map_err(|_| bad_url())?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Another process (an import at the command line) may hold the write lock for a page.
        .busy_timeout(Duration::from_secs(10))
        // Rows that may wait to be taken: with few, the database's thread and ours wake each other for every handful.
        .row_buffer_size(1024)
        // 64 MiB: the hot indexes of a large alert stay in memory.
        .pragma("cache_size", WRITER_CACHE)
        .pragma("temp_store", "memory")
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864");
    // The writer is never closed for age or idleness: reopening would cost its cache.
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(30))
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(connect.clone())
        .await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.readers)
        .acquire_timeout(Duration::from_secs(10))
        .connect_lazy_with(connect.read_only(true).pragma("cache_size", READER_CACHE));
    Ok(Db::Sqlite { writer, readers })
}
