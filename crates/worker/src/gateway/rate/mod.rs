//! The rate of a gateway: a token bucket that adapts to the provider, and a sliding window as the hard ceiling.

pub(crate) mod pace;
mod sliding_window;
