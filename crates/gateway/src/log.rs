//! Accepts everything and sends nothing: for a dry run. Logs ids and the masked number.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use klaroen_domain::outcome::{ProviderId, SubmitOutcome};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::failure::not_taken;
use crate::settings::Routing;
use crate::sms::{Capabilities, Channel, ChannelStatus, ClientReference, Delivered, OutboundSms, SmsGateway};

/// `type = "log"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Name of the gateway, as the operator calls it.
    pub name: String,
    /// Shown nowhere, but kept so that a gateway can be switched to `log` by its type alone.
    #[serde(default)]
    pub sender: String,
    /// Segments handed over per second; 0 is no limit.
    #[serde(default)]
    pub segments_per_second: u32,
    /// Keys that all gateways have.
    #[serde(default)]
    pub routing: Routing,
}

struct LogGateway {
    name: String,
    status: watch::Sender<ChannelStatus>,
    /// Held so that the consumer's end stays open: nothing ever comes, which is not the same as being closed.
    _events: mpsc::Sender<Delivered>,
    closed: CancellationToken,
}

/// Starts it.
pub(crate) fn connect(config: &LogConfig) -> Channel {
    let (sender, events) = mpsc::channel(1);
    let (status_sender, status) = watch::channel(ChannelStatus::Up);
    let gateway = LogGateway {
        name: config.name.clone(),
        status: status_sender,
        _events: sender,
        closed: CancellationToken::new(),
    };
    Channel { gateway: Arc::new(gateway), events, status }
}

pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    client_reference: true,
    idempotent_submit: true,
    max_segments: u8::MAX,
    ..Capabilities::NONE
};

#[async_trait]
impl SmsGateway for LogGateway {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn submit(&self, sms: &OutboundSms) -> SubmitOutcome {
        if self.closed.is_cancelled() {
            return not_taken("closed", "the gateway is closed");
        }
        let segments = sms.text.segments();
        tracing::info!(gateway = %self.name, delivery = %sms.delivery, to = %sms.to, segments, "not sent: dry run");
        SubmitOutcome::Accepted {
            provider_ids: vec![ProviderId(ClientReference::of(sms.delivery).0)],
            segments,
        }
    }

    async fn close(&self, _deadline: Duration) {
        self.closed.cancel();
        self.status.send_replace(ChannelStatus::Closed);
    }
}
