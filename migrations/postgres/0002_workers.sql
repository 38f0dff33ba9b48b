-- Who serves a gateway, and how many of its channels each holds: only so that they are shared out evenly. A worker that does
-- not renew its row in time does not count; nothing that must be right depends on this table.
CREATE TABLE workers (
    id         UUID NOT NULL,
    gateway    TEXT COLLATE "C" NOT NULL,
    held       BIGINT NOT NULL,
    seen_until BIGINT NOT NULL,
    PRIMARY KEY (id, gateway)
);
