"""Peers on disk: how they are written, where they were, who holds their names, what is counted."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from netchat.delivery.checked import Whereabouts
from netchat.model import Address, Contact, Name, PeerId, TrustState


@dataclass(frozen=True, slots=True)
class PinRow:
    """A pin as it is kept: ``record`` and ``pending`` are signed bytes, to be opened again."""

    name: Name
    state: TrustState
    holder: PeerId | None
    record: bytes | None
    pending: bytes | None
    classic_allowed: bool
    refused: PeerId | None = None


class Peers:
    """SQL for peers and pins. The caller owns the transaction around every call."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    # --- names and places ------------------------------------------------------------------------

    def add(self, contact: Contact) -> None:
        """Remember how a name was written when it was first seen."""
        self._connection.execute(
            "INSERT INTO peer (name_key, shown) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (contact.key, contact.shown),
        )

    def knows(self, contact: Contact) -> bool:
        """Tell whether there was ever anything between us and this name."""
        row = self._connection.execute(
            "SELECT 1 FROM peer WHERE name_key = ?", (contact.key,)
        ).fetchone()
        return row is not None

    def set_address(self, peer: Name, address: Address, at_ms: int) -> None:
        self.add(peer)
        self._connection.execute(
            "UPDATE peer SET address = ?, located_ms = ? WHERE name_key = ?",
            (str(address), at_ms, peer.key),
        )

    def last_seen_at(self, peer: Name) -> Whereabouts | None:
        """Return where a classic directory last said that ``peer`` was, and when it said so."""
        row = self._connection.execute(
            "SELECT address, located_ms FROM peer WHERE name_key = ? AND address IS NOT NULL",
            (peer.key,),
        ).fetchone()
        return Whereabouts(Address.parse(row[0]), row[1]) if row else None

    # --- numbers ---------------------------------------------------------------------------------

    def numbers(self, peer: Contact) -> tuple[int, int]:
        """Return the number of the newest item for ``peer``, and of the newest that has left."""
        row = self._connection.execute(
            "SELECT last_seq, left_seq FROM peer WHERE name_key = ?", (peer.key,)
        ).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    def set_last(self, peer: Name, seq: int, *, left: bool) -> None:
        self._connection.execute(
            "UPDATE peer SET last_seq = ?, left_seq = CASE ? WHEN 1 THEN ? ELSE left_seq END"
            " WHERE name_key = ?",
            (seq, int(left), seq, peer.key),
        )

    def mark_left(self, peer: Name, seq: int) -> None:
        self._connection.execute(
            "UPDATE peer SET left_seq = max(left_seq, ?) WHERE name_key = ?", (seq, peer.key)
        )

    # --- pins ------------------------------------------------------------------------------------

    def pin(self, name: Name) -> PinRow | None:
        row = self._connection.execute(
            "SELECT shown, state, holder, record, pending, classic_allowed, refused"
            " FROM pin JOIN peer USING (name_key) WHERE name_key = ?",
            (name.key,),
        ).fetchone()
        return None if row is None else _pin(row)

    def pins(self) -> Sequence[PinRow]:
        rows = self._connection.execute(
            "SELECT shown, state, holder, record, pending, classic_allowed, refused"
            " FROM pin JOIN peer USING (name_key) ORDER BY name_key"
        ).fetchall()
        return [_pin(row) for row in rows]

    def pin_count(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM pin").fetchone()[0])

    def put_pin(self, pin: PinRow) -> None:
        self.add(pin.name)
        self._connection.execute(
            "INSERT OR REPLACE INTO pin"
            " (name_key, state, holder, record, pending, classic_allowed, refused)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                pin.name.key,
                pin.state.value,
                None if pin.holder is None else pin.holder.value,
                pin.record,
                pin.pending,
                int(pin.classic_allowed),
                None if pin.refused is None else pin.refused.value,
            ),
        )


def _pin(
    row: tuple[str, str, bytes | None, bytes | None, bytes | None, int, bytes | None],
) -> PinRow:
    shown, state, holder, record, pending, classic_allowed, refused = row
    return PinRow(
        Name(shown),
        TrustState(state),
        None if holder is None else PeerId(holder),
        record,
        pending,
        bool(classic_allowed),
        None if refused is None else PeerId(refused),
    )
