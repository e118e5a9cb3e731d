"""Names in the embedded store: SQL inside the transaction of its writer thread."""

import sqlite3
from collections.abc import Iterator

from netchat.directory.registry import (
    NOBODY,
    ClaimVerdict,
    Held,
    Lease,
    Refusal,
    Refused,
    judge_claim,
    reserved_alike,
    skeleton,
)
from netchat.limits import CLAIMS_MAX, LOG_ENTRIES_MAX
from netchat.model import Name, PeerId, SignedRecord
from netchat.wire.directory_v2 import DIGEST_BYTES, LogEntry, LogEvent, log_digest

_EVENTS = {ClaimVerdict.FIRST: LogEvent.CLAIM, ClaimVerdict.ROTATED: LogEvent.ROTATE}


def directory_id(connection: sqlite3.Connection, fresh: bytes) -> bytes:
    connection.execute("UPDATE directory SET id = ? WHERE id IS NULL", (fresh,))
    found: bytes = connection.execute("SELECT id FROM directory").fetchone()[0]
    return found


# --- claims --------------------------------------------------------------------------------------


def enter(connection: sqlite3.Connection, name: Name) -> Name | Refused:
    row = connection.execute(
        "SELECT shown, holder FROM claim WHERE name_key = ?", (name.key,)
    ).fetchone()
    if row is not None and row[1] != NOBODY:
        return Refused(Refusal.NAME_HELD, row[0])
    look_alike = reserved_alike(name) or _alike(connection, name)
    if look_alike is not None:
        return Refused(Refusal.LOOK_ALIKE, look_alike)
    if row is not None:
        return Name(row[0])
    _insert_classic(connection, name)
    return name


def _insert_classic(connection: sqlite3.Connection, name: Name) -> None:
    connection.execute(
        "INSERT INTO claim VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (name.key, name.shown, skeleton(name), NOBODY),
    )


def _alike(connection: sqlite3.Connection, name: Name) -> str | None:
    row = connection.execute(
        "SELECT shown FROM claim WHERE skeleton = ? AND name_key != ? AND holder != x'' LIMIT 1",
        (skeleton(name), name.key),
    ).fetchone()
    return None if row is None else str(row[0])


def claim(
    connection: sqlite3.Connection, signed: SignedRecord, now_ms: int
) -> ClaimVerdict | Refused:
    record = signed.record
    present = held(connection, record.name)
    verdict = judge_claim(
        now_ms,
        signed,
        present,
        _alike(connection, record.name),
        is_full=_is_full(connection, is_new=present is None),
    )
    if isinstance(verdict, Refused) or verdict is ClaimVerdict.SAME:
        return verdict
    _keep_claim(connection, signed)
    if verdict is not ClaimVerdict.NEWER:
        _append(connection, now_ms, _EVENTS[verdict], record.name, record.key)
    return verdict


def _is_full(connection: sqlite3.Connection, *, is_new: bool) -> bool:
    if _last_entry(connection)[0] >= LOG_ENTRIES_MAX:
        return True
    claims: int = connection.execute("SELECT claims FROM directory").fetchone()[0]
    return is_new and claims >= CLAIMS_MAX


def _keep_claim(connection: sqlite3.Connection, signed: SignedRecord) -> None:
    record, name = signed.record, signed.record.name
    connection.execute(
        "INSERT INTO claim VALUES (:key, :shown, :skeleton, :holder) ON CONFLICT DO UPDATE"
        " SET shown = :shown, skeleton = :skeleton, holder = :holder",
        {
            "key": name.key,
            "shown": name.shown,
            "skeleton": skeleton(name),
            "holder": record.key.value,
        },
    )
    connection.execute(
        "INSERT INTO record VALUES (:key, :seq, :envelope)"
        " ON CONFLICT DO UPDATE SET seq = :seq, envelope = :envelope",
        {"key": name.key, "seq": record.seq, "envelope": signed.envelope},
    )
    connection.execute("DELETE FROM lease WHERE name_key = ?", (name.key,))


def release(connection: sqlite3.Connection, name: Name, now_ms: int) -> bool:
    present = held(connection, name)
    if present is None:
        return False
    for statement in (
        "DELETE FROM record WHERE name_key = ?",
        "DELETE FROM lease WHERE name_key = ?",
        "DELETE FROM claim WHERE name_key = ?",
    ):
        connection.execute(statement, (name.key,))
    _append(connection, now_ms, LogEvent.RELEASE, present.name, present.holder)
    return True


# --- what is held --------------------------------------------------------------------------------

_HELD = "SELECT shown, holder, seq, envelope FROM claim JOIN record USING (name_key) "


def held(connection: sqlite3.Connection, name: Name) -> Held | None:
    row = connection.execute(_HELD + "WHERE name_key = ?", (name.key,)).fetchone()
    return None if row is None else _held(row)


def page(
    connection: sqlite3.Connection, after: Name | None, limit: int, bytes_max: int
) -> list[Held]:
    rows = connection.execute(
        _HELD + "WHERE name_key > ? ORDER BY name_key LIMIT ?",
        ("" if after is None else after.key, limit),
    )
    return list(_up_to(map(_held, rows), bytes_max))


def _up_to(found: Iterator[Held], bytes_max: int) -> Iterator[Held]:
    size = 0
    for one in found:
        size += len(one.envelope)
        if size > bytes_max and size > len(one.envelope):
            return
        yield one


def _held(row: tuple[str, bytes, int, bytes]) -> Held:
    shown, holder, seq, envelope = row
    return Held(Name(shown), PeerId(holder), seq, envelope)


# --- the log -------------------------------------------------------------------------------------


def _last_entry(connection: sqlite3.Connection) -> tuple[int, bytes]:
    row = connection.execute("SELECT n, digest FROM name_log ORDER BY n DESC LIMIT 1").fetchone()
    return (0, bytes(DIGEST_BYTES)) if row is None else (row[0], row[1])


def _append(
    connection: sqlite3.Connection, at_ms: int, event: LogEvent, name: Name, key: PeerId
) -> None:
    last, previous = _last_entry(connection)
    n = last + 1
    digest = log_digest(n, at_ms, event, name, key, previous)
    connection.execute(
        "INSERT INTO name_log VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (n, at_ms, event.value, name.key, name.shown, key.value, previous, digest),
    )


def log(
    connection: sqlite3.Connection, after: int, limit: int, name: Name | None
) -> list[LogEntry]:
    columns = "SELECT n, at_ms, event, shown, key, previous, digest FROM name_log "
    if name is None:
        rows = connection.execute(columns + "WHERE n > ? ORDER BY n LIMIT ?", (after, limit))
    else:
        rows = connection.execute(
            columns + "WHERE name_key = ? AND n > ? ORDER BY n LIMIT ?", (name.key, after, limit)
        )
    return [
        LogEntry(n, at_ms, LogEvent(event), Name(shown), PeerId(key), previous, digest)
        for n, at_ms, event, shown, key, previous, digest in rows
    ]


# --- classic entries -----------------------------------------------------------------------------


def put_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    # A sweep between the entering and this takes a name of nobody for one without a lease.
    _insert_classic(connection, lease.name)
    connection.execute(
        "INSERT INTO lease VALUES (:key, :address, :expires)"
        " ON CONFLICT DO UPDATE SET address = :address, expires_ms = :expires",
        {"key": lease.name.key, "address": str(lease.address), "expires": lease.expires_ms},
    )


def drop_lease(connection: sqlite3.Connection, name: Name) -> None:
    connection.execute("DELETE FROM lease WHERE name_key = ?", (name.key,))


def sweep(connection: sqlite3.Connection, now_ms: int, kept: frozenset[str]) -> None:
    connection.execute("DELETE FROM lease WHERE expires_ms <= ?", (now_ms,))
    free = connection.execute("SELECT name_key FROM claim WHERE holder = ?", (NOBODY,)).fetchall()
    connection.executemany(
        "DELETE FROM claim WHERE name_key = ? AND holder = x''",
        [(key,) for (key,) in free if key not in kept],
    )
