//! Which workers serve a gateway, and how many of its channels each holds: so that they are shared out evenly without a
//! leader. Advice only: who holds a channel is said by its lease.

use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::engine::db::{Db, Sql, on_db};
use crate::{Result, Store};

/// Another worker that serves the same gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Random for each process.
    pub id: Uuid,
    /// How many channels of the gateway it holds.
    pub held: u16,
}

const REPORT: Sql = Sql::new(
    "INSERT INTO workers (id, gateway, held, seen_until) VALUES ($1, $2, $3, $4)
     ON CONFLICT (id, gateway) DO UPDATE SET held = excluded.held, seen_until = excluded.seen_until",
);
const PEERS: Sql =
    Sql::new("SELECT id, held FROM workers WHERE gateway = $1 AND id <> $2 AND seen_until > $3");
const FORGET: Sql = Sql::new("DELETE FROM workers WHERE id = $1 OR seen_until <= $2");

impl Store {
    /// Says that a worker lives until `until` and holds `held` channels of a gateway; returns the others that live. With SQLite
    /// there are none, and nothing is written: a file serves one process.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn report_worker(
        &self,
        worker: Uuid,
        gateway: &str,
        held: u16,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Peer>> {
        if matches!(self.db, Db::Sqlite { .. }) {
            return Ok(Vec::new());
        }
        on_db!(write self.db, pool, d => sqlx::query(REPORT.of(d))
            .bind(worker).bind(gateway).bind(i64::from(held)).bind(until.as_millis())
            .execute(pool).await?.rows_affected());
        let peers: Vec<(Uuid, i64)> = on_db!(read self.db, pool, d => sqlx::query_as(PEERS.of(d))
            .bind(gateway).bind(worker).bind(now.as_millis()).fetch_all(pool).await?);
        Ok(peers
            .into_iter()
            .map(|(id, held)| Peer { id, held: u16::try_from(held).unwrap_or(u16::MAX) })
            .collect())
    }

    /// Takes a worker that stops off the list, and those that died long ago.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn forget_worker(&self, worker: Uuid, now: Timestamp) -> Result<()> {
        if matches!(self.db, Db::Sqlite { .. }) {
            return Ok(());
        }
        on_db!(write self.db, pool, d => sqlx::query(FORGET.of(d))
            .bind(worker).bind(now.as_millis()).execute(pool).await?.rows_affected());
        Ok(())
    }
}
