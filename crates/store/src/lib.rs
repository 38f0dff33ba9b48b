//! The database: the only crate that knows SQL.
//!
//! One [`Store`], one folder per aggregate, one file per family of tables. A statement is a constant ([`Sql`](engine::db::Sql)).
//! It has one text for both databases, in which fragments stand for the words in which they differ ([`sql`](engine::sql::sql)), or
//! two texts, with a comment that says why. The calling expression is written once ([`on_db`](engine::db::on_db),
//! [`on_tx`](engine::db::on_tx)).

pub mod alerts;
pub mod deliveries;
mod engine;
pub mod gateways;
pub mod matching;
mod registry;
pub mod replies;
mod tenancy;
#[cfg(test)]
mod tests;
mod upkeep;

pub use alerts::{fanout, incidents};
pub use deliveries::{messages, outcomes, queue as claims, receipt_times, receipts, refusals};
pub use engine::connect::{Address, Store, StoreOptions};
pub use engine::error::StoreError;
pub use engine::{clock, seal};
pub use gateways::{callbacks, channels, gateway_tests, workers};
pub use registry::{areas, groups, import, participants};
pub use tenancy::{audit, idempotency, keys, organisations, reads};
pub use upkeep::{retention, sweep};

/// Submits whose answer was lost, and what their providers say of them.
pub mod doubts {
    pub use crate::deliveries::doubts::{ASKED_WITHIN, DoubtCounts, Resolution};
    pub use crate::deliveries::status_query::{Answered, Because, Doubt, Found};
}

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
    /// The cursor that the page before returned.
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
