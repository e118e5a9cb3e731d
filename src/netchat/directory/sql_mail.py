"""Mailboxes in the embedded store: SQL inside the transaction of its writer thread.

The counts that the quota needs are kept by triggers of the schema, whatever removes an envelope.
"""

import sqlite3
from hashlib import sha256

from netchat.directory.mailbox import (
    Load,
    MailRefusal,
    Quota,
    depositor_hash,
    expiry_ms,
    judge_deposit,
)
from netchat.directory.store import Deposited
from netchat.model import PeerId

SWEEP_ENVELOPES_MAX = 1_000
"""Removed in one transaction, so that others get their turn between."""


def deposit(
    connection: sqlite3.Connection,
    recipient: PeerId,
    depositor: PeerId,
    envelope: bytes,
    now_ms: int,
    quota: Quota,
) -> Deposited | MailRefusal:
    if not _has_mailbox(connection, recipient):
        return MailRefusal.NO_SUCH_RECIPIENT
    digest = sha256(envelope).digest()
    there = connection.execute(
        "SELECT cursor, expires_ms FROM mail WHERE recipient = ? AND digest = ?",
        (recipient.value, digest),
    ).fetchone()
    if there is not None:
        return Deposited(*there)
    share = depositor_hash(recipient, depositor)
    refusal = judge_deposit(
        len(envelope),
        _load(connection, "mailbox WHERE recipient = ?", recipient.value),
        _load(connection, "share WHERE recipient = ? AND depositor = ?", recipient.value, share),
        connection.execute("SELECT mail_bytes FROM directory").fetchone()[0],
        quota,
    )
    if refusal is not None:
        return refusal
    deposited = Deposited(_newest(connection, recipient) + 1, expiry_ms(now_ms))
    connection.execute(
        "INSERT INTO mail VALUES (?, ?, ?, ?, ?, ?)",
        (recipient.value, deposited.cursor, share, digest, deposited.until_ms, envelope),
    )
    return deposited


def _has_mailbox(connection: sqlite3.Connection, recipient: PeerId) -> bool:
    found = connection.execute(
        "SELECT 1 FROM claim WHERE holder = ? AND holder != x'' LIMIT 1", (recipient.value,)
    ).fetchone()
    return found is not None


def _load(connection: sqlite3.Connection, where: str, *values: bytes) -> Load:
    row = connection.execute(f"SELECT envelopes, bytes FROM {where}", values).fetchone()  # noqa: S608 (constant)
    return Load() if row is None else Load(*row)


def _newest(connection: sqlite3.Connection, recipient: PeerId) -> int:
    row = connection.execute(
        "SELECT cursor FROM mailbox WHERE recipient = ?", (recipient.value,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def newest_cursor(connection: sqlite3.Connection, recipient: PeerId) -> int | None:
    return _newest(connection, recipient) if _has_mailbox(connection, recipient) else None


def fetch(
    connection: sqlite3.Connection,
    recipient: PeerId,
    after: int,
    limit: int,
    bytes_max: int,
    now_ms: int,
) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    size = 0
    for cursor, envelope in connection.execute(
        "SELECT cursor, envelope FROM mail"
        " WHERE recipient = ? AND cursor > ? AND expires_ms > ? ORDER BY cursor LIMIT ?",
        (recipient.value, after, now_ms, limit),
    ):
        size += len(envelope)
        if found and size > bytes_max:
            break
        found.append((cursor, envelope))
    return found


def acknowledge(connection: sqlite3.Connection, recipient: PeerId, through: int) -> int:
    return connection.execute(
        "DELETE FROM mail WHERE recipient = ? AND cursor <= ?", (recipient.value, through)
    ).rowcount


def sweep(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Remove some of what has expired; tell whether there may be more."""
    removed = connection.execute(
        "DELETE FROM mail WHERE rowid IN (SELECT rowid FROM mail WHERE expires_ms <= ? LIMIT ?)",
        (now_ms, SWEEP_ENVELOPES_MAX),
    ).rowcount
    return removed == SWEEP_ENVELOPES_MAX
