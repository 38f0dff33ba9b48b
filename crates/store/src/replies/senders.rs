//! Who sends an inbound SMS, as far as the database knows: the alerts that the phone heard of, the registrations of its number,
//! and the organisations that ever wrote to it.

use std::time::Duration;

use klaroen_domain::alert::AlertState;
use klaroen_domain::id::{AlertId, OrganisationId, ParticipantId};
use klaroen_domain::reply::attribution::{Heard, attribute};
use klaroen_domain::time::Timestamp;
use uuid::Uuid;

use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::from_row::from_row;
use crate::engine::seal::Recipient;
use crate::{Result, StoreError};

/// How long after the last message a reply still belongs to an alert that is over.
const BELONGS_WITHIN: Duration = Duration::from_hours(24);

/// The alerts whose messages reached the phone, or may have: those that are active, and those of the last 24 hours. A receipt
/// that reports a failure does not exclude an alert. Who answers has read it.
pub(crate) const HEARD: Sql = Sql::new(
    "SELECT a.id, a.organisation_id, d.participant_id, a.state, a.exercise, a.priority, a.expires_at, i.reference,
         COALESCE(d.sent_at, d.changed_at) AS at
     FROM deliveries d JOIN alerts a ON a.id = d.alert_id JOIN incidents i ON i.id = a.incident_id
     WHERE d.recipient = $1
         AND (d.state IN ('sending', 'sent', 'delivered', 'undelivered', 'unknown', 'no_receipt')
              OR d.sent_at IS NOT NULL OR d.in_doubt)
         AND (COALESCE(d.sent_at, d.changed_at) >= $2 OR (a.state = 'active' AND a.expires_at > $3))",
);
const REGISTRATIONS: Sql =
    Sql::new("SELECT id, organisation_id, language FROM participants WHERE recipient = $1 ORDER BY id");
/// The organisations that wrote to the number, as long as the deliveries are kept.
pub(crate) const WRITTEN_TO_BY: Sql = Sql::new(
    "SELECT DISTINCT d.organisation_id FROM deliveries d
     WHERE d.recipient = $1
         AND (d.state IN ('sending', 'sent', 'delivered', 'undelivered', 'unknown', 'no_receipt')
              OR d.sent_at IS NOT NULL OR d.in_doubt)
     ORDER BY d.organisation_id",
);
const ORGANISATIONS: Sql = Sql::new("SELECT id FROM organisations ORDER BY id LIMIT 2");

from_row! {
struct HeardRow {
    id: Uuid,
    organisation_id: Uuid,
    participant_id: Option<Uuid>,
    state: String,
    exercise: bool,
    priority: String,
    expires_at: i64,
    reference: Option<String>,
    at: i64,
}
}

/// A registration of the number.
pub(crate) struct Registration {
    pub(crate) participant: ParticipantId,
    pub(crate) organisation: OrganisationId,
    pub(crate) language: String,
}

/// Who sends, as far as it is known.
pub(crate) struct Sender {
    pub(crate) recipient: Recipient,
    /// The alerts that the SMS belongs to, the newest first, one of each organisation.
    pub(crate) heard: Vec<Heard>,
    pub(crate) registrations: Vec<Registration>,
}

/// Who sees an SMS: a row each.
pub(crate) struct Seen<'a> {
    /// `None`: no organisation knows the number.
    pub(crate) organisation: Option<OrganisationId>,
    pub(crate) participant: Option<ParticipantId>,
    pub(crate) heard: Option<&'a Heard>,
}

/// Looks up who sends `text` at the moment `now`.
pub(crate) async fn look_up(tx: &mut Tx, recipient: Recipient, text: &str, now: Timestamp) -> Result<Sender> {
    let rows: Vec<HeardRow> = on_tx!(&mut *tx, conn, d => sqlx::query_as(HEARD.of(d))
        .bind(recipient.0.as_slice()).bind(now.minus(BELONGS_WITHIN).as_millis()).bind(now.as_millis())
        .fetch_all(conn).await?);
    let heard = rows.into_iter().map(|row| heard(row, now)).collect::<Result<Vec<_>>>()?;
    let heard = attribute(&heard, text).into_iter().cloned().collect();
    let registrations: Vec<(Uuid, Uuid, String)> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_as(REGISTRATIONS.of(d)).bind(recipient.0.as_slice()).fetch_all(conn).await?);
    let registrations = registrations
        .into_iter()
        .map(|(participant, organisation, language)| Registration {
            participant: ParticipantId(participant),
            organisation: OrganisationId(organisation),
            language,
        })
        .collect();
    Ok(Sender { recipient, heard, registrations })
}

fn heard(row: HeardRow, now: Timestamp) -> Result<Heard> {
    let corrupt = |column| StoreError::Corrupt { table: "alerts", column };
    let state: AlertState = row.state.parse().map_err(|_| corrupt("state"))?;
    Ok(Heard {
        alert: AlertId(row.id),
        organisation: OrganisationId(row.organisation_id),
        participant: row.participant_id.map(ParticipantId),
        // Upkeep closes an alert whose time is over within a second, unless no worker runs.
        active: state == AlertState::Active && row.expires_at > now.as_millis(),
        exercise: row.exercise,
        priority: row.priority.parse().map_err(|_| corrupt("priority"))?,
        reference: row.reference,
        at: Timestamp::from_millis(row.at),
    })
}

impl Sender {
    /// Who sees what this sender writes. An SMS that belongs to no alert is shown to the organisations that the number is
    /// registered with, and to those that wrote to it. Others may not read it: it may be meant for anybody.
    pub(crate) async fn seen_by(&self, tx: &mut Tx) -> Result<Vec<Seen<'_>>> {
        if !self.heard.is_empty() {
            let seen = |heard| Seen { heard: Some(heard), ..self.seen_in(heard.organisation) };
            return Ok(self.heard.iter().map(seen).collect());
        }
        let written: Vec<Uuid> = on_tx!(&mut *tx, conn, d => sqlx::query_scalar(WRITTEN_TO_BY.of(d))
            .bind(self.recipient.0.as_slice()).fetch_all(conn).await?);
        let mut organisations: Vec<OrganisationId> = Vec::new();
        let registered = self.registrations.iter().map(|registration| registration.organisation);
        for organisation in registered.chain(written.into_iter().map(OrganisationId)) {
            if !organisations.contains(&organisation) {
                organisations.push(organisation);
            }
        }
        if organisations.is_empty() {
            return Ok(vec![seen_by_nobody_else(tx).await?]);
        }
        Ok(organisations.into_iter().map(|organisation| self.seen_in(organisation)).collect())
    }

    /// The one who sees an SMS that is carried out and not shown.
    pub(crate) fn first(&self) -> Seen<'_> {
        if let Some(heard) = self.heard.first() {
            return Seen { heard: Some(heard), ..self.seen_in(heard.organisation) };
        }
        let registration = self.registrations.first();
        Seen {
            organisation: registration.map(|registration| registration.organisation),
            participant: registration.map(|registration| registration.participant),
            heard: None,
        }
    }

    /// With the participant of `organisation`: the one who was told, or the registration of the number.
    fn seen_in(&self, organisation: OrganisationId) -> Seen<'_> {
        let told = self.heard.iter().find(|heard| heard.organisation == organisation);
        let registered = self.registrations.iter().find(|known| known.organisation == organisation);
        let participant = told.and_then(|heard| heard.participant);
        let participant = participant.or_else(|| registered.map(|registration| registration.participant));
        Seen { organisation: Some(organisation), participant, heard: None }
    }
}

/// A number that no organisation knows is the business of the only one, if there is only one: a witness may have borrowed a
/// phone.
pub(crate) async fn seen_by_nobody_else(tx: &mut Tx) -> Result<Seen<'static>> {
    let organisations: Vec<Uuid> = on_tx!(&mut *tx, conn, d =>
        sqlx::query_scalar(ORGANISATIONS.of(d)).fetch_all(conn).await?);
    let organisation = match organisations.as_slice() {
        [only] => Some(OrganisationId(*only)),
        _ => None,
    };
    Ok(Seen { organisation, participant: None, heard: None })
}
