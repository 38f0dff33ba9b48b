//! `Idempotency-Key`: the same request again gives the same thing again, in the transaction that makes the thing.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::Result;
use crate::db::Tx;

/// What a caller sent to make a repetition known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// What came of a request that may be a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// It was carried out now.
    Done(T),
    /// It was carried out before; this is what it made.
    Repeated(Uuid),
    /// The key was used for another request.
    KeyReused,
}

/// What the table says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// First time: carry on.
    Never,
    /// The same request made this.
    Same(Uuid),
    /// Another request used it.
    Other,
}

/// Looks the key up.
pub(crate) async fn look_up(
    _tx: &mut Tx,
    _organisation: OrganisationId,
    _idempotency: &Idempotency,
) -> Result<Seen> {
    unimplemented!()
}

/// Remembers what the request made.
pub(crate) async fn remember(
    _tx: &mut Tx,
    _organisation: OrganisationId,
    _idempotency: &Idempotency,
    _resource: Uuid,
    _now: Timestamp,
) -> Result<()> {
    unimplemented!()
}
