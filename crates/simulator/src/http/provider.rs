//! The HTTP provider as its users hold it.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::callbacks;
use crate::http::config::{CallbackUrls, HttpConfig};
use crate::http::contracts::contract::{Found, Search};
use crate::http::faults::{HttpFaults, Mishap};
use crate::http::server;
use crate::http::state::ProviderState;
use crate::http::state::job::Job;
use crate::http::state::stats::HttpStats;
use crate::ledger::{Ledger, Ring};

/// A running HTTP provider. It stops when it is dropped; [`HttpProvider::shutdown`] also waits for that.
pub struct HttpProvider {
    state: Arc<ProviderState>,
    addr: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    listening: Mutex<Option<Listening>>,
}

/// The listener and its connections.
struct Listening {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// A message that a provider took. `Debug` shows neither number nor text.
#[derive(Clone, PartialEq, Eq)]
pub struct Kept {
    /// The provider's id.
    pub id: String,
    /// The sender's own reference, if the contract has one and it was given.
    pub reference: Option<String>,
    /// The sender.
    pub from: String,
    /// Digits without plus sign.
    pub to: String,
    /// Its text.
    pub text: String,
    /// `sent`, and in the end `delivered`, `undelivered`, `expired`, `rejected` or `blocked`.
    pub status: &'static str,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("id", &self.id).field("status", &self.status).finish_non_exhaustive()
    }
}

impl From<Found> for Kept {
    fn from(found: Found) -> Self {
        let message = &found.sms.message;
        Self {
            id: found.sms.id.clone(),
            reference: message.reference.as_deref().map(str::to_owned),
            from: message.from.to_string(),
            to: message.to.to_string(),
            text: message.text.to_string(),
            status: found.stage.as_str(),
        }
    }
}

/// Why an SMS from a handset was not answered by the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundFailure {
    /// There is no URL for it.
    #[error("there is nowhere to send it to")]
    Nowhere,
    /// The queue of callbacks is full.
    #[error("the queue of callbacks is full")]
    QueueFull,
    /// The first call failed or got no answer within [`HttpConfig::callback_timeout_ms`]; it is repeated as the contract has it.
    #[error("no answer came")]
    NotAnswered,
}

impl HttpProvider {
    /// Starts a provider. To be called in a tokio runtime.
    ///
    /// # Errors
    /// An [`io::Error`] if it cannot listen; of kind `InvalidInput` if the faults cannot be ([`HttpFaults::check`]).
    pub async fn start(config: HttpConfig) -> io::Result<Self> {
        config.faults.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(config.listen).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(ProviderState::new(config, SystemClock.now().as_millis()));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn({
            let (stop, state) = (stop.clone(), Arc::clone(&state));
            async move { stop.run_until_cancelled(state.work_off()).await }
        });
        tasks.spawn({
            let (stop, state, tasks) = (stop.clone(), Arc::clone(&state), TaskTracker::new());
            async move {
                stop.run_until_cancelled(callbacks::run(state, tasks.clone(), stop.clone())).await;
                tasks.close();
                tasks.wait().await;
            }
        });
        let provider = Self { state, addr, stop, tasks, listening: Mutex::default() };
        provider.serve(listener);
        Ok(provider)
    }

    fn serve(&self, listener: TcpListener) {
        let stop = self.stop.child_token();
        let task = tokio::spawn(server::serve(listener, Arc::clone(&self.state), stop.clone()));
        *self.listening() = Some(Listening { stop, task });
    }

    fn listening(&self) -> MutexGuard<'_, Option<Listening>> {
        // A handle is put in or taken out, nothing in between.
        self.listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for an adapter: `http://127.0.0.1:PORT`, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Changes what goes wrong, for every request from now on. Messages that were taken keep their fate.
    pub fn set_faults(&self, faults: HttpFaults) {
        self.state.set_faults(faults);
    }

    /// Lets the next `times` submits fare like that, before any share is drawn; what was ordered before comes first.
    pub fn order(&self, mishap: Mishap, times: usize) {
        self.state.order(mishap, times);
    }

    /// Changes where receipts and inbound SMS go, waiting ones included.
    pub fn set_callbacks(&self, urls: CallbackUrls) {
        self.state.set_urls(urls);
    }

    /// Tops the balance up, or empties it; `None` is one without end.
    pub fn set_balance(&self, parts: Option<u64>) {
        self.state.set_balance(parts);
    }

    /// Parts that can still be sent.
    #[must_use]
    pub fn balance(&self) -> Option<u64> {
        self.state.balance()
    }

    /// The counters so far.
    #[must_use]
    pub fn stats(&self) -> HttpStats {
        self.state.stats()
    }

    /// Waits until this number of messages was taken since the start, in order to change what goes wrong then.
    pub async fn until_taken(&self, messages: u64) {
        let mut taken = self.state.taken.subscribe();
        // The state lives as long as this, and with it the other end.
        let _ = taken.wait_for(|taken| *taken >= messages).await;
    }

    /// The rings of one number (with or without its plus sign), oldest first.
    #[must_use]
    pub fn rings_of(&self, number: &str) -> Vec<Ring> {
        self.state.with_ledger(|ledger| ledger.rings_of(number))
    }

    /// How often each number rang, as digits without plus sign; numbers that never rang are not in it.
    #[must_use]
    pub fn ring_counts(&self) -> HashMap<String, u32> {
        self.state.with_ledger(|ledger| ledger.ring_counts())
    }

    /// The rings of all handsets together.
    #[must_use]
    pub fn total_rings(&self) -> u64 {
        self.state.with_ledger(|ledger: &mut Ledger| ledger.total_rings())
    }

    /// The messages that were taken under a reference of the sender, oldest first, the newest 50 of them.
    #[must_use]
    pub fn taken_as(&self, reference: &str) -> Vec<Kept> {
        self.find(&Search { reference: Some(reference.to_owned()), ..Search::default() })
    }

    /// The messages that were taken for a number (with or without its plus sign), oldest first, the newest 50 of
    /// them.
    #[must_use]
    pub fn taken_for(&self, number: &str) -> Vec<Kept> {
        self.find(&Search { number: Some(number.to_owned()), ..Search::default() })
    }

    fn find(&self, search: &Search) -> Vec<Kept> {
        self.state.with_records(|records| records.find(search)).into_iter().map(Kept::from).collect()
    }

    /// A handset sends an SMS. Resolves with the HTTP status of the first answer; if that is not what the contract
    /// wants, the SMS is sent again by itself.
    ///
    /// # Errors
    /// Returns an [`InboundFailure`] if there is no URL for it, the queue of callbacks is full, or the first call is not answered.
    pub async fn send_inbound(&self, from: &str, to: &str, text: &str) -> Result<u16, InboundFailure> {
        let [from, to] = [from, to].map(|address| address.trim_start_matches('+'));
        let state = &self.state;
        if state.callbacks.len() >= state.config.callback_queue_max {
            return Err(InboundFailure::QueueFull);
        }
        let (answered, answer) = oneshot::channel();
        state.call(Job::new([state.inbound_event(from, to, text)], None).told(answered));
        // Others may be before it in the queue.
        let wait = Duration::from_millis(state.config.callback_timeout_ms.saturating_mul(2));
        match timeout(wait, answer).await {
            Ok(Ok(Some(status))) => Ok(status),
            Ok(Err(_)) => Err(InboundFailure::Nowhere),
            Ok(Ok(None)) | Err(_) => Err(InboundFailure::NotAnswered),
        }
    }

    /// Drops every connection and refuses new ones, until [`HttpProvider::listen_again`]. Callbacks go on.
    pub async fn stop_listening(&self) {
        let listening = self.listening().take();
        if let Some(Listening { stop, task }) = listening {
            stop.cancel();
            if task.await.is_err() {
                tracing::error!("the listener panicked");
            }
        }
    }

    /// Listens again where it did before.
    ///
    /// # Errors
    /// An [`io::Error`] if another process took the port in the meantime.
    pub async fn listen_again(&self) -> io::Result<()> {
        if self.listening().is_none() {
            self.serve(TcpListener::bind(self.addr).await?);
        }
        Ok(())
    }

    /// Drops every connection without a word, and waits until they are gone. New ones are welcome.
    ///
    /// # Errors
    /// An [`io::Error`] if another process took the port in the meantime.
    pub async fn disconnect_all(&self) -> io::Result<()> {
        self.stop_listening().await;
        self.listen_again().await
    }

    /// Stops listening and calling back, and waits until all is still. What was counted can still be asked for.
    pub async fn shutdown(&self) {
        self.stop.cancel();
        self.stop_listening().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for HttpProvider {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
