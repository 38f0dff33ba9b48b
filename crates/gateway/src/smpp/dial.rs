//! Opens the TCP connection: without delay, watched by the kernel, in TLS where the configuration says so.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::tls::Tls;
use crate::config::SmppConfig;

/// A host that does not answer a SYN or a handshake in this time is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A pulled cable shows within 20 s: 4 s of silence, then a probe each 2 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 8;
/// The same for data that is not acknowledged, which silences the probes.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// A byte stream to the SMSC.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects.
///
/// # Errors
/// DNS, TCP and TLS alike: nothing was sent that an SMSC would understand.
pub(super) async fn dial(config: &SmppConfig, tls: Option<&Tls>) -> io::Result<Box<dyn Wire>> {
    tokio::time::timeout(CONNECT_TIMEOUT, async {
        let stream = TcpStream::connect((config.host.as_str(), config.port)).await?;
        // With Nagle's algorithm a window of small PDUs waits for acknowledgements: two orders of magnitude slower.
        stream.set_nodelay(true)?;
        watch(&stream)?;
        match tls {
            None => Ok(Box::new(stream) as Box<dyn Wire>),
            Some(tls) => {
                let connector = TlsConnector::from(tls.config.clone());
                Ok(Box::new(connector.connect(tls.server_name.clone(), stream).await?) as Box<dyn Wire>)
            }
        }
    })
    .await
    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn watch(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}
