//! Submits whose answer was lost: each is written down, asked for at the provider where that can be, and settled once, in a way
//! that can be counted.
//!
//! A doubt is opened in the transaction that makes its delivery `unknown`, and settled in the one that moves the delivery on. It
//! is guarded by the lock of its delivery's row; only asking and counting take it alone, and pass over what is locked.

use std::collections::BTreeMap;
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::id::{DeliveryId, MessageId};
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::db::{Sql, Tx, on_db, on_tx};
use crate::outcomes::{Finished, Settling, finish_each};
use crate::receipts::{self, IncomingReceipt};
use crate::{Result, Store, StoreError, lock};

/// How long after its time a doubt may wait for whoever asks the provider; then the policy decides.
pub const ASKED_WITHIN: Duration = Duration::from_mins(1);

/// How a lost submit came to be known, or what the policy made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    /// Its receipt came.
    Receipt,
    /// The provider was asked, and has it.
    LookupFound,
    /// The provider was asked, and does not know it: it was not taken, and went back to the queue.
    LookupNotFound,
    /// It was handed over again under the same reference, which the provider knows to be the same message.
    IdempotentResend,
    /// Nothing settled it, and it was sent once more: the phone may ring twice.
    PolicyResend,
    /// Nothing settled it, and it is left as it is.
    PolicyHold,
    /// The answer came after all.
    LateAnswer,
}

impl Resolution {
    /// Every one, in the order of the API.
    pub const ALL: [Self; 7] = [
        Self::Receipt,
        Self::LookupFound,
        Self::LookupNotFound,
        Self::IdempotentResend,
        Self::PolicyResend,
        Self::PolicyHold,
        Self::LateAnswer,
    ];

    /// The name as it stands in the API, the metric and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::LookupFound => "lookup_found",
            Self::LookupNotFound => "lookup_not_found",
            Self::IdempotentResend => "idempotent_resend",
            Self::PolicyResend => "policy_resend",
            Self::PolicyHold => "policy_hold",
            Self::LateAnswer => "late_answer",
        }
    }

    pub(crate) fn parse(word: &str) -> Result<Self> {
        let corrupt = StoreError::Corrupt { table: "doubts", column: "settled_by" };
        Self::ALL.into_iter().find(|resolution| resolution.as_str() == word).ok_or(corrupt)
    }
}

/// How many submits of a message were in doubt, and how each came to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoubtCounts {
    /// Not settled yet.
    pub open: u64,
    /// Settled, by how.
    pub settled: BTreeMap<Resolution, u64>,
}

impl DoubtCounts {
    /// All that ever were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.open + self.settled.values().sum::<u64>()
    }

    pub(crate) fn add(&mut self, settled_by: Option<&str>, count: u64) -> Result<()> {
        match settled_by {
            None => self.open += count,
            Some(how) => *self.settled.entry(Resolution::parse(how)?).or_default() += count,
        }
        Ok(())
    }
}

/// A doubt that is ours to ask about for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Doubt {
    /// The delivery.
    pub id: DeliveryId,
    /// The attempt whose answer was lost.
    pub lease_token: i64,
    /// The fence of the answer.
    pub asker: i64,
    /// Its text; see [`Store::outbound_message`].
    pub message: MessageId,
    /// Whose phone; `None` where the participant was erased or has another number now.
    pub phone: Option<PhoneNumber>,
    /// How urgent.
    pub priority: Priority,
    /// Not submitted before this time.
    pub since: Timestamp,
    /// When the answer was lost.
    pub lost_at: Timestamp,
    /// Look-ups in vain.
    pub unanswered: u32,
    /// When the provider first said that it does not know it.
    pub missed_at: Option<Timestamp>,
    /// Repetitions that were tried.
    pub resent: u32,
    /// Whether it may still be sent: its time is not over, the alert runs, the recipient has not opted out.
    pub may_ring: bool,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The provider has it.
    Known {
        /// What the provider calls it.
        provider_ids: Vec<ProviderId>,
        /// Segments that were sent.
        segments: u8,
        /// What became of it there.
        status: ReceiptStatus,
        /// Why it did not arrive.
        error: Option<String>,
    },
    /// The provider does not know it.
    NotKnown,
    /// It was handed over again, under the same reference, and taken.
    Taken {
        /// What the provider calls it.
        provider_ids: Vec<ProviderId>,
        /// Segments that were sent.
        segments: u8,
    },
    /// It was handed over again, and refused for this recipient.
    Refused(Failure),
    /// Nothing yet: to be asked again then.
    Again {
        /// Not before.
        ask_at: Timestamp,
        /// What to remember.
        because: Because,
    },
    /// Nothing, and there is no use in asking on: the policy decides.
    Nothing,
}

/// Why a provider is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// It gave no answer.
    Unanswered,
    /// It does not know the message, perhaps not yet.
    Missed,
    /// The repetition was not taken.
    NotTaken,
    /// It was not asked at all: the gateway is paused, or we are stopping.
    NotAsked,
}

/// What came of one doubt.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Which.
    pub doubt: Doubt,
    /// What.
    pub found: Found,
}

const OPEN: Sql = Sql::each(
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     SELECT d.id, COALESCE(d.lease_token, 0), d.organisation_id, d.message_id,
         rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/'), d.changed_at, d.settle_at
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value
     WHERE d.state = 'unknown' AND d.settle_at IS NOT NULL
     ON CONFLICT (delivery_id, lease_token) DO NOTHING",
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     SELECT d.id, COALESCE(d.lease_token, 0), d.organisation_id, d.message_id,
         rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/'), d.changed_at, d.settle_at
     FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         AND d.state = 'unknown' AND d.settle_at IS NOT NULL
     ON CONFLICT (delivery_id, lease_token) DO NOTHING",
);
/// All that wait to be settled are few, so those without a doubt are looked for among them.
const OPEN_MISSING: Sql = Sql::new(
    "INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at)
     SELECT d.id, COALESCE(d.lease_token, 0), d.organisation_id, d.message_id,
         rtrim(rtrim(COALESCE(d.channel, ''), '0123456789'), '/'), d.changed_at, d.settle_at
     FROM deliveries d WHERE d.state = 'unknown' AND d.settle_at IS NOT NULL
     ON CONFLICT (delivery_id, lease_token) DO NOTHING",
);
/// A delivery keeps the lease token of its last attempt until it is claimed again: that is the doubt that is meant.
const SETTLE: Sql = Sql::each(
    "UPDATE doubts SET settled_by = $2, settled_at = $3, ask_at = NULL, asker = NULL, counted = FALSE
     WHERE delivery_id IN (SELECT value FROM json_each($1)) AND (settled_by IS NULL OR settled_by <> $2)
         AND lease_token = (SELECT COALESCE(d.lease_token, 0) FROM deliveries d WHERE d.id = doubts.delivery_id)",
    "UPDATE doubts SET settled_by = $2, settled_at = $3, ask_at = NULL, asker = NULL, counted = FALSE
     WHERE delivery_id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         AND (settled_by IS NULL OR settled_by <> $2)
         AND lease_token = (SELECT COALESCE(d.lease_token, 0) FROM deliveries d WHERE d.id = doubts.delivery_id)",
);
const ANY_DUE: Sql = Sql::new(
    "SELECT EXISTS (SELECT 1 FROM doubts WHERE gateway = $1 AND ask_at IS NOT NULL AND ask_at <= $2)",
);
const ASK: Sql = Sql::each(
    "UPDATE doubts SET asker = $2, ask_at = $3
     WHERE (delivery_id, lease_token) IN (
         SELECT delivery_id, lease_token FROM doubts
         WHERE gateway = $1 AND ask_at IS NOT NULL AND ask_at <= $4 ORDER BY ask_at LIMIT $5)",
    "WITH due AS (
         SELECT delivery_id, lease_token FROM doubts
         WHERE gateway = $1 AND ask_at IS NOT NULL AND ask_at <= $4 ORDER BY ask_at LIMIT $5 FOR UPDATE SKIP LOCKED)
     UPDATE doubts SET asker = $2, ask_at = $3 FROM due
     WHERE doubts.delivery_id = due.delivery_id AND doubts.lease_token = due.lease_token",
);
/// The policy's condition stands in `may_ring`; automatic answers pass the opt-out, which they are about.
const ASKED: Sql = Sql::new(
    "SELECT x.delivery_id, x.lease_token, x.lost_at, x.unanswered, x.missed_at, x.resent, d.message_id, d.participant_id,
         p.phone, m.priority, m.created_at,
         m.expires_at > $3 AND COALESCE(a.state = 'active' OR m.kind IN ('end', 'retract'), TRUE)
             AND (d.lane = 0 OR NOT EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient)) AS may_ring
     FROM doubts x JOIN deliveries d ON d.id = x.delivery_id AND d.lease_token = x.lease_token
         JOIN messages m ON m.id = d.message_id LEFT JOIN alerts a ON a.id = m.alert_id
         LEFT JOIN participants p ON p.id = d.participant_id AND p.recipient = d.recipient
     WHERE x.gateway = $1 AND x.ask_at IS NOT NULL AND x.asker = $2 AND d.state = 'unknown' AND d.settle_at IS NOT NULL
     ORDER BY x.delivery_id",
);
/// `$1`: delivery, lease token, asker. Whoever's time to ask is over has another's fence in its place.
const STILL_OURS: Sql = Sql::each(
    "SELECT x.delivery_id FROM json_each($1) j
         CROSS JOIN doubts x ON x.delivery_id = j.value ->> 0 AND x.lease_token = j.value ->> 1 AND x.asker = j.value ->> 2",
    "SELECT x.delivery_id FROM json_array_elements($1::json) AS j(value)
         JOIN doubts x ON x.delivery_id = (j.value ->> 0)::bigint AND x.lease_token = (j.value ->> 1)::bigint
             AND x.asker = (j.value ->> 2)::bigint",
);
/// Columns of the JSON: delivery, lease token, asker, when to ask again, unanswered, missed, resent.
const ASK_AGAIN: Sql = Sql::each(
    "UPDATE doubts SET ask_at = j.value ->> 3, asker = NULL, unanswered = j.value ->> 4, missed_at = j.value ->> 5,
         resent = j.value ->> 6
     FROM json_each($1) j
     WHERE doubts.delivery_id = j.value ->> 0 AND doubts.lease_token = j.value ->> 1 AND doubts.asker = j.value ->> 2",
    "UPDATE doubts SET ask_at = (j.value ->> 3)::bigint, asker = NULL, unanswered = (j.value ->> 4)::bigint,
         missed_at = (j.value ->> 5)::bigint, resent = (j.value ->> 6)::bigint
     FROM json_array_elements($1::json) AS j(value)
     WHERE doubts.delivery_id = (j.value ->> 0)::bigint AND doubts.lease_token = (j.value ->> 1)::bigint
         AND doubts.asker = (j.value ->> 2)::bigint",
);
const CAN_BE_ASKED: Sql =
    Sql::new("UPDATE channels SET can_be_asked = $2 WHERE gateway = $1 AND can_be_asked <> $2");
const ANY_UNCOUNTED: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM doubts WHERE settled_by IS NOT NULL AND NOT counted)");
const COUNT: Sql = Sql::each(
    "UPDATE doubts SET counted = TRUE
     WHERE (delivery_id, lease_token) IN (
         SELECT delivery_id, lease_token FROM doubts WHERE settled_by IS NOT NULL AND NOT counted LIMIT 10000)
     RETURNING gateway, settled_by",
    "WITH uncounted AS (
         SELECT delivery_id, lease_token FROM doubts WHERE settled_by IS NOT NULL AND NOT counted LIMIT 10000
         FOR UPDATE SKIP LOCKED)
     UPDATE doubts SET counted = TRUE FROM uncounted u
     WHERE doubts.delivery_id = u.delivery_id AND doubts.lease_token = u.lease_token
     RETURNING doubts.gateway, doubts.settled_by",
);

#[derive(sqlx::FromRow)]
struct AskedRow {
    delivery_id: i64,
    lease_token: i64,
    lost_at: i64,
    unanswered: i64,
    missed_at: Option<i64>,
    resent: i64,
    message_id: Uuid,
    participant_id: Uuid,
    phone: Option<Vec<u8>>,
    priority: String,
    created_at: i64,
    may_ring: bool,
}

/// Writes down that these deliveries, which are `unknown` now, are in doubt.
pub(crate) async fn open(tx: &mut Tx, deliveries: &[i64]) -> Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let ids = json!(deliveries).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(OPEN.of(d)).bind(ids).execute(conn).await?.rows_affected());
    Ok(())
}

/// The same for all that have become `unknown` in this transaction.
pub(crate) async fn open_missing(tx: &mut Tx) -> Result<()> {
    on_tx!(&mut *tx, conn, d => sqlx::query(OPEN_MISSING.of(d)).execute(conn).await?.rows_affected());
    Ok(())
}

/// Writes down how the last doubt about each of these deliveries ended.
pub(crate) async fn settle(
    tx: &mut Tx,
    deliveries: &[i64],
    resolution: Resolution,
    now: Timestamp,
) -> Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let ids = json!(deliveries).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(SETTLE.of(d))
        .bind(ids).bind(resolution.as_str()).bind(now.as_millis()).execute(conn).await?.rows_affected());
    Ok(())
}

impl Store {
    /// Notes whether the provider behind a gateway can be asked about lost submits, or takes them again harmlessly: the policy
    /// then gives whoever asks it [`ASKED_WITHIN`]. For who holds a channel of it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn note_can_be_asked(&self, gateway: &str, can_be_asked: bool) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(CAN_BE_ASKED.of(d))
            .bind(gateway).bind(can_be_asked).execute(pool).await?.rows_affected());
        Ok(())
    }

    /// Takes up to `limit` doubts that are to be asked about, until `until`: then they are anybody's again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn take_doubts(
        &self,
        gateway: &str,
        limit: u16,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Doubt>> {
        let due: bool = on_db!(read self.db, pool, d => sqlx::query_scalar(ANY_DUE.of(d))
            .bind(gateway).bind(now.as_millis()).fetch_one(pool).await?);
        if !due {
            return Ok(Vec::new());
        }
        let asker = i64::from_ne_bytes(rand::rng().next_u64().to_ne_bytes());
        let mut tx = self.db.begin().await?;
        on_tx!(&mut tx, conn, d => sqlx::query(ASK.of(d))
            .bind(gateway).bind(asker).bind(until.as_millis()).bind(now.as_millis()).bind(i64::from(limit))
            .execute(conn).await?.rows_affected());
        let rows: Vec<AskedRow> = on_tx!(&mut tx, conn, d => sqlx::query_as(ASKED.of(d))
            .bind(gateway).bind(asker).bind(now.as_millis()).fetch_all(conn).await?);
        tx.commit().await?;
        Ok(rows.into_iter().map(|row| self.doubt(row, asker)).collect())
    }

    fn doubt(&self, row: AskedRow, asker: i64) -> Doubt {
        let phone = row.phone.and_then(|p| self.keys.open_phone(&p, row.participant_id.as_bytes()).ok());
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Doubt {
            id: DeliveryId(row.delivery_id),
            lease_token: row.lease_token,
            asker,
            message: MessageId(row.message_id),
            phone,
            priority: row.priority.parse().unwrap_or(Priority::Normal),
            since: Timestamp::from_millis(row.created_at),
            lost_at: Timestamp::from_millis(row.lost_at),
            unanswered: count(row.unanswered),
            missed_at: row.missed_at.map(Timestamp::from_millis),
            resent: count(row.resent),
            may_ring: row.may_ring,
        }
    }

    /// Writes down what came of asking, in one transaction. What was settled meanwhile, or is another's to ask by now, stays as
    /// it is.
    ///
    /// # Errors
    /// What the database says; nothing is written then.
    pub async fn answer_doubts(&self, gateway: &str, answered: Vec<Answered>, now: Timestamp) -> Result<()> {
        if answered.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        let ids = json!(answered.iter().map(|a| a.doubt.id.0).collect::<Vec<_>>()).to_string();
        lock::deliveries(&mut tx, &ids).await?;
        let fences = answered.iter().map(|a| json!([a.doubt.id.0, a.doubt.lease_token, a.doubt.asker]));
        let fences = json!(fences.collect::<Vec<_>>()).to_string();
        let ours: Vec<i64> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(STILL_OURS.of(d))
            .bind(fences).fetch_all(conn).await?);
        let mut written = Written::default();
        for answered in answered.into_iter().filter(|a| ours.contains(&a.doubt.id.0)) {
            written.add(answered, now);
        }
        let all = [
            (Resolution::LookupFound, &written.known),
            (Resolution::LookupNotFound, &written.not_known),
            (Resolution::IdempotentResend, &written.repeated),
        ];
        for (how, finished) in all {
            finish_each(&mut tx, gateway, finished, Settling { how, at: Some(now) }).await?;
        }
        receipts::store(&mut tx, gateway, &written.receipts).await?;
        // What was settled above has no asker any more; what could not be moved, whatever the reason, is left to the policy.
        let again = json!(written.again).to_string();
        on_tx!(&mut tx, conn, d => sqlx::query(ASK_AGAIN.of(d)).bind(again).execute(conn).await?.rows_affected());
        tx.commit().await
    }

    /// How many doubts were settled since anybody asked this, by gateway and how: each is told once, to one process.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_settled_doubts(&self) -> Result<Vec<(String, Resolution)>> {
        let any: bool =
            on_db!(read self.db, pool, d => sqlx::query_scalar(ANY_UNCOUNTED.of(d)).fetch_one(pool).await?);
        if !any {
            return Ok(Vec::new());
        }
        let rows: Vec<(String, String)> =
            on_db!(write self.db, pool, d => sqlx::query_as(COUNT.of(d)).fetch_all(pool).await?);
        rows.into_iter().map(|(gateway, how)| Ok((gateway, Resolution::parse(&how)?))).collect()
    }
}

/// The answers of a batch by what is done about them.
#[derive(Default)]
struct Written {
    known: Vec<Finished>,
    not_known: Vec<Finished>,
    repeated: Vec<Finished>,
    receipts: Vec<IncomingReceipt>,
    again: Vec<serde_json::Value>,
}

impl Written {
    fn add(&mut self, answered: Answered, now: Timestamp) {
        let Answered { doubt, found } = answered;
        let finished = |decision, provider_ids, segments, at| Finished {
            id: doubt.id,
            lease_token: doubt.lease_token,
            decision,
            provider_ids,
            segments,
            at,
        };
        let (ask_at, because) = match &found {
            Found::Again { ask_at, because } => (Some(*ask_at), Some(*because)),
            _ => (None, None),
        };
        self.again.push(json!([
            doubt.id.0,
            doubt.lease_token,
            doubt.asker,
            ask_at.map(Timestamp::as_millis),
            doubt.unanswered + u32::from(because == Some(Because::Unanswered)),
            doubt
                .missed_at
                .or_else(|| (because == Some(Because::Missed)).then_some(now))
                .map(Timestamp::as_millis),
            doubt.resent + u32::from(because == Some(Because::NotTaken)),
        ]));
        match found {
            Found::Known { provider_ids, segments, status, error } => {
                self.receipts.extend(receipt(&doubt, &provider_ids, status, error, now));
                // It was sent when its answer was lost, not when we found out.
                self.known.push(finished(Decision::Sent, provider_ids, segments, doubt.lost_at));
            }
            Found::NotKnown => {
                let back = Decision::PutBack { due_at: now, spent: false };
                self.not_known.push(finished(back, Vec::new(), 0, now));
            }
            Found::Taken { provider_ids, segments } => {
                self.repeated.push(finished(Decision::Sent, provider_ids, segments, doubt.lost_at));
            }
            Found::Refused(failure) => {
                self.repeated.push(finished(Decision::Failed(failure), Vec::new(), 0, now));
            }
            Found::Again { .. } | Found::Nothing => {}
        }
    }
}

/// What a look-up says beyond "taken", as the receipt that it stands for.
fn receipt(
    doubt: &Doubt,
    provider_ids: &[ProviderId],
    status: ReceiptStatus,
    error: Option<String>,
    now: Timestamp,
) -> Option<IncomingReceipt> {
    matches!(status, ReceiptStatus::Delivered | ReceiptStatus::Undelivered).then(|| IncomingReceipt {
        provider_id: provider_ids.first().cloned().unwrap_or_else(|| ProviderId(String::new())),
        delivery: Some(doubt.id),
        status,
        error,
        recipient: None,
        raw: "look-up".to_owned(),
        received_at: now,
    })
}
