//! Test messages of gateways: who asked for one, how far it came, how long it took. A worker that feeds the gateway hands it
//! over once; one that dies meanwhile leaves a test in doubt, which no worker sends again.

mod upkeep;

use std::time::Duration;

use klaroen_domain::gateway::TestState;
use klaroen_domain::id::GatewayTestId;
use klaroen_domain::outcome::ProviderId;
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::page::number_cursor;
use crate::gateways::channels::ChannelName;
use crate::tenancy::audit;
use crate::{Actor, Page, PageRequest, Result, Store, StoreError};

pub(crate) use upkeep::{KEEP_TESTS, find, settle};

/// Tests of one gateway that may be asked for in [`WINDOW`]: each one is an SMS that is paid for.
pub const TESTS_PER_HOUR: u32 = 6;
const WINDOW: Duration = Duration::from_hours(1);

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTest {
    /// Its id.
    pub id: GatewayTestId,
    /// From 1; below zero it is the reference that the provider gets.
    pub number: i64,
    /// The gateway's name.
    pub gateway: String,
    /// Whether it is the one of its day, which no operator asked for.
    pub daily: bool,
    /// Who asked: `key:<id>`, `cli` or `system`.
    pub requested_by: String,
    /// The state of the test.
    pub state: TestState,
    /// Whether a receipt is expected that has not come.
    pub awaits_receipt: bool,
    /// The connection that handed it over.
    pub channel: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was handed over.
    pub submitted_at: Option<Timestamp>,
    /// When the provider answered.
    pub answered_at: Option<Timestamp>,
    /// When the receipt came that settled it.
    pub receipt_at: Option<Timestamp>,
    /// The provider's code or a word of ours, if it failed.
    pub code: Option<String>,
    /// For the operator, if it failed.
    pub detail: Option<String>,
}

impl GatewayTest {
    /// Whether the gateway did what it is for; `None` while that is open.
    #[must_use]
    pub const fn succeeded(&self) -> Option<bool> {
        match self.state {
            TestState::Requested | TestState::Submitting => None,
            TestState::Accepted => {
                if self.awaits_receipt {
                    None
                } else {
                    Some(true)
                }
            }
            TestState::Delivered => Some(true),
            TestState::Refused | TestState::Unknown | TestState::Undelivered | TestState::NoReceipt => {
                Some(false)
            }
        }
    }
}

/// The result of asking for a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TestRequest {
    /// It is waiting for a worker.
    Made(Box<GatewayTest>),
    /// Another one of this gateway is under way.
    UnderWay,
    /// There were [`TESTS_PER_HOUR`] in the last hour.
    TooMany {
        /// How long until one more may be.
        wait: Duration,
    },
}

/// The result for the test of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DailyTest {
    /// It is waiting for a worker now.
    Made,
    /// It was made before, here or elsewhere.
    Done,
    /// Another one is under way: the daily one comes after it.
    UnderWay,
}

/// A test to be handed over now, by no other worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimedTest {
    /// Its id.
    pub id: GatewayTestId,
    /// Its number.
    pub number: i64,
    /// The fence of what is written about it.
    pub lease_token: i64,
}

/// How handing it over ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestAnswer {
    /// `Accepted`, `Refused` or `Unknown`.
    pub state: TestState,
    /// The provider's name for the message.
    pub provider_id: Option<ProviderId>,
    /// Whether a receipt is to come.
    pub awaits_receipt: bool,
    /// Code and detail, if it was not accepted.
    pub failure: Option<(String, String)>,
}

const INSERT: Sql = Sql::new(
    "INSERT INTO gateway_tests
         (id, gateway, day, requested_by, state, under_way, awaits_receipt, told, requested_at)
     VALUES ($1, $2, $3, $4, 'requested', TRUE, FALSE, FALSE, $5)
     ON CONFLICT DO NOTHING",
);
const RECENT: Sql = Sql::new(
    "SELECT COUNT(*), MIN(requested_at) FROM gateway_tests WHERE gateway = $1 AND requested_at > $2 AND day IS NULL",
);
const DAY_DONE: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM gateway_tests WHERE gateway = $1 AND day = $2)");
const WAITING: Sql = Sql::new(
    "SELECT number FROM gateway_tests WHERE gateway = $1 AND under_way AND state = 'requested' AND requested_at > $2",
);
const CLAIM: Sql = Sql::new(
    "UPDATE gateway_tests SET state = 'submitting', lease_token = $2, lease_until = $3, submitted_at = $4, channel = $5
     WHERE number = $1 AND state = 'requested' RETURNING id",
);
const RELEASE: Sql = Sql::new(
    "UPDATE gateway_tests SET state = 'requested', lease_token = NULL, lease_until = NULL, submitted_at = NULL, channel = NULL
     WHERE number = $1 AND lease_token = $2 AND state = 'submitting'",
);
const BEGIN: Sql = Sql::new(
    "UPDATE gateway_tests SET submitted_at = $3, recipient = $4 WHERE number = $1 AND lease_token = $2 AND state = 'submitting'",
);
/// A receipt may have been quicker than the answer: then it has the last word, and the answer adds what it knows.
const FINISH: Sql = Sql::each(
    "UPDATE gateway_tests SET answered_at = $3, provider_id = COALESCE($4, provider_id),
         under_way = CASE WHEN state IN ('submitting', 'accepted') THEN under_way AND $6 ELSE FALSE END,
         awaits_receipt = CASE WHEN state IN ('submitting', 'unknown', 'accepted') THEN $6 ELSE FALSE END,
         code = CASE WHEN state IN ('submitting', 'unknown') THEN $7 ELSE code END,
         detail = CASE WHEN state IN ('submitting', 'unknown') THEN $8 ELSE detail END,
         state = CASE WHEN state IN ('submitting', 'unknown') THEN $5 ELSE state END
     WHERE number = $1 AND lease_token = $2",
    "UPDATE gateway_tests SET answered_at = $3, provider_id = COALESCE($4, provider_id),
         under_way = CASE WHEN state IN ('submitting', 'accepted') THEN under_way AND $6::boolean ELSE FALSE END,
         awaits_receipt = CASE WHEN state IN ('submitting', 'unknown', 'accepted') THEN $6::boolean ELSE FALSE END,
         code = CASE WHEN state IN ('submitting', 'unknown') THEN $7 ELSE code END,
         detail = CASE WHEN state IN ('submitting', 'unknown') THEN $8 ELSE detail END,
         state = CASE WHEN state IN ('submitting', 'unknown') THEN $5 ELSE state END
     WHERE number = $1 AND lease_token = $2",
);
const GET: Sql = Sql::new(
    "SELECT id, number, gateway, day, requested_by, state, awaits_receipt, channel, requested_at,
         submitted_at, answered_at, receipt_at, code, detail
     FROM gateway_tests WHERE gateway = $1 AND id = $2",
);
const NEWEST_FIRST: Sql = Sql::new(
    "SELECT id, number, gateway, day, requested_by, state, awaits_receipt, channel, requested_at,
         submitted_at, answered_at, receipt_at, code, detail
     FROM gateway_tests WHERE gateway = $1 AND number < $2 ORDER BY number DESC LIMIT $3",
);
const LATEST: Sql = Sql::new(
    "SELECT id, number, gateway, day, requested_by, state, awaits_receipt, channel, requested_at,
         submitted_at, answered_at, receipt_at, code, detail
     FROM gateway_tests WHERE number IN (
         SELECT MAX(number) FROM gateway_tests
         WHERE state NOT IN ('requested', 'submitting') AND NOT awaits_receipt GROUP BY gateway)",
);

from_row! {
    struct Row {
        id: Uuid,
        number: i64,
        gateway: String,
        day: Option<String>,
        requested_by: String,
        state: String,
        awaits_receipt: bool,
        channel: Option<String>,
        requested_at: i64,
        submitted_at: Option<i64>,
        answered_at: Option<i64>,
        receipt_at: Option<i64>,
        code: Option<String>,
        detail: Option<String>,
    }
}

impl Row {
    fn into_test(self) -> Result<GatewayTest> {
        let corrupt = StoreError::Corrupt { table: "gateway_tests", column: "state" };
        Ok(GatewayTest {
            id: GatewayTestId(self.id),
            number: self.number,
            gateway: self.gateway,
            daily: self.day.is_some(),
            requested_by: self.requested_by,
            state: self.state.parse().map_err(|_| corrupt)?,
            awaits_receipt: self.awaits_receipt,
            channel: self.channel,
            requested_at: Timestamp::from_millis(self.requested_at),
            submitted_at: self.submitted_at.map(Timestamp::from_millis),
            answered_at: self.answered_at.map(Timestamp::from_millis),
            receipt_at: self.receipt_at.map(Timestamp::from_millis),
            code: self.code,
            detail: self.detail,
        })
    }
}

impl Store {
    /// Asks for a test, with an entry in the audit log of every organisation. Whether there is such a gateway, and a number to test with, is for the caller to
    /// know.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn request_gateway_test(
        &self,
        actor: Actor,
        gateway: &str,
        now: Timestamp,
    ) -> Result<TestRequest> {
        let mut tx = self.db.begin().await?;
        let (recent, oldest): (i64, Option<i64>) = on_tx!(&mut tx, conn, d => sqlx::query_as(RECENT.of(d))
            .bind(gateway).bind(now.minus(WINDOW).as_millis()).fetch_one(conn).await?);
        let id = GatewayTestId::generate();
        if insert(&mut tx, id, gateway, None, actor, now).await? == 0 {
            return Ok(TestRequest::UnderWay);
        }
        // Counted after the other question: that another test is under way says more than that there were many.
        if recent >= i64::from(TESTS_PER_HOUR) {
            let free = oldest.map_or(now, Timestamp::from_millis).plus(WINDOW);
            return Ok(TestRequest::TooMany { wait: free.since(now) });
        }
        let row: Option<Row> = on_tx!(&mut tx, conn, d => sqlx::query_as(GET.of(d))
            .bind(gateway).bind(id.0).fetch_optional(conn).await?);
        let test = row.ok_or(StoreError::Corrupt { table: "gateway_tests", column: "id" })?.into_test()?;
        let detail = json!({ "test": id });
        audit::append_everywhere(&mut tx, actor, "gateway.tested", gateway, &detail, now).await?;
        tx.commit().await?;
        Ok(TestRequest::Made(Box::new(test)))
    }

    /// Asks for the test of `day`, once over all processes.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn request_daily_test(&self, gateway: &str, day: &str, now: Timestamp) -> Result<DailyTest> {
        let mut tx = self.db.begin().await?;
        let id = GatewayTestId::generate();
        let made = insert(&mut tx, id, gateway, Some(day), Actor::System, now).await?;
        let result = if made > 0 {
            DailyTest::Made
        } else {
            let done: bool = on_tx!(&mut tx, conn, d => sqlx::query_scalar(DAY_DONE.of(d))
                .bind(gateway).bind(day).fetch_one(conn).await?);
            if done { DailyTest::Done } else { DailyTest::UnderWay }
        };
        tx.commit().await?;
        Ok(result)
    }

    /// Takes a test that waits, for one connection; no other gets it. `until`: when it counts as lost.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn claim_gateway_test(
        &self,
        channel: &ChannelName,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<ClaimedTest>> {
        let waiting: Option<i64> = on_db!(read self.db, pool, d => sqlx::query_scalar(WAITING.of(d))
            .bind(&channel.gateway).bind(now.minus(upkeep::PATIENCE).as_millis()).fetch_optional(pool).await?);
        let Some(number) = waiting else { return Ok(None) };
        let lease_token = rand::rng().next_u64().cast_signed();
        let id: Option<Uuid> = on_db!(write self.db, pool, d => sqlx::query_scalar(CLAIM.of(d))
            .bind(number).bind(lease_token).bind(until.as_millis()).bind(now.as_millis()).bind(channel.to_string())
            .fetch_optional(pool).await?);
        Ok(id.map(|id| ClaimedTest { id: GatewayTestId(id), number, lease_token }))
    }

    /// Notes that a test leaves now, and not when it was claimed, and for which phone; `false` if it is lost by now and may
    /// not leave.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn begin_gateway_test(
        &self,
        test: &ClaimedTest,
        phone: &PhoneNumber,
        now: Timestamp,
    ) -> Result<bool> {
        let recipient = self.keys.recipient(phone).0.to_vec();
        let ours = on_db!(write self.db, pool, d => sqlx::query(BEGIN.of(d))
            .bind(test.number).bind(test.lease_token).bind(now.as_millis()).bind(recipient)
            .execute(pool).await?.rows_affected());
        Ok(ours > 0)
    }

    /// Puts back a test that has not left: another connection may take it.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn release_gateway_test(&self, test: &ClaimedTest) -> Result<()> {
        on_db!(write self.db, pool, d => sqlx::query(RELEASE.of(d))
            .bind(test.number).bind(test.lease_token).execute(pool).await?.rows_affected());
        Ok(())
    }

    /// Writes down how handing a test over ended, in time or late; `false` if it is not this attempt's.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn finish_gateway_test(
        &self,
        number: i64,
        lease_token: i64,
        answer: &TestAnswer,
        now: Timestamp,
    ) -> Result<bool> {
        let (code, detail) = answer.failure.clone().unzip();
        let provider_id = answer.provider_id.as_ref().map(|id| id.0.clone());
        let written = on_db!(write self.db, pool, d => sqlx::query(FINISH.of(d))
            .bind(number).bind(lease_token).bind(now.as_millis()).bind(provider_id).bind(answer.state.as_str())
            .bind(answer.awaits_receipt).bind(code).bind(detail)
            .execute(pool).await?.rows_affected());
        Ok(written > 0)
    }

    /// The tests of a gateway, newest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, or [`StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn list_gateway_tests(&self, gateway: &str, page: &PageRequest) -> Result<Page<GatewayTest>> {
        let before = page.after_number()?.unwrap_or(i64::MAX);
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(NEWEST_FIRST.of(d))
            .bind(gateway).bind(before).bind(page.fetch()).fetch_all(pool).await?);
        let tests = rows.into_iter().map(Row::into_test).collect::<Result<_>>()?;
        Ok(Page::from_rows(tests, page, |test: &GatewayTest| number_cursor(test.number)))
    }

    /// One test.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn gateway_test(&self, gateway: &str, id: GatewayTestId) -> Result<Option<GatewayTest>> {
        let row: Option<Row> = on_db!(read self.db, pool, d => sqlx::query_as(GET.of(d))
            .bind(gateway).bind(id.0).fetch_optional(pool).await?);
        row.map(Row::into_test).transpose()
    }

    /// Of each gateway the newest test that has come to an end.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn latest_gateway_tests(&self) -> Result<Vec<GatewayTest>> {
        let rows: Vec<Row> =
            on_db!(read self.db, pool, d => sqlx::query_as(LATEST.of(d)).fetch_all(pool).await?);
        rows.into_iter().map(Row::into_test).collect()
    }
}

async fn insert(
    tx: &mut Tx,
    id: GatewayTestId,
    gateway: &str,
    day: Option<&str>,
    actor: Actor,
    now: Timestamp,
) -> Result<u64> {
    Ok(on_tx!(tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(id.0).bind(gateway).bind(day).bind(actor.to_string()).bind(now.as_millis())
        .execute(conn).await?.rows_affected()))
}

#[cfg(test)]
mod tests;
