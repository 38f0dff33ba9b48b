//! `klaroen check-config`

use std::process::ExitCode;

use klaroen_gateway::config::GatewayConfig;

use super::CommandResult;
use crate::config::{Settings, check};
use crate::failure::Failure;
use crate::output;

/// Tells everything that is wrong with the configuration, or that nothing is.
pub fn run(settings: Settings) -> CommandResult {
    let checked = check(settings).map_err(|faults| Failure::new(faults.to_string()))?;
    let gateways: Vec<&str> = checked.gateways.iter().map(GatewayConfig::name).collect();
    output::result(format_args!(
        "The configuration is right: database {}, listening on {}, gateways {}.",
        checked.database,
        checked.http.listen,
        gateways.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}
