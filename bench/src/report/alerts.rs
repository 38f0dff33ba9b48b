//! Alerts: one column for each database and size.

use super::{Table, cell, count, per_million, runs};
use crate::processes::smsc::WINDOW;
use crate::report::figures::{
    AlertRun, Degraded, DegradedRun, Fairness, FairnessRun, FirstAlert, FirstAlertRun, Report, Scale,
};

/// A line of a table: what it is, and its value in one run.
type Row<T> = (&'static str, fn(&T) -> Option<f64>);

/// From the `POST` to the last receipt.
pub fn sending(report: &Report) -> Table {
    type Value = fn(&AlertRun, u32) -> Option<f64>;
    let figures = &report.sending;
    let on_disk = if report.machine.keeps_files_in_memory() {
        "POST answered (in memory), ms"
    } else {
        "POST answered (on disk), ms"
    };
    let rows: [(&str, Value); 10] = [
        ("preview (matching), ms", |r, _| Some(r.preview_ms)),
        (on_disk, |r, _| Some(r.answered_ms)),
        ("POST to first submit, ms", |r, _| Some(r.first_submit_ms)),
        ("POST to last submit, ms", |r, _| Some(r.last_submit_ms)),
        ("POST to all receipts stored, ms", |r, _| Some(r.all_delivered_ms)),
        ("sustained, receipts tracked, SMS/s", |r, _| Some(r.sms_per_second)),
        ("Klaroen, CPU s per million SMS", |r, n| per_million(r.klaroen_cpu_seconds, n)),
        ("database server, CPU s per million SMS", |r, n| per_million(r.database_cpu_seconds, n)),
        ("SMSC simulator, CPU s per million SMS", |r, n| per_million(r.smsc_cpu_seconds, n)),
        ("Klaroen, peak memory, MiB", |r, _| r.peak_memory_mib),
    ];
    let row = |(name, value): &(&str, Value)| {
        let cells = figures.iter().map(|f| cell(f.failed, &f.runs, |run| value(run, f.recipients)));
        std::iter::once((*name).to_owned()).chain(cells).collect()
    };
    let names = figures.iter().map(|f| format!("{} {}", f.database, count(f.recipients)));
    Table {
        title: format!(
            "Sending: one alert, one SMPP connection with a window of {WINDOW} (of {} for receipts, which is the provider's); {}",
            count(report.receipt_window),
            runs(figures.iter().map(|f| f.runs.len()))
        ),
        head: std::iter::once("recipients".to_owned()).chain(names).collect(),
        rows: if figures.is_empty() { Vec::new() } else { rows.iter().map(row).collect() },
    }
}

/// One line for each row, one column for each of `figures`, of which `of` gives whether it failed, and its runs.
fn table<F, T>(
    title: String,
    figures: &[F],
    name: impl Fn(&F) -> String,
    of: impl Fn(&F) -> (bool, &[T]),
    rows: &[Row<T>],
) -> Table {
    let row = |(name, value): &Row<T>| {
        let cells = figures.iter().map(|figure| {
            let (failed, runs) = of(figure);
            cell(failed, runs, value)
        });
        std::iter::once((*name).to_owned()).chain(cells).collect()
    };
    Table {
        title,
        head: std::iter::once(String::new()).chain(figures.iter().map(name)).collect(),
        rows: if figures.is_empty() { Vec::new() } else { rows.iter().map(row).collect() },
    }
}

/// The first two alerts of a database, on two servers.
pub fn first_alert(figures: &[FirstAlert]) -> Table {
    let rows: [Row<FirstAlertRun>; 6] = [
        ("first alert, server as it comes", |r| Some(r.as_it_comes.first_ms)),
        ("first alert, tuned server", |r| Some(r.tuned.first_ms)),
        ("first alert, times as long", |r| Some(r.as_it_comes.first_ms / r.tuned.first_ms)),
        ("second alert, server as it comes", |r| Some(r.as_it_comes.second_ms)),
        ("second alert, tuned server", |r| Some(r.tuned.second_ms)),
        ("second alert, times as long", |r| Some(r.as_it_comes.second_ms / r.tuned.second_ms)),
    ];
    let title = figures.first().map_or_else(String::new, |f| {
        format!(
            "The first alerts for {} of a registry that was just imported and never counted, POST to last submit, ms; {}",
            count(f.recipients),
            runs(figures.iter().map(|f| f.runs.len()))
        )
    });
    table(title, figures, |f| f.database.to_owned(), |f| (f.failed, &f.runs), &rows)
}

/// A small alert next to a large one.
pub fn fairness(figures: &[Fairness]) -> Table {
    let rows: [Row<FairnessRun>; 3] = [
        ("alone: POST to last submit, ms", |r| Some(r.alone_ms)),
        ("beside the large one: POST to last submit, ms", |r| Some(r.beside_ms)),
        ("times as long", |r| Some(r.beside_ms / r.alone_ms)),
    ];
    let title = figures.first().map_or_else(String::new, |f| {
        format!(
            "A small alert for {} beside one of the same priority for {} under way, through a gateway of {} segments/s; {}",
            count(f.small),
            count(f.large),
            count(f.segments_per_second),
            runs(figures.iter().map(|f| f.runs.len()))
        )
    });
    table(title, figures, |f| f.database.to_owned(), |f| (f.failed, &f.runs), &rows)
}

/// A good gateway next to two in trouble.
pub fn degraded(figures: &[Degraded]) -> Table {
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let rows: [Row<DegradedRun>; 6] = [
        ("alone: POST to last submit, ms", |r| Some(r.alone.sent_ms)),
        ("beside them: POST to last submit of the good one, ms", |r| Some(r.beside.sent_ms)),
        ("beside them: POST to all delivered but what is stuck, ms", |r| Some(r.beside.delivered_ms)),
        ("beside them: sent by the other two", |r| Some(r.beside.by_others as f64)),
        ("alone: Klaroen, peak memory, MiB", |r| r.alone.peak_memory_mib),
        ("beside them: Klaroen, peak memory, MiB", |r| r.beside.peak_memory_mib),
    ];
    let title = figures.first().map_or_else(String::new, |f| {
        format!(
            "Gateways in trouble: one alert for {}, a good gateway beside one that answers after 2 s and one that never answers, of equal priority and weight; {}",
            count(f.recipients),
            runs(figures.iter().map(|f| f.runs.len()))
        )
    });
    table(title, figures, |f| f.database.to_owned(), |f| (f.failed, &f.runs), &rows)
}

/// Processes of their own.
pub fn scale(figures: &[Scale]) -> Table {
    let rows: [Row<Scale>; 6] = [
        ("POST answered, ms", |m| Some(m.answered_ms)),
        ("POST to first submit, ms", |m| Some(m.first_submit_ms)),
        ("POST to last submit, ms", |m| Some(m.last_submit_ms)),
        ("POST to all receipts stored, ms", |m| Some(m.all_delivered_ms)),
        ("dispatcher, peak memory (VmHWM), MiB", |m| m.dispatcher_peak_memory_mib),
        ("worker, peak memory (VmHWM), MiB", |m| m.worker_peak_memory_mib),
    ];
    let title = "One alert; dispatcher, worker and SMSC are processes of their own; one run".to_owned();
    let name = |m: &Scale| format!("{} {}", m.database, count(m.recipients));
    table(title, figures, name, |m| (false, std::slice::from_ref(m)), &rows)
}
