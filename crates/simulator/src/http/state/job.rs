//! Work that is still to be done for a message: its ring, a reply, its callbacks.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::http::contracts::contract::Inbound;
use crate::http::contracts::message::{Sms, Stage};
use crate::http::faults::HttpFate;

/// An event that is called back.
pub(crate) enum Event {
    Receipt { sms: Arc<Sms>, stage: Stage, done_ms: i64 },
    Inbound(Arc<Inbound>),
}

/// The callbacks of one message, or of several whose receipts can go in one call.
pub(crate) struct Job {
    pub events: VecDeque<Event>,
    /// How often the first one was tried.
    pub attempts: u32,
    /// Told when the first attempt at every one was answered; who waits sees the end where they are dropped.
    pub done: Vec<oneshot::Sender<()>>,
    /// Told the status of the first answer, or `None` if there was none.
    pub answered: Option<oneshot::Sender<Option<u16>>>,
}

impl Job {
    pub(crate) fn new(events: impl IntoIterator<Item = Event>, done: Option<oneshot::Sender<()>>) -> Self {
        Self { events: events.into_iter().collect(), attempts: 0, done: Vec::from_iter(done), answered: None }
    }

    /// With somebody who wants to know the status of the first answer.
    pub(crate) fn told(mut self, answered: oneshot::Sender<Option<u16>>) -> Self {
        self.answered = Some(answered);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether it is only receipts that were not tried yet.
    pub(in crate::http) fn is_fresh(&self) -> bool {
        self.attempts == 0 && self.events.iter().all(|event| matches!(event, Event::Receipt { .. }))
    }

    pub(in crate::http) fn absorb(&mut self, other: Self) {
        self.events.extend(other.events);
        self.done.extend(other.done);
    }

    /// How many of the first events go in one call: receipts for one URL, up to `together`.
    pub(in crate::http) fn first_call(&self, together: usize) -> usize {
        let url = |event: &Event| match event {
            Event::Receipt { sms, .. } => Some(sms.message.receipt_url.clone()),
            Event::Inbound(_) => None,
        };
        let Some(first) = self.events.front().and_then(url) else { return 1 };
        self.events.iter().take(together).take_while(|event| url(event).as_ref() == Some(&first)).count()
    }
}

/// Something that happens to a handset later.
pub(crate) enum HandsetEvent {
    Message { sms: Arc<Sms>, fate: HttpFate, taken: Instant },
    Reply { from: Box<str>, to: Arc<str>, text: Box<str> },
}
