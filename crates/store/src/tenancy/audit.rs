//! The audit log: append-only, a hash chain for each organisation.

use klaroen_domain::id::OrganisationId;
use klaroen_domain::time::Timestamp;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::hex;
use crate::engine::lock::Lock;
use crate::engine::page::number_cursor;
use crate::{Actor, Page, PageRequest, Result, Store, StoreError};

const LAST: Sql =
    Sql::new("SELECT seq, hash FROM audit WHERE organisation_id = $1 ORDER BY seq DESC LIMIT 1");
const INSERT: Sql = Sql::new(
    "INSERT INTO audit (organisation_id, seq, at, actor, action, subject, detail, hash)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const NEWEST_FIRST: Sql = Sql::new(
    "SELECT seq, at, actor, action, subject, detail, hash FROM audit
     WHERE organisation_id = $1 AND seq < $2 ORDER BY seq DESC LIMIT $3",
);
const OLDEST_FIRST: Sql = Sql::new(
    "SELECT seq, at, actor, action, subject, detail, hash FROM audit
     WHERE organisation_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
);

const ORGANISATIONS: Sql = Sql::new("SELECT id FROM organisations ORDER BY id");

/// Entries that a check reads at once.
const CHECK_PAGE: i64 = 1_000;

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// 1, 2, 3, … without gaps.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: `key:<id>`, `cli` or `system`.
    pub actor: String,
    /// The action, such as `alert.started`.
    pub action: String,
    /// To what: the id of the thing.
    pub subject: String,
    /// Facts without phone numbers, names and texts.
    pub detail: serde_json::Value,
    /// SHA-256 over the entry and the hash before it, in hexadecimal.
    pub hash: String,
}

/// How far a chain is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Entries from the first that follow one another as they were written.
    pub entries: i64,
    /// The number of the first entry that is missing or does not fit, if there is one.
    pub first_wrong: Option<i64>,
}

/// Appends an entry in the transaction of the change that it tells about: the last thing that the transaction does, because the
/// next entry of the organisation waits for its end.
pub(crate) async fn append(
    tx: &mut Tx,
    organisation: OrganisationId,
    actor: Actor,
    action: &str,
    subject: &str,
    detail: serde_json::Value,
    now: Timestamp,
) -> Result<()> {
    Lock::Audit(organisation).take(tx).await?;
    let last: Option<(i64, Vec<u8>)> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as(LAST.of(d)).bind(organisation.0).fetch_optional(conn).await?);
    let (last, previous) = last.unwrap_or_else(|| (0, beginning(organisation)));
    let mut row = Row {
        seq: last + 1,
        at: now.as_millis(),
        actor: actor.to_string(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_string(),
        hash: Vec::new(),
    };
    row.hash = row.chained_to(&previous);
    on_tx!(tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(organisation.0).bind(row.seq).bind(row.at).bind(row.actor).bind(row.action).bind(row.subject)
        .bind(row.detail).bind(row.hash)
        .execute(conn).await?.rows_affected());
    Ok(())
}

/// Appends an entry to the chain of every organisation: for what is done to the installation, which they share. The chains are
/// taken in the order of their ids, so that two of these do not wait for each other.
pub(crate) async fn append_everywhere(
    tx: &mut Tx,
    actor: Actor,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
    now: Timestamp,
) -> Result<()> {
    let organisations: Vec<Uuid> =
        on_tx!(&mut *tx, conn, d => sqlx::query_scalar(ORGANISATIONS.of(d)).fetch_all(conn).await?);
    for organisation in organisations {
        append(tx, OrganisationId(organisation), actor, action, subject, detail.clone(), now).await?;
    }
    Ok(())
}

/// The value that the first entry is chained to: the organisation, so that a chain cannot be passed off as another's.
fn beginning(organisation: OrganisationId) -> Vec<u8> {
    Sha256::digest(organisation.0.as_bytes()).to_vec()
}

from_row! {
    struct Row {
        seq: i64,
        at: i64,
        actor: String,
        action: String,
        subject: String,
        detail: String,
        hash: Vec<u8>,
    }
}

impl Row {
    /// SHA-256 of the hash before and the entry as a JSON array. The detail goes in as the text that is stored: no change
    /// to it is too small, and the order of its members does not depend on how a reader keeps them.
    fn chained_to(&self, previous: &[u8]) -> Vec<u8> {
        let entry =
            serde_json::json!([self.seq, self.at, self.actor, self.action, self.subject, self.detail]);
        let mut hasher = Sha256::new();
        hasher.update(previous);
        hasher.update(entry.to_string());
        hasher.finalize().to_vec()
    }

    fn into_entry(self) -> Result<AuditEntry> {
        let detail = serde_json::from_str(&self.detail)
            .map_err(|_| StoreError::Corrupt { table: "audit", column: "detail" })?;
        Ok(AuditEntry {
            seq: self.seq,
            at: Timestamp::from_millis(self.at),
            actor: self.actor,
            action: self.action,
            subject: self.subject,
            detail,
            hash: hex::encode(&self.hash),
        })
    }
}

impl Store {
    /// The log, newest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, or [`StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn list_audit(
        &self,
        organisation: OrganisationId,
        page: &PageRequest,
    ) -> Result<Page<AuditEntry>> {
        let before = page.after_number()?.unwrap_or(i64::MAX);
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(NEWEST_FIRST.of(d))
            .bind(organisation.0).bind(before).bind(page.fetch()).fetch_all(pool).await?);
        let entries = rows.into_iter().map(Row::into_entry).collect::<Result<_>>()?;
        Ok(Page::from_rows(entries, page, |entry| number_cursor(entry.seq)))
    }

    /// Recomputes the chain. Entries cut off at the end do not show: compare the newest hash with one that was written down
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn verify_audit(&self, organisation: OrganisationId) -> Result<Verified> {
        let mut last = 0;
        let mut previous = beginning(organisation);
        loop {
            let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(OLDEST_FIRST.of(d))
                .bind(organisation.0).bind(last).bind(CHECK_PAGE).fetch_all(pool).await?);
            if rows.is_empty() {
                return Ok(Verified { entries: last, first_wrong: None });
            }
            for row in rows {
                if row.seq != last + 1 || row.hash != row.chained_to(&previous) {
                    return Ok(Verified { entries: last, first_wrong: Some(last + 1) });
                }
                last = row.seq;
                previous = row.hash;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::sql::sql;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, after, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    const DROP_UPDATE_GUARD: Sql = sql!("DROP TRIGGER audit_no_update {postgres(ON audit)}");
    const DROP_DELETE_GUARD: Sql = sql!("DROP TRIGGER audit_no_delete {postgres(ON audit)}");
    const DELETE: Sql = Sql::new("DELETE FROM audit WHERE organisation_id = $1 AND seq = 3");
    const TAMPER: [Sql; 6] = [
        Sql::new("UPDATE audit SET at = at + 1 WHERE organisation_id = $1 AND seq = 3"),
        Sql::new("UPDATE audit SET actor = 'cli' WHERE organisation_id = $1 AND seq = 3"),
        Sql::new("UPDATE audit SET action = 'x' WHERE organisation_id = $1 AND seq = 3"),
        Sql::new("UPDATE audit SET subject = 'x' WHERE organisation_id = $1 AND seq = 3"),
        Sql::new("UPDATE audit SET detail = '{ }' WHERE organisation_id = $1 AND seq = 3"),
        sql!("UPDATE audit SET hash = {blob('00')} WHERE organisation_id = $1 AND seq = 3"),
    ];

    /// Four entries: the one of the organisation itself, and three.
    async fn with_entries(engine: Engine) -> Fixture {
        let f = Fixture::new(engine).await;
        for n in 0..3 {
            let mut tx = f.store.db.begin().await.unwrap();
            append(&mut tx, f.organisation, ACTOR, "thing.made", "id", json!({ "n": n }), NOW).await.unwrap();
            tx.commit().await.unwrap();
        }
        f
    }

    async fn run(f: &Fixture, statement: Sql) -> Result<u64> {
        Ok(on_db!(write f.store.db, pool, d =>
            sqlx::query(statement.of(d)).bind(f.organisation.0).execute(pool).await?.rows_affected()))
    }

    async fn run_bare(f: &Fixture, statement: Sql) {
        on_db!(write f.store.db, pool, d => sqlx::query(statement.of(d)).execute(pool).await.unwrap().rows_affected());
    }

    #[rstest]
    #[tokio::test]
    async fn entries_are_numbered_and_listed_newest_first(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = with_entries(engine).await;
        let page = f.store.list_audit(f.organisation, &first(3)).await.unwrap();
        assert_eq!(page.items.iter().map(|e| e.seq).collect::<Vec<_>>(), [4, 3, 2]);
        assert_eq!(page.items[0].detail, json!({ "n": 2 }));
        assert_eq!(page.items[0].actor, ACTOR.to_string());
        let rest = f.store.list_audit(f.organisation, &after(3, page.next_cursor)).await.unwrap();
        assert_eq!(rest.items.iter().map(|e| e.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(rest.next_cursor, None);
        assert_eq!(f.store.list_audit(f.stranger, &first(9)).await.unwrap().items.len(), 1);
        assert_eq!(f.store.verify_audit(f.organisation).await.unwrap().first_wrong, None);
    }

    #[rstest]
    #[tokio::test]
    async fn a_transaction_that_fails_leaves_no_entry_and_no_gap(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = with_entries(engine).await;
        let mut tx = f.store.db.begin().await.unwrap();
        append(&mut tx, f.organisation, ACTOR, "thing.made", "id", json!({}), NOW).await.unwrap();
        drop(tx);
        let mut tx = f.store.db.begin().await.unwrap();
        append(&mut tx, f.organisation, ACTOR, "thing.made", "id", json!({}), NOW).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(f.store.list_audit(f.organisation, &first(1)).await.unwrap().items[0].seq, 5);
        assert_eq!(f.store.verify_audit(f.organisation).await.unwrap().first_wrong, None);
    }

    #[rstest]
    #[tokio::test]
    async fn entries_cannot_be_changed_or_deleted(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = with_entries(engine).await;
        for statement in TAMPER.into_iter().chain([DELETE]) {
            let error = run(&f, statement).await.unwrap_err();
            assert!(error.to_string().contains("append-only"), "{error}");
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_changed_entry_is_found(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        for statement in TAMPER {
            let f = with_entries(engine).await;
            run_bare(&f, DROP_UPDATE_GUARD).await;
            assert_eq!(run(&f, statement).await.unwrap(), 1);
            assert_eq!(
                f.store.verify_audit(f.organisation).await.unwrap().first_wrong,
                Some(3),
                "{statement:?}"
            );
            assert_eq!(f.store.verify_audit(f.stranger).await.unwrap().first_wrong, None);
        }
    }

    #[rstest]
    #[tokio::test]
    async fn what_is_done_to_the_installation_stands_in_every_chain_also_when_two_do_it_at_once(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let act = async |gateway: &'static str| {
            let mut tx = f.store.db.begin().await?;
            append_everywhere(&mut tx, ACTOR, "gateway.paused", gateway, &json!({}), NOW).await?;
            tx.commit().await
        };
        for result in futures::future::join_all(["a", "b", "c", "d"].map(act)).await {
            result.unwrap();
        }
        for organisation in [f.organisation, f.stranger] {
            let entries = f.store.list_audit(organisation, &first(9)).await.unwrap().items;
            assert_eq!(entries.iter().filter(|entry| entry.action == "gateway.paused").count(), 4);
            assert_eq!(f.store.verify_audit(organisation).await.unwrap().first_wrong, None);
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_missing_entry_is_found(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = with_entries(engine).await;
        run_bare(&f, DROP_DELETE_GUARD).await;
        assert_eq!(run(&f, DELETE).await.unwrap(), 1);
        assert_eq!(f.store.verify_audit(f.organisation).await.unwrap().first_wrong, Some(3));
    }
}
