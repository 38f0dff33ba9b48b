//! The SMSC as its users hold it. `core` takes and delivers messages, `session` and `protocol` are one connection, and
//! `wire` is the octets.

mod bind_account;
mod core;
mod counters;
mod protocol;
mod session;
mod submission;
mod validity;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::counters::Stats;
use crate::config::SmscConfig;
use crate::faults::Faults;
use crate::ledger::{Ledger, Ring};
use crate::smsc::bind_account::{Content, Delivery};
use crate::smsc::core::SmscCore;
use crate::smsc::counters::count;

/// Connections at a time; beyond it a new one is closed at once.
const CONNECTIONS_MAX: usize = 1_000;

/// Between two attempts to accept a connection where the machine has no room for one.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A running SMSC. It stops when it is dropped; [`Smsc::shutdown`] also waits for that.
pub struct Smsc {
    core: Arc<SmscCore>,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    listening: Mutex<Option<Listening>>,
    connections: Arc<Mutex<Connections>>,
}

/// The listener, while there is one.
struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The connections that are dropped together.
struct Connections {
    dropped: CancellationToken,
    tasks: TaskTracker,
}

impl Connections {
    fn new(stop: &CancellationToken) -> Self {
        Self { dropped: stop.child_token(), tasks: TaskTracker::new() }
    }
}

/// Why an SMS from a handset was not taken by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// An address has more than 20 characters, or one that is not ASCII.
    #[error("an address is at most 20 ASCII characters")]
    Address,
    /// No receiver or transceiver was bound within [`SmscConfig::inbound_wait_ms`].
    #[error("nobody is bound to receive it")]
    NobodyBound,
    /// The queue of the receiver is full.
    #[error("the queue of the receiver is full")]
    QueueFull,
    /// It was sent, or waits to be sent, and not answered within [`SmscConfig::inbound_wait_ms`]. It stays in the queue.
    #[error("no answer came in time")]
    NotAnswered,
}

impl Smsc {
    /// Starts an SMSC. To be called in a tokio runtime.
    ///
    /// # Errors
    /// An [`io::Error`] if it cannot listen; of kind `InvalidInput` if the faults cannot be ([`Faults::check`]).
    pub async fn start(config: SmscConfig) -> io::Result<Self> {
        config.faults.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let core = Arc::new(SmscCore::new(config));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let connections = Arc::new(Mutex::new(Connections::new(&stop)));
        tasks.spawn({
            let (stop, core) = (stop.clone(), Arc::clone(&core));
            async move { stop.run_until_cancelled(core.work_off()).await }
        });
        let smsc = Self { core, addr, stop, tasks, listening: Mutex::default(), connections };
        smsc.serve(listener);
        Ok(smsc)
    }

    fn serve(&self, listener: TcpListener) {
        let stop = self.stop.child_token();
        let (core, connections) = (Arc::clone(&self.core), Arc::clone(&self.connections));
        let until = stop.clone();
        let task = tokio::spawn(async move {
            // It is over when it is cancelled, which is all that the answer says.
            let _ = until.run_until_cancelled(accept(listener, core, connections)).await;
        });
        *lock(&self.listening) = Some(Listening { stop, task });
    }

    /// The address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes what goes wrong, for every submit, receipt and bind from now on. Messages that were taken keep their fate.
    pub fn set_faults(&self, faults: Faults) {
        self.core.faults.send_replace(Arc::new(faults));
        // Deliveries that were held may leave.
        for account in self.core.receivers.borrow().iter() {
            account.arrived.notify_waiters();
        }
    }

    /// Waits until this number of messages was taken since the start, in order to change what goes wrong then.
    pub async fn until_taken(&self, messages: u64) {
        let mut taken = self.core.taken.subscribe();
        // The core lives as long as this, and with it the other end.
        let _ = taken.wait_for(|taken| *taken >= messages).await;
    }

    /// The counters so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// The rings of one number (with or without its plus sign), oldest first.
    #[must_use]
    pub fn rings_of(&self, number: &str) -> Vec<Ring> {
        self.core.with_ledger(|ledger| ledger.rings_of(number))
    }

    /// How often each number rang, as digits without plus sign; numbers that never rang are not in it.
    #[must_use]
    pub fn ring_counts(&self) -> HashMap<String, u32> {
        self.core.with_ledger(Ledger::ring_counts)
    }

    /// The rings of all handsets together.
    #[must_use]
    pub fn total_rings(&self) -> u64 {
        self.core.with_ledger(Ledger::total_rings)
    }

    /// The `submit_sm` that came in, whatever became of them.
    #[must_use]
    pub fn submits(&self) -> u64 {
        self.stats().submits
    }

    /// A handset sends an SMS: a `deliver_sm` to any connection that can receive, waiting for one to bind if there is
    /// none. Resolves with the `command_status` of the first answer; if that is an error, the SMS is sent again by itself.
    ///
    /// # Errors
    /// Returns an [`InboundError`] if an address is wrong, no receiver binds in time, its queue is full, or it does not answer.
    pub async fn send_inbound(&self, from: &str, to: &str, text: &str) -> Result<u32, InboundError> {
        let [from, to] = [from, to].map(|address| address.trim_start_matches('+'));
        if wire::address(from).is_none() || wire::address(to).is_none() {
            return Err(InboundError::Address);
        }
        let wait = Duration::from_millis(self.core.config.inbound_wait_ms);
        let mut receivers = self.core.receivers.subscribe();
        let account = timeout(wait, receivers.wait_for(|receivers| !receivers.is_empty()))
            .await
            .ok()
            .and_then(Result::ok)
            .and_then(|receivers| receivers.first().map(Arc::clone))
            .ok_or(InboundError::NobodyBound)?;
        let (answered, answer) = oneshot::channel();
        let content = Content::Text { from: from.into(), to: to.into(), text: text.into() };
        if !account.push(Delivery { content, attempts: 0, answered: Some(answered) }) {
            return Err(InboundError::QueueFull);
        }
        match timeout(wait, answer).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(_)) | Err(_) => Err(InboundError::NotAnswered),
        }
    }

    /// Drops every connection without a word, and waits until they are gone. New ones are welcome.
    pub async fn disconnect_all(&self) {
        let old = std::mem::replace(&mut *lock(&self.connections), Connections::new(&self.stop));
        old.dropped.cancel();
        old.tasks.close();
        old.tasks.wait().await;
    }

    /// Drops every connection and refuses new ones, until [`Smsc::listen_again`]. What is due goes on.
    pub async fn stop_listening(&self) {
        let listening = lock(&self.listening).take();
        if let Some(Listening { stop, task }) = listening {
            stop.cancel();
            if task.await.is_err() {
                tracing::error!("the listener panicked");
            }
        }
        self.disconnect_all().await;
    }

    /// Listens again where it did before.
    ///
    /// # Errors
    /// An [`io::Error`] if another process took the port in the meantime.
    pub async fn listen_again(&self) -> io::Result<()> {
        if lock(&self.listening).is_none() {
            self.serve(TcpListener::bind(self.addr).await?);
        }
        Ok(())
    }

    /// Stops listening, drops every connection and waits until all is still. What was counted can still be asked for.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.stop_listening().await;
    }
}

impl Drop for Smsc {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A handle is put in, taken out or swapped, and nothing is left half done in between.
fn lock<T>(handles: &Mutex<T>) -> MutexGuard<'_, T> {
    handles.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, core: Arc<SmscCore>, connections: Arc<Mutex<Connections>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => admit(stream, &core, &lock(&connections)),
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

fn admit(stream: TcpStream, core: &Arc<SmscCore>, connections: &Connections) {
    count(&core.counters.connections);
    if connections.tasks.len() >= CONNECTIONS_MAX {
        tracing::warn!(limit = CONNECTIONS_MAX, "a connection too many was closed");
        return;
    }
    let (dropped, core) = (connections.dropped.clone(), Arc::clone(core));
    connections.tasks.spawn(async move {
        if let Some(Err(error)) = dropped.run_until_cancelled(session::serve(stream, core)).await {
            tracing::debug!(kind = ?error.kind(), "a connection ended with an error");
        }
    });
}
