//! The caller of the API.

use klaroen_domain::id::OrganisationId;
use klaroen_store::Actor;
use klaroen_store::keys::ApiKey;

/// The holder of the key that a request came with.
#[derive(Clone, Debug)]
pub struct Caller(ApiKey);

impl Caller {
    /// The holder of a key that works.
    #[must_use]
    pub const fn new(key: ApiKey) -> Self {
        Self(key)
    }

    /// The tenant.
    #[must_use]
    pub const fn organisation(&self) -> OrganisationId {
        self.0.organisation
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &ApiKey {
        &self.0
    }

    /// For the audit log.
    #[must_use]
    pub const fn actor(&self) -> Actor {
        Actor::Key(self.0.id)
    }
}
