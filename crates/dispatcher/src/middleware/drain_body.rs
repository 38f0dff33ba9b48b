//! Lets a refusal arrive. A client that is refused while it is still sending (413, or 401 for a long file) would find the
//! connection reset when the server closes it with bytes unread, and see a broken pipe instead of the reason
//! (RFC 9112 §9.6). So what it still sends is read and thrown away first, within limits.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The bytes that a client may still send: four times the largest body that is kept in memory, so that the reason arrives.
const UNREAD_BYTES_MAX: usize = 4 * crate::request::body::AREAS_BYTES_MAX;
/// So long it may take: a client that is slower holds a connection for nothing.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of a request, which can be read on after the handler dropped it.
#[derive(Clone)]
struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    fn with<T>(&self, look: impl FnOnce(&mut Body) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HttpBody for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.with(|body| Pin::new(body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.with(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.with(|body| body.size_hint())
    }
}

/// Reads what is left of a request's body before its refusal is sent.
pub async fn drain_refused(request: Request, next: Next) -> Response {
    // A client that sends `Expect` (RFC 9110 §10.1.1) has not sent its body yet. Reading would tell it to go ahead.
    let asks_first = request.headers().contains_key(header::EXPECT);
    if asks_first || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = SharedBody(Arc::new(Mutex::new(body)));
    let response = next.run(Request::from_parts(parts, Body::new(body.clone()))).await;
    if (response.status().is_client_error() || response.status().is_server_error())
        && tokio::time::timeout(UNREAD_TIMEOUT, drain(body)).await.is_err()
    {
        tracing::debug!("body of a refused request was not read to its end");
    }
    response
}

async fn drain(mut body: SharedBody) {
    let mut read = 0;
    while let Some(Ok(frame)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
    {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > UNREAD_BYTES_MAX {
            return;
        }
    }
}
