//! Acknowledging an event to the gateway adapter.

use klaroen_gateway::Ack;
use tokio::sync::oneshot;

/// An acknowledgement goes to an adapter that may be gone by now; the provider sends again then, and the repetition is known.
pub(crate) fn acknowledge(ack: oneshot::Sender<Ack>, verdict: Ack) {
    if ack.send(verdict).is_err() {
        tracing::debug!("nobody waits for this acknowledgement any more");
    }
}
