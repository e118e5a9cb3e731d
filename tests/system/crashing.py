"""NetChat that kills itself: ``python -m tests.system.crashing chat alice ...``.

``NETCHAT_CRASH_AT=LABEL:N`` ends the process with SIGKILL at its N-th pass of a labelled point.
``LABEL:N:MS`` does it that much later, as when the disk is slow before the power fails: the thread
that came there waits, and all others go on. The points are put around functions of the real program
here, so the program itself knows nothing of them. Without the setting it is ``netchat`` as it is.
"""

import functools
import inspect
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from netchat.__main__ import main
from netchat.delivery.inputs import (
    ConfirmArrived,
    DeleteRequested,
    Deposited,
    DepositFailed,
    Input,
    ItemsArrived,
    MailArrived,
    ReceiptArrived,
    SendRequested,
)
from netchat.directory.client import DirectoryClient
from netchat.directory.signed import SignedRequests
from netchat.node import introduction, post
from netchat.node.links import Links
from netchat.node.pump import Batch, Pump
from netchat.transport.link import Link

SETTING = "NETCHAT_CRASH_AT"
Pass = Callable[[str], None]


class Countdown:
    """Kills this process at the N-th pass of one label, whatever thread passes it."""

    def __init__(self, setting: str) -> None:
        self._label, passes, *hold_ms = setting.split(":")
        self._left = int(passes)
        self._hold_s = sum(map(int, hold_ms)) / 1_000
        self._lock = threading.Lock()

    def __call__(self, label: str) -> None:
        if label != self._label:
            return
        with self._lock:
            self._left -= 1
            is_here = self._left == 0
        if is_here:
            time.sleep(self._hold_s)
            os.kill(os.getpid(), signal.SIGKILL)


def around(passed: Pass, owner: Any, name: str, before: str = "", after: str = "") -> None:
    """Put points before and after a function, which may be a coroutine function."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def plain(*arguments: Any, **named: Any) -> Any:
        passed(before)
        result = original(*arguments, **named)
        passed(after)
        return result

    @functools.wraps(original)
    async def waiting(*arguments: Any, **named: Any) -> Any:
        passed(before)
        result = await original(*arguments, **named)
        passed(after)
        return result

    setattr(owner, name, waiting if inspect.iscoroutinefunction(original) else plain)


KINDS = {
    "own": SendRequested | DeleteRequested,
    "items": ItemsArrived | MailArrived,
    "receipts": ReceiptArrived | ConfirmArrived,
    "deposits": Deposited | DepositFailed,
}
"""What a step may be about, and the end of the labels of its points."""


def in_the_pump(passed: Pass) -> None:
    """Of its transactions only those of steps count, by what is among the inputs of the step.

    Notes of receipts count for the commit that they share, or for the one that settles them.
    """
    make, step, settle = Pump.__init__, Pump.step_batch, Pump.settle
    transact = Pump._within_transaction
    about: dict[Pump, list[str]] = {}

    def made(self: Pump, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        commit = self._commit

        def committed(connection: sqlite3.Connection) -> None:
            pass_of(self, "pump-before-commit")
            commit(connection)
            pass_of(self, "pump-after-commit")

        self._commit = committed

    def stepped(self: Pump, now_ms: int, events: Sequence[Input], *more: Any) -> Batch:
        kinds = [
            kind
            for kind, inputs in KINDS.items()
            if any(isinstance(event, inputs) for event in events)
        ]
        noted = ["receipts"] if self.is_unsettled and "receipts" not in kinds else []
        about[self] = kinds + noted
        try:
            return step(self, now_ms, events, *more)
        finally:
            del about[self]

    def settled(self: Pump, now_ms: int) -> Batch:
        if self in about:
            return settle(self, now_ms)  # within a step
        about[self] = ["receipts"]
        try:
            return settle(self, now_ms)
        finally:
            del about[self]

    def transacted(self: Pump, *arguments: Any) -> Any:
        if not self._connection.in_transaction:
            pass_of(self, "pump-before-begin")
        return transact(self, *arguments)

    def pass_of(pump: Pump, label: str) -> None:
        for kind in about.get(pump, ()):
            passed(f"{label}-of-{kind}")

    Pump.__init__ = made  # type: ignore[method-assign]
    Pump.step_batch = stepped  # type: ignore[method-assign]
    Pump.settle = settled  # type: ignore[method-assign]  # points around it, as above
    Pump._within_transaction = transacted  # type: ignore[method-assign]  # the same


def in_the_directory(passed: Pass) -> None:
    """Of its commits only those count that change something."""
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        _changes = 0

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            if sql == "BEGIN IMMEDIATE":
                self._changes = self.total_changes
            is_commit = sql == "COMMIT" and self.total_changes > self._changes
            if is_commit:
                passed("directory-before-commit")
            cursor = super().execute(sql, *arguments)
            if is_commit:
                passed("directory-after-commit")
            return cursor

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        return connect(*arguments, factory=Connection, **named)

    sqlite3.connect = connected  # type: ignore[assignment]
    for operation in ("claim", "deposit", "fetch", "acknowledge"):
        label = f"directory-before-{operation}-answer"
        around(passed, SignedRequests, f"_{operation}", after=label)


def everywhere(passed: Pass) -> None:
    in_the_pump(passed)
    around(passed, Links, "transmit", "links-before-transmit", "links-after-transmit")
    around(passed, Links, "acknowledge", "links-before-receipt", "links-after-receipt")
    around(passed, Links, "_take", before="links-before-submit")
    around(passed, Link, "_flush", after="links-after-write")
    around(passed, post, "seal", before="post-before-seal")
    around(passed, post, "decode_mail", after="post-after-open")
    around(passed, introduction, "sign_record", before="introduction-before-sign")
    ways = (
        ("deposit", "post"),
        ("fetch", "post"),
        ("acknowledge", "post"),
        ("claim", "rendezvous"),
    )
    for name, room in ways:
        around(passed, DirectoryClient, name, f"{room}-before-{name}", f"{room}-after-{name}")
    in_the_directory(passed)


if __name__ == "__main__":
    if setting := os.environ.get(SETTING):
        everywhere(Countdown(setting))
    main()
