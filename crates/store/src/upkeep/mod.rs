//! The work that is done every few seconds, whichever process asks: leases that ran out, receipts that waited, alerts that
//! are over, and rows that are kept no longer.

mod far_times;
pub mod retention;
pub mod sweep;
