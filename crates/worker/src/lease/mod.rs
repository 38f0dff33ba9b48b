//! Leases: one process at a time holds a channel, and the channels of a gateway are spread over the processes.

mod balance;
pub(crate) mod channel_lease;
pub(crate) mod peers;
pub(crate) mod sharing;
