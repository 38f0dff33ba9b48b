//! `klaroen key create`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use klaroen_domain::role::Role;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;
use klaroen_store::keys::LONGEST_LIFE;

use crate::commands::{CommandResult, open_store, organisation};
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

const NAME_LENGTH_MAX: usize = 100;

/// The API key to make.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Code of the organisation. A key with the role platform has none.
    #[arg(long, value_name = "CODE")]
    pub organisation: Option<String>,
    /// operator (runs alerts), approver, admin (registry and keys), auditor, or platform (gateways, for all organisations).
    #[arg(long)]
    pub role: Role,
    /// Name in lists; the role by default.
    #[arg(long)]
    pub name: Option<String>,
    /// How long it works, two years at most: 12h, 90d, 52w.
    #[arg(long, value_name = "TIME", value_parser = parse_period, default_value = "365d")]
    pub expires_in: Duration,
}

/// Makes a key and prints it, and nothing else, on standard output.
pub async fn run(settings: &Settings, args: &KeyArgs) -> CommandResult {
    let name = args.name.as_deref().unwrap_or(args.role.as_str()).trim();
    if name.is_empty() || name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        return Err(Failure::new("--name has 1 to 100 characters on one line"));
    }
    let code = match (&args.organisation, args.role.is_of_installation()) {
        (Some(_), true) => {
            return Err(Failure::new(
                "a key with the role platform acts for all organisations: leave --organisation out",
            ));
        }
        (None, false) => {
            let role = args.role;
            return Err(Failure::new(format!(
                "a key with the role {role} acts in one organisation: say which with --organisation CODE"
            )));
        }
        (code, _) => code.as_deref(),
    };
    let store = open_store(settings).await?;
    let organisation = match code {
        Some(code) => Some(organisation(&store, code).await?),
        None => None,
    };
    let now = SystemClock.now();
    let expires_at = now.plus(args.expires_in);
    let owner = organisation.as_ref().map(|organisation| organisation.id);
    let key = store.create_key(owner, args.role, name, expires_at, Actor::CommandLine, now).await?;
    store.close().await;
    output::result(&key.token)?;
    let whose = organisation.map_or_else(|| "the installation".to_owned(), |organisation| organisation.name);
    output::note(format_args!(
        "Key {} for {whose} ({}), until {expires_at}. It is shown this once.",
        key.key.id, args.role
    ));
    Ok(ExitCode::SUCCESS)
}

/// A whole number and its unit: 30m, 12h, 90d, 52w.
fn parse_period(text: &str) -> Result<Duration, String> {
    const WRONG: &str = "write a number and its unit: 30m, 12h, 90d or 52w";
    let unit = text.chars().last().ok_or(WRONG)?;
    let seconds = match unit {
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(WRONG.into()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| WRONG)?;
    let period = Duration::from_secs(u64::from(number) * seconds);
    if period.is_zero() || period > LONGEST_LIFE {
        return Err("must be more than 0 and at most two years (730d)".into());
    }
    Ok(period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        assert_eq!(parse_period("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(parse_period("730d"), Ok(LONGEST_LIFE));
        for wrong in ["", "d", "90", "0d", "-1d", "1.5h", "9é", "4294967295w", "4294967296w", "731d"] {
            assert!(parse_period(wrong).is_err(), "{wrong}");
        }
    }
}
