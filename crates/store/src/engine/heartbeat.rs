//! Noticing that a PostgreSQL has vanished without a word.
//!
//! A server that loses its power, or its address, closes nothing. A caller that waits for its answer waits until the kernel
//! gives up, a quarter of an hour later, or for ever. So one connection of its own is asked every other second. When it does
//! not answer, everything that waits on a connection made before ends with an error that says "try again", and those
//! connections are thrown away.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{ConnectOptions, Connection, Either, Execute, Executor, Postgres, SqlStr};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

const EVERY: Duration = Duration::from_secs(2);
/// The time that a busy server may take. With [`EVERY`] and another try it makes 8 seconds; service has to resume within 10.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two attempts to reach a server that is gone.
const AGAIN: Duration = Duration::from_secs(1);

/// Watches one server. Cheap to clone; it stops when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    stopped: Arc<Stopped>,
    task: AbortHandle,
}

/// The state that the task tells the others.
#[derive(Debug, Default)]
struct Stopped {
    now: Notify,
    last: Mutex<Option<Instant>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Heartbeat {
    /// Begins to watch by a connection that was made before every one that it guards: one made later could lead to the next
    /// server, and would know nothing of those to the one that has vanished.
    pub(crate) fn begin(first: PgConnection, options: PgConnectOptions) -> Self {
        let stopped = Arc::new(Stopped::default());
        let task = tokio::spawn(watch(first, options, Arc::clone(&stopped))).abort_handle();
        Self(Arc::new(Watched { stopped, task }))
    }

    /// Does the work, or gives up when the server vanishes meanwhile. The result of a statement is then as unknown as when its
    /// connection breaks.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
        tokio::select! {
            biased;
            result = work => result,
            () = self.0.stopped.now.notified() => Err(vanished()),
        }
    }

    /// Returns an executor that runs statements with [`Self::guard`] around each.
    pub(crate) const fn guarded<E>(&self, executor: E) -> Guarded<'_, E> {
        Guarded { executor, heartbeat: self }
    }

    /// Whether a connection of this age leads to a server that has vanished since.
    pub(crate) fn outlived(&self, age: Duration) -> bool {
        let last = *self.0.stopped.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| age >= last.elapsed())
    }
}

/// A pool or a connection whose statements end when its server vanishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guarded<'h, E> {
    executor: E,
    heartbeat: &'h Heartbeat,
}

impl<'c, 'h: 'c, E: Executor<'c, Database = Postgres> + 'c> Executor<'c> for Guarded<'h, E> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, Q: Execute<'q, Postgres> + 'q>(
        self,
        query: Q,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
    {
        let rows = self.executor.fetch_many(query);
        let vanished = Box::pin(self.heartbeat.guard(std::future::pending()));
        // An end without an error would be taken for all the rows.
        let next = |state| async move {
            let (mut rows, mut vanished): (BoxStream<'e, _>, BoxFuture<'e, _>) = state?;
            tokio::select! {
                biased;
                row = rows.next() => row.map(|row| (row, Some((rows, vanished)))),
                error = &mut vanished => Some((error, None)),
            }
        };
        stream::unfold(Some((rows, vanished as BoxFuture<'e, _>)), next).boxed()
    }

    fn fetch_optional<'e, 'q: 'e, Q: Execute<'q, Postgres> + 'q>(
        self,
        query: Q,
    ) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
    {
        Box::pin(self.heartbeat.guard(self.executor.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        Box::pin(self.heartbeat.guard(self.executor.prepare_with(sql, parameters)))
    }
}

/// The error of a connection on which no server answers.
pub(crate) fn vanished() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the server does not answer any more"))
}

/// Runs as long as a clone of the [`Heartbeat`] exists.
async fn watch(first: PgConnection, options: PgConnectOptions, stopped: Arc<Stopped>) {
    let mut known = Some(first);
    loop {
        if known.is_none() {
            known = reach(&options).await;
        }
        let Some(connection) = known else {
            sleep(AGAIN).await;
            continue;
        };
        known = listen(connection, &options).await;
        // Told first: who is woken asks for it.
        *stopped.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        stopped.now.notify_waiters();
        tracing::warn!("PostgreSQL does not answer on its connections: they are made anew");
    }
}

/// Asks until there is no answer. Returns another connection if one was made meanwhile.
async fn listen(mut connection: PgConnection, options: &PgConnectOptions) -> Option<PgConnection> {
    loop {
        sleep(EVERY).await;
        let ping = connection.ping();
        tokio::pin!(ping);
        match timeout(ANSWER, &mut ping).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => {
                // A server that is only slow answers the question before it has answered the door.
                tokio::select! {
                    biased;
                    answer = &mut ping => if answer.is_err() { return None },
                    other = reach(options) => return other,
                }
            }
        }
    }
}

/// A new connection that has answered.
async fn reach(options: &PgConnectOptions) -> Option<PgConnection> {
    let reached = async {
        let mut connection = options.connect().await.ok()?;
        connection.ping().await.ok()?;
        Some(connection)
    };
    timeout(ANSWER, reached).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use klaroen_test_databases::Engine;
    use tokio::io::copy_bidirectional;
    use tokio::net::{UnixListener, UnixStream};
    use tokio::sync::watch;

    use super::*;
    use crate::engine::db::{Sql, on_tx};
    use crate::engine::seal::Keys;
    use crate::tests::fixture::NOW;
    use crate::{Store, StoreError, StoreOptions};

    const PATIENCE: Duration = Duration::from_mins(1);
    const SELECT: Sql = Sql::new("SELECT 1");

    /// Passes everything on to a server, until it vanishes: then nothing, on the connections of before.
    struct Relay(watch::Sender<()>);

    impl Relay {
        fn begin(listener: UnixListener, server: std::path::PathBuf) -> Self {
            let vanished = watch::Sender::new(());
            let told = vanished.clone();
            // Ends with the test's runtime.
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    let (server, mut told) = (server.clone(), told.subscribe());
                    tokio::spawn(async move {
                        let Ok(mut upstream) = UnixStream::connect(server).await else { return };
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut upstream) => {}
                            // Nothing is closed.
                            _ = told.changed() => std::future::pending().await,
                        }
                    });
                }
            });
            Self(vanished)
        }
    }

    /// The address of the same database through a relay in `directory`.
    fn through(url: &str, directory: &Path) -> (String, Relay) {
        const SOCKET: &str = ".s.PGSQL.5432";
        let (before, rest) = url.split_once("?host=").unwrap();
        let (server, options) = rest.split_once('&').unwrap();
        let listener = UnixListener::bind(directory.join(SOCKET)).unwrap();
        let relay = Relay::begin(listener, Path::new(server).join(SOCKET));
        (format!("{before}?host={}&{options}", directory.display()), relay)
    }

    #[tokio::test]
    async fn what_waits_for_a_postgres_that_vanished_ends_and_its_connection_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (url, relay) = through(&Engine::Postgres.empty(directory.path()).await, directory.path());
        // With one connection nothing works again before that one is given up.
        let options =
            StoreOptions { connections: 1, ..StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32])) };
        let store = Store::open(&options).await.unwrap();
        let mut tx = store.db.begin().await.unwrap();
        relay.0.send_replace(());
        let asking = async {
            on_tx!(&mut tx, conn, d => sqlx::query(SELECT.of(d)).execute(conn).await.map(|done| done.rows_affected()))
        };
        let answer = timeout(PATIENCE, asking).await.expect("it does not wait for ever");
        assert!(StoreError::from(answer.unwrap_err()).is_retryable());
        drop(tx);
        let served = async { while store.probe_write(NOW).await.is_err() {} };
        timeout(PATIENCE, served).await.expect("the next is served");
    }
}
