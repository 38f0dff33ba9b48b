//! `klaroen bench`: what this machine does, beside the peers that one would use otherwise, in one run.

mod bare_smpp;
mod country;
mod database;
mod figures;
mod import;
mod installation;
mod kannel;
mod matching;
mod plan;
mod postgis;
mod postgres_server;
mod process;
mod round;
mod sending;
mod shapes;
mod smsc;
mod table;
mod told;
mod town;
mod usage;

use std::process::ExitCode;
use std::time::Duration;

pub use self::plan::BenchArgs;

use self::database::{Databases, Engine};
use self::figures::{Gateway, GatewayRun, Machine, Report};
use self::matching::{Contestant, Registry};
use self::plan::{Part, Plan};
use self::postgis::PostGis;
use self::postgres_server::PostgresServer;
use self::shapes::Shape;
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

async fn measure(plan: &Plan) -> CommandResult {
    scratch::start_quiet_log()?;
    if cfg!(debug_assertions) {
        output::note("This is a debug build: the figures say little. Use `make bench`.");
    }
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        release_build: !cfg!(debug_assertions),
        machine: machine()?,
        ..Report::default()
    };
    let server = server(plan, &mut report).await;
    for engine in &plan.engines {
        let databases = match (engine, &server) {
            (Engine::Sqlite, _) => Databases::sqlite()?,
            (Engine::Postgres, Some(server)) => Databases::Postgres(server),
            (Engine::Postgres, None) => continue,
        };
        if let Err(failure) = klaroen(plan, &databases, &mut report).await {
            leave_out(&mut report, format!("Klaroen on {}: not available: {failure}", engine.name()));
        }
    }
    if plan.has(Part::Matching) || plan.has(Part::Postgis) {
        match_all(plan, server.as_ref(), &mut report).await?;
    }
    if plan.has(Part::Bare) {
        bare(plan, &mut report).await;
    }
    if plan.has(Part::Kannel) {
        kannel(plan, &mut report).await;
    }
    drop(server);
    output::result(told::text(&report))?;
    if let Some(path) = &plan.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).because(path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn leave_out(report: &mut Report, line: String) {
    output::note(&line);
    report.left_out.push(line);
}

/// The private server, where anything needs one.
async fn server(plan: &Plan, report: &mut Report) -> Option<PostgresServer> {
    if !plan.needs_server() {
        return None;
    }
    match PostgresServer::start().await {
        Ok(server) => Some(server),
        Err(failure) => {
            leave_out(report, format!("PostgreSQL and PostGIS: {failure}"));
            None
        }
    }
}

/// Import and alerts on one engine.
async fn klaroen(plan: &Plan, databases: &Databases<'_>, report: &mut Report) -> Result<(), Failure> {
    let name = databases.engine().name();
    if plan.has(Part::Import) {
        output::note(format_args!("{name}: importing {} rows, twice", plan.import_rows));
        report.import.push(import::run(databases, plan.import_rows).await?);
    }
    if plan.has(Part::Sending) {
        for recipients in &plan.recipients {
            report.sending.push(sending::run(databases, *recipients, plan.runs).await?);
        }
    }
    Ok(())
}

/// Whoever can be asked who is inside.
async fn contestants<'a>(
    plan: &Plan,
    sqlite: &'a Databases<'a>,
    postgres: Option<&'a Databases<'a>>,
    report: &mut Report,
) -> Vec<Contestant<'a>> {
    let mut contestants = Vec::new();
    let engines = if plan.has(Part::Matching) { plan.engines.as_slice() } else { &[] };
    for engine in engines {
        let databases = match engine {
            Engine::Sqlite => Some(sqlite),
            Engine::Postgres => postgres,
        };
        let Some(databases) = databases else { continue };
        match Registry::open(databases).await {
            Ok(registry) => contestants.push(Contestant::Klaroen(Box::new(registry))),
            Err(failure) => {
                leave_out(report, format!("Matching on {}: not available: {failure}", engine.name()));
            }
        }
    }
    if let (Some(server), true) = (postgres.and_then(Databases::server), plan.has(Part::Postgis)) {
        match PostGis::open(server).await {
            Ok(postgis) => contestants.push(Contestant::PostGis(postgis)),
            Err(failure) => leave_out(report, failure.to_string()),
        }
    }
    contestants
}

/// The same shapes and the same places for everybody who can be asked.
async fn match_all(plan: &Plan, server: Option<&PostgresServer>, report: &mut Report) -> Result<(), Failure> {
    let shapes = shapes::all(plan.geodata.as_deref())?;
    let sqlite = Databases::sqlite()?;
    let postgres = server.map(Databases::Postgres);
    let mut contestants = contestants(plan, &sqlite, postgres.as_ref(), report).await;
    for places in &plan.places {
        let expected = matching::expected(&shapes, *places)?;
        let mut still_in = Vec::new();
        for mut contestant in contestants {
            let name = contestant.name();
            output::note(format_args!("{name}: matching among {places} places"));
            let last = Some(places) == plan.places.last();
            match ask(&mut contestant, *places, last, &shapes, &expected, report).await {
                Ok(()) => still_in.push(contestant),
                Err(failure) => leave_out(report, format!("{name} among {places} places: {failure}")),
            }
        }
        contestants = still_in;
    }
    for contestant in contestants {
        match contestant {
            Contestant::Klaroen(registry) => registry.close().await?,
            Contestant::PostGis(postgis) => postgis.close().await?,
        }
    }
    Ok(())
}

/// Measures all shapes in one size of registry; PostGIS in the last one also at its best.
async fn ask(
    contestant: &mut Contestant<'_>,
    places: u32,
    last: bool,
    shapes: &[Shape],
    expected: &[Vec<u64>],
    report: &mut Report,
) -> Result<(), Failure> {
    contestant.grow(places).await?;
    for (shape, expected) in shapes.iter().zip(expected) {
        report.matching.push(contestant.measure(places, shape, expected).await?);
    }
    let Contestant::PostGis(postgis) = contestant else { return Ok(()) };
    if !last {
        return Ok(());
    }
    postgis.cluster().await?;
    for (shape, expected) in shapes.iter().zip(expected) {
        report.matching.push(contestant.measure(places, shape, expected).await?);
    }
    Ok(())
}

/// The bare client as the ceiling.
async fn bare(plan: &Plan, report: &mut Report) {
    let name = "bare SMPP client (ceiling: no receipts, nothing stored)".to_owned();
    let mut bare = Gateway { name, messages: plan.messages, runs: Vec::new() };
    for _ in 0..plan.runs {
        match round::within(LIMIT, "bare SMPP client", bare_smpp::run(plan.messages)).await {
            Ok(sms_per_second) => {
                bare.runs.push(GatewayRun { sms_per_second, cpu_seconds: None, peak_memory_mib: None });
            }
            Err(failure) => return leave_out(report, failure.to_string()),
        }
    }
    report.gateways.push(bare);
}

async fn kannel(plan: &Plan, report: &mut Report) {
    for store in [kannel::Store::Memory, kannel::Store::Spool] {
        match kannel::run(store, plan.messages, plan.runs).await {
            Ok(gateway) => report.gateways.push(gateway),
            Err(failure) => {
                let line = failure.to_string();
                if !report.left_out.contains(&line) {
                    leave_out(report, line);
                }
            }
        }
    }
}

fn machine() -> Result<Machine, Failure> {
    let of = |path: &str, name: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(str::to_owned));
        line.unwrap_or_default().trim().to_owned()
    };
    let memory = of("/proc/meminfo", "MemTotal");
    let kibibytes: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
    Ok(Machine {
        cores: std::thread::available_parallelism().because("cannot count the cores")?.get(),
        processor: of("/proc/cpuinfo", "model name"),
        memory_mib: kibibytes / 1_024,
    })
}

/// A port of 127.0.0.1 that nobody uses now. Programs that cannot be told to take any get one of these.
fn free_port() -> Result<u16, Failure> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).because("no free port")?;
    Ok(listener.local_addr()?.port())
}
