//! Who read what about people. A read is an entry in the audit log like a change, written before anybody sees what was read: if
//! the entry cannot be written, nothing is shown.

use klaroen_domain::id::{AlertId, OrganisationId, ParticipantId};
use klaroen_domain::time::Timestamp;
use serde_json::{Value, json};

use crate::tenancy::audit;
use crate::{Actor, Result, Store};

/// A read of data about people. It names nobody: people are told by their ids, and a number that was looked up not at all, because
/// the log outlives whoever asks to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The whole registry, in a format.
    Export {
        /// `csv` or `ndjson`.
        format: &'static str,
    },
    /// A page of the registry.
    Participants {
        /// Participants on the page.
        count: usize,
    },
    /// The participants that have a number.
    ParticipantsByNumber {
        /// They; none if nobody has it.
        found: Vec<ParticipantId>,
    },
    /// One participant.
    Participant(ParticipantId),
    /// A page of the replies to an alert.
    Replies {
        /// The alert.
        alert: AlertId,
        /// Replies on the page.
        count: usize,
    },
    /// A page of the replies to all alerts.
    AllReplies {
        /// Replies on the page.
        count: usize,
        /// Only those that belong to no alert.
        unattributed: bool,
    },
    /// A page of the opt-outs.
    OptOuts {
        /// Opt-outs on the page.
        count: usize,
        /// Those of one number.
        by_number: bool,
    },
    /// The replies to an alert as they come, from now on.
    RepliesAsTheyCome(AlertId),
}

impl Read {
    /// Action, subject and detail of the entry.
    fn entry(&self, organisation: OrganisationId) -> (&'static str, String, Value) {
        let registry = || organisation.to_string();
        match self {
            Self::Export { format } => ("participants.exported", registry(), json!({ "format": format })),
            Self::Participants { count } => ("participants.listed", registry(), json!({ "count": count })),
            Self::ParticipantsByNumber { found } => {
                ("participants.looked_up", registry(), json!({ "found": found }))
            }
            Self::Participant(id) => ("participant.read", id.to_string(), json!({})),
            Self::Replies { alert, count } => ("replies.read", alert.to_string(), json!({ "count": count })),
            Self::AllReplies { count, unattributed } => {
                ("replies.read", registry(), json!({ "count": count, "unattributed": unattributed }))
            }
            Self::OptOuts { count, by_number } => {
                ("opt_outs.read", registry(), json!({ "count": count, "by_number": by_number }))
            }
            Self::RepliesAsTheyCome(alert) => ("replies.followed", alert.to_string(), json!({})),
        }
    }
}

impl Store {
    /// Notes a read in the audit log.
    ///
    /// # Errors
    ///
    /// Returns a [`crate::StoreError`] if the database does not answer or refuses the statement.
    pub async fn audit_read(
        &self,
        organisation: OrganisationId,
        actor: Actor,
        read: &Read,
        now: Timestamp,
    ) -> Result<()> {
        let (action, subject, detail) = read.entry(organisation);
        // Boxed: it would make the future of every caller large.
        Box::pin(async move {
            let mut tx = self.db.begin().await?;
            audit::append(&mut tx, organisation, actor, action, &subject, detail, now).await?;
            tx.commit().await
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use klaroen_test_databases::Engine;
    use rstest::rstest;

    use super::*;
    use crate::tests::fixture::{ACTOR, Fixture, NOW, first};

    #[rstest]
    #[tokio::test]
    async fn every_read_is_an_entry_of_its_own(#[values(Engine::Sqlite, Engine::Postgres)] engine: Engine) {
        let f = Fixture::new(engine).await;
        let (person, alert) = (ParticipantId::generate(), AlertId::generate());
        let reads = [
            (Read::Export { format: "csv" }, "participants.exported", json!({"format": "csv"})),
            (Read::Participants { count: 3 }, "participants.listed", json!({"count": 3})),
            (
                Read::ParticipantsByNumber { found: vec![person] },
                "participants.looked_up",
                json!({"found": [person]}),
            ),
            (Read::ParticipantsByNumber { found: vec![] }, "participants.looked_up", json!({"found": []})),
            (Read::Participant(person), "participant.read", json!({})),
            (Read::Replies { alert, count: 2 }, "replies.read", json!({"count": 2})),
            (
                Read::AllReplies { count: 1, unattributed: true },
                "replies.read",
                json!({"count": 1, "unattributed": true}),
            ),
            (
                Read::OptOuts { count: 1, by_number: true },
                "opt_outs.read",
                json!({"count": 1, "by_number": true}),
            ),
            (Read::RepliesAsTheyCome(alert), "replies.followed", json!({})),
        ];
        for (read, action, detail) in reads {
            f.store.audit_read(f.organisation, ACTOR, &read, NOW).await.unwrap();
            let entry = f.store.list_audit(f.organisation, &first(1)).await.unwrap().items.remove(0);
            assert_eq!(
                (entry.action.as_str(), &entry.detail, entry.actor),
                (action, &detail, ACTOR.to_string())
            );
        }
        assert_eq!(f.store.verify_audit(f.organisation).await.unwrap().first_wrong, None);
    }
}
