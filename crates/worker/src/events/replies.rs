//! SMS from participants. They are stored in the order in which they came. A STOP is acknowledged when nothing can
//! leave for its number any more.

use std::sync::Arc;

use klaroen_domain::phone::{Country, PhoneNumber};
use klaroen_gateway::{Ack, InboundSms};
use klaroen_store::Store;
use klaroen_store::replies::{AutoReplyTexts, IncomingReply};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::events::acknowledge::acknowledge;
use crate::instruments;

/// Inbound SMS that wait to be stored. If the queue is full, the provider has to wait.
pub(crate) const WAITING: usize = 256;
/// STOPs that wait for their check at the same time. Further ones are stored, but the provider has to send them again.
const STOPS: usize = 256;

/// An SMS, and the channel for its acknowledgement.
pub(crate) struct ReceivedSms {
    pub(crate) sms: InboundSms,
    pub(crate) ack: oneshot::Sender<Ack>,
}

/// Stores the SMS of one connection.
pub(crate) struct ReplyReader {
    pub(crate) store: Store,
    pub(crate) gateway: String,
    pub(crate) country: Country,
    pub(crate) texts: Arc<dyn AutoReplyTexts>,
    pub(crate) wake: Arc<Notify>,
}

impl ReplyReader {
    /// Runs until every sender is gone and every waiting STOP is acknowledged.
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
                    // An automatic answer may have been queued.
                    self.wake.notify_waiters();
                }
            }
            Err(error) => {
                tracing::warn!(gateway = self.gateway, %error, "inbound SMS not stored: the provider has to send it again");
                return acknowledge(ack, Ack::Retry);
            }
        }
        // A repeated STOP is checked again because the first one may have been answered with "send it again".
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
        tracing::error!(
            panicked = error.is_panic(),
            "a STOP was stored but not acknowledged: its task failed"
        );
    }
}

/// Acknowledges a stored STOP if nothing is under way to its number. Otherwise the provider sends it again, it is
/// recognised by its key, and the check is repeated.
async fn acknowledge_stop(store: Store, phone: PhoneNumber, ack: oneshot::Sender<Ack>) {
    let verdict = match store.settles_for(&phone).await {
        Ok(true) => Ack::Stored,
        Ok(false) => Ack::Retry,
        Err(error) => {
            tracing::warn!(%error, "could not check whether a message is in flight to a number that sent STOP");
            Ack::Retry
        }
    };
    acknowledge(ack, verdict);
}
