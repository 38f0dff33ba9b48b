//! Listens: an accept loop of its own, because the limits that keep slow and idle clients from holding everything
//! (header deadline from the first moment, connections at most) are set here.

mod write_timeout;

pub(crate) mod router;

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::HOST;
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::problem::Problem;
use crate::request::peer::Peer;
use crate::server::write_timeout::WriteTimeout;
use crate::settings::DispatcherSettings;
use crate::state::concurrency_limit::ConcurrencyLimit;
use crate::state::{App, Dispatcher};

/// From the moment a connection opens (or its last answer was sent) until a whole head of a request must be there.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection of a client that takes nothing of its response for this long is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The time that running requests have to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Waits after an accept that failed: too many open files pass when a connection closes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The largest head of a request.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers in a request at most.
const HEADERS_MAX: usize = 64;

/// The reason why serving ended other than requested.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Requests were cut off at shutdown, because they took longer than they get.
    #[error("{open} connections were cut off at shutdown")]
    CutOff {
        /// Number of connections.
        open: usize,
    },
}

/// Serves the API until `shutdown`, then lets requests under way finish.
///
/// # Errors
/// [`ServeError::CutOff`] if requests were cut off at shutdown.
pub async fn serve(
    listener: TcpListener,
    dispatcher: Dispatcher,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let settings = Arc::clone(&dispatcher.settings);
    let router = router::build(App::new(dispatcher, shutdown.clone()));
    serve_router(listener, router, &settings, shutdown).await
}

/// Serves `/livez`, `/readyz` and `/metrics` and nothing else until `shutdown`, for a worker without a dispatcher.
///
/// # Errors
/// [`ServeError::CutOff`] if requests were cut off at shutdown.
pub async fn serve_operations(
    listener: TcpListener,
    dispatcher: Dispatcher,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let settings = Arc::clone(&dispatcher.settings);
    let router = router::operations(App::new(dispatcher, shutdown.clone()));
    serve_router(listener, router, &settings, shutdown).await
}

async fn serve_router(
    listener: TcpListener,
    router: Router,
    settings: &DispatcherSettings,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let router = router.layer(from_fn(require_one_host));
    let connections_max = settings.connections_max.max(1);
    let permits = Arc::new(Semaphore::new(usize::try_from(connections_max).unwrap_or(usize::MAX >> 4)));
    let peers = ConcurrencyLimit::new(settings.connections_max_per_peer);
    let mut connections = JoinSet::new();
    loop {
        // Beyond the limit clients wait in the kernel's queue rather than in our memory.
        let permit = tokio::select! {
            () = shutdown.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let place = match counted(peer).map(|peer| peers.acquire(peer)) {
            None => None,
            Some(Some(place)) => Some(place),
            // Closed unheard: to answer, a request would have to be read first.
            Some(None) => continue,
        };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        connections.spawn(async move {
            converse(stream, Peer(peer), router, shutdown).await;
            drop((permit, place));
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    drain(connections).await
}

async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, IpAddr)> {
    let (stream, peer) = listener.accept().await?;
    // An answer is one small write: Nagle would hold it back for the client's delayed acknowledgement.
    stream.set_nodelay(true)?;
    Ok((stream, peer.ip()))
}

/// Under which address a peer's connections are counted; `None` where they are not. A reverse proxy on the same machine
/// speaks for everybody, and limits its own clients. In IPv6 a client has a whole network of 64 bits to itself.
fn counted(peer: IpAddr) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if peer.is_loopback() {
        return None;
    }
    Some(match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(peer) => Ipv6Addr::from_bits(peer.to_bits() & !u128::from(u64::MAX)).into(),
    })
}

async fn converse(stream: TcpStream, peer: Peer, router: Router, shutdown: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let stream = TokioIo::new(WriteTimeout::new(stream, WRITE_TIMEOUT));
    let service = router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let connection = builder.serve_connection(stream, TowerToHyperService::new(service));
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended with an error");
    }
}

/// A request says once which host it is for (RFC 9112 §3.2): a proxy and this server must not understand two different ones.
/// HTTP/1.0 knows no hosts.
async fn require_one_host(request: axum::extract::Request, next: Next) -> Response {
    let hosts = request.headers().get_all(HOST).iter().count();
    let is_said = hosts == 1 || hosts == 0 && request.version() == Version::HTTP_10;
    if is_said {
        return next.run(request).await;
    }
    let detail = format!("the header Host is there {hosts} times; it must be there once (RFC 9112 §3.2)");
    Problem::new(StatusCode::BAD_REQUEST, detail).into_response()
}

async fn drain(mut connections: JoinSet<()>) -> Result<(), ServeError> {
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_ok() {
        return Ok(());
    }
    let open = connections.len();
    connections.shutdown().await;
    Err(ServeError::CutOff { open })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::tests::fixture::dispatcher;

    async fn served(
        connections_max: u32,
    ) -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<Result<(), ServeError>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let (mut dispatcher, directory) = dispatcher().await;
        Arc::make_mut(&mut dispatcher.settings).connections_max = connections_max;
        let server = serve(listener, dispatcher, shutdown.clone());
        let server = tokio::spawn(async move {
            let ended = server.await;
            drop(directory);
            ended
        });
        (address, shutdown, server)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; 4_096];
        let read = stream.read(&mut bytes).await.unwrap();
        String::from_utf8_lossy(&bytes[..read]).into_owned()
    }

    #[tokio::test]
    async fn idle_clients_do_not_hold_up_the_others_or_the_shutdown() {
        let (address, shutdown, server) = served(100).await;
        let mut idle = Vec::new();
        for _ in 0..50 {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let text = answer(&mut client).await;
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        assert!(!text.to_lowercase().contains("\r\nserver:"), "{text}");
        shutdown.cancel();
        assert!(server.await.unwrap().is_ok());
        assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "the connection was closed");
    }

    #[tokio::test]
    async fn a_request_names_one_host() {
        let (address, _shutdown, _server) = served(100).await;
        for (head, status) in [
            ("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 OK"),
            ("GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK"),
            ("GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 400 Bad Request"),
            ("GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", "HTTP/1.1 400 Bad Request"),
            ("GET /livez HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", "HTTP/1.0 400 Bad Request"),
        ] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(head.as_bytes()).await.unwrap();
            let text = answer(&mut client).await;
            assert!(text.starts_with(status), "{head}: {text}");
        }
    }

    #[tokio::test]
    async fn a_head_that_never_comes_is_given_up_even_before_its_first_byte() {
        let (address, _shutdown, _server) = served(100).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let mut kept = TcpStream::connect(address).await.unwrap();
        kept.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 OK"));
        // From here on time passes as soon as all tasks wait.
        tokio::time::pause();
        for stream in [&mut silent, &mut slow, &mut kept] {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answers_does_not_keep_its_connection() {
        let (address, _shutdown, _server) = served(1).await;
        let mut unread = TcpStream::connect(address).await.unwrap();
        // Far more than the kernel holds for both ends.
        let wanted = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
        unread.write_all(&wanted).await.unwrap();
        unread.readable().await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        next.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // From here on time passes as soon as all tasks wait.
        tokio::time::pause();
        let text = tokio::time::timeout(Duration::from_mins(10), answer(&mut next)).await;
        assert!(text.unwrap().starts_with("HTTP/1.1 200 OK"));
    }

    #[test]
    fn peers_are_counted_by_what_one_client_has() {
        let counted = |peer: &str| counted(peer.parse().unwrap()).map(|counted| counted.to_string());
        for (peer, as_what) in [
            ("192.0.2.7", Some("192.0.2.7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("2001:db8:1:2:3:4:5:6", Some("2001:db8:1:2::")),
            ("127.0.0.1", None),
            ("::1", None),
        ] {
            assert_eq!(counted(peer).as_deref(), as_what, "{peer}");
        }
    }
}
