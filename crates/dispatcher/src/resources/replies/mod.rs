//! Replies: what participants sent back. Phone numbers are masked.

pub(crate) mod http;

use klaroen_domain::id::{AlertId, ParticipantId, ReplyId};
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::reads::Read;
use klaroen_store::replies::{ReplyState, ReplyView};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::caller::Caller;
use crate::problem::Problem;
use crate::request::fields::{Node, Report};
use crate::request::query::List;
use crate::request::words::REPLY_STATES;
use crate::resources::schemas;
use crate::state::App;

/// An SMS from a participant.
#[derive(Serialize, ToSchema)]
pub struct Reply {
    /// The id of the reply.
    #[schema(schema_with = schemas::id)]
    pub id: ReplyId,
    /// The alert that the reply belongs to. `null` if there is none.
    #[schema(schema_with = schemas::id_or_null)]
    pub alert_id: Option<AlertId>,
    /// The participant who sent it. `null` if the sender is not a participant any more.
    #[schema(schema_with = schemas::id_or_null)]
    pub participant_id: Option<ParticipantId>,
    /// The sender's number, masked.
    pub phone: Option<String>,
    /// The text.
    pub text: String,
    /// Whether the reply came after the alert was closed.
    pub after_end: bool,
    /// The state that the reply was marked with.
    #[schema(schema_with = schemas::reply_state)]
    pub state: ReplyState,
    /// Whether the reply was useful. `null` until an operator says so.
    pub useful: Option<bool>,
    /// When the reply was received.
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

/// A mark for a reply. At least one member must be present. If a member is absent, it stays as it is.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MarkRequest {
    /// The state of the reply.
    #[schema(schema_with = schemas::reply_state)]
    pub state: Option<String>,
    /// Whether the reply was useful.
    pub useful: Option<bool>,
}

/// A mark for a reply, read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The state, if given.
    pub state: Option<ReplyState>,
    /// Whether the reply was useful, if given.
    pub useful: Option<bool>,
}

/// Reads a [`MarkRequest`].
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_mark(document: &Value) -> Result<Mark, Problem> {
    let report = Report::default();
    let root = Node::root(document, &report);
    let read = root.object().and_then(|mut members| {
        let state = members.read_optional("state", |n| read_state(&n));
        let useful = members.read_optional("useful", |n| n.boolean());
        members.finish();
        let (state, useful) = (state?, useful?);
        if state.is_none() && useful.is_none() {
            return root.wrong("give state, useful or both");
        }
        Some(Mark { state, useful })
    });
    report.finish(read)
}

/// One page of the replies to an alert, oldest first. That it was read is in the audit log before it is returned.
///
/// # Errors
/// 404 if the organisation has no such alert, 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    alert: AlertId,
    page: &PageRequest,
) -> Result<List<Reply>, Problem> {
    let page = app.store.list_replies(caller.organisation(), alert, page).await?;
    let page = page.ok_or_else(|| Problem::not_found("alert"))?;
    let read = Read::Replies { alert, count: page.items.len() };
    app.store.audit_read(caller.organisation(), caller.actor(), &read, app.now()).await?;
    Ok(List::from_page(page, Reply::from))
}

/// Marks a reply.
///
/// # Errors
/// 404 if the organisation has no such reply, 503 if the database is not available.
pub async fn mark(app: &App, caller: &Caller, reply: ReplyId, mark: Mark) -> Result<Reply, Problem> {
    let (organisation, Mark { state, useful }) = (caller.organisation(), mark);
    let marked = app.store.mark_reply(organisation, reply, state, useful, caller.actor(), app.now()).await?;
    marked.map(Reply::from).ok_or_else(|| Problem::not_found("reply"))
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
    use serde_json::json;

    use super::*;

    fn marked(value: &Value) -> Result<(Option<ReplyState>, Option<bool>), Vec<String>> {
        let mark =
            read_mark(value).map_err(|p| p.errors.into_iter().map(|e| e.pointer).collect::<Vec<_>>())?;
        Ok((mark.state, mark.useful))
    }

    #[test]
    fn a_mark_says_something() {
        assert_eq!(marked(&json!({"state": "handled"})), Ok((Some(ReplyState::Handled), None)));
        assert_eq!(marked(&json!({"useful": false})), Ok((None, Some(false))));
        assert_eq!(marked(&json!({})), Err(vec![String::new()]));
        assert_eq!(
            marked(&json!({"state": "gone", "useful": "yes"})),
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
