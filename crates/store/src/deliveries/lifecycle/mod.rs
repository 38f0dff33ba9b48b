//! The life of a delivery in the database: who writes how a delivery stands, and all that follows from it.
//!
//! The code that learns of an event selects the deliveries, locks them, and says which event it was ([`Step`]). [`apply`]
//! asks [`advance`] what follows, writes it, and carries the consequences: doubts that begin or end, messages that are not
//! settled any more, times of sending, follow-ups that are owed. Two statements elsewhere write a state without asking,
//! because they are the fast paths of every message: `LEASE` of a claim and `SENT` of an answer. A test holds them to
//! [`advance`].

mod consequences;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use klaroen_domain::delivery::{DeliveryEvent, DeliveryState, Life, advance};
use klaroen_domain::time::Timestamp;
use serde_json::json;

use self::consequences::Consequences;
use self::write::Move;
#[cfg(test)]
pub(crate) use self::write::{APPLY, MOVE};
use crate::deliveries::doubts::Resolution;
use crate::engine::db::{Sql, Tx, on_tx};
use crate::engine::sql::sql;
use crate::{Result, StoreError};

/// In the order of the ids.
pub(crate) const STANDING: Sql =
    sql!("SELECT id, state, in_doubt FROM deliveries WHERE id IN {ints($1)} ORDER BY id {lock}");

/// How a delivery stands, as it is read: id, state, in doubt.
pub(crate) type StandingRow = (i64, String, bool);

/// A delivery as it stands, while its row is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) id: i64,
    pub(crate) life: Life,
}

impl Standing {
    pub(crate) fn new(id: i64, state: &str, in_doubt: bool) -> Result<Self> {
        let state = state.parse().map_err(|_| CORRUPT)?;
        Ok(Self { id, life: Life { state, in_doubt } })
    }

    /// All of a page, which is a JSON array of `[id, state, in doubt]`, the last as a number: a row each would be most of the work.
    pub(crate) fn page(rows: &str) -> Result<Vec<Self>> {
        let rows: Vec<(i64, &str, u8)> = serde_json::from_str(rows).map_err(|_| CORRUPT)?;
        rows.into_iter().map(|(id, state, in_doubt)| Self::new(id, state, in_doubt != 0)).collect()
    }

    /// Locks these deliveries in the order of their ids and reads how each stands.
    pub(crate) async fn take(tx: &mut Tx, ids: &[i64]) -> Result<Vec<Self>> {
        let ids = json!(ids).to_string();
        let rows: Vec<StandingRow> =
            on_tx!(tx, conn, d => sqlx::query_as(STANDING.of(d)).bind(ids).fetch_all(conn).await?);
        rows.iter().map(|(id, state, in_doubt)| Self::new(*id, state, *in_doubt)).collect()
    }
}

const CORRUPT: StoreError = StoreError::Corrupt { table: "deliveries", column: "state" };

/// The effect on the reason that a delivery has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason<'a> {
    /// It stays.
    #[default]
    Kept,
    /// It is this one from now on, or none.
    Is(Option<&'a str>),
}

/// One event in the life of one delivery, and what is written along with it.
#[derive(Clone, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) delivery: Standing,
    pub(crate) event: DeliveryEvent,
    pub(crate) at: Timestamp,
    pub(crate) reason: Reason<'a>,
    /// When it may leave, if it is to wait until another time than before.
    pub(crate) due_at: Option<Timestamp>,
    /// When the policy decides, if it is in doubt from now on.
    pub(crate) settle_at: Option<Timestamp>,
    /// How a doubt ended that this event ends.
    pub(crate) settled_by: Resolution,
    /// Claims to count.
    pub(crate) claims: u8,
    /// The addition that the answer to an attempt makes.
    pub(crate) answer: Option<Answer<'a>>,
}

/// The values that the answer to an attempt writes. They are written only for the attempt that the delivery has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) lease_token: i64,
    /// Steps on the retry ladder.
    pub(crate) retries: u8,
    /// If the provider took it.
    pub(crate) taken: Option<Taken>,
    /// The gateway that hands it over to others.
    pub(crate) handed_by: Option<&'a str>,
}

/// How the provider took a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) segments: u8,
    pub(crate) at: Timestamp,
}

impl<'a> Step<'a> {
    /// Nothing but the event.
    pub(crate) fn new(delivery: Standing, event: DeliveryEvent, at: Timestamp) -> Self {
        let settled_by = match event {
            DeliveryEvent::Receipt(_) => Resolution::Receipt,
            DeliveryEvent::Resend => Resolution::PolicyResend,
            DeliveryEvent::Held => Resolution::PolicyHold,
            _ => Resolution::LateAnswer,
        };
        Self {
            delivery,
            event,
            at,
            reason: Reason::Kept,
            due_at: None,
            settle_at: None,
            settled_by,
            claims: 0,
            answer: None,
        }
    }

    /// The same with a reason.
    pub(crate) fn because(self, reason: &'a str) -> Self {
        Self { reason: Reason::Is(Some(reason)), ..self }
    }

    fn taken(&self) -> Option<Taken> {
        self.answer.and_then(|answer| answer.taken)
    }

    /// Whether the row changes: a receipt may have been quicker than the answer, which then only adds what it knows; and what
    /// the policy leaves as it is waits for nothing any more.
    fn writes(&self, after: Life) -> bool {
        let before = self.delivery.life;
        let held = self.event == DeliveryEvent::Held && before.state == DeliveryState::Unknown;
        after != before || self.taken().is_some() || held
    }
}

/// Whether a message that stands so counts as lost: a receipt would be the first to say that the phone rang, and it gets the
/// follow-ups then.
pub(crate) const fn counts_as_lost(state: DeliveryState) -> bool {
    !state.reached() && !state.waiting()
}

/// Writes what follows from these events, at most one for each delivery, with all its consequences. Returns how many rows
/// changed.
///
/// The rows of the deliveries are locked by the caller, who read how they stand under that lock. Behind them, this takes the locks
/// of messages (and, if a phone rang late, of its alert).
pub(crate) async fn apply(tx: &mut Tx, steps: &[Step<'_>]) -> Result<u64> {
    // Most of a batch moves the same way, so it is a statement for each way, and a list of numbers.
    let mut alike: BTreeMap<Move<'_>, Vec<i64>> = BTreeMap::new();
    let mut answers = Vec::new();
    let mut consequences = Consequences::default();
    for step in steps {
        let after = advance(step.delivery.life, step.event);
        if !step.writes(after) {
            continue;
        }
        consequences.add(step, after);
        match &step.answer {
            Some(answer) => answers.push(write::row(step, answer, after)),
            None => alike.entry(Move::of(step, after)).or_default().push(step.delivery.id),
        }
    }
    let mut written = write::answers(tx, answers).await?;
    for (way, ids) in alike {
        written += write::moves(tx, &way, &ids).await?;
    }
    consequences.carry_out(tx).await?;
    Ok(written)
}

/// The same for deliveries to which one thing happened, for one reason.
pub(crate) async fn apply_to_all(
    tx: &mut Tx,
    rows: &[StandingRow],
    event: DeliveryEvent,
    reason: &str,
    now: Timestamp,
) -> Result<u64> {
    let steps = rows.iter().map(|(id, state, in_doubt)| {
        Ok(Step::new(Standing::new(*id, state, *in_doubt)?, event, now).because(reason))
    });
    apply(tx, &steps.collect::<Result<Vec<_>>>()?).await
}
