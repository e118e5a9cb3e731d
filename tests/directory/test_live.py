"""Who waits for mail hears of it at once; and nobody keeps the directory busy by waiting."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from tests.directory.people import ALICE, BOB, CAROL, person, signed
from tests.directory.site import Site, run, serving, with_site

from netchat.directory import http as http_module
from netchat.directory import live as live_module
from netchat.directory.store_sqlite import EmbeddedStore
from netchat.errors import StoreUnavailable
from netchat.identity.keys import Identity
from netchat.limits import LIVE_MESSAGE_BYTES_MAX
from netchat.model import PeerId

WAIT_S = 20


class Ear:
    """The other end of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def hears(self) -> Any:
        """Return the next message, or the code with which it was closed."""
        message = await self.socket.receive(WAIT_S)
        if message.type is aiohttp.WSMsgType.TEXT:
            return json.loads(message.data)
        return self.socket.close_code


@asynccontextmanager
async def connected(site: Site, **options: Any) -> AsyncIterator[Ear]:
    async with site.session.ws_connect(f"{site.url}/v2/live", **options) as open_socket:
        yield Ear(open_socket)


@asynccontextmanager
async def waiting(site: Site, who: Identity) -> AsyncIterator[Ear]:
    """Wait for the mail of ``who``; the first message is not taken yet."""
    request = await site.request(who, "live")
    async with connected(site) as ear:
        await ear.socket.send_str(request.decode())
        yield ear


async def enter(site: Site, *people: Identity) -> None:
    for number, one in enumerate(people):
        assert (await site.claim(one, signed(one, f"p{number}"))).status == 200


async def until(done: Any) -> None:
    """Wait until ``done()``; the time limit of the test ends it."""
    while not done():  # noqa: ASYNC110 (it asks the state of a server, which tells nobody)
        await asyncio.sleep(0.001)


def count(site: Site) -> int:
    """How many wait for their mail."""
    return len(site.server._signed._live._waiting)


def connections(site: Site) -> int:
    runner = site.server._runner
    assert runner is not None
    assert runner.server is not None
    return len(runner.server.connections)


def test_mail_is_told_at_once() -> None:
    """First the cursor there is, then each that comes, of the own mailbox only."""

    async def deed(site: Site) -> None:
        await enter(site, BOB, CAROL)
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            await site.deposit(ALICE, CAROL, b"for carol")
            await site.deposit(ALICE, BOB, b"one")
            assert await ear.hears() == {"mail": 1}
            await site.deposit(ALICE, BOB, b"two")
            assert await ear.hears() == {"mail": 2}
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 2}

    with_site(deed)


def test_what_came_while_nobody_read_is_told_once() -> None:
    """Only the newest cursor is remembered, so a slow reader holds one number in memory."""

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        live = site.server._signed._live
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            for cursor in range(1, 1_000):
                live.wake(BOB.peer_id, cursor)
            live.wake(BOB.peer_id, 5)  # an older one, told late
            assert await ear.hears() == {"mail": 999}
            live.wake(BOB.peer_id, 1_000)
            assert await ear.hears() == {"mail": 1_000}

    with_site(deed)


def test_the_newest_connection_of_a_key_wins() -> None:
    """The older one is told why it ends; and its end does not end the newer one."""

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        async with waiting(site, BOB) as older, waiting(site, BOB) as newer:
            assert await newer.hears() == {"mail": 0}
            assert await older.hears() == {"mail": 0}
            assert (await older.hears())["error"] == "replaced"
            assert await older.hears() == 1_008
            await older.socket.close()
            await until(lambda: connections(site) == 1)
            assert count(site) == 1
            await site.deposit(ALICE, BOB, b"one")
            assert await newer.hears() == {"mail": 1}

    with_site(deed)


def test_who_holds_no_name_does_not_wait() -> None:
    """It has no mailbox."""

    async def deed(site: Site) -> None:
        async with waiting(site, BOB) as ear:
            assert (await ear.hears())["error"] == "no-such-recipient"
            assert await ear.hears() == 1_008
        assert count(site) == 0

    with_site(deed)


def test_only_so_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are told to ask instead; who waits already may come again."""
    monkeypatch.setattr(live_module, "LIVE_MAX", 1)

    async def deed(site: Site) -> None:
        await enter(site, BOB, CAROL)
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            async with waiting(site, CAROL) as other:
                assert (await other.hears())["error"] == "busy"
            async with waiting(site, BOB) as newer:
                assert await newer.hears() == {"mail": 0}

    with_site(deed)


def test_only_so_many_wait_from_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are free: nobody alone may take all the places."""
    monkeypatch.setattr(live_module, "LIVE_PER_ADDRESS_MAX", 1)

    async def deed(site: Site) -> None:
        await enter(site, BOB, CAROL)
        async with waiting(site, BOB) as ear, waiting(site, CAROL) as other:
            assert await ear.hears() == {"mail": 0}
            assert (await other.hears())["error"] == "busy"
        async with waiting(site, CAROL) as other:
            assert await other.hears() == {"mail": 0}

    with_site(deed)


def test_the_places_of_one_address_are_not_those_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who filled its own leaves the others free."""
    monkeypatch.setattr(live_module, "LIVE_PER_ADDRESS_MAX", 2)
    live = live_module.Live(None)  # type: ignore[arg-type]  # nobody proves anything here
    for identity in (BOB, CAROL):
        seat: Any = SimpleNamespace()
        live._waiting[identity.peer_id] = live_module._Waiting(seat, "192.0.2.1", 0)
    assert live._is_full("192.0.2.1")
    assert not live._is_full("192.0.2.2")


def test_a_flood_of_connections_does_not_end_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who proved a key is not counted among strangers, who make room for each other.

    Guards ``is_live`` in ``GuardedServer``: a wait is always the oldest connection.
    """
    monkeypatch.setattr(http_module, "CONNECTIONS_MAX", 3)

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            flood = [await asyncio.open_connection("127.0.0.1", site.port) for _ in range(10)]
            await site.deposit(ALICE, BOB, b"one")
            assert await ear.hears() == {"mail": 1}
            for _, writer in flood:
                writer.close()

    with_site(deed)


def test_who_has_not_proved_a_key_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A WebSocket that says nothing is a connection like any other."""
    monkeypatch.setattr(http_module, "CONNECTIONS_MAX", 1)

    async def deed(site: Site) -> None:
        async with connected(site) as ear:
            assert (await site.ask("GET", "/v2/directory")).status == 200
            assert await ear.hears() == 1_006

    with_site(deed)


@pytest.mark.parametrize(
    "first",
    [b"binary", "", "{}", "x" * (LIVE_MESSAGE_BYTES_MAX + 1), None],
    ids=["binary", "empty", "no request", "too large", "close"],
)
def test_a_first_message_that_is_none(first: str | bytes | None) -> None:
    """It is closed; the directory goes on."""

    async def deed(site: Site) -> None:
        async with connected(site) as ear:
            if first is None:
                await ear.socket.close()
            elif isinstance(first, bytes):
                await ear.socket.send_bytes(first)
            else:
                await ear.socket.send_str(first)
            heard = await ear.hears()
            if isinstance(heard, dict):
                assert heard["error"] == "malformed"
                assert await ear.hears() == 1_008
            else:
                assert heard in (1_000, 1_009)
        assert count(site) == 0
        assert (await site.ask("GET", "/v2/directory")).status == 200

    with_site(deed)


def test_a_request_to_wait_counts_once_and_for_waiting_only() -> None:
    """As all others."""

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        live = await site.request(BOB, "live")
        for code in (None, "bad-nonce"):
            async with connected(site) as ear:
                await ear.socket.send_str(live.decode())
                assert (await ear.hears()).get("error") == code
        async with connected(site) as ear:
            await ear.socket.send_str((await site.request(BOB, "fetch")).decode())
            assert (await ear.hears())["error"] == "malformed"

    with_site(deed)


def test_whoever_says_more_is_closed() -> None:
    """Nothing is asked there but once."""

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            await ear.socket.send_str("hello")
            assert await ear.hears() == 1_000
        await until(lambda: count(site) == 0)

    with_site(deed)


def test_a_web_page_does_not_wait() -> None:
    """Browsers say where a page is from."""

    async def deed(site: Site) -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with connected(site, origin="http://evil"):
                pass
        assert caught.value.status == 403

    with_site(deed)


def test_silence_before_the_first_message_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the deadline of every request."""
    monkeypatch.setattr(live_module, "REQUEST_DEADLINE_S", 0.05)

    async def deed(site: Site) -> None:
        async with connected(site) as ear:
            assert await ear.hears() == 1_006
        await until(lambda: connections(site) == 0)

    with_site(deed)


def test_who_does_not_answer_a_ping_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that was unplugged holds no place."""
    monkeypatch.setattr(live_module, "LIVE_PING_S", 0.1)

    async def deed(site: Site) -> None:
        await enter(site, BOB, CAROL)
        request = await site.request(BOB, "live")
        async with connected(site, autoping=False) as dead, waiting(site, CAROL) as ear:
            await dead.socket.send_str(request.decode())
            assert await ear.hears() == {"mail": 0}
            await until(lambda: BOB.peer_id in site.server._signed._live._waiting)
            hearing = asyncio.ensure_future(ear.hears())  # which answers pings
            await until(lambda: BOB.peer_id not in site.server._signed._live._waiting)
            assert CAROL.peer_id in site.server._signed._live._waiting
            await site.deposit(ALICE, CAROL, b"one")
            assert await hearing == {"mail": 1}

    with_site(deed)


def test_who_vanishes_is_let_go() -> None:
    """At once: a reset, and an end without a word."""

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        for how in ("abort", "close"):
            async with waiting(site, BOB) as ear:
                assert await ear.hears() == {"mail": 0}
                transport = ear.socket.get_extra_info("socket")
                assert transport is not None
                connection = ear.socket._response.connection
                assert connection is not None
                assert connection.transport is not None
                getattr(connection.transport, how)()
                await until(lambda: connections(site) == 0)
                assert count(site) == 0

    with_site(deed)


def test_a_stop_lets_all_go() -> None:
    """It does not wait for the grace that requests get."""

    async def main() -> None:
        async with serving() as site:
            await enter(site, BOB, CAROL)
            async with waiting(site, BOB) as bob, waiting(site, CAROL) as carol:
                assert await bob.hears() == await carol.hears() == {"mail": 0}
                stopping = asyncio.ensure_future(site.server.stop())
                assert await bob.hears() == await carol.hears() == 1_001
                await stopping
            site.server._runner = None  # it is stopped already

    run(main)


class FailingStore(EmbeddedStore):
    async def newest_cursor(self, recipient: PeerId) -> int | None:
        raise StoreUnavailable("disk is full")


def test_a_disk_that_refuses_is_said() -> None:
    """As to every request."""

    async def deed(site: Site) -> None:
        async with waiting(site, BOB) as ear:
            assert (await ear.hears())["error"] == "store-unavailable"

    async def main() -> None:
        async with serving(store=FailingStore(":memory:")) as site:
            await deed(site)

    run(main)


def test_a_slow_reader_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes nothing is cut off when the kernel takes no more for him either."""
    monkeypatch.setattr(live_module, "REQUEST_DEADLINE_S", 0.2)
    monkeypatch.setattr(live_module, "LIVE_PING_S", 1_000)

    async def deed(site: Site) -> None:
        await enter(site, BOB)
        live = site.server._signed._live
        async with waiting(site, BOB) as ear:
            assert await ear.hears() == {"mail": 0}
            connection = ear.socket._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.pause_reading()  # type: ignore[attr-defined]  # it reads
            monkeypatch.setattr(live_module, "format_mail", lambda _: b"x" * 1_000_000)
            cursor = 0
            while BOB.peer_id in live._waiting:
                cursor += 1
                live.wake(BOB.peer_id, cursor)
                await asyncio.sleep(0)
            connection.transport.abort()
        await until(lambda: connections(site) == 0)

    with_site(deed)


def test_a_classroom_waits() -> None:
    """Each hears of its own mail."""

    async def deed(site: Site) -> None:
        people = [person(number) for number in range(50)]
        await enter(site, *people)

        async def one(who: Identity) -> None:
            async with waiting(site, who) as ear:
                assert await ear.hears() == {"mail": 0}
                await site.deposit(ALICE, who, str(who.peer_id).encode())
                assert await ear.hears() == {"mail": 1}

        async with asyncio.TaskGroup() as tasks:
            for who in people:
                tasks.create_task(one(who))
        await until(lambda: count(site) == 0)

    with_site(deed)
