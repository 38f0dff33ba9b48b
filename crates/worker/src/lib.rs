//! The sending side: claims deliveries, paces them, hands them to gateways and tracks what became of them.
//!
//! One task per channel holds its lease and feeds its connection; results are written in batches by a task of their own;
//! a sweeper does what time brings about. Everything that must survive is in the database: a worker that is killed leaves
//! leases behind, and whoever comes next settles them.

mod channel;
mod events;
mod gateway;
mod instruments;
mod jitter;
mod lease;
mod outcome_writer;
mod self_test;
mod session;
mod status_query;
mod supervise;
mod upkeep;
mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use channel::config::ChannelConfig;
pub use channel::health::ChannelHealth;
pub use gateway::routing::allocation::GatewayRoute;
use klaroen_domain::alert::Priority;
use klaroen_domain::phone::Country;
use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::matching::MatchRules;
use klaroen_store::refusals::Serving;
use klaroen_store::replies::AutoReplyTexts;
use klaroen_store::retention::Retention;
pub use self_test::SelfTest;
use tokio::sync::Notify;
pub use worker::Worker;

use crate::channel::health::HealthBoard;
use crate::lease::sharing::Sharing;
use crate::session::message_cache::MessageCache;

/// What the configuration says.
pub struct WorkerSettings {
    /// The connections.
    pub channels: Vec<ChannelConfig>,
    /// When each gateway is used, of all that are configured, in the order of the configuration. One that is not named here is
    /// used after all others, for everything.
    pub routes: Vec<GatewayRoute>,
    /// Whose national numbers senders use.
    pub country: Country,
    /// How long after a message's expiry a receipt may come.
    pub receipt_grace: Duration,
    /// For alerts whose deliveries a crash cut off.
    pub rules: MatchRules,
    /// Automatic answers.
    pub texts: Arc<dyn AutoReplyTexts>,
    /// How long a shutdown waits for what is under way; closing may take some 5 s more.
    pub drain_deadline: Duration,
    /// How long a submit whose answer was lost waits before the policy decides.
    pub settle_after: SettleAfter,
    /// How long things are kept.
    pub retention: Retention,
    /// How gateways are tested; one without a number to test with is not among them.
    pub self_tests: Vec<SelfTest>,
}

/// How long a submit whose answer was lost waits for a receipt or a late answer before the policy decides.
///
/// It holds for answers that are lost while the worker runs. The database goes by the priorities' own times
/// ([`Priority::settle_after`]) where a lease is lost with its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleAfter {
    /// If a life is in danger.
    pub life_threatening: Duration,
    /// If not.
    pub others: Duration,
}

impl Default for SettleAfter {
    fn default() -> Self {
        Self {
            life_threatening: Priority::LifeThreatening.settle_after(),
            others: Priority::Normal.settle_after(),
        }
    }
}

impl SettleAfter {
    const fn of(self, priority: Priority) -> Duration {
        match priority {
            Priority::LifeThreatening => self.life_threatening,
            Priority::Urgent | Priority::Normal => self.others,
        }
    }
}

/// Why a worker stopped before it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A task failed again and again, each time soon after its start.
    #[error("{task} kept failing; the log says why")]
    KeptFailing {
        /// The channel's name, or `upkeep`.
        task: String,
    },
}

/// What all tasks of a worker share.
struct Shared {
    store: Store,
    sharing: Sharing,
    clock: Arc<dyn Clock>,
    wake: Arc<Notify>,
    messages: Arc<MessageCache>,
    board: Arc<HealthBoard>,
    country: Country,
    receipt_grace: Duration,
    rules: MatchRules,
    texts: Arc<dyn AutoReplyTexts>,
    drain_deadline: Duration,
    settle_after: SettleAfter,
    retention: Retention,
    /// The gateways that are configured, whoever holds them.
    gateways: Vec<Serving>,
    self_tests: Vec<SelfTest>,
}
