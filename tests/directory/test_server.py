"""The directory over real sockets: what clients really send, and what strangers might.

The server runs in the test's own event loop; the slow tests run a real ``netchat serve``.
"""

import asyncio
import logging
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.directory.people import BOB, signed
from tests.interop.processes import Directory, has_ipv6_loopback

from netchat.directory import http as http_module
from netchat.directory import registry
from netchat.directory import server as server_module
from netchat.directory.registry import Lease, Refused
from netchat.directory.server import DirectoryServer
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import AddressInUse, StoreUnavailable
from netchat.limits import (
    CLASSIC_TTL_S,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_HEADER_BYTES_MAX,
    REQUEST_HEADERS_MAX,
)
from netchat.model import Address, Name

LIMIT_S = 30
START = 1_000_000
UPDATE = b"UPDATE bob@127.0.0.1:6000"
LIST = b"GET /userlist.txt HTTP/1.1\r\nHost: d\r\n\r\n"
NOT_HTTP = "This is not an HTTP request that the directory takes."


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run a test that hangs for no longer than the limit."""

    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await main()

    asyncio.run(limited())


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: str


class Client:
    """A raw connection to the directory."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, *segments: bytes | None) -> None:
        """Write each segment by itself; None ends our half of the connection."""
        for segment in segments:
            if segment is None:
                self._writer.write_eof()
            else:
                self._writer.write(segment)
                await self._writer.drain()
            await asyncio.sleep(0)  # the server may read it now

    async def answer(self, *, head_only: bool = False) -> Answer:
        """Read one answer as classic clients do: status line, headers, empty line, body."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        status_line, *lines = head[:-4].split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = 0 if head_only else int(headers["content-length"])
        body = (await self._reader.readexactly(length)).decode()
        return Answer(int(status_line.split(" ")[1]), headers, body)

    async def ask(self, *segments: bytes | None) -> Answer:
        await self.send(*segments)
        return await self.answer()

    async def rest(self) -> bytes:
        """What comes until the server closes; a reset is an end too."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Vanish, as a process that is killed."""
        linger = b"\x01\0\0\0\0\0\0\0"
        self._writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, linger
        )
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Site:
    """A directory that runs in this event loop, with a clock that the test moves."""

    def __init__(self, store: EmbeddedStore, cleanup: AsyncExitStack) -> None:
        self.store = store
        self.now_ms = START
        self.port = 0
        self.server = DirectoryServer(store, lambda: self.now_ms, os.urandom, CLASSIC_TTL_S * 1_000)
        self._cleanup = cleanup

    async def connect(self, host: str = "127.0.0.1") -> Client:
        client = Client(*await asyncio.open_connection(host, self.port))
        self._cleanup.push_async_callback(client.close)
        return client

    async def ask(self, *segments: bytes | None) -> Answer:
        """One request on a connection of its own."""
        client = await self.connect()
        answer = await client.ask(*segments)
        await client.close()
        return answer

    async def post(self, body: str, path: str = "/") -> Answer:
        return await self.ask(request(body.encode(), path))

    async def lookup(self, name: str) -> Answer:
        return await self.ask(get(f"/userlist.txt?username={name}"))

    async def list(self) -> list[str]:
        answer = await self.ask(LIST)
        assert answer.status == 200
        return answer.body.split("\n") if answer.body else []


def get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: d", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def request(body: bytes, path: str = "/") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    return head + body


@asynccontextmanager
async def serving(
    hosts: Sequence[str] = ("127.0.0.1",), store: EmbeddedStore | None = None
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as cleanup:
        site = Site(store or EmbeddedStore(":memory:"), cleanup)
        try:
            site.port = await site.server.start(hosts, 0)
            yield site
        finally:
            await site.server.stop()


def with_site(deed: Callable[[Site], Awaitable[None]]) -> None:
    """Do ``deed`` with a directory of its own."""

    async def main() -> None:
        async with serving() as site:
            await deed(site)

    run(main)


def assert_one_sentence(answer: Answer) -> None:
    """A classic client shows the body to its person: a sentence in plain text, nothing else."""
    assert re.fullmatch(r"[A-Z][^\r\n]*\.", answer.body), answer.body
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["server"] == "netchat"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


class HeldStore(EmbeddedStore):
    """A store in which names wait at the door until the test lets them in."""

    def __init__(self) -> None:
        super().__init__(":memory:")
        self.asked = asyncio.Event()
        self.free = asyncio.Event()

    async def enter(self, name: Name) -> Name | Refused:
        self.asked.set()
        await self.free.wait()
        return await super().enter(name)


class FailingStore(EmbeddedStore):
    """A store that always fails in one way."""

    def __init__(self, error: Exception) -> None:
        super().__init__(":memory:")
        self._error = error

    async def enter(self, name: Name) -> Name | Refused:
        raise self._error


# --- what clients really send --------------------------------------------------------------------

LENGTH = b"Content-Length: %d\r\n" % len(UPDATE)
POST = b"POST / HTTP/1.1\r\nHost: d\r\n" + LENGTH + b"\r\n" + UPDATE
LOOKUP = b"GET /userlist.txt?username=alice HTTP/1.1\r\nHost: d\r\n\r\n"

OPEN, CLOSED = True, False
BATTERY = {
    "HTTP/1.1 GET": ([LIST], [200], OPEN),
    "HTTP/1.0 GET without Host": ([b"GET /userlist.txt HTTP/1.0\r\n\r\n"], [200], CLOSED),
    "HTTP/1.1 GET without Host": ([b"GET /userlist.txt HTTP/1.1\r\n\r\n"], [400], CLOSED),
    "lines that end with LF only": ([b"GET /userlist.txt HTTP/1.1\nHost: d\n\n"], [400], CLOSED),
    "header names in lower case": (
        [b"POST / HTTP/1.1\r\nhost: d\r\ncontent-length: %d\r\n\r\n" % len(UPDATE) + UPDATE],
        [200],
        OPEN,
    ),
    "header names in upper case": (
        [POST.replace(b"Content-Length", b"CONTENT-LENGTH")],
        [200],
        OPEN,
    ),
    "a line end after the body, counted": ([request(UPDATE + b"\r\n")], [200], OPEN),
    "a line end after the body, not counted": ([POST + b"\r\n", LIST], [200, 200], OPEN),
    "body in a second segment": ([POST[: -len(UPDATE)], UPDATE], [200], OPEN),
    "byte by byte": ([bytes([byte]) for byte in POST], [200], OPEN),
    "byte by byte, HTTP/1.0": (
        [bytes([byte]) for byte in b"POST / HTTP/1.0\r\n" + LENGTH + b"\r\n" + UPDATE],
        [200],
        CLOSED,
    ),
    "HTTP/1.0 body without a length": (
        [b"POST / HTTP/1.0\r\n\r\n" + UPDATE, None],
        [400],
        CLOSED,
    ),
    "no body at all": ([b"POST / HTTP/1.1\r\nHost: d\r\n\r\n"], [400], OPEN),
    "GET, then our half ends": ([LIST, None], [200], CLOSED),
    "Connection: close": ([get("/userlist.txt", "Connection: close")], [200], CLOSED),
    "connection: CLOSE": ([get("/userlist.txt", "connection: CLOSE")], [200], CLOSED),
    "HTTP/1.0 with keep-alive": (
        [b"GET /userlist.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"],
        [200],
        OPEN,
    ),
    "method in lower case": ([b"get /userlist.txt HTTP/1.1\r\nHost: d\r\n\r\n"], [400], CLOSED),
    "absolute URI": ([b"GET http://d/userlist.txt HTTP/1.1\r\nHost: d\r\n\r\n"], [200], OPEN),
    "broken absolute URI": ([b"GET http://[::1/x HTTP/1.1\r\nHost: d\r\n\r\n"], [400], CLOSED),
    "space before a colon": (
        [b"GET /userlist.txt HTTP/1.1\r\nHost : d\r\n\r\n"],
        [400],
        CLOSED,
    ),
    "space after a value": ([POST.replace(LENGTH, LENGTH[:-2] + b" \r\n")], [200], OPEN),
    "Expect: 100-continue": (
        [POST.replace(LENGTH, LENGTH + b"Expect: 100-continue\r\n")],
        [200],
        OPEN,
    ),
    "empty line in front": ([b"\r\n" + LIST], [200], OPEN),
    "raw UTF-8 in the query": (
        ["GET /userlist.txt?username=žofia HTTP/1.1\r\nHost: d\r\n\r\n".encode()],
        [400],
        CLOSED,
    ),
    "space in the query": ([get("/userlist.txt?username=alice b")], [400], CLOSED),
    "percent signs in the query": ([get("/userlist.txt?username=%zz%ff%00")], [404], OPEN),
    "path with percent signs": ([get("/userlist%2Etxt")], [200], OPEN),
    "lookup": ([LOOKUP], [404], OPEN),
    "two lookups at once": ([LOOKUP * 2], [404, 404], OPEN),
    "chunked body": (
        [
            b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(UPDATE)
            + UPDATE
            + b"\r\n0\r\n\r\n"
        ],
        [200],
        OPEN,
    ),
    "chunks that are none": (
        [b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [400],
        CLOSED,
    ),
    "a body that says it is compressed": (
        [POST.replace(LENGTH, LENGTH + b"Content-Encoding: gzip\r\n")],
        [200],
        OPEN,
    ),
    "a header without a colon": ([get("/userlist.txt", "Foo")], [400], CLOSED),
    "NUL in a header": ([get("/userlist.txt", "X: a\0b")], [400], CLOSED),
    "HTTP/1.2": ([LIST.replace(b"1.1", b"1.2")], [400], CLOSED),
    "length and chunks": (
        [POST.replace(LENGTH, LENGTH + b"Transfer-Encoding: chunked\r\n")],
        [400],
        CLOSED,
    ),
    "two lengths": ([POST.replace(LENGTH, LENGTH + b"Content-Length: 4\r\n")], [400], CLOSED),
    "negative length": ([POST.replace(LENGTH, b"Content-Length: -1\r\n")], [400], CLOSED),
    "another request behind the end": (
        [get("/userlist.txt", "Connection: close") + LIST],
        [400],
        CLOSED,
    ),
    "a classic message": ([b'alice: "hello"'], [400], CLOSED),
    "TLS": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)], [400], CLOSED),
    "garbage": ([bytes(range(256))], [400], CLOSED),
    "HEAD of nothing there": ([b"DELETE /x HTTP/1.1\r\nHost: d\r\n\r\n"], [404], OPEN),
    "unknown method": ([b"PUT / HTTP/1.1\r\nHost: d\r\n\r\n"], [405], OPEN),
    "GET /": ([get("/")], [405], OPEN),
    "OPTIONS *": ([b"OPTIONS * HTTP/1.1\r\nHost: d\r\n\r\n"], [404], OPEN),
    "CONNECT": ([b"CONNECT d:80 HTTP/1.1\r\nHost: d\r\n\r\n"], [404], OPEN),
}


@pytest.mark.parametrize(("segments", "statuses", "stays"), BATTERY.values(), ids=BATTERY.keys())
def test_raw_requests(segments: list[bytes | None], statuses: list[int], stays: bool) -> None:
    """Each gets its status and a sentence; the connection really ends, or really goes on."""

    async def deed(site: Site) -> None:
        client = await site.connect()
        await client.send(*segments)
        for status in statuses:
            answer = await client.answer()
            if "100-continue" in str(segments) and answer.status == 100:
                answer = await client.answer()
            assert answer.status == status, answer
            if status != 200:
                assert_one_sentence(answer)
        if stays:
            assert (await client.ask(LIST)).status == 200
        else:
            assert await client.rest() == b""

    with_site(deed)


def test_a_registration_is_listed_and_found() -> None:
    """The list has a line end between lines only, a lookup is the bare address."""

    async def deed(site: Site) -> None:
        assert await site.list() == []
        answer = await site.post("UPDATE Bob@127.0.0.1:6000")
        assert (answer.status, answer.body) == (200, "Bob is at 127.0.0.1:6000.")
        await site.post("UPDATE alice@192.0.2.7:5000\r\n")
        assert await site.list() == ["alice@192.0.2.7:5000", "Bob@127.0.0.1:6000"]
        answer = await site.lookup("bOB")
        assert (answer.status, answer.body) == (200, "127.0.0.1:6000")
        assert answer.headers["server"] == "netchat"

    with_site(deed)


def test_head_is_get_without_the_body() -> None:
    """Programs that only look whether the directory is there."""

    async def deed(site: Site) -> None:
        await site.post("UPDATE bob@127.0.0.1:6000")
        client = await site.connect()
        await client.send(LIST.replace(b"GET", b"HEAD"))
        answer = await client.answer(head_only=True)
        assert (answer.status, answer.headers["content-length"]) == (200, "18")
        assert (await client.ask(LIST)).body == "bob@127.0.0.1:6000"

    with_site(deed)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ("", 400, "UPDATE name@ip:port"),
        ("HELLO bob@127.0.0.1:6000", 400, "UPDATE name@ip:port"),
        ("UPDATE žofia@127.0.0.1:6000", 400, "letters"),
        ("UPDATE -bob@127.0.0.1:6000", 400, "letters"),
        ("UPDATE user@127.0.0.1:6000", 400, "reserved"),
        ("UPDATE bob@[::1]:6000", 400, "IPv4"),
        ("UPDATE bob@0.0.0.0:6000", 400, "IPv4"),
        ("UPDATE bob@127.0.0.1:0", 400, "IPv4"),
        ("UPDATE " + "b" * REQUEST_BODY_BYTES_MAX, 413, "1,024 bytes"),
    ],
)
def test_a_body_that_is_refused(body: str, status: int, word: str) -> None:
    """The sentence says what to do about it, and nothing is registered."""

    async def deed(site: Site) -> None:
        answer = await site.post(body)
        assert answer.status == status
        assert_one_sentence(answer)
        assert word in answer.body
        assert await site.list() == []

    with_site(deed)


@pytest.mark.parametrize("name", ["nobody", "", "user", "-", "a" * 33, "%C5%BEofia"])
def test_a_name_that_nobody_has_is_not_found(name: str) -> None:
    """Neither is what could be no name: a classic client knows only 404."""

    async def deed(site: Site) -> None:
        answer = await site.lookup(name)
        assert answer.status == 404
        assert_one_sentence(answer)

    with_site(deed)


def test_a_web_page_may_not_register_names() -> None:
    """A page in somebody's browser can post to any address; browsers say where it is from."""

    async def deed(site: Site) -> None:
        body = request(UPDATE).replace(b"Host: d\r\n", b"Host: d\r\nOrigin: http://evil\r\n")
        answer = await site.ask(body)
        assert answer.status == 403
        assert_one_sentence(answer)
        assert await site.list() == []

    with_site(deed)


def test_the_older_generation_respects_who_is_there() -> None:
    """REGISTER is refused while the name is taken, by itself too; UPDATE moves it."""

    async def deed(site: Site) -> None:
        for status in (200, 409):
            answer = await site.post("REGISTER bob@127.0.0.1:6000", path="/userlist.txt")
            assert answer.status == status
        assert_one_sentence(answer)
        assert (await site.post("UPDATE bob@127.0.0.1:7000")).status == 200
        assert await site.list() == ["bob@127.0.0.1:7000"]

    with_site(deed)


def test_a_name_that_a_key_holds_is_refused() -> None:
    """Without the key nobody registers it; the sentence says so."""

    async def deed(site: Site) -> None:
        await site.store.claim(signed(BOB, "bob"), START)
        for verb in ("UPDATE", "REGISTER"):
            answer = await site.post(f"{verb} bob@127.0.0.1:6000")
            assert answer.status == 409
            assert_one_sentence(answer)
        assert await site.list() == []

    with_site(deed)


def test_a_name_that_looks_like_one_of_a_key_is_refused() -> None:
    """The sentence tells which; without a key there is nothing to look like."""

    async def deed(site: Site) -> None:
        assert (await site.post("UPDATE b0b@127.0.0.1:6000")).status == 200
        await site.store.claim(signed(BOB, "bob"), START)
        answer = await site.post("UPDATE b0b@127.0.0.1:7000")
        assert (answer.status, answer.body) == (
            409, "This name looks like bob; choose another one."
        )  # fmt: skip
        assert await site.list() == ["b0b@127.0.0.1:6000"]

    with_site(deed)


def test_a_list_that_is_too_long_keeps_those_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood of classic names hides nobody who holds his."""
    monkeypatch.setattr(server_module, "ADDRESSES_MAX", 2)

    async def deed(site: Site) -> None:
        one = signed(BOB, "bob")
        await site.store.claim(one, START)
        await site.store.put_lease(registry.lease_of(START, one.record))
        await site.post("UPDATE alice@127.0.0.1:6000")
        assert await site.list() == ["alice@127.0.0.1:6000", "bob@127.0.0.1:6000"]
        await site.post("UPDATE carol@127.0.0.1:6000")
        assert await site.list() == ["bob@127.0.0.1:6000"]

    with_site(deed)


def test_a_full_directory_refuses_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is in may still move."""
    monkeypatch.setattr(registry, "ADDRESSES_MAX", 1)

    async def deed(site: Site) -> None:
        assert (await site.post("UPDATE bob@127.0.0.1:6000")).status == 200
        answer = await site.post("UPDATE alice@127.0.0.1:6000")
        assert answer.status == 503
        assert_one_sentence(answer)
        assert (await site.post("UPDATE bob@127.0.0.1:7000")).status == 200

    with_site(deed)


def test_a_disk_that_refuses_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """503 for the client, the reason for who runs the directory; lookups still work."""

    async def main() -> None:
        async with serving(store=FailingStore(StoreUnavailable("disk is full"))) as site:
            answer = await site.post("UPDATE bob@127.0.0.1:6000")
            assert answer.status == 503
            assert_one_sentence(answer)
            assert await site.list() == []

    run(main)
    assert [record.getMessage() for record in caplog.records] == ["request failed: disk is full"]


def test_a_bug_is_a_sentence_too(caplog: pytest.LogCaptureFixture) -> None:
    """500, without a traceback for strangers, and the connection ends."""

    async def main() -> None:
        async with serving(store=FailingStore(ZeroDivisionError("a bug"))) as site:
            client = await site.connect()
            answer = await client.ask(POST)
            assert answer.status == 500
            assert_one_sentence(answer)
            assert await client.rest() == b""

    run(main)
    assert "ZeroDivisionError('a bug')" in caplog.text


# --- time ----------------------------------------------------------------------------------------


def test_a_classic_entry_stays_for_a_day() -> None:
    """Such a client never comes again and never leaves."""

    async def deed(site: Site) -> None:
        await site.post("UPDATE bob@127.0.0.1:6000")
        site.now_ms += CLASSIC_TTL_S * 1_000 - 1
        assert await site.list() == ["bob@127.0.0.1:6000"]
        site.now_ms += 1
        assert await site.list() == []

    with_site(deed)


def test_what_has_ended_is_swept_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then, by itself; a disk that refuses once does not end it."""
    monkeypatch.setattr(server_module, "SWEEP_S", 0.001)
    swept = asyncio.Event()

    class Refusing(EmbeddedStore):
        calls = 0

        async def sweep(self, now_ms: int) -> int:
            self.calls += 1
            if self.calls == 1:
                raise StoreUnavailable("not now")
            count = await super().sweep(now_ms)
            if count:
                swept.set()
            return count

    async def main() -> None:
        async with serving(store=Refusing(":memory:")) as site:
            await site.post("UPDATE bob@127.0.0.1:6000")
            site.now_ms += CLASSIC_TTL_S * 1_000
            await swept.wait()
            assert site.store.lease_count() == 0

    run(main)


# --- limits --------------------------------------------------------------------------------------


def filled(size: int) -> bytes:
    """A registration with white space behind it, ``size`` bytes in all."""
    return UPDATE.ljust(size)


def test_the_largest_body_is_taken() -> None:
    """White space around a registration is forgiven, up to the limit."""

    async def deed(site: Site) -> None:
        answer = await site.ask(request(filled(REQUEST_BODY_BYTES_MAX)))
        assert answer.status == 200

    with_site(deed)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_body_is_refused(chunked: bool) -> None:
    """Whether its length is told before or not."""
    body = filled(REQUEST_BODY_BYTES_MAX + 1)
    whole = request(body)
    if chunked:
        head = b"POST / HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"
        whole = head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"

    async def deed(site: Site) -> None:
        answer = await site.ask(whole)
        assert answer.status == 413
        assert_one_sentence(answer)

    with_site(deed)


def test_a_body_without_end_is_cut_off() -> None:
    """It is answered at the limit, and then the rest is not read for long."""

    async def deed(site: Site) -> None:
        client = await site.connect()
        head = b"POST / HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999999\r\n\r\n"
        assert (await client.ask(head + filled(2_000))).status == 413
        assert await client.rest() == b""

    with_site(deed)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (get("/userlist.txt", "X: " + "x" * (REQUEST_HEADER_BYTES_MAX - 10)), 200),
        (get("/userlist.txt", "X: " + "x" * (REQUEST_HEADER_BYTES_MAX + 1)), 400),
        (get("/userlist.txt?x=" + "x" * (REQUEST_HEADER_BYTES_MAX - 100)), 200),
        (get("/userlist.txt?x=" + "x" * REQUEST_HEADER_BYTES_MAX), 400),
        (get("/userlist.txt", *(f"X{n}: 1" for n in range(REQUEST_HEADERS_MAX - 1))), 200),
        (get("/userlist.txt", *(f"X{n}: 1" for n in range(REQUEST_HEADERS_MAX))), 400),
        (b"GET /userlist.txt HTTP/1.1\r\nX: " + b"x" * 100_000, 400),
        (b"x" * 100_000, 400),
    ],
    ids=[
        "long header",
        "longer header",
        "long line",
        "longer line",
        "many headers",
        "more headers",
        "endless header",
        "endless line",
    ],
)
def test_the_head_of_a_request_is_bounded(head: bytes, status: int) -> None:
    """In the length of its lines and in their number, and long before memory is an issue."""

    async def deed(site: Site) -> None:
        assert (await site.ask(head)).status == status

    with_site(deed)


SILENT = {
    "nothing at all": [],
    "HTTP/0.9": [b"GET /userlist.txt\r\n"],
    "half a head": [b"GET /userlist.txt HTTP/1.1\r\nHost: d\r\n"],
    "an idle connection": [LIST],
}


@pytest.mark.parametrize("segments", SILENT.values(), ids=SILENT.keys())
def test_silence_is_cut_off_at_the_deadline(
    segments: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a request, inside its head, and between two requests."""
    for module in (server_module, http_module):
        monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 0.05)

    async def deed(site: Site) -> None:
        client = await site.connect()
        await client.send(*segments)
        if LIST in segments:
            await client.answer()
        assert await client.rest() == b""

    with_site(deed)


def test_a_head_that_never_ends_is_cut_off_though_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A byte now and then buys no time."""
    for module in (server_module, http_module):
        monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 0.05)

    async def deed(site: Site) -> None:
        client = await site.connect()
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(client.rest())
            await client.send(b"GET /userlist.txt HTTP/1.1\r\n")
            while not ended.done():
                try:
                    await client.send(b"X: y\r\n")
                except ConnectionError:
                    break
                await asyncio.wait([ended], timeout=0.005)
            assert await ended == b""

    with_site(deed)


def test_a_body_that_stops_is_refused_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may still be there to hear it."""
    for module in (server_module, http_module):
        monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 0.05)

    async def deed(site: Site) -> None:
        client = await site.connect()
        answer = await client.ask(POST[:-5])
        assert answer.status == 400
        assert_one_sentence(answer)
        assert await client.rest() == b""
        assert await site.list() == []

    with_site(deed)


def test_a_client_that_ends_inside_its_body_is_refused_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ended its half only; nothing is registered from half a body."""
    for module in (server_module, http_module):
        monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 0.05)

    async def deed(site: Site) -> None:
        client = await site.connect()
        assert (await client.ask(POST[:-1], None)).status == 400
        assert await client.rest() == b""
        assert await site.list() == []

    with_site(deed)


def connections(site: Site) -> int:
    """How many connections the server holds."""
    runner = site.server._runner
    assert runner is not None
    assert runner.server is not None
    return len(runner.server.connections)


async def none_left(site: Site) -> None:
    """Wait until the server has let go of every connection."""
    while connections(site):  # noqa: ASYNC110 (aiohttp tells nobody when a connection goes)
        await asyncio.sleep(0.005)


def test_who_does_not_read_its_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each such connection would hold a list in memory for ever."""
    for module in (server_module, http_module):
        monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 1.5)

    async def deed(site: Site) -> None:
        for number in range(1_000):
            name = Name(f"somebody-with-a-long-name-{number}")
            await site.store.put_lease(Lease(name, Address("192.0.2.7", 5_000), START * 2, False))
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_024)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", site.port))
            await loop.sock_sendall(deaf, LIST * 400)  # 17 MB of answers
            assert len(await site.list()) == 1_000  # others are served meanwhile
            await none_left(site)

    with_site(deed)


def test_who_vanishes_in_the_middle_is_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    """It happens all day on a bad network: not a line in the log."""
    caplog.set_level(logging.INFO)

    async def deed(site: Site) -> None:
        for segments in ([POST[:-5]], [POST[:30]], [], [LIST * 50], [POST * 10]):
            client = await site.connect()
            await client.send(*segments)
            client.reset()
        assert await site.list() in ([], ["bob@127.0.0.1:6000"])
        await none_left(site)

    with_site(deed)
    assert [record.getMessage() for record in caplog.records] == []


def test_who_leaves_without_a_word_is_let_go_at_once() -> None:
    """After an answer, or before any request: long before the deadline."""

    async def deed(site: Site) -> None:
        for segments in ([], [LIST]):
            client = await site.connect()
            await client.send(*segments)
            await client.close()
        await none_left(site)

    with_site(deed)


def test_strangers_leave_no_trace_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody fills the disk of a directory by sending garbage to it."""

    async def deed(site: Site) -> None:
        for garbage in (b"\0" * 100, b"GET / HTTP/9\r\n\r\n", b"x" * 100_000):
            assert (await site.ask(garbage)).body == NOT_HTTP

    with_site(deed)
    assert [record.getMessage() for record in caplog.records] == []


# --- many connections ----------------------------------------------------------------------------


def test_the_oldest_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes, the newcomer and all the others are served: silence blocks nobody."""
    monkeypatch.setattr(http_module, "CONNECTIONS_MAX", 5)

    async def deed(site: Site) -> None:
        old = [await site.connect() for _ in range(5)]
        for client in old:
            assert (await client.ask(LIST)).status == 200
        new = [await site.connect() for _ in range(2)]
        for client in [*new, *old[2:]]:
            assert (await client.ask(LIST)).status == 200
        for client in old[:2]:
            assert await client.rest() == b""
        assert connections(site) == 5

    with_site(deed)


def test_a_busy_connection_gets_its_answer_before_it_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be the oldest, but it is about to be served."""
    monkeypatch.setattr(http_module, "CONNECTIONS_MAX", 1)

    async def main() -> None:
        store = HeldStore()
        async with serving(store=store) as site:
            busy = await site.connect()
            await busy.send(POST)
            await store.asked.wait()
            other = await site.connect()
            assert (await other.ask(LIST)).status == 200
            store.free.set()
            assert (await busy.answer()).status == 200
            assert await busy.rest() == b""
            assert (await other.ask(LIST)).body == "bob@127.0.0.1:6000"

    run(main)


def test_who_has_not_said_all_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request is no reason to keep a whole one waiting."""
    monkeypatch.setattr(http_module, "CONNECTIONS_MAX", 1)

    async def deed(site: Site) -> None:
        slow = await site.connect()
        await slow.send(POST[:-5])
        assert await site.list() == []
        assert await slow.rest() == b""

    with_site(deed)


def test_many_at_once_are_all_served() -> None:
    """A classroom that starts at the same second."""

    async def deed(site: Site) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(100):
                tasks.create_task(site.post(f"UPDATE p{number}@127.0.0.1:6000"))
        assert len(await site.list()) == 100

    with_site(deed)


# --- life ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no ::1")
def test_it_answers_on_every_address_at_one_port() -> None:
    """`localhost` means IPv4 to some clients and IPv6 to others."""

    async def main() -> None:
        async with serving(hosts=("127.0.0.1", "::1")) as site:
            for host in ("127.0.0.1", "::1"):
                client = await site.connect(host)
                assert (await client.ask(LIST)).status == 200

    run(main)


@pytest.mark.parametrize(
    ("host", "taken", "reason"),
    [("127.0.0.1", True, "in-use"), ("192.0.2.1", False, "not-here")],
)
def test_an_address_that_cannot_be_had(host: str, taken: bool, reason: str) -> None:
    """It says which one and why, and nothing is left open."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1] if taken else 0
            server = DirectoryServer(EmbeddedStore(":memory:"), lambda: START, os.urandom, 1)
            with pytest.raises(AddressInUse) as caught:
                await server.start(["127.0.0.1", host] if not taken else [host], port)
            assert caught.value.reason == reason
            assert caught.value.address.startswith(f"{host}:")
            await server.stop()

    run(main)


def test_a_directory_that_never_started_is_stopped() -> None:
    """Its store is closed."""

    async def main() -> None:
        await DirectoryServer(EmbeddedStore(":memory:"), lambda: START, os.urandom, 1).stop()

    run(main)


def test_stop_lets_a_request_in_flight_finish() -> None:
    """It is answered and kept; whoever is idle is let go, and nobody new comes in."""

    async def main() -> None:
        store = HeldStore()
        async with AsyncExitStack() as cleanup:
            site = Site(store, cleanup)
            site.port = await site.server.start(["127.0.0.1"], 0)
            idle, busy = await site.connect(), await site.connect()
            await busy.send(POST)
            await store.asked.wait()
            async with asyncio.TaskGroup() as tasks:
                stopping = tasks.create_task(site.server.stop())
                assert await idle.rest() == b""
                with pytest.raises(ConnectionRefusedError):
                    await site.connect()
                assert not stopping.done()
                store.free.set()
                assert (await busy.answer()).status == 200
                assert await busy.rest() == b""

    run(main)


def test_stop_waits_no_longer_than_its_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs must not keep the program from ending."""
    monkeypatch.setattr(server_module, "STOP_GRACE_S", 0.05)

    async def main() -> None:
        store = HeldStore()
        async with serving(store=store) as site:
            busy = await site.connect()
            await busy.send(POST)
            await store.asked.wait()
            await site.server.stop()
            assert await busy.rest() == b""

    run(main)


# --- a real netchat serve -------------------------------------------------------------------------


class Serve(Directory):
    """A ``netchat serve`` that can be stopped and looked into."""

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def memory_kib(self) -> int:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]


@contextmanager
def a_serve(path: Path) -> Iterator[Serve]:
    serve = Serve(path / "home", path / "data")
    try:
        yield serve
    finally:
        serve.stop()


def read_answer(connection: socket.socket) -> str:
    data = b""
    while b"\r\n\r\n" not in data or not data.rstrip().endswith(b"."):
        piece = connection.recv(4_096)
        assert piece, data
        data += piece
    return data.decode()


@pytest.mark.slow
def test_sigterm_finishes_what_is_in_flight_and_ends_well(tmp_path: Path) -> None:
    """The request came first, so it is answered and kept; then the process ends with 0."""
    with (
        a_serve(tmp_path) as serve,
        socket.create_connection(serve.address, timeout=LIMIT_S) as client,
    ):
        client.sendall(request(b"UPDATE alice@127.0.0.1:6000"))
        assert "200 OK" in read_answer(client)
        serve.send_signal(signal.SIGSTOP)  # so that both wait for it when it goes on
        client.sendall(request(b"UPDATE bob@127.0.0.1:6000"))
        serve.send_signal(signal.SIGTERM)
        serve.send_signal(signal.SIGCONT)
        assert "200 OK" in read_answer(client)
        assert client.recv(1) == b""
        assert serve.wait() == 0
        serve.assert_no_traceback()
    with (
        a_serve(tmp_path) as serve,
        socket.create_connection(serve.address, timeout=LIMIT_S) as client,
    ):
        client.sendall(get("/userlist.txt", "Connection: close"))
        answer = b"".join(iter(lambda: client.recv(4_096), b""))
        assert answer.endswith(b"\r\n\r\nalice@127.0.0.1:6000\nbob@127.0.0.1:6000")


@pytest.mark.slow
def test_three_hundred_silent_connections_slow_nobody_down(tmp_path: Path) -> None:
    """A lookup takes less than a second among them, and they cost little memory."""
    with a_serve(tmp_path) as serve:

        async def lookup() -> int:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(*serve.address)
                writer.write(LOOKUP)
                status = await reader.readline()
                writer.close()
                await writer.wait_closed()
                return int(status.split()[1])

        async def main() -> None:
            assert await lookup() == 404
            before_kib = serve.memory_kib()
            silent = [await asyncio.open_connection(*serve.address) for _ in range(300)]
            for index, (_, writer) in enumerate(silent):
                writer.write(b"GET /userlist.txt HTTP/1.1\r\nX: "[: index % 40])
            for _ in range(10):
                assert await lookup() == 404
            assert serve.memory_kib() - before_kib < 32 * 1_024
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()

        run(main)
        serve.stop_cleanly()
