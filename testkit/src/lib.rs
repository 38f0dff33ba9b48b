//! What the tests and the bench begin with.
//!
//! [`world`] is a database with people in it and a clock that stands still. [`program`] is the real program as a child process, and
//! [`client`] calls it. Everything here panics when it fails, except [`api`], which the bench uses too.

#![expect(missing_docs, reason = "as in tests: the names of short items say it")]
#![expect(
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::cast_precision_loss,
    reason = "as in tests: what cannot go on panics, and small counts become metres"
)]

pub mod api;
pub mod client;
pub mod lateness;
pub mod program;
pub mod world;
