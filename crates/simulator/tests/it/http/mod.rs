//! HTTP providers seen from their clients: octets in and out over sockets.

mod callbacks;
mod faults;
mod load;
mod peer;
mod wire;
