//! Alerts through the whole of Klaroen, from the `POST` to the last receipt.

pub mod degraded;
pub mod fairness;
pub mod first_alert;
pub mod run;
pub mod scale;
pub mod sending;
