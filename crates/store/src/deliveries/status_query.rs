//! Doubts that the provider is asked about: who asks, and what is written down of the answer.

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::Decision;
use klaroen_domain::id::{DeliveryId, MessageId};
use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::doubts::Resolution;
use crate::deliveries::outcomes::{Finished, Settling, finish_each};
use crate::deliveries::receipts::{self, IncomingReceipt};
use crate::engine::db::{Sql, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::lock::{self, ProviderIds};
use crate::{Result, Store};

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
    /// Whose phone; `None` if the participant was erased or has another number now.
    pub phone: Option<PhoneNumber>,
    /// How urgent.
    pub priority: Priority,
    /// Not submitted before this time.
    pub since: Timestamp,
    /// When the lease of the attempt ended, or would have.
    pub lease_until: Option<Timestamp>,
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

/// The result of asking the provider.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The provider has it.
    Known {
        /// The provider's names for its parts.
        provider_ids: Vec<ProviderId>,
        /// Segments that were sent.
        segments: u8,
        /// The status that the provider has for it.
        status: ReceiptStatus,
        /// Why it did not arrive.
        error: Option<String>,
    },
    /// The provider does not know it.
    NotKnown,
    /// It was handed over again, under the same reference, and taken.
    Taken {
        /// The provider's names for its parts.
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
        /// The reason to remember.
        because: Because,
    },
    /// Nothing, and there is no use in asking on: the policy decides.
    Nothing,
}

/// Why a provider is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The provider returned no answer.
    Unanswered,
    /// It does not know the message, perhaps not yet.
    Missed,
    /// The repetition was not taken.
    NotTaken,
    /// It was not asked at all: the gateway is paused, or we are stopping.
    NotAsked,
}

/// The result for one doubt.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// Which.
    pub doubt: Doubt,
    /// What.
    pub found: Found,
}

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
         d.recipient, COALESCE(d.phone, p.phone) AS phone, m.priority, m.created_at, d.lease_until,
         m.expires_at > $3 AND m.open
             AND (d.lane = 0 OR NOT EXISTS (SELECT 1 FROM opt_outs o WHERE o.recipient = d.recipient)) AS may_ring
     FROM doubts x JOIN deliveries d ON d.id = x.delivery_id AND d.lease_token = x.lease_token
         JOIN messages m ON m.id = d.message_id
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
/// `$1`: provider ids, `$2`: the gateway, `$3`: the delivery that is asked about.
const HELD: Sql = Sql::each(
    "SELECT s.provider_id FROM json_each($1) j
         CROSS JOIN submissions s ON s.gateway = $2 AND s.provider_id = j.value AND s.delivery_id <> $3",
    "SELECT s.provider_id FROM json_array_elements_text($1::json) AS j(value)
         JOIN submissions s ON s.gateway = $2 AND s.provider_id = j.value AND s.delivery_id <> $3",
);
const HELD_BY_TEST: Sql = Sql::each(
    "SELECT t.provider_id FROM json_each($1) j
         CROSS JOIN gateway_tests t ON t.gateway = $2 AND t.provider_id = j.value",
    "SELECT t.provider_id FROM json_array_elements_text($1::json) AS j(value)
         JOIN gateway_tests t ON t.gateway = $2 AND t.provider_id = j.value",
);
from_row! {
    struct AskedRow {
        delivery_id: i64,
        lease_token: i64,
        lost_at: i64,
        unanswered: i64,
        missed_at: Option<i64>,
        resent: i64,
        message_id: Uuid,
        participant_id: Option<Uuid>,
        recipient: Vec<u8>,
        phone: Option<Vec<u8>>,
        priority: String,
        created_at: i64,
        lease_until: Option<i64>,
        may_ring: bool,
    }
}

impl Store {
    /// Takes up to `limit` doubts that are to be asked about, until `until`. Then any worker may take them again.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
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
        let sealed_for = row.participant_id.as_ref().map_or(row.recipient.as_slice(), |id| id.as_bytes());
        let phone = row.phone.and_then(|p| self.keys.open_phone(&p, sealed_for).ok());
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        Doubt {
            id: DeliveryId(row.delivery_id),
            lease_token: row.lease_token,
            asker,
            message: MessageId(row.message_id),
            phone,
            priority: row.priority.parse().unwrap_or(Priority::Normal),
            since: Timestamp::from_millis(row.created_at),
            lease_until: row.lease_until.map(Timestamp::from_millis),
            lost_at: Timestamp::from_millis(row.lost_at),
            unanswered: count(row.unanswered),
            missed_at: row.missed_at.map(Timestamp::from_millis),
            resent: count(row.resent),
            may_ring: row.may_ring,
        }
    }

    /// Which of these ids of a provider's are those of other deliveries of ours, or of test messages.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn held_elsewhere(
        &self,
        gateway: &str,
        ids: &[ProviderId],
        but: DeliveryId,
    ) -> Result<Vec<ProviderId>> {
        let ids = json!(ids).to_string();
        let mut held: Vec<String> = on_db!(read self.db, pool, d => sqlx::query_scalar(HELD.of(d))
            .bind(&ids).bind(gateway).bind(but.0).fetch_all(pool).await?);
        let by_tests: Vec<String> = on_db!(read self.db, pool, d => sqlx::query_scalar(HELD_BY_TEST.of(d))
            .bind(&ids).bind(gateway).fetch_all(pool).await?);
        held.extend(by_tests);
        Ok(held.into_iter().map(ProviderId).collect())
    }

    /// Writes down the results of asking, in one transaction. A doubt settled meanwhile, or another's to ask by now, stays as
    /// it is.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read. Then nothing is written.
    pub async fn answer_doubts(&self, gateway: &str, answered: Vec<Answered>, now: Timestamp) -> Result<()> {
        if answered.is_empty() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        // The receipts below name their deliveries, so that none of them is looked for by the provider's id alone.
        ProviderIds::Write.take(&mut tx, gateway).await?;
        let ids = json!(answered.iter().map(|a| a.doubt.id.0).collect::<Vec<_>>()).to_string();
        lock::deliveries(&mut tx, &ids).await?;
        lock::messages_of(&mut tx, &ids).await?;
        let fences = answered.iter().map(|a| json!([a.doubt.id.0, a.doubt.lease_token, a.doubt.asker]));
        let fences = json!(fences.collect::<Vec<_>>()).to_string();
        let ours: Vec<i64> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(STILL_OURS.of(d))
            .bind(fences).fetch_all(conn).await?);
        let (mut written, mut deferred) = (Written::default(), DeferredEffects::default());
        for answered in answered.into_iter().filter(|a| ours.contains(&a.doubt.id.0)) {
            written.add(answered, now);
        }
        let all = [
            (Resolution::LookupFound, &written.known),
            (Resolution::LookupNotFound, &written.not_known),
            (Resolution::IdempotentResend, &written.repeated),
        ];
        for (how, finished) in all {
            finish_each(&mut tx, gateway, finished, Settling { how, at: Some(now) }, &mut deferred).await?;
        }
        receipts::store(&mut tx, gateway, &written.receipts, &mut deferred).await?;
        // A doubt settled above has no asker any more; one that could not be moved, whatever the reason, is left to the policy.
        let again = json!(written.again).to_string();
        on_tx!(&mut tx, conn, d => sqlx::query(ASK_AGAIN.of(d)).bind(again).execute(conn).await?.rows_affected());
        deferred.write(&mut tx).await?;
        tx.commit().await
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

/// The part of a look-up's answer beyond "taken", as the receipt that it stands for.
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
