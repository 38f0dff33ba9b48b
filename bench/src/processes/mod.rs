//! Everything that runs next to the bench: how it is started, ended, and what it uses.

pub mod postgres_server;
pub mod process;
pub mod smsc;
pub mod usage;

use anyhow::{Context, Result};

/// A port of 127.0.0.1 that no process uses now. Programs that cannot be told to take any get one of these.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}
