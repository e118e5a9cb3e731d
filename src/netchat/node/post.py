"""Sealed mail: puts envelopes into the mailboxes of others, and fetches and opens our own.

What was in an envelope is on this disk before the mailbox is told to forget it. One that cannot be
opened is let go: its sender keeps a copy until we confirm it, and sends it again another way.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from netchat.delivery import ranges
from netchat.delivery.effects import Deposit
from netchat.delivery.inputs import Deposited, DepositFailed, Input, MailArrived
from netchat.directory.client import DirectoryClient
from netchat.errors import (
    BadEnvelope,
    DirectoryError,
    DirectoryRefused,
    RemoteError,
    StoreUnavailable,
)
from netchat.identity.seal import prekey_id_of, seal, unseal
from netchat.limits import HEARTBEAT_REMOTE_S, MAIL_FETCH_MAX, MAIL_SETTLE_S
from netchat.model import Name
from netchat.node.introduction import Introduction
from netchat.node.links import Elsewhere
from netchat.wire.mail import MailBody, decode_mail, encode_mail

Secret = Callable[[bytes], Awaitable[bytes | None]]
"""Returns the secret of a prekey by its id, if it is not erased yet."""


class Post:
    """``client`` is the directory in use, None when it has no mailboxes."""

    def __init__(
        self,
        name: Name,
        introduction: Introduction,
        client: Callable[[], DirectoryClient | None],
        submit: Callable[[Input], None],
        jitter: Callable[[], float],
        secret: Secret,
        elsewhere: Elsewhere,
    ) -> None:
        self._name = name
        self._introduction = introduction
        self._client = client
        self._submit = submit
        self._jitter = jitter
        self._secret = secret
        self._elsewhere = elsewhere
        self._settled: dict[int, asyncio.Future[None]] = {}
        self._count = 0
        self._wake = asyncio.Event()

    # --- out -------------------------------------------------------------------------------------

    async def deposit(self, order: Deposit) -> None:
        """Seal and hand in; ends in ``Deposited`` or ``DepositFailed``."""
        body = MailBody(
            self._name, self._introduction.stream, order.base, order.items, order.confirms
        )
        client = self._client()
        try:
            if client is None:
                raise DirectoryRefused("", "", 404, "no-mailboxes")
            identity = self._introduction.identity
            envelope = seal(identity, order.key, order.prekey, encode_mail(body))
            until_ms = await client.deposit(identity, order.key, envelope)
        except (DirectoryError, BadEnvelope) as error:
            reason = error.code
            if isinstance(error, DirectoryRefused):
                reason = error.refusal or reason
            self._submit(DepositFailed(order.peer, reason, self._jitter()))
            return
        numbers = ranges.of(item.seq for item in order.items)
        owed = tuple(item_id for item_id, _ in order.confirms)
        jitter = self._jitter()
        self._submit(Deposited(order.peer, numbers, owed, until_ms, order.key, jitter))

    # --- in --------------------------------------------------------------------------------------

    def wake(self) -> None:
        """There is a directory now, perhaps another one: look into the mailbox."""
        self._wake.set()

    def settled(self, mail: int) -> None:
        """What was in this envelope is on disk."""
        future = self._settled.get(mail)
        if future is not None and not future.done():
            future.set_result(None)

    async def watch(self) -> None:
        """Fetch whenever the directory says that there is something, for ever."""
        while True:
            self._wake.clear()
            client = self._client()
            if client is not None:
                with contextlib.suppress(DirectoryError, StoreUnavailable):
                    try:
                        await self._listen(client)
                    except DirectoryError:
                        # Whoever wants that may take all places to wait, or cut us off: so ask.
                        await self._fetch(client, 0)
            with contextlib.suppress(TimeoutError):
                # Woken, or a little later by ourselves: the stream may have ended without a word.
                pause_s = HEARTBEAT_REMOTE_S * (0.1 + 0.4 * self._jitter())
                async with asyncio.timeout(pause_s if client is not None else None):
                    await self._wake.wait()

    async def _listen(self, client: DirectoryClient) -> None:
        done = 0
        async with aclosing(client.live(self._introduction.identity)) as cursors:
            async for cursor in cursors:
                if cursor > done:
                    done, is_all = await self._fetch(client, done)
                    if not is_all:
                        return  # a little later all that is left is looked at again
                if self._client() is not client:
                    return

    async def _fetch(self, client: DirectoryClient, after: int) -> tuple[int, bool]:
        """Take everything behind ``after``; return up to where it is settled, and whether that is
        all."""
        identity = self._introduction.identity
        while True:
            fetched = await client.fetch(identity, after, MAIL_FETCH_MAX)
            if not fetched.envelopes:
                return after, True
            try:
                waiting = [
                    (cursor, await self._take(envelope)) for cursor, envelope in fetched.envelopes
                ]
                for cursor, mail in waiting:
                    if mail is not None and not await self._is_settled(mail):
                        return after, False  # it stays in the mailbox
                    after = cursor
            finally:
                self._settled.clear()
            await client.acknowledge(identity, after)

    async def _is_settled(self, mail: int) -> bool:
        try:
            async with asyncio.timeout(MAIL_SETTLE_S):
                await self._settled[mail]
        except TimeoutError:
            return False
        return True

    async def _take(self, envelope: bytes) -> int | None:
        """Open an envelope and submit what is in it; None when it cannot be opened."""
        try:
            secret = await self._secret(prekey_id_of(envelope))
            if secret is None:
                return None
            own_key = self._introduction.identity.peer_id
            sender, data = unseal(own_key, secret, envelope)
            body = decode_mail(data)
        except RemoteError:
            return None
        elsewhere = await self._elsewhere(body.name, sender)
        self._count += 1
        self._settled[self._count] = asyncio.get_running_loop().create_future()
        self._submit(
            MailArrived(
                self._count,
                sender,
                body.name,
                body.stream,
                body.base,
                body.items,
                body.confirms,
                elsewhere,
                data,
            )
        )
        return self._count
