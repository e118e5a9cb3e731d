"""Conversations on disk: messages, the changes applied to them, and the peers they are with."""

import sqlite3
from collections.abc import Sequence

from netchat.delivery.inputs import NewestMessage, Whereabouts
from netchat.model import Address, DisplayText, Message, MessageId, MessageState, Name

_COLUMNS = "position, message_id, shown, outgoing, text, state, at_ms, reason"


class History:
    """SQL for messages, changes and peers. The caller owns the transaction around every call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # --- writing ---------------------------------------------------------------------------------

    def add_own(self, message_id: MessageId, peer: Name, text: str, at_ms: int) -> None:
        self._add(message_id, peer, 1, text, MessageState.QUEUED, None, at_ms)

    def add_received(
        self, message_id: MessageId, peer: Name, text: DisplayText, source: str, at_ms: int
    ) -> None:
        self._add(message_id, peer, 0, text.raw, MessageState.RECEIVED, source, at_ms)

    def _add(
        self,
        message_id: MessageId,
        peer: Name,
        outgoing: int,
        text: str,
        state: MessageState,
        source: str | None,
        at_ms: int,
    ) -> None:
        self.add_peer(peer)
        self._connection.execute(
            "INSERT INTO message (message_id, peer, outgoing, text, state, source, at_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (message_id.value, peer.key, outgoing, text, state.value, source, at_ms),
        )

    def set_state(self, message_id: MessageId, state: MessageState, reason: str | None) -> None:
        self._connection.execute(
            "UPDATE message SET state = ?, reason = ? WHERE message_id = ?",
            (state.value, reason, message_id.value),
        )

    def erase(self, message_id: MessageId, at_ms: int) -> None:
        """Remove the text and leave the tombstone."""
        self._connection.execute(
            "UPDATE message SET text = NULL, deleted_ms = ?"
            " WHERE message_id = ? AND deleted_ms IS NULL",
            (at_ms, message_id.value),
        )

    def add_change(
        self, change_id: MessageId, peer: Name, target: MessageId | None, at_ms: int
    ) -> None:
        self._connection.execute(
            "INSERT INTO change (change_id, peer, target, at_ms) VALUES (?, ?, ?, ?)",
            (change_id.value, peer.key, target.value if target else None, at_ms),
        )

    def add_peer(self, peer: Name) -> None:
        """Remember how a name was written when it was first seen."""
        self._connection.execute(
            "INSERT INTO peer (name_key, shown) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (peer.key, peer.shown),
        )

    def set_address(self, peer: Name, address: Address, at_ms: int) -> None:
        self.add_peer(peer)
        self._connection.execute(
            "UPDATE peer SET address = ?, located_ms = ? WHERE name_key = ?",
            (str(address), at_ms, peer.key),
        )

    # --- reading ---------------------------------------------------------------------------------

    def has_seen(self, identifier: MessageId) -> bool:
        """Tell whether a message or a change of this id is here, deleted or not."""
        row = self._connection.execute(
            "SELECT 1 FROM message WHERE message_id = :id"
            " UNION ALL SELECT 1 FROM change WHERE change_id = :id LIMIT 1",
            {"id": identifier.value},
        ).fetchone()
        return row is not None

    def state(self, message_id: MessageId) -> tuple[MessageState, str | None] | None:
        """Return the state of a message and the reason of a failure; None when it is not here."""
        row = self._connection.execute(
            "SELECT state, reason FROM message WHERE message_id = ?", (message_id.value,)
        ).fetchone()
        return (MessageState(row[0]), row[1]) if row else None

    def newest(self, peer: Name, *, outgoing: bool) -> NewestMessage | None:
        """Return the newest message of one direction that is not deleted."""
        row = self._connection.execute(
            "SELECT message_id, state, source, position FROM message"
            " WHERE peer = ? AND outgoing = ? AND deleted_ms IS NULL"
            " ORDER BY position DESC LIMIT 1",
            (peer.key, int(outgoing)),
        ).fetchone()
        if row is None:
            return None
        message_id, state, source, position = row
        shadow = self._connection.execute(
            "SELECT 1 FROM message WHERE peer = ? AND outgoing AND position > ? AND state = ?",
            (peer.key, position, MessageState.FAILED.value),
        ).fetchone()
        return NewestMessage(
            MessageId(message_id), MessageState(state), source, outgoing and shadow is not None
        )

    def has_peer(self, peer: Name) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM peer WHERE name_key = ?", (peer.key,)
        ).fetchone()
        return row is not None

    def last_seen_at(self, peer: Name) -> Whereabouts | None:
        """Return where the directory last said that ``peer`` was, and when it said so."""
        row = self._connection.execute(
            "SELECT address, located_ms FROM peer WHERE name_key = ? AND address IS NOT NULL",
            (peer.key,),
        ).fetchone()
        return Whereabouts(Address.parse(row[0]), row[1]) if row else None

    def page(self, peer: Name, after: int, limit: int) -> Sequence[Message]:
        """Return up to ``limit`` messages with ``peer`` behind position ``after``, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM message JOIN peer ON name_key = message.peer"  # noqa: S608 (constant)
            " WHERE message.peer = ? AND position > ? ORDER BY position LIMIT ?",
            (peer.key, after, limit),
        ).fetchall()
        return [_message(row) for row in rows]


def _message(row: tuple[int, bytes, str, int, str | None, str, int, str | None]) -> Message:
    position, message_id, shown, outgoing, text, state, at_ms, reason = row
    return Message(
        position=position,
        message_id=MessageId(message_id),
        peer=Name(shown),
        outgoing=bool(outgoing),
        text=None if text is None else DisplayText(text),
        state=MessageState(state),
        at_ms=at_ms,
        reason=reason,
    )
