-- Signed callbacks that were taken: one that comes again within the time in which its signature is good has no effect.
CREATE TABLE callback_replays (
    gateway TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,  -- keyed hash of what is unique to the request
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (gateway, key)
);
CREATE INDEX callback_replays_age ON callback_replays (seen_at);
