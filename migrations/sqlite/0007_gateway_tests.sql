-- Test messages of gateways, to the number in their configuration, which is not kept here. They are the installation's; the
-- organisation is the one whose key asked for it.
CREATE TABLE gateway_tests (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,   -- below zero it is the reference that the provider gets
    id              BLOB NOT NULL UNIQUE,
    gateway         TEXT NOT NULL,
    day             TEXT,             -- of the daily test, on the wall clock; none where somebody asked for it
    requested_by    TEXT NOT NULL,    -- as in `audit.actor`
    organisation_id BLOB,
    state           TEXT NOT NULL,
    under_way       INTEGER NOT NULL,    -- of a gateway only one is
    awaits_receipt  INTEGER NOT NULL,
    told            INTEGER NOT NULL,    -- the log says that it failed
    channel         TEXT,             -- that handed it over
    lease_token     INTEGER,
    lease_until     INTEGER,
    provider_id     TEXT,
    requested_at    INTEGER NOT NULL,
    submitted_at    INTEGER,
    answered_at     INTEGER,
    receipt_at      INTEGER,              -- of the receipt that settled it
    code            TEXT,
    detail          TEXT
) STRICT;
CREATE UNIQUE INDEX gateway_tests_day ON gateway_tests (gateway, day) WHERE day IS NOT NULL;
CREATE UNIQUE INDEX gateway_tests_under_way ON gateway_tests (gateway) WHERE under_way;
CREATE INDEX gateway_tests_newest ON gateway_tests (gateway, number);
CREATE INDEX gateway_tests_awaited ON gateway_tests (submitted_at) WHERE awaits_receipt;
CREATE INDEX gateway_tests_provider_id ON gateway_tests (gateway, provider_id) WHERE provider_id IS NOT NULL;
CREATE INDEX gateway_tests_age ON gateway_tests (requested_at);
