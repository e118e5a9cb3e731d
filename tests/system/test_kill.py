"""kill -9 of real chats in the middle of things: nothing is lost, doubled or wrongly told.

The moments are those that the other end sees (a connection, the first bytes, the n-th message) or
that stand in the file; none is a number of milliseconds.
"""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.classic_client import LIMIT, Address, read_to_end
from tests.interop.processes import ALLOW_CLASSIC, REGISTERED, Directory, serving
from tests.system.processes import Chat, address_of, bring, register, rows, stop_all, wait_until

pytestmark = pytest.mark.slow

SHOWN = ">>You have a message from "


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    with serving(tmp_path / "directory", tmp_path / "data") as running:
        yield running


StartChat = Callable[[str], Chat]


@pytest.fixture
def chat(tmp_path: Path, directory: Directory) -> Iterator[StartChat]:
    chats: list[Chat] = []

    def start(name: str) -> Chat:
        options = ("--directory", directory.url, *ALLOW_CLASSIC)
        chats.append(Chat(name, tmp_path / "home", *options))
        chats[-1].expect(REGISTERED)
        return chats[-1]

    yield start
    stop_all(chats)


class Receiver:
    """A classic receiver that does as it is told, and keeps every text that reached it whole.

    ``stalls`` makes it keep its connections open without a word; it says of each what it has
    ``accepted``, and what it has ``read`` once something came.
    """

    def __init__(self, *, stalls: bool = False) -> None:
        self.texts: list[bytes] = []
        self.accepted = threading.Semaphore(0)
        self.read = threading.Semaphore(0)
        self._stalls = stalls
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._receive)
        self._thread.start()

    def _receive(self) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as kept:
            while True:
                connection, _ = self._server.accept()
                kept.enter_context(connection)
                connection.settimeout(LIMIT)
                self.accepted.release()
                with contextlib.suppress(ConnectionError):
                    self._take(connection)
                if not self._stalls:
                    connection.close()

    def _take(self, connection: socket.socket) -> None:
        data = connection.recv(1_024)
        if data:
            self.texts.append(data)
            self.read.release()
            if not self._stalls:
                read_to_end(connection)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()


@contextlib.contextmanager
def receiving(directory: Address, *names: str, stalls: bool = False) -> Iterator[list[Receiver]]:
    """Receivers of these names, entered in the directory."""
    receivers = [Receiver(stalls=stalls) for _ in names]
    try:
        for name, receiver in zip(names, receivers, strict=True):
            register(directory, name, receiver.port)
        yield receivers
    finally:
        for receiver in receivers:
            receiver.close()


@contextlib.contextmanager
def unanswered() -> Iterator[int]:
    """A port at which a connection is neither accepted nor refused: its queue is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def states(chat: Chat) -> dict[str, tuple[str, str | None]]:
    """What is known of the newest own message to each peer."""
    return {peer: (state, reason) for peer, own, _, state, reason in chat.messages() if own}


def outbox(chat: Chat) -> dict[str, str]:
    """In which state the oldest thing stands that waits for each peer; nothing without a file."""
    return dict(rows(chat.history, "SELECT peer, state FROM outbox ORDER BY seq DESC"))


# --- the sender dies -----------------------------------------------------------------------------


def test_a_sender_that_dies_before_a_byte_left_sends_later(
    directory: Directory, chat: StartChat
) -> None:
    with unanswered() as port:
        register(directory.address, "bob", port)
        alice = chat("alice")
        alice.type('SEND bob "hello"')
        wait_until(lambda: outbox(alice) == {"bob": "queued"}, "the message on disk")
        alice.kill()
    assert states(alice) == {"bob": ("queued", None)}
    with receiving(directory.address, "bob") as (bob,):
        again = chat("alice")
        assert bob.read.acquire(timeout=LIMIT)
        wait_until(lambda: states(again) == {"bob": ("sent", None)}, "the message sent")
        assert again.conversation("bob") == [">>hello - user"]
        again.leave(None)
        assert bob.texts == [b'alice: "hello"']


def test_a_sender_that_dies_after_a_byte_left_never_sends_again(
    directory: Directory, chat: StartChat
) -> None:
    with receiving(directory.address, "bob", stalls=True) as (bob,):
        alice = chat("alice")
        alice.type('SEND bob "hello"')
        assert bob.read.acquire(timeout=LIMIT)
        assert outbox(alice) == {"bob": "handing"}
        alice.kill()
        again = chat("alice")
        assert states(again) == {"bob": ("failed", "interrupted")}
        assert again.conversation("bob") == [">>hello - user"]
        again.ask('SEND bob "next"', ">>Message sent!")
        again.leave(None)
        assert bob.texts == [b'alice: "hello"', b'alice: "next"']


def test_a_sender_that_dies_after_it_said_sent(directory: Directory, chat: StartChat) -> None:
    with receiving(directory.address, "bob") as (bob,):
        for number in range(1, 4):
            alice = chat("alice")
            alice.ask(f'SEND bob "{number}"', ">>Message sent!")
            alice.kill()
        assert [state for _, _, _, state, _ in alice.messages()] == ["sent"] * 3
        again = chat("alice")
        assert again.conversation("bob") == [f">>{number} - user" for number in range(1, 4)]
        again.leave(None)
        assert bob.texts == [f'alice: "{number}"'.encode() for number in range(1, 4)]


PEERS = ["bob", "carol", "dave", "erin", "frank", "grace"]


@pytest.mark.parametrize("moment", ["accepted", "read"])
@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_sender_to_many_that_dies_in_between(
    directory: Directory, chat: StartChat, moment: str, count: int
) -> None:
    """Killed when ``count`` of six receivers have come to ``moment``; each then has it once.

    Whatever the file says of each message is true: ``sent`` is there, ``failed`` may be there,
    and what was ``queued`` arrives after the restart.
    """
    with receiving(directory.address, *PEERS) as receivers:
        alice = chat("alice")
        alice.type(f'SEND_MULTI [{",".join(PEERS)}] "hello"')
        for receiver in receivers[:count]:
            assert getattr(receiver, moment).acquire(timeout=LIMIT)
        alice.kill()
        left = states(alice)
        again = chat("alice")
        wait_until(lambda: not outbox(again), "the end of what was waiting")
        known = states(again)
        for peer, receiver in zip(PEERS, receivers, strict=True):
            if peer not in left:
                assert receiver.texts == []
                assert again.conversation(peer) == [">>No messages found!"]
                continue
            state, reason = known[peer]
            assert again.conversation(peer) == [">>hello - user"]
            if state == "sent":
                assert receiver.texts == [b'alice: "hello"']
            else:
                assert (state, reason) == ("failed", "interrupted")
                assert receiver.texts in ([], [b'alice: "hello"'])
        again.leave(None)


# --- the receiver dies ---------------------------------------------------------------------------


def send_all(address: Address, texts: list[str], taken: list[str]) -> None:
    """Bring texts one after another until nobody answers; ``taken`` are those that were taken."""
    with contextlib.suppress(OSError):
        for text in texts:
            bring(address, f'bob: "{text}"'.encode())
            taken.append(text)


@pytest.mark.parametrize("count", [1, 2, 7, 20, 60])
def test_a_receiver_that_dies_keeps_what_it_showed(
    directory: Directory, chat: StartChat, count: int
) -> None:
    """Killed as soon as its n-th line came, with four senders at work."""
    alice = chat("alice")
    address = address_of(directory.address, "alice")
    texts = [[f"{sender}-{number}" for number in range(100)] for sender in range(4)]
    taken: list[list[str]] = [[] for _ in texts]
    senders = [
        threading.Thread(target=send_all, args=(address, *pair))
        for pair in zip(texts, taken, strict=True)
    ]
    for sender in senders:
        sender.start()
    alice.wait_for_lines(1 + count)
    alice.kill()
    for sender in senders:
        sender.join()
    alice.stop()
    shown = alice.transcript.count(f"{SHOWN}bob\n")

    again = chat("alice")
    lines = again.conversation("bob")
    again.leave(None)
    kept = Counter(line.removeprefix(">>").removesuffix(" - bob") for line in lines)
    assert shown >= count
    assert kept.total() >= shown
    assert max(kept.values()) == 1
    for sent, known in zip(texts, taken, strict=True):
        here = [text for text in sent if text in kept]
        assert here == sent[: len(here)]
        # Of the one that was under way nobody knows, but what was called sent is there: a killed
        # receiver ends its connections with a reset.
        assert 0 <= len(here) - len(known) <= 1


def test_a_receiver_that_dies_keeps_nothing_of_half_a_message(
    directory: Directory, chat: StartChat
) -> None:
    alice = chat("alice")
    address = address_of(directory.address, "alice")
    with socket.create_connection(address, LIMIT) as half:
        half.sendall(b'bob: "half of')
        bring(address, b'bob: "whole"')  # so the half has been read as well
        alice.expect(f"{SHOWN}bob")
        alice.kill()
    again = chat("alice")
    assert again.conversation("bob") == [">>whole - bob"]
    again.leave(None)


def test_two_chats_of_which_each_dies_in_turn(directory: Directory, chat: StartChat) -> None:
    """A conversation of two NetChats over six kills: both hold the same, each text once."""
    alice, bob = chat("alice"), chat("bob")
    expected: list[tuple[str, str]] = []
    for number in range(6):
        text = f"message {number}"
        alice.ask(f'SEND bob "{text}"', ">>Message sent!")
        bob.expect(f"{SHOWN}alice")
        expected.append(("alice", text))
        if number % 2:
            alice.kill()
            alice = chat("alice")
        else:
            bob.kill()
            bob = chat("bob")
    assert alice.conversation("bob") == [f">>{text} - user" for _, text in expected]
    assert bob.conversation("alice") == [f">>{text} - alice" for _, text in expected]
    alice.leave(None)
    bob.leave(None)
