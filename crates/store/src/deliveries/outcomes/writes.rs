//! What a batch of answers changes, row by row, and the statements that write it: each is issued once.

use std::collections::HashMap;

use klaroen_domain::decide::Decision;
use klaroen_domain::delivery::{DeliveryState, Life, advance};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{CurrentRow, Finished, FinishedCounts, Settling, reopen};
use crate::Result;
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::doubts;
use crate::deliveries::receipts::join_parked;
use crate::engine::db::{Sql, Tx, on_tx};

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
    fn of(decision: &'a Decision) -> Self {
        let none = Self::default();
        match decision {
            Decision::Sent => Self { taken: true, ..none },
            Decision::PutBack { due_at, spent } => {
                Self { due_at: Some(*due_at), retries: u8::from(*spent), ..none }
            }
            Decision::PauseGateway { due_at, failure } => {
                Self { due_at: Some(*due_at), reason: Some(&failure.code), ..none }
            }
            Decision::HandOver { due_at, code } => {
                Self { due_at: Some(*due_at), reason: code.as_deref(), handed_over: true, ..none }
            }
            Decision::Failed(failure) => Self { reason: Some(&failure.code), ..none },
            Decision::Unknown { settle_at } => {
                Self { settle_at: Some(*settle_at), reason: Some("answer_lost"), ..none }
            }
            Decision::Expired => none,
        }
    }
}

/// The rows of each statement, collected so that each is issued once.
pub(super) struct Writes {
    deliveries: Vec<Value>,
    submissions: Vec<Value>,
    sent: HashMap<Uuid, (i64, i64)>,
    /// Their messages may have been done with: something can happen to them again.
    reopened: Vec<i64>,
    settling: Settling,
    /// The time of the last answer.
    latest: Option<Timestamp>,
    /// In doubt from now on.
    doubted: Vec<i64>,
    /// Were in doubt until now.
    settled: Vec<i64>,
}

impl Writes {
    pub(super) fn new(settling: Settling) -> Self {
        Self {
            deliveries: Vec::new(),
            submissions: Vec::new(),
            sent: HashMap::new(),
            reopened: Vec::new(),
            settling,
            latest: None,
            doubted: Vec::new(),
            settled: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, row: &CurrentRow, finished: &Finished) {
        let Ok(state) = row.state.parse::<DeliveryState>() else { return };
        if row.lease_token != Some(finished.lease_token) {
            return;
        }
        let effect = Effect::of(&finished.decision);
        let next = advance(Life { state, in_doubt: row.in_doubt }, finished.decision.event()).state;
        // A receipt that echoes our reference may have come first; the answer then only adds the ids.
        let settled_before = next == state && !effect.taken;
        if settled_before {
            return;
        }
        self.latest = self.latest.max(Some(finished.at));
        let at = finished.at.as_millis();
        let changed_at = self.settling.at.map_or(at, Timestamp::as_millis);
        let sent_at = effect.taken.then_some(at);
        if next == DeliveryState::Unknown && effect.settle_at.is_some() {
            self.doubted.push(row.id);
        }
        // One that waits to be sent again was in doubt, too, if it was taken all the same.
        if state == DeliveryState::Unknown || (state == DeliveryState::Queued && effect.taken) {
            self.settled.push(row.id);
        }
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
            changed_at,
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

    pub(super) async fn write(
        self,
        tx: &mut Tx,
        gateway: &str,
        deferred: &mut DeferredEffects,
    ) -> Result<FinishedCounts> {
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
            counts.joined = join_parked(tx, gateway, || submissions, deferred).await?;
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
        doubts::open(tx, &self.doubted).await?;
        let at = self.settling.at.or(self.latest).unwrap_or(Timestamp::from_millis(0));
        doubts::settle(tx, &self.settled, self.settling.how, at).await?;
        Ok(counts)
    }
}
