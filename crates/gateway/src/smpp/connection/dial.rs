//! Opens the TCP connection: without delay, watched by the kernel, in TLS where the configuration says so.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::smpp::config::SmppConfig;
use crate::smpp::tls::Tls;

/// A name server that does not answer in this time is down.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// An address that does not answer a SYN and a handshake in this time is down. The next one has the same time: a dead address
/// before a good one must not keep us out.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A pulled cable shows within 20 s: 4 s of silence, then a probe each 2 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(4);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 8;
/// The same for data that is not acknowledged, which silences the probes.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

/// A byte stream to the SMSC.
pub(in crate::smpp) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Connects.
///
/// # Errors
/// Returns an error of DNS, TCP or TLS alike: nothing was sent that an SMSC would understand.
pub(in crate::smpp) async fn dial(config: &SmppConfig, tls: Option<&Tls>) -> io::Result<Box<dyn Wire>> {
    let lookup = tokio::net::lookup_host((config.host.as_str(), config.port));
    let addresses: Vec<_> = within(LOOKUP_TIMEOUT, lookup).await?.take(ADDRESSES_MAX).collect();
    first_of(addresses, |address| open(address, tls)).await
}

/// The first address that opens, each tried for its own time; the error of the last where none does.
async fn first_of<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    mut open: impl FnMut(SocketAddr) -> F,
) -> io::Result<T> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match within(ADDRESS_TIMEOUT, open(address)).await {
            Ok(opened) => return Ok(opened),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn open(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Box<dyn Wire>> {
    let stream = TcpStream::connect(address).await?;
    // With Nagle's algorithm a window of small PDUs waits for acknowledgements: two orders of magnitude slower.
    stream.set_nodelay(true)?;
    watch(&stream)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => {
            let connector = TlsConnector::from(tls.config.clone());
            Ok(Box::new(connector.connect(tls.server_name.clone(), stream).await?))
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_addresses_do_not_keep_the_next_one_from_its_turn() {
        let opened = first_of(addresses(&[1, 2, 3, 4]), |address| async move {
            match address.port() {
                4 => Ok("in"),
                3 => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => std::future::pending().await,
            }
        });
        assert_eq!(opened.await.unwrap(), "in");
    }

    #[tokio::test(start_paused = true)]
    async fn where_none_opens_the_last_error_is_told() {
        let opened = first_of(addresses(&[1, 2]), |address| async move {
            if address.port() == 1 {
                std::future::pending().await
            } else {
                Err::<(), _>(io::ErrorKind::ConnectionRefused.into())
            }
        });
        assert_eq!(opened.await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(
            first_of(vec![], |_| std::future::ready(Ok(()))).await.unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
