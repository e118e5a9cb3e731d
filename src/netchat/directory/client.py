"""The node's side of the directory: the classic requests, and the signed ones where they are known.

It speaks to any classic directory. Each request is bounded in time and size; what an answer says is
checked before anything above sees it, and a record is opened and verified here.
"""

import asyncio
from base64 import b64decode
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import TracebackType
from typing import Self, TypeVar

from yarl import URL

from netchat.directory.exchange import Answer, Exchange
from netchat.directory.records import open_record, sign_request
from netchat.errors import (
    DirectoryRefused,
    DirectoryUnreachable,
    InvalidUrl,
    MalformedBody,
    RemoteError,
)
from netchat.identity.keys import Identity
from netchat.limits import (
    ADDRESSES_MAX,
    DIRECTORY_REQUESTS_MAX,
    DIRECTORY_TIMEOUT_S,
    ERROR_BYTES_MAX,
    LIST_PAGE_MAX,
    LOG_PAGE_MAX,
    NONCE_BYTES_MAX,
)
from netchat.model import Address, DisplayText, Name, PeerId, SignedRecord
from netchat.wire.directory import (
    Verb,
    format_registration,
    parse_list,
    parse_lookup,
)
from netchat.wire.directory_v2 import (
    DIGEST_BYTES,
    OPERATOR_HEADER,
    About,
    LogEntry,
    format_deposit,
    format_name,
    parse_about,
    parse_fetched,
    parse_log,
    parse_mail,
    parse_records,
    parse_refused,
    parse_until,
)

T = TypeVar("T")

_TRY_AGAIN = {"bad-nonce", "wrong-directory"}
"""Refusals that a fresh nonce, or a fresh look at the directory, puts right."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A record that a directory gave; ``is_present`` while the lease of its name lives."""

    signed: SignedRecord
    is_present: bool


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records in the order of their names; ``next`` asks for those behind, None at the end."""

    listed: tuple[Listed, ...]
    next: Name | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """Envelopes with their cursors, which ascend."""

    envelopes: tuple[tuple[int, bytes], ...]


def parse_url(text: str) -> str:
    """Return the ``http://host:port`` that ``text`` means; a bare HOST:PORT is understood too.

    Raises:
        InvalidUrl: it names no host, or something that is not plain HTTP.
    """
    try:
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme != "http" or not url.host or url.user or url.path not in ("", "/"):
            raise InvalidUrl(text)
        url.host.encode("idna")  # as the resolver will, which has no error of ours to say
        return str(url.origin())
    except ValueError:
        raise InvalidUrl(text) from None


class DirectoryClient:
    """Asks the directory at ``url``; use it as an async context manager, or ``close`` it.

    Every method may raise:
        DirectoryUnreachable: no answer in ``timeout_s``, or none that a directory gives.
        DirectoryRefused: it said no. ``refusal`` is the code; ``classic-only`` from us when it is
            asked for what a classic directory does not know.
    """

    def __init__(self, url: str, timeout_s: float = DIRECTORY_TIMEOUT_S) -> None:
        self.url = parse_url(url)
        self.is_netchat = False
        """Whether its last answer said that it is one of ours."""
        self._timeout_s = timeout_s
        self._exchange = Exchange(self.url, timeout_s)
        self._about: About | None = None
        self._is_known = False
        self._nonces: deque[bytes] = deque(maxlen=DIRECTORY_REQUESTS_MAX)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._exchange.close()

    @property
    def host(self) -> str:
        return URL(self.url).host or ""

    @property
    def port(self) -> int:
        return URL(self.url).port or 80

    # --- classic ---------------------------------------------------------------------------------

    async def register(self, name: Name, address: Address) -> None:
        """Register as a classic client does; the entry stays for a day, whoever leaves."""
        await self._ask("POST", "/", format_registration(Verb.UPDATE, name, address))

    async def list(self) -> Sequence[tuple[Name, Address]]:
        """Return who is present at an IPv4 address, in the order of the directory."""
        body = (await self._ask("GET", "/userlist.txt")).body
        if body.count(b"\n") > ADDRESSES_MAX:
            raise DirectoryUnreachable(self.url, "not-a-directory")
        # A full list takes seconds to read, in which messages still come and go.
        return await asyncio.to_thread(self._checked, parse_list, body)

    async def lookup(self, name: Name) -> Address | None:
        """Return where ``name`` is; None when the directory knows nobody of that name."""
        try:
            answer = await self._ask("GET", f"/userlist.txt?username={name}")
        except DirectoryRefused as refusal:
            if refusal.status == 404:
                return None
            raise
        return self._checked(parse_lookup, answer.body)

    # --- which kind it is ------------------------------------------------------------------------

    async def about(self) -> About | None:
        """Return what the directory says of itself; None when it is a classic one.

        Asked once. It is unreachable only when it does not answer a classic request either.
        """
        if not self._is_known:
            self._about = await self._ask_about()
            self._is_known = True
        return self._about

    async def _ask_about(self) -> About | None:
        try:
            answer = await self._exchange.ask("GET", "/v2/directory")
        except DirectoryUnreachable as problem:
            await self._expect_classic(problem)
            return None
        self.is_netchat = answer.is_netchat
        if answer.status == 200:
            try:
                about = parse_about(answer.body)
            except MalformedBody as error:
                if self.is_netchat:
                    raise DirectoryUnreachable(self.url, "not-a-directory") from error
                return None
            self._keep_nonce(answer)
            return about
        if self.is_netchat and answer.status not in (400, 404, 405):
            raise self._refusal(answer)
        return None

    async def _expect_classic(self, problem: DirectoryUnreachable) -> None:
        """Return if a classic directory is there: some hang up on, or hang at, what is new."""
        if problem.reason == "no-connection":
            raise problem
        try:
            await self.list()
        except (DirectoryUnreachable, DirectoryRefused):
            raise problem from None
        if self.is_netchat:
            raise problem

    async def _netchat(self) -> About:
        about = await self.about()
        if about is None:
            raise DirectoryRefused(
                self.url, "This is a classic directory.", 404, refusal="classic-only"
            )
        return about

    # --- names -----------------------------------------------------------------------------------

    async def claim(self, identity: Identity, signed: SignedRecord) -> None:
        """Claim the name of a record, or renew it; present for its ``lease_s`` from now on."""
        name = signed.record.name
        await self._signed(
            identity, "PUT", f"/v2/records/{name}", "claim", {"record": signed.envelope.decode()}
        )

    async def keep(self, identity: Identity, name: Name, seq: int | None = None) -> None:
        """Stay present for as long again as the record says; with ``seq``, that very record.

        ``moved``: a newer record of this key stands there, from another computer that is present.
        """
        arguments: dict[str, str | int] = {"name": name.shown}
        if seq is not None:
            arguments["seq"] = seq
        await self._signed(identity, "POST", "/v2/keep", "keep", arguments)

    async def leave(self, identity: Identity, name: Name) -> None:
        """Be present no more; the name stays claimed."""
        await self._signed(identity, "POST", "/v2/leave", "leave", {"name": name.shown})

    async def record(self, name: Name) -> SignedRecord | None:
        """Return the record of ``name``, opened and verified; None when no key holds the name."""
        found = await self.find(name)
        return None if found is None else found.signed

    async def find(self, name: Name) -> Listed | None:
        """Return the record of ``name`` and whether it is present."""
        await self._netchat()
        try:
            answer = await self._ask("GET", f"/v2/records/{name}")
        except DirectoryRefused as refusal:
            if refusal.refusal == "no-such-record":
                return None
            raise
        signed = self._checked(open_record, answer.body)
        if signed.record.name != name:
            raise DirectoryUnreachable(self.url, "not-a-directory")
        return Listed(signed, answer.present == "yes")

    async def records(self, after: Name | None = None, limit: int = LIST_PAGE_MAX) -> RecordPage:
        """Return a page of records, opened and verified."""
        await self._netchat()
        behind = "" if after is None else f"&after={after}"
        answer = await self._ask("GET", f"/v2/records?limit={limit}{behind}")
        # Each signature takes 0.1 ms.
        return await asyncio.to_thread(self._checked, _opened_page, answer.body)

    async def log(
        self, after: int = 0, limit: int = LOG_PAGE_MAX, name: Name | None = None
    ) -> Sequence[LogEntry]:
        """Return entries of the name log behind number ``after``, or only those of ``name``.

        They are chained: nothing between them was changed or left out, but of other names.
        """
        await self._netchat()
        of = "" if name is None else f"&name={name}"
        answer = await self._ask("GET", f"/v2/log?after={after}&limit={limit}{of}")
        entries = self._checked(parse_log, answer.body)
        if not _follows(entries, after, name):
            raise DirectoryUnreachable(self.url, "not-a-directory")
        return entries

    async def release(self, name: Name, token: str) -> bool:
        """Take ``name`` from its key, as the operator; False when no key holds it."""
        try:
            await self._ask(
                "POST", "/v2/operator/release", format_name(name), {OPERATOR_HEADER: token}
            )
        except DirectoryRefused as refusal:
            if refusal.refusal == "no-such-record":
                return False
            raise
        return True

    # --- mail ------------------------------------------------------------------------------------

    async def deposit(self, identity: Identity, recipient: PeerId, envelope: bytes) -> int:
        """Leave a sealed envelope for ``recipient``; return until when it is kept."""
        digest = sha256(envelope).hexdigest()
        answer = await self._signed(
            identity,
            "POST",
            "/v2/mail/deposit",
            "deposit",
            {"recipient": str(recipient), "sha256": digest},
            envelope,
        )
        return self._checked(parse_until, answer.body)

    async def fetch(self, identity: Identity, after: int, limit: int) -> Fetched:
        """Return envelopes of our mailbox behind the cursor ``after``; fewer than ``limit`` when
        they are large, none when there are none."""
        arguments = {"after": after, "limit": limit}
        answer = await self._signed(identity, "POST", "/v2/mail/fetch", "fetch", arguments)
        envelopes = self._checked(parse_fetched, answer.body)
        if envelopes and envelopes[0][0] <= after:
            raise DirectoryUnreachable(self.url, "not-a-directory")
        return Fetched(envelopes)

    async def acknowledge(self, identity: Identity, through: int) -> None:
        """Have everything up to the cursor ``through`` removed from our mailbox."""
        await self._signed(
            identity, "POST", "/v2/mail/acknowledge", "acknowledge", {"through": through}
        )

    async def live(self, identity: Identity) -> AsyncGenerator[int, None]:
        """Yield the newest cursor of our mailbox, at once and whenever mail comes.

        Close it (``contextlib.aclosing``). It ends with an error only; ``replaced`` says that the
        same key waits elsewhere.
        """
        if not (await self._netchat()).mailboxes:
            raise DirectoryRefused(
                self.url, "This directory keeps no mail.", 404, refusal="no-mailboxes"
            )
        has_tried = False
        while True:
            request = await self._request(identity, "live", {})
            try:
                async with self._exchange.talk("/v2/live", request.decode()) as talk:
                    yield self._heard(await talk.hear(self._timeout_s))
                    has_tried = False
                    while True:
                        yield self._heard(await talk.hear(None))
            except DirectoryRefused as refusal:
                if has_tried or refusal.refusal not in _TRY_AGAIN:
                    raise
                has_tried = True
                self._forget(refusal)

    def _heard(self, message: bytes) -> int:
        try:
            return parse_mail(message)
        except MalformedBody:
            raise self._refusal(Answer(409, message, is_netchat=True)) from None

    # --- signed requests -------------------------------------------------------------------------

    async def _signed(
        self,
        identity: Identity,
        method: str,
        path: str,
        operation: str,
        arguments: Mapping[str, str | int],
        envelope: bytes | None = None,
    ) -> Answer:
        """Ask for something once; and once more when only the nonce was wrong."""

        async def ask() -> Answer:
            body = await self._request(identity, operation, arguments)
            return await self._ask(
                method, path, body if envelope is None else format_deposit(body, envelope)
            )

        try:
            return await ask()
        except DirectoryRefused as refusal:
            if refusal.refusal not in _TRY_AGAIN:
                raise
            self._forget(refusal)
        return await ask()

    async def _request(
        self, identity: Identity, operation: str, arguments: Mapping[str, str | int]
    ) -> bytes:
        about = await self._netchat()
        if not self._nonces:
            await self._ask("GET", "/v2/directory")
        if not self._nonces:
            raise DirectoryUnreachable(self.url, "not-a-directory")
        nonce = self._nonces.pop()
        return sign_request(identity, operation, about.directory_id, nonce, arguments)

    def _forget(self, refusal: DirectoryRefused) -> None:
        """Forget what was refused; nonces that are as old as that one are no better."""
        self._nonces.clear()
        if refusal.refusal == "wrong-directory":
            self._is_known = False

    def _keep_nonce(self, answer: Answer) -> None:
        try:
            nonce = b64decode(answer.nonce, validate=True)
        except ValueError:
            return
        if 0 < len(nonce) <= NONCE_BYTES_MAX:
            self._nonces.append(nonce)

    # --- answers ---------------------------------------------------------------------------------

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        answer = await self._exchange.ask(method, path, body, headers)
        self.is_netchat = answer.is_netchat
        self._keep_nonce(answer)
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    def _refusal(self, answer: Answer) -> DirectoryRefused:
        try:
            code, reason = parse_refused(answer.body)
        except MalformedBody:
            code, reason = "", answer.body[:ERROR_BYTES_MAX].decode(errors="replace")
        shown = str(DisplayText(reason[:ERROR_BYTES_MAX].strip()))
        return DirectoryRefused(self.url, shown, answer.status, refusal=code)

    def _checked(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except RemoteError as error:
            raise DirectoryUnreachable(self.url, "not-a-directory") from error


def _opened_page(body: bytes) -> RecordPage:
    records, following = parse_records(body)
    listed = tuple(Listed(open_record(envelope), present) for envelope, present in records)
    return RecordPage(listed, following)


def _follows(entries: Sequence[LogEntry], after: int, name: Name | None) -> bool:
    """Tell whether these are the entries that were asked for."""
    if name is not None:
        return all(one.name == name and one.n > after for one in entries)
    if entries and after == 0 and entries[0].previous != bytes(DIGEST_BYTES):
        return False
    return all(one.n == after + number for number, one in enumerate(entries, 1))
