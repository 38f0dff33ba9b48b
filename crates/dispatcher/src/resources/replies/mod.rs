//! Replies: what participants sent back. Phone numbers are masked.

pub(crate) mod http;

use klaroen_domain::id::{AlertId, ParticipantId, ReplyId};
use klaroen_domain::time::Timestamp;
use klaroen_store::PageRequest;
use klaroen_store::reads::Read;
use klaroen_store::replies::{Marked, ReplyKind, ReplyMark, ReplyState, ReplyView};
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

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
    /// `message`: somebody wrote it. `reaction`: a phone wrote it, because its owner reacted to a message with a thumb, a heart
    /// or another emoji. A reaction begins in state `read`, so that it is not counted as new.
    #[schema(schema_with = schemas::reply_kind)]
    pub kind: ReplyKind,
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
            kind: view.kind,
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
    /// The alert that the reply is given to. Only a reply that belongs to no alert can be given to one.
    #[schema(schema_with = schemas::id)]
    pub alert_id: Option<String>,
}

/// The filter of the list of replies.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReplyFilter {
    /// `true`: only replies that belong to no alert.
    #[param(default = false)]
    pub unattributed: Option<bool>,
    /// Only replies of this kind.
    #[param(schema_with = schemas::reply_kind)]
    pub kind: Option<String>,
}

/// The filter of the list of the replies to an alert.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReplyKindFilter {
    /// Only replies of this kind.
    #[param(schema_with = schemas::reply_kind)]
    pub kind: Option<String>,
}

/// Reads a [`MarkRequest`].
///
/// # Errors
/// 422 with everything that is wrong.
pub fn read_mark(document: &Value) -> Result<ReplyMark, Problem> {
    let report = Report::default();
    let root = Node::root(document, &report);
    let read = root.object().and_then(|mut members| {
        let state = members.read_optional("state", |n| read_state(&n));
        let useful = members.read_optional("useful", |n| n.boolean());
        let alert = members.read_optional("alert_id", |n| n.id().map(AlertId));
        members.finish();
        let mark = ReplyMark { state: state?, useful: useful?, alert: alert? };
        if mark == ReplyMark::default() {
            return root.wrong("give at least one of state, useful and alert_id");
        }
        Some(mark)
    });
    report.finish(read)
}

/// One page of the replies to an alert, oldest first, those of one `kind` if it is given. That it
/// was read is in the audit log before it is returned.
///
/// # Errors
/// 404 if the organisation has no such alert, 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    alert: AlertId,
    kind: Option<ReplyKind>,
    page: &PageRequest,
) -> Result<List<Reply>, Problem> {
    let page = app.store.list_replies(caller.organisation(), alert, kind, page).await?;
    let page = page.ok_or_else(|| Problem::not_found("alert"))?;
    let read = Read::Replies { alert, count: page.items.len() };
    app.store.audit_read(caller.organisation(), caller.actor(), &read, app.now()).await?;
    Ok(List::from_page(page, Reply::from))
}

/// One page of the replies of an organisation, oldest first; only those that belong to no alert if `unattributed` is set, and
/// those of one `kind` if it is given.
///
/// # Errors
/// 422 if the cursor is none of this list, 503 if the database is not available.
pub async fn list_all(
    app: &App,
    caller: &Caller,
    unattributed: bool,
    kind: Option<ReplyKind>,
    page: &PageRequest,
) -> Result<List<Reply>, Problem> {
    let page = app.store.list_all_replies(caller.organisation(), unattributed, kind, page).await?;
    let read = Read::AllReplies { count: page.items.len(), unattributed };
    app.store.audit_read(caller.organisation(), caller.actor(), &read, app.now()).await?;
    Ok(List::from_page(page, Reply::from))
}

/// Marks a reply, and gives it to an alert.
///
/// # Errors
/// 404 if the organisation has no such reply, 409 if the reply belongs to another alert, 422 if the organisation has no such
/// alert, 503 if the database is not available.
pub async fn mark(app: &App, caller: &Caller, reply: ReplyId, mark: ReplyMark) -> Result<Reply, Problem> {
    match app.store.mark_reply(caller.organisation(), reply, mark, caller.actor(), app.now()).await? {
        Marked::Done(view) => Ok(Reply::from(*view)),
        Marked::NoReply => Err(Problem::not_found("reply")),
        Marked::NoAlert => Err(Problem::invalid_field("/alert_id", "there is no such alert")),
        Marked::BelongsTo(alert) => {
            let detail = format!("the reply belongs to the alert {alert} and cannot be given to another");
            Err(Problem::taken("/alert_id", &detail))
        }
    }
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
    use crate::request::words::REPLY_KINDS;

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
        for no_id in [json!(7), json!("1"), json!(""), json!({})] {
            assert_eq!(marked(&json!({"alert_id": no_id})), Err(vec!["/alert_id".into()]));
        }
        assert_eq!(marked(&json!({"alert_id": null})), Err(vec![String::new()]));
    }

    #[test]
    fn the_words_are_those_of_the_store() {
        for (word, kind) in REPLY_KINDS.iter().zip(ReplyKind::ALL) {
            assert_eq!((serde_json::to_value(kind).unwrap(), kind.as_str()), (json!(word), *word));
        }
        for (word, state) in REPLY_STATES.iter().zip([ReplyState::New, ReplyState::Read, ReplyState::Handled])
        {
            assert_eq!(serde_json::to_value(state).unwrap(), *word);
        }
    }
}
