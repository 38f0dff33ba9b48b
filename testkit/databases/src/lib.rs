//! The databases that the tests run on: SQLite in a file, and a PostgreSQL that the tests start themselves.
//!
//! A test asks its [`Engine`] for a database of its own: a copy of a template that was migrated once. In PostgreSQL it lives on a
//! server that all tests of this checkout share; a test that stops or demotes a server has one to itself ([`Server`]).

mod cluster;
mod migrations;
mod shared;
mod template;

use std::path::{Path, PathBuf};

pub use cluster::Server;

/// Which engine a test runs on: the same tests run on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A file in the test's own directory.
    Sqlite,
    /// A database of its own on the server that the tests share.
    Postgres,
}

impl Engine {
    /// The address of a new database that has the tables, and nothing in them; `directory` is the test's own.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine: `make test` installs it, or leaves these tests out.
    pub async fn database(self, directory: &Path) -> String {
        match self {
            Self::Sqlite => {
                template::copy(&file(directory)).await;
                sqlite_url(directory)
            }
            Self::Postgres => shared::database().await,
        }
    }

    /// The address of a new database without tables, for tests of what makes them. In PostgreSQL it is a schema, as an
    /// administrator may set it up: several of them share a database.
    ///
    /// # Panics
    /// When there is no PostgreSQL on the machine: `make test` installs it, or leaves these tests out.
    pub async fn empty(self, directory: &Path) -> String {
        match self {
            Self::Sqlite => sqlite_url(directory),
            Self::Postgres => shared::schema().await,
        }
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("klaroen.db")
}

fn sqlite_url(directory: &Path) -> String {
    format!("sqlite:{}", file(directory).display())
}
