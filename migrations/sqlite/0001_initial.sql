-- The schema rules are in ../README.md. Times are epoch milliseconds; ids are 16-byte UUIDv7 unless said otherwise.

-- Facts about the database itself, such as a canary that tells whether the key file fits.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE organisations (
    id         BLOB PRIMARY KEY NOT NULL,
    code       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (
    id              BLOB PRIMARY KEY NOT NULL,
    -- None: it acts on the installation.
    organisation_id BLOB REFERENCES organisations (id),
    role            TEXT NOT NULL,
    name            TEXT NOT NULL,
    -- SHA-256 of the secret part: it has 256 bits of entropy, so a slow hash would add nothing.
    secret_hash     BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    revoked_at      INTEGER,
    CHECK ((organisation_id IS NULL) = (role = 'platform'))
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_organisation ON api_keys (organisation_id, id);

CREATE TABLE participants (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    kind            TEXT NOT NULL,
    name            BLOB,               -- sealed
    phone           BLOB NOT NULL,      -- sealed
    -- Whose number it is (ISO 3166-1 alpha-2; empty if that cannot be told), for gateways that serve some countries.
    country         TEXT,
    recipient       BLOB NOT NULL,      -- keyed hash of the phone number: who rings
    language        TEXT NOT NULL,
    external_id     TEXT,
    paused_until    INTEGER,
    consent_at      INTEGER NOT NULL,
    consent_method  TEXT NOT NULL,
    -- Hash of all that an import can change: an unchanged row costs one comparison.
    fingerprint     BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX participants_external ON participants (organisation_id, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX participants_recipient ON participants (recipient, organisation_id);
CREATE INDEX participants_organisation ON participants (organisation_id, id);

-- One to five for each participant. `record` holds all that a match asks of a place
-- (crates/store/src/matching/match_record.rs), so that the match index answers alone; `opted_out` is a copy of what `opt_outs`
-- says of the number.
CREATE TABLE places (
    participant_id  BLOB NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    organisation_id BLOB NOT NULL,
    label           TEXT NOT NULL,
    latitude        REAL NOT NULL,
    longitude       REAL NOT NULL,
    cell            INTEGER NOT NULL,   -- H3, resolution 9
    hours           TEXT,
    opted_out       INTEGER NOT NULL,
    record          BLOB NOT NULL,
    PRIMARY KEY (participant_id, position)
) STRICT, WITHOUT ROWID;
-- `opted_out` is in it because SQLite would fetch the row to look at it.
CREATE INDEX places_match ON places (organisation_id, cell, record, opted_out) WHERE NOT opted_out;

CREATE TABLE groups (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    code            TEXT NOT NULL,
    name            TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    UNIQUE (organisation_id, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE memberships (
    group_id        BLOB NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    participant_id  BLOB NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    organisation_id BLOB NOT NULL,
    PRIMARY KEY (group_id, participant_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_participant ON memberships (participant_id);

-- STOP holds for a phone number everywhere and outlives the registration: looked up by the hash alone. A number may have stopped
-- itself, and each organisation may have recorded its wish: it gets messages again when no row is left.
CREATE TABLE opt_outs (
    id              BLOB NOT NULL UNIQUE,
    recipient       BLOB NOT NULL,
    -- The organisation whose people recorded it; zeros: the number itself, or its provider.
    holder          BLOB NOT NULL,
    source          TEXT NOT NULL,  -- sms, provider, person
    organisation_id BLOB,               -- the holder, or whose alert was answered with STOP, where that is known
    phone           BLOB,              -- sealed; of a person's only. Null: the participant was erased
    note            BLOB,              -- sealed
    recorded_by     TEXT,           -- as in `audit.actor`
    opted_out_at    INTEGER NOT NULL,
    PRIMARY KEY (recipient, holder)
) STRICT, WITHOUT ROWID;

-- Opt-outs that a person lifted, and why.
CREATE TABLE lifted_opt_outs (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL,      -- whose key lifted it
    recipient       BLOB NOT NULL,
    source          TEXT NOT NULL,
    phone           BLOB,
    note            BLOB,
    recorded_by     TEXT,
    opted_out_at    INTEGER NOT NULL,
    lifted_at       INTEGER NOT NULL,
    lifted_by       TEXT NOT NULL,
    reason          BLOB               -- sealed; null: the participant was erased
) STRICT, WITHOUT ROWID;
CREATE INDEX lifted_opt_outs_recipient ON lifted_opt_outs (recipient);

CREATE TABLE areas (
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    code            TEXT NOT NULL,
    name            TEXT NOT NULL,
    kind            TEXT NOT NULL,
    geometry        TEXT NOT NULL,      -- GeoJSON
    updated_at      INTEGER NOT NULL,
    PRIMARY KEY (organisation_id, code)
) STRICT, WITHOUT ROWID;

CREATE TABLE incidents (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    reference       TEXT,
    category        TEXT NOT NULL,
    description     TEXT NOT NULL,
    subject_kind    TEXT,
    subject_text    TEXT,
    latitude        REAL NOT NULL,
    longitude       REAL NOT NULL,
    occurred_at     INTEGER,
    created_at      INTEGER NOT NULL,
    created_by      BLOB NOT NULL       -- api_keys.id
) STRICT, WITHOUT ROWID;
CREATE INDEX incidents_organisation ON incidents (organisation_id, id);

CREATE TABLE alerts (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    incident_id     BLOB NOT NULL REFERENCES incidents (id),
    state           TEXT NOT NULL,
    priority        TEXT NOT NULL,
    area            TEXT NOT NULL,      -- JSON as asked for
    audience        TEXT NOT NULL,      -- JSON: kinds and groups
    exercise        INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    outcome         TEXT,
    created_at      INTEGER NOT NULL,
    created_by      BLOB NOT NULL,
    closed_at       INTEGER,
    text            TEXT NOT NULL,      -- of the start message
    geofence        TEXT NOT NULL       -- the shape, frozen
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_organisation ON alerts (organisation_id, id);
CREATE INDEX alerts_incident ON alerts (incident_id);
CREATE INDEX alerts_active ON alerts (expires_at) WHERE state = 'active';

-- One text of an alert; `service` messages (automatic answers) belong to no alert.
CREATE TABLE messages (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    alert_id        BLOB REFERENCES alerts (id),
    kind            TEXT NOT NULL,
    priority        TEXT NOT NULL,
    lane            INTEGER NOT NULL,
    text            TEXT NOT NULL,
    encoding        TEXT NOT NULL,
    segments        INTEGER NOT NULL,
    recipients      INTEGER NOT NULL,   -- always the number of its deliveries
    expires_at      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    created_by      BLOB,
    first_sent_at   INTEGER,
    last_sent_at    INTEGER,
    -- Its queued deliveries may leave. The transaction that closes an alert sets this to false for the messages that go with
    -- it, so that the queue need not know what an alert is.
    open            INTEGER NOT NULL DEFAULT 1,
    -- An update, end or retract whose start message still has deliveries that may leave: those get it afterwards.
    awaits_start    INTEGER NOT NULL DEFAULT 0,
    -- Nothing can happen to its deliveries any more but a late receipt: upkeep passes it over.
    settled         INTEGER NOT NULL DEFAULT 0,
    -- The one gateway that may take it; null: any.
    gateway         TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_alert ON messages (alert_id, id);
-- `settled` is in it because SQLite would fetch the row to look at it.
CREATE INDEX messages_unsettled ON messages (lane, id, settled) WHERE NOT settled;

-- The match of a start message, or of an extension, that is being written out page by page; one that a crash cut off is
-- done again from here.
CREATE TABLE fanouts (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL,
    alert_id        BLOB NOT NULL REFERENCES alerts (id),
    message_id      BLOB NOT NULL REFERENCES messages (id),
    geofence        TEXT,               -- the shape of an extension, frozen; null: the alert's own
    as_of           INTEGER NOT NULL,   -- the moment whose hours and pauses count
    done            INTEGER NOT NULL,
    -- How far it is, so that one that is being written is told from one that a crash cut off, and is not begun again.
    touched_at      INTEGER NOT NULL DEFAULT 0,   -- when its last page was written
    next_cell       INTEGER               -- where to go on; null: at the beginning
) STRICT, WITHOUT ROWID;
CREATE INDEX fanouts_open ON fanouts (alert_id) WHERE NOT done;
CREATE INDEX fanouts_alert ON fanouts (alert_id);

-- The queue. Hot and narrow: text, expiry and priority are the message's.
CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation_id BLOB NOT NULL,
    alert_id        BLOB,
    message_id      BLOB NOT NULL REFERENCES messages (id),
    -- To whom; null: to the number in `phone`. No foreign key: the count outlives an erased participant.
    participant_id  BLOB,
    recipient       BLOB NOT NULL,
    lane            INTEGER NOT NULL,
    state           TEXT NOT NULL,
    due_at          INTEGER NOT NULL,
    attempt         INTEGER NOT NULL DEFAULT 0,   -- claims
    retries         INTEGER NOT NULL DEFAULT 0,   -- steps on the retry ladder
    -- It was sent again after its answer was lost: the phone may ring twice, or may have rung before it was stopped.
    in_doubt        INTEGER NOT NULL DEFAULT 0,
    lease_token     INTEGER,
    lease_until     INTEGER,
    channel         TEXT,
    -- The gateway that could not take a delivery which is queued again: others may have it at once, this one after them.
    handed_by       TEXT,
    settle_at       INTEGER,
    segments        INTEGER,
    sent_at         INTEGER,
    changed_at      INTEGER NOT NULL,
    reason          TEXT,
    -- A number that is no participant's, and its country, as in `participants`. It is sealed for `recipient`; null: it was erased, or
    -- the number is the participant's.
    phone           BLOB,
    country         TEXT
) STRICT;
-- One SMS per number and message; also finds what a number last received.
CREATE UNIQUE INDEX deliveries_recipient ON deliveries (recipient, message_id);
CREATE INDEX deliveries_queue ON deliveries (message_id, due_at, id) WHERE state = 'queued';
CREATE INDEX deliveries_handed ON deliveries (message_id, due_at, id) WHERE state = 'queued' AND handed_by IS NOT NULL;
CREATE INDEX deliveries_state ON deliveries (message_id, state);
CREATE INDEX deliveries_doubt ON deliveries (settle_at) WHERE state = 'unknown' AND settle_at IS NOT NULL;
CREATE INDEX deliveries_unknown ON deliveries (changed_at) WHERE state = 'unknown';
CREATE INDEX deliveries_resent ON deliveries (message_id) WHERE in_doubt;

-- What a provider calls the parts of a delivery.
CREATE TABLE submissions (
    gateway         TEXT NOT NULL,
    provider_id     TEXT NOT NULL,
    delivery_id     INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    part            INTEGER NOT NULL,
    parts           INTEGER NOT NULL,
    organisation_id BLOB NOT NULL,
    status          TEXT,               -- of this part, once a receipt came
    submitted_at    INTEGER NOT NULL,
    PRIMARY KEY (gateway, provider_id, delivery_id, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX submissions_parts ON submissions (delivery_id, part) WHERE parts > 1;

-- Submits whose answer was lost, and how each came to be known: one row for each time that a delivery was in doubt. What was
-- never in doubt has none.
CREATE TABLE doubts (
    delivery_id     INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    lease_token     INTEGER NOT NULL,   -- which attempt
    organisation_id BLOB NOT NULL,
    message_id      BLOB NOT NULL,
    gateway         TEXT NOT NULL,
    lost_at         INTEGER NOT NULL,
    -- When the provider is asked next, or when somebody else may ask it because who does so now has died; null: it is not
    -- asked, or not any more.
    ask_at          INTEGER,
    asker           INTEGER,            -- fence of who asks now
    unanswered      INTEGER NOT NULL DEFAULT 0,   -- look-ups in vain
    missed_at       INTEGER,            -- when the provider first said that it does not know it
    resent          INTEGER NOT NULL DEFAULT 0,   -- repetitions that cannot ring twice
    settled_by      TEXT,
    settled_at      INTEGER,
    counted         INTEGER NOT NULL DEFAULT 0,   -- in the metric
    PRIMARY KEY (delivery_id, lease_token)
) STRICT, WITHOUT ROWID;
CREATE INDEX doubts_message ON doubts (message_id);
CREATE INDEX doubts_due ON doubts (gateway, ask_at) WHERE ask_at IS NOT NULL;
CREATE INDEX doubts_uncounted ON doubts (settled_at) WHERE settled_by IS NOT NULL AND NOT counted;

-- A gateway that refuses a message for everybody takes no more of it.
CREATE TABLE message_refusals (
    message_id BLOB NOT NULL REFERENCES messages (id),
    gateway    TEXT NOT NULL,
    code       TEXT NOT NULL,
    detail     TEXT NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (message_id, gateway)
) STRICT, WITHOUT ROWID;

-- Whose delivery it was refused for: one alone may be the fault of the recipient.
CREATE TABLE refused_deliveries (
    message_id  BLOB NOT NULL,
    gateway     TEXT NOT NULL,
    delivery_id INTEGER NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    PRIMARY KEY (message_id, gateway, delivery_id)
) STRICT, WITHOUT ROWID;

-- Every receipt as it came. Without a delivery it is parked until its submit answer is stored.
CREATE TABLE receipts (
    id              INTEGER PRIMARY KEY,
    organisation_id BLOB,
    gateway         TEXT NOT NULL,
    provider_id     TEXT NOT NULL,
    status          TEXT NOT NULL,
    error           TEXT,
    recipient       BLOB,
    raw             TEXT NOT NULL,
    received_at     INTEGER NOT NULL,
    delivery_id     INTEGER
) STRICT;
CREATE INDEX receipts_parked ON receipts (gateway, provider_id) WHERE delivery_id IS NULL;
CREATE INDEX receipts_parked_age ON receipts (received_at) WHERE delivery_id IS NULL;
CREATE INDEX receipts_parked_recipient ON receipts (recipient) WHERE delivery_id IS NULL;
CREATE INDEX receipts_age ON receipts (received_at);

CREATE TABLE replies (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB,               -- who sees it; none if no organisation knows the number
    alert_id        BLOB REFERENCES alerts (id),
    participant_id  BLOB,
    recipient       BLOB,
    sender          BLOB NOT NULL,      -- sealed
    text            BLOB NOT NULL,      -- sealed
    keyword         TEXT,
    -- message, or reaction: a thumb or a heart, for which the phone wrote a text of its own.
    kind            TEXT NOT NULL DEFAULT 'message',
    -- For the operator's eyes: not a STOP or START, but a HELP, which may be meant.
    shown           INTEGER NOT NULL,
    after_end       INTEGER NOT NULL,
    state           TEXT NOT NULL,
    useful          INTEGER,
    gateway         TEXT NOT NULL,
    dedupe_key      TEXT NOT NULL,
    received_at     INTEGER NOT NULL,
    -- An SMS that concerns several organisations has a row for each: 0, 1, 2, …
    copy            INTEGER NOT NULL DEFAULT 0,
    UNIQUE (gateway, dedupe_key, copy)
) STRICT, WITHOUT ROWID;
CREATE INDEX replies_alert ON replies (alert_id, id);
CREATE INDEX replies_organisation ON replies (organisation_id, id) WHERE shown;
-- Those that belong to no alert: few.
CREATE INDEX replies_unattributed ON replies (organisation_id, id) WHERE alert_id IS NULL AND shown;
CREATE INDEX replies_recipient ON replies (recipient, received_at);

-- Who holds a gateway's connection. Infrastructure: it belongs to no organisation.
CREATE TABLE channels (
    gateway      TEXT NOT NULL,
    channel      INTEGER NOT NULL,
    owner        BLOB NOT NULL,
    lease_until  INTEGER NOT NULL,
    -- Whether the provider behind it can be asked about a lost submit: the policy waits for its answer.
    can_be_asked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, channel)
) STRICT, WITHOUT ROWID;

-- Who serves a gateway, and how many of its channels each holds: only so that they are shared out evenly. A worker that does
-- not renew its row in time does not count; nothing that must be right depends on this table.
CREATE TABLE workers (
    id         BLOB NOT NULL,
    gateway    TEXT NOT NULL,
    held       INTEGER NOT NULL,
    seen_until INTEGER NOT NULL,
    PRIMARY KEY (id, gateway)
) STRICT, WITHOUT ROWID;

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

-- Gateways that somebody took out of use, until somebody puts them back.
CREATE TABLE gateway_pauses (
    gateway         TEXT PRIMARY KEY NOT NULL,
    paused_at       INTEGER NOT NULL,
    paused_by       TEXT NOT NULL,      -- as in `audit.actor`
    reason          TEXT
) STRICT, WITHOUT ROWID;

-- Test messages of gateways, to the number in their configuration, which is not kept here. They are the
-- installation's.
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
    recipient       BLOB,             -- keyed hash of the phone it went to; null: it has not left
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

-- Signed callbacks that were taken: one that comes again within the time in which its signature is good has no effect.
CREATE TABLE callback_replays (
    gateway TEXT NOT NULL,
    key     TEXT NOT NULL,              -- keyed hash of what is unique to the request
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (gateway, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX callback_replays_age ON callback_replays (seen_at);

CREATE TABLE idempotency_keys (
    organisation_id BLOB NOT NULL,
    key             TEXT NOT NULL,
    fingerprint     BLOB NOT NULL,      -- of method, path and body
    resource        BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (organisation_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- Append-only, a hash chain for each organisation: a changed or missing entry shows.
CREATE TABLE audit (
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    seq             INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    actor           TEXT NOT NULL,
    action          TEXT NOT NULL,
    subject         TEXT NOT NULL,
    detail          TEXT NOT NULL,      -- JSON without phone numbers, names and texts
    hash            BLOB NOT NULL,
    PRIMARY KEY (organisation_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
