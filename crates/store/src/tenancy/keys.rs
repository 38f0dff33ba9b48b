//! API keys: `klr_<id>_<secret>`; the secret is kept as a hash and shown once. A key acts in one organisation, or, with the role
//! `platform`, on the installation: then it has no organisation, and what is done with it stands in everybody's audit log.

use std::time::Duration;

use hmac::digest::CtOutput;
use klaroen_domain::id::{KeyId, OrganisationId};
use klaroen_domain::role::Role;
use klaroen_domain::time::Timestamp;
use rand::Rng;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_db, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::hex;
use crate::engine::page::uuid_cursor;
use crate::tenancy::audit;
use crate::{Actor, Page, PageRequest, Result, Store, StoreError};

const INSERT: Sql = Sql::new(
    "INSERT INTO api_keys (id, organisation_id, role, name, secret_hash, created_at, expires_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
// The one read without an organisation: the key says whose it is.
const GET: Sql = Sql::new(
    "SELECT id, organisation_id, role, name, secret_hash, created_at, expires_at, revoked_at FROM api_keys
     WHERE id = $1",
);
const LIST: Sql = Sql::new(
    "SELECT id, organisation_id, role, name, secret_hash, created_at, expires_at, revoked_at FROM api_keys
     WHERE organisation_id IS NOT DISTINCT FROM $1 AND id > $2 ORDER BY id LIMIT $3",
);
const REVOKE: Sql = Sql::new(
    "UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND organisation_id IS NOT DISTINCT FROM $2 AND revoked_at IS NULL",
);
const EXISTS: Sql =
    Sql::new("SELECT 1 FROM api_keys WHERE id = $1 AND organisation_id IS NOT DISTINCT FROM $2");

/// The prefix of a key, so that a leaked one is recognised.
const PREFIX: &str = "klr_";
/// Bytes of a secret: 256 bits cannot be guessed, so a fast hash is enough.
const SECRET_LENGTH: usize = 32;

/// A key as it is listed: without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id, the middle part of the key.
    pub id: KeyId,
    /// Whose it is; `None`: of nobody, because it acts on the installation.
    pub organisation: Option<OrganisationId>,
    /// The role of the key: the actions that it allows.
    pub role: Role,
    /// The name of the key.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it no longer works.
    pub expires_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// How long a key works if nobody says otherwise.
pub const USUAL_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long a key works at most.
pub const LONGEST_LIFE: Duration = Duration::from_hours(2 * 365 * 24);

/// A key with the text that its holder uses. `Debug` hides the text.
pub struct NewKey {
    /// As it is listed.
    pub key: ApiKey,
    /// The whole text, `klr_…`: shown once.
    pub token: String,
}

/// The result of [`Store::authenticate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// The key works.
    Valid(ApiKey),
    /// The key was right once: it expired or was revoked.
    NoLongerValid,
    /// There is no such key.
    Unknown,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a key of an organisation, or with `None` and [`Role::Platform`] one of the installation. The database refuses a
    /// role that does not fit.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn create_key(
        &self,
        organisation: Option<OrganisationId>,
        role: Role,
        name: &str,
        expires_at: Timestamp,
        actor: Actor,
        now: Timestamp,
    ) -> Result<NewKey> {
        let id = KeyId::generate();
        let secret = new_secret();
        let mut tx = self.db.begin().await?;
        on_tx!(&mut tx, conn, d => sqlx::query(INSERT.of(d))
            .bind(id.0).bind(organisation.map(|o| o.0)).bind(role.as_str()).bind(name).bind(hash(&secret))
            .bind(now.as_millis()).bind(expires_at.as_millis())
            .execute(conn).await?.rows_affected());
        // Without the name: it may be a person's.
        let detail = json!({ "role": role.as_str(), "expires_at": expires_at });
        append_for(&mut tx, organisation, actor, "key.created", id, detail, now).await?;
        tx.commit().await?;
        let name = name.to_owned();
        let key = ApiKey { id, organisation, role, name, created_at: now, expires_at, revoked_at: None };
        Ok(NewKey { key, token: format!("{PREFIX}{}_{secret}", id.0.simple()) })
    }

    /// Checks a token in constant time.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Authentication> {
        let Some((id, secret)) = split(token) else {
            return Ok(Authentication::Unknown);
        };
        let row: Option<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(id).fetch_optional(pool).await?);
        let Some(row) = row.filter(|row| row.has_secret(secret)) else {
            return Ok(Authentication::Unknown);
        };
        let key = row.into_key()?;
        let over = key.revoked_at.is_some() || key.expires_at <= now;
        Ok(if over { Authentication::NoLongerValid } else { Authentication::Valid(key) })
    }

    /// A key, of whichever organisation it is: for the command line.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, or [`StoreError::Corrupt`] if
    /// a stored row cannot be read.
    pub async fn key(&self, id: KeyId) -> Result<Option<ApiKey>> {
        let row: Option<Row> = on_db!(read self.db, pool, d =>
            sqlx::query_as(GET.of(d)).bind(id.0).fetch_optional(pool).await?);
        row.map(Row::into_key).transpose()
    }

    /// The keys of an organisation, or with `None` those of the installation, oldest first.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::BadCursor`] if
    /// a list did not return the cursor of `page`, or [`StoreError::Corrupt`] if a stored row cannot be read.
    pub async fn list_keys(
        &self,
        organisation: Option<OrganisationId>,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>> {
        let after = page.after_uuid()?.unwrap_or(Uuid::nil());
        let rows: Vec<Row> = on_db!(read self.db, pool, d => sqlx::query_as(LIST.of(d))
            .bind(organisation.map(|o| o.0)).bind(after).bind(page.fetch()).fetch_all(pool).await?);
        let keys = rows.into_iter().map(Row::into_key).collect::<Result<_>>()?;
        Ok(Page::from_rows(keys, page, |key: &ApiKey| uuid_cursor(key.id.0)))
    }

    /// Revokes a key; `false` if the organisation, or with `None` the installation, has no such key. One that was revoked before keeps its date.
    ///
    /// # Errors
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement.
    pub async fn revoke_key(
        &self,
        organisation: Option<OrganisationId>,
        key: KeyId,
        actor: Actor,
        now: Timestamp,
    ) -> Result<bool> {
        let mut tx = self.db.begin().await?;
        let revoked = on_tx!(&mut tx, conn, d => sqlx::query(REVOKE.of(d))
            .bind(key.0).bind(organisation.map(|o| o.0)).bind(now.as_millis())
            .execute(conn).await?.rows_affected());
        if revoked == 0 {
            let found = on_tx!(&mut tx, conn, d =>
                sqlx::query(EXISTS.of(d)).bind(key.0).bind(organisation.map(|o| o.0)).fetch_optional(conn).await?.is_some());
            return Ok(found);
        }
        append_for(&mut tx, organisation, actor, "key.revoked", key, json!({}), now).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Appends an entry about a key to the log of its organisation, or to every log if it is one of the installation.
async fn append_for(
    tx: &mut Tx,
    organisation: Option<OrganisationId>,
    actor: Actor,
    action: &str,
    key: KeyId,
    detail: Value,
    now: Timestamp,
) -> Result<()> {
    let subject = key.to_string();
    match organisation {
        Some(organisation) => audit::append(tx, organisation, actor, action, &subject, detail, now).await,
        None => audit::append_everywhere(tx, actor, action, &subject, &detail, now).await,
    }
}

fn new_secret() -> String {
    let mut bytes = [0; SECRET_LENGTH];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(&bytes)
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}

/// The id and the secret of a token.
fn split(token: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    if id.len() != 32 || secret.len() != 2 * SECRET_LENGTH {
        return None;
    }
    Some((Uuid::try_parse(id).ok()?, secret))
}

from_row! {
    struct Row {
    id: Uuid,
    organisation_id: Option<Uuid>,
    role: String,
    name: String,
    secret_hash: Vec<u8>,
    created_at: i64,
    expires_at: i64,
    revoked_at: Option<i64>,
    }
}

impl Row {
    /// In constant time: how long it takes says nothing about how much of the hash is right.
    fn has_secret(&self, secret: &str) -> bool {
        <[u8; 32]>::try_from(self.secret_hash.as_slice()).is_ok_and(|kept| {
            CtOutput::<Sha256>::new(kept.into()) == CtOutput::<Sha256>::new(Sha256::digest(secret))
        })
    }

    fn into_key(self) -> Result<ApiKey> {
        Ok(ApiKey {
            id: KeyId(self.id),
            organisation: self.organisation_id.map(OrganisationId),
            role: self.role.parse().map_err(|_| StoreError::Corrupt { table: "api_keys", column: "role" })?,
            name: self.name,
            created_at: Timestamp::from_millis(self.created_at),
            expires_at: Timestamp::from_millis(self.expires_at),
            revoked_at: self.revoked_at.map(Timestamp::from_millis),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, after, first};
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    async fn make(f: &Fixture, expires_at: Timestamp) -> NewKey {
        f.store
            .create_key(Some(f.organisation), Role::Operator, "desk", expires_at, ACTOR, NOW)
            .await
            .unwrap()
    }

    #[rstest]
    #[tokio::test]
    async fn a_key_works_until_it_is_revoked(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let new = make(&f, NOW.plus(USUAL_LIFE)).await;
        let found = f.store.authenticate(&new.token, NOW).await.unwrap();
        assert_eq!(found, Authentication::Valid(new.key.clone()));
        assert!(!f.store.revoke_key(Some(f.stranger), new.key.id, ACTOR, NOW).await.unwrap());
        assert_eq!(f.store.authenticate(&new.token, NOW).await.unwrap(), found);
        assert!(f.store.revoke_key(Some(f.organisation), new.key.id, ACTOR, NOW).await.unwrap());
        assert_eq!(f.store.authenticate(&new.token, NOW).await.unwrap(), Authentication::NoLongerValid);

        let later = NOW.plus(Duration::from_mins(1));
        assert!(f.store.revoke_key(Some(f.organisation), new.key.id, ACTOR, later).await.unwrap());
        let listed = f.store.list_keys(Some(f.organisation), &first(9)).await.unwrap().items;
        assert_eq!(listed[0].revoked_at, Some(NOW));
        assert!(!f.store.revoke_key(Some(f.organisation), KeyId::generate(), ACTOR, NOW).await.unwrap());
    }

    #[rstest]
    #[tokio::test]
    async fn a_key_stops_working_at_the_moment_it_expires(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let end = NOW.plus(Duration::from_mins(1));
        let token = make(&f, end).await.token;
        let before = end.minus(Duration::from_millis(1));
        assert!(matches!(f.store.authenticate(&token, before).await.unwrap(), Authentication::Valid(_)));
        assert_eq!(f.store.authenticate(&token, end).await.unwrap(), Authentication::NoLongerValid);
    }

    #[rstest]
    #[tokio::test]
    async fn a_wrong_secret_looks_like_a_key_that_never_was(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let new = make(&f, NOW.plus(USUAL_LIFE)).await;
        let other = make(&f, NOW.plus(USUAL_LIFE)).await;
        f.store.revoke_key(Some(f.organisation), new.key.id, ACTOR, NOW).await.unwrap();
        let (head, _) = new.token.rsplit_once('_').unwrap();
        let (_, foreign_secret) = other.token.rsplit_once('_').unwrap();
        for token in [
            format!("{head}_{foreign_secret}"),
            format!("{head}_"),
            format!("{PREFIX}{}_{foreign_secret}", Uuid::nil().simple()),
            new.token[..new.token.len() - 1].to_owned(),
            new.token.replace(PREFIX, "xyz_"),
            String::new(),
            "klr_é_é".to_owned(),
        ] {
            assert_eq!(f.store.authenticate(&token, NOW).await.unwrap(), Authentication::Unknown, "{token}");
        }
    }

    #[rstest]
    #[tokio::test]
    async fn keys_are_listed_page_by_page_for_their_organisation(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let made = [make(&f, NOW.plus(USUAL_LIFE)).await.key, make(&f, NOW.plus(USUAL_LIFE)).await.key];
        let page = f.store.list_keys(Some(f.organisation), &first(1)).await.unwrap();
        assert_eq!(page.items, made[..1]);
        let rest = f.store.list_keys(Some(f.organisation), &after(1, page.next_cursor)).await.unwrap();
        assert_eq!((rest.items.as_slice(), rest.next_cursor), (&made[1..], None));
        assert_eq!(f.store.list_keys(Some(f.stranger), &first(9)).await.unwrap().items, []);
    }

    #[rstest]
    #[tokio::test]
    async fn a_key_of_the_installation_belongs_to_nobody_and_stands_in_every_log(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let end = NOW.plus(USUAL_LIFE);
        let create = |owner, role| f.store.create_key(owner, role, "night shift", end, ACTOR, NOW);
        create(Some(f.organisation), Role::Platform).await.expect_err("an organisation has no such role");
        create(None, Role::Admin).await.expect_err("an admin acts in an organisation");
        let new = create(None, Role::Platform).await.unwrap();
        let found = f.store.authenticate(&new.token, NOW).await.unwrap();
        assert_eq!(found, Authentication::Valid(new.key.clone()));
        assert_eq!(f.store.list_keys(None, &first(9)).await.unwrap().items, std::slice::from_ref(&new.key));
        assert_eq!(f.store.list_keys(Some(f.organisation), &first(9)).await.unwrap().items, []);

        assert!(!f.store.revoke_key(Some(f.organisation), new.key.id, ACTOR, NOW).await.unwrap());
        assert!(f.store.revoke_key(None, new.key.id, ACTOR, NOW).await.unwrap());
        for organisation in [f.organisation, f.stranger] {
            let entries = f.store.list_audit(organisation, &first(2)).await.unwrap().items;
            assert_eq!(
                entries.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(),
                ["key.revoked", "key.created"]
            );
        }
    }

    #[rstest]
    #[tokio::test]
    async fn the_token_shows_in_no_debug_output_and_the_secret_in_no_row(
        #[values(Engine::Sqlite, Engine::Postgres)] engine: Engine,
    ) {
        let f = Fixture::new(engine).await;
        let new = make(&f, NOW.plus(USUAL_LIFE)).await;
        let (_, secret) = new.token.rsplit_once('_').unwrap();
        assert!(!format!("{new:?}").contains(secret));
        let kept: Vec<u8> = on_db!(read f.store.db, pool, d => sqlx::query_as::<_, Row>(GET.of(d))
            .bind(new.key.id.0).fetch_one(pool).await.unwrap())
        .secret_hash;
        assert_eq!(kept, hash(secret));
        let entry = f.store.list_audit(f.organisation, &first(1)).await.unwrap().items.remove(0);
        assert_eq!((entry.action.as_str(), entry.subject), ("key.created", new.key.id.to_string()));
        assert!(!entry.detail.to_string().contains("desk"));
    }
}
