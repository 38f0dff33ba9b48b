//! API keys on the command line.

pub mod create;
pub mod list;
pub mod revoke;

use klaroen_domain::id::OrganisationId;
use klaroen_store::Store;

use super::organisation;
use crate::failure::Failure;

/// Whose keys: those of an organisation, or those of the installation.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct OwnerArgs {
    /// Code of the organisation.
    #[arg(long, value_name = "CODE")]
    pub organisation: Option<String>,
    /// The keys of the installation, which have the role platform.
    #[arg(long)]
    pub platform: bool,
}

impl OwnerArgs {
    /// The organisation, or `None` for the installation.
    async fn find(&self, store: &Store) -> Result<Option<OrganisationId>, Failure> {
        match &self.organisation {
            Some(code) => Ok(Some(organisation(store, code).await?.id)),
            None => Ok(None),
        }
    }
}
