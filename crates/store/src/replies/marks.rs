//! What an operator says of a reply: that it was read, that it helped, and which alert it belongs to.

use klaroen_domain::id::{AlertId, OrganisationId, ReplyId};
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::sql::sql;
use crate::replies::views::{ReplyRow, ReplyState, ReplyView};
use crate::tenancy::audit;
use crate::{Actor, Result, Store};

const BELONGS_TO: Sql =
    sql!("SELECT alert_id, received_at FROM replies WHERE organisation_id = $1 AND id = $2 AND shown {lock}");
const GET: Sql = Sql::new(
    "SELECT id, alert_id, participant_id, sender, text, kind, after_end, state, useful, received_at FROM replies
     WHERE organisation_id = $1 AND id = $2",
);
const MARK: Sql = Sql::new(
    "UPDATE replies SET state = COALESCE($3, state), useful = COALESCE($4, useful)
     WHERE organisation_id = $1 AND id = $2",
);
/// Whether the alert was over at the moment `$3`.
const OVER_AT: Sql = Sql::new(
    "SELECT COALESCE(closed_at, expires_at) <= $3 FROM alerts WHERE organisation_id = $1 AND id = $2",
);
const ATTRIBUTE: Sql =
    Sql::new("UPDATE replies SET alert_id = $3, after_end = $4 WHERE organisation_id = $1 AND id = $2");

/// What an operator says of a reply. What is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplyMark {
    /// How it is marked.
    pub state: Option<ReplyState>,
    /// Whether it helped.
    pub useful: Option<bool>,
    /// The alert that a reply of no alert is given to.
    pub alert: Option<AlertId>,
}

/// The result of a mark.
#[derive(Clone)]
pub enum Marked {
    /// It was written, or stood there already.
    Done(Box<ReplyView>),
    /// The organisation has no such reply.
    NoReply,
    /// The organisation has no such alert.
    NoAlert,
    /// The reply belongs to another alert.
    BelongsTo(AlertId),
}

impl Store {
    /// Marks a reply, and gives it to an alert if it belongs to none. Nothing is written if the result is not
    /// [`Marked::Done`].
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement,
    /// [`crate::StoreError::Corrupt`] if a stored row cannot be read, or [`crate::StoreError::Unsealable`] if a sealed
    /// value does not open.
    pub async fn mark_reply(
        &self,
        organisation: OrganisationId,
        id: ReplyId,
        mark: ReplyMark,
        actor: Actor,
        now: Timestamp,
    ) -> Result<Marked> {
        let mut tx = self.db.begin().await?;
        let found: Option<(Option<Uuid>, i64)> = on_tx!(&mut tx, conn, d => sqlx::query_as(BELONGS_TO.of(d))
            .bind(organisation.0).bind(id.0).fetch_optional(conn).await?);
        let Some((belongs_to, received_at)) = found else { return Ok(Marked::NoReply) };
        let mut given_to = None;
        if let Some(alert) = mark.alert {
            let over: Option<bool> = on_tx!(&mut tx, conn, d => sqlx::query_scalar(OVER_AT.of(d))
                .bind(organisation.0).bind(alert.0).bind(received_at).fetch_optional(conn).await?);
            let Some(over) = over else { return Ok(Marked::NoAlert) };
            match belongs_to {
                Some(other) if other != alert.0 => return Ok(Marked::BelongsTo(AlertId(other))),
                Some(_) => {}
                None => {
                    give(&mut tx, organisation, id, alert, over).await?;
                    given_to = Some(alert);
                }
            }
        }
        if mark.state.is_some() || mark.useful.is_some() {
            on_tx!(&mut tx, conn, d => sqlx::query(MARK.of(d))
                .bind(organisation.0).bind(id.0).bind(mark.state.map(ReplyState::as_str)).bind(mark.useful)
                .execute(conn).await?.rows_affected());
        }
        let row: ReplyRow = on_tx!(&mut tx, conn, d => sqlx::query_as(GET.of(d))
            .bind(organisation.0).bind(id.0).fetch_one(conn).await?);
        let view = Box::new(self.reply_view(&row)?);
        let subject = id.to_string();
        if let Some(alert) = given_to {
            let detail = json!({ "alert": alert });
            audit::append(&mut tx, organisation, actor, "reply.attributed", &subject, detail, now).await?;
        }
        if mark.state.is_some() || mark.useful.is_some() {
            let detail = json!({ "state": mark.state, "useful": mark.useful });
            audit::append(&mut tx, organisation, actor, "reply.marked", &subject, detail, now).await?;
        }
        tx.commit().await?;
        Ok(Marked::Done(view))
    }
}

async fn give(
    tx: &mut Tx,
    organisation: OrganisationId,
    id: ReplyId,
    alert: AlertId,
    after_end: bool,
) -> Result<()> {
    on_tx!(tx, conn, d => sqlx::query(ATTRIBUTE.of(d))
        .bind(organisation.0).bind(id.0).bind(alert.0).bind(after_end).execute(conn).await?.rows_affected());
    Ok(())
}
