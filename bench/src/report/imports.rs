//! Imports.

use super::{Table, cell, count, head, per_million, runs};
use crate::report::figures::Import;

/// The table.
pub fn table(figures: &[Import]) -> Table {
    let row = |f: &Import| {
        vec![
            f.database.to_owned(),
            count(f.rows),
            cell(f.failed, &f.runs, |run| Some(run.new_rows_per_second)),
            cell(f.failed, &f.runs, |run| Some(run.unchanged_rows_per_second)),
            cell(f.failed, &f.runs, |run| per_million(Some(run.cpu_seconds), f.rows)),
            cell(f.failed, &f.runs, |run| Some(run.peak_memory_mib)),
        ]
    };
    Table {
        title: format!(
            "Import of a CSV file, then of the same file; {}",
            runs(figures.iter().map(|f| f.runs.len()))
        ),
        head: head(&[
            "database",
            "rows",
            "new rows/s",
            "unchanged rows/s",
            "CPU s per million new",
            "peak memory, MiB",
        ]),
        rows: figures.iter().map(row).collect(),
    }
}
