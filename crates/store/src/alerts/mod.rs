//! Incidents and their alerts: creating, changing and showing them, and making the deliveries of their messages.

mod activate;
pub(crate) mod create;
pub mod fanout;
pub(crate) mod follow_ups;
pub mod incidents;
mod update;
mod views;

pub use create::{AlertDraft, ChangeRefused, Intake, Taken};
pub use update::Changed;
pub use views::{AlertView, MessageView};
