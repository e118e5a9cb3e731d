"""NetChat that kills itself: ``python -m tests.system.crashing chat alice ...``.

``NETCHAT_CRASH_AT=LABEL:N`` ends the process with SIGKILL at its N-th pass of a labelled point. The
points are put around functions of the real program here, so the program itself knows nothing of
them. Without the setting it is ``netchat`` as it is.
"""

import functools
import inspect
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from netchat.__main__ import main
from netchat.directory.client import DirectoryClient
from netchat.directory.signed import SignedRequests
from netchat.node import introduction, post
from netchat.node.links import Links
from netchat.node.pump import Pump
from netchat.transport.link import Link

SETTING = "NETCHAT_CRASH_AT"
Pass = Callable[[str], None]


class Countdown:
    """Kills this process at the N-th pass of one label, whatever thread passes it."""

    def __init__(self, label: str, passes: int) -> None:
        self._label = label
        self._left = passes
        self._lock = threading.Lock()

    def __call__(self, label: str) -> None:
        if label != self._label:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
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


def in_the_pump(passed: Pass) -> None:
    """Of its transactions only those of steps count: a start has too many others before."""
    make, step, transact = Pump.__init__, Pump.step_batch, Pump._in_transaction
    stepping: set[Pump] = set()

    def made(self: Pump, *arguments: Any, **named: Any) -> None:
        make(self, *arguments, **named)
        commit = self._commit

        def committed(connection: sqlite3.Connection) -> None:
            pass_if_stepping(self, "pump-before-commit")
            commit(connection)
            pass_if_stepping(self, "pump-after-commit")

        self._commit = committed

    def stepped(self: Pump, *arguments: Any) -> Any:
        stepping.add(self)
        try:
            return step(self, *arguments)
        finally:
            stepping.discard(self)

    def transacted(self: Pump, *arguments: Any) -> Any:
        pass_if_stepping(self, "pump-before-begin")
        return transact(self, *arguments)

    def pass_if_stepping(pump: Pump, label: str) -> None:
        if pump in stepping:
            passed(label)

    Pump.__init__ = made  # type: ignore[method-assign]
    Pump.step_batch = stepped  # type: ignore[method-assign]
    Pump._in_transaction = transacted  # type: ignore[method-assign]


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
        label, _, passes = setting.partition(":")
        everywhere(Countdown(label, int(passes)))
    main()
