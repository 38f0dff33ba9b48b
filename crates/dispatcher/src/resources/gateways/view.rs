//! `/v1/gateways`: which gateways there are, how each does, and whether it takes messages now.

use klaroen_domain::alert::Priority;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use klaroen_gateway::Capabilities;
use klaroen_store::gateway_tests::GatewayTest;
use klaroen_store::gateways::GatewayPause;
use serde::Serialize;
use utoipa::ToSchema;

use crate::resources::gateways::actor::actor;
use crate::resources::gateways::overview::{Overview, Seen};
use crate::resources::gateways::self_test::Test;
use crate::resources::schemas;

/// A gateway: a configured way to send SMS.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gateway {
    /// Its name in the configuration.
    #[schema(example = "main")]
    pub name: String,
    /// Its type in the configuration.
    #[serde(rename = "type")]
    #[schema(example = "smpp")]
    pub kind: String,
    /// The number or name that participants see.
    #[schema(example = "1000")]
    pub sender: String,
    /// Among gateways that can take a message the lowest goes first.
    pub priority: u16,
    /// Its share among gateways of the same priority; 0: in reserve.
    pub weight: u16,
    /// Countries whose numbers it may get (ISO 3166-1 alpha-2); empty: all.
    pub countries: Vec<String>,
    /// Priorities of alerts that it may get; empty: all.
    #[schema(schema_with = schemas::priorities)]
    pub priorities: Vec<Priority>,
    /// Where it stands: what the best placed of the workers that serve it says; `unserved` where none does.
    #[schema(schema_with = schemas::gateway_state)]
    pub state: &'static str,
    /// Since when; `null` for one that is not served.
    #[schema(schema_with = schemas::time_or_null)]
    pub since: Option<Timestamp>,
    /// Why it stands there; `null` where nothing is wrong.
    pub reason: Option<String>,
    /// Whether it takes new messages now.
    pub in_use: bool,
    /// Why not; `null` where it does.
    #[schema(example = json!(null))]
    pub not_in_use_because: Option<String>,
    /// Its connections.
    pub channels: Channels,
    /// How fast it may be fed.
    pub rate: Rate,
    /// What waits for it.
    pub queue: Queue,
    /// The last 15 minutes.
    pub last_15_minutes: Figures,
    /// What went wrong last.
    pub last_error: Option<GatewayError>,
    /// What it can do.
    pub capabilities: GatewayCapabilities,
    /// Who took it out of use; `null` where nobody did.
    pub paused: Option<Pause>,
    /// How it is tested.
    pub tests: Tests,
}

/// The connections of a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Channels {
    /// That are up, in all processes.
    pub up: u16,
    /// That are configured.
    pub configured: u16,
}

/// Segments per second of a gateway, all connections together.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rate {
    /// That it may be fed with now: less than configured where the provider asked for that, or some connections have no worker;
    /// `null`: no limit.
    pub now: Option<f64>,
    /// That are configured; `null`: no limit.
    pub configured: Option<u32>,
}

/// What waits for a gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Deliveries that are due now and that it may take; others may take them too.
    pub due: u64,
    /// Messages that were handed over and not answered.
    pub in_flight: u32,
}

/// What came of messages in the last 15 minutes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Figures {
    /// Messages that the provider took.
    pub accepted: u64,
    /// Of the messages that got an answer or should have, the part that was taken; `null` where there were none. Being asked
    /// for a slower pace is no failure.
    #[schema(minimum = 0, maximum = 1)]
    pub success_ratio: Option<f64>,
    /// Of the final receipts, the part that says delivered; `null` where there were none.
    #[schema(minimum = 0, maximum = 1)]
    pub delivered_ratio: Option<f64>,
    /// Seconds from the answer to the receipt, the middle one; `null` where there were none.
    pub receipt_median_s: Option<f64>,
}

/// Something that went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct GatewayError {
    /// The provider's code or a word of ours.
    pub code: String,
    /// What it means.
    pub detail: String,
    /// When it happened.
    #[schema(schema_with = schemas::time)]
    pub at: Timestamp,
}

/// What a gateway can do as it is configured.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "a flat list of yes or no is what a capability table is")]
pub struct GatewayCapabilities {
    /// Receipts come.
    pub receipts: bool,
    /// Receipts name our reference.
    pub client_reference: bool,
    /// A message can be handed over again without ringing twice.
    pub idempotent_submit: bool,
    /// The provider can be asked what became of a message.
    pub status_query: bool,
    /// Participants can reply.
    pub inbound: bool,
    /// SMS that one text may take.
    pub max_segments: u8,
}

/// An order that takes a gateway out of use.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pause {
    /// Since when.
    #[schema(schema_with = schemas::time)]
    pub since: Timestamp,
    /// Who gave it: `key:<id>`, `cli`, or `another organisation`.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Whether every worker has heard of it: from then on nothing is handed over to the gateway.
    pub in_force: bool,
}

/// How a gateway is tested.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tests {
    /// Whether there is a number to test with.
    pub possible: bool,
    /// When one is made each day, on the wall clock of the service.
    #[schema(example = "06:30")]
    pub daily_at: Option<String>,
    /// The newest one that has come to an end.
    pub last: Option<Test>,
}

/// Every configured gateway.
#[derive(Debug, Serialize, ToSchema)]
pub struct Gateways {
    /// In the order of the configuration.
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
    /// One of `all`, as `organisation` may see it.
    pub(crate) fn show(
        all: &Overview<'_>,
        seen: &Seen<'_>,
        tests: &[GatewayTest],
        organisation: OrganisationId,
    ) -> Self {
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
            by: actor(&pause.paused_by, Some(pause.organisation), organisation),
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
                last: last.map(|test| Test::show(test.clone(), organisation)),
            },
        }
    }
}
