"""What others see of a conversation: every byte between the two, to the directory, and on its disk.

No text of a message is among them in any form, and on a link no name either. The control is the
same search in a conversation with a classic client, where it finds both.
"""

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.interop.classic_client import ClassicClient
from tests.interop.processes import ALLOW_CLASSIC, REGISTERED
from tests.system.processes import Chat, Serve, register, rows, stop_all, unused_port, wait_until
from tests.system.tapping import Tap, forms_of, records_of, traces_of

pytestmark = pytest.mark.slow

ONE, OTHER = "Alexandrina", "Bartholomew"
"""Names that no bytes resemble by chance."""
THERE = [
    "the blue lantern hangs behind the seventh door",
    "größer als der Himmel über der Stadt? ~~~",
    "pass phrase: correct horse battery staple",
]
BACK = ["understood: seventh door, blue lantern", "日本語のメッセージをもう一つ"]


@dataclass
class Place:
    """A directory, and where every byte to it and to either person is kept."""

    home: Path
    serve: Serve
    to_directory: Tap
    to: dict[str, Tap]
    ports: dict[str, int]
    chats: list[Chat]

    def start(self, name: str, *options: str) -> Chat:
        host, port = self.to[name].address
        url = f"http://127.0.0.1:{self.to_directory.address[1]}"
        chat = Chat(
            name,
            self.home,
            *("--directory", url, "--listen", f"127.0.0.1:{self.ports[name]}"),
            *("--advertise", f"{host}:{port}", *options),
        )
        self.chats.append(chat)
        chat.expect(REGISTERED)
        return chat

    @property
    def on_links(self) -> bytes:
        return b"".join(tap.data for tap in self.to.values())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(unused_port())
        ports = {name: stack.enter_context(unused_port()) for name in (ONE, OTHER)}
        serve = Serve(port, tmp_path / "served")
        chats: list[Chat] = []
        stack.callback(lambda: stop_all([*chats, serve]))
        serve.wait_until_up()
        to = {
            name: stack.enter_context(Tap(lambda at=at: ("127.0.0.1", at)))  # type: ignore[misc]
            for name, at in ports.items()
        }
        to_directory = stack.enter_context(Tap(lambda: serve.address))
        yield Place(tmp_path, serve, to_directory, to, ports, chats)
        stop_all(chats)  # before the taps that they hold on to


def all_files(folder: Path) -> bytes:
    """Every byte of every file below ``folder``, and every name of one."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    return b"".join(str(path).encode() + path.read_bytes() for path in files)


def assert_sealed(data: bytes, *words: str) -> None:
    found = {word: traces for word in words if (traces := traces_of(word, data))}
    assert not found


def test_the_search_finds_every_form() -> None:
    """The control of the controls."""
    for text in (*THERE, *BACK):
        for form, wanted in forms_of(text):
            assert form in traces_of(text, b"?" + wanted + b"!")
        for shift in range(3):
            assert traces_of(text, base64.b64encode(bytes(shift) + text.encode() + b"!"))
            assert traces_of(text, base64.urlsafe_b64encode(bytes(shift) + text.encode() + b"!"))
        assert not traces_of(text, base64.b64encode(text[::2].encode()))


def test_nothing_is_seen_of_a_conversation(place: Place) -> None:
    one, other = place.start(ONE), place.start(OTHER)
    for text in THERE:
        one.ask(f'SEND {OTHER} "{text}"', ">>Message sent!")
        other.expect(f">>You have a message from {ONE}")
    for text in BACK:
        other.ask(f'SEND {ONE} "{text}"', ">>Message sent!")
        one.expect(f">>You have a message from {OTHER}")
    one.type(f"DELETE {OTHER}")
    wait_until(lambda: (ONE.lower(), 0, None, "received", None) in other.messages(), "the delete")
    assert one.conversation(OTHER)[-2:] == [f">>{text} - {OTHER}" for text in BACK]
    assert all(state == "delivered" for _, own, _, state, _ in one.messages() if own)

    ways = [way for tap in place.to.values() for both in tap.ways for way in both]
    assert ways, "nothing went where it was listened"
    for way in ways:
        kinds = records_of(bytes(way))
        assert kinds[0] == 0x16
        # Behind the hellos and the change of cipher that middle boxes want, all of it is sealed.
        assert set(kinds[1:]) <= {0x14, 0x17}
    assert_sealed(place.on_links, *THERE, *BACK, ONE, OTHER)
    assert_sealed(place.to_directory.data, *THERE, *BACK)
    assert ONE.encode() in place.to_directory.data, "the directory was not listened to"
    assert_sealed(all_files(place.serve.database.parent), *THERE, *BACK)


def test_nothing_is_seen_of_what_lies_in_a_mailbox(place: Place) -> None:
    one, other = place.start(ONE), place.start(OTHER)
    other.leave()
    for text in THERE:
        one.ask(f'SEND {OTHER} "{text}"', ">>Message sent!")
    assert [state for _, _, _, state, _ in one.messages()] == ["stored"] * len(THERE)
    folder = place.serve.database.parent
    mailbox = all_files(folder)
    assert_sealed(mailbox, *THERE)
    one.leave(None)
    other = place.start(OTHER)
    for _ in THERE:
        other.expect(f">>You have a message from {ONE}")
    assert other.conversation(ONE) == [f">>{text} - {ONE}" for text in THERE]
    wait_until(lambda: rows(other.history, "SELECT * FROM owed") == [], "the confirmation by mail")
    other.leave(None)
    one = place.start(ONE)
    wait_until(lambda: {state for *_, state, _ in one.messages()} == {"delivered"}, "the receipt")
    one.leave()
    assert_sealed(place.to_directory.data, *THERE)
    assert_sealed(all_files(folder), *THERE)
    envelopes = place.to_directory.data.count(b'"envelope"')
    assert envelopes >= 2 * len(THERE), "the mail did not come by here"
    assert_sealed(place.on_links, *THERE, ONE, OTHER)


def test_the_same_search_finds_what_is_said_to_a_classic_client(place: Place) -> None:
    with (
        ClassicClient(OTHER, place.serve.address) as other,
        Tap(lambda: ("127.0.0.1", other.port)) as tap,
    ):
        register(place.serve.address, OTHER, tap.address[1])
        one = place.start(ONE, *ALLOW_CLASSIC)
        one.ask(f'SEND {OTHER} "{THERE[0]}"', ">>Message sent!")
        other.wait_for_conversation(ONE, [f"{THERE[0]} - {ONE}"])
        other.send(ONE, BACK[0])
        one.expect(f">>You have a message from {OTHER}")
        there, back = tap.data, place.to[ONE].data
    assert traces_of(THERE[0], there)
    assert traces_of(ONE, there)
    assert traces_of(BACK[0], back)
    assert traces_of(OTHER, back)
