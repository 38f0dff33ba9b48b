//! The connections of the configured gateways, as the worker wants them.

use std::sync::Arc;

use async_trait::async_trait;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::GatewayConfig;
use klaroen_gateway::{
    Capabilities, Channel, ChannelStatus, ConnectError, Failure, OutboundSms, Scope, SmsGateway,
    SubmitOutcome, connect,
};
use klaroen_store::channels::ChannelName;
use klaroen_worker::ChannelSpec;
use tokio::sync::{mpsc, watch};

/// One for each connection of each gateway.
pub fn of(gateways: Vec<GatewayConfig>, country: Country, clock: &Arc<dyn Clock>) -> Vec<ChannelSpec> {
    let mut specs = Vec::new();
    for gateway in gateways {
        let gateway = Arc::new(gateway);
        for number in 0..gateway.channels().get() {
            let (config, clock) = (Arc::clone(&gateway), Arc::clone(clock));
            specs.push(ChannelSpec {
                name: ChannelName { gateway: gateway.name().to_owned(), channel: number },
                window: usize::from(gateway.window()),
                segments_per_second: gateway.segments_per_second(),
                connect: Box::new(move || {
                    connect(&config, number, country, Arc::clone(&clock))
                        .unwrap_or_else(|error| refused(&error))
                }),
            });
        }
    }
    specs
}

/// What all gateways may send together in a second; 0 where one has no limit.
pub fn segments_per_second(gateways: &[GatewayConfig]) -> f64 {
    let limits = gateways.iter().map(GatewayConfig::segments_per_second);
    if limits.clone().any(|limit| limit == 0) { 0.0 } else { limits.map(f64::from).sum() }
}

/// The configuration was right at the start and is not now (a password file is gone): the operator sees it in `/readyz` and
/// the log, and nothing is taken out of the queue for it.
fn refused(error: &ConnectError) -> Channel {
    let reason = error.to_string();
    tracing::error!(reason, "a gateway cannot be connected as it is configured");
    let (_, events) = mpsc::channel(1);
    let (_, status) = watch::channel(ChannelStatus::Refused { reason });
    Channel { gateway: Arc::new(Unconfigured), events, status }
}

struct Unconfigured;

#[async_trait]
impl SmsGateway for Unconfigured {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    async fn submit(&self, _: &OutboundSms) -> SubmitOutcome {
        SubmitOutcome::NotTaken(Failure {
            scope: Scope::Gateway,
            code: "configuration".into(),
            detail: "the gateway cannot be connected as it is configured".into(),
        })
    }
}
