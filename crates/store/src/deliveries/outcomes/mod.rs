//! Writing down what came of submits, in batches, fenced by the lease token.

mod sent;

use std::collections::HashMap;
use std::sync::Arc;

use klaroen_domain::decide::Decision;
use klaroen_domain::id::{DeliveryId, OrganisationId};
use klaroen_domain::outcome::{ProviderId, Scope};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use self::sent::Sent;
#[cfg(test)]
pub(crate) use self::sent::{SENT, SUBMITTED_WHOLE};
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::doubts::{self, Resolution};
use crate::deliveries::lifecycle::{self, Answer, Reason, Standing, Step, Taken};
use crate::deliveries::receipts::{self, IncomingReceipt, ReceiptCounts, join_parked};
use crate::deliveries::refusals::{self, RefusedDelivery};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::lock::{self, ProviderIds};
use crate::engine::sql::sql;
use crate::{Result, Store};

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The delivery.
    pub id: DeliveryId,
    /// The fence: a write with another token than the row's changes nothing.
    pub lease_token: i64,
    /// The decision about the delivery.
    pub decision: Decision,
    /// The provider's names for its parts, if the provider took it.
    pub provider_ids: Vec<ProviderId>,
    /// Segments that were sent.
    pub segments: u8,
    /// When the answer came.
    pub at: Timestamp,
}

/// The changes that a batch made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FinishedCounts {
    /// Rows that moved.
    pub applied: u64,
    /// Rows whose lease had gone to another, or that were settled before: nothing was changed.
    pub fenced: u64,
    /// Receipts that had come before their answer and were joined now.
    pub joined: u64,
}

/// The rows that [`Store::record`] wrote.
#[derive(Debug)]
pub struct Recorded {
    /// Of the results.
    pub finished: FinishedCounts,
    /// Of the receipts.
    pub receipts: Storing,
}

/// Receipts whose results are written.
#[derive(Debug)]
#[must_use = "the receipts may not be stored before this is awaited"]
pub struct Storing(Stored);

#[derive(Debug)]
enum Stored {
    /// With the results.
    Already(ReceiptCounts),
    /// They are next.
    Next { store: Box<Store>, gateway: String, receipts: Arc<Vec<IncomingReceipt>> },
}

impl Storing {
    /// Once they are stored.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database fails. Then the caller may acknowledge none of them.
    pub async fn stored(self) -> Result<ReceiptCounts> {
        match self.0 {
            Stored::Already(counts) => Ok(counts),
            Stored::Next { store, gateway, receipts } => store.store_receipts(&gateway, &receipts).await,
        }
    }
}

impl From<ReceiptCounts> for Storing {
    fn from(counts: ReceiptCounts) -> Self {
        Self(Stored::Already(counts))
    }
}

pub(crate) const CURRENT: Sql = Sql::each(
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM json_each($1) j JOIN deliveries d ON d.id = j.value",
    "SELECT d.id, d.state, d.lease_token, d.in_doubt, d.organisation_id, d.message_id
     FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
     ORDER BY d.id FOR UPDATE OF d",
);
const SUBMITTED: Sql = sql!(
    "INSERT INTO submissions (gateway, provider_id, delivery_id, part, parts, organisation_id, status, submitted_at)
     SELECT $2, j.value ->> 0, {int(j, 1)}, {int(j, 2)}, {int(j, 3)}, {uuid(j, 4)}, NULL, {int(j, 5)}
     FROM {rows($1)} j WHERE true
     ON CONFLICT (gateway, provider_id, delivery_id, part) DO NOTHING"
);

from_row! {
    struct CurrentRow {
        id: i64,
        state: String,
        lease_token: Option<i64>,
        in_doubt: bool,
        organisation_id: Uuid,
        message_id: Uuid,
    }
}

impl CurrentRow {
    fn standing(&self) -> Result<Standing> {
        Standing::new(self.id, &self.state, self.in_doubt)
    }
}

impl Store {
    /// Writes a batch in one transaction and joins receipts that came early. `gateway` is the one that all were handed to.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read. Then nothing of the batch is written.
    pub async fn finish(&self, gateway: &str, batch: &[Finished]) -> Result<FinishedCounts> {
        Ok(self.record(gateway, batch, &Arc::default()).await?.finished)
    }

    /// Writes the results of submits, and then receipts, so that a receipt that came right after its answer finds it. On
    /// SQLite this is one transaction, which waits for the disk once. On PostgreSQL it is two: the task that awaits the
    /// receipts writes the second, while the next results are written here. (One would not do there: both take
    /// [`ProviderIds`], the second perhaps alone.)
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database fails. Then nothing of either is written, and the caller may
    /// acknowledge no receipt.
    pub async fn record(
        &self,
        gateway: &str,
        results: &[Finished],
        receipts: &Arc<Vec<IncomingReceipt>>,
    ) -> Result<Recorded> {
        if self.is_shared() {
            let mut finished = FinishedCounts::default();
            if !results.is_empty() {
                let (tx, counts) = self.finish_in(gateway, results).await?;
                tx.commit().await?;
                finished = counts;
            }
            let (store, gateway, receipts) =
                (Box::new(self.clone()), gateway.to_owned(), Arc::clone(receipts));
            return Ok(Recorded { finished, receipts: Storing(Stored::Next { store, gateway, receipts }) });
        }
        let (mut tx, finished) = self.finish_in(gateway, results).await?;
        let mut deferred = DeferredEffects::default();
        let stored = receipts::store(&mut tx, gateway, receipts, &mut deferred).await?;
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(Recorded { finished, receipts: stored.into() })
    }

    /// A transaction in which what came of submits is written.
    async fn finish_in(&self, gateway: &str, results: &[Finished]) -> Result<(Tx, FinishedCounts)> {
        if let Some(sent) = Sent::of(results) {
            // Before the transaction, in which all other writers wait for SQLite's one writer.
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
    /// The resolution that is written down of a doubt that the answer settles.
    pub(crate) how: Resolution,
    /// The moment at which it is written; the time of each answer if there is none.
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
    // In the order of all transactions: refusals, sent times and joined receipts lock the same messages one after the other.
    lock::messages_of(tx, &ids).await?;
    let refused = rows.iter().filter_map(|row| refused_for_all(row, by_id.get(&row.id)?)).collect();
    let heard = refusals::hear(tx, gateway, refused).await?;
    let (mut steps, mut submissions) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows.iter().filter(|row| !asked.contains(&row.id)) {
        let Some(finished) = by_id.get(&row.id).filter(|of| row.lease_token == Some(of.lease_token)) else {
            continue;
        };
        let decision = heard.put_back.get(&row.id).unwrap_or(&finished.decision);
        steps.push(step(row.standing()?, gateway, finished, decision, settling));
        if *decision == Decision::Sent {
            submissions.extend(submitted(row, finished));
        }
    }
    let applied = lifecycle::apply(tx, &steps).await?;
    let joined = submit(tx, gateway, submissions, deferred).await?;
    for stopped in batch.iter().filter(|f| matches!(&f.decision, Decision::Failed(why) if why.is_opt_out())) {
        deferred.stop_phone_of(stopped.id.0, stopped.at);
    }
    heard.tell(deferred);
    Ok(FinishedCounts { applied, fenced: batch.len() as u64 - applied.min(batch.len() as u64), joined })
}

/// The step that an answer leads to.
fn step<'a>(
    delivery: Standing,
    gateway: &'a str,
    finished: &Finished,
    decision: &'a Decision,
    settling: Settling,
) -> Step<'a> {
    let mut answer = Answer { lease_token: finished.lease_token, retries: 0, taken: None, handed_by: None };
    let at = settling.at.unwrap_or(finished.at);
    let mut step = Step::new(delivery, decision.event(), at);
    step.settled_by = settling.how;
    step.reason = Reason::Is(None);
    match decision {
        Decision::Sent => {
            answer.taken = Some(Taken { segments: finished.segments, at: finished.at });
        }
        Decision::PutBack { due_at, spent } => {
            step.due_at = Some(*due_at);
            answer.retries = u8::from(*spent);
        }
        Decision::PauseGateway { due_at, failure } => {
            step.due_at = Some(*due_at);
            step.reason = Reason::Is(Some(&failure.code));
        }
        Decision::HandOver { due_at, code } => {
            step.due_at = Some(*due_at);
            step.reason = Reason::Is(code.as_deref());
            answer.handed_by = Some(gateway);
        }
        Decision::Failed(failure) => step.reason = Reason::Is(Some(&failure.code)),
        Decision::Unknown { settle_at } => {
            step.settle_at = Some(*settle_at);
            step.reason = Reason::Is(Some("answer_lost"));
        }
        Decision::Expired => {}
    }
    step.answer = Some(answer);
    step
}

/// Rows of [`SUBMITTED`].
fn submitted<'a>(row: &CurrentRow, finished: &'a Finished) -> impl Iterator<Item = Value> + use<'a> {
    let (id, organisation) = (row.id, row.organisation_id.simple().to_string());
    let parts = finished.provider_ids.len();
    finished
        .provider_ids
        .iter()
        .enumerate()
        .map(move |(part, name)| json!([name.0, id, part, parts, organisation, finished.at.as_millis()]))
}

/// Notes the provider's names for deliveries, and joins receipts that came before. Returns how many.
async fn submit(tx: &mut Tx, gateway: &str, rows: Vec<Value>, deferred: &mut DeferredEffects) -> Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let rows = Value::Array(rows).to_string();
    on_tx!(&mut *tx, conn, d => sqlx::query(SUBMITTED.of(d))
        .bind(&rows).bind(gateway).execute(conn).await?.rows_affected());
    join_parked(tx, gateway, || rows, deferred).await
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
        id: row.id,
        failure,
        at: finished.at,
    })
}

#[cfg(test)]
mod tests;
