"""A pump over a real file, and shorter times, for the tests that ask for them."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.node.fixtures import Rig

from netchat.directory import live
from netchat.node import node, post, rendezvous


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Plain text is allowed to people without a key."""
    with closing(Rig(tmp_path / "history.db")) as rig:
        yield rig


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Rig]:
    """Plain text is not allowed, as it is unless somebody says so."""
    with closing(Rig(tmp_path / "strict.db", allow_classic=False)) as rig:
        yield rig


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after the directory and the disk more often, and wait less, than people need it."""
    monkeypatch.setattr(rendezvous, "HEARTBEAT_LOCAL_S", 0.05)
    monkeypatch.setattr(node, "STORE_RETRY_S", 0.05)
    monkeypatch.setattr(node, "SEND_WAIT_S", 3.0)
    monkeypatch.setattr(post, "MAIL_SETTLE_S", 0.5)
    monkeypatch.setattr(post, "HEARTBEAT_REMOTE_S", 0.5)
    # A directory that stops waits this long for who has just gone without having said who it is.
    monkeypatch.setattr(live, "REQUEST_DEADLINE_S", 0.5)
