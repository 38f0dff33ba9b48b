//! The registry, streamed out: see [`Store::list_participants`] for the pages it is made of.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use crate::{Actor, Result, Store};

impl Store {
    /// Writes the audit entry of an export: who read the whole registry, and when.
    ///
    /// # Errors
    /// What the database says.
    pub async fn audit_export(
        &self,
        _organisation: OrganisationId,
        _actor: Actor,
        _format: &str,
        _now: Timestamp,
    ) -> Result<()> {
        unimplemented!()
    }
}
