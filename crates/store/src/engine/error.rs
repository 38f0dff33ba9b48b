//! The errors of the database, sorted by what a caller does about them.

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or is busy now; the same call may work later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refused a statement: a defect of ours or damage.
    #[error("database error: {0}")]
    Database(#[source] sqlx::Error),
    /// The schema is newer than this program.
    #[error(
        "the database was migrated by a newer version of Klaroen (migration {found}); use that version, or restore a backup"
    )]
    NewerSchema {
        /// The migration that this program does not know.
        found: i64,
    },
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The key file does not belong to this database.
    #[error("the key file does not fit this database: sealed data cannot be opened with it")]
    WrongKey,
    /// A sealed value was changed or belongs to another row.
    #[error("a sealed value does not open: it was changed or moved")]
    Unsealable,
    /// The program is being shut down.
    #[error("the program is being shut down")]
    Stopped,
    /// Stored data that this program cannot read.
    #[error("unreadable data in {table}.{column}")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The cursor of a page was not one of ours.
    #[error("not a cursor that a list gave")]
    BadCursor,
    /// A database address that is not understood.
    #[error("{0}")]
    BadUrl(String),
}

impl StoreError {
    /// Whether the same call may work later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Stopped)
    }
}

/// SQLite primary result codes that pass: BUSY, LOCKED, IOERR (a disk that comes back), FULL.
const PASSING_SQLITE_CODES: [i64; 4] = [5, 6, 10, 13];

/// `SQLSTATE`s of PostgreSQL that pass (Appendix A of its manual): read only (a primary that was demoted), could not
/// serialize, deadlock, lock not available, cancelled by a time-out, ended because its transaction was idle too long.
const PASSING_SQLSTATES: [&str; 6] = ["25006", "25P03", "40001", "40P01", "55P03", "57014"];
/// And classes of them: connection, shut down or starting up, insufficient resources (a disk that is full, memory,
/// connections).
const PASSING_SQLSTATE_CLASSES: [&str; 3] = ["08", "57P", "53"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let passing = match &error {
            // `Protocol` is what the library makes of a connection that was cut in the middle of an answer.
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed => true,
            sqlx::Error::Database(db) => passes(db.as_ref()),
            _ => false,
        };
        if passing { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

fn passes(error: &dyn sqlx::error::DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
        return PASSING_SQLSTATES.contains(&code.as_ref())
            || PASSING_SQLSTATE_CLASSES.iter().any(|class| code.starts_with(class));
    }
    code.parse::<i64>().is_ok_and(|code| PASSING_SQLITE_CODES.contains(&(code & 0xff)))
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::VersionMissing(found)
            | sqlx::migrate::MigrateError::VersionTooNew(found, _) => Self::NewerSchema { found },
            other => Self::Migration(other),
        }
    }
}
