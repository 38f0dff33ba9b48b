//! The SMS of a participant that is no command: which alert it is about, and whether anybody wrote it.

pub mod attribution;
pub mod reaction;
