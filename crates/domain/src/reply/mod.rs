//! The SMS of a participant that is no command: which alert it is about.

pub mod attribution;
