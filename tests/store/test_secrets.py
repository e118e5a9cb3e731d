"""What a profile keeps for itself; and that an erased secret is gone from the file's bytes."""

import sqlite3
from pathlib import Path

import pytest

from netchat.store.secrets import Own


@pytest.fixture
def own(connection: sqlite3.Connection) -> Own:
    return Own(connection)


def test_an_entry_comes_back_as_it_was_put(own: Own) -> None:
    """Any bytes; a later value takes the place of the one before."""
    assert own.get("stream") is None
    own.put("stream", b"\x00\xff")
    own.put("record-seq", b"1")
    own.put("record-seq", b"2")
    assert (own.get("stream"), own.get("record-seq")) == (b"\x00\xff", b"2")


def test_the_newest_prekey_is_the_one_in_use(own: Own) -> None:
    """Older ones still open what is on its way."""
    assert own.newest_prekey() is None
    own.add_prekey(b"1" * 16, b"first", 10)
    assert own.newest_prekey() == (b"first", 10)
    own.add_prekey(b"2" * 16, b"second", 20)
    assert own.newest_prekey() == (b"second", 20)
    assert own.prekey_secret(b"1" * 16) == b"first"
    assert own.prekey_secret(b"3" * 16) is None


def test_a_clock_that_goes_back_does_not_bring_an_old_prekey_back(own: Own) -> None:
    """In use is the one that was made last, whatever the clock said."""
    own.add_prekey(b"1" * 16, b"first", 20)
    own.add_prekey(b"2" * 16, b"second", 10)
    assert own.newest_prekey() == (b"second", 10)


def test_prekeys_are_erased_by_when_they_were_superseded(own: Own) -> None:
    """Not by their age; the one in use stays however old it is."""
    own.add_prekey(b"1" * 16, b"first", 10)
    own.add_prekey(b"2" * 16, b"second", 20)  # supersedes the first at 20
    own.add_prekey(b"3" * 16, b"third", 30)
    assert own.erase_prekeys(20) == 0
    assert own.erase_prekeys(21) == 1
    assert own.prekey_secret(b"1" * 16) is None
    assert own.prekey_secret(b"2" * 16) == b"second"
    assert own.erase_prekeys(1_000) == 1
    assert own.newest_prekey() == (b"third", 30)


def test_an_erased_secret_is_gone_from_the_bytes_of_the_file(
    own: Own, connection: sqlite3.Connection, path: Path
) -> None:
    """Forward secrecy of mail is worth what the disk forgets. Guards ``PRAGMA secure_delete``."""
    secret = b"a secret of ninety-six bytes".ljust(96, b"!")
    own.add_prekey(b"1" * 16, secret, 10)
    own.add_prekey(b"2" * 16, b"another".ljust(96, b"?"), 20)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert secret in path.read_bytes()
    own.erase_prekeys(21)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    log = path.with_name("history.db-wal")
    assert secret not in path.read_bytes()
    assert secret not in (log.read_bytes() if log.exists() else b"")
