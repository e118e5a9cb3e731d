"""Hostile text through every place that prints: not one byte of it may act on a terminal."""

import asyncio
import contextlib
import os
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.frontends.fake_node import FakeNode
from tests.frontends.hostile import (
    HARMFUL,
    HOSTILE,
    OWN_CORPUS,
    assert_bytes_harmless,
    assert_harmless,
)
from tests.system.processes import address_of, bring, unused_port
from tests.terminal.screen import COLUMNS, CTRL_C, CTRL_D, Terminal

from netchat import api, app
from netchat.directory.client import DirectoryClient
from netchat.errors import (
    DirectoryError,
    DirectoryRefused,
    DirectoryUnreachable,
    KeyMismatch,
    NoKey,
    StoreUnavailable,
)
from netchat.frontends import words
from netchat.frontends.console import Plain
from netchat.frontends.prompt import Session
from netchat.model import Address, ClaimedName, Contact, DisplayText, MessageId, Name


class Face:
    """A session whose lines go to the real streams."""

    def __init__(self, node: FakeNode) -> None:
        self.plain = Plain(forced=False)
        self.session = Session(node, self.plain.say, self.plain.note)

    def type(self, *lines: str) -> None:
        for line in lines:
            asyncio.run(self.session.execute(line))


# --- text of peers -------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", HOSTILE)
def test_read(capfdbinary: pytest.CaptureFixture[bytes], raw: str) -> None:
    node = FakeNode()
    node.add("bob", raw)
    node.add("bob", raw, own=True)
    node.add("~bob", raw)
    Face(node).type("READ bob", "DELETE bob", "READ ~bob")
    out, err = capfdbinary.readouterr()
    shown = str(DisplayText(raw))
    conversation = f">>{shown} - bob\n>>{shown} - user\n"
    assert out.decode() == 2 * conversation + f">>{shown} - ~bob\n"
    assert_bytes_harmless(out)
    assert err == b""


def shown_of(capfdbinary: pytest.CaptureFixture[bytes], *events: api.Event) -> tuple[bytes, bytes]:
    """Let something happen, and return what reached the streams."""

    async def happen() -> None:
        node = FakeNode()
        face = Face(node)
        for event in events:
            node.tell(event)
        async with asyncio.TaskGroup() as tasks:
            shows = tasks.create_task(face.session.show_events())
            await node.all_shown()
            shows.cancel()

    asyncio.run(happen())
    out, err = capfdbinary.readouterr()
    assert_bytes_harmless(out)
    assert_bytes_harmless(err)
    return out, err


@pytest.mark.parametrize("peer", [Name("bob"), ClaimedName(Name("bob"))], ids=str)
@pytest.mark.parametrize("raw", HOSTILE)
def test_an_arrival_shows_nothing_of_the_text(
    capfdbinary: pytest.CaptureFixture[bytes], raw: str, peer: Contact
) -> None:
    arrival = api.MessageReceived(MessageId(bytes(16)), peer, DisplayText(raw))
    assert shown_of(capfdbinary, arrival) == (f">>You have a message from {peer}\n".encode(), b"")
    unverified = api.MessageReceived(MessageId(bytes(16)), peer, DisplayText(raw), unverified=True)
    harmless = api.MessageReceived(MessageId(bytes(16)), peer, DisplayText("hi"), unverified=True)
    assert shown_of(capfdbinary, unverified) == shown_of(capfdbinary, harmless)


@pytest.mark.parametrize("raw", HOSTILE)
def test_what_else_happens(capfdbinary: pytest.CaptureFixture[bytes], raw: str) -> None:
    bob = Name("bob")
    out, err = shown_of(
        capfdbinary,
        api.RecordSuspicious(bob, raw),
        api.DeleteIgnored(ClaimedName(bob), raw, "other-source"),
        api.QueuedMessagesEnded(bob, (MessageId(bytes(16)),), api.SendOutcome.FAILED, raw),
        api.KeyChanged(bob, was_verified=True, old_number="1", new_number="2"),
        api.MessagesHeld(bob, 3),
        api.DirectoryLost(raw),
    )
    assert out == b""
    assert [line.startswith(b"netchat: ") for line in err.splitlines()] == 9 * [True]


# --- what is typed or pasted ---------------------------------------------------------------------


@pytest.mark.parametrize("raw", HOSTILE)
def test_whatever_is_typed(capfdbinary: pytest.CaptureFixture[bytes], raw: str) -> None:
    node = FakeNode(outcomes={"dave": api.SendOutcome.NO_SUCH_PERSON})
    Face(node).type(
        raw,
        f'SEND {raw} "x"',
        f'SEND_MULTI [bob, {raw}] "x"',
        f'SEND_MULTI [{raw},dave] "{raw}"',
        f"READ {raw}",
        f"READ ~{raw}",
        f"DELETE {raw}",
        f"VERIFY {raw}",
        f'VERIFY bob "{raw}"',
        f'VERIFY {raw} "{raw}"',
        f"TRUST {raw}",
        f'TRUST {raw} "accept"',
        f'TRUST bob "{raw}"',
        f"WHOAMI {raw}",
        f"LIST {raw}",
        f"EXIT {raw}",
    )
    out, err = capfdbinary.readouterr()
    assert_bytes_harmless(out)
    assert_bytes_harmless(err)
    assert all(line.startswith(b">>") for line in out.splitlines())


def test_unknown_names_are_shown_as_they_can_be_seen(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    Face(FakeNode()).type('SEND_MULTI [\x1b[2J, \u202ebob] "x"')
    assert capfdbinary.readouterr().out == (
        b">> Error: Message cannot be sent to ^[[2J, <202E>bob, user does not exist\n"
    )


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", HOSTILE)
def test_errors_of_every_command(capfdbinary: pytest.CaptureFixture[bytes], raw: str) -> None:
    unreachable = DirectoryUnreachable(raw, raw)
    disk = StoreUnavailable(raw)
    node = FakeNode(
        errors={
            "register": DirectoryRefused(raw, raw, 403),
            "names": unreachable,
            "send": disk,
            "conversation": disk,
            "delete_newest": disk,
            "person": disk,
            "verify": KeyMismatch(raw),
            "trust": NoKey(raw),
        }
    )
    face = Face(node)
    assert not asyncio.run(face.session.start())
    face.type("LIST", 'SEND bob "x"', 'SEND_MULTI [bob] "x"', "READ bob", "DELETE bob")
    face.type("VERIFY bob", "TRUST bob", 'VERIFY bob "1"', 'TRUST bob "refuse"')
    out, err = capfdbinary.readouterr()
    assert_bytes_harmless(out)
    assert_bytes_harmless(err)
    assert len(out.splitlines()) == 6
    assert len(err.splitlines()) == 4


# --- a hostile directory -------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def directory_that_says(answer: bytes) -> AsyncIterator[DirectoryClient]:
    """A program on a port that answers every request with ``answer``, and a client of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if found := re.search(rb"(?i)content-length: (\d+)", head):
            await reader.readexactly(int(found[1]))
        writer.write(answer)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with DirectoryClient(f"http://127.0.0.1:{port}") as client:
            yield client


class NodeWithClient(FakeNode):
    """A node that really asks a directory."""

    def __init__(self, client: DirectoryClient) -> None:
        super().__init__()
        self._client = client

    async def register(self) -> None:
        await self._client.register(self.name, Address("127.0.0.1", 4000))

    async def names(self) -> Sequence[Name]:
        return [name for name, _ in await self._client.list()]


async def face_a_directory_that_says(answer: bytes) -> None:
    async with directory_that_says(answer) as client:
        session = Face(NodeWithClient(client)).session
        await session.start()
        await session.execute("LIST")


def encoded(raw: str) -> bytes:
    return raw.encode(errors="surrogatepass")


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_refusal_in_the_words_of_a_hostile_directory(
    capfdbinary: pytest.CaptureFixture[bytes], raw: str
) -> None:
    body = encoded(raw)
    answer = b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    asyncio.run(face_a_directory_that_says(answer))
    out, err = capfdbinary.readouterr()
    assert_bytes_harmless(out)
    assert_bytes_harmless(err)
    assert out.startswith(b">>Registration failed! ")
    assert b"\n>>Failed to get user list! " in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_directory_that_is_hostile_in_its_headers(
    capfdbinary: pytest.CaptureFixture[bytes], raw: str
) -> None:
    poison = encoded(raw)
    asyncio.run(face_a_directory_that_says(b"HTTP/1.1 403 %b\r\n%b: %b\r\n\r\n" % (3 * (poison,))))
    out, err = capfdbinary.readouterr()
    assert_bytes_harmless(out)
    assert_bytes_harmless(err)


def test_a_refusal_is_cut(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    body = b"\x1b]52;c;" * 100_000
    answer = b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    asyncio.run(face_a_directory_that_says(answer))
    assert len(capfdbinary.readouterr().out) < 2_000


def test_names_that_are_none_are_left_out_of_a_list(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    poisoned = b"".join(b"%b@127.0.0.1:4000\n" % encoded(raw) for raw in HOSTILE if "\n" not in raw)
    lines = b"alice@127.0.0.1:4000\n\x1b[31mred@127.0.0.1:4001\nb\x9bob@127.0.0.1:1\n" + poisoned
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(lines), lines)
    asyncio.run(face_a_directory_that_says(answer))
    assert capfdbinary.readouterr().out == b">>User registered in server!\n>>[alice]\n"


@pytest.mark.parametrize("raw", HOSTILE)
def test_no_error_of_the_client_holds_poison(raw: str) -> None:
    """Whatever a face makes of such an error: its reason has come from the network filtered."""

    async def ask() -> DirectoryError:
        body = encoded(raw)
        answer = b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        async with directory_that_says(answer) as client:
            with pytest.raises(DirectoryError) as raised:
                await client.list()
        return raised.value

    assert_harmless(asyncio.run(ask()).reason)


# --- the command line ----------------------------------------------------------------------------


@pytest.mark.parametrize("raw", HOSTILE)
def test_arguments(
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    raw: str,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(app, "prepare_streams", lambda: None)  # these streams belong to pytest
    file = tmp_path / "file"
    file.touch()
    raw = os.fsdecode(encoded(raw)).replace("\x00", "\x01")  # as a shell would hand it over
    below_a_file = f"{file}/{raw}"
    for arguments in (
        [raw],
        [f"--x{raw}"],
        ["chat", raw],
        ["chat", "alice", raw],
        ["chat", "alice", f"--x{raw}"],
        ["chat", "alice", "--port", raw],
        ["chat", "alice", "--directory", f"ftp://{raw}"],
        ["chat", "alice", "--directory", f"http://192.0.2.7/x{raw}"],
        ["chat", "alice", "--listen", raw],
        ["chat", "alice", "--listen", f"{raw}:4000"],
        ["chat", "alice", "--advertise", raw],
        ["chat", "alice", "--profile", raw.replace("/", "") + " "],
        ["chat", "alice", "--profile", below_a_file],
        ["serve", "--port", raw],
        ["serve", "--classic-ttl", raw],
        ["serve", "--data", below_a_file],
        ["serve", raw],
        ["serve", "--mailbox-max", raw],
        ["serve", "release", "bob", "--data", below_a_file],
        ["serve", "release", raw, "--data", below_a_file],
        ["sim", "--plant", raw],
        ["identity", raw],
        ["identity", "show", "--profile", below_a_file],
        ["identity", "export", below_a_file, "--profile", below_a_file],
        ["identity", "import", below_a_file, "--profile", str(tmp_path / "profile")],
        ["verify", raw, "--profile", below_a_file],
        ["verify", "bob", raw, "--profile", below_a_file],
        ["trust", raw, "--profile", below_a_file],
        ["trust", "bob", raw, "--profile", "alice"],
    ):
        assert app.run(arguments) != 0
        out, err = capfdbinary.readouterr()
        assert out == b""
        assert err.startswith(b"netchat: ")
        assert len(err.splitlines()) <= 2
        assert_bytes_harmless(err)


def test_the_corpus_is_worth_its_name() -> None:
    assert len(OWN_CORPUS) >= 15
    assert sum(HARMFUL.search(raw) is not None for raw in OWN_CORPUS) >= 15
    assert HARMFUL.search(words.PROMPT) is None


# --- all of it at once ---------------------------------------------------------------------------

DRAWN = re.compile(r"\x1b\[[?0-9;]*[ABCDHJKhlmn]|[\r\n]|(?<!\x08)\x08(?!\x08)")
"""What the prompt itself writes to a terminal, to edit a line."""


@pytest.mark.slow
def test_a_real_terminal_and_the_history_come_to_no_harm(tmp_path: Path) -> None:
    texts = [raw for raw in OWN_CORPUS if encoded(raw).decode(errors="replace") == raw]
    assert len(texts) >= 15
    with unused_port() as port:
        home, settings = tmp_path / "home", {"NETCHAT_PORT": str(port)}
        with Terminal(["chat", "alice"], home, settings) as alice:
            alice.wait_for_prompt()
            alice.type("half a line")
            alice.wait_for_prompt("half a line")
            address = address_of(("127.0.0.1", port), "alice")
            for raw in texts:
                bring(address, f'bob: "{raw}"'.encode())
            alice.wait_for_line(">>You have a message from bob", len(texts))
            junk = b"".join(map(encoded, OWN_CORPUS))
            junk *= 2_000_000 // len(junk) + 1
            for whole in (junk, b'bob: "' + junk + b'"', b"\x1b]52;c;" + junk, b"\x16\x03" + junk):
                assert not was_taken(address, whole)
            bring(address, b'carol: "still here?"')
            alice.wait_for_line(">>You have a message from carol")
            alice.wait_for_prompt("half a line")
            alice.type(CTRL_C)
            alice.wait_for_prompt()

            for enter, shown in (
                ("READ bob", f">>{DisplayText(texts[-1])} - bob"),
                ("READ carol", ">>still here? - carol"),
            ):
                alice.enter(enter)
                alice.wait_for_line(shown[:COLUMNS].rstrip())
                alice.wait_for_prompt()
            on_screen = "".join(line.ljust(COLUMNS) for line in alice.lines)
            for raw in texts:
                fact = f">>{DisplayText(raw)} - bob"
                assert spaceless(on_screen).count(spaceless(fact)) == 1, fact
            assert ">>User registered in server!" in alice.lines  # nothing was cleared
            assert alice.title == ""
            assert_harmless(DRAWN.sub("", alice.seen.decode()))
            alice.type(CTRL_D)
            assert alice.wait_for_end() == 0

        with Terminal(["chat", "alice"], home, settings) as alice:
            alice.wait_for_prompt()
            alice.enter("READ bob")
            alice.wait_for_line(f">>{DisplayText(texts[-1])} - bob"[:COLUMNS].rstrip())
            alice.wait_for_prompt()
            assert_harmless(DRAWN.sub("", alice.seen.decode()))


def was_taken(address: tuple[str, int], data: bytes) -> bool:
    """Bring ``data``; tell whether its connection ended in peace, not with a reset."""
    try:
        bring(address, data)
    except OSError:
        return False
    return True


def spaceless(text: str) -> str:
    """``text`` without the spaces and marks in which a screen and a string may differ."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(char for char in parts if not (char.isspace() or unicodedata.combining(char)))
