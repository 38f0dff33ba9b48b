//! Calling back: the callbacks of one message one after the other, those of different messages side by side, repeated
//! as the contract has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::contract::{Inbound, Report};
use super::desk::Desk;
use super::message::{Sms, Stage};
use super::wire::Callback;

/// Octets of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// What is called back.
pub(crate) enum Event {
    Receipt { sms: Arc<Sms>, stage: Stage, done_ms: i64 },
    Inbound(Arc<Inbound>),
}

/// The callbacks of one message, or of several whose receipts can go in one call.
pub(crate) struct Job {
    events: VecDeque<Event>,
    /// How often the first one was tried.
    attempts: u32,
    /// Told when the first attempt at every one was answered; who waits sees the end where they are dropped.
    done: Vec<oneshot::Sender<()>>,
    /// Told the status of the first answer, or `None` where there was none.
    answered: Option<oneshot::Sender<Option<u16>>>,
}

impl Job {
    pub(crate) fn new(events: impl IntoIterator<Item = Event>, done: Option<oneshot::Sender<()>>) -> Self {
        Self { events: events.into_iter().collect(), attempts: 0, done: Vec::from_iter(done), answered: None }
    }

    /// With somebody who wants to know the status of the first answer.
    pub(crate) fn told(mut self, answered: oneshot::Sender<Option<u16>>) -> Self {
        self.answered = Some(answered);
        self
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether it is only receipts that were not tried yet.
    fn is_fresh(&self) -> bool {
        self.attempts == 0 && self.events.iter().all(|event| matches!(event, Event::Receipt { .. }))
    }

    fn absorb(&mut self, other: Self) {
        self.events.extend(other.events);
        self.done.extend(other.done);
    }

    /// How many of the first events go in one call: receipts for one URL, up to `together`.
    fn first_call(&self, together: usize) -> usize {
        let url = |event: &Event| match event {
            Event::Receipt { sms, .. } => Some(sms.message.receipt_url.clone()),
            Event::Inbound(_) => None,
        };
        let Some(first) = self.events.front().and_then(url) else { return 1 };
        self.events.iter().take(together).take_while(|event| url(event).as_ref() == Some(&first)).count()
    }
}

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Works off the calls until the future is dropped; those on their way are among `tasks`, and end at `stop`.
pub(crate) async fn run(desk: Arc<Desk>, tasks: TaskTracker, stop: CancellationToken) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: HttpClient = Client::builder(TokioExecutor::new()).build(connector);
    let window = Arc::new(Semaphore::new(desk.config.callback_window.max(1)));
    loop {
        let Ok(permit) = Arc::clone(&window).acquire_owned().await else { return };
        let mut job = desk.calls.due().await;
        gather(&desk, &mut job);
        let (desk, client, stop) = (Arc::clone(&desk), client.clone(), stop.clone());
        tasks.spawn(async move {
            stop.run_until_cancelled(work(&desk, &client, job)).await;
            drop(permit);
        });
    }
}

/// Puts the receipts of other messages that are due to those of a job, where one call can carry several.
fn gather(desk: &Desk, job: &mut Job) {
    while job.is_fresh() && job.events.len() < desk.traits.together {
        match desk.calls.try_due() {
            Some(next) if next.is_fresh() => job.absorb(next),
            Some(other) => return desk.calls.push(Instant::now(), other),
            None => return,
        }
    }
}

/// Makes the calls of a job until one fails; that one is put back for later.
async fn work(desk: &Desk, client: &HttpClient, mut job: Job) {
    while !job.events.is_empty() {
        let count = job.first_call(desk.traits.together);
        let Some(callback) = make(desk, job.events.iter().take(count)) else {
            job.events.drain(..count);
            continue;
        };
        desk.count(|stats| stats.callbacks += 1);
        let answer = call(desk, client, callback).await;
        let status = answer.as_ref().map(|(status, _)| *status);
        if let Some(answered) = job.answered.take() {
            // Whoever asked may have gone.
            let _ = answered.send(status);
        }
        job.attempts += 1;
        if status.is_some_and(|status| (200..=299).contains(&status)) {
            desk.count(|stats| stats.callbacks_acknowledged += 1);
            if let (Some(Event::Inbound(inbound)), Some((_, body))) = (job.events.front(), &answer) {
                speak(desk, inbound, body);
            }
        } else {
            desk.count(|stats| stats.callbacks_failed += 1);
            if let Some(minutes) = (desk.traits.repeat)(job.attempts) {
                // Nobody waits for a repetition.
                job.done.clear();
                let wait = Duration::from_millis(desk.config.minute_ms.saturating_mul(minutes));
                desk.calls.push(Instant::now() + wait, job);
                return;
            }
            desk.count(|stats| stats.callbacks_dropped += 1);
        }
        job.attempts = 0;
        job.events.drain(..count);
    }
    for done in job.done {
        // Whoever waited may have gone.
        let _ = done.send(());
    }
}

/// Made anew for each attempt: signatures have a time in them.
fn make<'a>(desk: &Desk, events: impl Iterator<Item = &'a Event>) -> Option<Callback> {
    let mut reports = Vec::new();
    for event in events {
        match event {
            Event::Receipt { sms, stage, done_ms } => {
                reports.push(Report { sms, stage: *stage, done_ms: *done_ms });
            }
            Event::Inbound(inbound) => {
                return desk.with_context(|context| desk.wire.inbound(inbound, context));
            }
        }
    }
    desk.with_context(|context| desk.wire.receipts(&reports, context))
}

/// The status and the body of the answer; `None` where none came in time.
async fn call(desk: &Desk, client: &HttpClient, callback: Callback) -> Option<(u16, Bytes)> {
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
        timeout(Duration::from_millis(desk.config.callback_timeout_ms), exchange).await.ok()??;
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        tracing::debug!(status = status.as_u16(), "a callback was not let in");
    }
    Some((status.as_u16(), body))
}

/// What an answer says is sent to the handset, as the contract has it.
fn speak(desk: &Desk, inbound: &Inbound, answer: &[u8]) {
    if let Some(text) = desk.wire.spoken(answer) {
        desk.count(|stats| stats.texts_in_answers += 1);
        desk.ring_with(&inbound.from, &inbound.to, &text, None, Instant::now());
    }
}
