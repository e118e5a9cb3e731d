"""Connections that say nothing: they hold up nobody, cost next to nothing, and are dropped."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, Address
from tests.interop.processes import REGISTERED, serving
from tests.system.processes import Chat, address_of, bring

from netchat.limits import ARRIVAL_DEADLINE_S

pytestmark = pytest.mark.slow

SILENT = 300
GROWTH_KIB_MAX = 32 * 1_024


@pytest.fixture
def alice(tmp_path: Path) -> Iterator[tuple[Chat, Address]]:
    """A chat, and where it listens."""
    with serving(tmp_path / "directory", tmp_path / "data") as directory:
        chat = Chat("alice", tmp_path / "home", "--directory", directory.url)
        try:
            chat.expect(REGISTERED)
            yield chat, address_of(directory.address, "alice")
            chat.leave(None)
            chat.assert_no_traceback()
        finally:
            chat.stop()


def resident_kib(pid: int) -> int:
    """How much memory a process has in RAM, as the kernel counts it."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@contextlib.contextmanager
def connections(address: Address, count: int, begun: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as opened:
        found = []
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection(address, LIMIT))
            connection.sendall(begun)
            found.append(connection)
        yield found


def seconds_since(start: float) -> float:
    return time.monotonic() - start


@pytest.mark.parametrize(
    "begun", [pytest.param(b"", id="silent"), pytest.param(b'bob: "an', id="begun")]
)
def test_three_hundred_that_never_end(alice: tuple[Chat, Address], begun: bytes) -> None:
    chat, address = alice
    bring(address, b'carol: "first"')
    chat.expect(">>You have a message from carol")
    before = resident_kib(chat.pid)
    opened_at = time.monotonic()
    with connections(address, SILENT, begun) as silent:
        assert len(silent) == SILENT

        sent_at = time.monotonic()
        bring(address, b'carol: "hello"')
        chat.expect(">>You have a message from carol")
        assert seconds_since(sent_at) < 1
        chat.ask("READ carol", ">>first - carol", ">>hello - carol")
        assert seconds_since(sent_at) < 1

        assert resident_kib(chat.pid) - before < GROWTH_KIB_MAX

        # Each is dropped when its time is up: a reset, because nothing of it was stored.
        poll = select.poll()
        by_number = {one.fileno(): one for one in silent}
        for number in by_number:
            poll.register(number, select.POLLIN)
        while by_number:
            ended = poll.poll(1_000 * LIMIT)
            assert ended, f"{len(by_number)} connections were never dropped"
            for number, _ in ended:
                poll.unregister(number)
                with pytest.raises(ConnectionResetError):
                    by_number.pop(number).recv(1)
        took_s = seconds_since(opened_at)
        assert ARRIVAL_DEADLINE_S - 0.1 < took_s < ARRIVAL_DEADLINE_S + 3
    assert resident_kib(chat.pid) - before < GROWTH_KIB_MAX
    assert chat.unread() == ""


def test_more_of_them_than_there_is_room_for(alice: tuple[Chat, Address]) -> None:
    """The oldest silent ones make room, so that somebody with something to say gets in."""
    chat, address = alice
    before = resident_kib(chat.pid)
    with connections(address, 1_000, b""):
        bring(address, b'carol: "hello"')
        chat.expect(">>You have a message from carol")
        assert resident_kib(chat.pid) - before < GROWTH_KIB_MAX
