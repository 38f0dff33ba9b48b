//! A report as tables.

mod alerts;
pub mod figures;
mod gateways;
mod imports;
mod matching;
mod table;

use self::table::{Table, count, number};
use crate::report::figures::{Report, median};

/// In place of every figure that something spoiled.
const FAILED: &str = "FAILED";

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let machine = &report.machine;
    let files = machine.file_system.as_deref().unwrap_or("a file system of unknown type");
    let mut text = format!(
        "Klaroen {} on {} cores ({}, {} MiB of memory, files on {files}{}); medians.\n",
        report.version,
        machine.cores,
        machine.processor,
        count(machine.memory_mib),
        if machine.keeps_files_in_memory() { ": in memory, nothing reaches a disk" } else { "" },
    );
    let tables = [
        matching::table(&report.matching),
        alerts::sending(report),
        alerts::first_alert(&report.first_alert),
        gateways::table(report),
        alerts::fairness(&report.fairness),
        alerts::degraded(&report.degraded),
        alerts::scale(&report.scale),
        imports::table(&report.import),
    ];
    for table in tables.into_iter().filter(|table| !table.rows.is_empty()) {
        text.push('\n');
        text.push_str(&table.text());
    }
    for (start, lines) in [("FAILED", &report.failed), ("Not measured", &report.left_out)] {
        if !lines.is_empty() {
            text.push('\n');
        }
        for line in lines {
            text.extend([start, ": ", line, "\n"]);
        }
    }
    text
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The median of what the runs say.
fn cell<T>(failed: bool, runs: &[T], value: impl Fn(&T) -> Option<f64>) -> String {
    if failed { FAILED.into() } else { number(median(runs.iter().filter_map(value))) }
}

/// `of one run`, `medians of 5 runs`: the most that any figure has.
fn runs(numbers: impl Iterator<Item = usize>) -> String {
    match numbers.max().unwrap_or_default() {
        0 | 1 => "one run".into(),
        many => format!("medians of {many} runs"),
    }
}

fn per_million(seconds: Option<f64>, messages: u32) -> Option<f64> {
    Some(seconds? / f64::from(messages) * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::{AlertRun, Machine, Sending};

    #[test]
    fn a_report_tells_medians_what_failed_and_what_is_missing() {
        let run =
            |answered_ms| AlertRun { answered_ms, klaroen_cpu_seconds: Some(0.5), ..AlertRun::default() };
        let runs = vec![run(1.0), run(30.0), run(2.0)];
        let lost = Sending { database: "PostgreSQL", recipients: 10_000, runs: vec![run(5.0)], failed: true };
        let report = Report {
            receipt_window: 50,
            sending: vec![Sending { database: "SQLite", recipients: 10_000, runs, failed: false }, lost],
            left_out: vec!["Kannel: not installed".into()],
            failed: vec!["PostgreSQL: 9 rings of 10".into()],
            ..Report::default()
        };
        let text = text(&report);
        let line = |start: &str| text.lines().find(|line| line.trim().starts_with(start)).unwrap().to_owned();
        let cells = |start: &str| line(start).split_whitespace().rev().take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(cells("POST answered"), "FAILED 2.00", "{text}");
        assert_eq!(cells("Klaroen, CPU"), "FAILED 50.0", "{text}");
        assert_eq!(cells("database server"), "FAILED -", "{text}");
        assert!(
            line("Sending").contains("medians of 3 runs") && line("Sending").contains("of 50 "),
            "{text}"
        );
        let end = "\nFAILED: PostgreSQL: 9 rings of 10\n\nNot measured: Kannel: not installed\n";
        assert!(text.ends_with(end), "{text}");
        assert!(!text.contains("Matching") && !text.contains("Import"), "{text}");
    }

    #[test]
    fn files_in_memory_are_told() {
        let on = |name: &str| {
            let machine = Machine { file_system: Some(name.into()), ..Machine::default() };
            text(&Report { machine, ..Report::default() })
        };
        assert!(on("tmpfs").contains("nothing reaches a disk") && !on("ext4").contains("nothing reaches"));
    }
}
