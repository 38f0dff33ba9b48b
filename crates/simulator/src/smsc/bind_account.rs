//! Deliveries that wait for the receivers of one `system_id`: receipts and SMS from handsets. It outlives
//! their connections.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::fault_plan::FinalState;

/// A `deliver_sm` to be.
pub(crate) struct Delivery {
    pub content: Content,
    /// How often it was sent.
    pub attempts: u32,
    /// Receives the `command_status` of the first answer.
    pub answered: Option<oneshot::Sender<u32>>,
}

/// The content of a `deliver_sm`.
#[derive(Clone)]
pub(crate) enum Content {
    Receipt(Receipt),
    Text { from: Box<str>, to: Box<str>, text: Box<str> },
}

/// A delivery receipt (SMPP 3.4 Appendix B).
#[derive(Clone)]
pub(crate) struct Receipt {
    pub message_id: u64,
    /// The handset that the message went to.
    pub from: Box<str>,
    /// The sender of the message.
    pub to: Box<str>,
    pub stage: Stage,
    pub submitted_ms: i64,
    pub done_ms: i64,
    /// The first 20 octets of the message, where they are text of one octet a character.
    pub excerpt: Box<[u8]>,
}

/// The stage that a receipt reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Enroute,
    Final(FinalState),
}

/// The queue of one `system_id`.
pub(crate) struct Account {
    queue: Mutex<VecDeque<Delivery>>,
    queue_max: usize,
    /// Told when something was put in; every receiver looks, whoever comes first takes it.
    pub arrived: Notify,
}

impl Account {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self { queue: Mutex::default(), queue_max, arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Delivery>> {
        // A queue is whole between its calls, whoever panicked.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in; whether there was room.
    #[must_use]
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        {
            let mut queue = self.lock();
            if queue.len() >= self.queue_max {
                return false;
            }
            queue.push_back(delivery);
        }
        self.arrived.notify_waiters();
        true
    }

    /// Puts back what a lost connection left unanswered, before all others and in its order. This may exceed the limit
    /// by the windows of the connections.
    pub(crate) fn put_back(&self, deliveries: impl DoubleEndedIterator<Item = Delivery>) {
        {
            let mut queue = self.lock();
            for delivery in deliveries.rev() {
                queue.push_front(delivery);
            }
        }
        self.arrived.notify_waiters();
    }

    pub(crate) fn pop(&self) -> Option<Delivery> {
        self.lock().pop_front()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Delivery {
        let content = Content::Text { from: "316".into(), to: "1000".into(), text: text.into() };
        Delivery { content, attempts: 0, answered: None }
    }

    fn next(account: &Account) -> Option<String> {
        account.pop().map(|delivery| match delivery.content {
            Content::Text { text, .. } => text.to_string(),
            Content::Receipt(_) => "receipt".to_owned(),
        })
    }

    #[test]
    fn what_was_put_back_comes_first_and_in_its_order() {
        let account = Account::new(2);
        assert!(account.push(text("c")) && account.push(text("d")));
        assert!(!account.push(text("e")), "the queue is full");
        account.put_back([text("a"), text("b")].into_iter());
        let order: Vec<String> = std::iter::from_fn(|| next(&account)).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }
}
