"""Opening a SQLite file the way NetChat promises to keep it: WAL, synchronous=FULL, migrated.

``FULL`` makes every commit an fsync of the log, which is what lets the rest of the program say
that something is on disk. A file that a newer NetChat wrote is refused, never guessed at.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from netchat.errors import StoreNewer, StoreUnavailable
from netchat.limits import BUSY_TIMEOUT_MS, CHECKPOINT_PAGES

APPLICATION_ID: Final = 0x4E434831  # "NCH1" in the header of every history file
MEMORY: Final = ":memory:"


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn what SQLite raises into ``StoreUnavailable``, with SQLite's own words as the reason."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(str(error)) from error


def load_migrations() -> tuple[str, ...]:
    """Return the scripts in order: the first makes schema 1 out of an empty file, and so on."""
    folder = files("netchat.store.migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((folder / name).read_text(encoding="utf-8") for name in names)


def open_database(path: Path | str, migrations: Sequence[str] | None = None) -> sqlite3.Connection:
    """Open or make the file at ``path`` and bring its schema up to date.

    The connection may be used by one thread at a time, not only by the one that opened it.

    Raises:
        StoreNewer: a newer NetChat wrote it.
        StoreUnavailable: not a database of ours, damaged, unreadable, locked or no room.
    """
    scripts = load_migrations() if migrations is None else tuple(migrations)
    with translated_errors():
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            version = _checked_version(connection, scripts, str(path))
            _configure(connection)
            _migrate(connection, scripts, version)
        except BaseException:
            connection.close()
            raise
    return connection


def _checked_version(connection: sqlite3.Connection, scripts: Sequence[str], path: str) -> int:
    """Return which schema the file has; a file that is not for us is left as it was."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not empty:
        raise StoreUnavailable("the file is not a NetChat history")
    if version > len(scripts):
        raise StoreNewer(path, version, len(scripts))
    return int(version)


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")


def _migrate(connection: sqlite3.Connection, scripts: Sequence[str], version: int) -> None:
    """Run the scripts that the file has not seen, each in a transaction with its version mark."""
    for number in range(version + 1, len(scripts) + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {scripts[number - 1]};"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )
