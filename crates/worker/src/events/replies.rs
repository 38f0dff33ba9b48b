//! SMS from participants: stored in the order in which they came; a STOP is acknowledged only when nothing can leave for
//! that number any more.

use std::sync::Arc;

use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_gateway::{Ack, InboundSms};
use klaroen_store::Store;
use klaroen_store::replies::{AutoReplyTexts, IncomingReply};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::events::acknowledge::acknowledge;
use crate::instruments;

/// Inbound SMS that wait to be stored; a full queue slows the provider down.
pub(crate) const WAITING: usize = 256;
/// STOPs that wait at once; more are stored and sent again by the provider.
const STOPS: usize = 256;

/// An SMS and the way to acknowledge it.
pub(crate) struct ReceivedSms {
    pub(crate) sms: InboundSms,
    pub(crate) ack: oneshot::Sender<Ack>,
}

/// Takes the SMS of one connection.
pub(crate) struct ReplyReader {
    pub(crate) store: Store,
    pub(crate) gateway: String,
    pub(crate) country: Country,
    pub(crate) texts: Arc<dyn AutoReplyTexts>,
    pub(crate) wake: Arc<Notify>,
}

impl ReplyReader {
    /// Runs until every sender is gone and every STOP that waits has its answer.
    pub(crate) async fn run(self, mut received: mpsc::Receiver<ReceivedSms>) {
        let mut stops = JoinSet::new();
        loop {
            tokio::select! {
                next = received.recv() => match next {
                    Some(received) => self.handle(received, &mut stops).await,
                    None => break,
                },
                Some(ended) = stops.join_next() => report(ended),
            }
        }
        while let Some(ended) = stops.join_next().await {
            report(ended);
        }
    }

    async fn handle(&self, received: ReceivedSms, stops: &mut JoinSet<()>) {
        let ReceivedSms { sms, ack } = received;
        let reply = IncomingReply::of(&self.gateway, sms, self.country);
        match self.store.store_reply(&reply, self.texts.as_ref()).await {
            Ok(stored) => {
                instruments::reply(stored);
                if stored.may_be_answered() {
                    // It may have queued an automatic answer.
                    self.wake.notify_waiters();
                }
            }
            Err(error) => {
                tracing::warn!(gateway = self.gateway, %error, "an inbound SMS was not stored");
                return acknowledge(ack, Ack::Retry);
            }
        }
        // A repeated STOP is checked again: the first one may have been answered with "send it again".
        match reply.stops().cloned() {
            Some(phone) if stops.len() < STOPS => {
                stops.spawn(acknowledge_stop(self.store.clone(), phone, ack));
            }
            Some(_) => acknowledge(ack, Ack::Retry),
            None => acknowledge(ack, Ack::Stored),
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(panicked = error.is_panic(), "a STOP was stored but could not be acknowledged");
    }
}

/// Acknowledges a stored STOP when nothing is under way to the number. Otherwise the provider sends it again, is known by
/// its key, and the check is made again.
async fn acknowledge_stop(store: Store, phone: PhoneNumber, ack: oneshot::Sender<Ack>) {
    let verdict = match store.settles_for(&phone).await {
        Ok(true) => Ack::Stored,
        Ok(false) => Ack::Retry,
        Err(error) => {
            tracing::warn!(%error, "whether something is under way to a number that said STOP is not known");
            Ack::Retry
        }
    };
    acknowledge(ack, verdict);
}
