//! Who is inside a geofence and wants to know.
//!
//! The geofence becomes ranges of H3 cells; the match index answers each range in order, alone; points of boundary cells are
//! checked exactly. There is no copy of the registry in memory: what is committed is what is matched.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use futures::TryStreamExt;
use klaroen_domain::alert::Priority;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::hours::{DailySpan, WeeklyHours, Zone};
use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::db::{Sql, on_db};
use crate::seal::Recipient;
use crate::{Result, Store, StoreError};

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
    /// `normal` alerts ring nobody in these hours; `urgent` and `life_threatening` do.
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
    /// Numbers left out: outside their hours, or quiet hours.
    pub off_hours: u64,
    /// Numbers left out: paused.
    pub paused: u64,
    /// Numbers left out: had enough alerts.
    pub frequency: u64,
}

/// `$1`: ranges as `[[first, last, inside], …]`. CROSS JOIN keeps SQLite from turning the loops around.
pub(crate) const IN_RANGES: Sql = Sql::each(
    "SELECT p.latitude, p.longitude, p.participant_id, p.recipient, p.kind, p.paused_until, p.hours,
         j.value ->> 2 AS inside
     FROM json_each($1) j CROSS JOIN places p
     WHERE NOT p.opted_out AND p.organisation_id = $2 AND p.cell BETWEEN j.value ->> 0 AND j.value ->> 1",
    "SELECT p.latitude, p.longitude, p.participant_id, p.recipient, p.kind, p.paused_until, p.hours,
         (j.value ->> 2)::boolean AS inside
     FROM json_array_elements($1::json) AS j(value) CROSS JOIN places p
     WHERE NOT p.opted_out AND p.organisation_id = $2 AND p.cell BETWEEN (j.value ->> 0)::bigint AND (j.value ->> 1)::bigint",
);
pub(crate) const MEMBERS: Sql = Sql::each(
    "SELECT m.participant_id FROM json_each($1) j
         CROSS JOIN groups g ON g.organisation_id = $2 AND g.code = j.value
         JOIN memberships m ON m.group_id = g.id",
    "SELECT m.participant_id FROM json_array_elements_text($1::json) AS j(value)
         JOIN groups g ON g.organisation_id = $2 AND g.code = j.value
         JOIN memberships m ON m.group_id = g.id",
);
const RECENT_STARTS: Sql = Sql::new(
    "SELECT m.id FROM messages m JOIN alerts a ON a.id = m.alert_id
     WHERE a.organisation_id = $1 AND a.id >= $4 AND m.kind = 'start' AND m.created_at > $2 AND m.created_at < $3",
);
/// How many of the messages `$2` each recipient in `$1` got or is about to get.
const RECENT_COUNTS: Sql = Sql::each(
    "SELECT d.recipient, COUNT(*) FROM json_each($1) r CROSS JOIN json_each($2) m CROSS JOIN deliveries d
     WHERE d.recipient = unhex(r.value) AND d.message_id = unhex(m.value)
         AND d.state NOT IN ('expired', 'cancelled', 'suppressed', 'failed')
     GROUP BY d.recipient HAVING COUNT(*) >= $3",
    "SELECT d.recipient, COUNT(*) FROM json_array_elements_text($1::json) AS r(value) CROSS JOIN json_array_elements_text($2::json) AS m(value) CROSS JOIN deliveries d
     WHERE d.recipient = decode(r.value, 'hex') AND d.message_id = m.value::uuid
         AND d.state NOT IN ('expired', 'cancelled', 'suppressed', 'failed')
     GROUP BY d.recipient HAVING COUNT(*) >= $3",
);

/// The smallest UUID version 7 of a moment: ids that are older lie before it.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    Uuid::from_u128((u128::from(millis) << 80) | (0x7 << 76) | (0x8 << 60))
}

/// No alert runs longer, so none that began earlier has a start message in the window.
const LONGEST_ALERT: Duration = Duration::from_hours(48);

/// A window of 24 hours for the frequency rule.
const DAY: Duration = Duration::from_hours(24);

#[derive(sqlx::FromRow)]
struct PlaceRow {
    latitude: f64,
    longitude: f64,
    participant_id: Uuid,
    recipient: Vec<u8>,
    kind: String,
    paused_until: Option<i64>,
    hours: Option<String>,
    inside: bool,
}

/// Why a place does not count, the weakest reason last: a number with one place that counts gets its SMS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Wanted,
    OffHours,
    Paused,
}

impl Store {
    /// Who is inside and wants to know.
    ///
    /// # Errors
    /// What the database says.
    pub async fn match_geofence(&self, query: &MatchQuery<'_>, rules: &MatchRules) -> Result<Matches> {
        let members = self.members(query).await?;
        let geofence = query.geofence.clone();
        // Milliseconds for a large shape, during which this thread has other things to do.
        let cover =
            tokio::task::spawn_blocking(move || geofence.cover()).await.map_err(|_| StoreError::Stopped)?;
        let ranges: Vec<_> = cover.ranges.iter().map(|r| json!([r.first, r.last, r.inside])).collect();
        let ranges = serde_json::Value::Array(ranges).to_string();
        let mut filter = Filter::new(query, rules, members);
        on_db!(read self.db, pool, d => {
            let mut rows = sqlx::query_as::<_, PlaceRow>(IN_RANGES.of(d))
                .bind(ranges).bind(query.organisation.0).fetch(pool);
            while let Some(row) = rows.try_next().await? {
                filter.take(row)?;
            }
        });
        let mut matches = filter.matches();
        if query.priority != Priority::LifeThreatening && rules.max_alerts_per_day > 0 {
            self.drop_over_frequency(query, rules.max_alerts_per_day, &mut matches).await?;
        }
        Ok(matches)
    }

    /// The participants of the audience's groups; `None` where it names no group.
    async fn members(&self, query: &MatchQuery<'_>) -> Result<Option<HashSet<Uuid>>> {
        if query.audience.groups.is_empty() {
            return Ok(None);
        }
        let codes = json!(query.audience.groups).to_string();
        let members: Vec<Uuid> = on_db!(read self.db, pool, d => sqlx::query_scalar(MEMBERS.of(d))
            .bind(codes).bind(query.organisation.0).fetch_all(pool).await?);
        Ok(Some(members.into_iter().collect()))
    }

    /// Leaves out numbers that had enough start messages in the last day. Most days there were fewer alerts than anybody may
    /// get, and then nobody needs to be counted.
    async fn drop_over_frequency(
        &self,
        query: &MatchQuery<'_>,
        max: u32,
        matches: &mut Matches,
    ) -> Result<()> {
        let since = query.as_of.minus(DAY).as_millis();
        let starts: Vec<Uuid> = on_db!(read self.db, pool, d => sqlx::query_scalar(RECENT_STARTS.of(d))
            .bind(query.organisation.0).bind(since).bind(query.as_of.as_millis())
            .bind(first_id(query.as_of.minus(DAY + LONGEST_ALERT))).fetch_all(pool).await?);
        if starts.len() < usize::try_from(max).unwrap_or(usize::MAX) {
            return Ok(());
        }
        let recipients: Vec<String> =
            matches.recipients.iter().map(|m| crate::hex::encode(&m.recipient.0)).collect();
        let starts: Vec<String> = starts.iter().map(|id| id.simple().to_string()).collect();
        let over: Vec<(Vec<u8>, i64)> = on_db!(read self.db, pool, d => sqlx::query_as(RECENT_COUNTS.of(d))
            .bind(json!(recipients).to_string()).bind(json!(starts).to_string()).bind(i64::from(max))
            .fetch_all(pool).await?);
        let over: HashSet<Vec<u8>> = over.into_iter().map(|(recipient, _)| recipient).collect();
        matches.recipients.retain(|m| !over.contains(m.recipient.0.as_slice()));
        matches.frequency = over.len() as u64;
        Ok(())
    }
}

/// Folds places into numbers.
struct Filter<'a> {
    query: &'a MatchQuery<'a>,
    members: Option<HashSet<Uuid>>,
    /// Quiet hours hold for everybody, or for nobody.
    quiet: bool,
    minute_of_week: u16,
    /// Hours repeat from place to place: each text is read once.
    hours: HashMap<String, bool>,
    best: HashMap<[u8; 16], (Verdict, Matched)>,
}

impl<'a> Filter<'a> {
    fn new(query: &'a MatchQuery<'a>, rules: &MatchRules, members: Option<HashSet<Uuid>>) -> Self {
        let quiet = query.priority == Priority::Normal
            && rules.quiet_hours.is_some_and(|span| span.contains(query.as_of, &rules.zone));
        Self {
            query,
            members,
            quiet,
            minute_of_week: klaroen_domain::hours::minute_of_week(query.as_of, &rules.zone),
            hours: HashMap::new(),
            best: HashMap::new(),
        }
    }

    fn take(&mut self, row: PlaceRow) -> Result<()> {
        if self.members.as_ref().is_some_and(|members| !members.contains(&row.participant_id)) {
            return Ok(());
        }
        let corrupt = |column| StoreError::Corrupt { table: "places", column };
        let kind: ParticipantKind = row.kind.parse().map_err(|_| corrupt("kind"))?;
        if !self.query.audience.kinds.is_empty() && !self.query.audience.kinds.contains(&kind) {
            return Ok(());
        }
        if !row.inside {
            let point = Point::wgs84(row.latitude, row.longitude).map_err(|_| corrupt("latitude"))?;
            if !self.query.geofence.contains(&point) {
                return Ok(());
            }
        }
        let verdict = self.verdict(&row)?;
        let recipient: [u8; 16] = row.recipient.try_into().map_err(|_| corrupt("recipient"))?;
        let matched =
            Matched { participant: ParticipantId(row.participant_id), recipient: Recipient(recipient), kind };
        let best = self.best.entry(recipient).or_insert((verdict, matched));
        // The same answer in whatever order the rows come: the most willing place, then the oldest registration.
        if (verdict, matched.participant) < (best.0, best.1.participant) {
            *best = (verdict, matched);
        }
        Ok(())
    }

    fn verdict(&mut self, row: &PlaceRow) -> Result<Verdict> {
        if row.paused_until.is_some_and(|until| until > self.query.as_of.as_millis()) {
            return Ok(Verdict::Paused);
        }
        if self.query.priority == Priority::LifeThreatening {
            return Ok(Verdict::Wanted);
        }
        if self.quiet {
            return Ok(Verdict::OffHours);
        }
        let Some(text) = &row.hours else { return Ok(Verdict::Wanted) };
        let open = if let Some(open) = self.hours.get(text) {
            *open
        } else {
            let hours: WeeklyHours =
                text.parse().map_err(|_| StoreError::Corrupt { table: "places", column: "hours" })?;
            let open = hours.contains_minute(self.minute_of_week);
            self.hours.insert(text.clone(), open);
            open
        };
        Ok(if open { Verdict::Wanted } else { Verdict::OffHours })
    }

    fn matches(self) -> Matches {
        let mut matches = Matches::default();
        for (verdict, matched) in self.best.into_values() {
            match verdict {
                Verdict::Wanted => matches.recipients.push(matched),
                Verdict::OffHours => matches.off_hours += 1,
                Verdict::Paused => matches.paused += 1,
            }
        }
        matches.recipients.sort_unstable_by_key(|m| m.recipient);
        matches
    }
}
