//! No test leaves this machine: there is no name that it could look up.

use std::io;

use reqwest::dns::{Name, Resolve, Resolving};

/// Resolves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nowhere;

impl Resolve for Nowhere {
    fn resolve(&self, _name: Name) -> Resolving {
        Box::pin(std::future::ready(Err(io::Error::other("tests look up no names").into())))
    }
}
