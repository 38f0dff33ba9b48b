//! Programs between messages and the SMSC.

use super::{Table, cell, count, head, per_million, runs};
use crate::processes::smsc::WINDOW;
use crate::report::figures::{Gateway, Report};

/// The table.
pub fn table(report: &Report) -> Table {
    let row = |gateway: &Gateway| {
        let Gateway { name, messages, runs, failed } = gateway;
        vec![
            name.clone(),
            count(*messages),
            cell(*failed, runs, |run| Some(run.sms_per_second)),
            cell(*failed, runs, |run| per_million(run.cpu_seconds, *messages)),
            cell(*failed, runs, |run| run.peak_memory_mib),
        ]
    };
    Table {
        title: format!(
            "Gateways: first submit to last receipt. The same text, one SMPP connection, a window of {WINDOW} (of {} for receipts), an SMSC of the same kind; {}",
            count(report.receipt_window),
            runs(report.gateways.iter().map(|gateway| gateway.runs.len()))
        ),
        head: head(&["", "messages", "SMS/s", "CPU s per million", "peak memory, MiB"]),
        rows: report.gateways.iter().map(row).collect(),
    }
}
