//! Receipts and inbound SMS, by the contract of each provider. They are not in the description of the API, because body,
//! signature and response are defined by the provider, which is the only caller.

use std::net::IpAddr;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use klaroen_gateway::{CallbackAnswer, CallbackError, CallbackKind, Callbacks, GatewayEvent, RawCallback};
use klaroen_store::StoreError;
use klaroen_store::callbacks::{CallbackStored, IncomingCallback};
use klaroen_store::receipts::IncomingReceipt;
use klaroen_store::replies::IncomingReply;

use crate::problem::Problem;
use crate::request::body;
use crate::request::peer::Peer;
use crate::state::App;

/// The methods that a provider may use. `HEAD` would be a `GET` with an effect and without its answer.
const ALLOW: &str = "GET, POST";
/// Metrics have no label that a caller can make.
const NO_GATEWAY: &str = "none";
/// A STOP that cannot be acknowledged yet comes again after this number of seconds.
const RETRY_AFTER_S: u64 = 5;
/// Above the 5 seconds that a STOP waits and the time that a commit takes; providers give up after 5 to 30.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// The reason why a callback has no effect.
enum Refusal {
    Callback(CallbackError),
    Problem(&'static str, Problem),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Problem(if error.is_retryable() { "unavailable" } else { "failed" }, error.into())
    }
}

impl Refusal {
    const fn result(&self) -> &'static str {
        match self {
            Self::Callback(CallbackError::NotSupported) => "not_supported",
            Self::Callback(CallbackError::Token) => "token",
            Self::Callback(CallbackError::Address) => "address",
            Self::Callback(CallbackError::Signature) => "signature",
            Self::Callback(CallbackError::Expired) => "expired",
            Self::Callback(CallbackError::TooLarge) => "too_large",
            Self::Callback(CallbackError::Malformed(_)) => "malformed",
            Self::Problem(result, _) => result,
        }
    }

    fn into_problem(self) -> Problem {
        match self {
            Self::Problem(_, problem) => problem,
            Self::Callback(error) => match StatusCode::from_u16(error.status()) {
                // The same as for an unknown path, so that a caller without the token learns nothing.
                Ok(StatusCode::NOT_FOUND) | Err(_) => Problem::not_found("path"),
                Ok(status) => Problem::new(status, error.to_string()),
            },
        }
    }
}

/// Receipts. Behind no key and no limit of requests: a receipt that is thrown away is one that the provider may not repeat.
pub(crate) async fn receipts(
    State(app): State<App>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    receive(&app, peer, CallbackKind::Receipts, "receipts", request).await
}

/// Inbound SMS, under the same conditions as receipts.
pub(crate) async fn inbound(
    State(app): State<App>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Response {
    receive(&app, peer, CallbackKind::Inbound, "inbound", request).await
}

async fn receive(
    app: &App,
    peer: IpAddr,
    kind: CallbackKind,
    word: &'static str,
    request: Request,
) -> Response {
    if request.method() == Method::HEAD {
        return Problem::method_not_allowed(ALLOW.to_owned()).into_response();
    }
    // As they stand in the path: neither has a character that would be escaped.
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').skip(3);
    let (name, token) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    let known = app.callbacks.find(name);
    let outcome = match known {
        None => Err(Refusal::Callback(CallbackError::Token)),
        Some((name, callbacks)) => {
            let call = Call { app, name, callbacks, token, kind, peer };
            let in_time = tokio::time::timeout(STORE_TIMEOUT, call.take(request));
            in_time.await.unwrap_or_else(|_| Err(later("slow", "the callback took too long")))
        }
    };
    let gateway = known.map_or(NO_GATEWAY, |(name, _)| name.as_str()).to_owned();
    let result = outcome.as_ref().map_or_else(Refusal::result, |(result, _)| result);
    metrics::counter!("klaroen_callbacks_total", "gateway" => gateway.clone(), "kind" => word, "result" => result)
        .increment(1);
    match outcome {
        Ok((_, answer)) => answered(answer),
        Err(refusal) => {
            tracing::warn!(gateway, kind = word, result, "callback refused");
            refusal.into_problem().into_response()
        }
    }
}

/// A callback on its way.
struct Call<'a> {
    app: &'a App,
    name: &'a str,
    callbacks: &'a Callbacks,
    token: &'a str,
    kind: CallbackKind,
    peer: IpAddr,
}

impl Call<'_> {
    /// Gives what became of it, in a word, and what to say.
    async fn take(&self, request: Request) -> Result<(&'static str, CallbackAnswer), Refusal> {
        self.callbacks.admit(self.token, self.peer).map_err(Refusal::Callback)?;
        let (parts, body) = request.into_parts();
        let body = body::read_bytes(body, self.callbacks.bytes_max()).await;
        let body = body.map_err(|problem| {
            Refusal::Problem(if problem.status == 413 { "too_large" } else { "broken_off" }, problem)
        })?;
        let received_at = self.app.now();
        let headers = readable(&parts.headers);
        let raw = RawCallback {
            kind: self.kind,
            method: parts.method.as_str(),
            path_and_query: parts.uri.path_and_query().map_or("", |both| both.as_str()),
            token: self.token,
            peer: self.peer,
            headers: &headers,
            body: &body,
            received_at,
        };
        let verified = self.callbacks.parse(&raw).map_err(Refusal::Callback)?;
        if verified.unreadable > 0 {
            tracing::error!(
                gateway = self.name,
                entries = verified.unreadable,
                "unreadable entries of a callback are lost"
            );
            metrics::counter!("klaroen_callback_entries_unreadable_total", "gateway" => self.name.to_owned())
                .increment(verified.unreadable as u64);
        }
        let (mut receipts, mut replies) = (Vec::new(), Vec::new());
        for event in verified.events {
            match event {
                GatewayEvent::Receipt(receipt) => {
                    receipts.push(IncomingReceipt::of(receipt, self.app.store.keys(), received_at));
                }
                GatewayEvent::Inbound(sms) => {
                    replies.push(IncomingReply::of(self.name, sms, self.app.settings.country));
                }
                // Only connections have these.
                GatewayEvent::LateAnswer { .. } => {}
            }
        }
        let callback = IncomingCallback {
            gateway: self.name,
            replay_key: verified.replay_key.as_deref(),
            receipts: &receipts,
            replies: &replies,
            received_at,
        };
        let result = self.store(&callback).await?;
        Ok((result, verified.answer))
    }

    async fn store(&self, callback: &IncomingCallback<'_>) -> Result<&'static str, Refusal> {
        let stored = self.app.store.store_callback(callback, self.app.callbacks.texts()).await?;
        let result = match stored {
            CallbackStored::Replayed => "replayed",
            CallbackStored::Stored { receipts, replies } => {
                for (result, count) in [("joined", receipts.joined), ("parked", receipts.parked)] {
                    metrics::counter!("klaroen_receipts_total", "gateway" => self.name.to_owned(), "result" => result)
                        .increment(count);
                }
                for reply in &replies {
                    metrics::counter!("klaroen_replies_total", "kind" => reply.as_str()).increment(1);
                }
                if replies.iter().any(|reply| reply.may_be_answered()) {
                    self.app.wake.notify_waiters();
                }
                "stored"
            }
        };
        // A repeated STOP is checked again: the first one may have been answered with "send it again".
        for phone in callback.replies.iter().filter_map(IncomingReply::stops) {
            if !self.app.store.settles_for(phone).await? {
                return Err(later("under_way", "a message to this number is being sent"));
            }
        }
        Ok(result)
    }
}

fn later(result: &'static str, detail: &str) -> Refusal {
    Refusal::Problem(result, Problem::try_later(StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER_S, detail))
}

/// Header names in lower case (the library has them so), and values that are text.
fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&header::HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), std::str::from_utf8(value.as_bytes()).ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// In the words of the provider's contract.
fn answered(answer: CallbackAnswer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, answer.body.into_owned()).into_response();
    let headers = response.headers_mut();
    // The library names one of its own for a text, and an empty answer has none.
    headers.remove(header::CONTENT_TYPE);
    if let Some(Ok(media_type)) = answer.content_type.map(|media_type| HeaderValue::from_str(&media_type)) {
        headers.insert(header::CONTENT_TYPE, media_type);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use klaroen_domain::role::Role;
    use serde_json::Value;

    use super::*;
    use crate::tests::fixture::{Answer, Fixture, TOKEN};

    const ALLOWED: &str = "192.0.2.7";
    const STOP: &str = "id=1&ts=1795449600&sender=%2B31612345678&to=1000&message=STOP";

    async fn call(fixture: &Fixture, method: &str, path: &str, peer: &str) -> Answer {
        call_with(fixture, method, path, peer, Body::empty()).await
    }

    async fn call_with(fixture: &Fixture, method: &str, path: &str, peer: &str, body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        fixture.send(request).await
    }

    #[tokio::test]
    async fn who_may_not_call_hears_what_a_path_that_is_not_there_says() {
        let fixture = Fixture::new().await;
        let inbound = |gateway: &str, token: &str| format!("/v1/gateways/{gateway}/{token}/inbound?{STOP}");
        let nowhere = call(&fixture, "GET", "/v1/gateways/x/y/elsewhere", ALLOWED).await;
        assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
        for (path, peer) in [
            (inbound("kannel", "token-0123456789-abcdeF"), ALLOWED),
            (inbound("kannel", "%FF"), ALLOWED),
            (inbound("other", TOKEN), ALLOWED),
            // It takes no callbacks.
            (inbound("dry", TOKEN), ALLOWED),
            (inbound("kannel", TOKEN), "198.51.100.7"),
        ] {
            let answer = call(&fixture, "GET", &path, peer).await;
            assert_eq!((answer.status, &answer.text), (nowhere.status, &nowhere.text), "{path} from {peer}");
        }
        // A key of the API is none for a provider, and no key is asked for.
        let mapped = call(&fixture, "GET", &inbound("kannel", TOKEN), "::ffff:192.0.2.7").await;
        assert_eq!((mapped.status, mapped.text.as_str()), (StatusCode::OK, ""));
    }

    #[tokio::test]
    async fn only_get_and_post_are_taken_and_only_so_much() {
        let fixture = Fixture::new().await;
        let path = format!("/v1/gateways/kannel/{TOKEN}/inbound?{STOP}");
        for method in ["HEAD", "PUT", "DELETE"] {
            let answer = call(&fixture, method, &path, ALLOWED).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert_eq!(answer.headers[header::ALLOW], ALLOW, "{method}");
        }
        let large = Body::from(vec![b'a'; 2 * 1024 * 1024]);
        let answer = call_with(&fixture, "POST", &path, ALLOWED, large).await;
        assert_eq!(answer.pointers(413), Vec::<String>::new());
        fixture.enrol(1).await;
        let found = fixture.get(Role::Admin, "/v1/participants").await.json();
        assert_eq!(found["items"][0]["opted_out"], false);
    }

    #[tokio::test]
    async fn a_stop_is_done_when_it_is_answered_and_wakes_the_worker() {
        let fixture = Fixture::new().await;
        fixture.enrol(1).await;
        let stop = STOP.replace("31612345678", "31610000000");
        let path = format!("/v1/gateways/kannel/{TOKEN}/inbound?{stop}");
        let woken = fixture.wake.notified();
        let answer = call(&fixture, "GET", &path, ALLOWED).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        woken.await;
        let found = fixture.get(Role::Admin, "/v1/participants").await.json();
        assert_eq!(found["items"][0]["opted_out"], true);
    }

    #[tokio::test]
    async fn while_the_database_is_away_the_provider_is_to_come_again() {
        let fixture = Fixture::new().await;
        fixture.store.close().await;
        let path = format!("/v1/gateways/kannel/{TOKEN}/receipts?d=000000000000002a&status=1");
        let answer = call(&fixture, "GET", &path, ALLOWED).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        assert!(answer.headers.contains_key(header::RETRY_AFTER));
        assert!(!answer.text.contains(TOKEN), "{}", answer.text);
    }

    #[test]
    fn they_are_not_in_the_description_of_the_api() {
        let document: Value = serde_json::to_value(crate::openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert!(!paths.keys().any(|path| path.contains("{token}")));
    }
}
