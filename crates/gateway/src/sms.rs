//! The one trait of all adapters, and what goes through it.

mod callback;
mod event;
mod status;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::id::DeliveryId;
pub use klaroen_domain::incoming::{ClientReference, InboundSms, Receipt};
pub use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus, Scope, SubmitOutcome};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};

pub use self::callback::{
    CallbackAnswer, CallbackError, CallbackKind, REPLAY_WINDOW_S, RawCallback, VerifiedCallback,
};
pub use self::event::{Ack, Delivered, GatewayEvent};
pub use self::status::{Candidate, StatusAnswer};

/// The capabilities of an adapter; everything is off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a flat list of yes or no is what a capability table is")]
pub struct Capabilities {
    /// The provider echoes our reference in its receipts.
    pub client_reference: bool,
    /// Submitting the same reference again cannot ring twice.
    pub idempotent_submit: bool,
    /// Receipts come.
    pub receipts: bool,
    /// [`SmsGateway::query_status`] answers.
    pub status_query: bool,
    /// Participants can reply.
    pub inbound: bool,
    /// Segments that one message may have.
    pub max_segments: u8,
    /// Messages that one [`SmsGateway::submit_batch`] hands over in one request; 0 if each goes by itself.
    pub batch_max: u16,
    /// Each segment of a message goes by itself and takes a place of its own in the window.
    pub window_of_segments: bool,
}

impl Capabilities {
    /// Nothing.
    pub(crate) const NONE: Self = Self {
        client_reference: false,
        idempotent_submit: false,
        receipts: false,
        status_query: false,
        inbound: false,
        max_segments: 0,
        batch_max: 0,
        window_of_segments: false,
    };
}

/// One message for one phone. `Debug` shows neither number nor text.
#[derive(Clone)]
pub struct OutboundSms {
    /// The delivery that this is an attempt of.
    pub delivery: DeliveryId,
    /// The attempt: opaque to an adapter, which hands it back in [`GatewayEvent::LateAnswer`].
    pub attempt: i64,
    /// The recipient.
    pub to: PhoneNumber,
    /// The text, shared by all deliveries of a message.
    pub text: Arc<MessageText>,
    /// How long the provider may keep trying: the rest of the alert's time.
    pub validity: Duration,
}

impl std::fmt::Debug for OutboundSms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundSms").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// The state of a connection, for readiness, metrics and the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelStatus {
    /// Being made, or made again after it was lost.
    Connecting,
    /// Messages can be submitted.
    Up,
    /// Refused by the provider (password, account): not tried again before the time.
    Refused {
        /// Why, fit for the operator.
        reason: String,
    },
    /// Shut down on our side.
    Closed,
}

/// One connection of a gateway (SMPP: one bind), which stays connected by itself.
pub struct Channel {
    /// Submits go here.
    pub gateway: Arc<dyn SmsGateway>,
    /// Receipts, inbound SMS and late answers; bounded, so that a slow consumer slows the provider.
    pub events: mpsc::Receiver<Delivered>,
    /// Whether it is up. Workers wait on this instead of claiming into the void.
    pub status: watch::Receiver<ChannelStatus>,
}

/// One way to send SMS.
#[async_trait]
pub trait SmsGateway: Send + Sync {
    /// Its capabilities.
    fn capabilities(&self) -> Capabilities;

    /// Hands one message to the provider, once. Never retries, sleeps or touches the database.
    /// Dropping the future leaves the attempt in doubt.
    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome;

    /// The number of segments that a text goes out as here, which its rate counts.
    fn segments(&self, text: &MessageText) -> u8 {
        text.segments()
    }

    /// Whether two messages may go in one request, if there are batches. Messages of which each goes with the first all
    /// go together.
    fn together(&self, _a: &OutboundSms, _b: &OutboundSms) -> bool {
        true
    }

    /// Hands over several messages: one outcome for each, in their order. It is one request for up to
    /// [`Capabilities::batch_max`] messages that go [together](Self::together); others go one after the other.
    async fn submit_batch(&self, batch: &[OutboundSms]) -> Vec<SubmitOutcome> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for sms in batch {
            outcomes.push(self.submit(sms).await);
        }
        outcomes
    }

    /// Verifies token, address and signature over the raw bytes, then parses. Pure.
    ///
    /// # Errors
    /// Returns a [`CallbackError`] if the gateway has no callbacks, a check fails, or the body cannot be read. The caller answers
    /// with its [`CallbackError::status`].
    fn parse_callback(&self, _callback: &RawCallback<'_>) -> Result<VerifiedCallback, CallbackError> {
        Err(CallbackError::NotSupported)
    }

    /// Asks what became of `sms`, which was submitted not before `since`. Asked only where `status_query` is set; settles an
    /// `Unknown`.
    async fn query_status(&self, _sms: &OutboundSms, _since: Timestamp) -> StatusAnswer {
        StatusAnswer::Unsupported
    }

    /// The connection is another's now: from here on nothing begins to leave. `submit` answers `NotTaken`, and so ends what
    /// waits for its turn; what has left goes on. Does not wait.
    fn halt(&self) {}

    /// [Halts](Self::halt), then waits, `deadline` at the most, until what has left is answered and the consumer of
    /// [`Channel::events`] has taken what nobody would send again. The connection stays up, and its events go on.
    async fn drain(&self, _deadline: Duration) {}

    /// Lets the window run empty, unbinds and closes; `submit` answers `NotTaken` from now on.
    async fn close(&self, _deadline: Duration) {}
}
