//! The words and rules of Klaroen, without any I/O: what an alert is, what may happen to a
//! delivery, what a phone number, a geofence and a message text are.
//!
//! Start with [`delivery`] (the state machine of one SMS) and [`alert`]; the rest are values
//! that are parsed once at the edge and trusted inside.

pub mod alert;
pub mod delivery;
pub mod gateway;
pub mod geofence;
pub mod hours;
pub mod id;
pub mod incoming;
pub mod keyword;
pub mod outcome;
pub mod participant;
pub mod phone;
pub mod point;
pub mod reply;
pub mod role;
pub mod text;
pub mod time;

pub use delivery::decide;
