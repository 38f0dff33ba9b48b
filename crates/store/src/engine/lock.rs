//! Locks for work that only one transaction may do at a time.
//!
//! SQLite has one writer, so there is nothing to do. PostgreSQL has many, and a statement sees what was committed when it
//! began. If a transaction looks first and writes by what it saw, it takes one of these locks before it looks. The lock holds
//! until the transaction ends. Rows that exist are locked as rows (`FOR NO KEY UPDATE`).
//!
//! Two transactions that take several locks take them in one order: the replay key of a callback, [`ProviderIds`], an alert's
//! row, deliveries by their ids, messages by their ids, then those of [`Lock`] as they stand there, with [`OptOuts`] behind
//! the numbers. The audit chain is the last, because all writers wait for it. Rows found in another order are kept for the
//! end: see `deliveries::deferred`.
//!
//! Code that changes the state of deliveries locks their rows first; `deliveries::lifecycle` then takes messages and doubts
//! in this order. Pages of upkeep, the policy and a STOP pass over deliveries that another transaction has (`SKIP LOCKED`),
//! so they never wait there, whatever they hold. The deliveries that they pass over are left to the next page, the next sweep
//! or the claim.

use klaroen_domain::id::OrganisationId;
use sha2::{Digest, Sha256};

use crate::Result;
use crate::engine::db::Tx;
use crate::engine::seal::Recipient;

const EXCLUSIVE: &str = "SELECT pg_advisory_xact_lock($1)";
const SHARED: &str = "SELECT pg_advisory_xact_lock_shared($1)";

const DELIVERIES: &str = "SELECT id FROM deliveries
     WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)) ORDER BY id FOR NO KEY UPDATE";

const ALERTS_OF: &str = "SELECT id FROM alerts
     WHERE id IN (SELECT alert_id FROM deliveries WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)))
     ORDER BY id FOR SHARE";

const MESSAGES_OF: &str = "SELECT id FROM messages
     WHERE id IN (
         SELECT message_id FROM deliveries WHERE id IN (SELECT value::bigint FROM json_array_elements_text($1::json)))
     ORDER BY id FOR NO KEY UPDATE";

const MESSAGES_AND_FOLLOW_UPS: &str = "SELECT id FROM messages
     WHERE id IN (
         SELECT d.message_id FROM deliveries d WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($1::json))
         UNION ALL
         SELECT f.id FROM deliveries d JOIN messages f ON f.alert_id = d.alert_id AND f.kind IN ('update', 'end', 'retract')
         WHERE d.id IN (SELECT value::bigint FROM json_array_elements_text($2::json)))
     ORDER BY id FOR NO KEY UPDATE";

/// The work that a lock is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock<'a> {
    /// A claim, until it is committed or not: who has this lock knows that it is one of them. Who waits for it holds nothing.
    Claim(i64),
    /// The number from which ids are counted.
    References,
    /// A request with an idempotency key: two at once must not both be the first.
    Request(OrganisationId, &'a str),
    /// The registrations of an organisation: two must not find the same `external_id` free.
    Registry(OrganisationId),
    /// An inbound SMS that a gateway may bring twice at once.
    Reply(&'a str),
    /// The commands of a number: two STOPs at once are one.
    Number(Recipient),
    /// The automatic answers of an organisation, which share messages.
    Answers(OrganisationId),
    /// The chain of an organisation's audit log.
    Audit(OrganisationId),
}

/// The opt-outs, as the places of the registry copy them. Transactions that write places share this lock. A STOP or START has
/// it alone, so that none of the places is written by what was true a moment ago.
pub(crate) enum OptOuts {
    /// They are read.
    Read,
    /// They are changed.
    Change,
}

/// The lock on the ids that a gateway's provider has for our deliveries. A transaction that writes such ids shares this lock.
/// A transaction that has receipts whose ids it does not find has it alone, looks again, and keeps it until the receipts are
/// parked. Neither sees what the other has not committed, so without it a receipt and the answer that it is about could pass
/// each other by. (Test messages have no such lock: upkeep joins theirs.)
pub(crate) enum ProviderIds {
    /// Before any other lock.
    Write,
    /// With no other lock for which a transaction that has [`ProviderIds::Write`] could wait.
    Miss,
}

impl Lock<'_> {
    /// Waits for it.
    pub(crate) async fn take(self, tx: &mut Tx) -> Result<()> {
        let number = match self {
            // As it is: a claim takes it in the statement that leases.
            Self::Claim(lease_token) => lease_token,
            Self::References => number("references", &[]),
            Self::Request(organisation, key) => {
                number("request", &[organisation.0.as_bytes(), key.as_bytes()])
            }
            Self::Registry(organisation) => number("registry", &[organisation.0.as_bytes()]),
            Self::Reply(key) => number("reply", &[key.as_bytes()]),
            Self::Number(recipient) => number("number", &[&recipient.0]),
            Self::Answers(organisation) => number("answers", &[organisation.0.as_bytes()]),
            Self::Audit(organisation) => number("audit", &[organisation.0.as_bytes()]),
        };
        wait(tx, EXCLUSIVE, number).await
    }
}

impl OptOuts {
    /// Waits for them.
    pub(crate) async fn take(self, tx: &mut Tx) -> Result<()> {
        let statement = match self {
            Self::Read => SHARED,
            Self::Change => EXCLUSIVE,
        };
        wait(tx, statement, number("opt-outs", &[])).await
    }
}

impl ProviderIds {
    /// Waits for them.
    pub(crate) async fn take(self, tx: &mut Tx, gateway: &str) -> Result<()> {
        let statement = match self {
            Self::Write => SHARED,
            Self::Miss => EXCLUSIVE,
        };
        wait(tx, statement, number("provider ids", &[gateway.as_bytes()])).await
    }
}

/// Keeps the alerts of these deliveries from being changed. Who finds that a phone rang after all, and who makes the message for
/// those that rang, must not miss each other.
pub(crate) async fn alerts_of(tx: &mut Tx, deliveries: &str) -> Result<()> {
    lock_rows(tx, ALERTS_OF, &[deliveries]).await
}

/// Locks deliveries in the order of their ids; `ids` is a JSON array.
pub(crate) async fn deliveries(tx: &mut Tx, ids: &str) -> Result<()> {
    lock_rows(tx, DELIVERIES, &[ids]).await
}

/// Locks the messages of these deliveries in the order of their ids, before the first of them is written: two that write down
/// answers to the same messages must not wait for each other.
pub(crate) async fn messages_of(tx: &mut Tx, deliveries: &str) -> Result<()> {
    lock_rows(tx, MESSAGES_OF, &[deliveries]).await
}

/// The same, and with them the follow-ups of the alerts of those that `rang_late`.
pub(crate) async fn messages_and_follow_ups(tx: &mut Tx, deliveries: &str, rang_late: &str) -> Result<()> {
    lock_rows(tx, MESSAGES_AND_FOLLOW_UPS, &[deliveries, rang_late]).await
}

async fn lock_rows(tx: &mut Tx, statement: &'static str, ids: &[&str]) -> Result<()> {
    match tx {
        Tx::Sqlite(_) => {}
        Tx::Postgres(tx, heartbeat) => {
            let query = ids.iter().fold(sqlx::query(statement), |query, ids| query.bind(*ids));
            query.execute(heartbeat.guarded(&mut **tx)).await?;
        }
    }
    Ok(())
}

async fn wait(tx: &mut Tx, statement: &'static str, number: i64) -> Result<()> {
    match tx {
        Tx::Sqlite(_) => {}
        Tx::Postgres(tx, heartbeat) => {
            sqlx::query(statement).bind(number).execute(heartbeat.guarded(&mut **tx)).await?;
        }
    }
    Ok(())
}

/// Advisory locks have 64 bits. Two things with one number only wait for each other without need.
fn number(kind: &str, parts: &[&[u8]]) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(kind);
    for part in parts {
        hasher.update([0]);
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_things_have_different_numbers() {
        let id = [7; 16];
        assert_ne!(number("provider ids", &[b"north"]), number("provider ids", &[b"south"]));
        assert_ne!(number("provider ids", &[b"north"]), number("reply", &[b"north"]));
        assert_ne!(number("audit", &[&id]), number("registry", &[&id]));
        assert_ne!(number("request", &[&id, b"a"]), number("request", &[&id, b"b"]));
        assert_eq!(number("request", &[&id, b"a"]), number("request", &[&id, b"a"]));
    }
}
