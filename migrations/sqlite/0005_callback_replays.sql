-- Signed callbacks that were taken: one that comes again within the time in which its signature is good has no effect.
CREATE TABLE callback_replays (
    gateway TEXT NOT NULL,
    key     TEXT NOT NULL,              -- keyed hash of what is unique to the request
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (gateway, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_replays_age ON callback_replays (seen_at);
