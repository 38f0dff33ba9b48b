//! The databases under test.

use anyhow::{Context, Result};
use std::path::PathBuf;

use serde::Serialize;
use tempfile::TempDir;

use crate::processes::postgres_server::PostgresServer;

/// The engine in which Klaroen keeps its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        }
    }
}

/// One database: an address, as a configuration has it.
#[derive(Clone, Debug)]
pub struct Database {
    pub url: String,
    pub name: String,
}

/// The place in which databases are made.
pub enum Databases<'a> {
    Sqlite(TempDir),
    Postgres(&'a PostgresServer),
}

impl<'a> Databases<'a> {
    /// SQLite files in a temporary directory.
    pub fn sqlite() -> Result<Self> {
        Ok(Self::Sqlite(tempfile::tempdir().context("cannot make a temporary directory")?))
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        match self {
            Self::Sqlite(_) => Engine::Sqlite,
            Self::Postgres(_) => Engine::Postgres,
        }
    }

    /// The private server, if there is one.
    pub const fn server(&self) -> Option<&'a PostgresServer> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres(server) => Some(server),
        }
    }

    /// An empty database. `name` is lower-case letters, digits and `_`. One of that name that a failed run left goes.
    pub async fn fresh(&self, name: &str) -> Result<Database> {
        self.discard(name).await?;
        if let Self::Postgres(server) = self {
            server.execute("postgres", format!("CREATE DATABASE {name} TEMPLATE template0")).await?;
        }
        Ok(self.named(name))
    }

    /// A copy of a database that no process has open. One of that name that a failed run left goes.
    pub async fn copy(&self, from: &Database, name: &str) -> Result<Database> {
        self.discard(name).await?;
        match self {
            Self::Sqlite(directory) => {
                let [from, to] = [&from.name, name].map(|name| file(directory, name));
                std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
            Self::Postgres(server) => {
                let statement = format!("CREATE DATABASE {name} TEMPLATE {}", from.name);
                server.execute("postgres", statement).await?;
            }
        }
        Ok(self.named(name))
    }

    /// Throws a database away, if there is one.
    pub async fn discard(&self, name: &str) -> Result<()> {
        match self {
            Self::Sqlite(directory) => {
                let path = file(directory, name);
                for suffix in ["", "-wal", "-shm"] {
                    let mut path = path.clone().into_os_string();
                    path.push(suffix);
                    // A file that is not there needs no removing, and the directory goes in the end.
                    drop(std::fs::remove_file(path));
                }
                Ok(())
            }
            Self::Postgres(server) => {
                server.execute("postgres", format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await
            }
        }
    }

    /// Does the work that the engine does by itself after a while: statistics, and marking pages as visible to all.
    pub async fn settle(&self, database: &Database) -> Result<()> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(server) => server.execute(&database.name, "VACUUM ANALYZE".into()).await,
        }
    }

    fn named(&self, name: &str) -> Database {
        let url = match self {
            Self::Sqlite(directory) => format!("sqlite:{}", file(directory, name).display()),
            Self::Postgres(server) => server.url(name),
        };
        Database { url, name: name.to_owned() }
    }
}

fn file(directory: &TempDir, name: &str) -> PathBuf {
    directory.path().join(format!("{name}.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_of_a_file_is_a_file_of_its_own() {
        let databases = Databases::sqlite().unwrap();
        let town = databases.fresh("town").await.unwrap();
        let path = |database: &Database| PathBuf::from(database.url.strip_prefix("sqlite:").unwrap());
        std::fs::write(path(&town), "a").unwrap();
        let copy = databases.copy(&town, "run").await.unwrap();
        std::fs::write(path(&copy), "b").unwrap();
        assert_eq!(std::fs::read(path(&town)).unwrap(), b"a");
        let copy = databases.copy(&town, &copy.name).await.unwrap();
        assert_eq!(std::fs::read(path(&copy)).unwrap(), b"a", "what a run left is gone");
        let gone = path(&copy);
        databases.discard(&copy.name).await.unwrap();
        assert!(!gone.exists() && path(&town).exists());
    }
}
