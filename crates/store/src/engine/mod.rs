//! The base of every room: the two databases behind one set of calls, locks, pages, sealing. Nothing here knows a table of
//! another room.

pub mod clock;
pub(crate) mod connect;
pub(crate) mod db;
pub(crate) mod error;
pub(crate) mod from_row;
pub(crate) mod heartbeat;
pub(crate) mod hex;
pub(crate) mod json_object;
pub(crate) mod lock;
mod notify;
pub(crate) mod page;
mod references;
pub mod seal;
pub(crate) mod sql;
