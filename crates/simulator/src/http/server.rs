//! Connections: requests are read whole and handed to the state; answers go as the state says.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::control;
use crate::http::handler::{Handled, Outcome};
use crate::http::state::ProviderState;
use crate::http::wire::{self, Reply};

/// Connections at a time; beyond it a new one is closed at once.
const CONNECTIONS_MAX: usize = 1_000;
/// Octets of a request: a thousand recipients of CM fit eight times.
const BODY_MAX: usize = 1024 * 1024;
/// How long a request that gets no answer is kept waiting.
const SILENCE: Duration = Duration::from_mins(10);
/// Between two attempts to accept a connection where the machine has no room for one.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts connections until `stop`; then they drop without a word.
pub(crate) async fn serve(listener: TcpListener, state: Arc<ProviderState>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => admit(stream, &state, &stop, &tasks),
            Err(error) => {
                tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

fn admit(stream: TcpStream, state: &Arc<ProviderState>, stop: &CancellationToken, tasks: &TaskTracker) {
    state.count(|stats| stats.connections += 1);
    if tasks.len() >= CONNECTIONS_MAX {
        tracing::warn!(limit = CONNECTIONS_MAX, "a connection too many was closed");
        return;
    }
    let (state, stop) = (Arc::clone(state), stop.clone());
    if stream.set_nodelay(true).is_err() {
        return;
    }
    tasks.spawn(async move {
        let service = service_fn(move |request| answer(Arc::clone(&state), request));
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Some(Err(_)) = stop.run_until_cancelled(connection).await {
            tracing::debug!("a connection ended with an error");
        }
    });
}

/// The connection is to drop without an answer.
#[derive(Debug, thiserror::Error)]
#[error("dropped")]
struct Dropped;

async fn answer(state: Arc<ProviderState>, request: Request<Incoming>) -> Result<Response<Answer>, Dropped> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return Ok(response(Reply::text(413, ""), false));
    };
    let body = body.to_bytes();
    let request = wire::Request {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        headers: &head.headers,
        body: &body,
    };
    let mut handled = match control::handle(&state, &request) {
        Some(reply) => Handled::now(reply),
        None => state.handle(&request),
    };
    handled.wait().await;
    match handled.outcome {
        Outcome::Reply(reply) => Ok(response(reply, false)),
        Outcome::Cut(reply) => Ok(response(reply, true)),
        Outcome::Close => Err(Dropped),
        Outcome::Silence => {
            // A client that gives up ends this sooner.
            tokio::time::sleep(SILENCE).await;
            Err(Dropped)
        }
    }
}

fn response(reply: Reply, cut: bool) -> Response<Answer> {
    let length = u64::try_from(reply.body.len()).unwrap_or(u64::MAX);
    let mut data = Bytes::from(reply.body);
    if cut {
        data.truncate(data.len() / 2);
    }
    let mut response = Response::new(Answer { data: Some(data), length, cut, written: false });
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(reply.content_type));
    if let Some(seconds) = reply.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The body of an answer, which may break off.
struct Answer {
    data: Option<Bytes>,
    /// The promised length.
    length: u64,
    cut: bool,
    written: bool,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Dropped;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Dropped>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if !self.cut {
            return Poll::Ready(None);
        }
        if self.written {
            return Poll::Ready(Some(Err(Dropped)));
        }
        // The buffer is written when nothing more is ready, and thrown away at an error.
        self.written = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && !self.cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
