//! Parts that wait for their response, by sequence number. The numbers only grow, so the first is always the oldest.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::flight::Flight;

/// How long an answer may come late and still settle its submit.
const LATE_FOR: Duration = Duration::from_mins(10);

/// Parts whose late answers are waited for; the oldest give way.
const LATE_MAX: usize = 10_000;

/// A part that waits for its answer.
pub(in crate::smpp) struct PendingResponse {
    pub flight: Arc<Flight>,
    /// Index of the part.
    pub part: usize,
    /// Position of the end of its PDU in the outbox.
    pub end: u64,
}

struct InWindow {
    response: PendingResponse,
    since: Instant,
    /// The window has room again when this goes, whatever the reason.
    _permit: OwnedSemaphorePermit,
}

/// The parts of one connection by sequence number.
pub(in crate::smpp) struct PendingResponses {
    response_timeout: Duration,
    window: BTreeMap<u32, InWindow>,
    /// Overdue, with the time when they are given up.
    late: BTreeMap<u32, (PendingResponse, Instant)>,
}

impl PendingResponses {
    pub(in crate::smpp) fn new(response_timeout: Duration) -> Self {
        Self { response_timeout, window: BTreeMap::new(), late: BTreeMap::new() }
    }

    /// A part was put where it is written.
    pub(in crate::smpp) fn add(
        &mut self,
        sequence_number: u32,
        response: PendingResponse,
        permit: OwnedSemaphorePermit,
    ) {
        let entry = InWindow { response, since: Instant::now(), _permit: permit };
        self.window.insert(sequence_number, entry);
    }

    /// Takes the part that an answer to `sequence_number` is to, where that was among the `written` octets.
    pub(in crate::smpp) fn take(&mut self, sequence_number: u32, written: u64) -> Option<PendingResponse> {
        if let Entry::Occupied(entry) = self.window.entry(sequence_number) {
            return (entry.get().response.end <= written).then(|| entry.remove().response);
        }
        match self.late.entry(sequence_number) {
            Entry::Occupied(entry) if entry.get().0.end <= written => Some(entry.remove().0),
            _ => None,
        }
    }

    /// When [`PendingResponses::expire`] next has something to do.
    pub(in crate::smpp) fn next_deadline(&self) -> Option<Instant> {
        let overdue = self.window.first_key_value().map(|(_, entry)| entry.since + self.response_timeout);
        let given_up = self.late.first_key_value().map(|(_, (_, until))| *until);
        overdue.into_iter().chain(given_up).min()
    }

    /// Gives those that are overdue now, which wait on outside the window, and those whose time is over.
    pub(in crate::smpp) fn expire(&mut self, now: Instant) -> (Vec<PendingResponse>, Vec<PendingResponse>) {
        let (mut overdue, mut given_up) = (Vec::new(), Vec::new());
        while let Some(entry) = self.late.first_entry()
            && entry.get().1 <= now
        {
            given_up.push(entry.remove().0);
        }
        while let Some(entry) = self.window.first_entry()
            && entry.get().since + self.response_timeout <= now
        {
            let (sequence_number, InWindow { response, .. }) = entry.remove_entry();
            overdue.push(PendingResponse { flight: Arc::clone(&response.flight), ..response });
            self.late.insert(sequence_number, (response, now + LATE_FOR));
            if self.late.len() > LATE_MAX {
                given_up.extend(self.late.pop_first().map(|(_, (response, _))| response));
            }
        }
        (overdue, given_up)
    }

    /// Whether no part takes room in the window.
    pub(in crate::smpp) fn is_window_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// Gives all that wait; nobody waits any more.
    pub(in crate::smpp) fn clear(&mut self) -> Vec<PendingResponse> {
        let late = std::mem::take(&mut self.late).into_values().map(|(response, _)| response);
        let window = std::mem::take(&mut self.window).into_values().map(|entry| entry.response);
        late.chain(window).collect()
    }
}
