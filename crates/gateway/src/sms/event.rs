//! Events that a provider sends by itself, and how they are acknowledged.

use klaroen_domain::id::DeliveryId;
use klaroen_domain::incoming::{InboundSms, Receipt};
use klaroen_domain::outcome::SubmitOutcome;
use tokio::sync::oneshot;

/// An event that a provider sends by itself.
#[derive(Clone, Debug)]
pub enum GatewayEvent {
    /// The fate of a message.
    Receipt(Receipt),
    /// An SMS from a person.
    Inbound(InboundSms),
    /// The answer to a submit whose caller had given up waiting: it still settles the attempt.
    LateAnswer {
        /// The delivery that was submitted.
        delivery: DeliveryId,
        /// Its [`OutboundSms::attempt`]: by now there may be another one.
        attempt: i64,
        /// The outcome by the provider's answer.
        outcome: SubmitOutcome,
    },
}

/// The consumer's verdict on an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is stored (committed): do not send it again.
    Stored,
    /// It is not stored: send it again later.
    Retry,
}

/// An event and the way to acknowledge it. Dropping it unanswered means [`Ack::Retry`].
#[derive(Debug)]
pub struct Delivered {
    /// The event.
    pub event: GatewayEvent,
    /// Takes the verdict; the adapter answers the provider after it, and not before.
    pub ack: oneshot::Sender<Ack>,
}
