"""What the tests of the tables share: a history in a real file, and what another process sees."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netchat.store.database import open_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_database(path)) as connection:
        yield connection


Rows = Callable[[str], list[tuple[object, ...]]]


@pytest.fixture
def rows(connection: sqlite3.Connection) -> Rows:
    """Ask the tables by SQL."""
    return lambda query: connection.execute(query).fetchall()
