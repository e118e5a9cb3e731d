-- DO NOT EDIT. The first schema as it was released; a file made from it has to open for ever.
-- Frozen: tests/store/frozen_0001.sql is its copy. What comes later comes in a script of its own.

CREATE TABLE peer (
    name_key TEXT PRIMARY KEY,           -- the name in lower case
    shown TEXT NOT NULL,                 -- as it was first seen
    address TEXT,                        -- where the directory last said it was
    located_ms INTEGER
) WITHOUT ROWID;

CREATE TABLE message (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id BLOB NOT NULL UNIQUE CHECK (length(message_id) = 16),
    peer TEXT NOT NULL REFERENCES peer (name_key),
    outgoing INTEGER NOT NULL CHECK (outgoing IN (0, 1)),
    text TEXT,                           -- NULL: deleted, the row is the tombstone
    state TEXT NOT NULL,
    reason TEXT,
    source TEXT,                         -- the IP address a received one came from
    at_ms INTEGER NOT NULL,
    deleted_ms INTEGER,
    CHECK ((text IS NULL) = (deleted_ms IS NOT NULL))
);
CREATE INDEX message_by_peer ON message (peer, position);
CREATE INDEX message_not_deleted ON message (peer, outgoing, position) WHERE deleted_ms IS NULL;

-- Deletes that were applied or judged, so that the same one never counts twice.
CREATE TABLE change (
    change_id BLOB PRIMARY KEY CHECK (length(change_id) = 16),
    peer TEXT NOT NULL,
    target BLOB,
    at_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- What still has to reach a peer, oldest first. `text` is a copy: a message that is deleted here
-- while its bytes are on their way still has to be handed over whole before its delete follows.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    item_id BLOB NOT NULL UNIQUE CHECK (length(item_id) = 16),
    peer TEXT NOT NULL REFERENCES peer (name_key),
    kind TEXT NOT NULL CHECK (kind IN ('text', 'delete')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'handing')),
    text TEXT,
    expires_ms INTEGER NOT NULL
);
CREATE INDEX outbox_by_peer ON outbox (peer, position);
