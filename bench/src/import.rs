//! A registry as a file, and the same file once more, as every night.

use crate::dataset;
use crate::installation::{Imported, Installation, Subject};
use crate::output;
use crate::report::figures::ImportRun;
use anyhow::{Context, Result, bail};

/// Measures `klaroen participants import`, start of the process included.
pub async fn run(subject: Subject<'_>, rows: u32, runs: u32) -> Result<Vec<ImportRun>> {
    let databases = subject.databases;
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let csv = directory.path().join("registry.csv");
    dataset::write_csv(&csv, rows, 0)?;
    let mut done = Vec::new();
    for number in 1..=runs {
        let name = databases.engine().name();
        output::note(format_args!("{name}: importing {rows} rows, twice: run {number} of {runs}"));
        let database = databases.fresh("registry").await?;
        let installation = Installation::make(subject.program, &database).await?;
        let new = installation.import(&csv).await?;
        let again = installation.import(&csv).await?;
        if (new.created, again.unchanged) != (u64::from(rows), u64::from(rows)) {
            let told = format!("{} created, then {} unchanged", new.created, again.unchanged);
            bail!("{rows} rows were to be imported: {told}");
        }
        databases.discard(&database.name).await?;
        let per_second = |imported: &Imported| f64::from(rows) / imported.seconds;
        done.push(ImportRun {
            new_rows_per_second: per_second(&new),
            unchanged_rows_per_second: per_second(&again),
            peak_memory_mib: new.peak_memory_mib.max(again.peak_memory_mib),
            cpu_seconds: new.cpu_seconds,
        });
    }
    Ok(done)
}
