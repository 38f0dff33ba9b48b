-- Who serves a gateway, and how many of its channels each holds: only so that they are shared out evenly. A worker that does
-- not renew its row in time does not count; nothing that must be right depends on this table.
CREATE TABLE workers (
    id         BLOB NOT NULL,
    gateway    TEXT NOT NULL,
    held       INTEGER NOT NULL,
    seen_until INTEGER NOT NULL,
    PRIMARY KEY (id, gateway)
) STRICT, WITHOUT ROWID;
