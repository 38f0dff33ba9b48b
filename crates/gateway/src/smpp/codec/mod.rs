//! The octets of SMPP 3.4, read and written.

pub(super) mod coding;
pub(super) mod command_id;
pub(super) mod message_id;
pub(super) mod pdu;
