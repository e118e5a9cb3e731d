"""The directory over HTTP: the classic requests exactly, those of ``/v2/``, and limits on all.

    POST /                        UPDATE name@ip:port, REGISTER likewise     200, or why not
    POST /userlist.txt            the same, for the older generation
    GET  /userlist.txt            the list
    GET  /userlist.txt?username=  one address, or 404
    /v2/...                       signed records, mail, the name log: ``signed``

Every refusal of a classic request is a 4xx or 503 with one sentence. The directory never connects
to an address that somebody registered. Specification: docs/spec/classic.md, docs/spec/directory.md.
"""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from netchat.directory.http import GuardedServer, judged, plain, read_body, sentence, write
from netchat.directory.mailbox import Quota
from netchat.directory.operator import Door, close_door, open_door
from netchat.directory.registry import NOBODY, Lease, Refusal, Refused, register
from netchat.directory.signed import SignedRequests
from netchat.directory.store import DirectoryStore
from netchat.errors import (
    AddressInUse,
    InvalidName,
    MalformedBody,
    NetChatError,
    StoreUnavailable,
)
from netchat.limits import (
    ADDRESSES_MAX,
    LISTEN_BACKLOG,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_DEADLINE_S,
    REQUEST_HEADER_BYTES_MAX,
    REQUEST_HEADERS_MAX,
    REQUEST_LINGER_S,
    STOP_GRACE_S,
    SWEEP_S,
)
from netchat.model import Name
from netchat.wire.directory import (
    Registration,
    format_list,
    format_lookup,
    parse_registration,
)
from netchat.wire.directory_v2 import Kind
from netchat.wire.records import DIRECTORY_ID_BYTES

log = logging.getLogger(__name__)

TOKEN_BYTES: Final = 32

_BODY_SENTENCES: Final = {
    "malformed": (400, "The body must be UPDATE name@ip:port."),
    "bad-name": (
        400,
        "A name has 1 to 32 letters, digits, dots, dashes or underscores"
        " and begins with a letter or digit.",
    ),
    "reserved-name": (400, "This name is reserved; choose another one."),
    "bad-address": (
        400,
        "The address must be an IPv4 address and a port, like 192.0.2.7:54321.",
    ),
    "too-large": (413, f"The body may have {REQUEST_BODY_BYTES_MAX:,} bytes at most."),
}
_REFUSAL_SENTENCES: Final = {
    Refusal.TAKEN: (409, "This name is registered already."),
    Refusal.NAME_HELD: (409, "A key holds this name, so it cannot be registered without it."),
    Refusal.LOOK_ALIKE: (409, "This name looks like {name}; choose another one."),
    Refusal.FULL: (503, "The directory is full; try again later."),
}
_BIND_REASONS: Final = {
    errno.EADDRINUSE: "in-use",
    errno.EACCES: "not-permitted",
    errno.EADDRNOTAVAIL: "not-here",
    None: "not-here",  # asyncio's own words for EADDRNOTAVAIL, since Python 3.13
}


class DirectoryServer:
    """Serves ``store`` over HTTP on any number of addresses.

    ``now_ms`` is the clock and ``entropy`` returns so many random bytes. ``kind`` tells whether it
    lasts, with mailboxes that take what ``quota`` allows, or is a meeting point without them. In
    ``folder`` it leaves the door for ``netchat serve release``. Start it, then stop it once; both
    from the same event loop.
    """

    def __init__(
        self,
        store: DirectoryStore,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        classic_ttl_ms: int,
        *,
        kind: Kind = Kind.LASTING,
        quota: Quota | None = None,
        folder: Path | None = None,
    ) -> None:
        self._store = store
        self._now_ms = now_ms
        self._entropy = entropy
        self._classic_ttl_ms = classic_ttl_ms
        self._folder = folder
        self._token = entropy(TOKEN_BYTES).hex()
        self._signed = SignedRequests(store, now_ms, entropy, kind, quota or Quota(), self._token)
        self._runner: web.ServerRunner | None = None
        self._server: GuardedServer | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Listen on every one of ``hosts``, all at one port, and return that port.

        Raises:
            AddressInUse: one of them cannot be had.
            StoreUnavailable: the disk does not take the id of a new directory, or the door.
        """
        self._signed.directory_id = await self._store.directory_id(
            self._entropy(DIRECTORY_ID_BYTES)
        )
        self._server = GuardedServer(
            self._handle,
            access_log=None,
            keepalive_timeout=REQUEST_DEADLINE_S,
            lingering_time=REQUEST_LINGER_S,
            auto_decompress=False,
            max_line_size=REQUEST_HEADER_BYTES_MAX,
            max_field_size=REQUEST_HEADER_BYTES_MAX,
            max_headers=REQUEST_HEADERS_MAX,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=STOP_GRACE_S)
        await self._runner.setup()
        for host in hosts:
            site = web.TCPSite(self._runner, host, port, backlog=LISTEN_BACKLOG)
            try:
                await site.start()
            except OSError as error:
                await self._runner.cleanup()
                reason = _BIND_REASONS.get(error.errno, "failed")
                raise AddressInUse(f"{host}:{port}", reason) from error
            port = self._runner.addresses[0][1]
        if self._folder is not None:
            open_door(self._folder, Door.at(hosts, port, self._token))
        self._sweeping = asyncio.get_running_loop().create_task(self._sweep_for_ever())
        return port

    async def stop(self) -> None:
        """Accept nothing more, let requests in flight finish, close the store."""
        if self._folder is not None:
            close_door(self._folder, self._token)
        self._signed.stop()
        if self._server is not None:
            self._server.is_stopping = True
        if self._runner is not None:
            await self._runner.cleanup()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait((self._sweeping,))
        await self._store.close()

    async def release(self, name: Name) -> bool:
        """Take ``name`` from the key that holds it; tell whether one did. See ``operator``."""
        return await self._store.release(name, self._now_ms())

    async def _sweep_for_ever(self) -> None:
        """Remove what has ended, now and then."""
        while True:
            await asyncio.sleep(SWEEP_S)
            with contextlib.suppress(StoreUnavailable):
                await self._store.sweep(self._now_ms())

    # --- requests --------------------------------------------------------------------------------

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path.startswith("/v2/"):
            response = await self._signed.answer(request)
        else:
            try:
                response = await self._route(request)
            except NetChatError as error:
                response = _refuse(error)
        if isinstance(response, web.Response):
            await write(request, response)
        return response

    async def _route(self, request: web.BaseRequest) -> web.Response:
        match request.method, request.path:
            case (("GET" | "HEAD"), "/userlist.txt"):
                if "username" in request.query:
                    return self._lookup(request.query["username"])
                return self._list()
            case "POST", "/" | "/userlist.txt" if "Origin" in request.headers:
                # No classic client sends one: this is a page in somebody's browser.
                return sentence(403, "Web pages may not register names here.")
            case "POST", "/" | "/userlist.txt":
                return await self._register(request)
            case _, "/" | "/userlist.txt":
                return sentence(405, "This directory takes GET /userlist.txt and POST /.")
            case _:
                return sentence(404, "There is nothing here; the list is at /userlist.txt.")

    def _list(self) -> web.Response:
        """Answer with who is present; when that is more than a list holds, with who has a key."""
        now_ms = self._now_ms()
        live = [x for x in self._store.leases() if x.is_live(now_ms)]
        if len(live) > ADDRESSES_MAX:
            live = [x for x in live if x.holder != NOBODY]
        listed = ((x.name, x.address) for x in live)
        return plain(200, format_list((name, at) for name, at in listed if at is not None))

    def _lookup(self, username: str) -> web.Response:
        try:
            lease = self._store.lease(Name(username))
        except InvalidName:
            lease = None
        if lease is None or lease.address is None or not lease.is_live(self._now_ms()):
            return sentence(404, "Nobody of this name is registered.")
        return plain(200, format_lookup(lease.address))

    async def _register(self, request: web.BaseRequest) -> web.Response:
        body = await read_body(request, REQUEST_BODY_BYTES_MAX)
        registration = parse_registration(body)
        with judged(request):
            decision = await self._decide(registration)
        if isinstance(decision, Refused):
            status, text = _REFUSAL_SENTENCES[decision.why]
            return sentence(status, text.format(name=decision.name))
        return sentence(200, f"{decision.name} is at {decision.address}.")

    async def _decide(self, registration: Registration) -> Lease | Refused:
        """Judge and carry out; from the look at the leases to the change of them nothing waits.

        A key that claims the name meanwhile is served behind this, so its lease comes last.
        """
        name = await self._store.enter(registration.name)
        if isinstance(name, Refused):
            return name
        decision = register(
            self._now_ms(),
            Registration(registration.verb, name, registration.address),
            self._store.lease(name),
            self._store.lease_count(),
            self._classic_ttl_ms,
        )
        if isinstance(decision, Lease):
            await self._store.put_lease(decision)
        return decision


def _refuse(error: NetChatError) -> web.Response:
    match error:
        case MalformedBody():
            return sentence(*_BODY_SENTENCES[error.reason])
        case _:
            log.error("request failed: %s", error)
            return sentence(503, "The directory's disk does not take this now; try again later.")
