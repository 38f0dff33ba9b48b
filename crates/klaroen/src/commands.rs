//! One file per command.

pub mod areas_import;
pub mod bench;
pub mod check_config;
pub mod demo;
pub mod key_create;
pub mod migrate;
pub mod organisation_create;
pub mod participants_import;
mod progress;
pub mod secrets_init;
pub mod serve;
pub mod simulate;

use std::process::ExitCode;

use klaroen_store::Store;
use klaroen_store::organisations::Organisation;

use crate::cli::{
    AreasCommand, Cli, Command, KeyCommand, OrganisationCommand, ParticipantsCommand, SecretsCommand,
    SimulateCommand,
};
use crate::config::{self, Settings, Source};
use crate::failure::{Because, Failure};
use crate::logging;
use crate::service::Parts;

/// How a command ended: done (0), done with something to look at (1), or not done.
pub type CommandResult = Result<ExitCode, Failure>;

/// Does what the command line says.
pub async fn run(cli: Cli) -> CommandResult {
    let source = cli.source();
    match cli.command {
        Command::Secrets { command: SecretsCommand::Init } => secrets_init::run(&settings(&source)?),
        Command::CheckConfig => check_config::run(settings(&source)?),
        Command::Migrate => migrate::run(&settings(&source)?).await,
        Command::Organisation { command: OrganisationCommand::Create(args) } => {
            organisation_create::run(&settings(&source)?, &args).await
        }
        Command::Key { command: KeyCommand::Create(args) } => {
            key_create::run(&settings(&source)?, &args).await
        }
        Command::Participants { command: ParticipantsCommand::Import(args) } => {
            participants_import::run(&settings(&source)?, &args).await
        }
        Command::Areas { command: AreasCommand::Import(args) } => {
            areas_import::run(&settings(&source)?, &args).await
        }
        Command::Serve => serve::run(settings(&source)?, Parts::Both).await,
        Command::Dispatcher => serve::run(settings(&source)?, Parts::Dispatcher).await,
        Command::Worker => serve::run(settings(&source)?, Parts::Worker).await,
        Command::Demo(args) => demo::run(&args).await,
        Command::Simulate { command: SimulateCommand::Smsc(args) } => simulate::run(&args).await,
        Command::Simulate { command: SimulateCommand::Http(args) } => simulate::http::run(&args).await,
        Command::Bench(args) => bench::run(&args).await,
    }
}

/// Reads the configuration and starts logging as it says.
fn settings(source: &Source) -> Result<Settings, Failure> {
    let settings =
        config::load(source, config::variables()).map_err(|faults| Failure::new(faults.to_string()))?;
    logging::start(&settings.logging)
        .map_err(|error| Failure::new(format!("configuration: [logging] level: {error}")))?;
    Ok(settings)
}

/// Opens the database and brings it up to date.
async fn open_store(settings: &Settings) -> Result<Store, Failure> {
    let checked = config::check::check_database(settings);
    let (database, keys) = checked.map_err(|faults| Failure::new(faults.to_string()))?;
    database.make_private().because(&database)?;
    Store::open(&database.options(keys)).await.because(&database)
}

/// The organisation with this code.
async fn organisation(store: &Store, code: &str) -> Result<Organisation, Failure> {
    store.organisation_by_code(code).await?.ok_or_else(|| {
        Failure::new(format!(
            "there is no organisation {code}; make it with: klaroen organisation create {code} --name \"…\""
        ))
    })
}
