-- How far a fan-out is, so that one that is being written is told from one that a crash cut off, and is not begun again.
ALTER TABLE fanouts ADD COLUMN touched_at INTEGER NOT NULL DEFAULT 0;   -- when its last page was written
ALTER TABLE fanouts ADD COLUMN next_cell INTEGER;   -- where to go on; null: at the beginning
UPDATE fanouts SET touched_at = as_of;
