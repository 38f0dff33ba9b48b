//! Claiming: the journal entry before the first byte.

use klaroen_domain::id::{DeliveryId, MessageId, OrganisationId};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::time::Timestamp;

use crate::channels::ChannelName;
use crate::{Result, Store};

/// A delivery under lease.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// The delivery.
    pub id: DeliveryId,
    /// Whose it is.
    pub organisation: OrganisationId,
    /// The message; see [`Store::outbound_message`].
    pub message: MessageId,
    /// The fence of every later write about this attempt.
    pub lease_token: i64,
    /// Steps taken on the retry ladder before this attempt.
    pub retries: u32,
    /// Where to.
    pub phone: PhoneNumber,
}

/// What to claim.
#[derive(Clone, Debug)]
pub struct ClaimRequest<'a> {
    /// For which connection.
    pub channel: &'a ChannelName,
    /// How many deliveries at most.
    pub limit: u32,
    /// When the lease ends.
    pub lease_until: Timestamp,
    /// The present moment.
    pub now: Timestamp,
}

/// What a claim gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claim {
    /// Leased, in the order in which they are to leave.
    pub claimed: Vec<Claimed>,
    /// How many the claim took out of the queue because their owner had opted out (or was erased).
    pub suppressed: u64,
    /// When the next delivery that waits for its time is due, if nothing was due now.
    pub next_due: Option<Timestamp>,
}

impl Store {
    /// Leases what is due: lower lanes first; within a lane every message gets an equal share, so that a large alert does not
    /// hold up a small one. Opted-out recipients are suppressed in the same statement.
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(&self, _request: &ClaimRequest<'_>) -> Result<Claim> {
        unimplemented!()
    }
}
