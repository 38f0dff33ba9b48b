//! One file a contract: what stands on the wire.

pub(super) mod infobip;
pub(super) mod plain;
pub(super) mod twilio;
