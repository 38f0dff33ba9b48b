//! Acknowledgement of an event to the gateway adapter.

use klaroen_gateway::Ack;
use tokio::sync::oneshot;

/// Sends an acknowledgement. If the adapter is gone, the provider sends the event again, and the repetition is
/// recognised.
pub(crate) fn acknowledge(ack: oneshot::Sender<Ack>, verdict: Ack) {
    if ack.send(verdict).is_err() {
        tracing::debug!("acknowledgement dropped: the adapter has stopped waiting for it");
    }
}
