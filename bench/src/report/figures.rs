//! The figures of a bench: what is kept of every measurement, and what is said of many.

use anyhow::{Error, Result};
use std::fmt::Display;

use serde::Serialize;

use crate::output;

/// All of a run; the JSON file is this.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// A debug build says little.
    pub release_build: bool,
    pub machine: Machine,
    /// Receipts that the SMSC left unanswered at a time.
    pub receipt_window: u32,
    pub matching: Vec<Matching>,
    pub import: Vec<Import>,
    pub sending: Vec<Sending>,
    pub first_alert: Vec<FirstAlert>,
    pub fairness: Vec<Fairness>,
    pub degraded: Vec<Degraded>,
    pub scale: Vec<Scale>,
    pub gateways: Vec<Gateway>,
    /// The parts that could not be measured here, because something is not installed.
    pub left_out: Vec<String>,
    /// The failures: a recipient was lost, rang twice or was counted wrongly, or a program ended or took too long.
    pub failed: Vec<String>,
}

impl Report {
    /// Something is not installed.
    pub fn leave_out(&mut self, line: impl Into<String>) {
        let line = line.into();
        output::note(&line);
        self.left_out.push(line);
    }

    /// Returns the figures that were measured, or nothing and why; a failure does not end the bench.
    pub fn take<T: Default>(&mut self, what: impl Display, measured: Result<T>) -> (T, bool) {
        match measured {
            Ok(figures) => (figures, false),
            Err(failure) => {
                self.fail(what, &failure);
                (T::default(), true)
            }
        }
    }

    /// Something went wrong.
    pub fn fail(&mut self, what: impl Display, why: &Error) {
        let line = format!("{what}: {why:#}");
        output::note(format_args!("FAILED: {line}"));
        self.failed.push(line);
    }
}

/// The machine that it was measured on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_mib: u64,
    /// The type of file system that databases are on (`ext4`, `tmpfs`), if it is known.
    pub file_system: Option<String>,
}

impl Machine {
    /// Whether what is "on the disk" is in memory: then flushing costs nothing.
    pub fn keeps_files_in_memory(&self) -> bool {
        self.file_system.as_deref().is_some_and(|name| ["tmpfs", "ramfs"].contains(&name))
    }
}

/// One shape, one registry, one who answers.
#[derive(Clone, Debug, Serialize)]
pub struct Matching {
    pub contestant: &'static str,
    pub places: u32,
    pub shape: String,
    /// In the answer, on average over the places where the shape was drawn.
    pub found: u64,
    pub samples: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The answer was wrong, or none came.
    pub failed: bool,
}

/// All imports into one database.
#[derive(Clone, Debug, Serialize)]
pub struct Import {
    pub database: &'static str,
    pub rows: u32,
    pub runs: Vec<ImportRun>,
    pub failed: bool,
}

/// One import of a file, and the same file once more.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ImportRun {
    pub new_rows_per_second: f64,
    pub unchanged_rows_per_second: f64,
    /// Of the importing process, the larger of both runs.
    pub peak_memory_mib: f64,
    /// Of the importing process, while the rows were new.
    pub cpu_seconds: f64,
}

/// One alert. Times are milliseconds from the `POST`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct AlertRun {
    /// A preview: matching and an HTTP round trip, nothing written.
    pub preview_ms: f64,
    /// The `POST` was answered: matched, written, on the disk.
    pub answered_ms: f64,
    /// The SMSC saw the first submit.
    pub first_submit_ms: f64,
    /// The SMSC saw the last submit.
    pub last_submit_ms: f64,
    /// Every receipt was stored and counted.
    pub all_delivered_ms: f64,
    /// Recipients by the time from the first submit to the last receipt stored.
    pub sms_per_second: f64,
    /// From the `POST` to the last receipt.
    pub klaroen_cpu_seconds: Option<f64>,
    /// The same of the database server; none for SQLite, which is part of Klaroen.
    pub database_cpu_seconds: Option<f64>,
    pub smsc_cpu_seconds: Option<f64>,
    /// Of the serving process.
    pub peak_memory_mib: Option<f64>,
}

impl AlertRun {
    /// SMS per second.
    pub const fn rate(&self) -> f64 {
        self.sms_per_second
    }

    /// Fairness other programs. The database server works for Klaroen, so its time counts.
    pub fn as_gateway(&self) -> GatewayRun {
        let cpu_seconds =
            self.klaroen_cpu_seconds.map(|own| own + self.database_cpu_seconds.unwrap_or_default());
        GatewayRun { sms_per_second: self.sms_per_second, cpu_seconds, peak_memory_mib: self.peak_memory_mib }
    }
}

/// All runs with one number of recipients.
#[derive(Clone, Debug, Serialize)]
pub struct Sending {
    pub database: &'static str,
    pub recipients: u32,
    pub runs: Vec<AlertRun>,
    pub failed: bool,
}

/// The first alerts after an import, on PostgreSQL.
#[derive(Clone, Debug, Serialize)]
pub struct FirstAlert {
    pub database: &'static str,
    pub recipients: u32,
    pub runs: Vec<FirstAlertRun>,
    pub failed: bool,
}

/// The same on both servers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FirstAlertRun {
    /// As `initdb` makes it.
    pub as_it_comes: TwoAlerts,
    /// With the settings of all other parts.
    pub tuned: TwoAlerts,
}

/// The first two alerts of a database. Times are milliseconds from the `POST` to the last submit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct TwoAlerts {
    pub first_ms: f64,
    pub second_ms: f64,
}

/// A small alert alone and next to a large one, on one database.
#[derive(Clone, Debug, Serialize)]
pub struct Fairness {
    pub database: &'static str,
    pub large: u32,
    pub small: u32,
    pub segments_per_second: u32,
    pub runs: Vec<FairnessRun>,
    pub failed: bool,
}

/// From the `POST` of the small one to its last submit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FairnessRun {
    pub alone_ms: f64,
    pub beside_ms: f64,
}

/// A good gateway alone and next to two in trouble, on one database.
#[derive(Clone, Debug, Serialize)]
pub struct Degraded {
    pub database: &'static str,
    pub recipients: u32,
    pub runs: Vec<DegradedRun>,
    pub failed: bool,
}

/// The same alert twice.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DegradedRun {
    pub alone: DegradedAlert,
    pub beside: DegradedAlert,
}

/// One alert. Times are milliseconds from the `POST`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct DegradedAlert {
    /// The good gateway had sent all but what the others had.
    pub sent_ms: f64,
    /// All but what the one holds that never answers was delivered.
    pub delivered_ms: f64,
    /// Submits that the others had.
    pub by_others: u64,
    pub peak_memory_mib: Option<f64>,
}

/// One alert of any size through a dispatcher and a worker. Times are milliseconds from the `POST`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scale {
    pub database: &'static str,
    pub recipients: u32,
    pub answered_ms: f64,
    pub first_submit_ms: f64,
    pub last_submit_ms: f64,
    pub all_delivered_ms: f64,
    pub dispatcher_peak_memory_mib: Option<f64>,
    pub worker_peak_memory_mib: Option<f64>,
}

/// One program between messages and the SMSC.
#[derive(Clone, Debug, Serialize)]
pub struct Gateway {
    pub name: String,
    pub messages: u32,
    pub runs: Vec<GatewayRun>,
    pub failed: bool,
}

/// One run of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GatewayRun {
    pub sms_per_second: f64,
    /// Of its own processes.
    pub cpu_seconds: Option<f64>,
    /// Of its own processes together.
    pub peak_memory_mib: Option<f64>,
}

/// The middle value; of an even number the mean of the two in the middle. `None` of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The smallest value that `percent` of all do not exceed (nearest rank). `None` of none.
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50), Some(100.0));
        assert_eq!(percentile(&values, 99), Some(198.0));
        assert_eq!(percentile(&values, 100), Some(200.0));
        assert_eq!(percentile(&[7.0], 99), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn the_file_has_a_member_for_each_part() {
        let mut report = Report { version: "1", ..Report::default() };
        let runs = vec![AlertRun::default()];
        report.sending.push(Sending { database: "SQLite", recipients: 3, runs, failed: false });
        let json = serde_json::to_value(&report).unwrap();
        let parts =
            ["matching", "import", "sending", "first_alert", "fairness", "degraded", "scale", "gateways"];
        for member in ["version", "release_build", "machine", "left_out", "failed"].iter().chain(&parts) {
            assert!(!json[member].is_null(), "{member}");
        }
        assert_eq!(json["sending"][0]["runs"][0]["database_cpu_seconds"], serde_json::Value::Null);
    }

    #[test]
    fn what_fails_is_kept_with_its_reason_and_gives_nothing() {
        let mut report = Report::default();
        let lost = Err::<Vec<u32>, _>(anyhow::anyhow!("9 rings of 10"));
        assert_eq!(report.take("SQLite, 10 recipients", lost), (Vec::new(), true));
        assert_eq!(report.take("PostgreSQL", Ok(vec![1])), (vec![1], false));
        assert_eq!(report.failed, ["SQLite, 10 recipients: 9 rings of 10"]);
        assert!(report.left_out.is_empty());
    }
}
