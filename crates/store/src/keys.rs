//! API keys: `klr_<id>_<secret>`; the secret is kept as a hash and shown once.

use klaroen_domain::id::{KeyId, OrganisationId};
use klaroen_domain::role::Role;
use klaroen_domain::time::Timestamp;

use crate::{Actor, Page, PageRequest, Result, Store};

/// A key as it is listed: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, the middle part of the key.
    pub id: KeyId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// What it may do.
    pub role: Role,
    /// What it is called.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it no longer works.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// A key with the text that its holder uses. `Debug` hides the text.
pub struct NewKey {
    /// As it is listed.
    pub key: ApiKey,
    /// The whole text, `klr_…`: shown once.
    pub token: String,
}

/// What [`Store::authenticate`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The key works.
    Valid(ApiKey),
    /// The key was right once: it expired or was revoked.
    NoLongerValid,
    /// There is no such key.
    Unknown,
}

impl Store {
    /// Makes a key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn create_key(
        &self,
        _organisation: OrganisationId,
        _role: Role,
        _name: &str,
        _expires_at: Option<Timestamp>,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<NewKey> {
        unimplemented!()
    }

    /// Checks a token in constant time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn authenticate(&self, _token: &str, _now: Timestamp) -> Result<Authentication> {
        unimplemented!()
    }

    /// The keys of an organisation, oldest first.
    ///
    /// # Errors
    /// What the database says, or a bad cursor.
    pub async fn list_keys(
        &self,
        _organisation: OrganisationId,
        _page: &PageRequest,
    ) -> Result<Page<ApiKey>> {
        unimplemented!()
    }

    /// Revokes a key; `false` where the organisation has no such key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn revoke_key(
        &self,
        _organisation: OrganisationId,
        _key: KeyId,
        _actor: Actor,
        _now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }
}
