-- All that a match asks of a place in one column, which the index holds (crates/store/src/record.rs). The program fills it in
-- for the places that are there.
DROP INDEX places_match;
ALTER TABLE places ADD COLUMN record BLOB NOT NULL DEFAULT x'';
ALTER TABLE places DROP COLUMN recipient;
ALTER TABLE places DROP COLUMN kind;
ALTER TABLE places DROP COLUMN paused_until;
-- `opted_out` is in it because SQLite would fetch the row to look at it.
CREATE INDEX places_match ON places (organisation_id, cell, record, opted_out) WHERE NOT opted_out;
