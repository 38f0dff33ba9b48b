//! Messages that a gateway refuses for all recipients: too long for it, a text or sender that it does not take.
//!
//! Such an answer comes for each delivery, so ten thousand people would be ten thousand failures, although another gateway
//! may take the message. But one odd recipient can also look like it. So it is believed once it came for [`DIFFERENT`]
//! recipients of the message (or for all, if there are fewer and none is added to it) and the gateway has taken the message
//! for no recipient. It does not happen to an alert that three people are odd in the same way while none before or among them
//! is not. From then on the gateway takes no more of that message. Before, and after an acceptance, a delivery that was
//! refused is tried once more, since the others have then shown what it is, and fails if it is refused again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::{Decision, RETRY_LADDER};
use klaroen_domain::delivery::DeliveryEvent;
use klaroen_domain::id::OrganisationId;
use klaroen_domain::outcome::Failure;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::alerts::fanout::PAGE;
use crate::deliveries::cancel::PAGES_PER_SWEEP;
use crate::deliveries::deferred::{DeferredEffects, Entry};
use crate::deliveries::lifecycle::{self, Standing, Step};
use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::tenancy::audit;
use crate::{Actor, Result, Store};

/// Recipients for whom a message must have been refused before it is believed to be the message.
pub const DIFFERENT: usize = 3;

/// Why a delivery failed whose message every gateway refused.
pub const REASON: &str = "message_refused";

/// A gateway as far as it matters who is left to take a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Its name in the configuration.
    pub gateway: String,
    /// The priorities that it takes; all if this is empty.
    pub priorities: Vec<Priority>,
    /// The countries whose numbers it takes; all if this is empty.
    pub countries: Vec<Country>,
}

/// A gateway's refusal of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalView {
    /// Which gateway.
    pub gateway: String,
    /// The provider's code.
    pub code: String,
    /// The meaning of the code.
    pub detail: String,
    /// When it was believed.
    pub at: Timestamp,
}

const IS_REFUSED: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM message_refusals WHERE message_id = $1 AND gateway = $2)");
/// Refusals of one message are counted one after the other.
const MESSAGE: Sql = Sql::each(
    "SELECT recipients, alert_id IS NOT NULL AND NOT awaits_start
         AND NOT EXISTS (SELECT 1 FROM fanouts f WHERE f.message_id = messages.id AND NOT f.done)
     FROM messages WHERE id = $1",
    "SELECT recipients, alert_id IS NOT NULL AND NOT awaits_start
         AND NOT EXISTS (SELECT 1 FROM fanouts f WHERE f.message_id = messages.id AND NOT f.done)
     FROM messages WHERE id = $1 FOR NO KEY UPDATE",
);
const REFUSED_BEFORE: Sql =
    Sql::new("SELECT delivery_id FROM refused_deliveries WHERE message_id = $1 AND gateway = $2");
const NOTE: Sql = Sql::each(
    "INSERT INTO refused_deliveries (message_id, gateway, delivery_id)
     SELECT $1, $2, value FROM json_each($3) WHERE true ON CONFLICT DO NOTHING",
    "INSERT INTO refused_deliveries (message_id, gateway, delivery_id)
     SELECT $1, $2, value::bigint FROM json_array_elements_text($3::json) ON CONFLICT DO NOTHING",
);
/// Asked only while a refusal is not believed; few deliveries are in these states then, or the first one found says yes.
const TAKEN_ONCE: Sql = Sql::new(
    "SELECT EXISTS (
         SELECT 1 FROM deliveries d WHERE d.message_id = $1 AND d.state IN ('sent', 'delivered', 'undelivered', 'no_receipt')
             AND rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/') = $2)",
);
const BELIEVE: Sql = Sql::new(
    "INSERT INTO message_refusals (message_id, gateway, code, detail, at) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (message_id, gateway) DO NOTHING",
);
pub(crate) const OPEN: Sql = Sql::new(
    "SELECT r.message_id, r.gateway, m.priority, m.organisation_id, m.alert_id, m.gateway
     FROM messages m JOIN message_refusals r ON r.message_id = m.id
     WHERE NOT m.settled
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued'
                     ORDER BY d.due_at LIMIT 1 OFFSET 0)
     ORDER BY r.message_id, r.gateway",
);
/// A page of the deliveries that no gateway is left to take, locked. `$2`: the countries for which a gateway is left; `$3`:
/// how many at most. See [`crate::deliveries::cancel`] for why it is page by page, and how, and why it has two texts.
pub(crate) const LEFT: Sql = Sql::each(
    "SELECT json_group_array(json_array(id, state, in_doubt)) FROM (
         SELECT d.id, d.state, d.in_doubt FROM deliveries d WHERE d.message_id = $1 AND d.state = 'queued'
             AND NOT EXISTS (SELECT 1 FROM participants p WHERE p.id = d.participant_id
                             AND p.country IN (SELECT value FROM json_each($2)))
             AND (d.country IS NULL OR d.country NOT IN (SELECT value FROM json_each($2)))
         LIMIT $3)",
    "WITH page AS (
         SELECT d.id, d.state, d.in_doubt FROM deliveries d WHERE d.message_id = $1 AND d.state = 'queued'
             AND NOT EXISTS (SELECT 1 FROM participants p WHERE p.id = d.participant_id
                             AND p.country IN (SELECT value FROM json_array_elements_text($2::json)) LIMIT 1 OFFSET 0)
             AND (d.country IS NULL OR d.country NOT IN (SELECT value FROM json_array_elements_text($2::json)))
         ORDER BY d.due_at, d.id LIMIT $3 FOR UPDATE OF d SKIP LOCKED)
     SELECT COALESCE(json_agg(json_build_array(id, state, in_doubt::int)), '[]')::text FROM page",
);
/// As if the gateway that refused had handed it over: gateways that would not take it by themselves may. A delivery that one
/// of those handed over again goes the same way, because the gateway that refused cannot be handed it.
pub(crate) const HAND_OVER: Sql = Sql::each(
    "UPDATE deliveries SET handed_by = $2
     WHERE state = 'queued' AND id IN (
         SELECT id FROM deliveries WHERE message_id = $1 AND state = 'queued'
             AND (handed_by IS NULL OR handed_by NOT IN (SELECT gateway FROM message_refusals WHERE message_id = $1))
         LIMIT $3)",
    "WITH page AS (
         SELECT id FROM deliveries WHERE message_id = $1 AND state = 'queued'
             AND (handed_by IS NULL OR handed_by NOT IN (SELECT gateway FROM message_refusals WHERE message_id = $1))
         ORDER BY due_at, id LIMIT $3 FOR UPDATE SKIP LOCKED)
     UPDATE deliveries SET handed_by = $2 WHERE state = 'queued' AND id = ANY (ARRAY(SELECT id FROM page))",
);

/// A delivery whose attempt ended in a refusal of its message.
pub(crate) struct RefusedDelivery<'a> {
    pub(crate) message: Uuid,
    pub(crate) organisation: OrganisationId,
    pub(crate) id: i64,
    pub(crate) failure: &'a Failure,
    pub(crate) at: Timestamp,
}

/// The actions to take on refusals of messages.
#[derive(Default)]
pub(crate) struct Heard {
    /// Deliveries that go back to the queue instead of failing.
    pub(crate) put_back: HashMap<i64, Decision>,
    believed: Vec<Believed>,
}

struct Believed {
    organisation: OrganisationId,
    message: Uuid,
    gateway: String,
    code: String,
    at: Timestamp,
}

/// Takes note of refusals by `gateway`. The rows of the deliveries are locked.
pub(crate) async fn hear(tx: &mut Tx, gateway: &str, refused: Vec<RefusedDelivery<'_>>) -> Result<Heard> {
    let mut heard = Heard::default();
    let mut by_message: BTreeMap<Uuid, Vec<RefusedDelivery<'_>>> = BTreeMap::new();
    for refused in refused {
        by_message.entry(refused.message).or_default().push(refused);
    }
    for (message, refused) in by_message {
        hear_one(tx, gateway, message, &refused, &mut heard).await?;
    }
    Ok(heard)
}

async fn hear_one(
    tx: &mut Tx,
    gateway: &str,
    message: Uuid,
    refused: &[RefusedDelivery<'_>],
    heard: &mut Heard,
) -> Result<()> {
    // First the lock: what another counted before us is to be among the refusals before.
    let of_message: Option<(i64, bool)> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as(MESSAGE.of(d)).bind(message).fetch_optional(conn).await?);
    let before: Vec<i64> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(REFUSED_BEFORE.of(d))
        .bind(message).bind(gateway).fetch_all(conn).await?);
    let before: HashSet<i64> = before.into_iter().collect();
    // If recipients may still be added, the first few say nothing about all.
    let all = match of_message {
        Some((recipients, true)) => usize::try_from(recipients).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let verdict = weigh(tx, gateway, message, refused, &before, all).await?;
    for refused in refused {
        let wait = match verdict {
            Verdict::Message | Verdict::MessageSince => Duration::ZERO,
            // The second time it is final.
            Verdict::Recipients if before.contains(&refused.id) => continue,
            Verdict::Recipients => RETRY_LADDER[0],
        };
        let due_at = refused.at.plus(wait);
        let decision = match verdict {
            Verdict::Recipients => Decision::PutBack { due_at, spent: false },
            _ => Decision::HandOver { due_at, code: Some(refused.failure.code.clone()) },
        };
        heard.put_back.insert(refused.id, decision);
    }
    if let (Verdict::Message, Some(last)) = (verdict, refused.last()) {
        heard.believed.push(believe(tx, gateway, message, last).await?);
    }
    Ok(())
}

/// The subject that a refusal is taken to be about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The message, as is now known.
    Message,
    /// The message, as is known since earlier.
    MessageSince,
    /// Those for whom it came, as far as is known.
    Recipients,
}

/// `all`: how many the message is for, once that is known.
async fn weigh(
    tx: &mut Tx,
    gateway: &str,
    message: Uuid,
    refused: &[RefusedDelivery<'_>],
    before: &HashSet<i64>,
    all: usize,
) -> Result<Verdict> {
    let known: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(IS_REFUSED.of(d))
        .bind(message).bind(gateway).fetch_one(conn).await?);
    if known {
        return Ok(Verdict::MessageSince);
    }
    let ids: Vec<i64> = refused.iter().map(|refused| refused.id).collect();
    on_tx!(&mut *tx, conn, d => sqlx::query(NOTE.of(d))
        .bind(message).bind(gateway).bind(json!(ids).to_string()).execute(conn).await?.rows_affected());
    let different = before.len() + ids.iter().filter(|id| !before.contains(id)).count();
    if different < DIFFERENT.min(all) {
        return Ok(Verdict::Recipients);
    }
    let taken_once: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(TAKEN_ONCE.of(d))
        .bind(message).bind(gateway).fetch_one(conn).await?);
    Ok(if taken_once { Verdict::Recipients } else { Verdict::Message })
}

async fn believe(
    tx: &mut Tx,
    gateway: &str,
    message: Uuid,
    refused: &RefusedDelivery<'_>,
) -> Result<Believed> {
    let (failure, at) = (refused.failure, refused.at);
    on_tx!(&mut *tx, conn, d => sqlx::query(BELIEVE.of(d))
        .bind(message).bind(gateway).bind(&failure.code).bind(&failure.detail).bind(at.as_millis())
        .execute(conn).await?.rows_affected());
    tracing::error!(
        gateway,
        %message,
        code = failure.code,
        detail = failure.detail,
        "the provider refuses this message for everybody: this gateway takes no more of it"
    );
    Ok(Believed {
        organisation: refused.organisation,
        message,
        gateway: gateway.to_owned(),
        code: failure.code.clone(),
        at,
    })
}

impl Heard {
    /// Writes the believed refusals to the audit log.
    pub(crate) fn tell(self, deferred: &mut DeferredEffects) {
        for believed in self.believed {
            let detail = json!({"gateway": believed.gateway, "code": believed.code});
            let (organisation, subject, at) =
                (believed.organisation, believed.message.to_string(), believed.at);
            let actor = Actor::System;
            deferred.tell(Entry { organisation, actor, action: "message.refused", subject, detail, at });
        }
    }
}

/// The actions that upkeep took on refused messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Deliveries that failed, because no gateway is left to take their message.
    pub failed: u64,
    /// Deliveries that other gateways may take now.
    pub handed_over: u64,
}

/// A row of [`OPEN`]: message, gateway that refused, priority, organisation, alert, the one gateway that may take it.
type OpenRow = (Uuid, String, String, Uuid, Option<Uuid>, Option<String>);

impl Store {
    /// Hands what is left of refused messages to the other ones of `gateways`, which are all that are configured; fails that for
    /// which none is left. Some pages of each message at a time: call again.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn pass_on_refused_messages(&self, gateways: &[Serving], now: Timestamp) -> Result<Passed> {
        let rows: Vec<OpenRow> =
            on_db!(read self.db, pool, d => sqlx::query_as(OPEN.of(d)).fetch_all(pool).await?);
        let mut passed = Passed::default();
        for of_message in rows.chunk_by(|a, b| a.0 == b.0) {
            let (message, refused_by, priority, .., only) = &of_message[0];
            let priority = priority.parse().unwrap_or(Priority::Normal);
            let serves = |g: &&Serving| match only {
                Some(only) => g.gateway == *only,
                None => g.priorities.is_empty() || g.priorities.contains(&priority),
            };
            let refused = |g: &&Serving| of_message.iter().any(|(_, gateway, ..)| *gateway == g.gateway);
            if !gateways.iter().any(|g| serves(&g) && refused(&g)) {
                // Not one of ours, by this configuration: nothing is known of who else there is.
                continue;
            }
            let left: Vec<&Serving> = gateways.iter().filter(serves).filter(|g| !refused(g)).collect();
            if left.iter().all(|g| !g.countries.is_empty()) {
                let countries: Vec<&str> =
                    left.iter().flat_map(|g| &g.countries).map(Country::code).collect();
                let failed = self.fail_left(&of_message[0], &countries, now).await?;
                passed.failed += failed;
                if failed == (PAGES_PER_SWEEP * PAGE) as u64 {
                    // The rest may also have no gateway left: that is known with the last page, in a second.
                    continue;
                }
            }
            if !left.is_empty() {
                passed.handed_over += self.hand_over_left(*message, refused_by).await?;
            }
        }
        Ok(passed)
    }

    async fn hand_over_left(&self, message: Uuid, refused_by: &str) -> Result<u64> {
        let mut handed_over = 0;
        for _ in 0..PAGES_PER_SWEEP {
            let page = on_db!(write self.db, pool, d => sqlx::query(HAND_OVER.of(d))
                .bind(message).bind(refused_by).bind(i64::try_from(PAGE).unwrap_or(i64::MAX))
                .execute(pool).await?.rows_affected());
            handed_over += page;
            if page < PAGE as u64 {
                break;
            }
        }
        Ok(handed_over)
    }

    async fn fail_left(&self, row: &OpenRow, countries: &[&str], now: Timestamp) -> Result<u64> {
        let mut failed = 0;
        for _ in 0..PAGES_PER_SWEEP {
            let page = self.fail_page(row, countries, now).await?;
            failed += page;
            if page < PAGE as u64 {
                break;
            }
        }
        Ok(failed)
    }

    /// Fails a page, with an audit entry of its own: the entries add up.
    async fn fail_page(&self, row: &OpenRow, countries: &[&str], now: Timestamp) -> Result<u64> {
        let (message, _, _, organisation, alert, _) = row;
        let mut tx = self.db.begin().await?;
        let page: String = on_tx!(&mut tx, conn, d => sqlx::query_scalar(LEFT.of(d))
            .bind(message).bind(json!(countries).to_string()).bind(i64::try_from(PAGE).unwrap_or(i64::MAX))
            .fetch_one(conn).await?);
        let refused = |delivery| Step::new(delivery, DeliveryEvent::RefusedByAll, now).because(REASON);
        let steps: Vec<Step<'_>> = Standing::page(&page)?.into_iter().map(refused).collect();
        let failed = lifecycle::apply(&mut tx, &steps).await?;
        if failed > 0 {
            let detail = json!({"alert": alert, "deliveries": failed});
            let (organisation, subject) = (OrganisationId(*organisation), message.to_string());
            audit::append(&mut tx, organisation, Actor::System, "message.failed", &subject, detail, now)
                .await?;
        }
        tx.commit().await?;
        Ok(failed)
    }
}
