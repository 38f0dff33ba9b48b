//! `klaroen check-config`

mod sheet;
mod warnings;

use std::process::ExitCode;

use super::CommandResult;
use crate::config::{Settings, check};
use crate::failure::{Because, Failure};
use crate::output;

/// Tells everything that is wrong with the configuration; or that nothing is, what each gateway can do, and what would go wrong
/// one day.
pub fn run(settings: Settings) -> CommandResult {
    let checked = check(settings).map_err(|faults| Failure::new(faults.to_string()))?;
    let country = checked.sending.country;
    let sheets: Vec<sheet::Sheet> = checked
        .gateways
        .iter()
        .map(|gateway| sheet::of(gateway, country))
        .collect::<Result<_, _>>()
        .because("cannot tell what the gateways can do")?;
    output::result(format_args!(
        "The configuration is right: database {}, listening on {}, {} gateway{}.\n\n{}",
        checked.database,
        checked.http.listen,
        sheets.len(),
        if sheets.len() == 1 { "" } else { "s" },
        sheet::table(&sheets),
    ))?;
    for warning in warnings::of(&checked.gateways, &sheets, country) {
        output::note(format_args!("warning: {warning}"));
    }
    Ok(ExitCode::SUCCESS)
}
