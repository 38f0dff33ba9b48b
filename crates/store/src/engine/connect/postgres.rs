//! PostgreSQL: a pool whose connections are looked at before they are used.

use std::str::FromStr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Row};
use tokio::time::timeout;

use super::migrations;
use crate::engine::db::Db;
use crate::engine::heartbeat::{Heartbeat, vanished};
use crate::{Result, StoreError, StoreOptions};

/// The oldest version that the statements are tested on.
const OLDEST_VERSION: i32 = 150_000;

/// A server that cannot be reached in this time is not there: the kernel would try for two minutes.
const REACHED_WITHIN: Duration = Duration::from_secs(10);
/// A connection whose statement was given up, or whose server has vanished, is not waited for.
const RETURNED_WITHIN: Duration = Duration::from_secs(3);

/// The settings that every connection sends first. A statement or a transaction that hangs must not hold locks or its
/// connection for ever; its work is tried again. `jit`: compiling costs more than any statement here runs. A server whose
/// default is not to wait for the disk is overruled, because an answered request must be stored.
///
/// `enable_seqscan` and `random_page_cost`: every statement of the sending path looks rows up by an index, whatever
/// PostgreSQL knows of the tables. It knows nothing of a new database, and it keeps the plan of a prepared statement that it
/// made while a table was empty or small: reading the whole of it for each receipt of a batch is the best plan then, and
/// takes seconds once an alert has filled it. If no index fits, a table is read all the same.
const SESSION: &str = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET jit = off;
    SET enable_seqscan = off; SET random_page_cost = 1.1; SET idle_in_transaction_session_timeout = '30s';
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// Migrates the database and makes the pool.
pub(super) async fn open(options: &StoreOptions) -> Result<Db> {
    let mut connect = parse(&options.url)?
        .application_name("klaroen")
        .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
    if let Some(password) = &options.password {
        connect = connect.password(password.expose_secret());
    }
    let heartbeat = Heartbeat::begin(migrate(&connect).await?, connect.clone());
    let (taken, returned) = (heartbeat.clone(), heartbeat.clone());
    let pool = PgPoolOptions::new()
        .max_connections(options.connections)
        .acquire_timeout(Duration::from_secs(3))
        .max_lifetime(Duration::from_mins(5))
        .idle_timeout(Duration::from_mins(1))
        // Instead of a ping: a primary that was demoted answers pings and refuses every write (25006).
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let gone = taken.outlived(meta.age);
            Box::pin(async move { if gone { Err(vanished()) } else { is_fit(connection).await } })
        })
        // The pool asks whether it lives before it takes it back, and waits for the answer as long as there is none.
        .after_release(move |connection, meta| {
            let gone = returned.outlived(meta.age);
            Box::pin(async move {
                let lives = !gone && matches!(timeout(RETURNED_WITHIN, connection.ping()).await, Ok(Ok(())));
                if lives { Ok(true) } else { Err(vanished()) }
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async { sqlx::raw_sql(SESSION).execute(connection).await.map(drop) })
        })
        .connect_lazy_with(connect);
    Ok(Db::Postgres { pool, heartbeat })
}

fn parse(url: &str) -> Result<PgConnectOptions> {
    PgConnectOptions::from_str(url).map_err(|error| {
        let example = "postgres://USER@HOST/DATABASE?sslmode=verify-full";
        StoreError::BadUrl(format!("use {example} ({error})"))
    })
}

/// Returns the part of an address that may be shown.
pub(super) fn shown(url: &str) -> Result<String> {
    let options = parse(url)?;
    let database = options.get_database().unwrap_or(options.get_username());
    let host = options.get_socket().map_or_else(|| options.get_host().into(), |path| path.to_string_lossy());
    Ok(format!("postgres://{}@{host}:{}/{database}", options.get_username(), options.get_port()))
}

/// Migrates on a connection of its own, on which a statement may take its time, and returns it. An advisory lock lets one process
/// do it.
async fn migrate(connect: &PgConnectOptions) -> Result<PgConnection> {
    let reached = timeout(REACHED_WITHIN, connect.connect()).await;
    let mut connection = reached.unwrap_or_else(|_| Err(vanished()))?;
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer")
        .fetch_one(&mut connection)
        .await?;
    if version < OLDEST_VERSION {
        let (found, oldest) = (version / 10_000, OLDEST_VERSION / 10_000);
        return Err(StoreError::BadUrl(format!(
            "this is PostgreSQL {found}; version {oldest} or later is needed"
        )));
    }
    migrations::migrator(migrations::POSTGRES).run(&mut connection).await?;
    Ok(connection)
}

/// Whether a connection can write, and whether no transaction is open on it: one statement is a transaction of its own, so it
/// sees the time at which it began itself. The simple protocol takes both times at once.
const IS_FIT: &str = "SELECT current_setting('transaction_read_only') = 'off' AND transaction_timestamp() = statement_timestamp()";

/// A connection that fails here, or that is not fit to write, is dropped and another one is made.
///
/// If a caller is cancelled while its `BEGIN` is under way, the library knows of no transaction, and the server has one.
/// Whatever the connection wrote next would be answered and never be committed.
async fn is_fit(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let row = sqlx::raw_sql(IS_FIT).fetch_one(connection).await?;
    row.try_get(0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::task::Poll;

    use klaroen_test_databases::{Engine, Server};
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;
    use crate::engine::seal::Keys;
    use crate::tests::fixture::{Fixture, NOW};
    use crate::{Address, Store};

    fn options(url: &str, password: &str) -> StoreOptions {
        let password = Some(password.to_owned().into());
        StoreOptions { password, ..StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32])) }
    }

    const NONE_OPEN: &str = "SELECT transaction_timestamp() = statement_timestamp()";

    /// Polls a future so many times, and gives it up then.
    async fn given_up_after(polls: u32, future: impl Future) {
        let (mut future, mut left) = (std::pin::pin!(future), polls);
        std::future::poll_fn(|context| {
            left -= 1;
            let done = future.as_mut().poll(context).is_ready();
            if done || left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    #[tokio::test]
    async fn whoever_is_cancelled_while_a_transaction_begins_leaves_none_open() {
        let f = Fixture::new(Engine::Postgres).await;
        let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
        for polls in 1..=12 {
            // All connections, or the next caller gets another one.
            let begins = (0..StoreOptions::CONNECTIONS).map(|_| given_up_after(polls, f.store.db.begin()));
            futures::future::join_all(begins).await;
            let mut taken = Vec::new();
            for _ in 0..StoreOptions::CONNECTIONS {
                let mut connection = pool.acquire().await.unwrap();
                let row = sqlx::raw_sql(NONE_OPEN).fetch_one(&mut *connection).await.unwrap();
                assert!(row.get::<bool, _>(0), "given up at poll {polls}");
                taken.push(connection);
            }
        }
    }

    #[tokio::test]
    async fn a_server_behind_tls_is_believed_by_its_certificate_and_believes_a_password() {
        let directory = tempfile::tempdir().unwrap();
        let trusted = |name: &str, pem: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".into()]).unwrap();
        let other = generate_simple_self_signed(["localhost".into()]).unwrap().cert;
        let (own, other) = (trusted("own.pem", &cert.pem()), trusted("other.pem", &other.pem()));
        let mut server = Server::start().await;
        let port = server.open_to_network(&cert.pem(), &signing_key.serialize_pem(), "s3cret").await;
        let url = |host: &str, mode: &str, ca: &Path| {
            format!("postgres://klaroen@{host}:{port}/postgres?sslmode={mode}&sslrootcert={}", ca.display())
        };

        let store = Store::open(&options(&url("localhost", "verify-full", &own), "s3cret")).await.unwrap();
        store.probe_write(NOW).await.unwrap();
        let refused = [
            ("a stranger's certificate", url("localhost", "verify-full", &other), "s3cret"),
            ("another name than the certificate's", url("127.0.0.1", "verify-full", &own), "s3cret"),
            ("no TLS", url("localhost", "disable", &own), "s3cret"),
            ("another password", url("localhost", "verify-full", &own), "wrong"),
        ];
        for (why, url, password) in refused {
            let error = Store::open(&options(&url, password)).await.expect_err(why).to_string();
            assert!(!error.contains(password), "{error}");
            let Address::Postgres { shown } = Address::of(&url).unwrap() else { panic!("{url}") };
            assert!(shown.ends_with(&format!(":{port}/postgres")), "{shown}");
        }
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_one_migrates() {
        let directory = tempfile::tempdir().unwrap();
        let options = options(&Engine::Postgres.empty(directory.path()).await, "");
        let opened = futures::future::join_all((0..8).map(|_| Store::open(&options))).await;
        for store in opened {
            store.unwrap().probe_write(NOW).await.unwrap();
        }
    }
}
