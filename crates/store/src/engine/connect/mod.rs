//! Opening a database: address, pools, migrations, and whether the key fits.

mod migrations;
mod postgres;
mod sqlite;

use klaroen_domain::time::Timestamp;
use secrecy::SecretString;

use crate::engine::db::{Db, Sql, on_db, on_tx};
use crate::engine::seal::Keys;
use crate::{Result, StoreError};

/// Everything that is kept. Cheap to clone: it is a handle.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) db: Db,
    pub(crate) keys: Keys,
}

/// How to open a database. `Debug` does not show the address, which may hold a password.
#[derive(Clone)]
pub struct StoreOptions {
    /// `sqlite:klaroen.db` or `postgres://user:password@host/database?sslmode=verify-full`.
    pub url: String,
    /// PostgreSQL: instead of the one in the address.
    pub password: Option<SecretString>,
    /// The keys of the installation.
    pub keys: Keys,
    /// SQLite: connections that may read at once. PostgreSQL: connections of this process.
    pub connections: u32,
}

impl StoreOptions {
    /// With the usual number of connections.
    #[must_use]
    pub fn new(url: impl Into<String>, keys: Keys) -> Self {
        // Requests are short; eight at once keep two to sixteen cores busy.
        Self { url: url.into(), password: None, keys, connections: Self::CONNECTIONS }
    }

    /// The usual number.
    pub const CONNECTIONS: u32 = 8;
}

impl std::fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreOptions").field("connections", &self.connections).finish_non_exhaustive()
    }
}

/// The database that an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A SQLite file; which one stands in the address.
    Sqlite,
    /// A PostgreSQL server.
    Postgres {
        /// User, host, port and database, without the password.
        shown: String,
    },
}

impl Address {
    /// Understands an address without using it. The error never shows the address.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BadUrl`] if the address is not understood.
    pub fn of(url: &str) -> Result<Self> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Ok(Self::Sqlite),
            Some("postgres" | "postgresql") => Ok(Self::Postgres { shown: postgres::shown(url)? }),
            _ => {
                let both = "use sqlite:FILE, such as sqlite:klaroen.db, or postgres://USER@HOST/DATABASE";
                Err(StoreError::BadUrl(both.into()))
            }
        }
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

impl Store {
    /// Opens the database and migrates it. SQLite's file is made if there is none. If several processes open a PostgreSQL at
    /// once, one of them migrates and the others wait.
    ///
    /// # Errors
    ///
    /// Returns [`StoreError::BadUrl`] if the address is not understood, [`StoreError::NewerSchema`] if the schema is newer
    /// than this program, [`StoreError::Migration`] if a migration fails, [`StoreError::WrongKey`] if the key file does not
    /// belong to this database, or another [`StoreError`] if the database does not answer or refuses a statement.
    pub async fn open(options: &StoreOptions) -> Result<Self> {
        let db = match Address::of(&options.url)? {
            Address::Sqlite => sqlite::open(options).await?,
            Address::Postgres { .. } => postgres::open(options).await?,
        };
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
        on_db!(write self.db, pool, d => sqlx::query(PUT_CANARY.of(d)).bind(CANARY_NAME).bind(canary).execute(pool).await?.rows_affected());
        let kept: Vec<u8> = on_db!(read self.db, pool, d =>
            sqlx::query_scalar(GET_CANARY.of(d)).bind(CANARY_NAME).fetch_one(pool).await?);
        match self.keys.open(&kept, CANARY_NAME.as_bytes()) {
            Ok(text) if text == CANARY_TEXT => Ok(()),
            _ => Err(StoreError::WrongKey),
        }
    }

    /// Writes something in a transaction and commits it, as all work does: the only proof that the database can be written.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn probe_write(&self, now: Timestamp) -> Result<()> {
        let value = now.as_millis().to_be_bytes().to_vec();
        // Boxed: it would make the future of every caller large.
        Box::pin(async move {
            let mut tx = self.db.begin().await?;
            on_tx!(&mut tx, conn, d => sqlx::query(PROBE.of(d)).bind(value).execute(conn).await?.rows_affected());
            tx.commit().await
        })
        .await
    }

    /// Closes every connection. SQLite's write-ahead log is folded into the file.
    pub async fn close(&self) {
        match &self.db {
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Db::Postgres { pool, .. } => pool.close().await,
        }
    }
}
