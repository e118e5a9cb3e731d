"""The outbox on disk: what still has to reach a peer, oldest first."""

import sqlite3
from collections.abc import Sequence

from netchat.delivery.inputs import Item, ItemKind, ItemState
from netchat.model import MessageId, MessageState, Name

_SELECT = (
    "SELECT item_id, shown, kind, outbox.state, expires_ms, target.state, own.deleted_ms"
    " FROM outbox JOIN peer ON name_key = outbox.peer"
    " LEFT JOIN change ON change_id = item_id"
    " LEFT JOIN message AS target ON target.message_id = change.target"
    " LEFT JOIN message AS own ON own.message_id = item_id"
)
"""Items with their peer as it is written, the state of the message that a delete means, and
whether the message of a text is deleted here."""


class OutboxTable:
    """SQL for the outbox. The caller owns the transaction around every call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, item: Item, text: str | None) -> None:
        """Append an item; its peer is already known to the history."""
        self._connection.execute(
            "INSERT INTO outbox (item_id, peer, kind, state, text, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                item.item_id.value,
                item.peer.key,
                item.kind.value,
                item.state.value,
                text,
                item.expires_ms,
            ),
        )

    def set_state(self, item_id: MessageId, state: ItemState) -> None:
        self._connection.execute(
            "UPDATE outbox SET state = ? WHERE item_id = ?", (state.value, item_id.value)
        )

    def remove(self, item_id: MessageId) -> None:
        self._connection.execute("DELETE FROM outbox WHERE item_id = ?", (item_id.value,))

    def text(self, item_id: MessageId) -> str | None:
        row = self._connection.execute(
            "SELECT text FROM outbox WHERE item_id = ?", (item_id.value,)
        ).fetchone()
        return row[0] if row else None

    def head(self, peer: Name) -> Item | None:
        """Return the oldest item for ``peer``."""
        row = self._connection.execute(
            f"{_SELECT} WHERE outbox.peer = ? ORDER BY outbox.position LIMIT 1", (peer.key,)
        ).fetchone()
        return _item(row) if row else None

    def heads(self) -> Sequence[Item]:
        """Return the oldest item of each peer that has one."""
        rows = self._connection.execute(
            f"{_SELECT} WHERE outbox.position IN (SELECT min(position) FROM outbox GROUP BY peer)"  # noqa: S608 (constant)
            " ORDER BY outbox.position"
        ).fetchall()
        return [_item(row) for row in rows]


def _item(row: tuple[bytes, str, str, str, int, str | None, int | None]) -> Item:
    item_id, shown, kind, state, expires_ms, target_state, deleted_ms = row
    return Item(
        MessageId(item_id),
        Name(shown),
        ItemKind(kind),
        ItemState(state),
        expires_ms,
        None if target_state is None else MessageState(target_state),
        is_erased=deleted_ms is not None,
    )
