//! The databases that the tests run on: SQLite in a file, and a PostgreSQL that the tests start themselves.
//!
//! A test asks its [`Engine`] for a database of its own. In PostgreSQL that is a schema of a server that all tests of this
//! checkout share ([`shared`]); a test that stops or demotes a server has one to itself ([`Server`]).

mod cluster;
pub mod shared;

use std::path::Path;

pub use cluster::Server;

/// Which engine a test runs on: the same tests run on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file in the test's own directory.
    Sqlite,
    /// A schema of its own in the server that the tests share.
    Postgres,
}

impl Engine {
    /// The address of a new, empty database; `directory` is the test's own.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine: `make test` installs it, or leaves these tests out.
    pub async fn database(self, directory: &Path) -> String {
        match self {
            Self::Sqlite => format!("sqlite:{}", directory.join("klaroen.db").display()),
            Self::Postgres => shared::schema().await,
        }
    }
}
