//! Effects that a transaction leaves for its end. They take locks that others hold along with ours, so the transaction takes
//! them in the one order of `engine::lock`, whatever the order in which it finds the reasons for them.

use std::collections::BTreeSet;

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::seal::Recipient;
use crate::engine::sql::sql;
use crate::replies::inbound::{self, Answer};
use crate::replies::opt_outs;
use crate::tenancy::audit;
use crate::{Actor, Result, StoreError};

const RECIPIENTS: Sql = sql!("SELECT recipient FROM deliveries WHERE id IN {ints($1)}");

/// An entry of an audit log.
pub(crate) struct Entry {
    pub(crate) organisation: OrganisationId,
    pub(crate) actor: Actor,
    pub(crate) action: &'static str,
    pub(crate) subject: String,
    pub(crate) detail: Value,
    pub(crate) at: Timestamp,
}

/// Numbers that stopped messages at their provider, automatic answers, entries of audit logs.
#[derive(Default)]
pub(crate) struct DeferredEffects {
    stopped: BTreeSet<Recipient>,
    stopped_phones_of: Vec<i64>,
    stopped_at: Option<Timestamp>,
    answers: Vec<Answer>,
    entries: Vec<Entry>,
}

impl DeferredEffects {
    /// The provider refuses all that comes to this phone, so the stop becomes ours.
    pub(crate) fn stop(&mut self, phone: Recipient, at: Timestamp) {
        self.stopped.insert(phone);
        self.stopped_at = self.stopped_at.max(Some(at));
    }

    /// The same for the phone of a delivery.
    pub(crate) fn stop_phone_of(&mut self, delivery: i64, at: Timestamp) {
        self.stopped_phones_of.push(delivery);
        self.stopped_at = self.stopped_at.max(Some(at));
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        self.answers.push(answer);
    }

    pub(crate) fn tell(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The phones that are to be stopped.
    pub(crate) async fn stopped(&mut self, tx: &mut Tx) -> Result<&BTreeSet<Recipient>> {
        if !self.stopped_phones_of.is_empty() {
            let ids = json!(std::mem::take(&mut self.stopped_phones_of)).to_string();
            let rows: Vec<Vec<u8>> = on_tx!(&mut *tx, conn, d =>
                sqlx::query_scalar(RECIPIENTS.of(d)).bind(ids).fetch_all(conn).await?);
            for row in rows {
                let corrupt = |_| StoreError::Corrupt { table: "deliveries", column: "recipient" };
                self.stopped.insert(Recipient(row.try_into().map_err(corrupt)?));
            }
        }
        Ok(&self.stopped)
    }

    /// Opts phones out, as a STOP of theirs would; they are not told, because nothing would arrive.
    pub(crate) async fn opt_out(&mut self, tx: &mut Tx) -> Result<()> {
        self.stopped(tx).await?;
        let stopped = std::mem::take(&mut self.stopped);
        if let Some(now) = self.stopped_at.take() {
            opt_outs::stop_all(tx, &stopped, now, self).await?;
        }
        Ok(())
    }

    /// Does all of it; nothing may follow in the transaction.
    pub(crate) async fn write(mut self, tx: &mut Tx) -> Result<()> {
        self.opt_out(tx).await?;
        // By organisation, so that two who do this do not wait for each other.
        self.answers.sort_by_key(|answer| answer.organisation.0);
        for answer in &self.answers {
            inbound::queue_answer(tx, answer).await?;
        }
        self.entries.sort_by_key(|entry| entry.organisation.0);
        for Entry { organisation, actor, action, subject, detail, at } in self.entries {
            audit::append(tx, organisation, actor, action, &subject, detail, at).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus};
    use klaroen_test_databases::Engine;

    use super::*;
    use crate::deliveries::receipts::IncomingReceipt;
    use crate::engine::db::Db;
    use crate::engine::lock::{Lock, OptOuts};
    use crate::tests::fixture::{Fixture, NOW, come_to_wait, connection, phone};

    /// As a STOP by SMS does it, which has its number and then changes who has opted out.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_stops_several_numbers_has_all_of_them_before_it_changes_anything() {
        let f = Fixture::new(Engine::Postgres).await;
        let Db::Postgres { pool, .. } = &f.store.db else { panic!("this is about PostgreSQL") };
        let numbers: BTreeSet<Recipient> = (0..2).map(|n| f.store.keys().recipient(&phone(n))).collect();
        let stop = |number: &Recipient| IncomingReceipt {
            provider_id: ProviderId("p".into()),
            delivery: None,
            status: ReceiptStatus::Undelivered,
            error: Some(Failure::OPTED_OUT.to_owned()),
            recipient: Some(*number),
            raw: String::new(),
            received_at: NOW,
        };
        let receipts: Vec<_> = numbers.iter().map(stop).collect();
        let mut reply = f.store.db.begin().await.unwrap();
        Lock::Number(*numbers.last().unwrap()).take(&mut reply).await.unwrap();
        let store = f.store.clone();
        let stopping = tokio::spawn(async move { store.store_receipts("g", &receipts).await });
        assert!(come_to_wait(connection(&mut reply), pool, &stopping).await);
        OptOuts::Change.take(&mut reply).await.unwrap();
        reply.commit().await.unwrap();
        stopping.await.unwrap().unwrap();
        let stopped: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM opt_outs").fetch_one(pool).await.unwrap();
        assert_eq!(stopped, 2);
    }
}
