//! `/v1/alerts/{id}/events`: counts and replies as they change, as Server-Sent Events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use klaroen_domain::alert::AlertState;
use klaroen_domain::id::{AlertId, OrganisationId, ReplyId};
use klaroen_store::PageRequest;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::alert_view::{Alert, Message, ReplyCounts};
use super::replies::Reply;
use super::{alerts, schemas};
use crate::app::App;
use crate::authentication::Caller;
use crate::problem::Problem;
use crate::request::fields::path_id;

/// Often enough to watch the counts run, seldom enough for hundreds of watchers.
const POLL: Duration = Duration::from_millis(400);
/// Some proxies cut what is silent for 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After this a client comes back and proves anew that its key works.
const POLLS_MAX: u32 = 9_000;
/// Replies that one look asks for.
const REPLIES_AT_ONCE: u16 = 100;

/// The data of an event `counts`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CountsEvent {
    /// Where the alert stands.
    #[schema(schema_with = schemas::alert_state)]
    pub state: AlertState,
    /// Its messages with their counts.
    pub messages: Vec<Message>,
    /// How many replies.
    pub replies: ReplyCounts,
}

/// Watch an alert
///
/// An event `counts` whenever a number changes, and an event `reply` for each reply, those that are there already first.
/// The id of an event `reply` is the reply's: a client that comes back with it in `Last-Event-ID` gets what it missed.
/// The stream ends after an hour, or when the service stops: come back.
#[utoipa::path(get, path = "/v1/alerts/{id}/events", tag = "alerts", operation_id = "watch_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event `reply` that was seen")),
    responses((status = 200, description = "Events `counts` (data: CountsEvent) and `reply` (data: Reply)",
               body = String, content_type = "text/event-stream")))]
pub(crate) async fn stream(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    let alert = path_id(&id, "alert")?;
    let organisation = caller.organisation();
    alerts::find(&app.store, organisation, alert).await?;
    let seen = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let permit = app.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::try_later(StatusCode::SERVICE_UNAVAILABLE, 5, "too many event streams are open")
    })?;
    let watch = Watch::new(app, organisation, alert, seen, permit);
    Ok(Sse::new(events(watch)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client that watches one alert.
struct Watch {
    app: App,
    organisation: OrganisationId,
    alert: AlertId,
    shown: Option<CountsEvent>,
    replies: Replies,
    waiting: VecDeque<Event>,
    polls: u32,
    _permit: OwnedSemaphorePermit,
}

/// How far the replies were read: the page that was last asked for, and how many of it were taken.
struct Replies {
    cursor: Option<String>,
    taken: usize,
    known: u64,
    /// Everything up to this one was seen by the client before.
    seen: Option<ReplyId>,
}

fn events(watch: Watch) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(watch, |mut watch| async move {
        loop {
            if let Some(event) = watch.waiting.pop_front() {
                return Some((Ok(event), watch));
            }
            if watch.polls > 0 {
                tokio::select! {
                    () = watch.app.closing.cancelled() => return None,
                    () = tokio::time::sleep(POLL) => {}
                }
            }
            watch.polls += 1;
            if watch.polls > POLLS_MAX {
                return None;
            }
            if let Err(problem) = watch.look().await {
                // The client comes back by itself, and hears then what is wrong.
                tracing::warn!(status = problem.status, "an event stream ended");
                return None;
            }
        }
    })
}

impl Watch {
    fn new(
        app: App,
        organisation: OrganisationId,
        alert: AlertId,
        seen: Option<ReplyId>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let replies = Replies { cursor: None, taken: 0, known: 0, seen };
        let waiting = VecDeque::new();
        Self { app, organisation, alert, shown: None, replies, waiting, polls: 0, _permit: permit }
    }

    /// Asks the database once and lines up what is new.
    async fn look(&mut self) -> Result<(), Problem> {
        let Alert { state, messages, replies, .. } =
            alerts::find(&self.app.store, self.organisation, self.alert).await?;
        let counts = CountsEvent { state, messages, replies };
        if self.shown.as_ref() != Some(&counts) {
            self.waiting.push_back(event("counts", &counts)?);
            self.shown = Some(counts);
        }
        if replies.total != self.replies.known {
            self.look_at_replies().await?;
        }
        Ok(())
    }

    /// Reads one page on; the rest comes with the next look, so that what waits in memory is bounded.
    async fn look_at_replies(&mut self) -> Result<(), Problem> {
        let request = PageRequest { limit: REPLIES_AT_ONCE, cursor: self.replies.cursor.clone() };
        let page = self.app.store.list_replies(self.organisation, self.alert, &request).await?;
        let page = page.ok_or_else(|| Problem::not_found("alert"))?;
        let fresh = page.items.into_iter().skip(self.replies.taken);
        for reply in fresh {
            self.replies.taken += 1;
            self.replies.known += 1;
            // Ids are made in the order of arrival (UUIDv7).
            if self.replies.seen.is_none_or(|seen| reply.id > seen) {
                let id = reply.id.to_string();
                self.waiting.push_back(event("reply", &Reply::from(reply))?.id(id));
            }
        }
        if let Some(next) = page.next_cursor {
            self.replies.cursor = Some(next);
            self.replies.taken = 0;
        }
        Ok(())
    }
}

fn event(name: &str, data: &impl Serialize) -> Result<Event, Problem> {
    Event::default().event(name).json_data(data).map_err(|error| {
        tracing::error!(%error, "an event cannot be written");
        Problem::internal()
    })
}
