//! A cache of the messages that are being sent. A message never changes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use klaroen_domain::alert::Priority;
use klaroen_domain::id::MessageId;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use klaroen_store::Store;

/// Dozens of alerts may run at the same time; automatic answers, one message each, pass through.
const KEPT: usize = 1_000;

/// The data that all deliveries of a message share.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) text: Arc<MessageText>,
    pub(crate) segments: u8,
    pub(crate) expires_at: Timestamp,
    pub(crate) priority: Priority,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<MessageId, Arc<Outgoing>>,
    oldest_first: VecDeque<MessageId>,
}

/// A bounded cache of messages. The oldest is dropped first.
#[derive(Debug, Default)]
pub(crate) struct MessageCache(Mutex<Entries>);

impl MessageCache {
    /// The message, from memory or the database; `None` if it does not exist.
    pub(crate) async fn get(
        &self,
        store: &Store,
        id: MessageId,
    ) -> klaroen_store::Result<Option<Arc<Outgoing>>> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        let Some(message) = store.outbound_message(id).await? else { return Ok(None) };
        let outgoing = Arc::new(Outgoing {
            segments: message.text.segments(),
            text: Arc::new(message.text),
            expires_at: message.expires_at,
            priority: message.priority,
        });
        self.keep(id, Arc::clone(&outgoing));
        Ok(Some(outgoing))
    }

    fn known(&self, id: MessageId) -> Option<Arc<Outgoing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    pub(crate) fn keep(&self, id: MessageId, outgoing: Arc<Outgoing>) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.by_id.insert(id, outgoing).is_none() {
            entries.oldest_first.push_back(id);
        }
        while entries.oldest_first.len() > KEPT {
            let oldest = entries.oldest_first.pop_front();
            oldest.and_then(|id| entries.by_id.remove(&id));
        }
    }
}
