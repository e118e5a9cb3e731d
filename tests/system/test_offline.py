"""A thousand messages for somebody who is away, by the mailbox, whatever dies in between."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.processes import REGISTERED
from tests.system.processes import Chat, Serve, rows, stop_all, unused_port, wait_until

pytestmark = pytest.mark.slow

COUNT = 1_000
TEXTS = [f"message {number}" for number in range(COUNT)]
LONG_S = 120.0
"""For all of them on a busy machine; alone they take a tenth of it."""
ARRIVED = ">>You have a message from alice\n"


class Place:
    """A directory that may be killed, and alice and bob, of whom one at most is there."""

    def __init__(self, path: Path, port: int) -> None:
        self._path = path
        self._port = port
        self._programs: list[Chat | Serve] = []
        self.serve()

    def serve(self) -> None:
        self.directory = Serve(self._port, self._path / "served")
        self._programs.append(self.directory)
        self.directory.wait_until_up()

    def serve_anew(self) -> None:
        """A power cut at the directory's, and back again."""
        self.directory.kill()
        self.serve()

    def chat(self, name: str) -> Chat:
        chat = Chat(name, self._path, "--directory", self.directory.url)
        self._programs.append(chat)
        return chat

    def stop(self) -> None:
        stop_all(self._programs)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with unused_port() as port:
        made = Place(tmp_path, port)
        try:
            yield made
        finally:
            made.stop()


def count(chat: Chat, what: str) -> int:
    return int(rows(chat.history, f"SELECT count(*) FROM {what}")[0][0])  # noqa: S608 (ours)


def wait_for(condition: Callable[[], bool], what: str) -> None:
    wait_until(condition, what, LONG_S)


@pytest.mark.parametrize("cut", ["never", "sending", "gone", "fetching", "confirming"])
def test_a_thousand_messages(
    place: Place, cut: str, record_property: Callable[[str, object], None]
) -> None:
    """B is off, A sends and goes; B comes and has them; A comes back and knows.

    ``cut`` is when the directory is killed and comes back.
    """

    def cut_if(moment: str) -> None:
        if cut == moment:
            place.serve_anew()

    bob = place.chat("bob")
    bob.expect(REGISTERED)
    bob.leave()

    started = time.monotonic()
    alice = place.chat("alice")
    alice.type(*(f'SEND bob "{text}"' for text in TEXTS))
    if cut == "sending":
        alice.wait_for_lines(COUNT // 3)
    cut_if("sending")
    wait_for(lambda: alice.transcript.count("\n") == COUNT + 1, "an answer to each")
    wait_for(lambda: count(alice, "outbox WHERE state <> 'stored'") == 0, "all in the mailbox")
    stored_s = time.monotonic() - started
    assert alice.transcript.count(">>Message sent!\n") >= COUNT * 0.9
    alice.next_lines(COUNT + 1)
    alice.leave()
    cut_if("gone")

    started = time.monotonic()
    bob = place.chat("bob")
    if cut == "fetching":
        wait_for(lambda: ARRIVED in bob.transcript, "a first message")
    cut_if("fetching")
    wait_for(lambda: count(bob, "message") >= COUNT, "all of them")
    fetched_s = time.monotonic() - started
    texts = rows(bob.history, "SELECT text FROM message ORDER BY hlc, message_id")
    assert [text for (text,) in texts] == TEXTS
    cut_if("confirming")
    wait_for(lambda: count(bob, "owed") == 0, "the confirmation")
    assert bob.transcript.count(ARRIVED) == COUNT
    bob.next_lines(COUNT + 1)
    bob.leave()

    started = time.monotonic()
    alice = place.chat("alice")
    wait_for(lambda: count(alice, "message WHERE state = 'delivered'") == COUNT, "delivered")
    told_s = time.monotonic() - started
    assert count(alice, "outbox") == 0

    bob = place.chat("bob")
    bob.expect(REGISTERED)
    assert bob.conversation("alice") == [f">>{text} - alice" for text in TEXTS]
    record_property(
        "figure",
        f"offline, directory cut {cut:10}: {COUNT} stored in {stored_s:.1f} s,"
        f" fetched in {fetched_s:.1f} s, delivered told in {told_s:.1f} s (with their starts)",
    )
