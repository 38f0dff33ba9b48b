//! Whether other processes use the same database.

use klaroen_store::Store;

/// Whether this process is alone on its database. It is decided once, when the worker starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// No other process can write to it: a SQLite file.
    Alone,
    /// Other workers and dispatchers use it too.
    Shared,
}

impl Sharing {
    /// Finds out which of them applies to a database.
    pub(crate) const fn of_database(store: &Store) -> Self {
        if store.is_shared() { Self::Shared } else { Self::Alone }
    }
}
