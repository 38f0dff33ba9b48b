//! The other ways to bring messages to an SMSC: Kannel, and as the ceiling a bare client.

pub mod bare_smpp;
pub mod kannel;
