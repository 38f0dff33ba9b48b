//! The engines behind one set of calls.

use sqlx::{PgPool, Postgres, Sqlite, SqlitePool, Transaction};

use crate::Result;

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
    Postgres(PgPool),
}

/// Which engine a statement's text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement: one text, or one per dialect where they differ. Parameters are `$1`, `$2`, … in both.
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

/// A write transaction; it rolls back when it is dropped.
pub(crate) enum Tx {
    /// `BEGIN IMMEDIATE` on the one writer: a transaction that began by reading could not be upgraded.
    Sqlite(Transaction<'static, Sqlite>),
    /// Read committed: a statement sees what is committed when it begins. What must not change meanwhile is locked.
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// Makes it durable.
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

impl Db {
    /// Begins a write transaction.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        match self {
            Self::Sqlite { writer, .. } => Ok(Tx::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?)),
            Self::Postgres(pool) => Ok(Tx::Postgres(pool.begin().await?)),
        }
    }
}

/// Runs a query outside a transaction:
/// `on_db!(read self.db, pool, d => sqlx::query_as::<_, Row>(LIST.of(d)).bind(x).fetch_all(pool).await?)`.
///
/// Written once and expanded for each engine, because a query's type names its engine. `read` takes the readers; `write`
/// takes the writer, where a single statement is a transaction of its own. PostgreSQL has one pool for both.
macro_rules! on_db {
    (read $db:expr, $pool:ident, $dialect:ident => $body:expr) => {
        match &$db {
            $crate::db::Db::Sqlite { readers: $pool, .. } => {
                let $dialect = $crate::db::Dialect::Sqlite;
                $body
            }
            $crate::db::Db::Postgres($pool) => {
                let $dialect = $crate::db::Dialect::Postgres;
                $body
            }
        }
    };
    (write $db:expr, $pool:ident, $dialect:ident => $body:expr) => {
        match &$db {
            $crate::db::Db::Sqlite { writer: $pool, .. } => {
                let $dialect = $crate::db::Dialect::Sqlite;
                $body
            }
            $crate::db::Db::Postgres($pool) => {
                let $dialect = $crate::db::Dialect::Postgres;
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
            $crate::db::Tx::Sqlite(transaction) => {
                let $dialect = $crate::db::Dialect::Sqlite;
                let $conn = &mut **transaction;
                $body
            }
            $crate::db::Tx::Postgres(transaction) => {
                let $dialect = $crate::db::Dialect::Postgres;
                let $conn = &mut **transaction;
                $body
            }
        }
    };
}

pub(crate) use {on_db, on_tx};
