"""The disk of a simulated machine: real SQLite in memory, with faults and crashes at each commit.

What was committed outlives the machine's crash; what was not is rolled back, as after a power cut
under synchronous=FULL.
"""

import sqlite3
from collections.abc import Sequence

from netchat.store.database import MEMORY, open_database
from netchat.testing.watch import Watch
from netchat.testing.world import World


class SimulatedCrash(BaseException):
    """The process ends here. Not an ``Exception``, so that nothing on the way can swallow it."""


class Disk:
    """One history file. ``commit`` is what the pump is given to end its transactions with."""

    def __init__(self, world: World, migrations: Sequence[str] | None = None) -> None:
        self._world = world
        self.connection = open_database(MEMORY, migrations)
        self.watch = Watch(self.connection)
        self.has_lied = False
        """Whether it called something lost that is there; nobody is told of that then."""

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit, or fail in one of the four ways a commit can fail.

        ``commit-answer-lost`` is the nasty one: the data is on disk and the caller is told that it
        is not.
        """
        if self._world.strikes("disk-full", 0.004):
            raise sqlite3.OperationalError("database or disk is full")
        if self._world.strikes("crash-before-commit", 0.004):
            raise SimulatedCrash
        connection.commit()
        if self._world.strikes("commit-answer-lost", 0.006):
            self.has_lied = True
            raise sqlite3.OperationalError("disk I/O error")
        if self._world.strikes("crash-after-commit", 0.006):
            raise SimulatedCrash

    def count(self) -> int:
        """Return how many messages are there, deleted ones included."""
        return int(self.connection.execute("SELECT count(*) FROM message").fetchone()[0])

    def close(self) -> None:
        self.connection.close()
