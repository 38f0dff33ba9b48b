//! Writing down what came of submits, in batches, fenced by the lease token.

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::{DeliveryEvent, DeliveryState, advance};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::db::{Sql, Tx, on_tx};
use crate::lock;
use crate::object::object;
use crate::receipts::{self, IncomingReceipt, ReceiptCounts, join_parked};
use crate::{Result, Store, opt_outs};

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The delivery.
    pub id: DeliveryId,
    /// The fence: a write with another token than the row's changes nothing.
    pub lease_token: i64,
    /// What is to be done.
    pub decision: Decision,
    /// What the provider calls its parts, where it took it.
    pub provider_ids: Vec<ProviderId>,
    /// Segments that were sent.
    pub segments: u8,
    /// When the answer came.
    pub at: Timestamp,
}

/// What a batch changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FinishedCounts {
    /// Rows that moved.
    pub applied: u64,
    /// Rows whose lease had gone to another, or that were settled before: nothing was changed.
    pub fenced: u64,
    /// Receipts that had come before their answer and were joined now.
    pub joined: u64,
}

/// What the common case, an SMS that was taken in one part, writes; `$1` is `{"id": time}`. Whether every row was under this
/// lease is told by how many were changed.
pub(crate) const SENT: Sql = Sql::each(
    "UPDATE deliveries SET state = 'sent', settle_at = NULL, segments = $3, sent_at = j.value, reason = NULL,
         changed_at = j.value
     FROM json_each($1) j
     WHERE deliveries.id = CAST(j.key AS INTEGER) AND deliveries.state = 'sending' AND deliveries.lease_token = $2",
    "UPDATE deliveries SET state = 'sent', settle_at = NULL, segments = $3, sent_at = j.value::bigint, reason = NULL,
         changed_at = j.value::bigint
     FROM json_each_text($1::json) AS j(key, value)
     WHERE deliveries.id = j.key::bigint AND deliveries.state = 'sending' AND deliveries.lease_token = $2",
);
/// `$1` is `{"provider id": delivery}`.
pub(crate) const SUBMITTED_WHOLE: Sql = Sql::each(
    "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, status, submitted_at)
     SELECT $2, j.key, d.id, 0, 1, d.organisation_id, NULL, d.sent_at
     FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value WHERE true
     ON CONFLICT (gateway, provider_id, delivery_id, part) DO NOTHING",
    "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, status, submitted_at)
     SELECT $2, j.key, d.id, 0, 1, d.organisation_id, NULL, d.sent_at
     FROM json_each_text($1::json) AS j(key, value) JOIN deliveries d ON d.id = j.value::bigint
     ON CONFLICT (gateway, provider_id, delivery_id, part) DO NOTHING",
);
pub(crate) const SENT_TIMES_OF: Sql = Sql::each(
    "UPDATE messages SET
         first_sent_at = MIN(COALESCE(first_sent_at, s.earliest), s.earliest),
         last_sent_at = MAX(COALESCE(last_sent_at, s.latest), s.latest),
         settled = FALSE
     FROM (SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
           FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value GROUP BY d.message_id) s
     WHERE messages.id = s.message_id",
    "UPDATE messages SET
         first_sent_at = LEAST(first_sent_at, s.earliest), last_sent_at = GREATEST(last_sent_at, s.latest),
         settled = FALSE
     FROM (SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
           FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
           GROUP BY d.message_id) s
     WHERE messages.id = s.message_id",
);
pub(crate) const CURRENT: Sql = Sql::each(
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM json_each($1) j JOIN deliveries d ON d.id = j.value",
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
     ORDER BY d.id FOR UPDATE OF d",
);
/// Columns of the JSON: id, old state, new state, lease token, due, retries to add, settle, segments,
/// sent, reason, now, handed over. `$2` is the gateway.
pub(crate) const APPLY: Sql = Sql::each(
    "UPDATE deliveries SET
         state = j.value ->> 2,
         due_at = COALESCE(j.value ->> 4, due_at),
         retries = retries + (j.value ->> 5),
         settle_at = j.value ->> 6,
         segments = COALESCE(j.value ->> 7, segments),
         sent_at = COALESCE(j.value ->> 8, sent_at),
         reason = CASE WHEN deliveries.state = 'undelivered' AND j.value ->> 2 = 'undelivered' THEN reason ELSE j.value ->> 9 END,
         changed_at = j.value ->> 10,
         handed_by = CASE WHEN j.value ->> 11 THEN $2 END
     FROM json_each($1) j
     WHERE deliveries.id = j.value ->> 0 AND deliveries.state = j.value ->> 1 AND deliveries.lease_token = j.value ->> 3",
    "UPDATE deliveries SET
         state = j.value ->> 2,
         due_at = COALESCE((j.value ->> 4)::bigint, due_at),
         retries = retries + (j.value ->> 5)::bigint,
         settle_at = (j.value ->> 6)::bigint,
         segments = COALESCE((j.value ->> 7)::bigint, segments),
         sent_at = COALESCE((j.value ->> 8)::bigint, sent_at),
         reason = CASE WHEN deliveries.state = 'undelivered' AND j.value ->> 2 = 'undelivered' THEN reason ELSE j.value ->> 9 END,
         changed_at = (j.value ->> 10)::bigint,
         handed_by = CASE WHEN (j.value ->> 11)::boolean THEN $2 END
     FROM json_array_elements($1::json) AS j(value)
     WHERE deliveries.id = (j.value ->> 0)::bigint AND deliveries.state = j.value ->> 1 AND deliveries.lease_token = (j.value ->> 3)::bigint",
);
const SUBMITTED: Sql = Sql::each(
    "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, status, submitted_at)
     SELECT $2, j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, unhex(j.value ->> 4), NULL, j.value ->> 5
     FROM json_each($1) j WHERE true
     ON CONFLICT (gateway, provider_id, delivery_id, part) DO NOTHING",
    "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, status, submitted_at)
     SELECT $2, j.value ->> 0, (j.value ->> 1)::bigint, (j.value ->> 2)::bigint, (j.value ->> 3)::bigint,
         (j.value ->> 4)::uuid, NULL, (j.value ->> 5)::bigint
     FROM json_array_elements($1::json) AS j(value)
     ON CONFLICT (gateway, provider_id, delivery_id, part) DO NOTHING",
);
const SENT_TIMES: Sql = Sql::each(
    "UPDATE messages SET
         first_sent_at = MIN(COALESCE(first_sent_at, j.value ->> 1), j.value ->> 1),
         last_sent_at = MAX(COALESCE(last_sent_at, j.value ->> 2), j.value ->> 2)
     FROM json_each($1) j WHERE messages.id = unhex(j.value ->> 0)",
    "UPDATE messages SET
         first_sent_at = LEAST(first_sent_at, (j.value ->> 1)::bigint),
         last_sent_at = GREATEST(last_sent_at, (j.value ->> 2)::bigint)
     FROM json_array_elements($1::json) AS j(value) WHERE messages.id = (j.value ->> 0)::uuid",
);
const REOPEN: Sql = Sql::each(
    "UPDATE messages SET settled = FALSE
     WHERE settled AND id IN (SELECT d.message_id FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value)",
    "UPDATE messages SET settled = FALSE
     WHERE settled AND id IN (
         SELECT d.message_id FROM deliveries d
         WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json)))",
);

#[derive(sqlx::FromRow)]
struct CurrentRow {
    id: i64,
    state: String,
    lease_token: Option<i64>,
    in_doubt: bool,
    organisation_id: Uuid,
    message_id: Uuid,
}

impl Store {
    /// Writes a batch in one transaction and joins receipts that came early. `gateway` is the one that all were handed to.
    ///
    /// # Errors
    /// What the database says; nothing of the batch is written then.
    pub async fn finish(&self, gateway: &str, batch: &[Finished]) -> Result<FinishedCounts> {
        Ok(self.record(gateway, batch, &[]).await?.0)
    }

    /// Writes what came of submits, and then receipts, and waits for the disk once: a receipt that came right after its answer
    /// finds it. On PostgreSQL each has a transaction of its own, so that locks are taken in one order; it may then give results
    /// and no counts of receipts, which are not stored.
    ///
    /// # Errors
    /// What the database says; nothing of either is written then, and no receipt may be acknowledged.
    pub async fn record(
        &self,
        gateway: &str,
        results: &[Finished],
        receipts: &[IncomingReceipt],
    ) -> Result<(FinishedCounts, Option<ReceiptCounts>)> {
        let (mut tx, finished) = self.finish_in(gateway, results).await?;
        if matches!(tx, Tx::Sqlite(_)) || results.is_empty() {
            let stored = receipts::store(&mut tx, gateway, receipts).await?;
            tx.commit().await?;
            return Ok((finished, Some(stored)));
        }
        tx.commit().await?;
        if receipts.is_empty() {
            return Ok((finished, Some(ReceiptCounts::default())));
        }
        let stored = self.store_receipts(gateway, receipts).await;
        Ok((finished, stored.inspect_err(|error| tracing::warn!(%error, "receipts not stored")).ok()))
    }

    /// A transaction in which what came of submits is written.
    async fn finish_in(&self, gateway: &str, results: &[Finished]) -> Result<(Tx, FinishedCounts)> {
        if let Some(sent) = Sent::of(results) {
            let mut tx = self.db.begin().await?;
            if let Some(finished) = sent.write(&mut tx, gateway).await? {
                return Ok((tx, finished));
            }
            // Some row is not what its attempt left. This is rolled back, and each is looked at.
        }
        let mut tx = self.db.begin().await?;
        let finished = finish_each(&mut tx, gateway, results).await?;
        Ok((tx, finished))
    }
}

/// Looks at each row before it is written.
async fn finish_each(tx: &mut Tx, gateway: &str, batch: &[Finished]) -> Result<FinishedCounts> {
    if batch.is_empty() {
        return Ok(FinishedCounts::default());
    }
    // The last word about a delivery counts, should a batch hold two.
    let by_id: HashMap<i64, &Finished> = batch.iter().map(|f| (f.id.0, f)).collect();
    let ids = json!(by_id.keys().collect::<Vec<_>>()).to_string();
    let rows: Vec<CurrentRow> =
        on_tx!(&mut *tx, conn, d => sqlx::query_as(CURRENT.of(d)).bind(ids).fetch_all(conn).await?);
    let mut writes = Writes::default();
    for row in &rows {
        if let Some(finished) = by_id.get(&row.id) {
            writes.add(row, finished);
        }
    }
    let counts = writes.write(tx, gateway).await?;
    let stopped = batch.iter().filter(|f| matches!(&f.decision, Decision::Failed(why) if why.is_opt_out()));
    let (ids, times): (Vec<i64>, Vec<Timestamp>) = stopped.map(|f| (f.id.0, f.at)).unzip();
    if let Some(now) = times.into_iter().max() {
        opt_outs::stopped_at_provider(tx, &ids, None, now).await?;
    }
    Ok(FinishedCounts { fenced: batch.len() as u64 - counts.applied.min(batch.len() as u64), ..counts })
}

/// A batch of which each delivery was taken in one part: what nearly every batch is.
struct Sent<'a> {
    /// Delivery and time, by lease token and segments.
    times: BTreeMap<(i64, u8), Vec<(i64, i64)>>,
    /// Provider id and delivery.
    names: Vec<(&'a str, i64)>,
}

impl<'a> Sent<'a> {
    fn of(batch: &'a [Finished]) -> Option<Self> {
        let mut sent = Self { times: BTreeMap::new(), names: Vec::with_capacity(batch.len()) };
        let mut seen = HashSet::with_capacity(batch.len());
        for finished in batch {
            let [name] = finished.provider_ids.as_slice() else { return None };
            if finished.decision != Decision::Sent || !seen.insert(finished.id.0) {
                return None;
            }
            let key = (finished.lease_token, finished.segments);
            sent.times.entry(key).or_default().push((finished.id.0, finished.at.as_millis()));
            sent.names.push((&name.0, finished.id.0));
        }
        (!sent.names.is_empty()).then_some(sent)
    }

    /// Writes them without reading a row first; `None` where a row is not what its attempt left: nothing may be committed then.
    async fn write(&self, tx: &mut Tx, gateway: &str) -> Result<Option<FinishedCounts>> {
        let ids = json!(self.names.iter().map(|(_, id)| id).collect::<Vec<_>>()).to_string();
        lock::deliveries(tx, &ids).await?;
        for ((lease_token, segments), rows) in &self.times {
            let written = on_tx!(&mut *tx, conn, d => sqlx::query(SENT.of(d))
                .bind(object(rows.iter().copied())).bind(*lease_token).bind(i64::from(*segments))
                .execute(conn).await?.rows_affected());
            if written != rows.len() as u64 {
                return Ok(None);
            }
        }
        on_tx!(&mut *tx, conn, d => sqlx::query(SUBMITTED_WHOLE.of(d))
            .bind(object(self.names.iter().copied())).bind(gateway).execute(conn).await?.rows_affected());
        on_tx!(&mut *tx, conn, d => sqlx::query(SENT_TIMES_OF.of(d)).bind(ids).execute(conn).await?.rows_affected());
        let joined = join_parked(tx, gateway, || self.submissions()).await?;
        Ok(Some(FinishedCounts { applied: self.names.len() as u64, fenced: 0, joined }))
    }

    /// As [`join_parked`] takes them.
    fn submissions(&self) -> String {
        let times: HashMap<i64, i64> = self.times.values().flatten().copied().collect();
        let rows = self.names.iter().map(|(name, id)| json!([name, id, 0, 1, null, times.get(id)]));
        Value::Array(rows.collect()).to_string()
    }
}

/// What one decision does to a row, before anything is written.
#[derive(Default)]
struct Effect<'a> {
    due_at: Option<Timestamp>,
    retries: u8,
    settle_at: Option<Timestamp>,
    taken: bool,
    reason: Option<&'a str>,
    handed_over: bool,
}

impl<'a> Effect<'a> {
    fn of(decision: &'a Decision) -> (DeliveryEvent, Self) {
        let none = Self::default();
        match decision {
            Decision::Sent => (DeliveryEvent::Accepted, Self { taken: true, ..none }),
            Decision::PutBack { due_at, spent } => {
                (DeliveryEvent::PutBack, Self { due_at: Some(*due_at), retries: u8::from(*spent), ..none })
            }
            Decision::PauseGateway { due_at, failure } => {
                (DeliveryEvent::PutBack, Self { due_at: Some(*due_at), reason: Some(&failure.code), ..none })
            }
            Decision::HandOver { due_at, code } => (
                DeliveryEvent::PutBack,
                Self { due_at: Some(*due_at), reason: code.as_deref(), handed_over: true, ..none },
            ),
            Decision::Failed(failure) => {
                (DeliveryEvent::Rejected, Self { reason: Some(&failure.code), ..none })
            }
            Decision::Unknown { settle_at } => (
                DeliveryEvent::Lost,
                Self { settle_at: Some(*settle_at), reason: Some("answer_lost"), ..none },
            ),
            // It goes back to the queue at a time at which the sweeper finds it expired.
            Decision::Expired => (DeliveryEvent::PutBack, none),
        }
    }
}

/// The rows of each statement, collected so that each is issued once.
#[derive(Default)]
struct Writes {
    deliveries: Vec<Value>,
    submissions: Vec<Value>,
    sent: HashMap<Uuid, (i64, i64)>,
    /// Their messages may have been done with: something can happen to them again.
    reopened: Vec<i64>,
}

impl Writes {
    fn add(&mut self, row: &CurrentRow, finished: &Finished) {
        let Ok(state) = row.state.parse::<DeliveryState>() else { return };
        if row.lease_token != Some(finished.lease_token) {
            return;
        }
        let (event, effect) = Effect::of(&finished.decision);
        let mut next = advance(state, event);
        if finished.decision == Decision::Expired && next == DeliveryState::Queued {
            next = advance(next, DeliveryEvent::Expired);
        }
        // What was sent twice is not known to have failed or expired: the first time may have rung.
        if row.in_doubt && matches!(next, DeliveryState::Failed | DeliveryState::Expired) {
            next = DeliveryState::Unknown;
        }
        // A receipt that echoes our reference may have come first; the answer then only adds the ids.
        let settled_before = next == state && !effect.taken;
        if settled_before {
            return;
        }
        let at = finished.at.as_millis();
        let sent_at = effect.taken.then_some(at);
        self.deliveries.push(json!([
            row.id,
            state.as_str(),
            next.as_str(),
            finished.lease_token,
            effect.due_at.map(Timestamp::as_millis),
            effect.retries,
            effect.settle_at.map(Timestamp::as_millis),
            effect.taken.then_some(finished.segments),
            sent_at,
            effect.reason,
            at,
            effect.handed_over,
        ]));
        if effect.taken {
            let parts = finished.provider_ids.len();
            for (part, id) in finished.provider_ids.iter().enumerate() {
                let organisation = row.organisation_id.simple().to_string();
                self.submissions.push(json!([id.0, row.id, part, parts, organisation, at]));
            }
            let times = self.sent.entry(row.message_id).or_insert((at, at));
            *times = (times.0.min(at), times.1.max(at));
        }
        if matches!(next, DeliveryState::Queued | DeliveryState::Sent) {
            self.reopened.push(row.id);
        }
    }

    async fn write(self, tx: &mut Tx, gateway: &str) -> Result<FinishedCounts> {
        let mut counts = FinishedCounts::default();
        if self.deliveries.is_empty() {
            return Ok(counts);
        }
        let deliveries = Value::Array(self.deliveries).to_string();
        counts.applied = on_tx!(&mut *tx, conn, d => sqlx::query(APPLY.of(d))
            .bind(deliveries).bind(gateway).execute(conn).await?.rows_affected());
        if !self.submissions.is_empty() {
            let submissions = Value::Array(self.submissions).to_string();
            on_tx!(&mut *tx, conn, d => sqlx::query(SUBMITTED.of(d))
                .bind(&submissions).bind(gateway).execute(conn).await?.rows_affected());
            counts.joined = join_parked(tx, gateway, || submissions).await?;
        }
        if !self.sent.is_empty() {
            let times: Vec<Value> = self
                .sent
                .iter()
                .map(|(id, (first, last))| json!([id.simple().to_string(), first, last]))
                .collect();
            on_tx!(&mut *tx, conn, d => sqlx::query(SENT_TIMES.of(d))
                .bind(Value::Array(times).to_string()).execute(conn).await?.rows_affected());
        }
        reopen(tx, &self.reopened).await?;
        Ok(counts)
    }
}

/// Puts the messages of deliveries that are queued or sent again back under claiming and upkeep.
pub(crate) async fn reopen(tx: &mut Tx, deliveries: &[i64]) -> Result<()> {
    if deliveries.is_empty() {
        return Ok(());
    }
    let deliveries = json!(deliveries).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(REOPEN.of(d)).bind(deliveries).execute(conn).await?.rows_affected());
    Ok(())
}
