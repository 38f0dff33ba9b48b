//! The engines behind one set of calls.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::Result;
use crate::engine::heartbeat::Heartbeat;

/// The engine. SQLite has one writer and many readers, so the two have pools of their own.
#[derive(Clone, Debug)]
pub(crate) enum Db {
    /// A file on this machine.
    Sqlite {
        /// One connection: SQLite has one writer, and a queue in the program beats `SQLITE_BUSY`.
        writer: SqlitePool,
        /// As many as may read at once.
        readers: SqlitePool,
    },
    /// A server, which may serve many processes.
    Postgres {
        /// For reading and writing.
        pool: PgPool,
        /// Ends what waits for a server that has vanished.
        heartbeat: Heartbeat,
    },
}

/// Which engine a statement's text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement: one text, or one per dialect if they differ. Parameters are `$1`, `$2`, … in both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sql {
    sqlite: &'static str,
    postgres: &'static str,
}

impl Sql {
    /// One text for every engine.
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }

    /// A text for each, in this order: the same parameters, the same columns.
    pub(crate) const fn each(sqlite: &'static str, postgres: &'static str) -> Self {
        Self { sqlite, postgres }
    }

    /// The text for one engine.
    pub(crate) const fn of(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A transaction; it rolls back when it is dropped.
pub(crate) enum Tx {
    /// `BEGIN IMMEDIATE` on the one writer: a transaction that began by reading could not be upgraded. A snapshot: on a reader.
    Sqlite(Transaction<'static, Sqlite>),
    /// Read committed: a statement sees what is committed when it begins. Rows that must not change meanwhile are locked.
    Postgres(Transaction<'static, Postgres>, Heartbeat),
}

impl Tx {
    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx, heartbeat) => heartbeat.guard(tx.commit()).await?,
        }
        Ok(())
    }
}

impl Db {
    /// Which engine it is.
    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite { .. } => Dialect::Sqlite,
            Self::Postgres { .. } => Dialect::Postgres,
        }
    }

    /// Begins a transaction that only reads, and sees one moment.
    pub(crate) async fn snapshot(&self) -> Result<Tx> {
        match self {
            Self::Sqlite { readers, .. } => Ok(Tx::Sqlite(readers.begin_with("BEGIN").await?)),
            Self::Postgres { pool, heartbeat } => {
                let begin = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
                Ok(Tx::Postgres(heartbeat.guard(begin).await?, heartbeat.clone()))
            }
        }
    }

    /// Begins the transaction of a claim.
    ///
    /// PostgreSQL takes the queue for next to empty, if nothing was counted since it was, and would rather read all of it and
    /// sort it than go by the index that has its order: 100 ms of 100,000, each time.
    pub(crate) async fn begin_claim(&self) -> Result<Tx> {
        match self {
            Self::Sqlite { .. } => self.begin().await,
            Self::Postgres { pool, heartbeat } => {
                let begin = pool.begin_with("BEGIN; SET LOCAL enable_sort = off");
                Ok(Tx::Postgres(heartbeat.guard(begin).await?, heartbeat.clone()))
            }
        }
    }

    /// Begins a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)),
            Self::Postgres { pool, heartbeat } => {
                let tx = heartbeat.guard(pool.begin()).await?;
                Ok(Tx::Postgres(tx, heartbeat.clone()))
            }
        }
    }
}

/// Runs a query outside a transaction:
/// `on_db!(read self.db, pool, d => sqlx::query_as::<_, Row>(LIST.of(d)).bind(x).fetch_all(pool).await?)`.
///
/// Written once and expanded for each engine, because a query's type names its engine. `read` takes the readers; `write`
/// takes the writer, if a single statement is a transaction of its own. PostgreSQL has one pool for both.
macro_rules! on_db {
    (read $db:expr, $pool:ident, $dialect:ident => $body:expr) => {
        match &$db {
            $crate::engine::db::Db::Sqlite { readers: $pool, .. } => {
                let $dialect = $crate::engine::db::Dialect::Sqlite;
                $body
            }
            $crate::engine::db::Db::Postgres { pool, heartbeat } => {
                let $dialect = $crate::engine::db::Dialect::Postgres;
                let $pool = heartbeat.guarded(pool);
                $body
            }
        }
    };
    (write $db:expr, $pool:ident, $dialect:ident => $body:expr) => {
        match &$db {
            $crate::engine::db::Db::Sqlite { writer: $pool, .. } => {
                let $dialect = $crate::engine::db::Dialect::Sqlite;
                $body
            }
            $crate::engine::db::Db::Postgres { pool, heartbeat } => {
                let $dialect = $crate::engine::db::Dialect::Postgres;
                let $pool = heartbeat.guarded(pool);
                $body
            }
        }
    };
}

/// Runs a query inside a [`Tx`]:
/// `on_tx!(tx, conn, d => sqlx::query(INSERT.of(d)).bind(x).execute(conn).await?)`; `tx` is a `&mut Tx`.
macro_rules! on_tx {
    ($tx:expr, $conn:ident, $dialect:ident => $body:expr) => {
        match $tx {
            $crate::engine::db::Tx::Sqlite(transaction) => {
                let $dialect = $crate::engine::db::Dialect::Sqlite;
                let $conn = &mut **transaction;
                $body
            }
            $crate::engine::db::Tx::Postgres(transaction, heartbeat) => {
                let $dialect = $crate::engine::db::Dialect::Postgres;
                let $conn = heartbeat.guarded(&mut **transaction);
                $body
            }
        }
    };
}

pub(crate) use {on_db, on_tx};
