//! The reports of the workers about the gateways. They are advice: each worker routes by its own and by those of the others that
//! are still good.

use klaroen_domain::alert::Priority;
use klaroen_domain::gateway::GatewayState;
use klaroen_domain::id::MessageId;
use klaroen_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::engine::db::{Sql, on_db};
use crate::engine::from_row::from_row;
use crate::engine::sql::sql;
use crate::{Result, Store, StoreError};

/// The report of one worker process about a gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayReport {
    /// The gateway's name in the configuration.
    pub gateway: String,
    /// Random for each process.
    pub worker: Uuid,
    /// How it stands.
    pub state: GatewayState,
    /// Since when.
    pub since: Timestamp,
    /// Why, for the operator; empty if nothing is wrong.
    pub reason: String,
    /// When it is tried again, if it is paused for a time.
    pub paused_until: Option<Timestamp>,
    /// Whether new messages may go to it. One that is `suspect` is usable, too: if no other is.
    pub usable: bool,
    /// Its connections that are up in this process.
    pub channels_up: u16,
    /// Its connections that this process holds.
    pub channels_held: u16,
    /// Segments per second that this process may hand over now; `None`: no limit.
    pub rate: Option<f64>,
    /// Messages under way.
    pub in_flight: u32,
    /// The recent results of messages.
    pub figures: Figures,
    /// The last error.
    pub last_error: Option<LastError>,
}

/// The recent results of messages, as one process saw them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// The last minute.
    pub minute: Counts,
    /// The last 15 minutes.
    pub quarter: Counts,
    /// Seconds from the answer to the receipt, in the middle of those of the last 15 minutes.
    pub receipt_median_s: Option<f64>,
}

/// How many messages ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Taken by the provider.
    pub accepted: u64,
    /// Refused: the number, the message, or us.
    pub refused: u64,
    /// The provider asked for a slower pace.
    pub throttled: u64,
    /// The provider was not reached, or said "not now".
    pub not_taken: u64,
    /// It may have been taken.
    pub unknown: u64,
    /// Receipts of the installation that said delivered, whichever process they came to: the same from every worker, and counted
    /// for the last 15 minutes only.
    pub delivered: u64,
    /// The same for undelivered.
    pub undelivered: u64,
}

/// The last error; it contains neither a number nor a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// The provider's code or a word of ours.
    pub code: String,
    /// For the operator.
    pub detail: String,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// How many deliveries wait that are due, of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The priority of their alert.
    pub priority: Priority,
    /// Whose numbers they are (ISO 3166-1 alpha-2); empty if that is not known.
    pub country: String,
    /// How many.
    pub count: u64,
}

const DUE: Sql = Sql::new(
    "SELECT m.priority, COALESCE(d.country, p.country, ''), COUNT(*) FROM messages m
         JOIN deliveries d ON d.message_id = m.id AND d.state = 'queued' AND d.due_at <= $1
         LEFT JOIN participants p ON p.id = d.participant_id
     WHERE NOT m.settled AND m.expires_at > $1 GROUP BY 1, 2 ORDER BY 1, 2",
);
const WAITING: Sql = Sql::new(
    "SELECT COALESCE(d.country, p.country, ''), COUNT(*) FROM deliveries d LEFT JOIN participants p ON p.id = d.participant_id
     WHERE d.message_id = $1 AND d.state = 'queued' GROUP BY 1 ORDER BY 1",
);
/// Columns of the JSON: gateway, worker, state, since, reason, paused until, usable, channels up, channels held, rate, in flight,
/// figures, last error. The older of two that come out of order changes nothing that matters: the next is a second away.
const REPORT: Sql = sql!(
    "INSERT INTO gateway_reports (gateway, worker, state, since, reason, paused_until, usable, channels_up, channels_held, rate,
         in_flight, figures, last_error, seen_until)
     SELECT j.value ->> 0, {uuid(j, 1)}, j.value ->> 2, {int(j, 3)}, j.value ->> 4, {int(j, 5)}, {bool(j, 6)}, {int(j, 7)},
         {int(j, 8)}, {real(j, 9)}, {int(j, 10)}, j.value ->> 11, j.value ->> 12, $2
     FROM {rows($1)} j WHERE true
     ON CONFLICT (gateway, worker) DO UPDATE SET state = excluded.state, since = excluded.since, reason = excluded.reason,
         paused_until = excluded.paused_until, usable = excluded.usable, channels_up = excluded.channels_up,
         channels_held = excluded.channels_held, rate = excluded.rate, in_flight = excluded.in_flight,
         figures = excluded.figures, last_error = excluded.last_error, seen_until = excluded.seen_until"
);
const REPORTS: Sql = Sql::new(
    "SELECT gateway, worker, state, since, reason, paused_until, usable, channels_up, channels_held, rate, in_flight, figures,
         last_error
     FROM gateway_reports WHERE seen_until > $1 ORDER BY gateway, worker",
);
const FORGET: Sql = Sql::new("DELETE FROM gateway_reports WHERE worker = $1 OR seen_until <= $2");

from_row! {
    struct ReportRow {
        gateway: String,
        worker: Uuid,
        state: String,
        since: i64,
        reason: String,
        paused_until: Option<i64>,
        usable: bool,
        channels_up: i64,
        channels_held: i64,
        rate: Option<f64>,
        in_flight: i64,
        figures: String,
        last_error: Option<String>,
    }
}

impl ReportRow {
    fn into_report(self) -> Result<GatewayReport> {
        let corrupt = |column| StoreError::Corrupt { table: "gateway_reports", column };
        let count = |count: i64| u16::try_from(count).unwrap_or(u16::MAX);
        let last_error = self.last_error.map(|error| serde_json::from_str(&error)).transpose();
        Ok(GatewayReport {
            gateway: self.gateway,
            worker: self.worker,
            state: self.state.parse().map_err(|_| corrupt("state"))?,
            since: Timestamp::from_millis(self.since),
            reason: self.reason,
            paused_until: self.paused_until.map(Timestamp::from_millis),
            usable: self.usable,
            channels_up: count(self.channels_up),
            channels_held: count(self.channels_held),
            rate: self.rate,
            in_flight: u32::try_from(self.in_flight).unwrap_or(u32::MAX),
            figures: serde_json::from_str(&self.figures).map_err(|_| corrupt("figures"))?,
            last_error: last_error.map_err(|_| corrupt("last_error"))?,
        })
    }
}

impl Store {
    /// Writes what a worker says of one gateway, good until `until`.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn report_gateway(&self, report: &GatewayReport, until: Timestamp) -> Result<()> {
        self.report_gateways(std::slice::from_ref(report), until).await
    }

    /// Writes what a worker says of all its gateways, in one statement; good until `until`.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn report_gateways(&self, reports: &[GatewayReport], until: Timestamp) -> Result<()> {
        if reports.is_empty() {
            return Ok(());
        }
        let row = |r: &GatewayReport| {
            json!([
                r.gateway,
                r.worker.simple().to_string(),
                r.state.as_str(),
                r.since.as_millis(),
                r.reason,
                r.paused_until.map(Timestamp::as_millis),
                r.usable,
                r.channels_up,
                r.channels_held,
                r.rate,
                r.in_flight,
                json!(r.figures).to_string(),
                r.last_error.as_ref().map(|error| json!(error).to_string()),
            ])
        };
        let rows = Value::Array(reports.iter().map(row).collect()).to_string();
        on_db!(write self.db, pool, d => sqlx::query(REPORT.of(d))
            .bind(rows).bind(until.as_millis()).execute(pool).await?.rows_affected());
        Ok(())
    }

    /// Returns the reports of live workers about the gateways that they serve, by gateway.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn gateway_reports(&self, now: Timestamp) -> Result<Vec<GatewayReport>> {
        let rows: Vec<ReportRow> = on_db!(read self.db, pool, d =>
            sqlx::query_as(REPORTS.of(d)).bind(now.as_millis()).fetch_all(pool).await?);
        rows.into_iter().map(ReportRow::into_report).collect()
    }

    /// Returns the due deliveries that wait for a gateway.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn due_for_gateways(&self, now: Timestamp) -> Result<Vec<Due>> {
        let rows: Vec<(String, String, i64)> = on_db!(read self.db, pool, d =>
            sqlx::query_as(DUE.of(d)).bind(now.as_millis()).fetch_all(pool).await?);
        let corrupt = || StoreError::Corrupt { table: "messages", column: "priority" };
        let due = |(priority, country, count): (String, String, i64)| {
            let priority = priority.parse().map_err(|_| corrupt())?;
            Ok(Due { priority, country, count: u64::try_from(count).unwrap_or(0) })
        };
        rows.into_iter().map(due).collect()
    }

    /// How many deliveries of a message are in the queue, by the country of the number (ISO 3166-1 alpha-2; empty: of none
    /// that is known).
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn queued_by_country(&self, message: MessageId) -> Result<Vec<(String, u64)>> {
        let rows: Vec<(String, i64)> = on_db!(read self.db, pool, d =>
            sqlx::query_as(WAITING.of(d)).bind(message.0).fetch_all(pool).await?);
        Ok(rows.into_iter().map(|(country, count)| (country, u64::try_from(count).unwrap_or(0))).collect())
    }

    /// Deletes the reports of a worker that ends, and those that are not good any more.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn forget_gateway_reports(&self, worker: Uuid, now: Timestamp) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(FORGET.of(d))
            .bind(worker).bind(now.as_millis()).execute(pool).await?.rows_affected());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::{Fixture, NOW};

    fn report(gateway: &str, worker: u128, state: GatewayState) -> GatewayReport {
        GatewayReport {
            gateway: gateway.into(),
            worker: Uuid::from_u128(worker),
            state,
            since: NOW,
            reason: String::new(),
            paused_until: None,
            usable: true,
            channels_up: 1,
            channels_held: 2,
            rate: None,
            in_flight: 50,
            figures: Figures::default(),
            last_error: None,
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_report_is_read_as_it_was_written_until_its_time_is_over(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let mut paused = report("main", 1, GatewayState::Paused);
        paused.reason = "no credit (\"402\")".into();
        paused.paused_until = Some(NOW.plus(Duration::from_mins(1)));
        (paused.usable, paused.rate) = (false, Some(12.5));
        paused.figures.minute = Counts { accepted: 7, unknown: 1, ..Counts::default() };
        paused.figures.receipt_median_s = Some(3.25);
        let error = LastError { code: "402".into(), detail: "no credit".into(), at: NOW.as_millis() };
        paused.last_error = Some(error);
        let spare = report("spare", 1, GatewayState::Up);
        let until = NOW.plus(Duration::from_secs(3));
        f.store.report_gateways(&[paused.clone(), spare.clone()], until).await.unwrap();
        assert_eq!(f.store.gateway_reports(NOW).await.unwrap(), [paused, spare.clone()]);

        let other = report("main", 2, GatewayState::Up);
        f.store.report_gateway(&other, until.plus(Duration::from_secs(1))).await.unwrap();
        // Written over the row, not as a second row.
        f.store.report_gateway(&other, until.plus(Duration::from_secs(1))).await.unwrap();
        assert_eq!(f.store.gateway_reports(until).await.unwrap(), [other]);
        f.store.forget_gateway_reports(Uuid::from_u128(2), NOW).await.unwrap();
        let left: Vec<_> = f.store.gateway_reports(NOW).await.unwrap();
        assert_eq!((left.len(), &left[1]), (2, &spare));
        f.store.forget_gateway_reports(Uuid::nil(), until).await.unwrap();
        assert_eq!(f.store.gateway_reports(NOW).await.unwrap(), []);
    }
}
