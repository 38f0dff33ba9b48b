//! What the worker says about its channels, for readiness and the operator.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use klaroen_gateway::ChannelStatus;
use klaroen_store::channels::ChannelName;
use tokio::sync::watch;

/// One channel as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHealth {
    /// Which one.
    pub name: ChannelName,
    /// Whether this process holds its lease.
    pub leased: bool,
    /// Whether another process holds its lease.
    pub elsewhere: bool,
    /// The connection; [`ChannelStatus::Closed`] while it is not ours.
    pub status: ChannelStatus,
}

/// Where a channel's task shows its connection.
#[derive(Debug)]
pub(crate) struct HealthBoard(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    name: ChannelName,
    status: Mutex<Option<watch::Receiver<ChannelStatus>>>,
    elsewhere: AtomicBool,
}

impl HealthBoard {
    pub(crate) fn new(names: impl Iterator<Item = ChannelName>) -> Arc<Self> {
        let entry = |name| Entry { name, status: Mutex::new(None), elsewhere: AtomicBool::new(false) };
        Arc::new(Self(names.map(entry).collect()))
    }

    /// Notes whether another process holds a channel.
    pub(crate) fn elsewhere(&self, index: usize, elsewhere: bool) {
        if let Some(entry) = self.0.get(index) {
            entry.elsewhere.store(elsewhere, Ordering::Relaxed);
        }
    }

    /// Shows the connection of a leased channel; it is taken down when the guard is dropped, by a panic too.
    pub(crate) fn show(
        self: &Arc<Self>,
        index: usize,
        status: watch::Receiver<ChannelStatus>,
    ) -> ShownStatus {
        self.set(index, Some(status));
        ShownStatus { board: Arc::clone(self), index }
    }

    fn set(&self, index: usize, status: Option<watch::Receiver<ChannelStatus>>) {
        if let Some(entry) = self.0.get(index) {
            *entry.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        }
    }

    pub(crate) fn snapshot(&self) -> Vec<ChannelHealth> {
        let health = |entry: &Entry| {
            let status = entry.status.lock().unwrap_or_else(PoisonError::into_inner);
            let shown = status.as_ref().map(|status| status.borrow().clone());
            ChannelHealth {
                name: entry.name.clone(),
                leased: shown.is_some(),
                elsewhere: shown.is_none() && entry.elsewhere.load(Ordering::Relaxed),
                status: shown.unwrap_or(ChannelStatus::Closed),
            }
        };
        self.0.iter().map(health).collect()
    }
}

/// Takes the channel's status down again.
#[derive(Debug)]
pub(crate) struct ShownStatus {
    board: Arc<HealthBoard>,
    index: usize,
}

impl Drop for ShownStatus {
    fn drop(&mut self) {
        self.board.set(self.index, None);
    }
}
