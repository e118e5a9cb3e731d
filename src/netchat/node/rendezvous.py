"""Finding a directory, being registered there, and staying so when it goes away.

Where it is told (``--directory``, ``NETCHAT_DIRECTORY``) it uses that one. Else it takes the one on
this machine's default port, and when there is none it hosts a *meeting point* itself: binding the
port is the election, so two that start at once never both host. When the host goes, the others
notice within ``HEARTBEAT_LOCAL_S``, one of them binds the port, and all register again.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Protocol, TypeVar

from netchat.api import DirectoryLost, Event, NameMoved, Registered
from netchat.delivery.inputs import Found
from netchat.directory.client import DirectoryClient
from netchat.errors import (
    AddressInUse,
    DirectoryError,
    DirectoryRefused,
    DirectoryUnreachable,
    InvalidAddress,
    StoreUnavailable,
)
from netchat.limits import (
    HEARTBEAT_LOCAL_S,
    HEARTBEAT_REMOTE_S,
    HOST_TRIES_MAX,
    PROBE_TIMEOUT_S,
    SEQ_MAX,
    SILENT_TRIES_MAX,
)
from netchat.model import Address, Name, SignedRecord
from netchat.node.introduction import Introduction

T = TypeVar("T")


class MeetingPoint(Protocol):
    """A directory inside this process."""

    async def stop(self) -> None: ...


HostMeetingPoint = Callable[[int], Awaitable[MeetingPoint]]
"""Starts one on loopback at that port; raises AddressInUse when somebody else has it."""


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` means this machine without leaving it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Rendezvous:
    """The directory in use.

    ``introduction`` is what we say about ourselves, ``advertised`` where we are now. ``tell`` gets
    events, ``jitter`` spreads what many do at once, and ``changed`` hears when we are registered at
    another directory than before.
    """

    def __init__(
        self,
        name: Name,
        url: str | None,
        port: int,
        host_meeting_point: HostMeetingPoint,
        introduction: Introduction,
        advertised: Callable[[], Awaitable[Address]],
        tell: Callable[[Event], None],
        jitter: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        self._name = name
        self._introduction = introduction
        self._changed = changed
        self._url = url
        self._port = port
        self._host_meeting_point = host_meeting_point
        self._advertised = advertised
        self._tell = tell
        self._jitter = jitter
        self._client: DirectoryClient | None = None
        self._meeting_point: MeetingPoint | None = None
        self._searching = asyncio.Lock()
        self._address: Address | None = None
        self._claimed: SignedRecord | None = None
        self._mailboxes = False
        self._wanted = False
        self._registered = False
        self._lost = False
        self._searches = 0
        self._closed = False

    @property
    def client(self) -> DirectoryClient:
        assert self._client is not None, "find() comes first"
        return self._client

    @property
    def is_local(self) -> bool:
        return is_loopback(self.client.host)

    # --- finding ---------------------------------------------------------------------------------

    async def find(self) -> None:
        """Have a directory to ask.

        Raises:
            InvalidUrl: the one that was told is no URL of a directory.
            DirectoryUnreachable: ``port-taken``: something on the default port is no directory.
            AddressInUse: that port may not be listened on.
        """
        if self._url is not None:
            await self._use(DirectoryClient(self._url))
            return
        url = f"http://127.0.0.1:{self._port}"
        silent = 0
        for _ in range(HOST_TRIES_MAX):
            problem = await self._probe(url)
            if problem is None:
                await self._use(DirectoryClient(url))
                return
            try:
                self._meeting_point = await self._host_meeting_point(self._port)
            except AddressInUse as error:
                if error.reason != "in-use":
                    raise
                silent += problem.reason == "timeout"
                if silent == SILENT_TRIES_MAX:
                    break
                await asyncio.sleep(0.05 + 0.05 * self._jitter())
        raise DirectoryUnreachable(url, "port-taken")

    async def _probe(self, url: str) -> DirectoryError | None:
        """Tell why what is at ``url`` is no directory, or None when it is one."""
        async with DirectoryClient(url, PROBE_TIMEOUT_S) as probe:
            try:
                await probe.list()
            except DirectoryError as error:
                return error
            # Nobody named it, so any web server on that port would do without this.
            return None if probe.is_netchat else DirectoryUnreachable(url, "not-a-directory")

    async def _use(self, client: DirectoryClient) -> None:
        if self._client is not None:
            await self._client.close()
        self._client = client
        self._claimed = None
        self._mailboxes = False

    async def _recover(self, lost: DirectoryClient) -> None:
        """Find what comes after ``lost`` and register there, or leave it to a later beat.

        Of many that notice at once, one looks; the others take what it finds, or finds not.
        """
        searches = self._searches
        async with self._searching:
            if self._client is not lost or self._searches != searches or self._closed:
                return
            if self._meeting_point is not None:
                return  # our own process hosts it, so it is slow, not gone
            self._searches += 1
            self._note_loss(lost)
            with contextlib.suppress(DirectoryError, AddressInUse, StoreUnavailable):
                if self._url is None:
                    await self.find()
                    await self._come_back()

    def _note_loss(self, lost: DirectoryClient) -> None:
        if not self._lost:
            self._lost = True
            self._tell(DirectoryLost(lost.url))

    # --- being registered ------------------------------------------------------------------------

    async def register(self) -> None:
        """Enter the directory.

        Raises:
            DirectoryError: as ``DirectoryClient``; ``stay`` goes on trying if it did not answer.
            InvalidAddress: a classic list cannot hold our address.
        """
        self._wanted = True
        try:
            await self._enter()
        except (DirectoryRefused, InvalidAddress):
            self._wanted = False
            raise
        except DirectoryUnreachable:
            self._lost = True
            raise

    async def _come_back(self) -> None:
        """Register where we were before, or for the first time."""
        if self._wanted:
            await self._enter()

    async def _enter(self) -> None:
        """Be registered: with a signed record where the directory knows such, else as classic
        clients are."""
        client = self.client
        address = Address.parse_reachable(str(await self._advertised()))
        about = await client.about()
        if about is None:
            await client.register(self._name, address)
        else:
            signed = await self._introduction.renew((address,), mailboxes=about.mailboxes)
            await self._claim_or_keep(client, signed)
            self._mailboxes = about.mailboxes
        self._address = address
        if self._lost or not self._registered:
            hosted = self._meeting_point is not None
            again = self._registered
            self._tell(Registered(client.url, str(address), hosted, again))
            self._changed()
        self._lost = False
        self._registered = True

    async def _claim_or_keep(self, client: DirectoryClient, signed: SignedRecord) -> None:
        """Claim with a record that is new to this directory, else only prolong the lease."""
        identity = self._introduction.identity
        if self._claimed is signed:
            try:
                await client.keep(identity, self._name, signed.record.seq)
            except DirectoryRefused as refusal:
                if refusal.refusal != "no-such-record":
                    raise
            else:
                return
        try:
            await client.claim(identity, signed)
        except DirectoryRefused as refusal:
            there = await client.record(self._name) if refusal.refusal == "stale" else None
            own = identity.peer_id
            if there is None or there.record.key != own or there.record.seq >= SEQ_MAX:
                raise  # only a number that this key has signed says how high it is
            signed = await self._renumbered(signed, there.record.seq)
            await client.claim(identity, signed)
        self._claimed = signed

    async def _renumbered(self, signed: SignedRecord, above: int) -> SignedRecord:
        """This key was here with a higher number: from another computer, or before its clock went
        back."""
        addresses = signed.record.addresses
        return await self._introduction.renew(
            addresses, mailboxes=bool(signed.record.prekey), above=above
        )

    async def stay(self) -> None:
        """Keep the registration alive; cancel it to end it."""
        while True:
            known = self._registered and not self._lost  # else it is not told yet which kind it is
            quick = not known or (self.is_local and self.client.is_netchat)
            await asyncio.sleep(HEARTBEAT_LOCAL_S if quick else HEARTBEAT_REMOTE_S)
            if self._wanted:
                await self._beat()

    async def _beat(self) -> None:
        client = self.client
        try:
            await self._come_back()
        except DirectoryRefused as refusal:
            if refusal.status != 409:
                self._note_loss(client)
            elif not self._lost:
                self._lost = True  # a later beat takes the name back when the other has left
                self._tell(NameMoved(client.url))
        except InvalidAddress:
            self._note_loss(client)
        except StoreUnavailable:
            pass  # our own disk does not take the number of a new record; a later beat asks again
        except DirectoryUnreachable:
            await self._recover(client)

    async def leave(self) -> None:
        """End the registration; the name stays claimed. Asking goes on working until ``close``."""
        if self._wanted and self._claimed is not None:
            self._wanted = False
            with contextlib.suppress(DirectoryError):  # it forgets us when the lease ends
                await self.client.leave(self._introduction.identity, self._name)

    async def close(self) -> None:
        """Let go of the directory, and end the meeting point if it is ours."""
        self._closed = True
        async with self._searching:
            if self._client is not None:
                await self._client.close()
            if self._meeting_point is not None:
                await self._meeting_point.stop()

    # --- asking ----------------------------------------------------------------------------------

    async def names(self) -> Sequence[Name]:
        """Return who is present. Raises DirectoryError."""
        entries = await self._ask(lambda client: client.list())
        return [name for name, _ in entries]

    async def locate(self, name: Name) -> Found:
        """Return what the directory says of ``name``. Raises DirectoryError."""
        return await self._ask(lambda client: _find(client, name))

    async def record(self, name: Name) -> SignedRecord | None:
        """Return the signed record of ``name``, None when there is none. Raises DirectoryError."""
        return (await self.locate(name)).record

    @property
    def mail_client(self) -> DirectoryClient | None:
        """The directory in use, when we are registered there and it has mailboxes."""
        return self._client if self._mailboxes and not self._closed else None

    async def _ask(self, question: Callable[[DirectoryClient], Awaitable[T]]) -> T:
        """Ask the directory; when it is gone, ask the one that comes after it, once."""
        client = self._open_client()
        try:
            return await question(client)
        except DirectoryUnreachable:
            await self._recover(client)
            successor = self._open_client()
            if successor is client:
                raise
        return await question(successor)

    def _open_client(self) -> DirectoryClient:
        if self._closed:
            raise DirectoryUnreachable(self.client.url, "no-connection")
        return self.client


async def _find(client: DirectoryClient, name: Name) -> Found:
    """Ask for a signed record, and for a classic entry where there is none."""
    if await client.about() is not None:
        listed = await client.find(name)
        if listed is not None:
            return Found(listed.signed, None, listed.is_present)
    return Found(None, await client.lookup(name))
