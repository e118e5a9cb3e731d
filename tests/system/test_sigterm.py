"""However a chat is told to end, its name leaves the list, and it has nothing more to say."""

import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, ClassicClient
from tests.interop.processes import ALLOW_CLASSIC, REGISTERED, Directory, serving
from tests.system.processes import Chat, address_of, bring, register, registered, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with serving(tmp_path / "directory", tmp_path / "data") as running:
        yield running


@contextmanager
def chatting(name: str, home: Path, directory: Directory) -> Iterator[Chat]:
    chat = Chat(name, home, "--directory", directory.url, *ALLOW_CLASSIC)
    try:
        chat.expect(REGISTERED)
        yield chat
        chat.assert_no_traceback()
    finally:
        chat.stop()


def terminate(chat: Chat) -> None:
    chat.send_signal(signal.SIGTERM)


def hang_up(chat: Chat) -> None:
    chat.send_signal(signal.SIGHUP)


def interrupt(chat: Chat) -> None:
    chat.send_signal(signal.SIGINT)


def end_input(chat: Chat) -> None:
    chat.end_input()


def type_exit(chat: Chat) -> None:
    chat.type("EXIT")


WAYS = [
    pytest.param(type_exit, 0, id="EXIT"),
    pytest.param(end_input, 0, id="end of input"),
    pytest.param(terminate, 0, id="SIGTERM"),
    pytest.param(hang_up, 130, id="SIGHUP"),
    pytest.param(interrupt, 130, id="SIGINT"),
]


@pytest.mark.parametrize(("leave", "status"), WAYS)
def test_the_name_leaves_the_list(
    directory: Directory, tmp_path: Path, leave: Callable[[Chat], None], status: int
) -> None:
    with (
        ClassicClient("bob", directory.address) as bob,
        chatting("alice", tmp_path / "home", directory) as alice,
    ):
        assert bob.update() == 200
        assert registered(directory.address) == ["alice", "bob"]
        leave(alice)
        assert alice.wait() == status
        assert registered(directory.address) == ["bob"]
        assert alice.unread() == ""
        assert bob.received == []


@pytest.mark.parametrize("leave", [terminate, interrupt])
def test_it_ends_in_the_middle_of_a_send(
    directory: Directory, tmp_path: Path, leave: Callable[[Chat], None]
) -> None:
    """What was handed over counts, what was not stays queued, and the next start says which."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.socket() as nobody,
    ):
        nobody.bind(("127.0.0.1", 0))  # bound, never listening: it refuses
        register(directory.address, "bob", silent.getsockname()[1])
        register(directory.address, "carol", nobody.getsockname()[1])
        silent.settimeout(LIMIT)
        with chatting("alice", tmp_path / "home", directory) as alice:
            alice.type('SEND_MULTI [bob, carol] "hello"')
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(LIMIT)
                assert connection.recv(1_024) == b'alice: "hello"'
                leave(alice)
                alice.wait()
            states = {peer: state for peer, _, _, state, _ in alice.messages()}
            assert states == {"bob": "sent", "carol": "queued"}
            assert registered(directory.address) == ["bob", "carol"]


@pytest.mark.parametrize("leave", [terminate, end_input])
def test_what_was_received_before_is_kept(
    directory: Directory, tmp_path: Path, leave: Callable[[Chat], None]
) -> None:
    home = tmp_path / "home"
    with chatting("alice", home, directory) as alice:
        address = address_of(directory.address, "alice")
        for number in range(5):
            bring(address, f'bob: "{number}"'.encode())
        leave(alice)
        assert alice.wait() == 0
    with chatting("alice", home, directory) as alice:
        assert alice.conversation("bob") == [f">>{number} - bob" for number in range(5)]


def test_a_directory_may_end_before_its_people(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "directory", tmp_path / "data") as directory,
        chatting("alice", tmp_path / "home", directory) as alice,
    ):
        directory.stop_cleanly()
        alice.wait_for_note(directory.url, "does not answer")
        alice.leave()


def test_one_identity_on_two_computers(tmp_path: Path, directory: Directory) -> None:
    """Who has the key has the name: the second takes it over, and it is back when that leaves."""
    with chatting("bob", tmp_path / "first", directory) as first:
        at_first = address_of(directory.address, "bob")
        identity = first.history.parent / "identity"
        there = tmp_path / "second" / "data" / "netchat" / "profiles" / "bob"
        there.mkdir(mode=0o700, parents=True)
        shutil.copy(identity, there / identity.name)
        with chatting("bob", tmp_path / "second", directory) as second:
            wait_until(
                lambda: address_of(directory.address, "bob") != at_first, "the move of the name"
            )
            second.leave()
        wait_until(lambda: registered(directory.address) == ["bob"], "the first one again")
        assert address_of(directory.address, "bob") == at_first
