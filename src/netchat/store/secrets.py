"""What a profile keeps for itself: the name of its outbox, counters, and the secrets of prekeys."""

import sqlite3


class Own:
    """SQL for own entries and prekeys. The caller owns the transaction around every call.

    The file is kept with ``secure_delete``, so an erased secret is overwritten in it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, entry: str) -> bytes | None:
        row = self._connection.execute("SELECT value FROM own WHERE entry = ?", (entry,)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, entry: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO own VALUES (?, ?)", (entry, value))

    # --- prekeys ---------------------------------------------------------------------------------

    def newest_prekey(self) -> tuple[bytes, int] | None:
        """Return the secret of the prekey in use, and when it was made."""
        row = self._connection.execute(
            "SELECT secret, made_ms FROM prekey WHERE superseded_ms IS NULL"
            " ORDER BY made_ms DESC LIMIT 1"
        ).fetchone()
        return None if row is None else (bytes(row[0]), row[1])

    def add_prekey(self, prekey_id: bytes, secret: bytes, now_ms: int) -> None:
        """Put a new prekey in the place of the one in use, whose secret stays for a while."""
        self._connection.execute(
            "UPDATE prekey SET superseded_ms = ? WHERE superseded_ms IS NULL", (now_ms,)
        )
        self._connection.execute(
            "INSERT INTO prekey (prekey_id, secret, made_ms) VALUES (?, ?, ?)",
            (prekey_id, secret, now_ms),
        )

    def prekey_secret(self, prekey_id: bytes) -> bytes | None:
        row = self._connection.execute(
            "SELECT secret FROM prekey WHERE prekey_id = ?", (prekey_id,)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def erase_prekeys(self, before_ms: int) -> int:
        """Erase the secrets that were superseded before ``before_ms``; return how many."""
        done = self._connection.execute("DELETE FROM prekey WHERE superseded_ms < ?", (before_ms,))
        return done.rowcount
