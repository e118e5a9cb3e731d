"""Chats with no directory meet: one of them hosts it, and when that one goes another takes over."""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.processes import REGISTERED, environment
from tests.system.processes import Chat, register, registered, stop_all, unused_port, wait_until

pytestmark = pytest.mark.slow

HOSTS = "hosts"
"""What the note of the one that hosts says, and no other note does."""


@pytest.fixture
def port() -> Iterator[int]:
    with unused_port() as found:
        yield found


StartChat = Callable[..., Chat]


@pytest.fixture
def chat(tmp_path: Path, port: int) -> Iterator[StartChat]:
    """Start a chat at the meeting point of this test, all of them in one home, as on a laptop."""
    chats: list[Chat] = []

    def start(name: str, *, registers: bool = True) -> Chat:
        chats.append(Chat(name, tmp_path / "home", "--port", str(port)))
        if registers:
            chats[-1].expect(REGISTERED)
        return chats[-1]

    yield start
    stop_all(chats)


def hosts(chat: Chat) -> bool:
    """Whether this chat has said that it hosts the meeting point."""
    return any(HOSTS in line for line in chat.notes.splitlines())


def registered_at(port: int) -> list[str]:
    """Who is at the meeting point; nobody when there is none."""
    try:
        return registered(("127.0.0.1", port))
    except OSError:
        return []


def test_two_chats_meet(chat: StartChat, port: int) -> None:
    alice = chat("alice")
    url = f"http://127.0.0.1:{port}"
    assert alice.wait_for_note(HOSTS).endswith(f"{url}.")
    bob = chat("bob")
    assert alice.names() == bob.names() == ["alice", "bob"]
    bob.ask('SEND alice "hi alice"', ">>Message sent!")
    alice.expect(">>You have a message from bob")
    alice.ask('SEND bob "hello there"', ">>Message sent!")
    bob.expect(">>You have a message from alice")
    bob.ask("READ alice", ">>hi alice - user", ">>hello there - alice")
    bob.leave()
    assert not hosts(bob)
    assert alice.names() == ["alice"]
    alice.leave()


def leave(host: Chat) -> None:
    host.leave()


def kill(host: Chat) -> None:
    host.kill()


@pytest.mark.parametrize("end", [leave, kill])
def test_another_takes_over(chat: StartChat, port: int, end: Callable[[Chat], None]) -> None:
    alice = chat("alice")
    alice.wait_for_note(HOSTS)
    others = [chat(name) for name in ("bob", "carol")]
    assert alice.names() == ["alice", "bob", "carol"]
    end(alice)

    # They find out by themselves: nothing is typed until both are in a list again.
    wait_until(lambda: registered_at(port) == ["bob", "carol"], "a new meeting point")
    wait_until(lambda: any(map(hosts, others)), "a word on who hosts it")
    assert sorted(map(hosts, others)) == [False, True]
    (host,) = filter(hosts, others)
    assert host.wait_for_note(HOSTS).endswith(f"http://127.0.0.1:{port}.")
    for one in others:
        assert one.names() == ["bob", "carol"]

    # Who was gone finds the new one, and people who know each other go on.
    alice = chat("alice")
    assert not hosts(alice)
    assert alice.names() == ["alice", "bob", "carol"]
    others[0].ask('SEND carol "still here"', ">>Message sent!")
    others[1].expect(">>You have a message from bob")
    for one in [alice, *others]:
        one.leave()


def test_typing_does_not_have_to_wait_for_that(chat: StartChat) -> None:
    """A command that finds the directory gone looks for the next one at once."""
    alice = chat("alice")
    alice.wait_for_note(HOSTS)
    bob = chat("bob")
    assert bob.names() == ["alice", "bob"]
    alice.kill()
    assert bob.names() == ["bob"]
    bob.wait_for_note(HOSTS)
    bob.leave()


def test_of_three_that_start_at_once_one_hosts(chat: StartChat) -> None:
    chats = [chat(name, registers=False) for name in ("alice", "bob", "carol")]
    for one in chats:
        one.expect(REGISTERED)
    for one in chats:
        assert one.names() == ["alice", "bob", "carol"]
    assert sum(map(hosts, chats)) == 1
    for one in sorted(chats, key=hosts):  # the host last
        one.leave()


def test_the_last_one_out_leaves_nothing_behind(chat: StartChat, port: int) -> None:
    chat("alice").leave()
    with socket.create_server(("127.0.0.1", port)):
        pass


@contextlib.contextmanager
def program_that_says(port: int, answer: bytes) -> Iterator[None]:
    """Something on the port that is no directory; with no answer it keeps silent."""
    with socket.create_server(("127.0.0.1", port)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            while True:
                connection, _ = server.accept()
                connections.append(connection)
                if not answer:
                    continue
                with contextlib.suppress(OSError):
                    connection.recv(4_096)
                    connection.sendall(answer)
                connection.close()

        def serve_until_the_end() -> None:
            with contextlib.suppress(OSError):
                serve()

        thread = threading.Thread(target=serve_until_the_end)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", id="a web page"),
        pytest.param(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", id="404"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(b"\x1b[2J\xff\x00", id="junk"),
    ],
)
def test_a_port_that_is_taken(chat: StartChat, port: int, answer: bytes) -> None:
    with program_that_says(port, answer):
        alice = chat("alice", registers=False)
        assert alice.wait() == 6
        assert alice.transcript == ""
        (note,) = alice.notes.splitlines()
        assert note.startswith(f"netchat: No directory at http://127.0.0.1:{port}: ")
        assert "another program" in note
        assert "NETCHAT_PORT" in note


def test_a_port_that_is_taken_by_something_silent(chat: StartChat, port: int) -> None:
    with program_that_says(port, b""):
        alice = chat("alice", registers=False)
        assert alice.wait() == 6
        (note,) = alice.notes.splitlines()
        assert "another program" in note


def test_a_classic_client_may_come_to_the_meeting_point(chat: StartChat, port: int) -> None:
    alice = chat("alice")
    register(("127.0.0.1", port), "bob", port)
    assert alice.names() == ["alice", "bob"]
    alice.leave()


WITHOUT_IPV6 = (
    "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6"
    ' && echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6 && exec "$0" "$@"'
)


def test_a_machine_without_ipv6(tmp_path: Path, port: int) -> None:
    """As containers often are: ``::1`` cannot be had there, and is not what `taken` means."""
    apart = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", WITHOUT_IPV6]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this system lets nobody make a network of its own")
    chat = [sys.executable, "-m", "netchat", "chat", "alice", "--port", str(port)]
    done = subprocess.run(
        [*apart, *chat],
        input="LIST\n",
        capture_output=True,
        text=True,
        env=environment(tmp_path),
        timeout=15,
        check=False,
    )
    assert done.stdout == f"{REGISTERED}\n>>[alice]\n"
    assert HOSTS in done.stderr
    assert done.returncode == 0
