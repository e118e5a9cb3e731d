"""Opening a history file: what it promises the rest of the program, and whose files it refuses."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netchat.errors import StoreNewer, StoreUnavailable
from netchat.store import database
from netchat.store.database import (
    APPLICATION_ID,
    MEMORY,
    load_migrations,
    open_database,
    translated_errors,
)

FROZEN = Path(__file__).with_name("frozen_0001.sql")
SECOND = "ALTER TABLE peer ADD COLUMN colour TEXT"


INSERT = (
    "INSERT INTO message (sender, message_id, peer, outgoing, text, state, hlc, at_ms)"
    " VALUES (zeroblob(32), zeroblob(16), 'bob', 0, ?, 'received', 1, 1)"
)


def run(path: Path, *statements: str) -> None:
    """Change a file behind the program's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.executescript(statement)


def make_frozen(path: Path) -> None:
    """Make a file as the first release made it, with a message in it."""
    run(
        path,
        FROZEN.read_text(encoding="utf-8"),
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1",
        "PRAGMA journal_mode = WAL",
        "INSERT INTO peer (name_key, shown) VALUES ('bob', 'Bob')",
        INSERT.replace("?", "'hello'"),
    )


def schema(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = connection.execute(
        "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
    ).fetchall()
    for pragma in ("user_version", "application_id", "journal_mode", "encoding"):
        rows += connection.execute(f"PRAGMA {pragma}").fetchall()
    return rows


# --- what a connection promises ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),  # FULL
        ("foreign_keys", 1),
        ("secure_delete", 1),
        ("busy_timeout", 5_000),
        ("application_id", APPLICATION_ID),
        ("user_version", len(load_migrations())),
    ],
)
def test_a_connection_is_as_promised(path: Path, pragma: str, value: object) -> None:
    """A commit is on disk when it returns, deleted text is overwritten, references hold."""
    with closing(open_database(path)) as connection:
        assert connection.execute(f"PRAGMA {pragma}").fetchone()[0] == value


def test_a_commit_outlives_its_connection(path: Path) -> None:
    """What is committed is in the file, and the file opens again."""
    with closing(open_database(path)) as connection:
        connection.execute("INSERT INTO peer (name_key, shown) VALUES ('bob', 'Bob')")
    with closing(open_database(path)) as connection:
        assert connection.execute("SELECT shown FROM peer").fetchall() == [("Bob",)]


def test_a_history_may_be_in_memory() -> None:
    """The simulator and the tests use the real schema without a file."""
    with closing(open_database(MEMORY)) as connection:
        assert connection.execute("SELECT count(*) FROM message").fetchone() == (0,)


def test_what_sqlite_raises_becomes_an_error_of_ours() -> None:
    """Above the store nobody knows SQLite; its words stay as the reason."""
    with (
        pytest.raises(StoreUnavailable, match="no such table"),
        closing(open_database(MEMORY)) as connection,
        translated_errors(),
    ):
        connection.execute("SELECT * FROM nowhere")


# --- schemas -------------------------------------------------------------------------------------


def test_the_first_schema_is_what_was_released() -> None:
    """Files in the field were made by it, so it is never edited; a change gets its own script."""
    assert load_migrations()[0] == FROZEN.read_text(encoding="utf-8")


def test_a_file_of_the_first_release_becomes_like_a_new_one(path: Path, tmp_path: Path) -> None:
    """Upgraded or new, the schema is the same, and nothing that was in the file is lost."""
    make_frozen(path)
    with closing(open_database(path)) as old, closing(open_database(tmp_path / "new.db")) as new:
        assert schema(old) == schema(new)
        assert old.execute("SELECT peer, text FROM message").fetchall() == [("bob", "hello")]


def test_scripts_that_the_file_has_not_seen_are_run_once(path: Path) -> None:
    """From whatever version the file has, and not again at the next start."""
    make_frozen(path)
    scripts = (*load_migrations()[:1], SECOND)
    for _ in range(2):
        with closing(open_database(path, scripts)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (2,)
            assert connection.execute("SELECT shown, colour FROM peer").fetchall() == [
                ("Bob", None)
            ]


def test_an_upgrade_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    """A script and its version mark are one transaction: half an upgrade would be no schema."""
    make_frozen(path)
    broken = "; ".join((SECOND, "SELECT * FROM nowhere"))
    with pytest.raises(StoreUnavailable):
        open_database(path, (*load_migrations()[:1], broken))
    with closing(open_database(path, load_migrations()[:1])) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(peer)")]
        assert "colour" not in columns
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)


# --- files that are not for us -------------------------------------------------------------------


def test_a_newer_file_is_refused_and_left_alone(path: Path) -> None:
    """A newer NetChat keeps in it what this one does not know, so not a byte is changed."""
    newer = len(load_migrations()) + 1
    with closing(open_database(path)):
        pass
    run(path, f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    with pytest.raises(StoreNewer) as caught:
        open_database(path)
    assert (caught.value.path, caught.value.found) == (str(path), newer)
    assert caught.value.known == newer - 1
    assert path.read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    """Not even its journal mode is changed."""
    run(path, "CREATE TABLE cookie (value TEXT)")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match="not a NetChat history"):
        open_database(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    """A text file, or one that is damaged beyond recognition."""
    path.write_bytes(b"Dear diary, " * 1_000)
    with pytest.raises(StoreUnavailable):
        open_database(path)
    assert path.read_bytes() == b"Dear diary, " * 1_000


def test_a_place_without_a_file_is_refused(tmp_path: Path) -> None:
    """A directory cannot be opened as a file."""
    with pytest.raises(StoreUnavailable):
        open_database(tmp_path)


def test_a_file_that_another_program_locks_is_refused_in_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the lock, but not for ever."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            open_database(path)


# --- a full disk ---------------------------------------------------------------------------------


@pytest.fixture
def full(path: Path) -> Iterator[sqlite3.Connection]:
    """A history on a disk that has no room for another page."""
    with closing(open_database(path)) as connection:
        connection.execute("INSERT INTO peer (name_key, shown) VALUES ('bob', 'Bob')")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        yield connection


def insert_much(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, ("x" * 100_000,))


def test_a_full_disk_is_an_error_of_ours_and_loses_nothing(
    full: sqlite3.Connection, path: Path
) -> None:
    """What was there stays, what did not fit is not there in part, and the call can be repeated."""
    with pytest.raises(StoreUnavailable, match="full"), translated_errors():
        insert_much(full)
    assert not full.in_transaction
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT shown FROM peer").fetchall() == [("Bob",)]
        assert other.execute("SELECT count(*) FROM message").fetchone() == (0,)
        assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    full.execute("PRAGMA max_page_count = 100000")
    insert_much(full)
    assert full.execute("SELECT length(text) FROM message").fetchone() == (100_000,)


def test_deleted_text_does_not_stay_in_the_file(path: Path) -> None:
    """A person who deletes a message means it: the bytes are overwritten, not only unlinked."""
    words = "meet me at the old pier"
    with closing(open_database(path)) as connection:
        connection.execute("INSERT INTO peer (name_key, shown) VALUES ('bob', 'Bob')")
        connection.execute(INSERT, (words,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert words.encode() in path.read_bytes()
        connection.execute("UPDATE message SET text = NULL, deleted_ms = 2")
    assert words.encode() not in path.read_bytes()
    assert not path.with_name("history.db-wal").exists()
