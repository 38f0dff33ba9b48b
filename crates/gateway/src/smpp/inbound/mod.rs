//! Deliveries from the SMSC to us: receipts, and SMS of participants.

pub(super) mod budget;
mod concatenation;
mod dedupe;
mod deliver_sm;
pub(super) mod deliveries;
mod receipt;
