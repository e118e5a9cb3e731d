"""The outbox on disk: what still has to reach a peer, by its number; and what we owe to peers."""

import sqlite3
from collections.abc import Iterable, Sequence

from netchat.delivery.checked import Entry
from netchat.delivery.effects import OwnRow
from netchat.delivery.inputs import ItemState
from netchat.model import (
    DisplayText,
    Item,
    ItemKind,
    MessageId,
    MessageState,
    Name,
)

_ENTRY = (
    "SELECT item_id, shown, outbox.seq, kind, outbox.state, expires_ms, target.state,"
    " own.deleted_ms, length(CAST(outbox.text AS BLOB)) FROM outbox"
    " JOIN peer ON name_key = outbox.peer"
    " LEFT JOIN message AS target ON target.sender = x'' AND target.message_id = outbox.target"
    " LEFT JOIN message AS own ON own.sender = x'' AND own.message_id = item_id"
)
"""Items with their peer as it is written, the state of the message that a delete means, and
whether the message of a text is deleted here."""
_ITEM = "seq, kind, item_id, hlc, text, target"
_KINDS = {kind.value: kind for kind in ItemKind}


class OutboxTable:
    """SQL for the outbox. The caller owns the transaction around every call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # --- writing ---------------------------------------------------------------------------------

    def add_own(self, peer: Name, rows: Iterable[OwnRow], expires_ms: int) -> None:
        """Append messages; their peer is already known."""
        self._connection.executemany(
            "INSERT INTO outbox (peer, seq, item_id, kind, state, hlc, text, expires_ms)"
            " VALUES (?, ?, ?, 'text', 'queued', ?, ?, ?)",
            [
                (peer.key, row.seq, row.message_id.value, row.hlc, row.text, expires_ms)
                for row in rows
            ],
        )

    def add(self, peer: Name, item: Item, expires_ms: int) -> None:
        """Append something that is no message."""
        target = None if item.target is None else item.target.value
        self._connection.execute(
            "INSERT INTO outbox (peer, seq, item_id, kind, state, hlc, target, expires_ms)"
            " VALUES (?, ?, ?, ?, 'queued', ?, ?, ?)",
            (
                peer.key,
                item.seq,
                item.item_id.value,
                item.kind.value,
                item.hlc,
                target,
                expires_ms,
            ),
        )

    def set_state(self, peer: Name, seq: int, state: ItemState) -> None:
        self._connection.execute(
            "UPDATE outbox SET state = ? WHERE peer = ? AND seq = ?", (state.value, peer.key, seq)
        )

    def void(self, peer: Name, seq: int) -> None:
        """Leave nothing of an item but its number."""
        self._connection.execute(
            "UPDATE outbox SET kind = 'void', text = NULL, target = NULL"
            " WHERE peer = ? AND seq = ?",
            (peer.key, seq),
        )

    def remove(self, peer: Name, seq: int) -> None:
        self._connection.execute("DELETE FROM outbox WHERE peer = ? AND seq = ?", (peer.key, seq))

    def take(self, peer: Name, first: int, last: int) -> Sequence[tuple[int, ItemKind, MessageId]]:
        """Remove the items of one range; return the number, kind and id of each."""
        rows = self._connection.execute(
            "DELETE FROM outbox WHERE peer = ? AND seq BETWEEN ? AND ?"
            " RETURNING seq, kind, item_id",
            (peer.key, first, last),
        ).fetchall()
        return [(seq, _KINDS[kind], MessageId(item_id)) for seq, kind, item_id in rows]

    def take_waiting(self, peer: Name) -> Sequence[tuple[int, ItemKind, MessageId]]:
        """Remove all for a peer but what is just being handed over; as ``take`` returns it."""
        rows = self._connection.execute(
            "DELETE FROM outbox WHERE peer = ? AND state <> 'handing' RETURNING seq, kind, item_id",
            (peer.key,),
        ).fetchall()
        return [(seq, _KINDS[kind], MessageId(item_id)) for seq, kind, item_id in rows]

    def store(
        self, peer: Name, first: int, last: int, until_ms: int
    ) -> Sequence[tuple[ItemKind, MessageId]]:
        """Note that a range lies in the mailbox; return the kind and id of each."""
        self._connection.execute(
            "UPDATE outbox SET state = 'stored', stored_until_ms = ?"
            " WHERE peer = ? AND seq BETWEEN ? AND ?",
            (until_ms, peer.key, first, last),
        )
        rows = self._connection.execute(
            "SELECT kind, item_id FROM outbox WHERE peer = ? AND seq BETWEEN ? AND ?",
            (peer.key, first, last),
        ).fetchall()
        return [(_KINDS[kind], MessageId(item_id)) for kind, item_id in rows]

    def unstore(self, peer: Name) -> tuple[MessageId, ...]:
        """Note that nothing for this peer lies in a mailbox; return the ids of texts that did."""
        rows = self._connection.execute(
            "UPDATE outbox SET state = 'queued', stored_until_ms = NULL"
            " WHERE peer = ? AND state = 'stored' RETURNING seq, kind, item_id",
            (peer.key,),
        ).fetchall()
        return tuple(MessageId(item_id) for _, kind, item_id in sorted(rows) if kind == "text")

    def take_expired(self, peer: Name, now_ms: int) -> Sequence[tuple[int, ItemKind, MessageId]]:
        """Remove what is past its time, and is not just being handed over."""
        rows = self._connection.execute(
            "DELETE FROM outbox WHERE peer = ? AND expires_ms <= ? AND state <> 'handing'"
            " RETURNING seq, kind, item_id",
            (peer.key, now_ms),
        ).fetchall()
        return [(seq, ItemKind(kind), MessageId(item_id)) for seq, kind, item_id in rows]

    # --- reading ---------------------------------------------------------------------------------

    def text(self, peer: Name, seq: int) -> str | None:
        row = self._connection.execute(
            "SELECT text FROM outbox WHERE peer = ? AND seq = ?", (peer.key, seq)
        ).fetchone()
        return row[0] if row else None

    def base(self, peer: Name) -> int | None:
        """Return the lowest number that still waits, None when nothing does."""
        row = self._connection.execute(
            "SELECT min(seq) FROM outbox WHERE peer = ?", (peer.key,)
        ).fetchone()
        found: int | None = row[0]
        return found

    def items(self, peer: Name, after: int, items_max: int, bytes_max: int) -> Sequence[Item]:
        """Return what waits behind number ``after``, in order; one item at least, if there is.

        What is just being handed over in plain text is on its way already.
        """
        rows = self._connection.execute(
            f"SELECT {_ITEM} FROM outbox WHERE peer = ? AND seq > ? AND state <> 'handing'"  # noqa: S608 (constant)
            " ORDER BY seq LIMIT ?",
            (peer.key, after, items_max),
        )
        return _bounded(rows, bytes_max)

    def unstored(self, peer: Name, now_ms: int, items_max: int, bytes_max: int) -> Sequence[Item]:
        """Return what lies in no mailbox, or only until now."""
        rows = self._connection.execute(
            f"SELECT {_ITEM} FROM outbox WHERE peer = ? AND (state = 'queued'"  # noqa: S608 (constant)
            " OR (state = 'stored' AND stored_until_ms <= ?)) ORDER BY seq LIMIT ?",
            (peer.key, now_ms, items_max),
        )
        return _bounded(rows, bytes_max)

    def numbers_of(self, peer: Name, ids: Sequence[MessageId]) -> Sequence[tuple[int, MessageId]]:
        """Return the numbers, in order, under which these items still wait for ``peer``."""
        marks = ",".join("?" * len(ids))
        rows = self._connection.execute(
            f"SELECT seq, item_id FROM outbox WHERE peer = ? AND item_id IN ({marks})"  # noqa: S608 (only question marks)
            " ORDER BY seq",
            (peer.key, *(one.value for one in ids)),
        ).fetchall()
        return [(seq, MessageId(item_id)) for seq, item_id in rows]

    def head(self, peer: Name) -> Entry | None:
        """Return the oldest item for ``peer``."""
        row = self._connection.execute(
            f"{_ENTRY} WHERE outbox.peer = ? ORDER BY outbox.seq LIMIT 1", (peer.key,)
        ).fetchone()
        return _entry(row) if row else None

    def heads(self) -> Sequence[Entry]:
        """Return the oldest item of each peer that has one."""
        rows = self._connection.execute(
            f"{_ENTRY} WHERE (outbox.peer, outbox.seq) IN"  # noqa: S608 (constant)
            " (SELECT peer, min(seq) FROM outbox GROUP BY peer) ORDER BY outbox.peer"
        ).fetchall()
        return [_entry(row) for row in rows]

    # --- debts -----------------------------------------------------------------------------------

    def owe(self, peer: Name, results: Iterable[tuple[MessageId, str]]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO owed VALUES (?, ?, ?)",
            [(peer.key, item_id.value, result) for item_id, result in results],
        )

    def owed(self, peer: Name, limit: int) -> Sequence[tuple[MessageId, str]]:
        rows = self._connection.execute(
            "SELECT item_id, result FROM owed WHERE peer = ? LIMIT ?", (peer.key, limit)
        ).fetchall()
        return [(MessageId(item_id), result) for item_id, result in rows]

    def drop_owed(self, peer: Name, ids: Iterable[MessageId]) -> None:
        self._connection.executemany(
            "DELETE FROM owed WHERE peer = ? AND item_id = ?",
            [(peer.key, item_id.value) for item_id in ids],
        )

    def forgive(self, peer: Name) -> None:
        """Owe this peer nothing any more."""
        self._connection.execute("DELETE FROM owed WHERE peer = ?", (peer.key,))

    def debtors(self) -> Sequence[Name]:
        """Return to whom something is owed."""
        rows = self._connection.execute(
            "SELECT DISTINCT shown FROM owed JOIN peer ON name_key = owed.peer"
        ).fetchall()
        return [Name(row[0]) for row in rows]


def _bounded(
    rows: Iterable[tuple[int, str, bytes, int, str | None, bytes | None]], bytes_max: int
) -> Sequence[Item]:
    items: list[Item] = []
    size = 0
    for seq, kind, item_id, hlc, text, target in rows:
        size += 64 if text is None else 64 + len(text)
        if items and size > bytes_max:
            break
        items.append(
            Item(
                seq,
                _KINDS[kind],
                MessageId(item_id),
                hlc,
                None if text is None else DisplayText(text),
                None if target is None else MessageId(target),
            )
        )
    return items


def _entry(row: tuple[bytes, str, int, str, str, int, str | None, int | None, int | None]) -> Entry:
    item_id, shown, seq, kind, state, expires_ms, target_state, deleted_ms, text_bytes = row
    return Entry(
        MessageId(item_id),
        Name(shown),
        seq,
        ItemKind(kind),
        ItemState(state),
        expires_ms,
        None if target_state is None else MessageState(target_state),
        is_erased=deleted_ms is not None and kind == ItemKind.TEXT.value,
        text_bytes=text_bytes or 0,
    )


def size_of(items: Iterable[Item]) -> int:
    """Return how many bytes of memory items take, as ``items`` counts them."""
    return sum(64 if item.text is None else 64 + len(item.text.raw) for item in items)
