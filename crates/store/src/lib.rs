//! The database: the only crate that knows SQL.
//!
//! One [`Store`], one file per family of tables. A statement is a constant ([`db::Sql`]) with one text per dialect where
//! the dialects differ; the calling expression is written once ([`db::on_db`], [`db::on_tx`]).

pub mod alerts;
pub mod areas;
pub mod audit;
pub mod callbacks;
mod changes;
pub mod channels;
pub mod claims;
pub mod clock;
mod db;
pub mod deliveries;
pub mod doubts;
mod error;
pub mod export;
pub mod fanout;
#[cfg(test)]
pub(crate) mod fixture;
mod follow_ups;
pub mod gateway_tests;
pub mod gateways;
pub mod groups;
mod heartbeat;
mod hex;
pub mod idempotency;
pub mod import;
mod inbound;
pub mod incidents;
mod intake;
pub mod keys;
mod later;
mod lock;
pub mod matching;
pub mod messages;
mod object;
mod open;
pub mod organisations;
pub mod outcomes;
mod page;
pub mod participants;
#[cfg(test)]
mod plans;
pub mod receipt_times;
pub mod receipts;
mod record;
mod references;
pub mod refusals;
pub mod replies;
pub mod retention;
#[cfg(test)]
mod schema;
pub mod seal;
#[cfg(test)]
mod statements;
pub mod sweep;
mod unsent;
mod wakeup;
mod walk;
pub mod workers;

pub use error::StoreError;
pub use open::{Address, Store, StoreOptions};

/// The result of everything that asks the database.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// One page of a list, and where the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// In the order of the list.
    pub items: Vec<T>,
    /// Give it back to get the next page; `None` at the end.
    pub next_cursor: Option<String>,
}

/// Which page is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items, 1 to 500.
    pub limit: u16,
    /// What the page before gave.
    pub cursor: Option<String>,
}

/// Who does something: for the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The holder of an API key.
    Key(klaroen_domain::id::KeyId),
    /// Somebody at the command line of the machine.
    CommandLine,
    /// Klaroen itself.
    System,
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::CommandLine => f.write_str("cli"),
            Self::System => f.write_str("system"),
        }
    }
}
