//! Wake-ups between processes: `NOTIFY` after a commit, and nothing but a wake-up. A process that misses one polls.

use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};

use crate::engine::db::Db;
use crate::{Result, Store};

/// A connection on which nothing came for so long is asked whether it still lives: a server that vanished without a word
/// sends nothing either.
const HEARTBEAT: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(5);
/// Between two attempts to listen.
const AGAIN: Duration = Duration::from_secs(1);

/// Schemas of one database do not wake each other. A name has 63 bytes at most.
const NOTIFY: &str = "SELECT pg_notify(left('klaroen_' || current_schema(), 63), '')";
const CHANNEL: &str = "SELECT left('klaroen_' || current_schema(), 63)";
/// A demoted primary answers everything, and no process writes to it.
const LIVES: &str = "SELECT current_setting('transaction_read_only') = 'off'";

impl Store {
    /// Whether other processes may share this database.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self.db, Db::Postgres { .. })
    }

    /// Wakes the workers of other processes. It is to be called after the rows that they shall see were committed, once for a
    /// batch. Does nothing if no other process shares the database.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement. The poll of the
    /// workers stands behind it.
    pub async fn announce(&self) -> Result<()> {
        if let Db::Postgres { pool, heartbeat } = &self.db {
            sqlx::query(NOTIFY).execute(heartbeat.guarded(pool)).await?;
        }
        Ok(())
    }

    /// Calls `woken` for every announcement (many at once: one call), and once each time listening begins or begins again,
    /// because something may have been missed. Runs until it is dropped.
    pub async fn listen(&self, woken: impl Fn()) {
        let Db::Postgres { pool, .. } = &self.db else { return std::future::pending().await };
        // Outside the pool: a listener keeps its connection.
        let own = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ANSWER)
            .connect_lazy_with(pool.connect_options().as_ref().clone());
        loop {
            if let Err(error) = hear(&own, &woken).await {
                tracing::warn!(%error, "not listening for wake-ups: the queue is polled meanwhile");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Listens until the connection is of no use any more.
async fn hear(pool: &PgPool, woken: &impl Fn()) -> sqlx::Result<()> {
    let channel: String = sqlx::query_scalar(CHANNEL).fetch_one(pool).await?;
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(&channel).await?;
    // Announcements made before are not heard.
    woken();
    loop {
        match tokio::time::timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(Ok(Some(_))) => {
                while listener.next_buffered().is_some() {}
                woken();
            }
            Ok(Ok(None)) => return Err(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into())),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let lives = sqlx::query_scalar(LIVES).fetch_one(&mut listener);
                match tokio::time::timeout(ANSWER, lives).await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => return Err(sqlx::Error::Protocol("the server became read-only".into())),
                    Ok(Err(error)) => return Err(error),
                    Err(_) => return Err(sqlx::Error::PoolTimedOut),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use klaroen_test_databases::Engine;
    use tokio::sync::Notify;

    use crate::tests::fixture::Fixture;

    /// Longer than any wake-up takes.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

    #[tokio::test]
    async fn a_postgres_announcement_wakes_the_listeners_of_its_schema_and_no_others() {
        let (here, elsewhere) =
            (Fixture::migrated(Engine::Postgres).await, Fixture::migrated(Engine::Postgres).await);
        let heard = Arc::new(Notify::new());
        let (count, store) = (Arc::clone(&heard), here.store.clone());
        // Ends with the test's runtime.
        let _listening = tokio::spawn(async move { store.listen(|| count.notify_one()).await });
        tokio::time::timeout(PATIENCE, heard.notified()).await.expect("once when it begins");
        elsewhere.store.announce().await.unwrap();
        // Announcements come in the order of commits, so one from elsewhere would have been heard before this one.
        here.store.announce().await.unwrap();
        tokio::time::timeout(PATIENCE, heard.notified()).await.expect("once for the announcement");
        let more = tokio::time::timeout(std::time::Duration::from_millis(200), heard.notified()).await;
        assert!(more.is_err(), "the one from elsewhere was heard");
    }
}
