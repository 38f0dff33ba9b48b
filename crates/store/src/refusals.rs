//! Messages that a gateway refuses for everybody: too long for it, a text or sender that it does not take.
//!
//! Such an answer comes for each delivery, so ten thousand people would be ten thousand failures, although another gateway may
//! take the message. But one odd recipient can also look like it. So it is believed once it came for [`DIFFERENT`] recipients of
//! the message (or for all, where there are fewer and nobody is added to it) and the gateway has taken the message for nobody:
//! three people who are odd in the same way while none before or among them is not, is what does not happen to an alert. From
//! then on the gateway takes no more of that message. Before, and after an acceptance, a delivery that was refused is tried once
//! more, since the others have then shown what it is, and fails if it is refused again.

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::{Decision, RETRY_LADDER};
use klaroen_domain::id::{MessageId, OrganisationId};
use klaroen_domain::outcome::Failure;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::db::{Sql, Tx, on_db, on_tx};
use crate::outcomes::Finished;
use crate::{Actor, Result, Store, audit};

/// Recipients for whom a message must have been refused before it is believed to be the message.
pub const DIFFERENT: usize = 3;

/// Why a delivery failed whose message every gateway refused.
pub const REASON: &str = "message_refused";

/// A gateway as far as it matters who is left to take a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its name in the configuration.
    pub gateway: String,
    /// The priorities that it takes; all where this is empty.
    pub priorities: Vec<Priority>,
}

/// A gateway's refusal of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalView {
    /// Which gateway.
    pub gateway: String,
    /// The provider's code.
    pub code: String,
    /// What it means.
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
const OPEN: Sql = Sql::new(
    "SELECT r.message_id, r.gateway, m.priority, m.organisation_id, m.alert_id
     FROM messages m JOIN message_refusals r ON r.message_id = m.id
     WHERE NOT m.settled
         AND EXISTS (SELECT 1 FROM deliveries d WHERE d.message_id = m.id AND d.state = 'queued')
     ORDER BY r.message_id",
);
/// What may have rung before it was put back is not known to have failed.
const FAIL: Sql = Sql::new(
    "UPDATE deliveries SET state = CASE WHEN in_doubt THEN 'unknown' ELSE 'failed' END, changed_at = $2, reason = $3
     WHERE message_id = $1 AND state = 'queued'",
);

/// A delivery whose attempt ended in a refusal of its message.
pub(crate) struct RefusedDelivery<'a> {
    pub(crate) message: Uuid,
    pub(crate) organisation: OrganisationId,
    pub(crate) failure: &'a Failure,
    pub(crate) finished: &'a Finished,
}

/// What is to be done about refusals of messages.
#[derive(Default)]
pub(crate) struct Heard {
    /// Deliveries that go back to the queue instead of failing.
    pub(crate) put_back: HashMap<i64, Finished>,
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
    let mut put_back = |refused: &RefusedDelivery<'_>, wait| {
        let finished = refused.finished;
        let decision = Decision::PutBack { due_at: finished.at.plus(wait), spent: false };
        heard.put_back.insert(finished.id.0, Finished { decision, ..finished.clone() });
    };
    let Some((recipients, complete)) = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as::<_, (i64, bool)>(MESSAGE.of(d)).bind(message).fetch_optional(conn).await?)
    else {
        return Ok(());
    };
    let known: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(IS_REFUSED.of(d))
        .bind(message).bind(gateway).fetch_one(conn).await?);
    if known {
        refused.iter().for_each(|refused| put_back(refused, std::time::Duration::ZERO));
        return Ok(());
    }
    let before: Vec<i64> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(REFUSED_BEFORE.of(d))
        .bind(message).bind(gateway).fetch_all(conn).await?);
    let before: HashSet<i64> = before.into_iter().collect();
    let ids: Vec<i64> = refused.iter().map(|refused| refused.finished.id.0).collect();
    on_tx!(&mut *tx, conn, d => sqlx::query(NOTE.of(d))
        .bind(message).bind(gateway).bind(json!(ids).to_string()).execute(conn).await?.rows_affected());
    let different = before.len() + ids.iter().filter(|id| !before.contains(id)).count();
    let taken_once: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(TAKEN_ONCE.of(d))
        .bind(message).bind(gateway).fetch_one(conn).await?);
    // Where somebody may still be added, the first few say nothing about all.
    let all = if complete { usize::try_from(recipients).unwrap_or(usize::MAX) } else { usize::MAX };
    if taken_once || different < DIFFERENT.min(all) {
        // The second time it is final.
        for refused in refused.iter().filter(|refused| !before.contains(&refused.finished.id.0)) {
            put_back(refused, RETRY_LADDER[0]);
        }
        return Ok(());
    }
    refused.iter().for_each(|refused| put_back(refused, std::time::Duration::ZERO));
    let Some(last) = refused.last() else { return Ok(()) };
    let (failure, at) = (last.failure, last.finished.at);
    on_tx!(&mut *tx, conn, d => sqlx::query(BELIEVE.of(d))
        .bind(message).bind(gateway).bind(&failure.code).bind(&failure.detail).bind(at.as_millis())
        .execute(conn).await?.rows_affected());
    tracing::error!(
        gateway,
        message = %message,
        code = failure.code,
        detail = failure.detail,
        "the provider refuses this message for everybody: this gateway takes no more of it"
    );
    heard.believed.push(Believed {
        organisation: last.organisation,
        message,
        gateway: gateway.to_owned(),
        code: failure.code.clone(),
        at,
    });
    Ok(())
}

impl Heard {
    /// Writes the audit entries: the last thing that the transaction does.
    pub(crate) async fn tell(mut self, tx: &mut Tx) -> Result<()> {
        // In one order, so that two who do this do not wait for each other.
        self.believed.sort_unstable_by_key(|believed| believed.organisation.0);
        for believed in self.believed {
            let detail = json!({"gateway": believed.gateway, "code": believed.code});
            let subject = believed.message.to_string();
            let (organisation, at) = (believed.organisation, believed.at);
            audit::append(tx, organisation, Actor::System, "message.refused", &subject, detail, at).await?;
        }
        Ok(())
    }
}

impl Store {
    /// Fails what is left of messages that every one of `gateways` which takes their priority has refused: one statement for
    /// each message. Gives how many deliveries that were.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fail_refused_messages(&self, gateways: &[Serving], now: Timestamp) -> Result<u64> {
        let rows: Vec<(Uuid, String, String, Uuid, Option<Uuid>)> =
            on_db!(read self.db, pool, d => sqlx::query_as(OPEN.of(d)).fetch_all(pool).await?);
        let mut failed = 0;
        for of_message in rows.chunk_by(|a, b| a.0 == b.0) {
            let (message, _, priority, organisation, alert) = &of_message[0];
            let priority = priority.parse().unwrap_or(Priority::Normal);
            let serves = |g: &&Serving| g.priorities.is_empty() || g.priorities.contains(&priority);
            let refused_by = |g: &Serving| of_message.iter().any(|(_, gateway, ..)| *gateway == g.gateway);
            let mut serving = gateways.iter().filter(serves).peekable();
            if serving.peek().is_some() && serving.all(refused_by) {
                let alert = alert.as_ref();
                failed +=
                    self.fail_left(MessageId(*message), OrganisationId(*organisation), alert, now).await?;
            }
        }
        Ok(failed)
    }

    async fn fail_left(
        &self,
        message: MessageId,
        organisation: OrganisationId,
        alert: Option<&Uuid>,
        now: Timestamp,
    ) -> Result<u64> {
        let mut tx = self.db.begin().await?;
        let failed = on_tx!(&mut tx, conn, d => sqlx::query(FAIL.of(d))
            .bind(message.0).bind(now.as_millis()).bind(REASON).execute(conn).await?.rows_affected());
        if failed > 0 {
            let detail = json!({"alert": alert, "deliveries": failed});
            let subject = message.to_string();
            audit::append(&mut tx, organisation, Actor::System, "message.failed", &subject, detail, now)
                .await?;
        }
        tx.commit().await?;
        Ok(failed)
    }
}
