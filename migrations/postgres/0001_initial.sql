-- The schema rules are in ../README.md. Times are epoch milliseconds; ids are UUIDv7 unless said otherwise. Texts are compared
-- byte by byte (collation C), as in SQLite: a list and its cursors have one order in both, whatever the locale of the server.

-- Facts about the database itself, such as a canary that tells whether the key file fits.
CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE organisations (
    id         UUID PRIMARY KEY,
    code       TEXT COLLATE "C" NOT NULL UNIQUE,
    name       TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id              UUID PRIMARY KEY,
    -- None: it acts on the installation.
    organisation_id UUID REFERENCES organisations (id),
    role            TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    -- SHA-256 of the secret part: it has 256 bits of entropy, so a slow hash would add nothing.
    secret_hash     BYTEA NOT NULL,
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    revoked_at      BIGINT,
    CHECK ((organisation_id IS NULL) = (role = 'platform'))
);
CREATE INDEX api_keys_organisation ON api_keys (organisation_id, id);

CREATE TABLE participants (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    kind            TEXT COLLATE "C" NOT NULL,
    name            BYTEA,               -- sealed
    phone           BYTEA NOT NULL,      -- sealed
    -- Whose number it is (ISO 3166-1 alpha-2; empty if that cannot be told), for gateways that serve some countries.
    country         TEXT COLLATE "C",
    recipient       BYTEA NOT NULL,      -- keyed hash of the phone number: who rings
    language        TEXT COLLATE "C" NOT NULL,
    external_id     TEXT COLLATE "C",
    paused_until    BIGINT,
    consent_at      BIGINT NOT NULL,
    consent_method  TEXT COLLATE "C" NOT NULL,
    -- Hash of all that an import can change: an unchanged row costs one comparison.
    fingerprint     BYTEA NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX participants_external ON participants (organisation_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX participants_recipient ON participants (recipient, organisation_id);
CREATE INDEX participants_organisation ON participants (organisation_id, id);

-- One to five for each participant. `record` holds all that a match asks of a place
-- (crates/store/src/matching/match_record.rs), so that the match index answers alone; `opted_out` is a copy of what `opt_outs`
-- says of the number.
CREATE TABLE places (
    participant_id  UUID NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    position        BIGINT NOT NULL,
    organisation_id UUID NOT NULL,
    label           TEXT COLLATE "C" NOT NULL,
    latitude        DOUBLE PRECISION NOT NULL,
    longitude       DOUBLE PRECISION NOT NULL,
    cell            BIGINT NOT NULL,   -- H3, resolution 9
    hours           TEXT COLLATE "C",
    opted_out       BOOLEAN NOT NULL,
    record          BYTEA NOT NULL,
    PRIMARY KEY (participant_id, position)
);
CREATE INDEX places_match ON places (organisation_id, cell) INCLUDE (record) WHERE NOT opted_out;

CREATE TABLE groups (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    code            TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (organisation_id, code)
);

CREATE TABLE memberships (
    group_id        UUID NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    participant_id  UUID NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    organisation_id UUID NOT NULL,
    PRIMARY KEY (group_id, participant_id)
);
CREATE INDEX memberships_participant ON memberships (participant_id);

-- STOP holds for a phone number everywhere and outlives the registration: looked up by the hash alone. A number may have stopped
-- itself, and each organisation may have recorded its wish: it gets messages again when no row is left.
CREATE TABLE opt_outs (
    id              UUID NOT NULL UNIQUE,
    recipient       BYTEA NOT NULL,
    -- The organisation whose people recorded it; zeros: the number itself, or its provider.
    holder          UUID NOT NULL,
    source          TEXT COLLATE "C" NOT NULL,  -- sms, provider, person
    organisation_id UUID,               -- the holder, or whose alert was answered with STOP, where that is known
    phone           BYTEA,              -- sealed; of a person's only. Null: the participant was erased
    note            BYTEA,              -- sealed
    recorded_by     TEXT COLLATE "C",           -- as in `audit.actor`
    opted_out_at    BIGINT NOT NULL,
    PRIMARY KEY (recipient, holder)
);

-- Opt-outs that a person lifted, and why.
CREATE TABLE lifted_opt_outs (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL,      -- whose key lifted it
    recipient       BYTEA NOT NULL,
    source          TEXT COLLATE "C" NOT NULL,
    phone           BYTEA,
    note            BYTEA,
    recorded_by     TEXT COLLATE "C",
    opted_out_at    BIGINT NOT NULL,
    lifted_at       BIGINT NOT NULL,
    lifted_by       TEXT COLLATE "C" NOT NULL,
    reason          BYTEA               -- sealed; null: the participant was erased
);
CREATE INDEX lifted_opt_outs_recipient ON lifted_opt_outs (recipient);

CREATE TABLE areas (
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    code            TEXT COLLATE "C" NOT NULL,
    name            TEXT COLLATE "C" NOT NULL,
    kind            TEXT COLLATE "C" NOT NULL,
    geometry        TEXT COLLATE "C" NOT NULL,      -- GeoJSON
    updated_at      BIGINT NOT NULL,
    PRIMARY KEY (organisation_id, code)
);

CREATE TABLE incidents (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    reference       TEXT COLLATE "C",
    category        TEXT COLLATE "C" NOT NULL,
    description     TEXT COLLATE "C" NOT NULL,
    subject_kind    TEXT COLLATE "C",
    subject_text    TEXT COLLATE "C",
    latitude        DOUBLE PRECISION NOT NULL,
    longitude       DOUBLE PRECISION NOT NULL,
    occurred_at     BIGINT,
    created_at      BIGINT NOT NULL,
    created_by      UUID NOT NULL       -- api_keys.id
);
CREATE INDEX incidents_organisation ON incidents (organisation_id, id);

CREATE TABLE alerts (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    incident_id     UUID NOT NULL REFERENCES incidents (id),
    state           TEXT COLLATE "C" NOT NULL,
    priority        TEXT COLLATE "C" NOT NULL,
    area            TEXT COLLATE "C" NOT NULL,      -- JSON as asked for
    audience        TEXT COLLATE "C" NOT NULL,      -- JSON: kinds and groups
    exercise        BOOLEAN NOT NULL,
    expires_at      BIGINT NOT NULL,
    outcome         TEXT COLLATE "C",
    created_at      BIGINT NOT NULL,
    created_by      UUID NOT NULL,
    closed_at       BIGINT,
    text            TEXT COLLATE "C" NOT NULL,      -- of the start message
    geofence        TEXT COLLATE "C" NOT NULL       -- the shape, frozen
);
CREATE INDEX alerts_organisation ON alerts (organisation_id, id);
CREATE INDEX alerts_incident ON alerts (incident_id);
CREATE INDEX alerts_active ON alerts (expires_at) WHERE state = 'active';

-- One text of an alert; `service` messages (automatic answers) belong to no alert.
CREATE TABLE messages (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    alert_id        UUID REFERENCES alerts (id),
    kind            TEXT COLLATE "C" NOT NULL,
    priority        TEXT COLLATE "C" NOT NULL,
    lane            BIGINT NOT NULL,
    text            TEXT COLLATE "C" NOT NULL,
    encoding        TEXT COLLATE "C" NOT NULL,
    segments        BIGINT NOT NULL,
    recipients      BIGINT NOT NULL,   -- always the number of its deliveries
    expires_at      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by      UUID,
    first_sent_at   BIGINT,
    last_sent_at    BIGINT,
    -- Its queued deliveries may leave. The transaction that closes an alert sets this to false for the messages that go with
    -- it, so that the queue need not know what an alert is.
    open            BOOLEAN NOT NULL DEFAULT TRUE,
    -- An update, end or retract whose start message still has deliveries that may leave: those get it afterwards.
    awaits_start    BOOLEAN NOT NULL DEFAULT FALSE,
    -- Nothing can happen to its deliveries any more but a late receipt: upkeep passes it over.
    settled         BOOLEAN NOT NULL DEFAULT FALSE,
    -- The one gateway that may take it; null: any.
    gateway         TEXT COLLATE "C"
);
CREATE INDEX messages_alert ON messages (alert_id, id);
CREATE INDEX messages_unsettled ON messages (lane, id) WHERE NOT settled;
-- Few rows, but those of an alert that runs are written with each batch of answers.
ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The match of a start message, or of an extension, that is being written out page by page; one that a crash cut off is
-- done again from here.
CREATE TABLE fanouts (
    id              UUID PRIMARY KEY,
    organisation_id UUID NOT NULL,
    alert_id        UUID NOT NULL REFERENCES alerts (id),
    message_id      UUID NOT NULL REFERENCES messages (id),
    geofence        TEXT COLLATE "C",               -- the shape of an extension, frozen; null: the alert's own
    as_of           BIGINT NOT NULL,   -- the moment whose hours and pauses count
    done            BOOLEAN NOT NULL,
    -- How far it is, so that one that is being written is told from one that a crash cut off, and is not begun again.
    touched_at      BIGINT NOT NULL DEFAULT 0,   -- when its last page was written
    next_cell       BIGINT              -- where to go on; null: at the beginning
);
CREATE INDEX fanouts_open ON fanouts (alert_id) WHERE NOT done;
CREATE INDEX fanouts_alert ON fanouts (alert_id);

-- The queue. Hot and narrow: text, expiry and priority are the message's. Neither it nor `submissions` has a foreign key here:
-- each row would be one more query and lock of the server, and both are only written together with what they belong to.
CREATE TABLE deliveries (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id UUID NOT NULL,
    alert_id        UUID,
    message_id      UUID NOT NULL,
    -- To whom; null: to the number in `phone`. No foreign key: the count outlives an erased participant.
    participant_id  UUID,
    recipient       BYTEA NOT NULL,
    lane            BIGINT NOT NULL,
    state           TEXT COLLATE "C" NOT NULL,
    due_at          BIGINT NOT NULL,
    attempt         BIGINT NOT NULL DEFAULT 0,   -- claims
    retries         BIGINT NOT NULL DEFAULT 0,   -- steps on the retry ladder
    -- It was sent again after its answer was lost: the phone may ring twice, or may have rung before it was stopped.
    in_doubt        BOOLEAN NOT NULL DEFAULT FALSE,
    lease_token     BIGINT,
    lease_until     BIGINT,
    channel         TEXT COLLATE "C",
    -- The gateway that could not take a delivery which is queued again: others may have it at once, this one after them.
    handed_by       TEXT COLLATE "C",
    settle_at       BIGINT,
    segments        BIGINT,
    sent_at         BIGINT,
    changed_at      BIGINT NOT NULL,
    reason          TEXT COLLATE "C",
    -- A number that is no participant's, and its country, as in `participants`. It is sealed for `recipient`; null: it was erased, or
    -- the number is the participant's.
    phone           BYTEA,
    country         TEXT COLLATE "C"
);
-- One SMS per number and message; also finds what a number last received.
CREATE UNIQUE INDEX deliveries_recipient ON deliveries (recipient, message_id);
CREATE INDEX deliveries_queue ON deliveries (message_id, due_at, id) WHERE state = 'queued';
CREATE INDEX deliveries_handed ON deliveries (message_id, due_at, id) WHERE state = 'queued' AND handed_by IS NOT NULL;
CREATE INDEX deliveries_state ON deliveries (message_id, state);
CREATE INDEX deliveries_doubt ON deliveries (settle_at) WHERE state = 'unknown' AND settle_at IS NOT NULL;
CREATE INDEX deliveries_unknown ON deliveries (changed_at) WHERE state = 'unknown';
CREATE INDEX deliveries_resent ON deliveries (message_id) WHERE in_doubt;
-- Of a table of ten million rows a fifth must have changed before PostgreSQL cleans it by itself, and a tenth before it counts it
-- anew: an alert to a city is over by then. Each delivery is written four times, always in an indexed column, so that each time
-- leaves a dead entry in every index. A claim reads past those of the queue, and the counts of an alert past all of its own:
-- measured with 200,000 of 400,000 deliveries sent, a claim of 500 read 1,212 pages instead of 7 and the counts took 567 ms
-- instead of 102 ms.
--
-- A lower fill factor does not help. No change of a delivery can stay within its page, and 99 % of those of messages do so as it is.
ALTER TABLE deliveries SET (
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.01, autovacuum_vacuum_insert_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 1000
);

-- What a provider calls the parts of a delivery.
CREATE TABLE submissions (
    gateway         TEXT COLLATE "C" NOT NULL,
    provider_id     TEXT COLLATE "C" NOT NULL,
    delivery_id     BIGINT NOT NULL,
    part            BIGINT NOT NULL,
    parts           BIGINT NOT NULL,
    organisation_id UUID NOT NULL,
    status          TEXT COLLATE "C",               -- of this part, once a receipt came
    submitted_at    BIGINT NOT NULL,
    PRIMARY KEY (gateway, provider_id, delivery_id, part)
);
CREATE INDEX submissions_parts ON submissions (delivery_id, part) WHERE parts > 1;
-- One row for each SMS, which never changes: only what PostgreSQL thinks of it grows old.
ALTER TABLE submissions SET (autovacuum_analyze_scale_factor = 0.01, autovacuum_analyze_threshold = 1000);

-- Submits whose answer was lost, and how each came to be known: one row for each time that a delivery was in doubt. What was
-- never in doubt has none.
CREATE TABLE doubts (
    delivery_id     BIGINT NOT NULL,
    lease_token     BIGINT NOT NULL,   -- which attempt
    organisation_id UUID NOT NULL,
    message_id      UUID NOT NULL,
    gateway         TEXT COLLATE "C" NOT NULL,
    lost_at         BIGINT NOT NULL,
    -- When the provider is asked next, or when somebody else may ask it because who does so now has died; null: it is not
    -- asked, or not any more.
    ask_at          BIGINT,
    asker           BIGINT,            -- fence of who asks now
    unanswered      BIGINT NOT NULL DEFAULT 0,   -- look-ups in vain
    missed_at       BIGINT,            -- when the provider first said that it does not know it
    resent          BIGINT NOT NULL DEFAULT 0,   -- repetitions that cannot ring twice
    settled_by      TEXT COLLATE "C",
    settled_at      BIGINT,
    counted         BOOLEAN NOT NULL DEFAULT FALSE,   -- in the metric
    PRIMARY KEY (delivery_id, lease_token)
);
CREATE INDEX doubts_message ON doubts (message_id);
CREATE INDEX doubts_due ON doubts (gateway, ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX doubts_uncounted ON doubts (settled_at) WHERE settled_by IS NOT NULL AND NOT counted;

-- A gateway that refuses a message for everybody takes no more of it.
CREATE TABLE message_refusals (
    message_id UUID NOT NULL REFERENCES messages (id),
    gateway    TEXT COLLATE "C" NOT NULL,
    code       TEXT COLLATE "C" NOT NULL,
    detail     TEXT COLLATE "C" NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (message_id, gateway)
);

-- Whose delivery it was refused for: one alone may be the fault of the recipient.
CREATE TABLE refused_deliveries (
    message_id  UUID NOT NULL,
    gateway     TEXT COLLATE "C" NOT NULL,
    delivery_id BIGINT NOT NULL,
    PRIMARY KEY (message_id, gateway, delivery_id)
);

-- Every receipt as it came. Without a delivery it is parked until its submit answer is stored.
CREATE TABLE receipts (
    id              BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id UUID,
    gateway         TEXT COLLATE "C" NOT NULL,
    provider_id     TEXT COLLATE "C" NOT NULL,
    status          TEXT COLLATE "C" NOT NULL,
    error           TEXT COLLATE "C",
    recipient       BYTEA,
    raw             TEXT COLLATE "C" NOT NULL,
    received_at     BIGINT NOT NULL,
    delivery_id     BIGINT
);
CREATE INDEX receipts_parked ON receipts (gateway, provider_id) WHERE delivery_id IS NULL;
CREATE INDEX receipts_parked_age ON receipts (received_at) WHERE delivery_id IS NULL;
CREATE INDEX receipts_parked_recipient ON receipts (recipient) WHERE delivery_id IS NULL;
CREATE INDEX receipts_age ON receipts (received_at);

CREATE TABLE replies (
    id              UUID PRIMARY KEY,
    organisation_id UUID,               -- who sees it; none if no organisation knows the number
    alert_id        UUID REFERENCES alerts (id),
    participant_id  UUID,
    recipient       BYTEA,
    sender          BYTEA NOT NULL,      -- sealed
    text            BYTEA NOT NULL,      -- sealed
    keyword         TEXT COLLATE "C",
    -- message, or reaction: a thumb or a heart, for which the phone wrote a text of its own.
    kind            TEXT COLLATE "C" NOT NULL DEFAULT 'message',
    -- For the operator's eyes: not a STOP or START, but a HELP, which may be meant.
    shown           BOOLEAN NOT NULL,
    after_end       BOOLEAN NOT NULL,
    state           TEXT COLLATE "C" NOT NULL,
    useful          BOOLEAN,
    gateway         TEXT COLLATE "C" NOT NULL,
    dedupe_key      TEXT COLLATE "C" NOT NULL,
    received_at     BIGINT NOT NULL,
    -- An SMS that concerns several organisations has a row for each: 0, 1, 2, …
    copy            BIGINT NOT NULL DEFAULT 0,
    UNIQUE (gateway, dedupe_key, copy)
);
CREATE INDEX replies_alert ON replies (alert_id, id);
CREATE INDEX replies_organisation ON replies (organisation_id, id) WHERE shown;
-- Those that belong to no alert: few.
CREATE INDEX replies_unattributed ON replies (organisation_id, id) WHERE alert_id IS NULL AND shown;
CREATE INDEX replies_recipient ON replies (recipient, received_at);

-- Who holds a gateway's connection. Infrastructure: it belongs to no organisation.
CREATE TABLE channels (
    gateway      TEXT COLLATE "C" NOT NULL,
    channel      BIGINT NOT NULL,
    owner        UUID NOT NULL,
    lease_until  BIGINT NOT NULL,
    -- Whether the provider behind it can be asked about a lost submit: the policy waits for its answer.
    can_be_asked BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (gateway, channel)
);

-- Who serves a gateway, and how many of its channels each holds: only so that they are shared out evenly. A worker that does
-- not renew its row in time does not count; nothing that must be right depends on this table.
CREATE TABLE workers (
    id         UUID NOT NULL,
    gateway    TEXT COLLATE "C" NOT NULL,
    held       BIGINT NOT NULL,
    seen_until BIGINT NOT NULL,
    PRIMARY KEY (id, gateway)
);

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

-- Gateways that somebody took out of use, until somebody puts them back.
CREATE TABLE gateway_pauses (
    gateway         TEXT COLLATE "C" PRIMARY KEY,
    paused_at       BIGINT NOT NULL,
    paused_by       TEXT COLLATE "C" NOT NULL,  -- as in `audit.actor`
    reason          TEXT COLLATE "C"
);

-- Test messages of gateways, to the number in their configuration, which is not kept here. They are the
-- installation's.
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
    recipient       BYTEA,             -- keyed hash of the phone it went to; null: it has not left
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

-- Signed callbacks that were taken: one that comes again within the time in which its signature is good has no effect.
CREATE TABLE callback_replays (
    gateway TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,  -- keyed hash of what is unique to the request
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (gateway, key)
);
CREATE INDEX callback_replays_age ON callback_replays (seen_at);

CREATE TABLE idempotency_keys (
    organisation_id UUID NOT NULL,
    key             TEXT COLLATE "C" NOT NULL,
    fingerprint     BYTEA NOT NULL,      -- of method, path and body
    resource        UUID NOT NULL,
    created_at      BIGINT NOT NULL,
    PRIMARY KEY (organisation_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Append-only, a hash chain for each organisation: a changed or missing entry shows.
CREATE TABLE audit (
    organisation_id UUID NOT NULL REFERENCES organisations (id),
    seq             BIGINT NOT NULL,
    at              BIGINT NOT NULL,
    actor           TEXT COLLATE "C" NOT NULL,
    action          TEXT COLLATE "C" NOT NULL,
    subject         TEXT COLLATE "C" NOT NULL,
    detail          TEXT COLLATE "C" NOT NULL,      -- JSON without phone numbers, names and texts
    hash            BYTEA NOT NULL,
    PRIMARY KEY (organisation_id, seq)
);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_is_append_only();
