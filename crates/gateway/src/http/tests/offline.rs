//! No test leaves this machine: there is no name that it could look up.

use std::io;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Resolves nothing.
#[derive(Clone, Debug)]
pub(crate) struct Nowhere;

impl Nowhere {
    pub(crate) const fn new() -> Self {
        Self
    }
}

impl Service<Name> for Nowhere {
    type Response = std::vec::IntoIter<std::net::SocketAddr>;
    type Error = io::Error;
    type Future = std::future::Ready<Result<Self::Response, io::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _name: Name) -> Self::Future {
        std::future::ready(Err(io::Error::other("tests look up no names")))
    }
}
