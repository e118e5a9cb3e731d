"""The node's side of ``/v2/``: against our own directory, and against whatever answers instead."""

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from tests.directory.people import ALICE, BOB, CAROL, MALLORY, person, signed
from tests.directory.site import Site, client_of, run, serving, with_site

from netchat.directory.client import DirectoryClient
from netchat.errors import DirectoryError, DirectoryRefused, DirectoryUnreachable
from netchat.limits import MAIL_TTL_MS, NONCE_LIFE_MS
from netchat.model import Address, Name
from netchat.wire.directory_v2 import About, Kind, format_log, format_records

ALICES, BOBS = Name("alice"), Name("bob")
SHORT_S = 0.2


# --- against our own directory -------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(Kind))
def test_what_a_directory_says_of_itself(kind: Kind) -> None:
    """It is asked once."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            about = await client.about()
            assert about == About(site.id, kind, kind is Kind.LASTING, site.now_ms)
            site.now_ms += 1
            assert await client.about() is about
            assert client.is_netchat

    with_site(deed, kind=kind)


def test_claim_find_and_leave() -> None:
    """The record that is found is the one that was signed, opened and verified."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            assert await client.find(ALICES) is None
            assert await client.record(ALICES) is None
            one = signed(ALICE, "Alice")
            await client.claim(ALICE, one)
            found = await client.find(ALICES)
            assert found is not None
            assert (found.signed, found.is_present) == (one, True)
            await client.keep(ALICE, ALICES)
            assert await client.list() == ((Name("alice"), Address("127.0.0.1", 6_000)),)
            await client.leave(ALICE, ALICES)
            found = await client.find(ALICES)
            assert found is not None
            assert not found.is_present
            assert await client.record(ALICES) == one

    with_site(deed)


def test_a_rotation_is_found_as_one() -> None:
    """With the key before, so that who pinned that one can follow."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            await client.claim(ALICE, signed(ALICE, "alice"))
            await client.claim(BOB, signed(BOB, "alice", old=ALICE, seq=2))
            found = await client.record(ALICES)
            assert found is not None
            assert (found.record.key, found.rotated_from) == (BOB.peer_id, ALICE.peer_id)

    with_site(deed)


def test_a_refusal_has_its_code_and_its_sentence() -> None:
    """One for the node, one for the person."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            await client.claim(ALICE, signed(ALICE, "alice"))
            for name, code, word in (
                ("alice", "name-held", "Another key holds the name alice."),
                ("a1ice", "look-alike", "This name looks like alice; choose another one."),
            ):
                with pytest.raises(DirectoryRefused) as caught:
                    await client.claim(MALLORY, signed(MALLORY, name))
                assert caught.value.refusal == code
                assert caught.value.status == 409
                assert caught.value.reason == word
            with pytest.raises(DirectoryRefused) as caught:
                await client.keep(BOB, BOBS)
            assert (caught.value.refusal, caught.value.status) == ("no-such-record", 404)

    with_site(deed)


def test_mail_there_and_back() -> None:
    """Left, fetched a page at a time, acknowledged."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            await client.claim(BOB, signed(BOB, "bob"))
            for number in range(5):
                until_ms = await client.deposit(ALICE, BOB.peer_id, b"sealed %d" % number)
                assert until_ms == site.now_ms + MAIL_TTL_MS
            found: list[tuple[int, bytes]] = []
            while page := (await client.fetch(BOB, found[-1][0] if found else 0, 2)).envelopes:
                found += page
            assert found == [(n + 1, b"sealed %d" % n) for n in range(5)]
            await client.acknowledge(BOB, 4)
            assert (await client.fetch(BOB, 0, 9)).envelopes == ((5, b"sealed 4"),)
            with pytest.raises(DirectoryRefused) as caught:
                await client.deposit(ALICE, CAROL.peer_id, b"sealed")
            assert caught.value.refusal == "no-such-recipient"

    with_site(deed)


def test_records_and_the_log_are_paged() -> None:
    """Each record opened, the chain checked."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            for number in range(5):
                await client.claim(person(number), signed(person(number), f"p{number}"))
            names: list[str] = []
            page = await client.records(limit=2)
            while page.next is not None:
                names += [str(one.signed.record.name) for one in page.listed]
                page = await client.records(page.next, limit=2)
            assert names == [f"p{number}" for number in range(5)]
            assert page.listed == ()
            assert [one.n for one in await client.log()] == [1, 2, 3, 4, 5]
            assert [one.n for one in await client.log(2, 2)] == [3, 4]
            assert [one.n for one in await client.log(name=Name("P3"))] == [4]
            assert list(await client.log(5)) == []

    with_site(deed)


def test_many_requests_at_once_have_a_nonce_each() -> None:
    """A lecture hall of deposits side by side."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client, asyncio.TaskGroup() as tasks:
            await client.claim(BOB, signed(BOB, "bob"))
            asked = [
                tasks.create_task(client.deposit(ALICE, BOB.peer_id, b"sealed %d" % number))
                for number in range(100)
            ]
        assert len({task.result() for task in asked}) == 1
        envelopes = site.store._connection.execute("SELECT count(*) FROM mail").fetchone()
        assert envelopes == (100,)

    with_site(deed)


def test_a_nonce_that_has_grown_old_is_replaced() -> None:
    """The request is made once more with a fresh one, and nobody hears of it."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            await client.claim(BOB, signed(BOB, "bob"))
            site.now_ms += NONCE_LIFE_MS
            await client.keep(BOB, BOBS)
            site.now_ms += NONCE_LIFE_MS
            async with aclosing(client.live(BOB)) as cursors:
                assert await anext(cursors) == 0

    with_site(deed)


def test_a_directory_that_became_another_is_noticed() -> None:
    """Its data was lost, or a meeting point went and another came to the same port."""

    async def main() -> None:
        async with serving() as one, client_of(one) as client:
            await client.claim(BOB, signed(BOB, "bob"))
            one.server._signed.directory_id = bytes(16)
            await client.keep(BOB, BOBS)
            about = await client.about()
            assert about is not None
            assert about.directory_id == bytes(16)

    run(main)


# --- live ----------------------------------------------------------------------------------------


def test_mail_is_heard_of_at_once() -> None:
    """For longer than a request may take."""

    async def deed(site: Site) -> None:
        async with client_of(site, SHORT_S) as client, client_of(site) as other:
            await other.claim(BOB, signed(BOB, "bob"))
            async with aclosing(client.live(BOB)) as cursors:
                assert await anext(cursors) == 0
                await asyncio.sleep(2 * SHORT_S)  # no limit of a request ends it
                await other.deposit(ALICE, BOB.peer_id, b"one")
                assert await anext(cursors) == 1
                await other.deposit(ALICE, BOB.peer_id, b"two")
                assert await anext(cursors) == 2

    with_site(deed)


def test_who_waits_elsewhere_is_told() -> None:
    """Two nodes with one key: the older one hears why it ended."""

    async def deed(site: Site) -> None:
        async with client_of(site) as older, client_of(site) as newer:
            await older.claim(BOB, signed(BOB, "bob"))
            async with aclosing(older.live(BOB)) as first, aclosing(newer.live(BOB)) as second:
                assert await anext(first) == 0
                assert await anext(second) == 0
                with pytest.raises(DirectoryRefused) as caught:
                    await anext(first)
                assert caught.value.refusal == "replaced"

    with_site(deed)


def test_who_has_no_mailbox_does_not_wait() -> None:
    """Because the key holds no name here, or because this is a meeting point."""

    async def waits(site: Site, code: str) -> None:
        async with client_of(site) as client:
            with pytest.raises(DirectoryRefused) as caught:
                await anext(client.live(BOB))
            assert (caught.value.refusal, caught.value.status // 100) == (code, 4)

    async def main() -> None:
        async with serving() as lasting, serving(kind=Kind.MEETING_POINT) as meeting_point:
            await waits(lasting, "no-such-recipient")
            await waits(meeting_point, "no-mailboxes")

    run(main)


def test_a_directory_that_ends_is_noticed() -> None:
    """The wait ends with the error of every request that finds nobody."""

    async def main() -> None:
        async with serving() as site:
            async with client_of(site) as client:
                await client.claim(BOB, signed(BOB, "bob"))
                async with aclosing(client.live(BOB)) as cursors:
                    assert await anext(cursors) == 0
                    await site.server.stop()
                    with pytest.raises(DirectoryUnreachable) as caught:
                        await anext(cursors)
                    assert caught.value.reason == "no-connection"
                with pytest.raises(DirectoryUnreachable):
                    await anext(client.live(BOB))
            site.server._runner = None  # it is stopped already

    run(main)


# --- against whatever answers instead -------------------------------------------------------------

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NETCHAT = {"Server": "NetChat", "NetChat-Nonce": b64encode(b"n" * 32).decode()}
ABOUT = {
    "id": b64encode(bytes(16)).decode(),
    "kind": "lasting",
    "mailboxes": True,
    "now_ms": 1,
}


@asynccontextmanager
async def answering(handler: Handler, timeout_s: float = 5) -> AsyncIterator[DirectoryClient]:
    """A client of a server that answers whatever ``handler`` says."""
    server = web.Server(handler, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with DirectoryClient(url, timeout_s) as client:
            yield client
    finally:
        await runner.cleanup()


def says(status: int, body: bytes | object = b"", headers: dict[str, str] | None = None) -> Handler:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def handler(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=data, headers=headers)

    return handler


def directory(**answers: Handler) -> Handler:
    """A malicious directory: it says that it is one of ours, then what ``answers`` say."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/v2/directory":
            return await says(200, ABOUT, NETCHAT)(request)
        return await answers[request.path.split("/")[2]](request)

    return handler


CLASSIC = {
    "404": says(404, b"not found"),
    "405": says(405),
    "400": says(400),
    "500": says(500, b"Traceback"),
    "a page": says(200, b"<!doctype html>"),
    "a page with another nonce": says(200, b"<html>", {"NetChat-Nonce": "\u00e9*"}),
    "an older one of ours": says(404, b"There is nothing here.", {"Server": "NetChat"}),
    "a redirect": says(302, b"", {"Location": "http://192.0.2.1/"}),
}


@pytest.mark.parametrize("handler", CLASSIC.values(), ids=CLASSIC.keys())
def test_a_classic_directory_is_known_as_one(handler: Handler) -> None:
    """Whatever it says to what it does not know; and it is asked once."""
    asked: list[str] = []

    async def counted(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return await handler(request)

    async def main() -> None:
        async with answering(counted) as client:
            for _ in range(2):
                assert await client.about() is None
            assert asked == ["/v2/directory"]
            for question in (
                client.claim(BOB, signed(BOB, "bob")),
                client.find(BOBS),
                client.records(),
                client.log(),
                client.fetch(BOB, 0, 1),
                anext(client.live(BOB)),
            ):
                with pytest.raises(DirectoryRefused) as caught:
                    await question
                assert caught.value.refusal == "classic-only"
            assert asked == ["/v2/directory"]

    run(main)


async def hangs(_: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


async def hangs_up(request: web.BaseRequest) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@pytest.mark.parametrize("at_new", [hangs, hangs_up])
def test_a_classic_directory_may_die_of_what_is_new(at_new: Handler) -> None:
    """Students' servers hang, or hang up; they still answer a classic request."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return await (at_new if request.path.startswith("/v2") else says(200))(request)

    async def main() -> None:
        async with answering(handler, SHORT_S) as client:
            assert await client.about() is None
            assert await client.list() == ()

    run(main)


UNREACHABLE = {
    "hangs": (hangs, "timeout"),
    "hangs up": (hangs_up, "not-a-directory"),
    "ours, and broken": (says(200, {}, NETCHAT), "not-a-directory"),
}


@pytest.mark.parametrize(("handler", "reason"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
def test_what_answers_nothing_is_no_classic_directory(handler: Handler, reason: str) -> None:
    """Else one of ours that restarts would be taken for one, for ever."""

    async def main() -> None:
        async with answering(handler, SHORT_S) as client:
            for _ in range(2):
                with pytest.raises(DirectoryUnreachable) as caught:
                    await client.about()
                assert caught.value.reason == reason

    run(main)


def test_one_of_ours_that_hangs_up_is_no_classic_one() -> None:
    """It was stopped between two requests; the list says whose it is."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/v2"):
            return await hangs_up(request)
        return web.Response(headers={"Server": "NetChat"})

    async def main() -> None:
        async with answering(handler) as client:
            with pytest.raises(DirectoryUnreachable):
                await client.about()

    run(main)


def test_one_of_ours_that_is_busy_is_no_classic_one() -> None:
    """It says so; the next time it is asked again."""

    async def main() -> None:
        busy = {"error": "busy", "message": "Too many."}
        async with answering(says(503, busy, NETCHAT)) as client:
            with pytest.raises(DirectoryRefused) as caught:
                await client.about()
            assert (caught.value.status, caught.value.refusal) == (503, "busy")
            assert caught.value.reason == "Too many."

    run(main)


def test_where_nobody_listens_there_is_no_directory() -> None:
    """Said at once, not asked again in another way."""

    async def main() -> None:
        async with DirectoryClient("http://127.0.0.1:1") as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await client.about()
            assert caught.value.reason == "no-connection"

    run(main)


ONE = signed(ALICE, "alice")
FORGED = ONE.envelope.replace(str(ALICE.peer_id).encode(), str(MALLORY.peer_id).encode())
LOG = [
    {"n": 1, "at_ms": 1, "event": "claim", "name": "bob", "key": str(BOB.peer_id),
     "previous": b64encode(bytes(32)).decode(), "hash": b64encode(bytes(32)).decode()}
]  # fmt: skip
LIES: dict[str, tuple[Callable[[DirectoryClient], Awaitable[Any]], Handler]] = {
    "another's record": (lambda c: c.find(BOBS), says(200, ONE.envelope, NETCHAT)),
    "a record that nobody signed": (lambda c: c.record(ALICES), says(200, FORGED, NETCHAT)),
    "no record": (lambda c: c.record(ALICES), says(200, b"{}", NETCHAT)),
    "a record without end": (lambda c: c.record(ALICES), says(200, b" " * 10**6, NETCHAT)),
    "a page with a forged record": (
        lambda c: c.records(), says(200, format_records([(FORGED, True)], None), NETCHAT)
    ),
    "a page that is none": (lambda c: c.records(), says(200, b"[]", NETCHAT)),
    "a log that is none": (lambda c: c.log(), says(200, b"{}", NETCHAT)),
    "a log that is no chain": (lambda c: c.log(), says(200, {"entries": LOG}, NETCHAT)),
    "mail that is none": (lambda c: c.fetch(BOB, 0, 9), says(200, b"{}", NETCHAT)),
    "mail that was taken": (
        lambda c: c.fetch(BOB, 5, 9),
        says(200, {"envelopes": [{"cursor": 5, "envelope": ""}]}, NETCHAT),
    ),
    "no time": (lambda c: c.deposit(BOB, ALICE.peer_id, b"x"), says(200, b"{}", NETCHAT)),
    "no WebSocket": (lambda c: anext(c.live(BOB)), says(200, b"{}", NETCHAT)),
    "a refused WebSocket": (lambda c: anext(c.live(BOB)), says(404, b"{}", NETCHAT)),
}  # fmt: skip


@pytest.mark.parametrize(("question", "lie"), LIES.values(), ids=LIES.keys())
def test_a_directory_that_lies(
    question: Callable[[DirectoryClient], Awaitable[Any]], lie: Handler
) -> None:
    """What it says is checked; nothing of it reaches anybody."""

    async def main() -> None:
        handler = directory(records=lie, log=lie, mail=lie, live=lie)
        async with answering(handler) as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await question(client)
            assert caught.value.reason == "not-a-directory"

    run(main)


def test_a_log_with_entries_left_out_is_noticed() -> None:
    """At the front, and of another name."""

    async def deed(site: Site) -> None:
        async with client_of(site) as client:
            for number in range(3):
                await client.claim(person(number), signed(person(number), f"p{number}"))
            entries = list(await client.log())
        for body, asked in (
            (format_log(entries[1:]), {"after": 0}),
            (format_log(entries[:1]), {"after": 1}),
            (format_log([entries[0], entries[2]]), {"after": 0}),
            (format_log(entries), {"name": Name("p1")}),
        ):
            async with answering(directory(log=says(200, body, NETCHAT))) as client:
                with pytest.raises(DirectoryUnreachable):
                    await client.log(**asked)  # type: ignore[arg-type]  # one of each

    with_site(deed)


def test_a_directory_without_nonces() -> None:
    """There is nothing to sign then; it is not asked for ever."""
    asked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return await says(200, ABOUT, {"Server": "NetChat"})(request)

    async def main() -> None:
        async with answering(handler) as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await client.keep(BOB, BOBS)
            assert caught.value.reason == "not-a-directory"
            assert asked == ["/v2/directory"] * 2

    run(main)


@pytest.mark.parametrize("code", ["bad-nonce", "wrong-directory"])
def test_a_directory_that_never_takes_a_nonce(code: str) -> None:
    """It is asked once more, not for ever; over a WebSocket too."""
    asked: list[str] = []

    async def refuses(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        refusal = {"error": code, "message": "No."}
        if request.path != "/v2/live":
            return await says(401, refusal, NETCHAT)(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(json.dumps(refusal))
        await socket.close()
        return socket

    async def main() -> None:
        async with answering(directory(keep=refuses, live=refuses)) as client:
            for question in (client.keep(BOB, BOBS), anext(client.live(BOB))):
                with pytest.raises(DirectoryRefused) as caught:
                    await question
                assert caught.value.refusal == code
        assert asked == ["/v2/keep"] * 2 + ["/v2/live"] * 2

    run(main)


SOCKETS = {
    "silence": (None, "timeout"),
    "closed": (b"", "no-connection"),
    "binary": (b"{}", "no-connection"),
}


@pytest.mark.parametrize(("first", "reason"), SOCKETS.values(), ids=SOCKETS.keys())
def test_a_websocket_that_says_nothing_of_use(first: bytes | None, reason: str) -> None:
    """Its first word has the time of a request."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if first:
            await socket.send_bytes(first)
        if first is None:
            await socket.receive()
            with contextlib.suppress(TimeoutError):
                await socket.receive(5)
        await socket.close()
        return socket

    async def main() -> None:
        async with answering(directory(live=handler), SHORT_S) as client:
            with pytest.raises(DirectoryUnreachable) as caught:
                await anext(client.live(BOB))
            assert caught.value.reason == reason

    run(main)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["http://{host}/admin", "http://..:80/", "//", "/v2/live", ""])
def test_a_websocket_goes_nowhere_else(status: int, place: str) -> None:
    """A directory, or whoever stands before it, must not make us ask other machines for things."""
    asked: list[str] = []

    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response()

    async def main() -> None:
        async with answering(elsewhere) as other:
            host = other.url.removeprefix("http://")

            async def redirects(_: web.BaseRequest) -> web.StreamResponse:
                headers = {"Location": place.format(host=host)}
                return web.Response(status=status, headers=headers)

            async with answering(directory(live=redirects)) as client:
                with pytest.raises(DirectoryError):
                    await anext(client.live(BOB))
        assert asked == []

    run(main)


def test_a_refusal_of_strange_words_is_shown_safely() -> None:
    """Its code is of the grammar or none; its sentence is cleaned and cut."""

    async def main() -> None:
        for body, code in (
            ({"error": "stale", "message": "\x1b[31m" + "x" * 10_000}, "stale"),
            ({"error": "<b>\x1b", "message": "\x1b[31m"}, ""),
            (b"\x1b[31m no", ""),
        ):
            async with answering(directory(keep=says(409, body, NETCHAT))) as client:
                with pytest.raises(DirectoryRefused) as caught:
                    await client.keep(BOB, BOBS)
                assert caught.value.refusal == code
                assert "\x1b" not in caught.value.reason
                assert len(caught.value.reason) < 250

    run(main)
