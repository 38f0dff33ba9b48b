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

INSERT INTO doubts (delivery_id, lease_token, organisation_id, message_id, gateway, lost_at, ask_at, settled_by, settled_at, counted)
SELECT id, COALESCE(lease_token, 0), organisation_id, message_id, rtrim(rtrim(COALESCE(channel, ''), '0123456789'), '/'), changed_at,
    settle_at,
    CASE WHEN settle_at IS NOT NULL THEN NULL WHEN in_doubt THEN 'policy_resend' ELSE 'policy_hold' END,
    CASE WHEN settle_at IS NULL THEN changed_at END,
    settle_at IS NULL
FROM deliveries WHERE state = 'unknown' OR in_doubt;

-- Whether the provider behind it can be asked about a lost submit: the policy waits for its answer.
ALTER TABLE channels ADD COLUMN can_be_asked BOOLEAN NOT NULL DEFAULT FALSE;

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
