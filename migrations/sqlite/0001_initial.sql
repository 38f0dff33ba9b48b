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
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    role            TEXT NOT NULL,
    name            TEXT NOT NULL,
    -- SHA-256 of the secret part: it has 256 bits of entropy, so a slow hash would add nothing.
    secret_hash     BLOB NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_organisation ON api_keys (organisation_id, id);

CREATE TABLE participants (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL REFERENCES organisations (id),
    kind            TEXT NOT NULL,
    name            BLOB,               -- sealed
    phone           BLOB NOT NULL,      -- sealed
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

-- One to five for each participant. The columns after `hours` are copies of the participant's, so that the match index
-- answers alone.
CREATE TABLE places (
    participant_id  BLOB NOT NULL REFERENCES participants (id) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    organisation_id BLOB NOT NULL,
    label           TEXT NOT NULL,
    latitude        REAL NOT NULL,
    longitude       REAL NOT NULL,
    cell            INTEGER NOT NULL,   -- H3, resolution 9
    hours           TEXT,
    recipient       BLOB NOT NULL,
    kind            TEXT NOT NULL,
    paused_until    INTEGER,
    opted_out       INTEGER NOT NULL,
    PRIMARY KEY (participant_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX places_match
    ON places (organisation_id, cell, latitude, longitude, participant_id, recipient, kind, paused_until, hours)
    WHERE opted_out = 0;

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

-- STOP holds for a phone number everywhere and outlives the registration: keyed by the hash alone.
CREATE TABLE opt_outs (
    recipient       BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB,               -- whose alert was answered with STOP, where that is known
    opted_out_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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
    closed_at       INTEGER
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
    -- An update, end or retract whose start message still has deliveries that may leave: those get it afterwards.
    awaits_start    INTEGER NOT NULL DEFAULT 0,
    -- Nothing can happen to its deliveries any more but a late receipt: upkeep passes it over.
    settled         INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_alert ON messages (alert_id, id);
CREATE INDEX messages_open ON messages (lane, id) WHERE settled = 0;

-- The match of a start message, or of an extension, that is being written out page by page; one that a crash cut off is
-- done again from here.
CREATE TABLE fanouts (
    id              BLOB PRIMARY KEY NOT NULL,
    organisation_id BLOB NOT NULL,
    alert_id        BLOB NOT NULL REFERENCES alerts (id),
    message_id      BLOB NOT NULL REFERENCES messages (id),
    geofence        TEXT NOT NULL,      -- frozen copy of the shape
    as_of           INTEGER NOT NULL,   -- the moment whose hours and pauses count
    done            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX fanouts_open ON fanouts (alert_id) WHERE done = 0;
CREATE INDEX fanouts_alert ON fanouts (alert_id);

-- The queue. Hot and narrow: text, expiry and priority are the message's.
CREATE TABLE deliveries (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    organisation_id BLOB NOT NULL,
    alert_id        BLOB,
    message_id      BLOB NOT NULL REFERENCES messages (id),
    participant_id  BLOB NOT NULL,      -- no foreign key: the count outlives an erased participant
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
    settle_at       INTEGER,
    segments        INTEGER,
    sent_at         INTEGER,
    changed_at      INTEGER NOT NULL,
    reason          TEXT
) STRICT;
-- One SMS per number and message; also finds what a number last received.
CREATE UNIQUE INDEX deliveries_recipient ON deliveries (recipient, message_id);
CREATE INDEX deliveries_queue ON deliveries (message_id, due_at, id) WHERE state = 'queued';
CREATE INDEX deliveries_state ON deliveries (message_id, state);
CREATE INDEX deliveries_doubt ON deliveries (settle_at) WHERE state = 'unknown' AND settle_at IS NOT NULL;
CREATE INDEX deliveries_unknown ON deliveries (changed_at) WHERE state = 'unknown';
CREATE INDEX deliveries_resent ON deliveries (message_id) WHERE in_doubt = 1;

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
    organisation_id BLOB,               -- none for a number that nobody enrolled
    alert_id        BLOB REFERENCES alerts (id),
    participant_id  BLOB,
    recipient       BLOB,
    sender          BLOB NOT NULL,      -- sealed
    text            BLOB NOT NULL,      -- sealed
    keyword         TEXT,
    -- For the operator's eyes: not a STOP or START, but a HELP, which may be meant.
    shown           INTEGER NOT NULL,
    after_end       INTEGER NOT NULL,
    state           TEXT NOT NULL,
    useful          INTEGER,
    gateway         TEXT NOT NULL,
    dedupe_key      TEXT NOT NULL,
    received_at     INTEGER NOT NULL,
    UNIQUE (gateway, dedupe_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX replies_alert ON replies (alert_id, id);
CREATE INDEX replies_recipient ON replies (recipient, received_at);

-- Who holds a gateway's connection. Infrastructure: it belongs to no organisation.
CREATE TABLE channels (
    gateway     TEXT NOT NULL,
    channel     INTEGER NOT NULL,
    owner       BLOB NOT NULL,
    lease_until INTEGER NOT NULL,
    PRIMARY KEY (gateway, channel)
) STRICT, WITHOUT ROWID;

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
