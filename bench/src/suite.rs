//! All parts of a bench, one after the other. A part that fails leaves the others alone.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use klaroen_simulator::SmscConfig;

use crate::alerts::{degraded, fairness, first_alert, scale, sending};
use crate::gateway_peers::{bare_smpp, kannel};
use crate::installation::database::{Databases, Engine};
use crate::installation::{self, Subject};
use crate::plan::{Part, Plan};
use crate::processes::postgres_server::{self, PostgresServer, Settings};
use crate::processes::smsc;
use crate::report::figures::{
    AlertRun, Degraded, Fairness, FirstAlert, Gateway, GatewayRun, Import, Report, Sending,
};
use crate::{import, machine, matching_peers, output, report, timing};

/// Of one run of the bare client.
const LIMIT: Duration = Duration::from_mins(5);

/// Exit status 1 if anything failed; what is not installed is no failure.
pub async fn measure(plan: &Plan) -> Result<ExitCode> {
    if cfg!(debug_assertions) {
        output::note("This is a debug build: the figures say little. Use `make bench`.");
    }
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        release_build: !cfg!(debug_assertions),
        machine: machine::look()?,
        receipt_window: plan.receipt_window,
        ..Report::default()
    };
    if report.machine.keeps_files_in_memory() {
        output::note("Temporary files are in memory, where writing to the disk costs nothing: set TMPDIR.");
    }
    let smsc = smsc::config(plan.receipt_window);
    let server = server(plan, &mut report).await;
    if plan.needs_program() {
        let program = installation::program(plan.klaroen.as_deref())?;
        for engine in &plan.engines {
            let databases = match (engine, &server) {
                (Engine::Sqlite, _) => Databases::sqlite()?,
                (Engine::Postgres, Some(server)) => Databases::Postgres(server),
                (Engine::Postgres, None) => continue,
            };
            let subject = Subject { program: &program, databases: &databases };
            klaroen(plan, subject, &smsc, &mut report).await;
        }
    }
    if (plan.has(Part::Matching) || plan.has(Part::Postgis))
        && let Err(failure) = matching_peers::run(plan, server.as_ref(), &mut report).await
    {
        report.fail("matching", &failure);
    }
    if plan.has(Part::Bare) {
        bare(plan, &smsc, &mut report).await;
    }
    if plan.has(Part::Kannel) {
        kannel(plan, &smsc, &mut report).await;
    }
    drop(server);
    output::result(report::text(&report))?;
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The private server, if anything needs one.
async fn server(plan: &Plan, report: &mut Report) -> Option<PostgresServer> {
    if !plan.needs_server() {
        return None;
    }
    if !postgres_server::is_installed() {
        report.leave_out(format!("PostgreSQL and PostGIS: {}", postgres_server::INSTALL));
        return None;
    }
    let started = PostgresServer::start(Settings::Tuned).await.map(Some);
    report.take("PostgreSQL and PostGIS", started).0
}

/// Import and alerts on one engine. A part that fails leaves the others alone.
async fn klaroen(plan: &Plan, subject: Subject<'_>, smsc: &SmscConfig, report: &mut Report) {
    let database = subject.databases.engine().name();
    if plan.has(Part::Import) {
        let rows = plan.import_rows;
        let measured = import::run(subject, rows, plan.import_runs).await;
        let (runs, failed) = report.take(format_args!("{database}, import of {rows} rows"), measured);
        report.import.push(Import { database, rows, runs, failed });
    }
    if plan.has(Part::Sending) {
        for &recipients in &plan.recipients {
            let (runs, failed) = alerts(plan, subject, recipients, smsc, report).await;
            report.sending.push(Sending { database, recipients, runs, failed });
        }
        if plan.has(Part::Kannel) || plan.has(Part::Bare) {
            let messages = plan.messages;
            let (rounds, failed) = alerts(plan, subject, messages, smsc, report).await;
            let runs = rounds.iter().map(AlertRun::as_gateway).collect();
            let name = format!("Klaroen on {database}");
            report.gateways.push(Gateway { name, messages, runs, failed });
        }
    }
    if plan.has(Part::FirstAlert)
        && let Some(server) = subject.databases.server()
    {
        let measured = first_alert::run(subject.program, server, plan.runs, smsc).await;
        let (runs, failed) = report.take(format_args!("{database}, the first alert"), measured);
        let recipients = first_alert::RECIPIENTS;
        report.first_alert.push(FirstAlert { database, recipients, runs, failed });
    }
    if plan.has(Part::Fairness) {
        let measured = fairness::run(subject, plan.large, plan.runs, smsc).await;
        let (runs, failed) =
            report.take(format_args!("{database}, a small alert beside a large one"), measured);
        let (large, small, segments_per_second) =
            (plan.large, fairness::SMALL, fairness::SEGMENTS_PER_SECOND);
        report.fairness.push(Fairness { database, large, small, segments_per_second, runs, failed });
    }
    if plan.has(Part::Degraded) {
        let recipients = plan.large;
        let measured = degraded::run(subject, recipients, plan.runs, smsc).await;
        let (runs, failed) = report.take(format_args!("{database}, gateways in trouble"), measured);
        report.degraded.push(Degraded { database, recipients, runs, failed });
    }
    if plan.has(Part::Scale) && subject.databases.engine() == Engine::Postgres {
        let what = format!("{database}, {} recipients by processes of their own", plan.scale);
        let measured = scale::run(subject, plan.scale, smsc).await.map(Some);
        if let Some(scale) = report.take(&what, measured).0 {
            if scale.dispatcher_peak_memory_mib.is_some_and(|peak| peak > scale::DISPATCHER_MIB_MAX) {
                report.fail(&what, &anyhow!("the dispatcher needed more than 150 MB"));
            }
            report.scale.push(scale);
        }
    }
}

async fn alerts(
    plan: &Plan,
    subject: Subject<'_>,
    recipients: u32,
    smsc: &SmscConfig,
    report: &mut Report,
) -> (Vec<AlertRun>, bool) {
    let measured = sending::run(subject, recipients, plan.runs, smsc).await;
    report.take(format_args!("{}, {recipients} recipients", subject.databases.engine().name()), measured)
}

/// The bare client as the ceiling.
async fn bare(plan: &Plan, smsc: &SmscConfig, report: &mut Report) {
    let measured = async {
        let mut runs = Vec::new();
        for _ in 0..plan.runs {
            let run = bare_smpp::run(plan.messages, smsc.clone());
            let sms_per_second = timing::within(LIMIT, "a run", run).await?;
            runs.push(GatewayRun { sms_per_second, cpu_seconds: None, peak_memory_mib: None });
        }
        Ok(runs)
    };
    let (runs, failed) = report.take("bare SMPP client", measured.await);
    let name = "bare SMPP client (no receipts, nothing stored, SMSC in its process)".to_owned();
    report.gateways.insert(0, Gateway { name, messages: plan.messages, runs, failed });
}

async fn kannel(plan: &Plan, smsc: &SmscConfig, report: &mut Report) {
    if !kannel::is_installed() {
        return report.leave_out(kannel::INSTALL);
    }
    for store in [kannel::Store::Memory, kannel::Store::Spool] {
        let measured = kannel::run(store, plan.messages, plan.runs, smsc).await;
        let (runs, failed) = report.take(store.name(), measured);
        let (name, messages) = (store.name().to_owned(), plan.messages);
        report.gateways.push(Gateway { name, messages, runs, failed });
    }
}
