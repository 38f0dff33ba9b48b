//! Who is told of receipts: answers every request with 200 and counts it.

use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const REQUEST_END: &[u8] = b"\r\n\r\n";
/// A client that sends more without an end is none of ours.
const REQUEST_BYTES_MAX: usize = 8_192;

/// A running receiver. It ends when it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    count: Arc<AtomicU64>,
    _serving: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Starts one on a free port of 127.0.0.1.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen for receipts")?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicU64::new(0));
        let serving = tokio::spawn(serve(listener, Arc::clone(&count)));
        Ok(Self { address, count, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Requests so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// The tasks end with the set, and the set with the receiver.
async fn serve(listener: TcpListener, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(answer(stream, Arc::clone(&count)));
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(mut stream: TcpStream, count: Arc<AtomicU64>) {
    let mut bytes = Vec::with_capacity(1_024);
    while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) && bytes.len() < REQUEST_BYTES_MAX {
        while let Some(end) = bytes.windows(REQUEST_END.len()).position(|window| window == REQUEST_END) {
            bytes.drain(..end + REQUEST_END.len());
            count.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_request_of_a_connection_is_answered_and_counted() {
        let receiver = Receiver::start().await.unwrap();
        let mut stream = TcpStream::connect(receiver.address).await.unwrap();
        let request = b"GET /?state=1 HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(&[&request[..], &request[..], &request[..10]].concat()).await.unwrap();
        let mut answers = vec![0; 2 * ANSWER.len()];
        stream.read_exact(&mut answers).await.unwrap();
        assert_eq!(answers, [ANSWER, ANSWER].concat());
        assert_eq!(receiver.count(), 2);
        stream.write_all(&request[10..]).await.unwrap();
        stream.read_exact(&mut answers[..ANSWER.len()]).await.unwrap();
        assert_eq!(receiver.count(), 3);
    }
}
