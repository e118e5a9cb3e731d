-- Frozen once released: tests/store/frozen_0001.sql is its copy. What comes later comes in a script of its own.

-- What this profile knows of itself: `stream` names its outbox, `record_seq` numbers its records.
CREATE TABLE own (
    entry TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE peer (
    name_key TEXT PRIMARY KEY,            -- the name in lower case; with a tilde for a claimed one
    shown TEXT NOT NULL,                  -- as it was first seen
    address TEXT,                         -- where a classic directory last said it was
    located_ms INTEGER,
    last_seq INTEGER NOT NULL DEFAULT 0,  -- the number of the newest item for it
    left_seq INTEGER NOT NULL DEFAULT 0,  -- items up to this number may have left this machine
    read_hlc INTEGER NOT NULL DEFAULT 0   -- the peer has said that it read everything up to here
) WITHOUT ROWID;

-- Who holds a name, as far as this profile has seen; the signed records as they came.
CREATE TABLE pin (
    name_key TEXT PRIMARY KEY REFERENCES peer (name_key),
    state TEXT NOT NULL,
    holder BLOB CHECK (length(holder) = 32),
    record BLOB,
    pending BLOB,
    refused BLOB CHECK (length(refused) = 32),
    classic_allowed INTEGER NOT NULL CHECK (classic_allowed IN (0, 1))
) WITHOUT ROWID;

CREATE TABLE message (
    position INTEGER PRIMARY KEY,
    sender BLOB NOT NULL,                 -- the key that wrote it; empty for our own and for classic ones
    message_id BLOB NOT NULL CHECK (length(message_id) = 16),
    peer TEXT NOT NULL,                   -- in peer; not a REFERENCES, which costs a fifth of an insert
    outgoing INTEGER NOT NULL CHECK (outgoing IN (0, 1)),
    text TEXT,                            -- NULL: deleted, the row is the tombstone
    state TEXT NOT NULL,
    reason TEXT,
    source TEXT,                          -- the IP address that a classic one came from
    hlc INTEGER NOT NULL,
    seq INTEGER,                          -- the number in the outbox of whoever wrote it
    at_ms INTEGER NOT NULL,
    stored_ms INTEGER,
    delivered_ms INTEGER,
    read_ms INTEGER,
    ended_ms INTEGER,
    deleted_ms INTEGER,
    CHECK (text IS NOT NULL OR deleted_ms IS NOT NULL),
    UNIQUE (sender, message_id)
);
CREATE INDEX message_by_peer ON message (peer, hlc, message_id);
-- What a classic delete may mean; else one would walk over everything that was deleted before.
CREATE INDEX message_classic ON message (peer, hlc, message_id)
    WHERE NOT outgoing AND sender = x'' AND deleted_ms IS NULL;

-- Deletes that were made, applied or judged, so that the same one never counts twice. One whose
-- message is not here yet waits for it.
CREATE TABLE change (
    sender BLOB NOT NULL,                 -- as in message
    change_id BLOB NOT NULL CHECK (length(change_id) = 16),
    peer TEXT NOT NULL,
    target BLOB,
    result TEXT,                          -- what was answered to its author
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (sender, change_id)
) WITHOUT ROWID;
CREATE INDEX change_by_target ON change (sender, target);

-- What still has to reach a peer, by its number. `text` is a copy: a message that is deleted here
-- while its bytes are on their way to a classic peer still has to be handed over whole.
CREATE TABLE outbox (
    peer TEXT NOT NULL,                   -- in peer; not a REFERENCES, which costs a fifth of an insert
    seq INTEGER NOT NULL,
    item_id BLOB NOT NULL CHECK (length(item_id) = 16),
    -- ORs, since SQLite builds a table of its own for each row and IN: two thirds of an insert.
    kind TEXT NOT NULL CHECK (kind = 'text' OR kind = 'delete' OR kind = 'read' OR kind = 'void'),
    state TEXT NOT NULL CHECK (state = 'queued' OR state = 'handing' OR state = 'stored'),
    hlc INTEGER NOT NULL,
    text TEXT,
    target BLOB,
    expires_ms INTEGER NOT NULL,
    stored_until_ms INTEGER,              -- how long the mailbox keeps it
    PRIMARY KEY (peer, seq)
) WITHOUT ROWID;

-- Which numbers of a peer's outbox are here. Every one up to `upto` is, or is known never to come.
CREATE TABLE received (
    sender BLOB NOT NULL,
    stream BLOB NOT NULL,
    upto INTEGER NOT NULL,
    ahead TEXT NOT NULL,                  -- the ranges above it, as 7-9,12-12
    PRIMARY KEY (sender, stream)
) WITHOUT ROWID;

-- What came by mail, and whose author does not know it yet.
CREATE TABLE owed (
    peer TEXT NOT NULL,
    item_id BLOB NOT NULL,
    result TEXT NOT NULL,
    PRIMARY KEY (peer, item_id)
) WITHOUT ROWID;

-- What came by mail under a name whose key another one holds; it waits for a person's decision.
CREATE TABLE held (
    position INTEGER PRIMARY KEY,
    peer TEXT NOT NULL,
    sender BLOB NOT NULL,
    digest BLOB NOT NULL,                 -- SHA-256 of the body: a directory may bring it again
    body BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    UNIQUE (peer, sender, digest)
);

CREATE TABLE prekey (
    prekey_id BLOB PRIMARY KEY CHECK (length(prekey_id) = 16),
    secret BLOB NOT NULL,
    made_ms INTEGER NOT NULL,
    superseded_ms INTEGER
) WITHOUT ROWID;
