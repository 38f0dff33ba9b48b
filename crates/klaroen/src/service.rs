//! Dispatcher and worker in one process, on one SQLite file: what `serve`, the demo and the bench run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::{Store, StoreOptions};
use klaroen_worker::Worker;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Checked;
use crate::failure::{Because, Failure};
use crate::lock::DatabaseLock;

/// What runs.
pub struct Service {
    address: SocketAddr,
    store: Store,
    shutdown: CancellationToken,
    dispatcher: JoinHandle<Result<(), Failure>>,
    worker: JoinHandle<Result<(), Failure>>,
    _lock: DatabaseLock,
}
