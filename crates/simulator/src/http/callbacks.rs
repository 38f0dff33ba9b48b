//! Calling back: the callbacks of one message one after the other, those of different messages side by side, repeated
//! as the contract has it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::contracts::contract::{Inbound, Report};
use crate::http::state::ProviderState;
use crate::http::state::job::{Event, Job};
use crate::http::wire::Callback;

/// Octets of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Works off the calls until the future is dropped; those on their way are among `tasks`, and end at `stop`.
pub(crate) async fn run(state: Arc<ProviderState>, tasks: TaskTracker, stop: CancellationToken) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build(connector);
    let window = Arc::new(Semaphore::new(state.config.callback_window.max(1)));
    loop {
        let Ok(permit) = Arc::clone(&window).acquire_owned().await else { return };
        let mut job = state.callbacks.due().await;
        gather(&state, &mut job);
        let (state, client, stop) = (Arc::clone(&state), client.clone(), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(work(&state, &client, job)).await;
            drop(permit);
        });
    }
}

/// Puts the receipts of other messages that are due to those of a job, where one call can carry several.
fn gather(state: &ProviderState, job: &mut Job) {
    while job.is_fresh() && job.events.len() < state.traits.together {
        match state.callbacks.try_due() {
            Some(next) if next.is_fresh() => job.absorb(next),
            Some(other) => return state.callbacks.push(Instant::now(), other),
            None => return,
        }
    }
}

/// Makes the calls of a job until one fails; that one is put back for later.
async fn work(state: &ProviderState, client: &HttpClient, mut job: Job) {
    while !job.events.is_empty() {
        let count = job.first_call(state.traits.together);
        let Some(callback) = make(state, job.events.iter().take(count)) else {
            job.events.drain(..count);
            continue;
        };
        state.count(|stats| stats.callbacks += 1);
        let answer = call(state, client, callback).await;
        let status = answer.as_ref().map(|(status, _)| *status);
        if let Some(answered) = job.answered.take() {
            // The asker may have gone.
            let _ = answered.send(status);
        }
        job.attempts += 1;
        if status.is_some_and(|status| (200..=299).contains(&status)) {
            state.count(|stats| stats.callbacks_acknowledged += 1);
            if let (Some(Event::Inbound(inbound)), Some((_, body))) = (job.events.front(), &answer) {
                speak(state, inbound, body);
            }
        } else {
            state.count(|stats| stats.callbacks_failed += 1);
            if let Some(minutes) = (state.traits.repeat)(job.attempts) {
                // Nobody waits for a repetition.
                job.done.clear();
                let wait = Duration::from_millis(state.config.minute_ms.saturating_mul(minutes));
                state.callbacks.push(Instant::now() + wait, job);
                return;
            }
            state.count(|stats| stats.callbacks_dropped += 1);
        }
        job.attempts = 0;
        job.events.drain(..count);
    }
    for done in job.done {
        // The waiter may have gone.
        let _ = done.send(());
    }
}

/// Made anew for each attempt: signatures have a time in them.
fn make<'a>(state: &ProviderState, events: impl Iterator<Item = &'a Event>) -> Option<Callback> {
    let mut reports = Vec::new();
    for event in events {
        match event {
            Event::Receipt { sms, stage, done_ms } => {
                reports.push(Report { sms, stage: *stage, done_ms: *done_ms });
            }
            Event::Inbound(inbound) => {
                return state.with_context(|context| state.wire.inbound(inbound, context));
            }
        }
    }
    state.with_context(|context| state.wire.receipts(&reports, context))
}

/// The status and the body of the answer; `None` if none came in time.
async fn call(state: &ProviderState, client: &HttpClient, callback: Callback) -> Option<(u16, Bytes)> {
    let mut request = Request::builder().method(callback.method).uri(&callback.url);
    for (name, value) in &callback.headers {
        request = request.header(*name, value);
    }
    let Ok(request) = request.body(Full::new(Bytes::from(callback.body))) else {
        tracing::warn!("a callback URL is no URL");
        return None;
    };
    let exchange = async {
        let answer = client.request(request).await.ok()?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.ok()?;
        Some((status, body.to_bytes()))
    };
    let (status, body) =
        timeout(Duration::from_millis(state.config.callback_timeout_ms), exchange).await.ok()??;
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        tracing::debug!(status = status.as_u16(), "a callback was not let in");
    }
    Some((status.as_u16(), body))
}

/// Sends the text of an answer to the handset, if the contract does that.
fn speak(state: &ProviderState, inbound: &Inbound, answer: &[u8]) {
    if let Some(text) = state.wire.spoken(answer) {
        state.count(|stats| stats.texts_in_answers += 1);
        state.ring_with(&inbound.from, &inbound.to, &text, None, Instant::now());
    }
}
