//! Events that nobody will send again: they are offered until they are stored.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::sms::{Ack, Delivered, GatewayEvent};

/// Waits between offers.
pub(crate) const EVERY: Duration = Duration::from_secs(5);
/// Offers before it is given up: an hour, longer than nearly any alert.
const OFFERS_MAX: u32 = 720;

/// Offers `event` until it is stored, the consumer is gone, or an hour has passed; whether it is stored.
pub(crate) async fn redeliver(events: &mpsc::Sender<Delivered>, event: GatewayEvent) -> bool {
    for _ in 0..OFFERS_MAX {
        let (ack, verdict) = oneshot::channel();
        if events.send(Delivered { event: event.clone(), ack }).await.is_err() {
            // Nobody listens any more: the process ends, and what is open is settled at its next start.
            return false;
        }
        if verdict.await == Ok(Ack::Stored) {
            return true;
        }
        tokio::time::sleep(EVERY).await;
    }
    tracing::error!("event was not stored for an hour; giving it up");
    false
}
