//! Who holds a gateway's connection: a lease with a deadline, so that a dead process is followed by another.

use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::{Result, Store};

/// One connection of a gateway: `main/0`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    /// The gateway's name in the configuration.
    pub gateway: String,
    /// Its number, from 0.
    pub channel: u16,
}

impl std::fmt::Display for ChannelName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.gateway, self.channel)
    }
}

impl Store {
    /// Takes or renews the lease; `false` while another owner holds it. A take-over (another owner before, or none) turns
    /// what the channel had in flight into `unknown` in the same transaction: its answers will not come to us.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease_channel(
        &self,
        _name: &ChannelName,
        _owner: Uuid,
        _until: Timestamp,
        _now: Timestamp,
    ) -> Result<bool> {
        unimplemented!()
    }

    /// Gives the lease back at shutdown.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release_channel(&self, _name: &ChannelName, _owner: Uuid) -> Result<()> {
        unimplemented!()
    }

    /// Ends every lease: only for a process that knows itself alone on the database (it holds the lock beside the SQLite file).
    ///
    /// # Errors
    /// What the database says.
    pub async fn release_all_channels(&self) -> Result<()> {
        unimplemented!()
    }
}
