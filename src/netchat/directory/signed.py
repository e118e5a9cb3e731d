"""The requests of ``/v2/``: who may have a name, where that is, and mail for it.

    GET  /v2/directory          its id, its kind
    PUT  /v2/records/NAME       claim a name, or renew its record         signed
    GET  /v2/records/NAME       the record as it came
    GET  /v2/records            all of them, a page at a time
    POST /v2/keep  /v2/leave    prolong a lease, or end it                signed
    GET  /v2/log                the name log
    POST /v2/mail/deposit       leave an envelope                         signed
    POST /v2/mail/fetch         take envelopes                            signed
    POST /v2/mail/acknowledge   have them removed                         signed
    GET  /v2/live               a WebSocket that tells of mail            signed
    POST /v2/operator/release   take a name from its key                  operator's token

Every answer brings a nonce for one signed request. Specification: docs/spec/directory.md.
"""

import logging
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from aiohttp import web

from netchat.directory.http import as_json, judged, read_body
from netchat.directory.live import Live
from netchat.directory.mailbox import MailRefusal, Quota
from netchat.directory.nonces import Nonces, Spent
from netchat.directory.records import open_record, open_request
from netchat.directory.refusals import refusal_of
from netchat.directory.registry import Lease, Refusal, Refused, lease_of
from netchat.directory.store import DirectoryStore
from netchat.errors import InvalidName, MalformedBody, MalformedRecord, NetChatError, RemoteError
from netchat.limits import (
    LIST_PAGE_MAX,
    LOG_PAGE_MAX,
    MAIL_FETCH_MAX,
    PAGE_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    SEQ_MAX,
    SIGNED_BODY_BYTES_MAX,
)
from netchat.model import Name, PeerId
from netchat.wire.directory_v2 import (
    NONCE_HEADER,
    OPERATOR_HEADER,
    PRESENT_HEADER,
    About,
    Kind,
    deposit_arguments,
    format_about,
    format_fetched,
    format_log,
    format_name,
    format_records,
    format_until,
    name_argument,
    number_argument,
    parse_deposit,
    parse_name,
    record_argument,
    seq_argument,
)
from netchat.wire.records import Request

log = logging.getLogger(__name__)

_RECORDS: Final = "/v2/records/"
_CHANGES: Final = {
    "/v2/keep", "/v2/leave", "/v2/mail/deposit", "/v2/mail/fetch", "/v2/mail/acknowledge",
    "/v2/operator/release",
}  # fmt: skip
_READINGS: Final = {"/v2/directory", "/v2/records", "/v2/log", "/v2/live"}


class SignedRequests:
    """Answers ``/v2/`` from ``store``. ``directory_id`` is set before the first request."""

    def __init__(
        self,
        store: DirectoryStore,
        now_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        kind: Kind,
        quota: Quota,
        token: str,
    ) -> None:
        self.directory_id = b""
        self._store = store
        self._now_ms = now_ms
        self._kind = kind
        self._quota = quota
        self._token = token.encode()
        self._nonces = Nonces(entropy)
        self._live = Live(self._waits_for)

    @property
    def _has_mailboxes(self) -> bool:
        return self._kind is Kind.LASTING

    def stop(self) -> None:
        """Let go of everybody who waits for mail, now and from now on."""
        self._live.stop()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; a nonce is in every answer."""
        try:
            response = await self._route(request)
        except RemoteError as error:
            response = refusal_of(error.reason)
        except NetChatError as error:
            log.error("request failed: %s", error)
            response = refusal_of("store-unavailable")
        if not response.prepared:
            response.headers[NONCE_HEADER] = self._fresh_nonce()
        return response

    def _fresh_nonce(self) -> str:
        return b64encode(self._nonces.make(self._now_ms())).decode()

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        method, path = request.method, request.path
        is_reading = method in ("GET", "HEAD")
        if "Origin" in request.headers and (not is_reading or path == "/v2/live"):
            # Programs send none: this is a page in somebody's browser.
            raise MalformedBody("web-page")
        if path.startswith(_RECORDS) and (is_reading or method == "PUT"):
            name = _name_of(path[len(_RECORDS) :])
            return await (self._record(name) if is_reading else self._claim(request, name))
        if is_reading and path in _READINGS:
            return await self._read(request, path)
        if method == "POST" and path in _CHANGES:
            if path.startswith("/v2/mail/") and not self._has_mailboxes:
                raise MalformedBody("no-mailboxes")
            return await self._change(request, path)
        known = path in _READINGS or path in _CHANGES or path.startswith(_RECORDS)
        raise MalformedBody("no-such-method" if known else "no-such-path")

    async def _read(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        match path:
            case "/v2/directory":
                about = About(self.directory_id, self._kind, self._has_mailboxes, self._now_ms())
                return as_json(200, format_about(about))
            case "/v2/records":
                return await self._records(request)
            case "/v2/log":
                return await self._log(request)
            case _:
                if not self._has_mailboxes:
                    raise MalformedBody("no-mailboxes")
                return await self._live.serve(request, {NONCE_HEADER: self._fresh_nonce()})

    async def _change(self, request: web.BaseRequest, path: str) -> web.Response:
        match path:
            case "/v2/keep":
                return await self._keep(request)
            case "/v2/leave":
                return await self._leave(request)
            case "/v2/mail/deposit":
                return await self._deposit(request)
            case "/v2/mail/fetch":
                return await self._fetch(request)
            case "/v2/mail/acknowledge":
                return await self._acknowledge(request)
            case _:
                return await self._release(request)

    async def _opened(self, request: web.BaseRequest, operation: str) -> tuple[PeerId, Request]:
        return self._open(await read_body(request, SIGNED_BODY_BYTES_MAX), operation)

    def _open(self, body: bytes, operation: str) -> tuple[PeerId, Request]:
        """Return who asks for what. From here on its nonce is used, whatever comes of it."""
        signer, asked = open_request(body, operation, self.directory_id)
        spent = self._nonces.spend(self._now_ms(), asked.nonce)
        if spent is not Spent.GOOD:
            raise MalformedRecord(spent.value)
        return signer, asked

    # --- names -----------------------------------------------------------------------------------

    async def _claim(self, request: web.BaseRequest, name: Name) -> web.Response:
        signer, asked = await self._opened(request, "claim")
        signed = open_record(record_argument(asked))
        if signed.record.key != signer:
            raise MalformedRecord("not-yours")
        if signed.record.name != name:
            raise MalformedRecord("malformed")
        now_ms = self._now_ms()
        with judged(request):
            verdict = await self._store.claim(signed, now_ms)
            if isinstance(verdict, Refused):
                return refusal_of(verdict.why.value, verdict.name)
            return await self._put(lease_of(now_ms, signed.record))

    async def _put(self, lease: Lease) -> web.Response:
        await self._store.put_lease(lease)
        return as_json(200, format_until(lease.expires_ms))

    async def _keep(self, request: web.BaseRequest) -> web.Response:
        signer, asked = await self._opened(request, "keep")
        name, seq = name_argument(asked), seq_argument(asked)
        present = self._store.lease(name)
        now_ms = self._now_ms()
        if present is not None and present.holder == signer.value:
            if seq in (None, present.seq):
                expires_ms = now_ms + present.length_ms
                return await self._put(replace(present, expires_ms=expires_ms))
            if present.is_live(now_ms):
                return refusal_of(Refusal.MOVED.value, present.name.shown)
        held = await self._store.held(name)
        if held is None:
            return refusal_of(Refusal.NO_SUCH_RECORD.value)
        if held.holder != signer:
            return refusal_of(Refusal.NAME_HELD.value, held.name.shown)
        if seq not in (None, held.seq):
            return refusal_of(Refusal.NO_SUCH_RECORD.value)
        return await self._put(lease_of(now_ms, open_record(held.envelope).record))

    async def _leave(self, request: web.BaseRequest) -> web.Response:
        signer, asked = await self._opened(request, "leave")
        await self._store.drop_lease(name_argument(asked), signer)
        return as_json(200, format_until(self._now_ms()))

    def _is_present(self, name: Name, holder: PeerId) -> bool:
        lease = self._store.lease(name)
        return lease is not None and lease.holder == holder.value and lease.is_live(self._now_ms())

    async def _record(self, name: Name) -> web.Response:
        held = await self._store.held(name)
        if held is None:
            return refusal_of(Refusal.NO_SUCH_RECORD.value)
        response = as_json(200, held.envelope)
        present = self._is_present(held.name, held.holder)
        response.headers[PRESENT_HEADER] = "yes" if present else "no"
        return response

    async def _records(self, request: web.BaseRequest) -> web.Response:
        after = request.query.get("after")
        limit = _number(request, "limit", LIST_PAGE_MAX, LIST_PAGE_MAX)
        page = await self._store.page(
            None if after is None else _name_of(after), limit, PAGE_BYTES_MAX
        )
        listed = [(one.envelope, self._is_present(one.name, one.holder)) for one in page]
        return as_json(200, format_records(listed, page[-1].name if page else None))

    async def _log(self, request: web.BaseRequest) -> web.Response:
        name = request.query.get("name")
        entries = await self._store.log(
            _number(request, "after", 0, SEQ_MAX),
            _number(request, "limit", LOG_PAGE_MAX, LOG_PAGE_MAX),
            None if name is None else _name_of(name),
        )
        return as_json(200, format_log(entries))

    async def _release(self, request: web.BaseRequest) -> web.Response:
        given = request.headers.get(OPERATOR_HEADER, "").encode(errors="replace")
        if not compare_digest(given, self._token):
            raise MalformedBody("not-the-operator")
        name = parse_name(await read_body(request, REQUEST_BODY_BYTES_MAX))
        with judged(request):
            if not await self._store.release(name, self._now_ms()):
                return refusal_of(Refusal.NO_SUCH_RECORD.value)
        return as_json(200, format_name(name))

    # --- mail ------------------------------------------------------------------------------------

    async def _deposit(self, request: web.BaseRequest) -> web.Response:
        body, envelope = parse_deposit(await read_body(request, SIGNED_BODY_BYTES_MAX))
        depositor, asked = self._open(body, "deposit")
        recipient, digest = deposit_arguments(asked)
        if sha256(envelope).digest() != digest:
            raise MalformedBody("malformed")
        with judged(request):
            deposited = await self._store.deposit(
                recipient, depositor, envelope, self._now_ms(), self._quota
            )
        if isinstance(deposited, MailRefusal):
            return refusal_of(deposited.value)
        self._live.wake(recipient, deposited.cursor)
        return as_json(200, format_until(deposited.until_ms))

    async def _fetch(self, request: web.BaseRequest) -> web.Response:
        signer, asked = await self._opened(request, "fetch")
        envelopes = await self._store.fetch(
            signer,
            number_argument(asked, "after"),
            min(number_argument(asked, "limit"), MAIL_FETCH_MAX),
            PAGE_BYTES_MAX,
            self._now_ms(),
        )
        return as_json(200, format_fetched(envelopes))

    async def _acknowledge(self, request: web.BaseRequest) -> web.Response:
        signer, asked = await self._opened(request, "acknowledge")
        with judged(request):
            await self._store.acknowledge(signer, number_argument(asked, "through"))
        return as_json(200, format_until(self._now_ms()))

    async def _waits_for(self, body: bytes) -> tuple[PeerId, int]:
        """Return who signed that it waits for mail, and its newest cursor."""
        signer, _ = self._open(body, "live")
        cursor = await self._store.newest_cursor(signer)
        if cursor is None:
            raise MalformedRecord(MailRefusal.NO_SUCH_RECIPIENT.value)
        return signer, cursor


def _name_of(text: str) -> Name:
    try:
        return Name(text)
    except InvalidName:
        raise MalformedBody("bad-name") from None


def _number(request: web.BaseRequest, argument: str, default: int, largest: int) -> int:
    text = request.query.get(argument, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(SEQ_MAX)):
        raise MalformedBody("malformed")
    return min(int(text), largest)
