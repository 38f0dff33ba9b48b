//! Opt-outs: what STOP does, whoever says so, and what START does.
//!
//! A number may have several: its own STOP (or its provider's), and one for each organisation whose operator recorded it. It
//! gets messages again when none is left.

mod recorded;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use klaroen_domain::delivery::DeliveryEvent;
use klaroen_domain::id::{OptOutId, OrganisationId};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

pub use recorded::{Lifted, LiftedOptOut, NewOptOut, OptOut, RecordedOptOut};

use crate::deliveries::deferred::{DeferredEffects, Entry};
use crate::deliveries::lifecycle::{self, StandingRow};
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::lock::{Lock, OptOuts};
use crate::engine::seal::Recipient;
use crate::engine::sql::sql;
use crate::replies::senders::{Registration, Sender, look_up};
use crate::{Actor, Result};

const OPTED_OUT: Sql = Sql::new("SELECT EXISTS (SELECT 1 FROM opt_outs WHERE recipient = $1)");
const STOPPED_ITSELF: Sql =
    Sql::new("SELECT EXISTS (SELECT 1 FROM opt_outs WHERE recipient = $1 AND holder = $2)");
const INSERT: Sql = Sql::new(
    "INSERT INTO opt_outs (id, recipient, holder, source, organisation_id, phone, note, recorded_by, opted_out_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
     ON CONFLICT (recipient, holder) DO NOTHING",
);
const OPT_IN: Sql = Sql::new("DELETE FROM opt_outs WHERE recipient = $1");
const MARK_PLACES: Sql = Sql::new(
    "UPDATE places SET opted_out = $2
     WHERE opted_out <> $2 AND participant_id IN (SELECT id FROM participants WHERE recipient = $1)",
);
/// `state || ''`: by the index of recipients, and not by that of all that is queued. Who has this holds the opt-outs, for which
/// others wait that hold deliveries: what is locked is passed over, and the claim that comes to it finds the opt-out.
pub(crate) const QUEUED: Sql = sql!(
    "SELECT id, state, in_doubt FROM deliveries WHERE recipient = $1 AND state || '' = 'queued' AND lane > 0 {lock_skip}"
);

/// The holder of an opt-out of the number itself, or of its provider.
const ITSELF: Uuid = Uuid::nil();

/// The source of an opt-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OptOutSource {
    /// An SMS from the number.
    Sms,
    /// The provider reports that the number stopped messages there.
    Provider,
    /// A person recorded it.
    Person,
}

impl OptOutSource {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Sms, Self::Provider, Self::Person];

    /// The word as it stands in the API and the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::Provider => "provider",
            Self::Person => "person",
        }
    }
}

impl std::str::FromStr for OptOutSource {
    type Err = klaroen_domain::alert::UnknownWord;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|source| source.as_str() == s).ok_or(klaroen_domain::alert::UnknownWord)
    }
}

/// Who opts a number out, and what is kept about it.
pub(super) struct Origin {
    id: OptOutId,
    source: OptOutSource,
    /// Whose key it was; `None` for the number itself and its provider.
    holder: Option<OrganisationId>,
    actor: Actor,
    phone: Option<Vec<u8>>,
    note: Option<Vec<u8>>,
}

impl Origin {
    /// The number itself, or its provider.
    pub(super) fn itself(source: OptOutSource) -> Self {
        Self { id: OptOutId::generate(), source, holder: None, actor: Actor::System, phone: None, note: None }
    }

    /// The actor as the log of `organisation` has it.
    fn actor_in(&self, organisation: OrganisationId) -> Actor {
        if self.holder == Some(organisation) { self.actor } else { Actor::System }
    }
}

/// Opts the number of `sender` out everywhere and suppresses what is queued for it. Returns whether it had not opted out
/// before. The caller has the lock of the number.
pub(super) async fn stop(
    tx: &mut Tx,
    sender: &Sender,
    origin: &Origin,
    now: Timestamp,
    deferred: &mut DeferredEffects,
) -> Result<bool> {
    let recipient = sender.recipient.0.as_slice();
    OptOuts::Change.take(tx).await?;
    let known: bool = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(OPTED_OUT.of(d)).bind(recipient).fetch_one(conn).await?);
    let organisation = origin.holder.or_else(|| sender.heard.first().map(|heard| heard.organisation));
    let recorded_by = origin.holder.map(|_| origin.actor.to_string());
    on_tx!(&mut *tx, conn, d => sqlx::query(INSERT.of(d))
        .bind(origin.id.0).bind(recipient).bind(origin.holder.map_or(ITSELF, |holder| holder.0))
        .bind(origin.source.as_str()).bind(organisation.map(|organisation| organisation.0))
        .bind(origin.phone.as_deref()).bind(origin.note.as_deref()).bind(recorded_by).bind(now.as_millis())
        .execute(conn).await?.rows_affected());
    mark_places(tx, sender.recipient, true).await?;
    let queued: Vec<StandingRow> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as(QUEUED.of(d)).bind(recipient).fetch_all(conn).await?);
    let suppressed = lifecycle::apply_to_all(tx, &queued, DeliveryEvent::OptedOut, "opted_out", now).await?;
    let detail = json!({ "suppressed": suppressed });
    tell(deferred, sender, "participant.opted_out", &detail, now, |of| origin.actor_in(of));
    Ok(!known)
}

/// Opts the number of `sender` in again: its own opt-out goes, and so do those that others recorded for it. Returns whether it
/// had opted out. The caller has the lock of the number.
pub(super) async fn start(
    tx: &mut Tx,
    sender: &Sender,
    now: Timestamp,
    deferred: &mut DeferredEffects,
) -> Result<bool> {
    OptOuts::Change.take(tx).await?;
    let gone = on_tx!(&mut *tx, conn, d => sqlx::query(OPT_IN.of(d))
        .bind(sender.recipient.0.as_slice()).execute(conn).await?.rows_affected());
    mark_places(tx, sender.recipient, false).await?;
    tell(deferred, sender, "participant.opted_in", &json!({}), now, |_| Actor::System);
    Ok(gone > 0)
}

/// Does what a STOP of each of these numbers does, without an answer: their provider has stopped them. A number that stopped
/// itself before stays as it is.
pub(crate) async fn stop_all(
    tx: &mut Tx,
    recipients: &BTreeSet<Recipient>,
    now: Timestamp,
    deferred: &mut DeferredEffects,
) -> Result<()> {
    // All numbers before the first of them changes anything: a STOP by SMS takes its number first, too.
    for recipient in recipients {
        Lock::Number(*recipient).take(tx).await?;
    }
    for recipient in recipients {
        let known: bool = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(STOPPED_ITSELF.of(d))
            .bind(recipient.0.as_slice()).bind(ITSELF).fetch_one(conn).await?);
        if !known {
            let sender = look_up(tx, *recipient, "", now).await?;
            stop(tx, &sender, &Origin::itself(OptOutSource::Provider), now, deferred).await?;
        }
    }
    Ok(())
}

async fn mark_places(tx: &mut Tx, recipient: Recipient, opted_out: bool) -> Result<()> {
    on_tx!(tx, conn, d => sqlx::query(MARK_PLACES.of(d))
        .bind(recipient.0.as_slice()).bind(opted_out).execute(conn).await?.rows_affected());
    Ok(())
}

/// One entry for each registration of the number, in the log of its organisation.
fn tell(
    deferred: &mut DeferredEffects,
    sender: &Sender,
    action: &'static str,
    detail: &Value,
    at: Timestamp,
    actor_in: impl Fn(OrganisationId) -> Actor,
) {
    for Registration { participant, organisation, .. } in &sender.registrations {
        let (organisation, subject) = (*organisation, participant.to_string());
        let actor = actor_in(organisation);
        deferred.tell(Entry { organisation, actor, action, subject, detail: detail.clone(), at });
    }
}
