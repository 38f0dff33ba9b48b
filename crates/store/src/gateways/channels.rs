//! Who holds a gateway's connection: a lease with a deadline, so that a dead process is followed by another.

use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::deliveries::lost;
use crate::engine::db::{Sql, on_db, on_tx};
use crate::{Result, Store};

/// One connection of a gateway: `main/0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    /// The gateway's name in the configuration.
    pub gateway: String,
    /// Its number, from 0.
    pub channel: u16,
}

impl std::fmt::Display for ChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.gateway, self.channel)
    }
}

/// The result of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// It is ours, as it was before.
    Renewed,
    /// It is ours now. The deliveries that the owner before us had in flight are `unknown`: its answers will not come to us.
    Taken {
        /// How many deliveries that concerns.
        lost: u64,
    },
    /// Another owner holds it.
    Held,
}

const ENDS: Sql =
    Sql::new("SELECT lease_until FROM channels WHERE gateway = $1 AND channel = $2 AND lease_until > $3");
/// Locked, so that no other worker takes and releases it between this and [`LEASE`]: that would look like a renewal.
const OWNER: Sql = Sql::each(
    "SELECT owner FROM channels WHERE gateway = $1 AND channel = $2",
    "SELECT owner FROM channels WHERE gateway = $1 AND channel = $2 FOR UPDATE",
);
const LEASE: Sql = Sql::new(
    "INSERT INTO channels (gateway, channel, owner, lease_until) VALUES ($1, $2, $3, $4)
     ON CONFLICT (gateway, channel) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
     WHERE channels.owner = excluded.owner OR channels.lease_until <= $5",
);
const RELEASE: Sql =
    Sql::new("UPDATE channels SET lease_until = 0 WHERE gateway = $1 AND channel = $2 AND owner = $3");
const RELEASE_ALL: Sql = Sql::new("UPDATE channels SET lease_until = 0");

impl Store {
    /// When the present lease of a connection ends; `None` if it is free. Takes no lock: for workers that wait.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn channel_held_until(&self, name: &ChannelName, now: Timestamp) -> Result<Option<Timestamp>> {
        let ends: Option<i64> = on_db!(read self.db, pool, d => sqlx::query_scalar(ENDS.of(d))
            .bind(&name.gateway).bind(i64::from(name.channel)).bind(now.as_millis())
            .fetch_optional(pool).await?);
        Ok(ends.map(Timestamp::from_millis))
    }

    /// Takes or renews the lease of a connection until `until`.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn lease_channel(
        &self,
        name: &ChannelName,
        owner: Uuid,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Lease> {
        let mut tx = self.db.begin().await?;
        let before: Option<Uuid> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(OWNER.of(d))
            .bind(&name.gateway).bind(i64::from(name.channel)).fetch_optional(conn).await?);
        let got = on_tx!(&mut tx, conn, d => sqlx::query(LEASE.of(d))
            .bind(&name.gateway).bind(i64::from(name.channel)).bind(owner)
            .bind(until.as_millis()).bind(now.as_millis())
            .execute(conn).await?.rows_affected());
        let lease = if got == 0 {
            Lease::Held
        } else if before == Some(owner) {
            Lease::Renewed
        } else {
            let lost = lost::lose(&mut tx, Some(name.to_string()), now).await?;
            Lease::Taken { lost }
        };
        tx.commit().await?;
        Ok(lease)
    }

    /// Releases the lease at shutdown, so that the next owner need not wait.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn release_channel(&self, name: &ChannelName, owner: Uuid) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(RELEASE.of(d))
            .bind(&name.gateway).bind(i64::from(name.channel)).bind(owner).execute(pool).await?.rows_affected());
        Ok(())
    }

    /// Ends every lease: only for a process that knows itself alone on the database, because it holds the lock next to the
    /// SQLite file. The next [`Store::lease_channel`] settles what a crash left in flight.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn release_all_channels(&self) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(RELEASE_ALL.of(d)).execute(pool).await?.rows_affected());
        Ok(())
    }
}
