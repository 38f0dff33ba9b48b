//! The start of the tests of this crate: a database in a temporary directory, and a registration.

use klaroen_domain::id::{KeyId, OrganisationId};
use klaroen_domain::participant::{Language, ParticipantKind};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use klaroen_test_databases::Engine;
use sqlx::{PgConnection, PgPool};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::engine::db::Tx;
use crate::engine::seal::Keys;
use crate::registry::participants::{Consent, ParticipantDraft, Place};
use crate::{Actor, PageRequest, Store, StoreOptions};

/// 2026-11-23T16:00:00Z, a Monday.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_449_600_000);

/// Who does things in the tests.
pub(crate) const ACTOR: Actor = Actor::Key(KeyId(Uuid::from_u128(0xac)));

/// A database that goes away with the value.
pub(crate) struct Fixture {
    /// The database.
    pub(crate) store: Store,
    /// An organisation in it.
    pub(crate) organisation: OrganisationId,
    /// Another one, from which the first must be hidden.
    pub(crate) stranger: OrganisationId,
    _directory: TempDir,
}

impl Fixture {
    /// A new database with two organisations.
    pub(crate) async fn new(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = engine.database(directory.path()).await;
        Self::at(url, directory).await
    }

    /// The same in one that the store migrates itself; in PostgreSQL a schema, next to those of others in one database.
    pub(crate) async fn migrated(engine: Engine) -> Self {
        let directory = TempDir::new().unwrap();
        let url = engine.empty(directory.path()).await;
        Self::at(url, directory).await
    }

    async fn at(url: String, directory: TempDir) -> Self {
        let store = Store::open(&StoreOptions::new(url, Keys::new(&[1; 32], &[2; 32]))).await.unwrap();
        let organisation = store.create_organisation("utrecht", "Utrecht", NOW).await.unwrap().unwrap().id;
        let stranger = store.create_organisation("zwolle", "Zwolle", NOW).await.unwrap().unwrap().id;
        Self { store, organisation, stranger, _directory: directory }
    }
}

const SOMEBODY_WAITS: &str =
    "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid)))";

/// The connection of a transaction of PostgreSQL.
pub(crate) fn connection(tx: &mut Tx) -> &mut PgConnection {
    let Tx::Postgres(tx, _) = tx else { panic!("this is about PostgreSQL") };
    tx
}

/// Until a connection waits for what this transaction of PostgreSQL holds, or `task` has ended; returns whether it has not.
pub(crate) async fn come_to_wait<T>(holder: &mut PgConnection, pool: &PgPool, task: &JoinHandle<T>) -> bool {
    let holder: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(holder).await.unwrap();
    while !task.is_finished()
        && !sqlx::query_scalar::<_, bool>(SOMEBODY_WAITS).bind(holder).fetch_one(pool).await.unwrap()
    {
        tokio::task::yield_now().await;
    }
    !task.is_finished()
}

/// The mobile number `+316` with `n` behind it.
pub(crate) fn phone(n: u32) -> PhoneNumber {
    PhoneNumber::from_sealed(format!("+316{n:08}"))
}

/// A resident with one place in Utrecht.
pub(crate) fn draft(n: u32) -> ParticipantDraft {
    ParticipantDraft {
        kind: ParticipantKind::Resident,
        name: Some(format!("Resident {n}")),
        phone: phone(n),
        language: Language::Nl,
        places: vec![place("home", 52.0907, 5.1214)],
        groups: vec![],
        external_id: None,
        paused_until: None,
        consent: Consent { given_at: NOW, method: "form".into() },
    }
}

/// A place without hours.
pub(crate) fn place(label: &str, latitude: f64, longitude: f64) -> Place {
    Place { label: label.into(), location: Point::wgs84(latitude, longitude).unwrap(), hours: None }
}

/// The first page, of `limit` items.
pub(crate) fn first(limit: u16) -> PageRequest {
    PageRequest { limit, cursor: None }
}

/// The page that begins at `cursor`.
pub(crate) fn after(limit: u16, cursor: Option<String>) -> PageRequest {
    PageRequest { limit, cursor }
}
