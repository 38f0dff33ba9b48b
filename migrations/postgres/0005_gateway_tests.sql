-- Test messages of gateways, to the number in their configuration, which is not kept here. They are the installation's; the
-- organisation is the one whose key asked for it.
CREATE TABLE gateway_tests (
    number          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- below zero it is the reference that the provider gets
    id              UUID NOT NULL UNIQUE,
    gateway         TEXT COLLATE "C" NOT NULL,
    day             TEXT COLLATE "C",             -- of the daily test, on the wall clock; none where somebody asked for it
    requested_by    TEXT COLLATE "C" NOT NULL,    -- as in `audit.actor`
    organisation_id UUID,
    state           TEXT COLLATE "C" NOT NULL,
    under_way       BOOLEAN NOT NULL,    -- of a gateway only one is
    awaits_receipt  BOOLEAN NOT NULL,
    told            BOOLEAN NOT NULL,    -- the log says that it failed
    channel         TEXT COLLATE "C",             -- that handed it over
    lease_token     BIGINT,
    lease_until     BIGINT,
    provider_id     TEXT COLLATE "C",
    requested_at    BIGINT NOT NULL,
    submitted_at    BIGINT,
    answered_at     BIGINT,
    receipt_at      BIGINT,              -- of the receipt that settled it
    code            TEXT COLLATE "C",
    detail          TEXT COLLATE "C"
);
CREATE UNIQUE INDEX gateway_tests_day ON gateway_tests (gateway, day) WHERE day IS NOT NULL;
CREATE UNIQUE INDEX gateway_tests_under_way ON gateway_tests (gateway) WHERE under_way;
CREATE INDEX gateway_tests_newest ON gateway_tests (gateway, number);
CREATE INDEX gateway_tests_awaited ON gateway_tests (submitted_at) WHERE awaits_receipt;
CREATE INDEX gateway_tests_provider_id ON gateway_tests (gateway, provider_id) WHERE provider_id IS NOT NULL;
CREATE INDEX gateway_tests_age ON gateway_tests (requested_at);
