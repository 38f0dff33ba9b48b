//! Going through a geofence place by place, so that an alert for a whole city takes no more memory than one for a street, and
//! its first messages leave while the last are not looked up yet.

use std::collections::HashSet;

use klaroen_domain::geofence::cover::CellRange;
use klaroen_domain::id::OrganisationId;
use uuid::Uuid;

use crate::engine::db::on_db;
use crate::matching::match_record::records;
use crate::matching::query::{Filter, IN_RANGES, MatchQuery, MatchRules, Matched, cells, ranges_json};
use crate::{Result, Store};

/// Reads the places of ranges of cells, some at a time. Between two reads no snapshot is held: nothing keeps the database from
/// tidying its log.
pub(crate) struct Scan<'a> {
    store: &'a Store,
    organisation: OrganisationId,
    /// The ranges that are left to read.
    ranges: Vec<CellRange>,
}

/// Places as the database joined them together.
pub(crate) struct Found {
    bytes: Vec<u8>,
    /// The bytes after this are read again.
    end: usize,
}

impl Found {
    /// See [`records`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

impl<'a> Scan<'a> {
    pub(crate) const fn new(store: &'a Store, organisation: OrganisationId, ranges: Vec<CellRange>) -> Self {
        Self { store, organisation, ranges }
    }

    /// Whether everything was read.
    pub(crate) const fn is_done(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The next `places`, some more or less: a read ends between two cells. `None` at the end.
    pub(crate) async fn next(&mut self, places: usize) -> Result<Option<Found>> {
        let mut limit = places.max(1);
        while !self.is_done() {
            let bytes: Option<Vec<u8>> = on_db!(read self.store.db, pool, d => sqlx::query_scalar(IN_RANGES.of(d))
                .bind(ranges_json(&self.ranges)).bind(self.organisation.0)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_one(pool).await?);
            let bytes = bytes.unwrap_or_default();
            let cells = cells_of(&bytes)?;
            if cells.len() < limit {
                self.ranges.clear();
                return Ok(Some(Found { end: bytes.len(), bytes }));
            }
            if !cells.is_sorted_by_key(|(cell, _)| *cell) {
                // No database said so yet; a place that is passed over would be one whose participant gets no warning.
                limit = usize::MAX;
                continue;
            }
            // The last cell may be cut off in its middle: it is the next read's, all of it.
            let last = cells.last().map_or(i64::MAX, |(cell, _)| *cell);
            let whole = cells.partition_point(|(cell, _)| *cell < last);
            if let Some((_, begin)) = cells.get(whole).filter(|_| whole > 0) {
                self.ranges = from(&self.ranges, last);
                return Ok(Some(Found { end: *begin, bytes }));
            }
            limit = limit.saturating_mul(2);
        }
        Ok(None)
    }
}

/// The cell of each place, and where its record begins.
fn cells_of(bytes: &[u8]) -> Result<Vec<(i64, usize)>> {
    let mut begin = 0;
    records(bytes)
        .map(|record| {
            let record = record?;
            let cell = (record.cell, begin);
            begin += record.len();
            Ok(cell)
        })
        .collect()
}

/// A match that is made in steps.
///
/// A number with several places may come up in several steps; the one that it has for a message is told by the database.
pub(crate) struct MatchPages<'a> {
    store: &'a Store,
    query: &'a MatchQuery<'a>,
    rules: &'a MatchRules,
    members: Option<HashSet<Uuid>>,
    /// Start messages that count against a number.
    starts: Vec<String>,
    ranges: Vec<CellRange>,
    scan: Scan<'a>,
}

impl<'a> MatchPages<'a> {
    /// From the cell `next_cell` on, as [`MatchPages::next_cell`] returned it; from the first one if it is `None`.
    pub(crate) async fn begin(
        store: &'a Store,
        query: &'a MatchQuery<'a>,
        rules: &'a MatchRules,
        next_cell: Option<i64>,
    ) -> Result<Self> {
        let members = store.members(query).await?;
        let starts = store.counted_starts(query, rules).await?;
        let ranges = cells(query.geofence).await?;
        let left = next_cell.map_or_else(|| ranges.clone(), |cell| from(&ranges, cell));
        let scan = Scan::new(store, query.organisation, left);
        Ok(Self { store, query, rules, members, starts, ranges, scan })
    }

    /// The first cell that was not looked at: cells are read in their order.
    pub(crate) fn next_cell(&self) -> Option<i64> {
        self.scan.ranges.first().map(|range| range.first)
    }

    /// Whether everything was looked at.
    pub(crate) const fn is_done(&self) -> bool {
        self.scan.is_done()
    }

    /// Those who want to know among the next `places`, some more or less.
    pub(crate) async fn step(&mut self, places: usize) -> Result<Vec<Matched>> {
        let mut filter = Filter::new(self.query, self.rules, self.members.as_ref(), &self.ranges);
        if let Some(found) = self.scan.next(places).await? {
            filter.take_all(found.bytes())?;
        }
        let mut recipients = filter.matches().recipients;
        self.store.drop_over_frequency(&self.starts, self.rules, &mut recipients).await?;
        Ok(recipients)
    }
}

/// The part of sorted ranges that is left when all before `cell` is done.
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
