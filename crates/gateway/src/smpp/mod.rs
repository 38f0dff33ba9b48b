//! SMPP 3.4: a bind that stays up by itself.
//!
//! `session` is the life of the connection and the one task that reads and writes (`transport`); `connection` is the outbound and
//! `deliveries` the inbound half of one; the rest are tables and pure functions. The wire is spoken by `pdu` and `submit`.

mod codec;
mod config;
mod connection;
mod inbound;
mod outcome;
mod session;
mod submit;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::phone::Country;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Clock;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::codec::coding;
pub use self::config::{Alphabet, MessageIdFormat, SmppConfig};
use self::connection::flight::Reporter;
use self::inbound::budget::EventBudget;
use self::inbound::deliveries::Deliveries;
use self::session::{Ending, Session, Slot};
use self::submit::Composer;
use crate::failure::not_taken;
use crate::settings::ConnectError;
use crate::sms::{Capabilities, Channel, ChannelStatus, OutboundSms, SmsGateway};

/// Late answers that may wait for the consumer.
const LATE_MAX: usize = 10_000;

/// Longest wait for the answer to `unbind`, within the time to close.
const UNBIND_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest text: 8-bit numbering allows 255 parts, handsets some ten.
const SEGMENTS_MAX: u8 = 10;

/// One bind.
struct SmppGateway {
    config: Arc<SmppConfig>,
    composer: Composer,
    slot: Slot,
    tasks: TaskTracker,
    /// Tasks that hold what the SMSC will not send again.
    kept: TaskTracker,
    ending: Ending,
    /// No more submits.
    closing: CancellationToken,
    /// Ends everything, at the latest with the gateway.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

/// Starts a bind. Needs a tokio runtime.
///
/// # Errors
/// [`ConnectError::Password`] or [`ConnectError::Config`] if the password or the TLS files cannot be read. A provider that
/// cannot be reached is a status, not an error.
pub(crate) fn connect(
    config: &SmppConfig,
    channel: u16,
    country: Country,
    clock: Arc<dyn Clock>,
) -> Result<Channel, ConnectError> {
    connect_within(config, channel, country, clock, EventBudget::of_process())
}

/// [`connect`], with events within `budget`.
fn connect_within(
    config: &SmppConfig,
    channel: u16,
    country: Country,
    clock: Arc<dyn Clock>,
    budget: Arc<EventBudget>,
) -> Result<Channel, ConnectError> {
    let password = config.read_password()?;
    let tls = config.tls_settings().map_err(|fault| ConnectError::Config(vec![fault]))?;
    let config = Arc::new(config.clone());
    let (events, events_out) = mpsc::channel(budget.events_max());
    let (status, status_out) = watch::channel(ChannelStatus::Connecting);
    let (slot, stop, ending) = (Slot::default(), CancellationToken::new(), Ending::default());
    let (tasks, kept) = (TaskTracker::new(), TaskTracker::new());

    let gateway = SmppGateway {
        config: Arc::clone(&config),
        composer: Composer::new(Arc::clone(&config), Arc::clone(&clock)),
        slot: slot.clone(),
        tasks: tasks.clone(),
        kept: kept.clone(),
        ending: ending.clone(),
        closing: CancellationToken::new(),
        stop: stop.clone(),
        _stop_on_drop: stop.clone().drop_guard(),
    };
    let reporter = Arc::new(Reporter {
        events: events.downgrade(),
        kept: kept.clone(),
        runtime: Handle::current(),
        stop: stop.clone(),
        room: Arc::new(Semaphore::new(LATE_MAX)),
    });
    let deliveries = Deliveries::new(Arc::clone(&config), country, clock, events, budget, kept, stop.clone());
    let last_status = status.clone();
    let session =
        Session { config, channel, password, tls, status, slot: slot.clone(), reporter, deliveries, ending };
    tasks.spawn(async move {
        let _: Option<()> = stop.run_until_cancelled(session.run()).await;
        if let Some(bound) = slot.empty() {
            bound.lose();
        }
        last_status.send_replace(ChannelStatus::Closed);
    });
    Ok(Channel { gateway: Arc::new(gateway), events: events_out, status: status_out })
}

const CAPABILITIES: Capabilities = Capabilities {
    receipts: true,
    inbound: true,
    max_segments: SEGMENTS_MAX,
    window_of_segments: true,
    ..Capabilities::NONE
};

/// What a gateway with this configuration can do.
pub(crate) fn capabilities(config: &SmppConfig) -> Capabilities {
    Capabilities { receipts: config.asks_for_receipts(), ..CAPABILITIES }
}

#[async_trait]
impl SmsGateway for SmppGateway {
    fn capabilities(&self) -> Capabilities {
        capabilities(&self.config)
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        if self.closing.is_cancelled() {
            return not_taken("closed", "the gateway is being closed");
        }
        let Some(bound) = self.slot.get() else {
            return not_taken("not_bound", "no connection to the provider");
        };
        match self.composer.message(sms) {
            Ok(message) => bound.submit(sms, &message).await,
            Err(failure) => SubmitOutcome::Rejected(failure),
        }
    }

    fn segments(&self, text: &MessageText) -> u8 {
        coding::segments(text, self.config.alphabet)
    }

    fn halt(&self) {
        self.closing.cancel();
        if let Some(bound) = self.slot.get() {
            bound.halt();
        }
    }

    async fn drain(&self, deadline: Duration) {
        self.halt();
        let told = async {
            self.ending.asked.cancel();
            // Without a connection nothing waits to be offered.
            let Some(bound) = self.slot.get() else { return };
            // A provider that answers nothing more is not to keep what is offered from being stored.
            futures::join!(bound.drain(), self.ending.offered.cancelled());
        };
        let stored = async {
            told.await;
            self.kept.close();
            self.kept.wait().await;
        };
        if tokio::time::timeout(deadline, stored).await.is_err() {
            tracing::warn!(gateway = %self.config.name, "deadline passed before all submits were answered and all events stored");
        }
    }

    async fn close(&self, deadline: Duration) {
        let end = tokio::time::Instant::now() + deadline;
        self.closing.cancel();
        if let Some(bound) = self.slot.get() {
            let goodbye = async {
                bound.drain().await;
                tokio::time::timeout(UNBIND_TIMEOUT, bound.unbind()).await
            };
            match tokio::time::timeout_at(end, goodbye).await {
                Ok(Ok(())) => {}
                Ok(_) => tracing::info!(gateway = %self.config.name, "provider did not answer unbind"),
                Err(_) => {
                    tracing::warn!(gateway = %self.config.name, "deadline passed; closing with submits in flight");
                }
            }
        }
        self.stop.cancel();
        self.tasks.close();
        self.kept.close();
        // All of them end at the cancellation, without waiting for anybody.
        self.tasks.wait().await;
        self.kept.wait().await;
    }
}
