//! Writing down what came of submits, in batches, fenced by the lease token.

mod writes;

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::decide::Decision;
use klaroen_domain::id::{DeliveryId, OrganisationId};
use klaroen_domain::outcome::{ProviderId, Scope};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::writes::APPLY;
use self::writes::Writes;
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::doubts::Resolution;
use crate::deliveries::receipts::{self, IncomingReceipt, ReceiptCounts, join_parked};
use crate::deliveries::refusals::RefusedDelivery;
use crate::deliveries::{doubts, refusals};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::json_object::object;
use crate::engine::lock::{self, ProviderIds};
use crate::{Result, Store};

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
/// On PostgreSQL in the order of the messages: see [`lock::messages_of`], which would be one question more.
pub(crate) const SENT_TIMES_OF: Sql = Sql::each(
    "UPDATE messages SET
         first_sent_at = MIN(COALESCE(first_sent_at, s.earliest), s.earliest),
         last_sent_at = MAX(COALESCE(last_sent_at, s.latest), s.latest),
         settled = FALSE
     FROM (SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
           FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value GROUP BY d.message_id) s
     WHERE messages.id = s.message_id",
    "WITH s AS (
         SELECT d.message_id, MIN(d.sent_at) AS earliest, MAX(d.sent_at) AS latest
         FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         GROUP BY d.message_id),
     m AS (
         SELECT m.id, s.earliest, s.latest FROM messages m JOIN s ON s.message_id = m.id ORDER BY m.id FOR NO KEY UPDATE OF m)
     UPDATE messages SET
         first_sent_at = LEAST(first_sent_at, m.earliest), last_sent_at = GREATEST(last_sent_at, m.latest),
         settled = FALSE
     FROM m WHERE messages.id = m.id",
);
pub(crate) const CURRENT: Sql = Sql::each(
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM json_each($1) j JOIN deliveries d ON d.id = j.value",
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
     ORDER BY d.id FOR UPDATE OF d",
);
/// On PostgreSQL also where it is not settled: this statement does not see what another transaction has just settled, but waits
/// for it.
const REOPEN: Sql = Sql::each(
    "UPDATE messages SET settled = FALSE
     WHERE settled AND id IN (SELECT d.message_id FROM json_each($1) j CROSS JOIN deliveries d ON d.id = j.value)",
    "UPDATE messages SET settled = FALSE
     WHERE id IN (
         SELECT m.id FROM messages m WHERE m.id IN (
             SELECT d.message_id FROM deliveries d
             WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json)))
         ORDER BY m.id FOR NO KEY UPDATE)",
);

struct CurrentRow {
    id: i64,
    state: String,
    lease_token: Option<i64>,
    in_doubt: bool,
    organisation_id: Uuid,
    message_id: Uuid,
}

from_row!(CurrentRow: id, state, lease_token, in_doubt, organisation_id, message_id);

impl Store {
    /// Writes a batch in one transaction and joins receipts that came early. `gateway` is the one that all were handed to.
    ///
    /// # Errors
    /// What the database says; nothing of the batch is written then.
    pub async fn finish(&self, gateway: &str, batch: &[Finished]) -> Result<FinishedCounts> {
        Ok(self.record(gateway, batch, &[]).await?.0)
    }

    /// Writes what came of submits, and then receipts, and waits for the disk once: a receipt that came right after its answer
    /// finds it. PostgreSQL does two things at once: there the receipts are left to whoever brought them, who has
    /// [`Store::store_receipts`] while the next results are written here, and no counts of them are given.
    ///
    /// # Errors
    /// What the database says; nothing of either is written then, and no receipt may be acknowledged.
    pub async fn record(
        &self,
        gateway: &str,
        results: &[Finished],
        receipts: &[IncomingReceipt],
    ) -> Result<(FinishedCounts, Option<ReceiptCounts>)> {
        if self.is_shared() && results.is_empty() {
            return Ok((FinishedCounts::default(), None));
        }
        let (mut tx, finished) = self.finish_in(gateway, results).await?;
        if self.is_shared() {
            tx.commit().await?;
            return Ok((finished, None));
        }
        let mut deferred = DeferredEffects::default();
        let stored = receipts::store(&mut tx, gateway, receipts, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok((finished, Some(stored)))
    }

    /// A transaction in which what came of submits is written.
    async fn finish_in(&self, gateway: &str, results: &[Finished]) -> Result<(Tx, FinishedCounts)> {
        if let Some(sent) = Sent::of(results) {
            // Before the transaction, in which everybody waits for SQLite's one writer.
            let parameters = sent.parameters();
            let mut tx = self.db.begin().await?;
            ProviderIds::Write.take(&mut tx, gateway).await?;
            if let Some(finished) = sent.write(&mut tx, gateway, parameters).await? {
                return Ok((tx, finished));
            }
            // Some row is not what its attempt left. This is rolled back, and each is looked at.
        }
        let (mut tx, mut deferred) = (self.db.begin().await?, DeferredEffects::default());
        ProviderIds::Write.take(&mut tx, gateway).await?;
        let finished = finish_each(&mut tx, gateway, results, Settling::LATE, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        Ok((tx, finished))
    }
}

/// How a batch settles what was in doubt before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settling {
    /// What is written down of a doubt that it settles.
    pub(crate) how: Resolution,
    /// When it is written; the time of each answer where it is not told.
    pub(crate) at: Option<Timestamp>,
}

impl Settling {
    /// Answers of providers: one about a delivery in doubt is late.
    pub(crate) const LATE: Self = Self { how: Resolution::LateAnswer, at: None };
}

/// Looks at each row before it is written.
pub(crate) async fn finish_each(
    tx: &mut Tx,
    gateway: &str,
    batch: &[Finished],
    settling: Settling,
    deferred: &mut DeferredEffects,
) -> Result<FinishedCounts> {
    if batch.is_empty() {
        return Ok(FinishedCounts::default());
    }
    // The last word about a delivery counts, should a batch hold two.
    let by_id: HashMap<i64, &Finished> = batch.iter().map(|f| (f.id.0, f)).collect();
    let ids = json!(by_id.keys().collect::<Vec<_>>()).to_string();
    let rows: Vec<CurrentRow> =
        on_tx!(&mut *tx, conn, d => sqlx::query_as(CURRENT.of(d)).bind(&ids).fetch_all(conn).await?);
    let late = rows.iter().filter(|row| settling.how == Resolution::LateAnswer && row.state == "unknown");
    let back = late.filter(|row| by_id.get(&row.id).is_some_and(|finished| goes_back(&finished.decision)));
    let asked = doubts::asked(tx, &back.map(|row| row.id).collect::<Vec<_>>()).await?;
    lock::messages_of(tx, &ids).await?;
    let refused = rows.iter().filter_map(|row| refused_for_all(row, by_id.get(&row.id)?));
    let heard = refusals::hear(tx, gateway, refused.collect()).await?;
    let mut writes = Writes::new(settling);
    for row in rows.iter().filter(|row| !asked.contains(&row.id)) {
        if let Some(finished) = by_id.get(&row.id) {
            writes.add(row, heard.put_back.get(&row.id).unwrap_or(finished));
        }
    }
    let counts = writes.write(tx, gateway, deferred).await?;
    for stopped in batch.iter().filter(|f| matches!(&f.decision, Decision::Failed(why) if why.is_opt_out())) {
        deferred.stop_phone_of(stopped.id.0, stopped.at);
    }
    heard.tell(deferred);
    Ok(FinishedCounts { fenced: batch.len() as u64 - counts.applied.min(batch.len() as u64), ..counts })
}

/// Whether it says that nothing was taken.
const fn goes_back(decision: &Decision) -> bool {
    matches!(decision, Decision::PutBack { .. } | Decision::HandOver { .. } | Decision::PauseGateway { .. })
}

/// An answer that refuses the message rather than the recipient, to the attempt that the row is about.
fn refused_for_all<'a>(row: &CurrentRow, finished: &'a Finished) -> Option<RefusedDelivery<'a>> {
    let Decision::Failed(failure) = &finished.decision else { return None };
    let ours = row.lease_token == Some(finished.lease_token) && matches!(&*row.state, "sending" | "unknown");
    (ours && failure.scope == Scope::Message).then_some(RefusedDelivery {
        message: row.message_id,
        organisation: OrganisationId(row.organisation_id),
        failure,
        finished,
    })
}

/// A batch of which each delivery was taken in one part: what nearly every batch is.
struct Sent<'a> {
    /// Delivery and time, by lease token and segments.
    times: BTreeMap<(i64, u8), Vec<(i64, i64)>>,
    /// Provider id and delivery.
    names: Vec<(&'a str, i64)>,
}

/// What its statements take.
struct Parameters {
    /// Of all deliveries, as a JSON array.
    ids: String,
    groups: Vec<Group>,
    /// `{"provider id": delivery}`.
    names: String,
}

/// Deliveries of one lease and of as many segments.
struct Group {
    lease_token: i64,
    segments: u8,
    /// `{"delivery": time}`.
    times: String,
    rows: u64,
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

    fn parameters(&self) -> Parameters {
        let groups = self.times.iter().map(|((lease_token, segments), rows)| Group {
            lease_token: *lease_token,
            segments: *segments,
            times: object(rows.iter().copied()),
            rows: rows.len() as u64,
        });
        Parameters {
            ids: json!(self.names.iter().map(|(_, id)| id).collect::<Vec<_>>()).to_string(),
            groups: groups.collect(),
            names: object(self.names.iter().copied()),
        }
    }

    /// Writes them without reading a row first; `None` where a row is not what its attempt left: nothing may be committed then.
    async fn write(
        &self,
        tx: &mut Tx,
        gateway: &str,
        parameters: Parameters,
    ) -> Result<Option<FinishedCounts>> {
        let Parameters { ids, groups, names } = parameters;
        lock::deliveries(tx, &ids).await?;
        for Group { lease_token, segments, times, rows } in groups {
            let written = on_tx!(&mut *tx, conn, d => sqlx::query(SENT.of(d))
                .bind(times).bind(lease_token).bind(i64::from(segments)).execute(conn).await?.rows_affected());
            if written != rows {
                return Ok(None);
            }
        }
        on_tx!(&mut *tx, conn, d => sqlx::query(SUBMITTED_WHOLE.of(d))
            .bind(names).bind(gateway).execute(conn).await?.rows_affected());
        on_tx!(&mut *tx, conn, d => sqlx::query(SENT_TIMES_OF.of(d)).bind(ids).execute(conn).await?.rows_affected());
        let mut deferred = DeferredEffects::default();
        let joined = join_parked(tx, gateway, || self.submissions(), &mut deferred).await?;
        deferred.write(tx).await?;
        Ok(Some(FinishedCounts { applied: self.names.len() as u64, fenced: 0, joined }))
    }

    /// As [`join_parked`] takes them.
    fn submissions(&self) -> String {
        let times: HashMap<i64, i64> = self.times.values().flatten().copied().collect();
        let rows = self.names.iter().map(|(name, id)| json!([name, id, 0, 1, null, times.get(id)]));
        Value::Array(rows.collect()).to_string()
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

#[cfg(test)]
mod tests;
