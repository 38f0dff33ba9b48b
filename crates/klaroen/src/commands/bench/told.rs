//! A report as tables.

use super::figures::{Gateway, GatewayRun, Matching, Report, Round, Sending, median};
use super::table::{Table, count, number};
use super::town;

/// The whole report as text.
pub fn text(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "Klaroen {} on {} cores ({}, {} MiB of memory); medians.\n",
        report.version,
        machine.cores,
        machine.processor,
        count(machine.memory_mib)
    );
    let tables = [matching(&report.matching), sending(&report.sending), gateways(report), imports(report)];
    for table in tables.into_iter().filter(|table| !table.rows.is_empty()) {
        text.push('\n');
        text.push_str(&table.text());
    }
    if !report.left_out.is_empty() {
        text.push_str("\nNot measured:\n");
    }
    for line in &report.left_out {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One line for each shape in each registry, one column for each who was asked.
fn matching(figures: &[Matching]) -> Table {
    let mut contestants: Vec<&str> = Vec::new();
    let mut lines: Vec<(&str, u32, u64)> = Vec::new();
    for figure in figures {
        let line = (figure.shape.as_str(), figure.places, figure.found);
        if !contestants.contains(&figure.contestant) {
            contestants.push(figure.contestant);
        }
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let cell = |shape: &str, places: u32, contestant: &str| {
        let mut of = figures
            .iter()
            .filter(|f| (f.shape.as_str(), f.places, f.contestant) == (shape, places, contestant));
        let times = |f: &Matching| format!("{} / {}", number(Some(f.p50_ms)), number(Some(f.p99_ms)));
        of.next().map_or_else(|| "-".to_owned(), times)
    };
    // Those of one shape together, so that one sees what a larger registry costs.
    let mut shapes: Vec<&str> = lines.iter().map(|line| line.0).collect();
    shapes.dedup();
    lines.sort_by_key(|line| (shapes.iter().position(|shape| *shape == line.0), line.1));
    Table {
        title: "Matching: all recipients inside, milliseconds, p50 / p99".into(),
        head: [head(&["shape", "places", "found"]), head(&contestants)].concat(),
        rows: lines
            .iter()
            .map(|(shape, places, found)| {
                let cells = contestants.iter().map(|contestant| cell(shape, *places, contestant));
                [(*shape).to_owned(), count(*places), count(*found)].into_iter().chain(cells).collect()
            })
            .collect(),
    }
}

/// One column for each database and number of recipients.
fn sending(figures: &[Sending]) -> Table {
    type Value = fn(&Round, f64) -> Option<f64>;
    let rows: [(&str, Value); 10] = [
        ("preview (matching), ms", |r, _| Some(r.preview_ms)),
        ("POST answered (on disk), ms", |r, _| Some(r.answered_ms)),
        ("POST to first submit, ms", |r, _| Some(r.first_submit_ms)),
        ("POST to last submit, ms", |r, _| Some(r.last_submit_ms)),
        ("POST to all receipts stored, ms", |r, _| Some(r.all_delivered_ms)),
        ("sustained, receipts tracked, SMS/s", |r, _| Some(r.sms_per_second)),
        ("Klaroen, CPU s per million SMS", |r, n| per_million(r.klaroen_cpu_seconds, n)),
        ("database server, CPU s per million SMS", |r, n| per_million(r.database_cpu_seconds, n)),
        ("SMSC simulator, CPU s per million SMS", |r, n| per_million(r.smsc_cpu_seconds, n)),
        ("Klaroen, peak memory, MiB", |r, _| r.peak_memory_mib),
    ];
    let names = figures.iter().map(|f| format!("{} {}", f.database, count(f.recipients)));
    let row = |(name, value): &(&str, Value)| {
        let cells = figures.iter().map(|f| {
            let values = f.rounds.iter().filter_map(|round| value(round, f64::from(f.recipients)));
            number(median(values))
        });
        std::iter::once((*name).to_owned()).chain(cells).collect()
    };
    Table {
        title: format!(
            "Sending: one alert, one SMPP connection with a window of 50 (of {} for receipts, which is the provider's)",
            town::RECEIPT_WINDOW
        ),
        head: std::iter::once("recipients".to_owned()).chain(names).collect(),
        rows: if figures.is_empty() { Vec::new() } else { rows.iter().map(row).collect() },
    }
}

fn per_million(seconds: Option<f64>, messages: f64) -> Option<f64> {
    Some(seconds? / messages * 1e6)
}

/// Klaroen's rows are those of the largest alert.
fn gateways(report: &Report) -> Table {
    let line = |name: String, messages: u32, runs: Vec<GatewayRun>| {
        let of = |value: &dyn Fn(&GatewayRun) -> Option<f64>| number(median(runs.iter().filter_map(value)));
        let cpu = of(&|run| per_million(run.cpu_seconds, f64::from(messages)));
        vec![name, count(messages), of(&|run| Some(run.sms_per_second)), cpu, of(&|run| run.peak_memory_mib)]
    };
    let mut rows: Vec<_> = report
        .gateways
        .iter()
        .map(|Gateway { name, messages, runs }| line(name.clone(), *messages, runs.clone()))
        .collect();
    if !rows.is_empty() {
        let largest = |figure: &&Sending| {
            !report.sending.iter().any(|f| f.database == figure.database && f.recipients > figure.recipients)
        };
        rows.extend(report.sending.iter().filter(largest).map(|figure| {
            let name = format!("Klaroen on {}", figure.database);
            line(name, figure.recipients, figure.rounds.iter().map(Round::as_gateway).collect())
        }));
    }
    Table {
        title: "Gateways: SMS with receipts, first submit to last receipt, the same SMSC".into(),
        head: head(&["", "messages", "SMS/s", "CPU s per million", "peak memory, MiB"]),
        rows,
    }
}

fn imports(report: &Report) -> Table {
    let row = |f: &super::figures::Import| {
        let rate = |rate: f64| number(Some(rate));
        let million = per_million(Some(f.cpu_seconds), f64::from(f.rows));
        vec![
            f.database.to_owned(),
            count(f.rows),
            rate(f.new_rows_per_second),
            rate(f.unchanged_rows_per_second),
            number(million),
            number(Some(f.peak_memory_mib)),
        ]
    };
    Table {
        title: "Import of a CSV file".into(),
        head: head(&[
            "database",
            "rows",
            "new rows/s",
            "unchanged rows/s",
            "CPU s per million new",
            "peak memory, MiB",
        ]),
        rows: report.import.iter().map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(contestant: &'static str, places: u32, shape: &str, p50_ms: f64) -> Matching {
        Matching { contestant, places, shape: shape.into(), found: 7, samples: 1, p50_ms, p99_ms: 9.0 }
    }

    #[test]
    fn matching_has_a_column_for_each_contestant_and_shapes_stay_together() {
        let figures = [
            matched("SQLite", 10, "a", 1.0),
            matched("SQLite", 10, "b", 2.0),
            matched("SQLite", 20, "a", 3.0),
            matched("PostGIS", 20, "a", 4.0),
        ];
        let table = matching(&figures);
        assert_eq!(table.head, ["shape", "places", "found", "SQLite", "PostGIS"]);
        assert_eq!(table.rows[0], ["a", "10", "7", "1.00 / 9.00", "-"]);
        assert_eq!(table.rows[1], ["a", "20", "7", "3.00 / 9.00", "4.00 / 9.00"]);
        assert_eq!(table.rows[2][0], "b");
    }

    #[test]
    fn a_report_tells_medians_and_what_is_missing() {
        let round = |answered_ms| Round { answered_ms, klaroen_cpu_seconds: Some(0.5), ..Round::default() };
        let rounds = vec![round(1.0), round(30.0), round(2.0)];
        let report = Report {
            sending: vec![Sending { database: "SQLite", recipients: 10_000, rounds }],
            left_out: vec!["Kannel: not installed".into()],
            ..Report::default()
        };
        let text = text(&report);
        let line = |start: &str| text.lines().find(|line| line.trim().starts_with(start)).unwrap().to_owned();
        assert!(line("POST answered").ends_with(" 2.00"), "{text}");
        assert!(line("Klaroen, CPU").ends_with(" 50.0"), "{text}");
        assert!(line("database server").ends_with(" -"), "{text}");
        assert!(text.ends_with("Not measured:\n  Kannel: not installed\n"), "{text}");
        assert!(!text.contains("Matching") && !text.contains("Import"), "{text}");
    }
}
