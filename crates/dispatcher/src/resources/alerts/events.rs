//! `/v1/alerts/{id}/events`: counts and replies as they change, as Server-Sent Events.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, stream};
use klaroen_domain::id::{AlertId, OrganisationId, ReplyId};
use klaroen_store::PageRequest;
use klaroen_store::reads::Read;
use serde::Serialize;

use crate::auth::authentication::authenticate;
use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::fields::path_id;
use crate::resources::alerts::find::find;
use crate::resources::alerts::view::{Alert, CountsEvent};
use crate::resources::replies::Reply;
use crate::state::App;
use crate::state::single_flight::Flight;
use crate::state::streams::StreamPlace;

/// Often enough to watch the counts run, seldom enough for hundreds of watchers.
const POLL: Duration = Duration::from_millis(400);
/// Some proxies cut what is silent for 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Looks between two checks whether the key still works: a revoked one sees nothing more after five seconds.
const POLLS_PER_CHECK: u32 = 12;
/// After this a client comes back.
const POLLS_MAX: u32 = 9_000;
/// Replies that one look asks for.
const REPLIES_AT_ONCE: u16 = 100;

/// Watch an alert
///
/// The stream has an event `counts` whenever a number changes, and an event `reply` for each reply. Present replies
/// come first. The id of an event `reply` is the id of the reply. A client that sends it as `Last-Event-ID` gets the
/// replies that came after it. The stream ends after an hour, when the service stops, and when the key no longer works.
/// The client then connects again. A key may have 8 streams open, an organisation 64.
#[utoipa::path(get, path = "/v1/alerts/{id}/events", tag = "alerts", operation_id = "watch_alert",
    params(("id" = uuid::Uuid, Path, description = "The alert"),
           ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event `reply` that the client received")),
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
    find(&app, organisation, alert).await?;
    let seen = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let place = app.streams.take(organisation, caller.key());
    let place = place.map_err(|full| Problem::try_later(StatusCode::SERVICE_UNAVAILABLE, 5, full))?;
    let read = Read::RepliesAsTheyCome(alert);
    app.store.audit_read(organisation, caller.actor(), &read, app.now()).await?;
    let watch = Watch::new(app, headers, organisation, alert, seen, place);
    Ok(Sse::new(events(watch)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client that watches one alert.
struct Watch {
    app: App,
    /// With the key, to ask again whether it works.
    headers: HeaderMap,
    organisation: OrganisationId,
    alert: AlertId,
    /// Shared with all who watch the same alert.
    flight: Arc<Flight<CountsEvent>>,
    shown: Option<CountsEvent>,
    replies: Replies,
    waiting: VecDeque<Event>,
    polls: u32,
    _place: StreamPlace,
}

/// The position in the replies: the last page that was read, and the replies that were sent or seen before.
struct Replies {
    cursor: Option<String>,
    known: HashSet<ReplyId>,
    /// The list was read to its end once.
    again: bool,
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
            if let Err(problem) = watch.check_and_look().await {
                // The client comes back by itself, and hears then what is wrong.
                tracing::warn!(status = problem.status, "event stream ended early; the client can come back");
                return None;
            }
        }
    })
}

impl Watch {
    fn new(
        app: App,
        headers: HeaderMap,
        organisation: OrganisationId,
        alert: AlertId,
        seen: Option<ReplyId>,
        place: StreamPlace,
    ) -> Self {
        let replies = Replies { cursor: None, known: HashSet::new(), again: false, seen };
        let waiting = VecDeque::new();
        let flight = app.alert_counts.share((organisation, alert));
        Self {
            app,
            headers,
            organisation,
            alert,
            flight,
            shown: None,
            replies,
            waiting,
            polls: 0,
            _place: place,
        }
    }

    /// Looks, after a check now and then whether the key still works.
    async fn check_and_look(&mut self) -> Result<(), Problem> {
        if self.polls.is_multiple_of(POLLS_PER_CHECK) {
            authenticate(&self.app, &self.headers).await?;
        }
        self.look().await
    }

    /// Looks at the counts and lines up what is new.
    async fn look(&mut self) -> Result<(), Problem> {
        let (app, organisation, alert) = (&self.app, self.organisation, self.alert);
        let counts = self.flight.get_or_fetch(|| counts(app, organisation, alert)).await?;
        let replies = counts.replies;
        if self.shown.as_ref() != Some(&counts) {
            self.waiting.push_back(event("counts", &counts)?);
            self.shown = Some(counts);
        }
        if replies.total != self.replies.known.len() as u64 {
            self.look_at_replies().await?;
        }
        Ok(())
    }

    /// Reads one page on; the rest comes with the next look, so that what waits in memory is bounded.
    async fn look_at_replies(&mut self) -> Result<(), Problem> {
        let request = PageRequest { limit: REPLIES_AT_ONCE, cursor: self.replies.cursor.clone() };
        let page = self.app.store.list_replies(self.organisation, self.alert, None, &request).await?;
        let page = page.ok_or_else(|| Problem::not_found("alert"))?;
        let mut fresh = false;
        for reply in page.items {
            if !self.replies.known.insert(reply.id) {
                continue;
            }
            fresh = true;
            // Ids are made in the order of arrival (UUIDv7). An older one that was not there in the first reading was given to
            // the alert since then.
            if self.replies.again || self.replies.seen.is_none_or(|seen| reply.id > seen) {
                let id = reply.id.to_string();
                self.waiting.push_back(event("reply", &Reply::from(reply))?.id(id));
            }
        }
        if let Some(next) = page.next_cursor {
            self.replies.cursor = Some(next);
        } else if !fresh {
            // The missing one stands before this page.
            self.replies.cursor = None;
            self.replies.again = true;
        }
        Ok(())
    }
}

async fn counts(app: &App, organisation: OrganisationId, alert: AlertId) -> Result<CountsEvent, Problem> {
    let Alert { state, messages, replies, .. } = find(app, organisation, alert).await?;
    Ok(CountsEvent { state, messages, replies })
}

fn event(name: &str, data: &impl Serialize) -> Result<Event, Problem> {
    Event::default().event(name).json_data(data).map_err(|error| {
        tracing::error!(%error, "could not write an event");
        Problem::internal()
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use klaroen_domain::role::Role;
    use klaroen_store::Actor;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::tests::fixture::{NOW, dispatcher};
    use klaroen_store::keys::USUAL_LIFE;

    #[tokio::test]
    async fn a_key_that_is_revoked_sees_nothing_more() {
        let (dispatcher, _directory) = dispatcher().await;
        let store = dispatcher.store.clone();
        let organisation = store.create_organisation("utrecht", "Utrecht", NOW).await.unwrap().unwrap().id;
        let key = store
            .create_key(Some(organisation), Role::Operator, "desk", NOW.plus(USUAL_LIFE), Actor::System, NOW)
            .await
            .unwrap();
        let app = App::new(dispatcher, CancellationToken::new());
        let bearer = HeaderValue::from_str(&format!("Bearer {}", key.token)).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, bearer)]);
        let place = app.streams.take(organisation, key.key.id).unwrap();
        // No such alert: a look that is allowed finds nothing.
        let mut watch = Watch::new(app, headers, organisation, AlertId::generate(), None, place);
        watch.polls = POLLS_PER_CHECK;
        assert_eq!(watch.check_and_look().await.unwrap_err().status, 404);
        assert!(store.revoke_key(Some(organisation), key.key.id, Actor::System, NOW).await.unwrap());
        assert_eq!(watch.check_and_look().await.unwrap_err().status, 401);
        watch.polls += 1;
        assert_eq!(watch.check_and_look().await.unwrap_err().status, 404, "not asked at every look");
    }
}
