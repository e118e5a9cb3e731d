"""The tables of the embedded store. Triggers keep its counts, whatever changes a row."""

from typing import Final

SCHEMAS: Final = (
    # Frozen: tests/directory/frozen_0001.sql is its copy. What comes later is a script of its own.
    """
    CREATE TABLE directory (
        id BLOB,
        claims INTEGER NOT NULL,
        mail_bytes INTEGER NOT NULL
    );
    INSERT INTO directory VALUES (NULL, 0, 0);

    CREATE TABLE claim (
        name_key TEXT PRIMARY KEY,
        shown TEXT NOT NULL,
        skeleton TEXT NOT NULL,
        holder BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX claim_skeleton ON claim (skeleton) WHERE holder != x'';
    CREATE INDEX claim_holder ON claim (holder) WHERE holder != x'';
    CREATE TABLE record (
        name_key TEXT PRIMARY KEY REFERENCES claim (name_key),
        seq INTEGER NOT NULL,
        envelope BLOB NOT NULL
    );
    CREATE TRIGGER record_made AFTER INSERT ON record BEGIN
        UPDATE directory SET claims = claims + 1;
    END;
    CREATE TRIGGER record_gone AFTER DELETE ON record BEGIN
        UPDATE directory SET claims = claims - 1;
    END;
    CREATE TABLE lease (
        name_key TEXT PRIMARY KEY REFERENCES claim (name_key),
        address TEXT NOT NULL,
        expires_ms INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE name_log (
        n INTEGER PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        event TEXT NOT NULL,
        name_key TEXT NOT NULL,
        shown TEXT NOT NULL,
        key BLOB NOT NULL,
        previous BLOB NOT NULL,
        digest BLOB NOT NULL
    );
    CREATE INDEX name_log_name ON name_log (name_key, n);

    CREATE TABLE mailbox (
        recipient BLOB PRIMARY KEY,
        envelopes INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        cursor INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE share (
        recipient BLOB NOT NULL,
        depositor BLOB NOT NULL,
        envelopes INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (recipient, depositor)
    ) WITHOUT ROWID;
    CREATE TABLE mail (
        recipient BLOB NOT NULL,
        cursor INTEGER NOT NULL,
        depositor BLOB NOT NULL,
        digest BLOB NOT NULL,
        expires_ms INTEGER NOT NULL,
        envelope BLOB NOT NULL,
        PRIMARY KEY (recipient, cursor)
    );
    CREATE UNIQUE INDEX mail_digest ON mail (recipient, digest);
    CREATE INDEX mail_expiry ON mail (expires_ms);
    CREATE TRIGGER mail_kept AFTER INSERT ON mail BEGIN
        UPDATE directory SET mail_bytes = mail_bytes + length(NEW.envelope);
        INSERT INTO mailbox VALUES (NEW.recipient, 1, length(NEW.envelope), NEW.cursor)
            ON CONFLICT DO UPDATE SET
                envelopes = envelopes + 1, bytes = bytes + excluded.bytes, cursor = excluded.cursor;
        INSERT INTO share VALUES (NEW.recipient, NEW.depositor, 1, length(NEW.envelope))
            ON CONFLICT DO UPDATE SET
                envelopes = envelopes + 1, bytes = bytes + excluded.bytes;
    END;
    CREATE TRIGGER mail_gone AFTER DELETE ON mail BEGIN
        UPDATE directory SET mail_bytes = mail_bytes - length(OLD.envelope);
        UPDATE mailbox SET envelopes = envelopes - 1, bytes = bytes - length(OLD.envelope)
            WHERE recipient = OLD.recipient;
        UPDATE share SET envelopes = envelopes - 1, bytes = bytes - length(OLD.envelope)
            WHERE recipient = OLD.recipient AND depositor = OLD.depositor;
        DELETE FROM share
            WHERE recipient = OLD.recipient AND depositor = OLD.depositor AND envelopes = 0;
    END;
    """,
)
