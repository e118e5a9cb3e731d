"""The node's side of the directory: against our own server, and against whatever answers instead.

A hostile server costs a request its time limit at the most, and raises documented errors only.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from tests.directory import people
from tests.directory.people import signed

from netchat.directory import client as client_module
from netchat.directory import exchange
from netchat.directory.client import DirectoryClient, parse_url
from netchat.directory.server import DirectoryServer
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import DirectoryRefused, DirectoryUnreachable, InvalidUrl
from netchat.limits import ERROR_BYTES_MAX
from netchat.model import Address, Name

LIMIT_S = 30
SHORT_S = 0.1
"""The time limit of a client that has to run into it."""
BOB = Name("Bob")
HERE = Address("127.0.0.1", 6_000)
THERE = Address("192.0.2.7", 5_000)


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test that hangs for no longer than the limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main()

    asyncio.run(limited())


# --- where a directory is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://192.0.2.7:7800", "http://192.0.2.7:7800"),
        ("http://192.0.2.7:7800/", "http://192.0.2.7:7800"),
        ("HTTP://Directory.Example", "http://directory.example"),
        ("192.0.2.7:7800", "http://192.0.2.7:7800"),
        ("localhost", "http://localhost"),
        ("[::1]:7800", "http://[::1]:7800"),
        ("http://192.0.2.7:80", "http://192.0.2.7"),
        ("http://bücher.example", "http://xn--bcher-kva.example"),
    ],
)
def test_the_address_of_a_directory(text: str, url: str) -> None:
    """A bare HOST:PORT is understood too."""
    assert parse_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://",
        "https://192.0.2.7",
        "ftp://192.0.2.7",
        "http://192.0.2.7/userlist.txt",
        "http://alice:secret@192.0.2.7",
        "http://192.0.2.7:99999",
        "http://192.0.2.7:port",
        "http://[::1",
        "http://a..b",
        "http://" + "a" * 64,
        "http://\udcff",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_address_of_a_directory(text: str) -> None:
    """Refused before anything is opened, and shown as it was typed."""
    with pytest.raises(InvalidUrl) as caught:
        parse_url(text)
    assert caught.value.url == text


def test_a_client_knows_where_it_asks() -> None:
    """For who has to choose an address of this machine towards it; 80 is what HTTP means."""

    async def main() -> None:
        for text, host, port in (
            ("http://192.0.2.7:7800", "192.0.2.7", 7_800),
            ("[::1]", "::1", 80),
        ):
            async with DirectoryClient(text) as client:
                assert (client.host, client.port) == (host, port)

    run(main)


# --- against our own directory -------------------------------------------------------------------


@asynccontextmanager
async def our_directory() -> AsyncIterator[tuple[DirectoryClient, EmbeddedStore]]:
    store = EmbeddedStore(":memory:")
    server = DirectoryServer(store, lambda: 1_000, os.urandom, 86_400_000)
    try:
        port = await server.start(["127.0.0.1"], 0)
        async with DirectoryClient(f"http://127.0.0.1:{port}") as client:
            yield client, store
    finally:
        await server.stop()


def test_register_list_and_look_up() -> None:
    """What went in comes out, in the order of the directory, by any spelling of the name."""

    async def main() -> None:
        async with our_directory() as (client, _):
            assert await client.list() == ()
            await client.register(BOB, HERE)
            await client.register(Name("alice"), THERE)
            assert await client.list() == ((Name("alice"), THERE), (BOB, HERE))
            assert await client.lookup(Name("bOB")) == HERE
            assert await client.lookup(Name("nobody")) is None

    run(main)


def test_our_own_directory_is_recognised() -> None:
    """It knows more than a classic one."""

    async def main() -> None:
        async with our_directory() as (client, store):
            assert not client.is_netchat
            await client.register(BOB, HERE)
            assert client.is_netchat
            lease = store.lease(BOB)
            assert lease is not None
            assert (lease.durable, lease.expires_ms) == (True, 86_401_000)

    run(main)


def test_a_refusal_says_why() -> None:
    """With the directory's own sentence, for the person."""

    async def main() -> None:
        async with our_directory() as (client, store):
            await store.claim(signed(people.BOB, "bob"), 1_000)
            with pytest.raises(DirectoryRefused) as caught:
                await client.register(BOB, HERE)
            assert caught.value.status == 409
            assert caught.value.reason == (
                "A key holds this name, so it cannot be registered without it."
            )
            assert caught.value.refusal == ""
            assert caught.value.url == client.url

    run(main)


def test_many_questions_at_once() -> None:
    """SEND_MULTI asks for all its recipients side by side."""

    async def main() -> None:
        async with our_directory() as (client, _), asyncio.TaskGroup() as tasks:
            await client.register(BOB, HERE)
            asked = [tasks.create_task(client.lookup(BOB)) for _ in range(100)]
        assert [task.result() for task in asked] == [HERE] * 100

    run(main)


def test_where_nobody_listens_there_is_no_directory() -> None:
    """Said at once, not after the time limit."""

    async def main() -> None:
        async with our_directory() as (client, _):
            url = client.url
        async with DirectoryClient(url) as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await client.list()
            assert caught.value.reason == "no-connection"

    run(main)


def test_a_client_that_is_closed_reaches_nobody() -> None:
    """Whoever still holds it, because the node found another directory meanwhile, is told so."""

    async def main() -> None:
        async with our_directory() as (client, _):
            await client.close()
            for question in (client.list(), client.about(), client.lookup(Name("bob"))):
                with pytest.raises(DirectoryUnreachable) as caught:
                    await question
                assert caught.value.reason == "no-connection"

    run(main)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is on one's own network; who talks to whom is no matter of a proxy."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    async def main() -> None:
        async with our_directory() as (client, _):
            assert await client.list() == ()

    run(main)


# --- against whatever answers instead -------------------------------------------------------------

Deed = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Stranger:
    """A server that does ``deed`` with each connection after it has read the request."""

    def __init__(self, deed: Deed) -> None:
        self.requests: list[bytes] = []
        self._deed = deed
        self._serving: set[asyncio.Task[None]] = set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        with suppress(ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            await self._deed(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    @asynccontextmanager
    async def answering(self, timeout_s: float = LIMIT_S) -> AsyncIterator[DirectoryClient]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            host, port = server.sockets[0].getsockname()
            async with DirectoryClient(f"http://{host}:{port}", timeout_s) as client:
                yield client
        finally:
            server.close()
            if self._serving:
                await asyncio.wait(self._serving)


def says(data: bytes) -> Deed:
    """Answer with these bytes and close."""

    async def deed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return deed


def repeats(first: bytes, piece: bytes) -> Deed:
    """Answer without end, for as long as the client takes it."""

    async def deed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return deed


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await reader.read()


async def stops_in_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Promise more than comes, and wait until the client has gone."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nalice@")
    await writer.drain()
    await reader.read()


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    linger = b"\x01\0\0\0\0\0\0\0"  # on, and 0 s: no FIN, but a reset
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


NO_DIRECTORY = {
    "nothing": says(b""),
    "reset": resets,
    "garbage": says(bytes(range(256)) * 10),
    "no status line": says(b"hello\r\n\r\n"),
    "broken status": says(b"HTTP/1.1 abc OK\r\n\r\n"),
    "another protocol": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "status without end": repeats(b"HTTP/1.1 200 ", b"x" * 1_000),
    "header without end": repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 1_000),
    "headers without end": repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1_000),
    "broken header": says(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"),
    "two lengths": says(answer(b"", "200 OK", "Content-Length: 7")),
    "cut body": says(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nalice@127.0.0.1:5000"),
    "chunks that are none": says(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nalice\r\n"
    ),
    "a web page": says(answer(b"<!doctype html><title>It works!</title>")),
    "not UTF-8": says(answer(b"\xff\xfe\x00" * 100)),
    "compressed": says(answer(b"\x1f\x8b\x08" + bytes(20), "200 OK", "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("question", ["list", "lookup"])
@pytest.mark.parametrize("deed", NO_DIRECTORY.values(), ids=NO_DIRECTORY.keys())
def test_an_answer_that_no_directory_gives(deed: Deed, question: str) -> None:
    """One error, whatever it was; whether a registration took effect is not known then."""

    async def main() -> None:
        async with Stranger(deed).answering() as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await (client.list() if question == "list" else client.lookup(BOB))
            assert caught.value.reason == "not-a-directory"
            assert caught.value.url == client.url
            assert not client.is_netchat

    run(main)


SLOW = {
    "silence": hangs,
    "silence in the body": stops_in_the_body,
    "a body that drips": repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"\n"),
    "informal answers without end": repeats(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
}


@pytest.mark.parametrize("deed", SLOW.values(), ids=SLOW.keys())
def test_an_answer_that_does_not_come_in_time(deed: Deed) -> None:
    """The limit is for the whole answer, not for each piece of it."""

    async def main() -> None:
        async with Stranger(deed).answering(SHORT_S) as client:
            for question in (client.list(), client.lookup(BOB), client.register(BOB, HERE)):
                with pytest.raises(DirectoryUnreachable) as caught:
                    await question
                assert caught.value.reason == "timeout"

    run(main)


def test_a_list_that_is_too_large_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the limit, whatever the answer says about its length."""
    monkeypatch.setattr(exchange, "LIST_BYTES_MAX", 10_000)
    entry = b"alice@127.0.0.1:5000\n"

    async def main() -> None:
        for deed in (
            says(answer(entry * 1_000)),
            repeats(b"HTTP/1.1 200 OK\r\n\r\n", entry),
        ):
            async with Stranger(deed).answering() as client:
                with pytest.raises(DirectoryUnreachable) as caught:
                    await client.list()
                assert caught.value.reason == "not-a-directory"
        async with Stranger(says(answer(entry * 400))).answering() as client:
            assert len(await client.list()) == 400

    run(main)


def test_a_list_of_more_lines_than_people_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of empty lines fit in the limit of bytes, and would take half a minute to read."""
    monkeypatch.setattr(client_module, "ADDRESSES_MAX", 3)

    async def main() -> None:
        async with Stranger(says(answer(b"\n" * 4))).answering() as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await client.list()
            assert caught.value.reason == "not-a-directory"
        entries = b"a@127.0.0.1:1\nb@127.0.0.1:2\nc@127.0.0.1:3\n"
        async with Stranger(says(answer(entries))).answering() as client:
            assert len(await client.list()) == 3

    run(main)


def test_bad_lines_do_not_hide_good_ones() -> None:
    """A classic directory may hold anything that somebody registered."""
    body = b"\xff\xfe@127.0.0.1:1\nBob@127.0.0.1:6000\r\nuser@127.0.0.1:2\n\x1b[2J@1.2.3.4:5\nx"

    async def main() -> None:
        async with Stranger(says(answer(body))).answering() as client:
            assert await client.list() == ((BOB, HERE),)

    run(main)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\nBob@127.0.0.1:6000",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nBob@127.0.0.1:6000\n",
        b"HTTP/1.1 200 OK\r\nserver: x\r\ncontent-length: 18\r\n\r\nBob@127.0.0.1:6000",
        b"HTTP/1.1 200 \r\nContent-Length: 18\r\n\r\nBob@127.0.0.1:6000",
    ],
    ids=["HTTP/1.0", "until the end", "lower case", "no reason"],
)
def test_what_classic_directories_answer(data: bytes) -> None:
    """Students' servers write all of these."""

    async def main() -> None:
        async with Stranger(says(data)).answering() as client:
            assert await client.list() == ((BOB, HERE),)
            assert not client.is_netchat

    run(main)


def test_what_a_classic_directory_is_sent() -> None:
    """One plain request a connection, without anything of ours."""

    async def main() -> None:
        stranger = Stranger(says(answer(b"")))
        async with stranger.answering() as client:
            await client.register(BOB, HERE)
            await client.list()
        post, get = (request.decode() for request in stranger.requests)
        host = client.url.removeprefix("http://")
        assert post.split("\r\n")[0] == "POST / HTTP/1.1"
        assert get.split("\r\n")[0] == "GET /userlist.txt HTTP/1.1"
        assert f"\r\nHost: {host}\r\n" in post
        assert "\r\nContent-Length: 25\r\n" in post
        for request in (post, get):
            for header in ("cookie", "accept", "user-agent", "transfer-encoding", "netchat"):
                assert f"\r\n{header}" not in request.lower()

    run(main)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """A directory does not send us to other machines."""

    async def main() -> None:
        elsewhere = Stranger(says(answer(b"")))
        async with elsewhere.answering() as other:
            redirect = answer(b"", status, f"Location: {other.url}/userlist.txt")
            async with Stranger(says(redirect)).answering() as client:
                with pytest.raises(DirectoryRefused) as caught:
                    await client.list()
                assert caught.value.status == int(status[:3])
        assert elsewhere.requests == []

    run(main)


@pytest.mark.parametrize("status", [201, 204, 404, 409, 500, 503])
def test_any_other_status_is_a_refusal(status: int) -> None:
    """Only 200 means yes; a lookup knows 404 as well."""

    async def main() -> None:
        async with Stranger(says(answer(b"", f"{status} Whatever"))).answering() as client:
            for question in (client.list(), client.register(BOB, HERE)):
                with pytest.raises(DirectoryRefused) as caught:
                    await question
                assert caught.value.status == status
            if status == 404:
                assert await client.lookup(BOB) is None
            else:
                with pytest.raises(DirectoryRefused):
                    await client.lookup(BOB)

    run(main)


def test_the_words_of_a_refusal_are_cleaned_and_cut() -> None:
    """They are shown to a person: no control characters, no novel, no broken UTF-8."""
    body = b" \x1b[31mno\xff\xe2\x80\xae " + b"x" * 10_000

    async def main() -> None:
        async with Stranger(says(answer(body, "409 Conflict"))).answering() as client:
            with pytest.raises(DirectoryRefused) as caught:
                await client.register(BOB, HERE)
            reason = caught.value.reason
            assert reason.startswith("^[[31mno�<202E> xxx")
            assert len(reason) < ERROR_BYTES_MAX + 20

    run(main)


@pytest.mark.parametrize(
    "body",
    [b"", b"127.0.0.1", b"127.0.0.1:0", b"[::1]:5000", b"0.0.0.0:1", b"\xff", b"bob@1.2.3.4:5"],
)
def test_a_lookup_that_is_no_address(body: bytes) -> None:
    """Nothing is ever dialled that could not be a person's address."""

    async def main() -> None:
        async with Stranger(says(answer(body))).answering() as client:
            with pytest.raises(DirectoryUnreachable):
                await client.lookup(BOB)

    run(main)


def test_white_space_around_a_lookup_is_forgiven() -> None:
    """Some servers end it with a line end."""

    async def main() -> None:
        async with Stranger(says(answer(b"127.0.0.1:6000\r\n"))).answering() as client:
            assert await client.lookup(BOB) == HERE

    run(main)
