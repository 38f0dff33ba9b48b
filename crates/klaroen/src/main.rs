//! Klaroen's program.

mod cli;
mod commands;
mod config;
mod demo;
mod failure;
mod key_file;
mod logging;
mod output;
mod service;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{
    AreasCommand, AuditCommand, Cli, Command, GatewayCommand, KeyCommand, OrganisationCommand,
    ParticipantsCommand, SecretsCommand, SimulateCommand,
};
use crate::commands::{
    CommandResult, areas_import, audit_verify, check_config, gateway, key, migrate, organisation_create,
    participants_import, secrets_init, serve, settings, simulate,
};
use crate::service::Parts;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::tell_panics_without_their_text();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::note(format_args!("klaroen: cannot start threads: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(cli));
    // Work that still runs here lost its chance to end well (a second Ctrl-C): it is not waited for.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failure| {
        output::note(format_args!("klaroen: {failure}"));
        ExitCode::FAILURE
    })
}

/// Does what the command line says.
async fn run(cli: Cli) -> CommandResult {
    let source = cli.source();
    match cli.command {
        Command::Secrets { command: SecretsCommand::Init } => secrets_init::run(&settings(&source)?),
        Command::CheckConfig => check_config::run(settings(&source)?),
        Command::Migrate => migrate::run(&settings(&source)?).await,
        Command::Organisation { command: OrganisationCommand::Create(args) } => {
            organisation_create::run(&settings(&source)?, &args).await
        }
        Command::Key { command: KeyCommand::Create(args) } => {
            key::create::run(&settings(&source)?, &args).await
        }
        Command::Key { command: KeyCommand::List(args) } => key::list::run(&settings(&source)?, &args).await,
        Command::Key { command: KeyCommand::Revoke(args) } => {
            key::revoke::run(&settings(&source)?, &args).await
        }
        Command::Gateway { command: GatewayCommand::Pause(args) } => {
            gateway::pause::run(&settings(&source)?, &args).await
        }
        Command::Gateway { command: GatewayCommand::Resume(args) } => {
            gateway::resume::run(&settings(&source)?, &args).await
        }
        Command::Audit { command: AuditCommand::Verify(args) } => {
            audit_verify::run(&settings(&source)?, &args).await
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
    }
}
