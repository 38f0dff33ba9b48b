//! Tenants.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::{Result, Store};

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Organisation {
    /// Its id.
    pub id: OrganisationId,
    /// The short name that the command line takes: `utrecht`.
    pub code: String,
    /// The full name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The code is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeTaken;

impl Store {
    /// Makes an organisation.
    ///
    /// # Errors
    /// What the database says; the inner result says whether the code was taken.
    pub async fn create_organisation(
        &self,
        _code: &str,
        _name: &str,
        _now: Timestamp,
    ) -> Result<Result<Organisation, CodeTaken>> {
        unimplemented!()
    }

    /// Finds one by its code.
    ///
    /// # Errors
    /// What the database says.
    pub async fn organisation_by_code(&self, _code: &str) -> Result<Option<Organisation>> {
        unimplemented!()
    }
}
