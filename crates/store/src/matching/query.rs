//! Who is inside a geofence and wants to know.
//!
//! The geofence becomes ranges of H3 cells; the match index answers each range in order, alone; points of boundary cells are
//! checked exactly. There is no copy of the registry in memory: what is committed is what is matched.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::geofence::Geofence;
use klaroen_domain::geofence::cover::CellRange;
use klaroen_domain::hours::{DailySpan, WeeklyHours, Zone};
use klaroen_domain::id::{OrganisationId, ParticipantId};
use klaroen_domain::participant::ParticipantKind;
use klaroen_domain::point::Point;
use klaroen_domain::time::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::engine::db::{Sql, on_db};
use crate::engine::seal::Recipient;
use crate::engine::sql::sql;
use crate::matching::match_record::{Record, records};
use crate::matching::pages::Scan;
use crate::{Result, Store, StoreError};

/// The people whom an alert is for; empty means all participants.
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
    /// `normal` alerts ring no phone in these hours; `urgent` and `life_threatening` do.
    pub quiet_hours: Option<DailySpan>,
    /// Start messages that one number gets in 24 hours at most, unless life is at stake. 0: no limit.
    pub max_alerts_per_day: u32,
}

/// The input of a match.
#[derive(Clone, Debug)]
pub struct MatchQuery<'a> {
    /// Whose registry.
    pub organisation: OrganisationId,
    /// The geofence.
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

/// The people whom a geofence matches.
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

/// The records of the places in ranges, joined together: a row each would cost more than finding it. `$1`: ranges as
/// `[[first, last], …]`, sorted and disjoint; `$3`: the greatest number of places, in the order of their cells.
///
/// Two texts, because the loops keep this order by `CROSS JOIN` in SQLite and by `LATERAL` in PostgreSQL, and because SQLite has no
/// function that joins bytes: it joins them as texts, as they are.
pub(crate) const IN_RANGES: Sql = Sql::each(
    "SELECT CAST(group_concat(record, '') AS BLOB) FROM (
         SELECT p.record FROM json_each($1) j CROSS JOIN places p
         WHERE NOT p.opted_out AND p.organisation_id = $2 AND p.cell BETWEEN j.value ->> 0 AND j.value ->> 1
         LIMIT $3)",
    "SELECT string_agg(record, ''::bytea) FROM (
         SELECT p.record FROM json_array_elements($1::json) AS j(value), LATERAL (
             SELECT record FROM places
             WHERE NOT opted_out AND organisation_id = $2
                 AND cell BETWEEN (j.value ->> 0)::bigint AND (j.value ->> 1)::bigint
             ORDER BY cell LIMIT $3) p
         LIMIT $3) found",
);
/// `CROSS JOIN` makes SQLite begin with the codes.
pub(crate) const MEMBERS: Sql = sql!(
    "SELECT m.participant_id FROM {values($1)} j CROSS JOIN groups g JOIN memberships m ON m.group_id = g.id
     WHERE g.organisation_id = $2 AND g.code = j.value"
);
const RECENT_STARTS: Sql = Sql::new(
    "SELECT m.id FROM messages m JOIN alerts a ON a.id = m.alert_id
     WHERE a.organisation_id = $1 AND a.id >= $4 AND m.kind = 'start' AND m.created_at > $2 AND m.created_at < $3",
);
/// How many of the messages `$2` each recipient in `$1` got or is about to get.
const RECENT_COUNTS: Sql = sql!(
    "SELECT d.recipient, COUNT(*) FROM {values($1)} r CROSS JOIN {values($2)} m CROSS JOIN deliveries d
     WHERE d.recipient = {blob(r.value)} AND d.message_id = {uuid(m.value)}
         AND d.state NOT IN ('expired', 'cancelled', 'suppressed', 'failed')
     GROUP BY d.recipient HAVING COUNT(*) >= $3"
);

/// The smallest UUID version 7 of a moment: ids that are older lie before it.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    Uuid::from_u128((u128::from(millis) << 80) | (0x7 << 76) | (0x8 << 60))
}

/// No alert runs longer, so none that began earlier has a start message in the window.
const LONGEST_ALERT: Duration = Duration::from_hours(48);

/// Places that a match reads at once: some 4 MB.
const AT_ONCE: usize = 50_000;

/// Numbers that are counted at once.
const COUNTED: usize = 10_000;

/// A window of 24 hours for the frequency rule.
const DAY: Duration = Duration::from_hours(24);

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
    ///
    /// Returns a [`StoreError`] if the database does not answer or refuses the statement, [`StoreError::Corrupt`] if a
    /// stored row cannot be read, or [`StoreError::Stopped`] if the program is being shut down.
    pub async fn match_geofence(&self, query: &MatchQuery<'_>, rules: &MatchRules) -> Result<Matches> {
        let members = self.members(query).await?;
        let ranges = cells(query.geofence).await?;
        let mut filter = Filter::new(query, rules, members.as_ref(), &ranges);
        let mut scan = Scan::new(self, query.organisation, ranges.clone());
        while let Some(found) = scan.next(AT_ONCE).await? {
            filter.take_all(found.bytes())?;
        }
        let mut matches = filter.matches();
        let starts = self.counted_starts(query, rules).await?;
        matches.frequency = self.drop_over_frequency(&starts, rules, &mut matches.recipients).await?;
        Ok(matches)
    }

    /// The participants of the audience's groups; `None` if it names no group.
    pub(crate) async fn members(&self, query: &MatchQuery<'_>) -> Result<Option<HashSet<Uuid>>> {
        if query.audience.groups.is_empty() {
            return Ok(None);
        }
        let codes = json!(query.audience.groups).to_string();
        let members: Vec<Uuid> = on_db!(read self.db, pool, d => sqlx::query_scalar(MEMBERS.of(d))
            .bind(codes).bind(query.organisation.0).fetch_all(pool).await?);
        Ok(Some(members.into_iter().collect()))
    }

    /// The start messages of the last day, if there were as many as one person may get. Most days there were fewer, and then
    /// no person needs to be counted.
    pub(crate) async fn counted_starts(
        &self,
        query: &MatchQuery<'_>,
        rules: &MatchRules,
    ) -> Result<Vec<String>> {
        if query.priority == Priority::LifeThreatening || rules.max_alerts_per_day == 0 {
            return Ok(Vec::new());
        }
        let since = query.as_of.minus(DAY).as_millis();
        let starts: Vec<Uuid> = on_db!(read self.db, pool, d => sqlx::query_scalar(RECENT_STARTS.of(d))
            .bind(query.organisation.0).bind(since).bind(query.as_of.as_millis())
            .bind(first_id(query.as_of.minus(DAY + LONGEST_ALERT))).fetch_all(pool).await?);
        let enough = usize::try_from(rules.max_alerts_per_day).unwrap_or(usize::MAX);
        let starts = if starts.len() < enough { Vec::new() } else { starts };
        Ok(starts.iter().map(|id| id.simple().to_string()).collect())
    }

    /// Leaves out numbers that had enough start messages in the last day; returns how many.
    pub(crate) async fn drop_over_frequency(
        &self,
        starts: &[String],
        rules: &MatchRules,
        recipients: &mut Vec<Matched>,
    ) -> Result<u64> {
        if starts.is_empty() {
            return Ok(0);
        }
        let starts = json!(starts).to_string();
        let mut over = HashSet::new();
        for page in recipients.chunks(COUNTED) {
            let page: Vec<String> = page.iter().map(|m| crate::engine::hex::encode(&m.recipient.0)).collect();
            let counted: Vec<(Vec<u8>, i64)> = on_db!(read self.db, pool, d =>
                sqlx::query_as(RECENT_COUNTS.of(d)).bind(json!(page).to_string()).bind(&starts)
                    .bind(i64::from(rules.max_alerts_per_day)).fetch_all(pool).await?);
            over.extend(counted.into_iter().map(|(recipient, _)| recipient));
        }
        recipients.retain(|m| !over.contains(m.recipient.0.as_slice()));
        Ok(over.len() as u64)
    }
}

/// The cells of a shape.
pub(crate) async fn cells(geofence: &Geofence) -> Result<Vec<CellRange>> {
    let geofence = geofence.clone();
    // Milliseconds for a large shape, during which this thread has other things to do.
    let cover = tokio::task::spawn_blocking(move || geofence.cover()).await;
    Ok(cover.map_err(|_| StoreError::Stopped)?.ranges)
}

/// As [`IN_RANGES`] takes them.
pub(crate) fn ranges_json(ranges: &[CellRange]) -> String {
    json!(ranges.iter().map(|r| (r.first, r.last)).collect::<Vec<_>>()).to_string()
}

/// Folds places into numbers.
pub(crate) struct Filter<'a> {
    query: &'a MatchQuery<'a>,
    members: Option<&'a HashSet<Uuid>>,
    /// The geofence's, sorted: which cells lie wholly inside.
    ranges: &'a [CellRange],
    /// Quiet hours hold for all people, or for none.
    quiet: bool,
    minute_of_week: u16,
    /// Hours repeat from place to place: each text is read once.
    hours: HashMap<String, bool>,
    /// Of each place that counts or might have; folded when all are there, which takes less than a map would.
    found: Vec<(Verdict, Matched)>,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(
        query: &'a MatchQuery<'a>,
        rules: &MatchRules,
        members: Option<&'a HashSet<Uuid>>,
        ranges: &'a [CellRange],
    ) -> Self {
        let quiet = query.priority == Priority::Normal
            && rules.quiet_hours.is_some_and(|span| span.contains(query.as_of, &rules.zone));
        Self {
            query,
            members,
            ranges,
            quiet,
            minute_of_week: klaroen_domain::hours::minute_of_week(query.as_of, &rules.zone),
            hours: HashMap::new(),
            found: Vec::new(),
        }
    }

    /// Looks at places, as [`IN_RANGES`] joined them together.
    pub(crate) fn take_all(&mut self, places: &[u8]) -> Result<()> {
        for place in records(places) {
            self.take(&place?)?;
        }
        Ok(())
    }

    fn take(&mut self, place: &Record<'_>) -> Result<()> {
        if self.members.is_some_and(|members| !members.contains(&place.participant)) {
            return Ok(());
        }
        let kind = place.kind;
        if !self.query.audience.kinds.is_empty() && !self.query.audience.kinds.contains(&kind) {
            return Ok(());
        }
        if !self.is_inside(place)? {
            return Ok(());
        }
        let (participant, recipient) = (ParticipantId(place.participant), Recipient(place.recipient));
        let verdict = self.verdict(place);
        self.found.push((verdict, Matched { participant, recipient, kind }));
        Ok(())
    }

    fn is_inside(&self, place: &Record<'_>) -> Result<bool> {
        let range = self.ranges.partition_point(|range| range.last < place.cell);
        if self.ranges.get(range).is_some_and(|range| range.inside && range.first <= place.cell) {
            return Ok(true);
        }
        let point = Point::wgs84(place.latitude, place.longitude)
            .map_err(|_| StoreError::Corrupt { table: "places", column: "latitude" })?;
        Ok(self.query.geofence.contains(&point))
    }

    fn verdict(&mut self, place: &Record<'_>) -> Verdict {
        if place.paused_until.is_some_and(|until| until > self.query.as_of.as_millis()) {
            return Verdict::Paused;
        }
        if self.query.priority == Priority::LifeThreatening {
            return Verdict::Wanted;
        }
        if self.quiet {
            return Verdict::OffHours;
        }
        let Some(text) = place.hours else { return Verdict::Wanted };
        let open = if let Some(open) = self.hours.get(text) {
            *open
        } else {
            let open = self.is_open(text, place.participant);
            self.hours.insert(text.to_owned(), open);
            open
        };
        if open { Verdict::Wanted } else { Verdict::OffHours }
    }

    /// Hours that cannot be read keep no participant from an alert: neither the one whose place it is nor, by an error, all
    /// others.
    fn is_open(&self, hours: &str, participant: Uuid) -> bool {
        let Ok(hours) = hours.parse::<WeeklyHours>() else {
            tracing::error!(%participant, "the hours of a place cannot be read: it counts as open");
            return true;
        };
        hours.contains_minute(self.minute_of_week)
    }

    /// One for each number. The same answer in whatever order the rows came: the most willing place, then the oldest
    /// registration.
    pub(crate) fn matches(mut self) -> Matches {
        self.found.sort_unstable_by_key(|(verdict, m)| (m.recipient, *verdict, m.participant));
        self.found.dedup_by_key(|(_, m)| m.recipient);
        let mut matches = Matches::default();
        for (verdict, _) in &self.found {
            match verdict {
                Verdict::Wanted => {}
                Verdict::OffHours => matches.off_hours += 1,
                Verdict::Paused => matches.paused += 1,
            }
        }
        self.found.retain(|(verdict, _)| *verdict == Verdict::Wanted);
        matches.recipients = self.found.into_iter().map(|(_, matched)| matched).collect();
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hours_that_cannot_be_read_keep_nobody_from_an_alert() {
        let home = Point::wgs84(52.0907, 5.1214).unwrap();
        let geofence = Geofence::circle(home, 100.0).unwrap();
        let query = MatchQuery {
            organisation: OrganisationId::generate(),
            geofence: &geofence,
            audience: &Audience::default(),
            priority: Priority::Urgent,
            // A Monday, 17:00 in Amsterdam.
            as_of: crate::tests::fixture::NOW,
        };
        let zone = "Europe/Amsterdam".parse().unwrap();
        let rules = MatchRules { zone, quiet_hours: None, max_alerts_per_day: 0 };
        let ranges = cells(&geofence).await.unwrap();
        let mut filter = Filter::new(&query, &rules, None, &ranges);
        for (n, hours) in (0..).zip(["Mo 09:00-12:00", "Mo 26:00-late", "Mo 09:00-18:00", "Mo 26:00-late"]) {
            let record = Record {
                cell: home.cell(),
                latitude: home.latitude(),
                longitude: home.longitude(),
                participant: Uuid::from_u128(n),
                recipient: n.to_be_bytes(),
                kind: ParticipantKind::Resident,
                paused_until: None,
                hours: Some(hours),
            };
            filter.take_all(&record.to_bytes()).unwrap();
        }
        let matches = filter.matches();
        let asked: Vec<Uuid> = matches.recipients.iter().map(|matched| matched.participant.0).collect();
        assert_eq!((asked, matches.off_hours), ([1, 2, 3].map(Uuid::from_u128).to_vec(), 1));
    }
}
