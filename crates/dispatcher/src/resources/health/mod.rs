//! The health of the process and its numbers.

pub(crate) mod http;
