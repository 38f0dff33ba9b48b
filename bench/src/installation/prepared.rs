//! A registry in a database, of which each run gets a copy as it was.

use crate::dataset;
use crate::installation::database::{Database, Databases};
use crate::installation::{Installation, Subject};
use anyhow::{Context, Result, bail};

/// The name of a copy.
const RUN: &str = "run";

/// A town in a database that no process has open.
pub struct Prepared<'a> {
    databases: &'a Databases<'a>,
    town: Database,
    pub installation: Installation,
}

impl<'a> Prepared<'a> {
    /// Imports so many people of the town, and so many of the hamlet, and lets the engine settle.
    pub async fn make(subject: Subject<'a>, people: u32, hamlet: u32) -> Result<Self> {
        let prepared = Self::imported(subject, people, hamlet).await?;
        prepared.databases.settle(&prepared.town).await?;
        Ok(prepared)
    }

    /// The same as the import leaves it: the engine has counted nothing.
    pub async fn imported(subject: Subject<'a>, people: u32, hamlet: u32) -> Result<Self> {
        let databases = subject.databases;
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let csv = directory.path().join("town.csv");
        dataset::write_csv(&csv, people, hamlet)?;
        let town = databases.fresh("town").await?;
        let installation = Installation::make(subject.program, &town).await?;
        let (imported, rows) = (installation.import(&csv).await?, u64::from(people + hamlet));
        if imported.created != rows {
            bail!("{} of {rows} rows were imported", imported.created);
        }
        Ok(Self { databases, town, installation })
    }

    /// As everybody names the engine.
    pub const fn engine_name(&self) -> &'static str {
        self.databases.engine().name()
    }

    /// The copy of a run. That of the run before goes.
    pub async fn copy(&self) -> Result<Database> {
        self.databases.copy(&self.town, RUN).await
    }

    /// The database itself, for one run that is the last.
    pub const fn original(&self) -> &Database {
        &self.town
    }

    /// CPU seconds of the database server so far; none of SQLite, which is part of Klaroen.
    pub fn database_cpu_seconds(&self) -> Option<f64> {
        self.databases.server()?.cpu_seconds()
    }

    /// Throws all of it away.
    pub async fn discard(self) -> Result<()> {
        self.databases.discard(RUN).await?;
        self.databases.discard(&self.town.name).await
    }
}
