//! The other end of a connection.

use std::net::IpAddr;

/// The address that a request came from: the other end of its connection, which may be a reverse proxy.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);
