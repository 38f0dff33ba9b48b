//! `klaroen bench`: what this machine does, beside the peers that one would use otherwise, in one run.

mod bare_smpp;
mod beside;
mod contest;
mod country;
mod database;
mod figures;
mod import;
mod installation;
mod kannel;
mod machine;
mod matching;
mod million;
mod plan;
mod postgis;
mod postgres_server;
mod prepared;
mod process;
mod round;
mod sending;
mod shapes;
mod smsc;
mod table;
mod told;
mod town;
mod trouble;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

use klaroen_simulator::SmscConfig;

pub use self::plan::BenchArgs;

use self::database::{Databases, Engine};
use self::figures::{Beside, Gateway, GatewayRun, Import, Report, Round, Sending, Trouble};
use self::plan::{Part, Plan};
use self::postgres_server::PostgresServer;
use super::CommandResult;
use super::serve::signals::Signals;
use crate::failure::{Because, Failure};
use crate::{output, scratch};

/// Of one run of the bare client.
const LIMIT: Duration = Duration::from_mins(5);

/// Measures and prints tables. Whatever way it ends, the servers that it started end first.
pub async fn run(args: &BenchArgs) -> CommandResult {
    if args.as_smsc {
        return smsc::run_child().await;
    }
    let plan = args.plan();
    let mut signals = Signals::listen()?;
    tokio::select! {
        done = measure(&plan) => done,
        _ = signals.next() => Err(Failure::new("interrupted")),
    }
}

/// Exit status 1 where anything failed; what is not installed is no failure.
async fn measure(plan: &Plan) -> CommandResult {
    scratch::start_quiet_log()?;
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
    let smsc = town::smsc_config(plan.receipt_window);
    let server = server(plan, &mut report).await;
    for engine in &plan.engines {
        let databases = match (engine, &server) {
            (Engine::Sqlite, _) => Databases::sqlite()?,
            (Engine::Postgres, Some(server)) => Databases::Postgres(server),
            (Engine::Postgres, None) => continue,
        };
        klaroen(plan, &databases, &smsc, &mut report).await;
    }
    if (plan.has(Part::Matching) || plan.has(Part::Postgis))
        && let Err(failure) = contest::run(plan, server.as_ref(), &mut report).await
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
    output::result(told::text(&report))?;
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).because(path.display())?;
    }
    Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The private server, where anything needs one.
async fn server(plan: &Plan, report: &mut Report) -> Option<PostgresServer> {
    if !plan.needs_server() {
        return None;
    }
    if !postgres_server::is_installed() {
        report.leave_out(format!("PostgreSQL and PostGIS: {}", postgres_server::INSTALL));
        return None;
    }
    let started = PostgresServer::start().await.map(Some);
    report.take("PostgreSQL and PostGIS", started).0
}

/// Import and alerts on one engine. A part that fails leaves the others alone.
async fn klaroen(plan: &Plan, databases: &Databases<'_>, smsc: &SmscConfig, report: &mut Report) {
    let database = databases.engine().name();
    if plan.has(Part::Import) {
        let rows = plan.import_rows;
        let measured = import::run(databases, rows, plan.import_runs).await;
        let (runs, failed) = report.take(format_args!("{database}, import of {rows} rows"), measured);
        report.import.push(Import { database, rows, runs, failed });
    }
    if plan.has(Part::Sending) {
        for &recipients in &plan.recipients {
            let (rounds, failed) = alerts(plan, databases, recipients, smsc, report).await;
            report.sending.push(Sending { database, recipients, rounds, failed });
        }
        if plan.has(Part::Kannel) || plan.has(Part::Bare) {
            let messages = plan.messages;
            let (rounds, failed) = alerts(plan, databases, messages, smsc, report).await;
            let runs = rounds.iter().map(Round::as_gateway).collect();
            let name = format!("Klaroen on {database}");
            report.gateways.push(Gateway { name, messages, runs, failed });
        }
    }
    if plan.has(Part::Beside) {
        let measured = beside::run(databases, plan.large, plan.runs, smsc).await;
        let (runs, failed) =
            report.take(format_args!("{database}, a small alert beside a large one"), measured);
        let (large, small, segments_per_second) = (plan.large, beside::SMALL, beside::SEGMENTS_PER_SECOND);
        report.beside.push(Beside { database, large, small, segments_per_second, runs, failed });
    }
    if plan.has(Part::Trouble) {
        let recipients = plan.large;
        let measured = trouble::run(databases, recipients, plan.runs, smsc).await;
        let (runs, failed) = report.take(format_args!("{database}, gateways in trouble"), measured);
        report.trouble.push(Trouble { database, recipients, runs, failed });
    }
    if plan.has(Part::Million) && databases.engine() == Engine::Postgres {
        let what = format!("{database}, {} recipients by processes of their own", plan.million);
        let measured = million::run(databases, plan.million, smsc).await.map(Some);
        if let Some(million) = report.take(&what, measured).0 {
            if million.dispatcher_peak_memory_mib.is_some_and(|peak| peak > million::DISPATCHER_MIB_MAX) {
                report.fail(&what, &Failure::new("the dispatcher needed more than 150 MB"));
            }
            report.million.push(million);
        }
    }
}

async fn alerts(
    plan: &Plan,
    databases: &Databases<'_>,
    recipients: u32,
    smsc: &SmscConfig,
    report: &mut Report,
) -> (Vec<Round>, bool) {
    let measured = sending::run(databases, recipients, plan.runs, smsc).await;
    report.take(format_args!("{}, {recipients} recipients", databases.engine().name()), measured)
}

/// The bare client as the ceiling.
async fn bare(plan: &Plan, smsc: &SmscConfig, report: &mut Report) {
    let measured = async {
        let mut runs = Vec::new();
        for _ in 0..plan.runs {
            let run = bare_smpp::run(plan.messages, smsc.clone());
            let sms_per_second = round::within(LIMIT, "a run", run).await?;
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

/// A port of 127.0.0.1 that nobody uses now. Programs that cannot be told to take any get one of these.
fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).because("no free port")?;
    Ok(listener.local_addr()?.port())
}
