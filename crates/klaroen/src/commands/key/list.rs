//! `klaroen key list`

use std::process::ExitCode;

use clap::Args;
use klaroen_domain::time::{Clock, SystemClock, Timestamp};
use klaroen_store::PageRequest;
use klaroen_store::keys::ApiKey;

use super::OwnerArgs;
use crate::commands::{CommandResult, open_store};
use crate::config::Settings;
use crate::output;

/// Keys that are read at once.
const PAGE: u16 = 500;

/// The keys to list.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub owner: OwnerArgs,
}

/// Prints a line for each key, oldest first.
pub async fn run(settings: &Settings, args: &ListArgs) -> CommandResult {
    let store = open_store(settings).await?;
    let owner = args.owner.find(&store).await?;
    let now = SystemClock.now();
    let mut page = PageRequest { limit: PAGE, cursor: None };
    loop {
        let keys = store.list_keys(owner, &page).await?;
        for key in &keys.items {
            output::result(line(key, now))?;
        }
        page.cursor = keys.next_cursor;
        if page.cursor.is_none() {
            break;
        }
    }
    store.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Id, role, state with its time, and name. The name comes last, because it may have blanks.
fn line(key: &ApiKey, now: Timestamp) -> String {
    let state = match key.revoked_at {
        Some(at) => format!("revoked {at}"),
        None if key.expires_at <= now => format!("expired {}", key.expires_at),
        None => format!("until   {}", key.expires_at),
    };
    format!("{}  {:<8}  {state}  {}", key.id, key.role.as_str(), key.name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_domain::id::KeyId;
    use klaroen_domain::role::Role;

    use super::*;

    #[test]
    fn a_line_says_whether_the_key_works() {
        let now = Timestamp::from_millis(1_795_449_600_000);
        let key = ApiKey {
            id: KeyId::generate(),
            organisation: None,
            role: Role::Platform,
            name: "night shift".into(),
            created_at: now,
            expires_at: now.plus(Duration::from_secs(1)),
            revoked_at: None,
        };
        assert!(line(&key, now).ends_with("platform  until   2026-11-23T16:00:01.000Z  night shift"));
        assert!(line(&key, key.expires_at).contains("  expired 2026-11-23T16:00:01.000Z  "));
        let revoked = ApiKey { revoked_at: Some(now), ..key };
        assert!(line(&revoked, revoked.expires_at).contains("  revoked 2026-11-23T16:00:00.000Z  "));
    }
}
