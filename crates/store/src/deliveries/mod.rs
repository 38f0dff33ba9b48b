//! Messages and their deliveries, from the queue to the receipt.

pub(crate) mod cancel;
pub(crate) mod deferred;
pub mod doubts;
pub(crate) mod lifecycle;
pub(crate) mod lost;
pub mod messages;
pub mod outcomes;
pub mod queue;
pub mod receipt_times;
pub mod receipts;
pub mod refusals;
pub mod status_query;
mod to_number;
mod views;

pub use to_number::TextToNumber;
pub use views::DeliveryView;
