//! What is done every few seconds, whoever asks: leases that ran out, receipts that waited, alerts that are over, and what is
//! kept no longer.

pub mod retention;
pub mod sweep;
