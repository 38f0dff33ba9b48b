//! The content of a provider's callback, stored in one transaction: all of it is stored, or nothing is and the provider calls
//! again.

use std::collections::BTreeSet;
use std::time::Duration;

use klaroen_domain::time::Timestamp;

use crate::deliveries::deferred::DeferredEffects;
use crate::deliveries::receipts::{self, IncomingReceipt, ReceiptCounts};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::hex;
use crate::engine::lock::Lock;
use crate::engine::seal::Recipient;
use crate::replies::views::{AutoReplyTexts, IncomingReply, ReplyStored};
use crate::{Result, Store};

/// How long the keys of signed callbacks are kept: the widest window of any adapter in which a signature is good.
pub(crate) const KEEP_REPLAYS: Duration =
    Duration::from_secs(klaroen_domain::incoming::REPLAY_WINDOW_S.unsigned_abs());

const SEEN: Sql = Sql::new(
    "INSERT INTO callback_replays (gateway, key, seen_at) VALUES ($1, $2, $3) ON CONFLICT (gateway, key) DO NOTHING",
);

/// The content of one callback. `Debug` is not derived: it holds numbers and texts.
#[derive(Clone, Copy)]
pub struct IncomingCallback<'a> {
    /// Through which gateway.
    pub gateway: &'a str,
    /// Unique to the request, if the provider signs such a thing.
    pub replay_key: Option<&'a str>,
    /// Receipts, in its order.
    pub receipts: &'a [IncomingReceipt],
    /// Inbound SMS, in its order.
    pub replies: &'a [IncomingReply],
    /// When it came.
    pub received_at: Timestamp,
}

/// The result for a callback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackStored {
    /// It came before: nothing was done.
    Replayed,
    /// It is stored.
    Stored {
        /// The changes that the receipts made.
        receipts: ReceiptCounts,
        /// The result for each inbound SMS, in their order.
        replies: Vec<ReplyStored>,
    },
}

impl Store {
    /// Stores all that a callback tells and does what it asks for, in one transaction, once for each replay key.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement, or
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read. Then nothing is stored, the replay key included,
    /// and the caller may not acknowledge the callback.
    pub async fn store_callback(
        &self,
        callback: &IncomingCallback<'_>,
        texts: &dyn AutoReplyTexts,
    ) -> Result<CallbackStored> {
        let mut tx = self.db.begin().await?;
        if let Some(key) = callback.replay_key
            && !self.is_new(&mut tx, callback, key).await?
        {
            return Ok(CallbackStored::Replayed);
        }
        let mut deferred = DeferredEffects::default();
        let receipts = receipts::store(&mut tx, callback.gateway, callback.receipts, &mut deferred).await?;
        let stopped = deferred.stopped(&mut tx).await?;
        self.lock_replies(&mut tx, callback.replies, stopped).await?;
        deferred.opt_out(&mut tx).await?;
        let mut replies = Vec::with_capacity(callback.replies.len());
        for reply in callback.replies {
            replies.push(self.store_reply_in(&mut tx, reply, texts, &mut deferred).await?);
        }
        deferred.write(&mut tx).await?;
        tx.commit().await?;
        Ok(CallbackStored::Stored { receipts, replies })
    }

    /// Two with one key wait for each other here, and only one of them is new.
    async fn is_new(&self, tx: &mut Tx, callback: &IncomingCallback<'_>, key: &str) -> Result<bool> {
        let key = hex::encode(&self.keys.fingerprint(key.as_bytes()));
        let added = on_tx!(tx, conn, d => sqlx::query(SEEN.of(d))
            .bind(callback.gateway).bind(key).bind(callback.received_at.as_millis())
            .execute(conn).await?.rows_affected());
        Ok(added > 0)
    }

    /// All at once and in one order, so that two lists with the same numbers do not wait for each other for ever. `stopped` are
    /// the numbers that receipts tell of.
    async fn lock_replies(
        &self,
        tx: &mut Tx,
        replies: &[IncomingReply],
        stopped: &BTreeSet<Recipient>,
    ) -> Result<()> {
        let keys: BTreeSet<String> = replies.iter().map(|reply| self.dedupe(reply)).collect();
        for key in &keys {
            Lock::Reply(key).take(tx).await?;
        }
        let phones = replies.iter().filter_map(|reply| reply.phone.as_ref());
        let numbers = phones.map(|phone| self.keys.recipient(phone)).chain(stopped.iter().copied());
        let numbers: BTreeSet<_> = numbers.collect();
        for number in numbers {
            Lock::Number(number).take(tx).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{Failure, ProviderId, ReceiptStatus};
    use klaroen_domain::participant::Language;
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::replies::views::AutoReply;
    use crate::tests::fixture::{Fixture, NOW};
    use crate::upkeep::retention::Retention;

    struct NoTexts;

    impl AutoReplyTexts for NoTexts {
        fn text(&self, reply: AutoReply, _: Language) -> MessageText {
            panic!("{reply:?} goes to nobody")
        }
    }

    fn receipt(f: &Fixture, error: Option<&str>) -> IncomingReceipt {
        IncomingReceipt {
            provider_id: ProviderId("p".into()),
            delivery: None,
            status: ReceiptStatus::Undelivered,
            error: error.map(str::to_owned),
            recipient: Some(f.store.keys().recipient(&PhoneNumber::from_sealed("+31612345678".into()))),
            raw: String::new(),
            received_at: NOW,
        }
    }

    async fn call(f: &Fixture, gateway: &str, key: Option<&str>, at: Timestamp) -> CallbackStored {
        let receipts = [receipt(f, None)];
        let callback =
            IncomingCallback { gateway, replay_key: key, receipts: &receipts, replies: &[], received_at: at };
        f.store.store_callback(&callback, &NoTexts).await.unwrap()
    }

    #[rstest]
    #[tokio::test]
    async fn a_signed_callback_counts_once_for_as_long_as_its_signature_is_good(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let counts = ReceiptCounts { parked: 1, ..ReceiptCounts::default() };
        let stored = CallbackStored::Stored { receipts: counts, replies: vec![] };
        assert_eq!(call(&f, "g", Some("once"), NOW).await, stored);
        assert_eq!(call(&f, "g", Some("once"), NOW).await, CallbackStored::Replayed);
        assert_eq!(call(&f, "g", Some("another"), NOW).await, stored);
        assert_eq!(call(&f, "other", Some("once"), NOW).await, stored);
        assert_eq!(call(&f, "g", None, NOW).await, stored);
        assert_eq!(call(&f, "g", None, NOW).await, stored);
        let day = Duration::from_hours(24);
        let retention = Retention { idempotency: day, parked_receipts: day, receipts: day };
        assert_eq!(f.store.prune(&retention, NOW.plus(KEEP_REPLAYS)).await.unwrap().rows, 0);
        assert_eq!(call(&f, "g", Some("once"), NOW).await, CallbackStored::Replayed);
        let deferred = NOW.plus(KEEP_REPLAYS + Duration::from_millis(1));
        assert_eq!(f.store.prune(&retention, deferred).await.unwrap().rows, 3);
        assert_eq!(call(&f, "g", Some("once"), deferred).await, stored);
    }

    #[rstest]
    #[tokio::test]
    async fn two_at_once_with_one_key_are_one(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let calls = (0..8).map(|_| call(&f, "g", Some("once"), NOW));
        let answers = futures::future::join_all(calls).await;
        assert_eq!(answers.iter().filter(|answer| **answer != CallbackStored::Replayed).count(), 1);
    }

    #[rstest]
    #[tokio::test]
    async fn a_stop_that_the_provider_knows_of_is_kept_even_of_a_phone_that_we_never_rang(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        const OPT_OUTS: Sql = Sql::new("SELECT COUNT(*) FROM opt_outs");
        let f = Fixture::new(engine).await;
        for (error, opted_out) in
            [(Some("402"), 0_i64), (Some(Failure::OPTED_OUT), 1), (Some(Failure::OPTED_OUT), 1)]
        {
            f.store.store_receipts("g", &[receipt(&f, error)]).await.unwrap();
            let count: i64 = crate::engine::db::on_db!(read f.store.db, pool, d =>
                sqlx::query_scalar(OPT_OUTS.of(d)).fetch_one(pool).await.unwrap());
            assert_eq!(count, opted_out, "{error:?}");
        }
    }
}
