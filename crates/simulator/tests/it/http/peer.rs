//! The other side: a client that writes octets, and a service that is called back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klaroen_simulator::{Account, CallbackUrls, Contract, HttpConfig, HttpFaults, HttpProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No test waits longer for anything; with the paused clock of most that takes no time.
const PATIENCE: Duration = Duration::from_mins(1);

/// A provider whose account is `user` and `secret`.
pub fn config(contract: Contract, faults: HttpFaults) -> HttpConfig {
    let account = Account { user: Some("user".into()), secret: Some("secret".into()) };
    HttpConfig { account, faults, ..HttpConfig::new(contract) }
}

pub async fn provider(contract: Contract, faults: HttpFaults) -> HttpProvider {
    HttpProvider::start(config(contract, faults)).await.unwrap()
}

/// The same with a service that it calls back.
pub async fn called(contract: Contract, faults: HttpFaults) -> (HttpProvider, Service) {
    let service = Service::start().await;
    let config = HttpConfig { callbacks: service.urls(), ..config(contract, faults) };
    (HttpProvider::start(config).await.unwrap(), service)
}

/// The answer on a connection until it was closed, or was silent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Lower-case names, without `date`.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Writes a request and reads all there is until the provider closes; `None` if it closes without a word.
pub async fn exchange(provider: &HttpProvider, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(provider.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut octets = Vec::new();
    // A reset ends it just as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut octets)).await.expect("an answer or an end");
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers =
        headers.filter(|(name, _)| *name != "date").map(|(name, value)| (name.into(), value.into()));
    Some(Answer { status, headers: headers.collect(), body: body.into() })
}

/// A request with its length; the connection ends after its answer.
pub fn request(line: &str, headers: &[&str], body: &str) -> String {
    let headers = headers.iter().fold(String::new(), |all, header| all + header + "\r\n");
    format!(
        "{line} HTTP/1.1\r\nhost: there\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A submit under the plain contract.
pub fn submit(number: &str, reference: &str) -> String {
    let body = format!(r#"{{"from":"1000","to":"+{number}","text":"Let op","reference":"{reference}"}}"#);
    request("POST /messages", &["authorization: Bearer secret"], &body)
}

pub fn number(i: u32) -> String {
    format!("3161{i:07}")
}

/// A callback as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Method and target.
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Callback {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A service that is called back: it keeps what came, and answers 200 or what it was told to.
pub struct Service {
    addr: std::net::SocketAddr,
    seen: watch::Receiver<Vec<Callback>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, seen) = watch::channel(Vec::new());
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let task = tokio::spawn({
            let answers = Arc::clone(&answers);
            async move {
                let mut connections = tokio::task::JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(answer_all(stream, sender.clone(), Arc::clone(&answers)));
                }
            }
        });
        Self { addr, seen, answers, task }
    }

    pub fn urls(&self) -> CallbackUrls {
        CallbackUrls {
            receipts: Some(format!("http://{}/token/dlr", self.addr)),
            inbound: Some(format!("http://{}/token/mo", self.addr)),
        }
    }

    /// Sets the answers to the next callbacks, in turn.
    pub fn answer(&self, answers: &[(u16, &'static str)]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// Waits for that many callbacks, and gives all there are.
    pub async fn callbacks(&self, count: usize) -> Vec<Callback> {
        let mut seen = self.seen.clone();
        let waited = timeout(PATIENCE, seen.wait_for(|seen| seen.len() >= count)).await;
        waited.unwrap_or_else(|_| panic!("{count} callbacks, not {}", self.so_far().len())).unwrap().clone()
    }

    pub fn so_far(&self) -> Vec<Callback> {
        self.seen.borrow().clone()
    }
}

async fn answer_all(
    mut stream: TcpStream,
    seen: watch::Sender<Vec<Callback>>,
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
) {
    let mut octets = Vec::new();
    loop {
        let Some((callback, used)) = whole(&octets) else {
            match stream.read_buf(&mut octets).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        octets.drain(..used);
        seen.send_modify(|seen| seen.push(callback));
        let (status, body) = answers.lock().unwrap().pop_front().unwrap_or((200, ""));
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The first request, and how many octets it takes, once it is all there.
fn whole(octets: &[u8]) -> Option<(Callback, usize)> {
    let text = std::str::from_utf8(octets).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse::<usize>().unwrap());
    let body = rest.get(..length)?.to_owned();
    Some((Callback { line, headers, body }, head.len() + 4 + length))
}
