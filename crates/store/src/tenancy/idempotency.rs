//! `Idempotency-Key`: the same request again returns the same thing again, in the transaction that makes the thing.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::Result;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::lock::Lock;

const GET: Sql =
    Sql::new("SELECT fingerprint, resource FROM idempotency_keys WHERE organisation_id = $1 AND key = $2");
const INSERT: Sql = Sql::new(
    "INSERT INTO idempotency_keys (organisation_id, key, fingerprint, resource, created_at)
     VALUES ($1, $2, $3, $4, $5)",
);

/// The values that a caller sent to make a repetition known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub fingerprint: [u8; 32],
}

/// The result for a request that may be a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once<T> {
    /// It was carried out now.
    Done(T),
    /// It was carried out before; this is what it made.
    Repeated(Uuid),
    /// The key was used for another request.
    KeyReused,
}

/// The row of the table for a key.
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
    tx: &mut Tx,
    organisation: OrganisationId,
    idempotency: &Idempotency,
) -> Result<Seen> {
    Lock::Request(organisation, &idempotency.key).take(tx).await?;
    let row: Option<(Vec<u8>, Uuid)> = on_tx!(tx, conn, d => sqlx::query_as(GET.of(d))
        .bind(organisation.0).bind(&idempotency.key).fetch_optional(conn).await?);
    Ok(match row {
        None => Seen::Never,
        Some((fingerprint, resource)) if fingerprint == idempotency.fingerprint => Seen::Same(resource),
        Some(_) => Seen::Other,
    })
}

/// Remembers what the request made.
pub(crate) async fn remember(
    tx: &mut Tx,
    organisation: OrganisationId,
    idempotency: &Idempotency,
    resource: Uuid,
    now: Timestamp,
) -> Result<()> {
    on_tx!(tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(organisation.0).bind(&idempotency.key).bind(idempotency.fingerprint.as_slice()).bind(resource)
        .bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{Fixture, NOW};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    #[rstest]
    #[tokio::test]
    async fn a_key_stands_for_one_request_of_one_organisation(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let request = Idempotency { key: "k".into(), fingerprint: [7; 32] };
        let other = Idempotency { fingerprint: [8; 32], ..request.clone() };
        let made = Uuid::from_u128(5);
        let mut tx = f.store.db.begin().await.unwrap();
        assert_eq!(look_up(&mut tx, f.organisation, &request).await.unwrap(), Seen::Never);
        remember(&mut tx, f.organisation, &request, made, NOW).await.unwrap();
        assert_eq!(look_up(&mut tx, f.organisation, &request).await.unwrap(), Seen::Same(made));
        assert_eq!(look_up(&mut tx, f.organisation, &other).await.unwrap(), Seen::Other);
        assert_eq!(look_up(&mut tx, f.stranger, &request).await.unwrap(), Seen::Never);
    }
}
