//! The life of an alert, its priority, and the kinds of message that belong to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in the API and the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::alert::UnknownWord;
            fn from_str(s: &str) -> Result<Self, $crate::alert::UnknownWord> {
                Self::ALL.iter().copied().find(|x| x.as_str() == s).ok_or($crate::alert::UnknownWord)
            }
        }
    };
}

/// The text is none of the words that are possible here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not one of the possible words")]
pub struct UnknownWord;

pub(crate) use words;

words! {
    /// The state of an alert.
    AlertState {
        /// Written down, not sent.
        Draft = "draft",
        /// Waits for a second person.
        PendingApproval = "pending_approval",
        /// Going out, or out and open for replies.
        Active = "active",
        /// Closed with an end message.
        Ended = "ended",
        /// Stopped or withdrawn by an operator, or rejected by an approver.
        Cancelled = "cancelled",
        /// Its time ran out.
        Expired = "expired",
    }
}

words! {
    /// How urgent an alert is. It decides the lane, whose hours are respected and what is done
    /// about a submit that was lost.
    Priority {
        /// A life depends on it: rings at any hour; a lost submit is sent once more.
        LifeThreatening = "life_threatening",
        /// It is happening now.
        Urgent = "urgent",
        /// It can wait for the end of the quiet hours.
        Normal = "normal",
    }
}

words! {
    /// The purpose of a message.
    MessageKind {
        /// The call to look out.
        Start = "start",
        /// A correction or addition to the people who were reached.
        Update = "update",
        /// The outcome, to the people who were reached.
        End = "end",
        /// The withdrawal of a wrong alert, to the people who were reached.
        Retract = "retract",
        /// An automatic answer to one participant's SMS (opt-out confirmed, help, alert over).
        Service = "service",
    }
}

words! {
    /// The outcome of an incident.
    Outcome {
        /// The person or vehicle was found.
        Found = "found",
        /// A person was arrested.
        Arrested = "arrested",
        /// The person or vehicle was not found.
        NotFound = "not_found",
        /// There was no incident.
        FalseAlarm = "false_alarm",
        /// Something else.
        Other = "other",
    }
}

words! {
    /// The subject of an incident's description.
    SubjectKind {
        /// A person.
        Person = "person",
        /// A vehicle.
        Vehicle = "vehicle",
        /// Something else.
        Other = "other",
    }
}

/// The order in which deliveries leave: a lower lane goes first.
#[must_use]
pub const fn lane(kind: MessageKind, priority: Priority) -> i64 {
    match (kind, priority) {
        (MessageKind::Service, _) => 0,
        (MessageKind::Update | MessageKind::End | MessageKind::Retract, _) => 1,
        (MessageKind::Start, Priority::LifeThreatening) => 2,
        (MessageKind::Start, Priority::Urgent) => 3,
        (MessageKind::Start, Priority::Normal) => 4,
    }
}

/// The kinds of message that leave no more once their alert has reached `state`.
///
/// An end message makes every earlier text useless, a withdrawal among them. An alert that was cancelled or withdrawn asks
/// and corrects no more. An alert that expired closes nothing: its messages have expiries of their own, and an update to
/// the people who were asked stays useful.
#[must_use]
pub const fn closed_kinds(state: AlertState) -> &'static [MessageKind] {
    match state {
        AlertState::Ended => &[MessageKind::Start, MessageKind::Update, MessageKind::Retract],
        AlertState::Cancelled => &[MessageKind::Start, MessageKind::Update],
        AlertState::Draft | AlertState::PendingApproval | AlertState::Active | AlertState::Expired => &[],
    }
}

/// How many lanes there are.
pub const LANES: i64 = 5;

impl Priority {
    /// How long a lost submit waits for a receipt or late answer before the policy decides.
    #[must_use]
    pub const fn settle_after(self) -> Duration {
        match self {
            Self::LifeThreatening => Duration::from_secs(10),
            Self::Urgent | Self::Normal => Duration::from_secs(30),
        }
    }
}

/// An action of an operator or of the clock on an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AlertEvent {
    /// Sent without a second person.
    Activate,
    /// Put before a second person.
    Submit,
    /// The second person agrees.
    Approve,
    /// The second person does not.
    Reject,
    /// A text to the people reached; more people; both need an alert that is running.
    Change,
    /// Closed with an end message.
    End,
    /// Withdrawn with a correction.
    Retract,
    /// Stopped without a message.
    Cancel,
    /// The clock passed its expiry.
    Expire,
}

/// The event is not possible in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the alert is {state}")]
pub struct NotPossible {
    /// The state that forbids it.
    pub state: AlertState,
}

/// Returns the state that follows from `event` in `state`.
///
/// An alert that expired or was cancelled can still be ended or withdrawn: the people who were
/// reached are owed an outcome, and half an hour of looking out is often longer than the expiry.
///
/// # Errors
/// Returns [`NotPossible`] if the event makes no sense in this state.
pub const fn advance(state: AlertState, event: AlertEvent) -> Result<AlertState, NotPossible> {
    use AlertEvent as E;
    use AlertState as S;
    Ok(match (state, event) {
        (S::Draft, E::Activate) | (S::PendingApproval, E::Approve) | (S::Active, E::Change) => S::Active,
        (S::Draft, E::Submit) => S::PendingApproval,
        (S::Draft | S::PendingApproval | S::Active, E::Cancel)
        | (S::PendingApproval, E::Reject)
        | (S::Active | S::Expired, E::Retract) => S::Cancelled,
        (S::Active | S::Expired | S::Cancelled, E::End) => S::Ended,
        (S::Draft | S::PendingApproval | S::Active, E::Expire) => S::Expired,
        _ => return Err(NotPossible { state }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use AlertEvent as E;
    use AlertState as S;

    /// Every state × every event; a dash is refused.
    #[test]
    fn the_whole_table() {
        const EVENTS: [E; 9] = [
            E::Activate,
            E::Submit,
            E::Approve,
            E::Reject,
            E::Change,
            E::End,
            E::Retract,
            E::Cancel,
            E::Expire,
        ];
        const TABLE: &[(S, [&str; 9])] = &[
            (S::Draft, ["active", "pending_approval", "-", "-", "-", "-", "-", "cancelled", "expired"]),
            (S::PendingApproval, ["-", "-", "active", "cancelled", "-", "-", "-", "cancelled", "expired"]),
            (S::Active, ["-", "-", "-", "-", "active", "ended", "cancelled", "cancelled", "expired"]),
            (S::Ended, ["-", "-", "-", "-", "-", "-", "-", "-", "-"]),
            (S::Cancelled, ["-", "-", "-", "-", "-", "ended", "-", "-", "-"]),
            (S::Expired, ["-", "-", "-", "-", "-", "ended", "cancelled", "-", "-"]),
        ];
        assert_eq!(TABLE.len(), S::ALL.len());
        for (state, row) in TABLE {
            for (event, expected) in EVENTS.iter().zip(row) {
                let expected = expected.parse().map_err(|_| NotPossible { state: *state });
                assert_eq!(advance(*state, *event), expected, "{state} after {event:?}");
            }
        }
    }

    #[test]
    fn no_alert_closes_its_end_message_or_an_answer_to_a_participant() {
        for state in AlertState::ALL {
            let closed = closed_kinds(*state);
            assert!(
                !closed.contains(&MessageKind::End) && !closed.contains(&MessageKind::Service),
                "{state}"
            );
        }
        assert!(!closed_kinds(S::Cancelled).contains(&MessageKind::Retract));
        assert!(closed_kinds(S::Ended).contains(&MessageKind::Retract));
        assert!(closed_kinds(S::Expired).is_empty() && closed_kinds(S::Active).is_empty());
    }

    #[test]
    fn closing_words_go_before_new_calls() {
        for priority in Priority::ALL {
            let start = lane(MessageKind::Start, *priority);
            assert!(lane(MessageKind::End, Priority::Normal) < start);
            assert!(lane(MessageKind::Service, Priority::Normal) < lane(MessageKind::End, *priority));
            assert!(start < LANES);
        }
    }
}
