//! The answers of nearly every batch: each delivery was taken, in one part, under the lease that it still has.

use std::collections::{BTreeMap, HashMap, HashSet};

use klaroen_domain::decide::Decision;
use serde_json::{Value, json};

use super::{Finished, FinishedCounts};
use crate::Result;
use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::messages;
use crate::deliveries::receipts::join_parked;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::json_object::object;
use crate::engine::lock;

/// Writes the common case, an SMS that was taken in one part; `$1` is `{"id": time}`. The number of changed rows tells
/// whether every row was under this lease.
///
/// `state || ''` keeps PostgreSQL from reading all that is being sent, by its index, and comparing each row with the whole
/// batch. If nothing was ever counted, PostgreSQL expects a single row of the lease there, and finds a thousand.
pub(crate) const SENT: Sql = Sql::each(
    "UPDATE deliveries SET state = 'sent', settle_at = NULL, segments = $3, sent_at = j.value, reason = NULL,
         handed_by = NULL, changed_at = j.value
     FROM json_each($1) j
     WHERE deliveries.id = CAST(j.key AS INTEGER) AND deliveries.state = 'sending' AND deliveries.lease_token = $2",
    "UPDATE deliveries SET state = 'sent', settle_at = NULL, segments = $3, sent_at = j.value::bigint, reason = NULL,
         handed_by = NULL, changed_at = j.value::bigint
     FROM json_each_text($1::json) AS j(key, value)
     WHERE deliveries.id = j.key::bigint AND deliveries.state || '' = 'sending' AND deliveries.lease_token = $2",
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

/// A batch of which each delivery was taken in one part: what nearly every batch is.
pub(super) struct Sent<'a> {
    /// Delivery and time, by lease token and segments.
    times: BTreeMap<(i64, u8), Vec<(i64, i64)>>,
    /// Provider id and delivery.
    names: Vec<(&'a str, i64)>,
}

/// The parameters of its statements.
pub(super) struct Parameters {
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
    pub(super) fn of(batch: &'a [Finished]) -> Option<Self> {
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

    pub(super) fn parameters(&self) -> Parameters {
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

    /// Writes them without reading a row first. `None` if a row is not what its attempt left: nothing may be committed then.
    pub(super) async fn write(
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
        messages::note_sent(tx, &ids).await?;
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
