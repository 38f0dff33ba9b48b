//! The sending side: claims deliveries, paces them, submits them to gateways and tracks their outcomes.
//!
//! One task per channel holds its lease and sends over its connection. A task per connection writes the results in
//! batches. Upkeep does what is due at a time. Everything that must survive a crash is in the database: a worker that
//! is killed leaves leases behind, and the next worker settles them.

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
use klaroen_store::clock::ClockWatch;
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

/// The settings of a worker.
pub struct WorkerSettings {
    /// The connections.
    pub channels: Vec<ChannelConfig>,
    /// When each configured gateway is used, in the order of the configuration. A gateway that is missing here is used
    /// after all others, for every message.
    pub routes: Vec<GatewayRoute>,
    /// The country whose national number format senders use.
    pub country: Country,
    /// How long after a message expired its receipts are still expected.
    pub receipt_grace: Duration,
    /// The rules of matching, for alerts whose fan-out a crash interrupted.
    pub rules: MatchRules,
    /// The texts of automatic answers.
    pub texts: Arc<dyn AutoReplyTexts>,
    /// How long a shutdown waits for submits that are under way. Closing may take about 5 s more.
    pub drain_deadline: Duration,
    /// How long a submit whose answer was lost waits before the policy decides.
    pub settle_after: SettleAfter,
    /// How long rows are kept.
    pub retention: Retention,
    /// How gateways are tested. A gateway without a number for tests is not in the list.
    pub self_tests: Vec<SelfTest>,
    /// Sees whether the clock is set. The process has one.
    pub clock_watch: Arc<ClockWatch>,
}

/// How long a submit whose answer was lost waits for a receipt or a late answer before the policy decides.
///
/// This applies to answers that are lost while the worker runs. If a lease is lost, the database uses
/// [`Priority::settle_after`] instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleAfter {
    /// For messages where a life is in danger.
    pub life_threatening: Duration,
    /// For all other messages.
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
    /// The longest that any doubt waits.
    fn longest(self) -> Duration {
        self.life_threatening.max(self.others)
    }

    const fn of(self, priority: Priority) -> Duration {
        match priority {
            Priority::LifeThreatening => self.life_threatening,
            Priority::Urgent | Priority::Normal => self.others,
        }
    }
}

/// Why a worker stopped before the shutdown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerError {
    /// A task failed again and again, each time soon after its start.
    #[error("{task} failed repeatedly; see the log for the cause")]
    KeptFailing {
        /// The name of the channel, or of the worker's own task (`router`, `peers`, `upkeep`, `self-tests`).
        task: String,
    },
}

/// The parts that all tasks of a worker share.
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
    /// All configured gateways, including those that other processes hold.
    gateways: Vec<Serving>,
    self_tests: Vec<SelfTest>,
    clock_watch: Arc<ClockWatch>,
}
