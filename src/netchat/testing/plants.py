"""Faults that are built into the nodes on purpose: the scorecard has to turn red.

A proof is worth what it finds, so each of these is planted by ``netchat sim --plant NAME`` and by
the tests, and has to be found within a few seeds.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from netchat.delivery.checked import ItemsChecked
from netchat.delivery.inputs import ItemsArrived, MailArrived
from netchat.model import ItemKind, MessageId
from netchat.node.judge import Judge
from netchat.node.pump import Owner, Pump
from netchat.store.database import load_migrations

Commit = Callable[[sqlite3.Connection], None]

_UNIQUE = "UNIQUE (sender, message_id)"
_CHANGE_KEY = "PRIMARY KEY (sender, change_id)\n) WITHOUT ROWID"


class Plant:
    """Nothing is broken. The others inherit from it."""

    def migrations(self) -> Sequence[str] | None:
        """Return the schema of each disk; None: the real one."""
        return None

    def pump(self, connection: sqlite3.Connection, owner: Owner, commit: Commit) -> Pump:
        """Return the pump of one life."""
        return Pump(connection, owner, commit)


class _ForgetfulJudge(Judge):
    """Knows only of the items that it has seen itself; ``remembers`` not even of those."""

    remembers: bool
    known: set[MessageId]

    def items(self, event: ItemsArrived) -> ItemsChecked | None:
        checked = super().items(event)
        return None if checked is None else self._forget(checked)

    def mail(self, event: MailArrived) -> ItemsChecked:
        return self._forget(super().mail(event))

    def _forget(self, checked: ItemsChecked) -> ItemsChecked:
        seen = {one: answer for one, answer in checked.seen.items() if one in self.known}
        if self.remembers:
            self.known |= {item.item_id for item in checked.items if item.kind is not ItemKind.VOID}
        return replace(checked, seen=seen)


class _WithoutDedupe(Plant):
    """The inbox forgets what it has taken: at once, or at the end of the process.

    The store's own UNIQUE goes, too. It is the second lock on the same door.
    """

    def __init__(self, *, remembers: bool) -> None:
        self._remembers = remembers
        first, *rest = load_migrations()
        assert _UNIQUE in first
        assert _CHANGE_KEY in first
        first = first.replace(_UNIQUE, "CHECK (1)").replace(_CHANGE_KEY, "CHECK (1)\n)")
        self._migrations = (first, *rest)

    def migrations(self) -> Sequence[str]:
        return self._migrations

    def pump(self, connection: sqlite3.Connection, owner: Owner, commit: Commit) -> Pump:
        pump = Pump(connection, owner, commit)
        judge = pump._judge
        judge.__class__ = _ForgetfulJudge
        assert isinstance(judge, _ForgetfulJudge)
        judge.remembers = self._remembers
        judge.known = set()
        return pump


class _ReceiptBeforeCommit(Plant):
    """The pump acts as if every commit had come to its end."""

    def pump(self, connection: sqlite3.Connection, owner: Owner, commit: Commit) -> Pump:
        def hasty(connection: sqlite3.Connection) -> None:
            with suppress(sqlite3.OperationalError):
                commit(connection)
            if connection.in_transaction:
                connection.rollback()

        return Pump(connection, owner, hasty)


NONE = Plant()


def plant(name: str | None) -> Plant:
    """Return the plant of that name; None: nothing is broken."""
    match name:
        case None:
            return NONE
        case "no-dedupe":
            return _WithoutDedupe(remembers=False)
        case "dedupe-not-persisted":
            return _WithoutDedupe(remembers=True)
        case "receipt-before-commit":
            return _ReceiptBeforeCommit()
        case _:
            raise ValueError(name)
