//! `klaroen key create`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use klaroen_domain::role::Role;
use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Actor;

use super::{CommandResult, open_store, organisation};
use crate::config::Settings;
use crate::failure::Failure;
use crate::output;

const NAME_LENGTH_MAX: usize = 100;

/// The API key to make.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// Code of the organisation.
    #[arg(long, value_name = "CODE")]
    pub organisation: String,
    /// operator (runs alerts), approver, admin (registry and keys) or auditor.
    #[arg(long)]
    pub role: Role,
    /// Name in lists; the role by default.
    #[arg(long)]
    pub name: Option<String>,
    /// How long it works: 12h, 90d, 52w. Without it until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = parse_period)]
    pub expires_in: Option<Duration>,
}

/// Makes a key and prints it, and nothing else, on standard output.
pub async fn run(settings: &Settings, args: &KeyArgs) -> CommandResult {
    let name = args.name.as_deref().unwrap_or(args.role.as_str()).trim();
    if name.is_empty() || name.chars().count() > NAME_LENGTH_MAX || name.chars().any(char::is_control) {
        return Err(Failure::new("--name has 1 to 100 characters on one line"));
    }
    let store = open_store(settings).await?;
    let organisation = organisation(&store, &args.organisation).await?;
    let now = SystemClock.now();
    let expires_at = args.expires_in.map(|period| now.plus(period));
    let key = store.create_key(organisation.id, args.role, name, expires_at, Actor::CommandLine, now).await?;
    store.close().await;
    output::result(&key.token)?;
    let until = expires_at.map_or_else(|| "until it is revoked".to_owned(), |at| format!("until {at}"));
    output::note(format_args!(
        "Key {} for {} ({}), {until}. It is shown this once.",
        key.key.id, organisation.name, args.role
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
    if number == 0 {
        return Err("must be more than 0".into());
    }
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit() {
        assert_eq!(parse_period("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(parse_period("4294967295w").map(|p| p.as_secs()), Ok(4_294_967_295 * 604_800));
        for wrong in ["", "d", "90", "0d", "-1d", "1.5h", "9é", "4294967296w"] {
            assert!(parse_period(wrong).is_err(), "{wrong}");
        }
    }
}
