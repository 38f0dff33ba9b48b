-- What each worker process says of a gateway that it serves, for the others and for the operator. A row that was not renewed
-- in time does not count.
CREATE TABLE gateway_reports (
    gateway       TEXT COLLATE "C" NOT NULL,
    worker        UUID NOT NULL,
    state         TEXT COLLATE "C" NOT NULL,
    since         BIGINT NOT NULL,
    reason        TEXT COLLATE "C" NOT NULL,  -- empty where nothing is wrong
    paused_until  BIGINT,
    usable        BOOLEAN NOT NULL,           -- new messages may go to it
    channels_up   BIGINT NOT NULL,
    channels_held BIGINT NOT NULL,
    rate          DOUBLE PRECISION,           -- segments a second now; none: no limit
    in_flight     BIGINT NOT NULL,
    figures       TEXT COLLATE "C" NOT NULL,  -- JSON: what came of messages lately
    last_error    TEXT COLLATE "C",           -- JSON: code, detail, at
    seen_until    BIGINT NOT NULL,
    PRIMARY KEY (gateway, worker)
);
-- Gateways that somebody took out of use, until somebody puts them back. They are the installation's; the organisation is the
-- one whose key it was.
CREATE TABLE gateway_pauses (
    gateway         TEXT COLLATE "C" PRIMARY KEY,
    paused_at       BIGINT NOT NULL,
    paused_by       TEXT COLLATE "C" NOT NULL,  -- as in `audit.actor`
    organisation_id UUID NOT NULL,
    reason          TEXT COLLATE "C"
);
-- The gateway that could not take a delivery which is queued again: others may have it at once, this one after them.
ALTER TABLE deliveries ADD COLUMN handed_by TEXT COLLATE "C";
CREATE INDEX deliveries_handed ON deliveries (message_id, due_at, id) WHERE state = 'queued' AND handed_by IS NOT NULL;
-- Whose number it is (ISO 3166-1 alpha-2; empty where that cannot be told), for gateways that serve some countries. The program
-- fills it in for the registrations that are there.
ALTER TABLE participants ADD COLUMN country TEXT COLLATE "C";
