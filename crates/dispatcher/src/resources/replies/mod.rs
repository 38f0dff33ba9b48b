//! Replies: what participants sent back. Phone numbers are masked.

use axum::Json;
use axum::extract::{Path, State};
use klaroen_domain::id::{AlertId, ParticipantId, ReplyId};
use klaroen_domain::time::Timestamp;
use klaroen_store::replies::{ReplyState, ReplyView};
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::body::JsonBody;
use crate::request::fields::{Node, Report, path_id};
use crate::request::query::{List, PageParameters, Parameters, page_only};
use crate::request::words::REPLY_STATES;
use crate::resources::schemas;
use crate::state::App;

/// An SMS from a participant.
#[derive(Serialize, ToSchema)]
pub struct Reply {
    /// Its id.
    #[schema(schema_with = schemas::id)]
    pub id: ReplyId,
    /// The alert.
    #[schema(schema_with = schemas::id_or_null)]
    pub alert_id: Option<AlertId>,
    /// Who.
    #[schema(schema_with = schemas::id_or_null)]
    pub participant_id: Option<ParticipantId>,
    /// The sender, masked.
    pub phone: Option<String>,
    /// The text.
    pub text: String,
    /// Came after the alert was closed.
    pub after_end: bool,
    /// How it was marked.
    #[schema(schema_with = schemas::reply_state)]
    pub state: ReplyState,
    /// Whether it helped; `null` until somebody says.
    pub useful: Option<bool>,
    /// When it came.
    #[schema(schema_with = schemas::time)]
    pub received_at: Timestamp,
}

impl From<ReplyView> for Reply {
    fn from(view: ReplyView) -> Self {
        Self {
            id: view.id,
            alert_id: view.alert,
            participant_id: view.participant,
            phone: view.phone.map(|phone| phone.to_string()),
            text: view.text,
            after_end: view.after_end,
            state: view.state,
            useful: view.useful,
            received_at: view.received_at,
        }
    }
}

/// How a reply is to be marked; a member that is missing stays as it is, and one must be there.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// How far it was handled.
    #[schema(schema_with = schemas::reply_state)]
    pub state: Option<String>,
    /// Whether it helped.
    pub useful: Option<bool>,
}

/// The replies to an alert, oldest first
#[utoipa::path(get, path = "/v1/alerts/{id}/replies", tag = "replies", operation_id = "list_replies",
    params(("id" = uuid::Uuid, Path, description = "The alert"), PageParameters),
    responses((status = 200, description = "A page", body = List<Reply>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Result<Json<List<Reply>>, Problem> {
    let alert = path_id(&id, "alert")?;
    let page = app.store.list_replies(caller.organisation(), alert, &page_only(&parameters)?).await?;
    let page = page.ok_or_else(|| Problem::not_found("alert"))?;
    Ok(Json(List::from_page(page, Reply::from)))
}

/// Mark a reply
#[utoipa::path(patch, path = "/v1/replies/{id}", tag = "replies", operation_id = "mark_reply",
    params(("id" = uuid::Uuid, Path, description = "The reply")),
    request_body = MarkRequest,
    responses((status = 200, description = "The reply", body = Reply)))]
pub(crate) async fn mark(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    body: JsonBody,
) -> Result<Json<Reply>, Problem> {
    let reply = path_id(&id, "reply")?;
    let (state, useful) = read_mark(&body)?;
    let marked =
        app.store.mark_reply(caller.organisation(), reply, state, useful, caller.actor(), app.now()).await?;
    let marked = marked.ok_or_else(|| Problem::not_found("reply"))?;
    Ok(Json(marked.into()))
}

fn read_mark(body: &JsonBody) -> Result<(Option<ReplyState>, Option<bool>), Problem> {
    let report = Report::default();
    let root = Node::root(&body.value, &report);
    let read = root.object().and_then(|mut members| {
        let state = members.read_optional("state", |n| read_state(&n));
        let useful = members.read_optional("useful", |n| n.boolean());
        members.finish();
        let mark = (state?, useful?);
        if mark == (None, None) { root.wrong("give state, useful or both") } else { Some(mark) }
    });
    report.finish(read)
}

fn read_state(node: &Node<'_>) -> Option<ReplyState> {
    match node.value().as_str() {
        Some("new") => Some(ReplyState::New),
        Some("read") => Some(ReplyState::Read),
        Some("handled") => Some(ReplyState::Handled),
        _ => node.wrong(format!("must be one of: {}", REPLY_STATES.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn marked(value: Value) -> Result<(Option<ReplyState>, Option<bool>), Vec<String>> {
        let body = JsonBody { bytes: axum::body::Bytes::new(), value };
        read_mark(&body).map_err(|p| p.errors.into_iter().map(|e| e.pointer).collect())
    }

    #[test]
    fn a_mark_says_something() {
        assert_eq!(marked(json!({"state": "handled"})), Ok((Some(ReplyState::Handled), None)));
        assert_eq!(marked(json!({"useful": false})), Ok((None, Some(false))));
        assert_eq!(marked(json!({})), Err(vec![String::new()]));
        assert_eq!(
            marked(json!({"state": "gone", "useful": "yes"})),
            Err(vec!["/state".into(), "/useful".into()])
        );
    }

    #[test]
    fn the_words_are_those_of_the_store() {
        for (word, state) in REPLY_STATES.iter().zip([ReplyState::New, ReplyState::Read, ReplyState::Handled])
        {
            assert_eq!(serde_json::to_value(state).unwrap(), *word);
        }
    }
}
