//! `/v1/gateways`: which gateways there are, how each does, and whether it takes messages now.

use klaroen_domain::alert::Priority;
use klaroen_domain::time::Timestamp;
use klaroen_gateway::Capabilities;
use klaroen_store::gateway_tests::GatewayTest;
use klaroen_store::gateways::GatewayPause;
use serde::Serialize;
use utoipa::ToSchema;

use crate::resources::gateways::overview::{Overview, Seen};
use crate::resources::gateways::self_test::Test;
use crate::resources::schemas;

/// A gateway: a configured way to send SMS.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gateway {
    /// The name in the configuration.
    #[schema(example = "main")]
    pub name: String,
    /// The type in the configuration.
    #[serde(rename = "type")]
    #[schema(example = "smpp")]
    pub kind: String,
    /// The number or name that participants see as the sender.
    #[schema(example = "1000")]
    pub sender: String,
    /// The rank among gateways that can take a message: the lowest goes first.
    pub priority: u16,
    /// The share among gateways of the same priority. 0 keeps the gateway in reserve.
    pub weight: u16,
    /// The countries whose numbers it serves (ISO 3166-1 alpha-2). If empty, all countries.
    pub countries: Vec<String>,
    /// The priorities of the alerts that it serves. If empty, all priorities.
    #[schema(schema_with = schemas::priorities)]
    pub priorities: Vec<Priority>,
    /// The state, as reported by the worker with the best connection. `unserved` if no worker serves the gateway.
    #[schema(schema_with = schemas::gateway_state)]
    pub state: &'static str,
    /// When the state began. `null` if no worker serves the gateway.
    #[schema(schema_with = schemas::time_or_null)]
    pub since: Option<Timestamp>,
    /// The reason of the state. `null` if nothing is wrong.
    pub reason: Option<String>,
    /// Whether it takes new messages now.
    pub in_use: bool,
    /// The reason why it takes no new messages. `null` if it does.
    #[schema(example = json!(null))]
    pub not_in_use_because: Option<String>,
    /// The connections of the gateway.
    pub channels: Channels,
    /// The rate at which the gateway takes messages.
    pub rate: Rate,
    /// The messages that wait for the gateway.
    pub queue: Queue,
    /// The results of the last 15 minutes.
    pub last_15_minutes: Figures,
    /// The last error. `null` if there was none.
    pub last_error: Option<GatewayError>,
    /// The capabilities of the gateway.
    pub capabilities: GatewayCapabilities,
    /// The order that keeps it out of use. `null` if there is none.
    pub paused: Option<Pause>,
    /// The tests of the gateway.
    pub tests: Tests,
}

/// The connections of a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Channels {
    /// Number of connections that are up, in all processes.
    pub up: u16,
    /// Number of connections in the configuration.
    pub configured: u16,
}

/// Segments per second of a gateway, over all its connections.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rate {
    /// The rate that is allowed now; `null` if there is no limit. It is below the configured rate if the provider asked
    /// for that, or if some connections have no worker.
    pub now: Option<f64>,
    /// The configured rate. `null` if there is no limit.
    pub configured: Option<u32>,
}

/// The messages that wait for a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Number of deliveries that are due and that the gateway may take. Other gateways may take them too.
    pub due: u64,
    /// Number of messages that were handed over and have no answer yet.
    pub in_flight: u32,
}

/// Results of messages in the last 15 minutes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Figures {
    /// Number of messages that the provider accepted.
    pub accepted: u64,
    /// The part of the messages with a final or a lost answer that the provider accepted. `null` if there were none. A
    /// request to send slower does not count as a failure.
    #[schema(minimum = 0, maximum = 1)]
    pub success_ratio: Option<f64>,
    /// The part of the final receipts that says delivered. `null` if there were none.
    #[schema(minimum = 0, maximum = 1)]
    pub delivered_ratio: Option<f64>,
    /// The median time from the answer to the receipt, in seconds. `null` if there were none.
    pub receipt_median_s: Option<f64>,
}

/// An error of a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayError {
    /// The provider's code, or a word of this service.
    pub code: String,
    /// The meaning of the code.
    pub detail: String,
    /// When the error happened.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
}

/// The capabilities of a gateway with its configuration.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "a flat list of yes or no is what a capability table is")]
pub struct GatewayCapabilities {
    /// Whether the provider sends receipts.
    pub receipts: bool,
    /// Whether receipts name the reference of this service.
    pub client_reference: bool,
    /// Whether a message can be handed over again without ringing twice.
    pub idempotent_submit: bool,
    /// Whether the provider can be asked for the state of a message.
    pub status_query: bool,
    /// Whether participants can reply.
    pub inbound: bool,
    /// Number of SMS that one text may take.
    pub max_segments: u8,
}

/// An order that keeps a gateway out of use.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pause {
    /// When the order was given.
    #[schema(schema_with = schemas::time)]
    pub since: Timestamp,
    /// The actor who gave the order: `key:<id>` or `cli`.
    pub by: String,
    /// The reason of the order, if one was given.
    pub reason: Option<String>,
    /// Whether every worker has received the order. From then on nothing is handed over to the gateway.
    pub in_force: bool,
}

/// The tests of a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tests {
    /// Whether a number to test with is configured.
    pub possible: bool,
    /// When the gateway is tested each day, on the local time of the service. `null` if it is not.
    #[schema(example = "06:30")]
    pub daily_at: Option<String>,
    /// The newest finished test. `null` if there is none.
    pub last: Option<Test>,
}

/// Every configured gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gateways {
    /// The gateways in the order of the configuration.
    pub items: Vec<Gateway>,
}

impl From<Capabilities> for GatewayCapabilities {
    fn from(can: Capabilities) -> Self {
        let Capabilities {
            client_reference,
            idempotent_submit,
            receipts,
            status_query,
            inbound,
            max_segments,
            ..
        } = can;
        Self { receipts, client_reference, idempotent_submit, status_query, inbound, max_segments }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of counts of minutes")]
fn ratio(part: u64, rest: u64) -> Option<f64> {
    let all = part + rest;
    (all > 0).then(|| (part as f64 / all as f64 * 1_000.0).round() / 1_000.0)
}

impl Gateway {
    /// One of `all`.
    pub(crate) fn show(all: &Overview<'_>, seen: &Seen<'_>, tests: &[GatewayTest]) -> Self {
        let (configured, standing) = (seen.configured, &seen.standing);
        let best = standing.best.as_ref();
        let (since, reason) = match &seen.pause {
            Some(pause) => (Some(pause.paused_at), pause.reason.clone()),
            None => {
                (best.map(|b| b.since), best.map(|b| b.reason.clone()).filter(|reason| !reason.is_empty()))
            }
        };
        let not_in_use_because = all.not_in_use(&configured.name);
        let counts = standing.counts;
        let last = tests.iter().find(|test| test.gateway == configured.name);
        let pause = |pause: &GatewayPause| Pause {
            since: pause.paused_at,
            by: pause.paused_by.clone(),
            reason: pause.reason.clone(),
            in_force: standing.is_stopped,
        };
        Self {
            name: configured.name.clone(),
            kind: configured.kind.to_owned(),
            sender: configured.sender.clone(),
            priority: configured.priority,
            weight: configured.weight,
            countries: configured.countries.clone(),
            priorities: configured.priorities.clone(),
            state: seen.state(),
            since,
            reason,
            in_use: not_in_use_because.is_none(),
            not_in_use_because,
            channels: Channels { up: standing.channels_up, configured: configured.channels },
            rate: Rate {
                now: standing.rate,
                configured: Some(configured.segments_per_second).filter(|rate| *rate > 0),
            },
            queue: Queue { due: seen.due, in_flight: standing.in_flight },
            last_15_minutes: Figures {
                accepted: counts.accepted,
                success_ratio: ratio(counts.accepted, counts.refused + counts.not_taken + counts.unknown),
                delivered_ratio: ratio(counts.delivered, counts.undelivered),
                receipt_median_s: standing.receipt_median_s,
            },
            last_error: standing.last_error.clone().map(|error| GatewayError {
                code: error.code,
                detail: error.detail,
                at: Timestamp::from_millis(error.at),
            }),
            capabilities: configured.capabilities.into(),
            paused: seen.pause.as_ref().map(pause),
            tests: Tests {
                possible: configured.can_be_tested,
                daily_at: configured.test_at.map(|at| at.to_string()),
                last: last.map(|test| Test::show(test.clone())),
            },
        }
    }
}
