//! A provider on 127.0.0.1 that says what it is told to say, and keeps what it was told.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The reply to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A whole answer.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes, and then the end of the connection.
    Bytes(Vec<u8>),
    /// A header, and then a byte now and then without end.
    Drip,
    /// Nothing, with the connection open.
    Silence,
    /// The end of the connection, before the request was read.
    HangUp,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::Answer(status, vec![("content-type", "application/json".to_owned())], body.as_bytes().to_vec())
    }

    pub(crate) fn html(status: u16) -> Self {
        let page = "<html><body><h1>Something</h1></body></html>";
        Self::Answer(status, vec![("content-type", "text/html".to_owned())], page.into())
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name, value.into()));
        }
        self
    }
}

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug, Default)]
struct State {
    replies: VecDeque<Reply>,
    seen: Vec<Seen>,
    connections: usize,
    unexpected: usize,
}

/// The provider. A test that does not [`Provider::finish`] it fails: replies that nobody asked for would go unseen.
pub(crate) struct Provider {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    finished: bool,
}

impl Drop for Provider {
    fn drop(&mut self) {
        assert!(self.finished || std::thread::panicking(), "a provider that nobody finished");
    }
}

impl Provider {
    /// One that gives these replies, in this order.
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(replies, None).await
    }

    /// One behind TLS.
    pub(crate) async fn start_tls(replies: impl IntoIterator<Item = Reply>, tls: TlsAcceptor) -> Self {
        let mut provider = Self::start_with(replies, Some(tls)).await;
        provider.url = provider.url.replace("http://", "https://");
        provider
    }

    async fn start_with(replies: impl IntoIterator<Item = Reply>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { replies: replies.into_iter().collect(), ..State::default() };
        let (state, stop, tasks) =
            (Arc::new(Mutex::new(state)), CancellationToken::new(), TaskTracker::new());
        let provider = Self {
            url,
            state: Arc::clone(&state),
            stop: stop.clone(),
            tasks: tasks.clone(),
            finished: false,
        };
        tasks.clone().spawn(async move {
            while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
                let (state, stop, tls) = (Arc::clone(&state), stop.clone(), tls.clone());
                state.lock().unwrap().connections += 1;
                let serving = async move {
                    match tls {
                        None => serve(stream, state).await,
                        // A client that does not trust the certificate is what some tests are about.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, state).await;
                            }
                        }
                    }
                };
                tasks.spawn(async move { stop.run_until_cancelled(serving).await });
            }
        });
        provider
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Returns the requests that it saw. A reply that was not asked for, and a request without a reply, fail the test.
    pub(crate) async fn finish(mut self) -> Vec<Seen> {
        self.finished = true;
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(Duration::from_secs(10), self.tasks.wait()).await.expect("it ends");
        let state = self.state.lock().unwrap();
        assert!(state.replies.is_empty(), "replies that nobody asked for: {:?}", state.replies);
        assert_eq!(state.unexpected, 0, "requests beyond those that were expected");
        state.seen.clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, state: Arc<Mutex<State>>) {
    let mut buffer = Vec::new();
    loop {
        if matches!(state.lock().unwrap().replies.front(), Some(Reply::HangUp)) {
            state.lock().unwrap().replies.pop_front();
            return;
        }
        let Some(seen) = read(&mut stream, &mut buffer).await else { return };
        let reply = {
            let mut state = state.lock().unwrap();
            state.seen.push(seen);
            let reply = state.replies.pop_front();
            state.unexpected += usize::from(reply.is_none());
            reply
        };
        // A client that has gone away is what some tests are about.
        let written = match reply {
            Some(Reply::Answer(status, headers, body)) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    write!(head, "{name}: {value}\r\n").unwrap();
                }
                head += "\r\n";
                stream.write_all(&[head.as_bytes(), &body].concat()).await
            }
            Some(Reply::Bytes(bytes)) => {
                let _gone = stream.write_all(&bytes).await;
                return;
            }
            Some(Reply::Drip) => {
                let _gone = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                return;
            }
            Some(Reply::Silence) => std::future::pending().await,
            Some(Reply::HangUp) | None => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// One request; `None` at the end of the connection.
async fn read(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<Seen> {
    let head = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break buffer.drain(..end + 4).collect::<Vec<u8>>();
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let (method, rest) = lines.next()?.split_once(' ')?;
    let target = rest.split_once(' ')?.0.to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    let body = buffer.drain(..length).collect();
    Some(Seen { method: method.to_owned(), target, headers, body })
}

async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    stream.read_buf(buffer).await.ok().filter(|count| *count > 0).map(|_| ())
}
