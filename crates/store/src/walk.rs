//! Going through a geofence place by place, so that an alert for a whole city takes no more memory than one for a street, and
//! its first messages leave while the last are not looked up yet.

use std::collections::HashSet;

use klaroen_domain::geofence::cover::CellRange;
use uuid::Uuid;

use crate::db::on_db;
use crate::matching::{Filter, IN_RANGES, MatchQuery, MatchRules, Matched, PlaceRow, cells, ranges_json};
use crate::{Result, Store};

/// A match that is made in steps. Between two steps no snapshot is held: nothing keeps the database from tidying its log.
///
/// A number with several places may come up in several steps; the one that it has for a message is told by the database.
pub(crate) struct Walk<'a> {
    store: &'a Store,
    query: &'a MatchQuery<'a>,
    rules: &'a MatchRules,
    members: Option<HashSet<Uuid>>,
    /// Start messages that count against a number.
    starts: Vec<String>,
    /// What is left to look at.
    ranges: Vec<CellRange>,
}

impl<'a> Walk<'a> {
    pub(crate) async fn begin(
        store: &'a Store,
        query: &'a MatchQuery<'a>,
        rules: &'a MatchRules,
    ) -> Result<Self> {
        let members = store.members(query).await?;
        let starts = store.counted_starts(query, rules).await?;
        let ranges = cells(query.geofence).await?;
        Ok(Self { store, query, rules, members, starts, ranges })
    }

    /// Whether everything was looked at.
    pub(crate) const fn is_done(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Those who want to know among the next `places`, some more or less: a step ends between two cells.
    pub(crate) async fn step(&mut self, places: usize) -> Result<Vec<Matched>> {
        let mut limit = places.max(1);
        let rows = loop {
            let mut rows: Vec<PlaceRow> = on_db!(read self.store.db, pool, d => sqlx::query_as(IN_RANGES.of(d))
                .bind(ranges_json(&self.ranges)).bind(self.query.organisation.0)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(pool).await?);
            let Some(last) = rows.last().filter(|_| rows.len() == limit).map(|row| row.cell) else {
                self.ranges.clear();
                break rows;
            };
            if !rows.is_sorted_by_key(|row| row.cell) {
                // No engine has a reason to; but who is skipped is never asked, so then it is everything at once.
                limit = usize::MAX;
                continue;
            }
            // The last cell may be cut off in its middle: it is the next step's, all of it.
            rows.retain(|row| row.cell != last);
            if !rows.is_empty() {
                self.ranges = from(&self.ranges, last);
                break rows;
            }
            limit = limit.saturating_mul(2);
        };
        let mut filter = Filter::new(self.query, self.rules, self.members.as_ref());
        for row in rows {
            filter.take(row)?;
        }
        let mut recipients = filter.matches().recipients;
        self.store.drop_over_frequency(&self.starts, self.rules, &mut recipients).await?;
        Ok(recipients)
    }
}

/// What is left of sorted ranges when all before `cell` is done.
fn from(ranges: &[CellRange], cell: i64) -> Vec<CellRange> {
    let left = ranges.iter().filter(|range| range.last >= cell);
    left.map(|range| CellRange { first: range.first.max(cell), ..*range }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_begins_with_the_cell() {
        let range = |first, last| CellRange { first, last, inside: true };
        let all = [range(1, 3), range(5, 9), range(12, 12)];
        assert_eq!(from(&all, 1), all);
        assert_eq!(from(&all, 7), [range(7, 9), range(12, 12)]);
        assert_eq!(from(&all, 10), [range(12, 12)]);
        assert_eq!(from(&all, 13), []);
    }
}
