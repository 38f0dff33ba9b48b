//! The health of the channels, for the readiness check and the operator.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use klaroen_gateway::ChannelStatus;
use klaroen_store::channels::ChannelName;
use tokio::sync::watch;

/// The health of one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelHealth {
    /// The channel.
    pub name: ChannelName,
    /// Whether this process holds its lease.
    pub leased: bool,
    /// Whether another process holds its lease.
    pub elsewhere: bool,
    /// The state of the connection; [`ChannelStatus::Closed`] if this process does not hold the channel.
    pub status: ChannelStatus,
}

/// Where the tasks of the channels publish their status.
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

    /// Records whether another process holds a channel.
    pub(crate) fn elsewhere(&self, index: usize, elsewhere: bool) {
        if let Some(entry) = self.0.get(index) {
            entry.elsewhere.store(elsewhere, Ordering::Relaxed);
        }
    }

    /// Publishes the status of a leased channel until the guard is dropped, also by a panic.
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

/// Withdraws the published status when it is dropped.
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
