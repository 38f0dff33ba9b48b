//! Stands between a provider and the service: it passes callbacks on, byte by byte, or keeps them for a test to send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A callback as the provider made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Without those of the connection.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// The answer of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: String,
}

/// The public address of the service.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    service: SocketAddr,
    holds: AtomicBool,
    recorded: Mutex<Vec<Recorded>>,
}

impl Relay {
    pub fn start(listener: TcpListener, service: SocketAddr) -> Self {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { service, holds: AtomicBool::new(false), recorded: Mutex::default() });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move { state.relay(stream).await });
            }
        });
        Self { address, state, accepting }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on nothing is passed on.
    pub fn hold(&self) {
        self.state.holds.store(true, Ordering::SeqCst);
    }

    /// Callbacks of one kind, in the order in which they came.
    pub fn recorded(&self, kind: &str) -> Vec<Recorded> {
        let path = |recorded: &&Recorded| recorded.target.split('?').next().unwrap().ends_with(kind);
        self.state.recorded.lock().unwrap().iter().filter(path).cloned().collect()
    }

    /// Calls the service.
    pub async fn send(&self, request: &Recorded) -> Said {
        said(&exchange(self.state.service, request).await)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    async fn relay(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream).await else { return };
        self.recorded.lock().unwrap().push(request.clone());
        if !self.holds.load(Ordering::SeqCst) {
            let answer = exchange(self.service, &request).await;
            // A provider that does not wait is no failure of the relay.
            let _ = stream.write_all(&answer).await;
        }
    }
}

/// One request; `None` if the connection ends before.
async fn read(stream: &mut TcpStream) -> Option<Recorded> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut body = bytes.split_off(end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (method, target) = (first.next()?, first.next()?);
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers: Vec<_> =
        headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let of_connection = ["host", "content-length", "connection", "transfer-encoding"];
    let headers = headers.into_iter().filter(|(name, _)| !of_connection.contains(&name.as_str())).collect();
    Some(Recorded { method, target, headers, body })
}

/// Under a host that is not the public one: nothing may depend on what a request says of itself.
async fn exchange(service: SocketAddr, request: &Recorded) -> Vec<u8> {
    let mut text = format!(
        "{} {} HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\ncontent-length: {}\r\n",
        request.method,
        request.target,
        request.body.len()
    );
    for (name, value) in &request.headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    let mut stream = TcpStream::connect(service).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.write_all(&request.body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

fn said(answer: &[u8]) -> Said {
    let text = String::from_utf8(answer.to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    let content_type = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    Said {
        status,
        content_type: content_type.map(|(_, value)| value.trim().to_owned()),
        body: body.to_owned(),
    }
}
