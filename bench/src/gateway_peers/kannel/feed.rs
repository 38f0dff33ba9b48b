//! Messages for Kannel: `GET /cgi-bin/sendsms`, one after the other on connections that stay open.

use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::PASSWORD;
use crate::dataset;
use crate::processes::smsc;

/// Enough to keep `smsbox` busy; more made it no faster.
const CONNECTIONS: u32 = 32;
/// A server may close a connection that it kept open; the request is sent again then.
const RECONNECTS_MAX: u32 = 3;
const ANSWER_BYTES_MAX: usize = 4_096;

/// The address to which messages go, and the address to which their receipts shall go.
#[derive(Clone, Copy, Debug)]
pub struct Feed {
    pub to: SocketAddr,
    pub receipts: SocketAddr,
}

impl Feed {
    /// Sends so many, each to a number of its own. Every one was accepted when this returns; one whose connection
    /// was closed may have been accepted twice.
    pub async fn send(self, messages: u32) -> Result<()> {
        let next = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS.min(messages) {
            let next = Arc::clone(&next);
            tasks.spawn(async move {
                let mut connection = self.connect().await?;
                let mut reconnects = RECONNECTS_MAX;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        return anyhow::Ok(());
                    }
                    let answer = loop {
                        match ask(&mut connection, &self.request(number)).await {
                            Ok(answer) => break answer,
                            Err(failure) if reconnects == 0 => return Err(failure),
                            Err(_) => reconnects -= 1,
                        }
                        connection = self.connect().await?;
                    };
                    // 202: taken and queued, or sent on.
                    if !answer.starts_with("HTTP/1.1 202") {
                        let line = answer.lines().next().unwrap_or_default().to_owned();
                        bail!("Kannel answers {line}");
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.context("Kannel")??;
        }
        Ok(())
    }

    async fn connect(self) -> Result<TcpStream> {
        let connection = TcpStream::connect(self.to).await.context("Kannel")?;
        connection.set_nodelay(true)?;
        Ok(connection)
    }

    fn request(self, number: u32) -> String {
        let text = encoded(dataset::text());
        let receipts = encoded(&format!("http://{}/?state=%d", self.receipts));
        // 3: a receipt when it was delivered, and when it was not.
        format!(
            "GET /cgi-bin/sendsms?username=bench&password={PASSWORD}&from={}&to={}&text={text}&dlr-mask=3&dlr-url={receipts} \
             HTTP/1.1\r\nHost: {}\r\n\r\n",
            smsc::SENDER,
            dataset::phone(number),
            self.to,
        )
    }
}

/// Percent-encoding of all but letters and digits (RFC 3986 §2.1).
fn encoded(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}

async fn ask(connection: &mut TcpStream, request: &str) -> Result<String> {
    connection.write_all(request.as_bytes()).await.context("Kannel")?;
    read_answer(connection).await
}

/// Reads one whole answer, so that the connection is ready for the next request.
async fn read_answer(connection: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        if connection.read_buf(&mut bytes).await.context("Kannel")? == 0 {
            bail!("Kannel closed a connection");
        }
        let text = String::from_utf8_lossy(&bytes);
        if is_whole(&text) {
            return Ok(text.into_owned());
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            bail!("Kannel's answer has no end");
        }
    }
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let head = "HTTP/1.1 202 Accepted\r\ncontent-length: 3\r\n\r\n";
        assert!(!is_whole(&head[..20]) && !is_whole(head) && !is_whole(&format!("{head}ab")));
        assert!(is_whole(&format!("{head}abc")));
    }

    #[test]
    fn a_request_is_one_line_of_ascii_and_names_the_receiver() {
        let feed = Feed { to: ([127, 0, 0, 1], 1).into(), receipts: ([127, 0, 0, 1], 2).into() };
        let request = feed.request(7);
        assert!(request.is_ascii() && request.ends_with("\r\n\r\n"));
        let line = request.lines().next().unwrap();
        assert_eq!(line.split(' ').count(), 3, "{line}");
        assert!(line.contains("&to=31611000007&") && line.contains("%3A2%2F%3Fstate%3D%25d"), "{line}");
    }
}
