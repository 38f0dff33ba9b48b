//! The caller of the API.

use klaroen_domain::id::{KeyId, OrganisationId};
use klaroen_store::Actor;
use klaroen_store::keys::ApiKey;

/// The holder of the key that a request came with: somebody of an organisation, or of the installation.
#[derive(Clone, Debug)]
pub struct Principal(ApiKey);

impl Principal {
    /// The holder of a key that works.
    #[must_use]
    pub const fn new(key: ApiKey) -> Self {
        Self(key)
    }

    /// For the audit log.
    #[must_use]
    pub const fn actor(&self) -> Actor {
        Actor::Key(self.0.id)
    }
}

/// The holder of a key of an organisation: everything that it sees and does is that tenant's.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    organisation: OrganisationId,
    key: KeyId,
}

impl Caller {
    /// The holder of a key that works; `None` if the key acts on the installation.
    #[must_use]
    pub fn of(principal: &Principal) -> Option<Self> {
        principal.0.organisation.map(|organisation| Self { organisation, key: principal.0.id })
    }

    /// The tenant.
    #[must_use]
    pub const fn organisation(&self) -> OrganisationId {
        self.organisation
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// For the audit log.
    #[must_use]
    pub const fn actor(&self) -> Actor {
        Actor::Key(self.key)
    }
}
