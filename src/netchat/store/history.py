"""Conversations on disk: messages, and the deletes that were made or judged."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from netchat.delivery.checked import NewestReceived, OwnMessage, Target
from netchat.delivery.effects import OwnRow
from netchat.model import (
    Contact,
    DisplayText,
    Item,
    Message,
    MessageId,
    MessageState,
    Name,
    PeerId,
    parse_contact,
)

NO_KEY = b""
"""The sender of our own messages, and of classic ones."""
_COLUMNS = (
    "message_id, shown, outgoing, text, state, hlc, at_ms, reason,"
    " stored_ms, delivered_ms, read_ms, ended_ms, deleted_ms"
)
_WHEN = {
    MessageState.STORED: "stored_ms",
    MessageState.DELIVERED: "delivered_ms",
    MessageState.READ: "read_ms",
}


class History:
    """SQL for messages and changes. The caller owns the transaction around every call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # --- writing ---------------------------------------------------------------------------------

    def add_own(self, peer: Name, rows: Iterable[OwnRow], at_ms: int) -> None:
        queued = MessageState.QUEUED.value
        self._connection.executemany(
            "INSERT INTO message (sender, message_id, peer, outgoing, text, state, hlc, seq, at_ms)"
            " VALUES (x'', ?, ?, 1, ?, ?, ?, ?, ?)",
            [
                (row.message_id.value, peer.key, row.text, queued, row.hlc, row.seq, at_ms)
                for row in rows
            ],
        )

    def add_received(
        self,
        peer: Name,
        sender: PeerId,
        items: Iterable[Item],
        deleted: frozenset[MessageId],
        at_ms: int,
    ) -> None:
        """Add texts of a keyed peer; those in ``deleted`` come as tombstones."""
        received, key, shown = MessageState.RECEIVED.value, sender.value, peer.key
        self._connection.executemany(
            "INSERT INTO message"
            " (sender, message_id, peer, outgoing, text, state, hlc, seq, at_ms, deleted_ms)"
            " VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?)",
            [
                (key, item.item_id.value, shown, None, received, item.hlc, item.seq, at_ms, at_ms)
                if item.item_id in deleted or item.text is None
                else (
                    key,
                    item.item_id.value,
                    shown,
                    item.text.raw,
                    received,
                    item.hlc,
                    item.seq,
                    at_ms,
                    None,
                )
                for item in items
            ],
        )

    def add_classic(
        self,
        message_id: MessageId,
        contact: Contact,
        text: DisplayText,
        source: str,
        hlc: int,
        at_ms: int,
    ) -> None:
        received = MessageState.RECEIVED.value
        self._connection.execute(
            "INSERT INTO message"
            " (sender, message_id, peer, outgoing, text, state, source, hlc, at_ms)"
            " VALUES (x'', ?, ?, 0, ?, ?, ?, ?, ?)",
            (message_id.value, contact.key, text.raw, received, source, hlc, at_ms),
        )

    def set_states(
        self,
        message_ids: Iterable[MessageId],
        state: MessageState,
        reason: str | None,
        at_ms: int,
    ) -> None:
        """Move messages of ours; when they came to ``state`` is kept beside it."""
        column = _WHEN.get(state, "ended_ms")
        self._connection.executemany(
            f"UPDATE message SET state = ?, reason = ?, {column} = ?"  # noqa: S608 (constant)
            " WHERE sender = x'' AND message_id = ?",
            [(state.value, reason, at_ms, message_id.value) for message_id in message_ids],
        )

    def set_queued(self, message_ids: Iterable[MessageId]) -> None:
        """Move messages of ours back from STORED: the mailbox that has them is nobody's now."""
        self._connection.executemany(
            "UPDATE message SET state = ?, stored_ms = NULL WHERE sender = x'' AND message_id = ?",
            [(MessageState.QUEUED.value, message_id.value) for message_id in message_ids],
        )

    def set_delivered(self, peer: Name, first: int, last: int, at_ms: int) -> None:
        """Move the messages of one range of the outbox to DELIVERED: one statement for all."""
        self._connection.execute(
            "UPDATE message SET state = ?, reason = NULL, delivered_ms = ?"
            " WHERE sender = x'' AND message_id IN (SELECT item_id FROM outbox"
            " WHERE outbox.peer = ? AND outbox.seq BETWEEN ? AND ? AND kind = 'text')",
            (MessageState.DELIVERED.value, at_ms, peer.key, first, last),
        )
        # A peer may have said before that it read further: its next word includes these.
        self._connection.execute(
            "UPDATE peer SET read_hlc = oldest.hlc - 1 FROM (SELECT hlc FROM outbox"
            " WHERE outbox.peer = ? AND outbox.seq BETWEEN ? AND ? AND kind = 'text'"
            " ORDER BY outbox.seq LIMIT 1) AS oldest WHERE name_key = ? AND read_hlc >= oldest.hlc",
            (peer.key, first, last, peer.key),
        )

    def mark_read(self, peer: Name, hlc: int, at_ms: int) -> Sequence[MessageId]:
        """Move what ``peer`` has, up to ``hlc``, to READ; return which messages that were.

        Nothing is looked at twice, however often a peer says that it has read, unless something
        was delivered behind that.
        """
        before, newest = self._connection.execute(
            "SELECT read_hlc, (SELECT max(hlc) FROM message WHERE message.peer = name_key)"
            " FROM peer WHERE name_key = ?",
            (peer.key,),
        ).fetchone() or (0, None)
        upto = min(hlc, newest or 0)
        if upto <= before:
            return []
        self._connection.execute(
            "UPDATE peer SET read_hlc = ? WHERE name_key = ?", (upto, peer.key)
        )
        rows = self._connection.execute(
            "UPDATE message SET state = ?, read_ms = ? WHERE peer = ? AND hlc > ? AND hlc <= ?"
            " AND outgoing AND state = ? RETURNING message_id",
            (MessageState.READ.value, at_ms, peer.key, before, upto, MessageState.DELIVERED.value),
        ).fetchall()
        return [MessageId(row[0]) for row in rows]

    def erase(
        self,
        message_id: MessageId,
        sender: PeerId | None,
        at_ms: int,
        *,
        keep_text: bool = False,
        wipe: bool = False,
    ) -> None:
        """Leave a tombstone; with ``keep_text`` the text stays under it, with ``wipe`` nothing."""
        key = (_key(sender), message_id.value)
        if wipe:
            self._connection.execute("DELETE FROM message WHERE sender = ? AND message_id = ?", key)
            return
        text = "text" if keep_text else "NULL"
        self._connection.execute(
            f"UPDATE message SET text = {text}, deleted_ms = ?"  # noqa: S608 (constant)
            " WHERE sender = ? AND message_id = ? AND deleted_ms IS NULL",
            (at_ms, *key),
        )

    def add_change(
        self,
        change_id: MessageId,
        sender: PeerId | None,
        peer: Contact,
        target: MessageId | None,
        result: str | None,
        at_ms: int,
    ) -> None:
        self._connection.execute(
            "INSERT INTO change (sender, change_id, peer, target, result, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                _key(sender),
                change_id.value,
                peer.key,
                target.value if target else None,
                result,
                at_ms,
            ),
        )

    def set_result(self, change_id: MessageId, result: str) -> None:
        """Note what the peer did about a delete of ours."""
        self._connection.execute(
            "UPDATE change SET result = ? WHERE sender = x'' AND change_id = ?",
            (result, change_id.value),
        )

    def drop_orphans(self, before_ms: int) -> None:
        """Forget deletes whose message never came."""
        self._connection.execute(
            "DELETE FROM change WHERE at_ms < ? AND sender <> x'' AND target NOT IN"
            " (SELECT message_id FROM message WHERE message.sender = change.sender)",
            (before_ms,),
        )

    # --- reading ---------------------------------------------------------------------------------

    def seen(self, sender: PeerId | None, ids: Sequence[MessageId]) -> Mapping[MessageId, str]:
        """Return which messages and changes of ``sender`` are here, deleted or not, and what was
        answered to each."""
        key = _key(sender)
        marks = ",".join("?" * len(ids))
        found = self._connection.execute(
            f"SELECT message_id, '' FROM message WHERE sender = ? AND message_id IN ({marks})"  # noqa: S608 (only question marks)
            " UNION ALL SELECT change_id, coalesce(result, '') FROM change"
            f" WHERE sender = ? AND change_id IN ({marks})",
            (key, *(one.value for one in ids), key, *(one.value for one in ids)),
        )
        return {MessageId(identifier): result for identifier, result in found}

    def deleted_before(self, sender: PeerId, ids: Sequence[MessageId]) -> frozenset[MessageId]:
        """Return for which of these messages a delete of ``sender`` is here already."""
        any_row = self._connection.execute(
            "SELECT 1 FROM change WHERE sender = ? LIMIT 1", (sender.value,)
        ).fetchone()
        if any_row is None:
            return frozenset()
        marks = ",".join("?" * len(ids))
        found = self._connection.execute(
            f"SELECT target FROM change WHERE sender = ? AND target IN ({marks})",  # noqa: S608 (only question marks)
            (sender.value, *(one.value for one in ids)),
        )
        return frozenset(MessageId(row[0]) for row in found)

    def targets(self, sender: PeerId, ids: Iterable[MessageId]) -> Mapping[MessageId, Target]:
        """Return the messages of ``sender`` that deletes mean."""
        found: dict[MessageId, Target] = {}
        for message_id in ids:
            row = self._connection.execute(
                "SELECT at_ms, deleted_ms IS NOT NULL FROM message"
                " WHERE sender = ? AND message_id = ? AND NOT outgoing",
                (sender.value, message_id.value),
            ).fetchone()
            if row is not None:
                found[message_id] = Target(message_id, row[0], bool(row[1]))
        return found

    def newest_hlc(self, peer: Contact) -> int:
        """Return the highest timestamp of a conversation, 0 when there is none."""
        row = self._connection.execute(
            "SELECT max(hlc) FROM message WHERE peer = ?", (peer.key,)
        ).fetchone()
        return row[0] or 0

    def state(self, message_id: MessageId) -> tuple[MessageState, str | None] | None:
        """Return the state of a message of ours and the reason of a failure; None: not here."""
        row = self._connection.execute(
            "SELECT state, reason FROM message WHERE sender = x'' AND message_id = ?",
            (message_id.value,),
        ).fetchone()
        return (MessageState(row[0]), row[1]) if row else None

    def newest_own(self, peer: Name) -> OwnMessage | None:
        """Return the newest message of ours to ``peer`` that is not deleted."""
        row = self._connection.execute(
            "SELECT message_id FROM message"
            " WHERE peer = ? AND outgoing AND deleted_ms IS NULL"
            " ORDER BY hlc DESC, message_id DESC LIMIT 1",
            (peer.key,),
        ).fetchone()
        return None if row is None else self.own(MessageId(row[0]))

    def own(self, message_id: MessageId) -> OwnMessage | None:
        """Return a message of ours, unless it is deleted or not here."""
        row = self._connection.execute(
            "SELECT shown, seq, state, hlc FROM message JOIN peer ON name_key = message.peer"
            " WHERE sender = x'' AND message_id = ? AND outgoing AND deleted_ms IS NULL",
            (message_id.value,),
        ).fetchone()
        if row is None:
            return None
        shown, seq, state, hlc = row
        newer = [
            MessageState(found)
            for (found,) in self._connection.execute(
                "SELECT DISTINCT state FROM message WHERE peer = ? AND outgoing AND hlc > ?"
                " AND (deleted_ms IS NULL OR state = ?)",
                (Name(shown).key, hlc, MessageState.FAILED.value),
            )
        ]
        return OwnMessage(
            message_id,
            Name(shown),
            seq,
            MessageState(state),
            is_newest=not newer,
            is_shadowed=MessageState.FAILED in newer,
        )

    def newest_classic(self, contact: Contact) -> NewestReceived | None:
        """Return the newest message that came in plain text under a name and is not deleted."""
        row = self._connection.execute(
            "SELECT message_id, source FROM message WHERE peer = ? AND NOT outgoing"
            " AND sender = x'' AND deleted_ms IS NULL ORDER BY hlc DESC, message_id DESC LIMIT 1",
            (contact.key,),
        ).fetchone()
        return None if row is None else NewestReceived(MessageId(row[0]), row[1])

    def newest_from(self, peer: Name) -> int:
        """Return the timestamp of the newest message that a keyed ``peer`` wrote, or 0."""
        row = self._connection.execute(
            "SELECT max(hlc) FROM message WHERE peer = ? AND NOT outgoing AND sender <> x''",
            (peer.key,),
        ).fetchone()
        return row[0] or 0

    def page(
        self, peer: Contact, after: tuple[int, MessageId] | None, limit: int
    ) -> Sequence[Message]:
        """Return up to ``limit`` messages with ``peer`` behind ``after``, oldest first."""
        hlc, message_id = (-1, b"") if after is None else (after[0], after[1].value)
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM message JOIN peer ON name_key = message.peer"  # noqa: S608 (constant)
            " WHERE message.peer = ? AND (hlc, message_id) > (?, ?)"
            " ORDER BY hlc, message_id LIMIT ?",
            (peer.key, hlc, message_id, limit),
        ).fetchall()
        return [_message(row) for row in rows]


def _key(sender: PeerId | None) -> bytes:
    return NO_KEY if sender is None else sender.value


def _message(row: Sequence[object]) -> Message:
    message_id, shown, outgoing, text, state, hlc, at_ms, reason, *times = row
    stored_ms, delivered_ms, read_ms, ended_ms, deleted_ms = times
    assert isinstance(message_id, bytes)
    assert isinstance(hlc, int)
    assert isinstance(at_ms, int)
    return Message(
        message_id=MessageId(message_id),
        peer=parse_contact(str(shown)),
        outgoing=bool(outgoing),
        text=None if deleted_ms is not None else DisplayText(str(text)),
        state=MessageState(state),
        hlc=hlc,
        at_ms=at_ms,
        reason=None if reason is None else str(reason),
        stored_ms=_time(stored_ms),
        delivered_ms=_time(delivered_ms),
        read_ms=_time(read_ms),
        ended_ms=_time(ended_ms),
        deleted_ms=_time(deleted_ms),
    )


def _time(value: object) -> int | None:
    return value if isinstance(value, int) else None
