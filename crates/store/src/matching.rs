//! Who is inside a geofence and wants to know: design section "Matching a geofence".

use klaroen_domain::alert::Priority;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::hours::{DailySpan, Zone};
use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::time::Timestamp;

use crate::seal::Recipient;
use crate::{Result, Store};

/// Whom an alert is for; empty means everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Audience {
    /// Only these kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<ParticipantKind>,
    /// Only members of one of these groups (codes).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// The rules about disturbing people, from the configuration.
#[derive(Clone, Debug)]
pub struct MatchRules {
    /// The wall clock of hours and quiet hours.
    pub zone: Zone,
    /// `normal` alerts wait outside these; `urgent` and `life_threatening` do not.
    pub quiet_hours: Option<DailySpan>,
    /// Start messages that one number gets in 24 hours at most, unless life is at stake. 0: no limit.
    pub max_alerts_per_day: u32,
}

/// What to match.
#[derive(Clone, Debug)]
pub struct MatchQuery<'a> {
    /// Whose registry.
    pub organisation: OrganisationId,
    /// Where.
    pub geofence: &'a Geofence,
    /// Whom.
    pub audience: &'a Audience,
    /// How urgent.
    pub priority: Priority,
    /// The moment whose hours and pauses count.
    pub as_of: Timestamp,
}

/// One who is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The registration.
    pub participant: ParticipantId,
    /// The number.
    pub recipient: Recipient,
    /// Resident or business.
    pub kind: ParticipantKind,
}

/// Whom a geofence matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// One for each number, sorted by it.
    pub recipients: Vec<Matched>,
    /// Left out: outside their hours, or quiet hours.
    pub off_hours: u64,
    /// Left out: paused.
    pub paused: u64,
    /// Left out: had enough alerts.
    pub frequency: u64,
}

impl Store {
    /// Who is inside and wants to know.
    ///
    /// # Errors
    /// What the database says.
    pub async fn match_geofence(&self, _query: &MatchQuery<'_>, _rules: &MatchRules) -> Result<Matches> {
        unimplemented!()
    }
}
