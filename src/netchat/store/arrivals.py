"""What came from peers, beside the messages: which numbers are here, and mail that has to wait."""

import sqlite3
from collections.abc import Sequence
from hashlib import sha256

from netchat.model import Name, PeerId, Ranges


class Arrivals:
    """SQL for received numbers and held mail. The caller owns the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def mark(self, sender: PeerId, stream: bytes) -> tuple[int | None, Ranges]:
        """Return up to which number everything is here, None when nothing is, and what is ahead."""
        row = self._connection.execute(
            "SELECT upto, ahead FROM received WHERE sender = ? AND stream = ?",
            (sender.value, stream),
        ).fetchone()
        return (None, ()) if row is None else (row[0], _parse(row[1]))

    def set_mark(self, sender: PeerId, stream: bytes, upto: int, ahead: Ranges) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO received VALUES (?, ?, ?, ?)",
            (sender.value, stream, upto, ",".join(f"{first}-{last}" for first, last in ahead)),
        )

    # --- mail under a name that another key holds ------------------------------------------------

    def hold(self, peer: Name, sender: PeerId, body: bytes, at_ms: int) -> bool:
        """Keep what was in an envelope; tell whether it was not here yet."""
        held = self._connection.execute(
            "INSERT OR IGNORE INTO held (peer, sender, digest, body, at_ms) VALUES (?, ?, ?, ?, ?)",
            (peer.key, sender.value, sha256(body).digest(), body, at_ms),
        )
        return held.rowcount > 0

    def held_counts(self, peer: Name, sender: PeerId) -> tuple[int, int]:
        """Return how much is held in all, and how much of it ``sender`` sent under this name."""
        row = self._connection.execute(
            "SELECT count(*), total(peer = ? AND sender = ?) FROM held", (peer.key, sender.value)
        ).fetchone()
        return int(row[0]), int(row[1])

    def take_held(self, peer: Name, sender: PeerId | None) -> Sequence[bytes]:
        """Remove all that waits under a name; return what ``sender`` sent, in its order."""
        rows = self._connection.execute(
            "SELECT sender, body FROM held WHERE peer = ? ORDER BY position", (peer.key,)
        ).fetchall()
        self._connection.execute("DELETE FROM held WHERE peer = ?", (peer.key,))
        return [body for key, body in rows if sender is not None and key == sender.value]


def _parse(text: str) -> Ranges:
    pairs = (part.split("-") for part in text.split(",") if part)
    return tuple((int(first), int(last)) for first, last in pairs)
