//! How many events may wait for their consumer.
//!
//! A message centre may send the receipts of a whole alert at once, and not send again what it is refused. So they are taken
//! for as long as there is memory for them, which is counted for all connections of the process together.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use crate::sms::{Delivered, GatewayEvent};

/// Events of the process: more than the receipts of any alert that most gateways bring before the first are stored.
const EVENTS_MAX: usize = 100_000;

/// Bytes of all of them. Receipts of usual length reach both limits at about the same time.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of an event besides itself and its texts: the place of its verdict, of the answer that waits for it, and what the
/// allocator adds to each of six pieces.
const BESIDE: usize = 320;

/// Events that wait for their verdict, and their weight.
#[derive(Debug, Default)]
struct Waiting {
    events: usize,
    bytes: usize,
}

/// Room for events, which their connections share.
#[derive(Debug)]
pub(in crate::smpp) struct EventBudget {
    events_max: usize,
    bytes_max: usize,
    waiting: Mutex<Waiting>,
}

/// The room of one event. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<EventBudget>,
    bytes: usize,
}

impl EventBudget {
    pub(in crate::smpp) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self { events_max, bytes_max, waiting: Mutex::default() }
    }

    /// The budget of this process: memory is one, however many connections there are.
    pub(in crate::smpp) fn of_process() -> Arc<Self> {
        static BUDGET: LazyLock<Arc<EventBudget>> =
            LazyLock::new(|| Arc::new(EventBudget::new(EVENTS_MAX, BYTES_MAX)));
        Arc::clone(&BUDGET)
    }

    /// Events that may wait at most.
    pub(in crate::smpp) const fn events_max(&self) -> usize {
        self.events_max
    }

    /// Room for `event`; `None` if there is none.
    pub(super) fn reserve(self: &Arc<Self>, event: &GatewayEvent) -> Option<Room> {
        let bytes = weight(event);
        let mut waiting = self.lock();
        if waiting.events >= self.events_max || waiting.bytes + bytes > self.bytes_max {
            return None;
        }
        waiting.events += 1;
        waiting.bytes += bytes;
        drop(waiting);
        Some(Room { budget: Arc::clone(self), bytes })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while holding it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut waiting = self.budget.lock();
        waiting.events -= 1;
        waiting.bytes -= self.bytes;
    }
}

/// Bytes that an event takes until it is answered.
fn weight(event: &GatewayEvent) -> usize {
    let texts = match event {
        GatewayEvent::Receipt(receipt) => {
            let optional = receipt.error.as_ref().map_or(0, String::capacity)
                + receipt.reference.as_ref().map_or(0, |reference| reference.0.capacity())
                + receipt.recipient.as_ref().map_or(0, |number| number.expose().len());
            receipt.provider_id.0.capacity() + receipt.raw.capacity() + optional
        }
        GatewayEvent::Inbound(sms) => {
            sms.dedupe_key.capacity() + sms.from.capacity() + sms.to.capacity() + sms.text.capacity()
        }
        // These do not come from the SMSC: they are counted where they are kept.
        GatewayEvent::LateAnswer { .. } => 0,
    };
    size_of::<Delivered>() + BESIDE + texts
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{ProviderId, ReceiptStatus};

    use super::*;
    use crate::sms::Receipt;

    fn receipt(raw: &str) -> GatewayEvent {
        GatewayEvent::Receipt(Receipt {
            provider_id: ProviderId("77".into()),
            reference: None,
            status: ReceiptStatus::Delivered,
            error: None,
            recipient: None,
            raw: raw.into(),
        })
    }

    #[test]
    fn events_are_counted_and_weighed_and_give_their_room_back() {
        let short = receipt("");
        let count = Arc::new(EventBudget::new(2, usize::MAX));
        let both = [count.reserve(&short), count.reserve(&short)];
        assert!(both.iter().all(Option::is_some) && count.reserve(&short).is_none());
        drop(both);
        assert!(count.reserve(&short).is_some());

        let long = receipt(&"x".repeat(10_000));
        let bytes = Arc::new(EventBudget::new(usize::MAX, 3 * weight(&short)));
        assert!(bytes.reserve(&long).is_none(), "it weighs what it is long");
        let three: Vec<_> = (0..3).map(|_| bytes.reserve(&short)).collect();
        assert!(three.iter().all(Option::is_some) && bytes.reserve(&short).is_none());
    }

    #[test]
    fn a_hundred_thousand_usual_receipts_fit() {
        let usual = "id:0439041101 sub:001 dlvrd:001 submit date:2611251200 done date:2611251200 stat:DELIVRD err:000 \
                     receipted_message_id:0439041101 message_state:2";
        assert!(weight(&receipt(usual)) * EVENTS_MAX <= BYTES_MAX, "{}", weight(&receipt(usual)));
    }
}
