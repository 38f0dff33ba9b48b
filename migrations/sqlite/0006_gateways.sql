-- What each worker process says of a gateway that it serves, for the others and for the operator. A row that was not renewed
-- in time does not count.
CREATE TABLE gateway_reports (
    gateway       TEXT NOT NULL,
    worker        BLOB NOT NULL,
    state         TEXT NOT NULL,
    since         INTEGER NOT NULL,
    reason        TEXT NOT NULL,        -- empty where nothing is wrong
    paused_until  INTEGER,
    usable        INTEGER NOT NULL,     -- new messages may go to it
    channels_up   INTEGER NOT NULL,
    channels_held INTEGER NOT NULL,
    rate          REAL,                 -- segments a second now; none: no limit
    in_flight     INTEGER NOT NULL,
    figures       TEXT NOT NULL,        -- JSON: what came of messages lately
    last_error    TEXT,                 -- JSON: code, detail, at
    seen_until    INTEGER NOT NULL,
    PRIMARY KEY (gateway, worker)
) STRICT, WITHOUT ROWID;
-- Gateways that somebody took out of use, until somebody puts them back. They are the installation's; the organisation is the
-- one whose key it was.
CREATE TABLE gateway_pauses (
    gateway         TEXT PRIMARY KEY NOT NULL,
    paused_at       INTEGER NOT NULL,
    paused_by       TEXT NOT NULL,      -- as in `audit.actor`
    organisation_id BLOB NOT NULL,
    reason          TEXT
) STRICT, WITHOUT ROWID;
-- The gateway that could not take a delivery which is queued again: others may have it at once, this one after them.
ALTER TABLE deliveries ADD COLUMN handed_by TEXT;
CREATE INDEX deliveries_handed ON deliveries (message_id, due_at, id) WHERE state = 'queued' AND handed_by IS NOT NULL;
-- Whose number it is (ISO 3166-1 alpha-2; empty where that cannot be told), for gateways that serve some countries. The program
-- fills it in for the registrations that are there.
ALTER TABLE participants ADD COLUMN country TEXT;
