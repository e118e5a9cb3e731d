"""Nobody makes a chat speak in plain text to somebody whose key it has seen.

After one real exchange bob goes. What then stands at his address, or what the directory then says
of him, is the attacker's choice; alice was even started with leave for plain text. What arrives
there begins a TLS handshake or is nothing; the message waits, on her disk or sealed in the mailbox,
and she is told which. In the end the real bob comes back and has it.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

import pytest
from tests.interop.classic_client import LIMIT, Address
from tests.interop.classic_server import ClassicServer
from tests.interop.processes import ALLOW_CLASSIC, REGISTERED
from tests.system.processes import (
    Chat,
    Serve,
    address_of,
    bring,
    register,
    stop_all,
    unused_port,
    wait_until,
)
from tests.system.tapping import Tap, records_of, traces_of

from netchat.directory.client import DirectoryClient
from netchat.directory.records import sign_record
from netchat.identity.keys import Identity
from netchat.identity.seal import make_prekey
from netchat.model import Address as At
from netchat.model import Name, Record

pytestmark = pytest.mark.slow

SECRET = "the tunnel opens at a quarter past nine"  # noqa: S105 (a message)
QUEUED = ">>Message queued: bob is not reachable"
STORED = ">>Message sent!"


class Capture:
    """Somebody who keeps what comes, says ``greeting``, and ``answer`` to each piece."""

    def __init__(self, port: int = 0, greeting: bytes = b"", answer: bytes = b"") -> None:
        self.ways: list[bytearray] = []
        self._greeting = greeting
        self._answer = answer
        self._server = socket.create_server(("127.0.0.1", port))
        self.address: Address = self._server.getsockname()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.ways.append(bytearray())
                one = threading.Thread(target=self._take, args=(connection, self.ways[-1]))
                self._threads.append(one)
                one.start()

    def _take(self, connection: socket.socket, way: bytearray) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(LIMIT)
            connection.sendall(self._greeting)
            while data := connection.recv(65_536):
                way += data
                connection.sendall(self._answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()


def assert_only_tls(ways: list[bytearray]) -> None:
    """Each connection brought the beginning of a handshake, or nothing, and nothing of ours."""
    for way in map(bytes, ways):
        kinds = records_of(way)
        assert kinds[:1] in ([], [0x16])
        assert way[5:6] in (b"", b"\x01"), "no ClientHello"
        # A server of TLS is told in a sealed record that its key is not the one.
        assert set(kinds[1:]) <= {0x14, 0x15, 0x17}  # 0x15: an alert
        assert sum(kind == 0x17 for kind in kinds) <= 1
        for words in (SECRET, "alice", "bob"):
            assert not traces_of(words, way)


class Place:
    """A directory, alice, and the port that bob listens at when he is there."""

    def __init__(self, path: Path, port: int, bobs_port: int) -> None:
        self.path = path
        self.port = port
        self.bobs_port = bobs_port
        self.programs: list[Chat | Serve] = []
        self.directory = self.serve("served")
        self.alice = self.chat("alice", *ALLOW_CLASSIC)
        self.bob = self.start_bob()
        self.alice.ask('SEND bob "hello"', ">>Message sent!")
        self.bob.expect(">>You have a message from alice")
        self.bob.ask('SEND alice "hello alice"', ">>Message sent!")
        self.alice.expect(">>You have a message from bob")

    def serve(self, folder: str) -> Serve:
        serve = Serve(self.port, self.path / folder)
        self.programs.append(serve)
        serve.wait_until_up()
        return serve

    def chat(self, name: str, *options: str) -> Chat:
        url = f"http://127.0.0.1:{self.port}"
        chat = Chat(name, self.path / "home", "--directory", url, *options)
        self.programs.append(chat)
        chat.expect(REGISTERED)
        return chat

    def start_bob(self) -> Chat:
        return self.chat("bob", "--listen", f"127.0.0.1:{self.bobs_port}")

    def identity(self, name: str) -> Identity:
        path = self.path / "home" / "data" / "netchat" / "profiles" / name / "identity"
        return Identity.from_openssh(path.read_bytes(), None)

    def send(self, *answers: str) -> None:
        """Have alice write to bob; one of these is what she is told."""
        self.alice.type(f'SEND bob "{SECRET}"')
        line = self.alice.next_line()
        assert line in answers
        state = "stored" if line == STORED else "queued"
        assert [m[3] for m in self.alice.messages() if m[1] and m[2] == SECRET] == [state]

    def give_back(self, *, writes_again: bool) -> None:
        """The real bob comes back, and has it; at once when alice writes again.

        Else he fetches it, or she tries again later: what lies in a mailbox, within two minutes.
        """
        bob = self.start_bob()
        texts = [SECRET]
        if writes_again:
            texts.append("are you back?")
            self.alice.ask(f'SEND bob "{texts[-1]}"', ">>Message sent!")
        for _ in texts:
            bob.expect(">>You have a message from alice")
        shown = [f">>{text} - alice" for text in texts]
        assert bob.conversation("alice")[-len(texts) :] == shown
        wait_until(
            lambda: {m[3] for m in self.alice.messages() if m[1]} == {"delivered"}, "delivered"
        )


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with unused_port() as port, unused_port() as bobs_port:
        made = Place.__new__(Place)
        try:
            made.__init__(tmp_path, port, bobs_port)  # type: ignore[misc]
            yield made
        finally:
            stop_all(made.programs)


# --- at his address ------------------------------------------------------------------------------


@contextlib.contextmanager
def nobody(place: Place) -> Iterator[list[bytearray]]:
    """The connection is refused."""
    yield []


@contextlib.contextmanager
def a_black_hole(place: Place) -> Iterator[list[bytearray]]:
    """The connection is neither accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", place.bobs_port))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield []


def captured(**answers: bytes) -> Callable[[Place], AbstractContextManager[list[bytearray]]]:
    @contextlib.contextmanager
    def there(place: Place) -> Iterator[list[bytearray]]:
        with Capture(place.bobs_port, **answers) as capture:
            yield capture.ways
            assert capture.ways, "nobody was dialled"

    return there


@contextlib.contextmanager
def an_impostor(place: Place) -> Iterator[list[bytearray]]:
    """A real chat with a key of its own, which nothing of the message reaches."""
    mallory = place.chat("mallory")
    at = address_of(place.directory.address, "mallory")
    with Tap(lambda: at, place.bobs_port) as tap:
        yield [there for there, _ in tap.ways]
        assert tap.ways, "nobody was dialled"
        assert_only_tls([there for there, _ in tap.ways])
        assert mallory.messages() == []
        mallory.leave(None)


AT_HIS_ADDRESS = {
    "refused": nobody,
    "black hole": a_black_hole,
    "silent": captured(),
    "HTTP": captured(answer=b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "garbage": captured(answer=os.urandom(4_096)),
    "garbage first": captured(greeting=os.urandom(4_096)),
    "classic": captured(greeting=b'bob: "speak plainly, my TLS is broken"'),
    "TLS alert": captured(answer=b"\x15\x03\x03\x00\x02\x02\x28"),
    "impostor": an_impostor,
}


@pytest.mark.parametrize("has_directory", [True, False], ids=["", "no directory"])
@pytest.mark.parametrize("there", AT_HIS_ADDRESS.values(), ids=AT_HIS_ADDRESS)
def test_whoever_stands_at_his_address(
    place: Place,
    there: Callable[[Place], AbstractContextManager[list[bytearray]]],
    has_directory: bool,
) -> None:
    place.bob.kill()
    with there(place) as ways:
        if not has_directory:
            place.directory.kill()
        place.send(STORED if has_directory else QUEUED)
    assert_only_tls(ways)
    if not has_directory:
        place.directory = place.serve("served")
    place.give_back(writes_again=not has_directory)


# --- in the directory ----------------------------------------------------------------------------


async def claim(place: Place, identity: Identity, seq: int, at: Address) -> None:
    record = Record(
        name=Name("bob"),
        key=identity.peer_id,
        addresses=(At(*at),),
        prekey=make_prekey().public,
        prekey_until_ms=2**50,
        capabilities=(),
        seq=seq,
        issued_ms=1_000,
        lease_s=60,
    )
    async with DirectoryClient(place.directory.url) as client:
        await client.claim(identity, sign_record(identity, record))


def strips_his_record(place: Place, capture: Capture) -> None:
    """It knows only a classic entry of that name."""
    register(place.directory.address, "bob", capture.address[1])


def gives_an_old_record(place: Place, capture: Capture) -> None:
    asyncio.run(claim(place, place.identity("bob"), 5, capture.address))


def gives_another_key(place: Place, capture: Capture) -> None:
    asyncio.run(claim(place, Identity.generate(), 2**52, capture.address))


DIRECTORIES = {
    "strips": (strips_his_record, (QUEUED,), ""),
    "old record": (gives_an_old_record, (STORED,), "an older one than it gave before"),
    "another key": (gives_another_key, (QUEUED,), "another key came under the name bob"),
}


@pytest.mark.parametrize("restarts", [False, True], ids=["", "alice restarts"])
@pytest.mark.parametrize(("lies", "told", "note"), DIRECTORIES.values(), ids=DIRECTORIES)
def test_whatever_the_directory_says(
    place: Place,
    lies: Callable[[Place, Capture], None],
    told: tuple[str, ...],
    note: str,
    restarts: bool,
) -> None:
    place.bob.kill()
    place.directory.kill()
    with Capture() as capture:
        place.directory = place.serve("another")
        lies(place, capture)
        if restarts:
            place.alice.leave()
            place.alice = place.chat("alice", *ALLOW_CLASSIC)
        place.send(*told)
        if note and not (restarts and lies is gives_an_old_record):
            # What a directory gave before is known to the process that it gave it to; the record
            # is not used after a restart either, as the capture shows.
            place.alice.wait_for_note(note)
    assert_only_tls(capture.ways)
    place.directory.kill()
    place.directory = place.serve("served")
    if lies is gives_another_key:
        place.alice.ask('TRUST bob "refuse"', ">>New key of bob refused!")
    place.give_back(writes_again=True)


@pytest.mark.parametrize("restarts", [False, True], ids=["", "alice restarts"])
def test_a_directory_that_knows_only_the_classic_requests(place: Place, restarts: bool) -> None:
    place.bob.kill()
    place.directory.kill()
    with Capture() as capture, ClassicServer(port=place.port) as classic:
        register(classic.address, "bob", capture.address[1])
        if restarts:
            place.alice.leave(None)
            place.alice = place.chat("alice", *ALLOW_CLASSIC)
        place.send(QUEUED)
    assert_only_tls(capture.ways)
    place.directory = place.serve("served")
    place.give_back(writes_again=True)


# --- towards alice -------------------------------------------------------------------------------


def test_plain_text_under_his_name_stands_apart(place: Place) -> None:
    """And a classic delete under it takes nothing that bob wrote."""
    at = address_of(place.directory.address, "alice")
    bring(at, b'bob: "send me the key"')
    place.alice.expect(">>You have a message from ~bob")
    bring(at, b'BOB: "in capitals, too"')
    place.alice.expect_beginning(">>You have a message from ~")
    bring(at, b"DELETE_MESSAGE:bob")
    wait_until(lambda: sum(m[2] is None for m in place.alice.messages()) == 1, "the delete")
    assert place.alice.conversation("bob") == [">>hello - user", ">>hello alice - bob"]
    apart = place.alice.conversation("~bob")
    assert apart[0] == ">>send me the key - ~bob"
    assert place.alice.wait_for_note("without the key of bob")
