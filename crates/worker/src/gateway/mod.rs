//! One gateway as this process sees it: its health, its rate, its requests, and the messages that it may take.

pub(crate) mod batch_verdict;
pub(crate) mod circuit_breaker;
pub(crate) mod handle;
pub(crate) mod rate;
pub(crate) mod request;
pub(crate) mod rolling_counts;
pub(crate) mod routing;
