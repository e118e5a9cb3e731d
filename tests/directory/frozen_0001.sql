-- DO NOT EDIT. The first schema as it was released; a file made from it has to open for ever.

    CREATE TABLE claim (
        name_key TEXT PRIMARY KEY,
        shown TEXT NOT NULL,
        holder BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE lease (
        name_key TEXT PRIMARY KEY REFERENCES claim (name_key),
        address TEXT NOT NULL,
        expires_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
