"""Who somebody is: moving to a new computer, losing a key, and a profile that is in use."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT
from tests.interop.processes import REGISTERED, Directory, environment, serving
from tests.system.processes import Chat, stop_all

from netchat.directory.client import DirectoryClient
from netchat.model import Name, Record

pytestmark = pytest.mark.slow

SENT = ">>Message sent!"
QUEUED = ">>Message queued: bob is not reachable"
StartChat = Callable[..., Chat]


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with serving(tmp_path / "directory", tmp_path / "data") as running:
        yield running


@pytest.fixture
def chat(tmp_path: Path, directory: Directory) -> Iterator[StartChat]:
    chats: list[Chat] = []

    def start(name: str, home: str = "home") -> Chat:
        chats.append(Chat(name, tmp_path / home, "--directory", directory.url))
        chats[-1].expect(REGISTERED)
        return chats[-1]

    yield start
    stop_all(chats)


def netchat(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "netchat", *arguments],
        env=environment(home) | settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def record_of(name: str, directory: Directory) -> Record:
    """What the directory says of a name, signed by its key."""

    async def ask() -> Record:
        async with DirectoryClient(directory.url) as client:
            signed = await client.record(Name(name))
        assert signed is not None
        return signed.record

    return asyncio.run(ask())


def met(chat: StartChat) -> tuple[Chat, Chat]:
    alice, bob = chat("alice"), chat("bob")
    alice.ask('SEND bob "first"', SENT)
    bob.expect(">>You have a message from alice")
    return alice, bob


def test_a_new_computer(chat: StartChat, tmp_path: Path, directory: Directory) -> None:
    """The identity moves, and nobody is alarmed; a locked file stays locked.

    Its record goes on above the numbers of the old computer, though the new one has no memory.
    """
    alice, bob = met(chat)
    bob.leave()
    before = record_of("bob", directory)
    file = str(tmp_path / "bob.identity")
    locked = {"NETCHAT_PASSPHRASE": "correct horse"}
    there = tmp_path / "new"
    for home, words, settings in (
        (tmp_path / "home", ("passphrase", "--profile", "bob"), locked),
        (tmp_path / "home", ("export", file, "--profile", "bob"), locked),
        (there, ("import", file, "--profile", "bob"), locked),
    ):
        done = netchat(home, "identity", *words, **settings)
        assert done.returncode == 0, done
    assert netchat(there, "identity", "show", "--profile", "bob").returncode == 7
    assert netchat(there, "identity", "import", file, "--profile", "bob").returncode == 7
    for wrong in ({}, {"NETCHAT_PASSPHRASE": "wrong"}):
        refused = netchat(there, "chat", "bob", "--directory", directory.url, **wrong)
        assert refused.returncode == 7, refused
        assert refused.stdout == ""
    moved = Chat("bob", there, "--directory", directory.url, settings=locked)
    try:
        moved.expect(REGISTERED)
        after = record_of("bob", directory)
        assert after.key == before.key
        assert after.seq > before.seq
        alice.ask('SEND bob "second"', SENT)
        moved.expect(">>You have a message from alice")
        moved.ask('SEND alice "I moved"', SENT)
        alice.expect(">>You have a message from bob")
        assert alice.notes == ""
        moved.leave()
    finally:
        stop_all([moved])


def test_a_lost_key(chat: StartChat, tmp_path: Path, directory: Directory) -> None:
    """A new key gets the name only from the operator; and who knew the old one decides."""
    alice, bob = met(chat)
    bob.leave()
    second = Chat("bob", tmp_path / "lost", "--directory", directory.url)
    try:
        second.expect_beginning(">>Registration failed!")
        second.leave(None)
    finally:
        stop_all([second])
    released = netchat(
        tmp_path / "home", "serve", "release", "bob", "--data", str(tmp_path / "data")
    )
    assert released.returncode == 0, released
    second = Chat("bob", tmp_path / "lost", "--directory", directory.url)
    try:
        second.expect(REGISTERED)
        alice.ask('SEND bob "is it you?"', QUEUED)
        alice.wait_for_note("another key came under the name bob")
        assert second.unread() == ""
        alice.type('TRUST bob "accept"')
        second.expect(">>You have a message from alice")
        second.ask("READ alice", ">>is it you? - alice")
        second.leave()
    finally:
        stop_all([second])
    alice.expect(">>New key of bob accepted!")
    alice.leave()


def test_a_profile_that_is_in_use(chat: StartChat, tmp_path: Path) -> None:
    alice = chat("alice")
    refused = netchat(tmp_path / "home", "verify", "bob", "--profile", "alice")
    assert refused.returncode == 7
    assert f"process {alice.pid}" in refused.stderr
