"""The links of a node: which are open, whose they are, and what comes and goes over them.

It turns frames into inputs for the pump and orders into frames. Whether the holder of a key may
speak under its name is decided below; that the key is really the link's is checked here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from netchat.delivery.effects import Acknowledge, OpenLink, Transmit
from netchat.delivery.inputs import (
    ConfirmArrived,
    Input,
    ItemsArrived,
    LinkClosed,
    LinkFailed,
    LinkOpened,
    ReceiptArrived,
)
from netchat.directory.records import open_record
from netchat.errors import RemoteError
from netchat.limits import FRAME_ITEMS_MAX
from netchat.model import Name, PeerId, SignedRecord
from netchat.transport.dialer import DialError
from netchat.transport.link import Credentials, Link, dial_link
from netchat.transport.pool import LinkFacts, keeps
from netchat.wire.frames import Confirm, Frame, Hello, Items, Receipt, split_items

Elsewhere = Callable[[Name, PeerId], Awaitable[SignedRecord | None]]
"""Returns what the directory holds under a name, unless that very key is pinned for it already."""


class Links:
    """``LinkEvents`` of all links, by number and by key. All of it runs on the loop."""

    def __init__(
        self,
        credentials: Credentials,
        hello: Callable[[], Hello],
        tasks: asyncio.TaskGroup,
        submit: Callable[[Input], None],
        jitter: Callable[[], float],
        elsewhere: Elsewhere,
        is_full: Callable[[], bool],
    ) -> None:
        self._credentials = credentials
        self._hello = hello
        self._tasks = tasks
        self._submit = submit
        self._jitter = jitter
        self._elsewhere = elsewhere
        self._is_full = is_full
        self._count = 0
        self._numbers: dict[Link, int] = {}
        self._links: dict[int, Link] = {}
        self._by_key: dict[PeerId, Link] = {}
        self._names: dict[Link, Name] = {}
        self._pending: dict[Link, list[Frame]] = {}
        self._paused: set[Link] = set()
        self._dialling: dict[Name, asyncio.Task[None]] = {}
        self._dialled: dict[PeerId, Name] = {}
        """As whom each key was dialled last; it may call itself another name."""
        self._introducing: dict[Link, asyncio.Task[None]] = {}
        self._is_closed = False

    def is_linked(self, name: Name) -> bool:
        """Tell whether a link to somebody of this name is open, and the engine was told."""
        return any(one == name for link, one in self._names.items() if link not in self._pending)

    def __len__(self) -> int:
        return len(self._links)

    # --- orders ----------------------------------------------------------------------------------

    def open(self, order: OpenLink) -> None:
        """Dial, unless that is under way; ends in ``LinkOpened`` or ``LinkFailed``."""
        if order.peer not in self._dialling and not self._is_closed:
            self._dialled[order.key] = order.peer
            task = self._tasks.create_task(self._dial(order))
            self._dialling[order.peer] = task
            task.add_done_callback(lambda _: self._dialling.pop(order.peer, None))

    async def _dial(self, order: OpenLink) -> None:
        reason = "unreachable"
        for address in order.addresses:
            try:
                link = await dial_link(address, order.key, self._credentials, self._hello, self)
            except DialError as error:
                reason = error.reason
                continue
            standing = self._by_key.get(order.key)  # this one, or one that was there before
            if standing is None:
                reason = "wrong-record"
                break
            if self._names[standing] != order.peer:
                reason = "other-name"
                break
            if standing is not link:
                # The engine hears of that one first, if it ever does; else it has to try again.
                if (introducing := self._introducing.get(standing)) is not None:
                    await asyncio.wait([introducing])
                reason = "duplicate"
                break
            self._dialling.pop(order.peer, None)
            return
        self._dialling.pop(order.peer, None)
        self._dialled.pop(order.key, None)
        self._submit(LinkFailed(order.peer, reason, self._jitter()))

    def transmit(self, order: Transmit) -> None:
        if (link := self._links.get(order.link)) is None:
            return
        # First what is here, so that word of having read it finds it delivered.
        for start in range(0, len(order.confirms), FRAME_ITEMS_MAX):
            link.send(Confirm(order.confirms[start : start + FRAME_ITEMS_MAX]))
        if order.items:
            for frame in split_items(order.base, order.items):
                link.send(frame)

    def acknowledge(self, order: Acknowledge) -> None:
        if (link := self._links.get(order.link)) is not None:
            link.send(Receipt(order.ranges, order.results))

    def close(self, number: int, code: str) -> None:
        if (link := self._links.get(number)) is not None:
            link.close(code)

    def close_all(self, code: str) -> None:
        """End every link; what was not confirmed on them comes again on later ones."""
        for link in list(self._links.values()):
            link.close(code)

    async def stop(self) -> None:
        """End every link, and whatever would become one."""
        self._is_closed = True
        for task in (*self._dialling.values(), *self._introducing.values()):
            task.cancel()
        self.close_all("leaving")

    def relieve(self) -> None:
        """Read on from links that had to wait for the disk."""
        if self._paused and not self._is_full():
            for link in self._paused:
                link.resume_reading()
            self._paused.clear()

    # --- LinkEvents ------------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        try:
            signed = open_record(link.hello.record)
        except RemoteError:
            link.close("bad-record")
            return
        if signed.record.key != link.key or self._is_closed:
            link.close("wrong-record" if signed.record.key != link.key else "leaving")
            return
        older = self._by_key.get(link.key)
        if older is not None:
            if keeps(self._facts(older), self._facts(link), self._credentials.peer_id):
                link.close("duplicate")
                return
            if self._pending.pop(older, None) is not None:  # nor introduced behind this one
                del self._names[older]
            older.close("replaced")
        self._count += 1
        self._numbers[link] = self._count
        self._links[self._count] = link
        self._by_key[link.key] = link
        self._names[link] = signed.record.name
        if link.is_dialler and self._dialled.get(link.key) == signed.record.name:
            # Name and key came together, from a pin or a record that was looked up.
            self._submit(LinkOpened(self._count, signed, link.hello.stream, is_dialled=True))
            return
        self._pending[link] = []
        task = self._introducing[link] = self._tasks.create_task(self._introduce(link, signed))
        task.add_done_callback(lambda _: self._introducing.pop(link, None))

    def _facts(self, link: Link) -> LinkFacts:
        return LinkFacts(link.key, link.hello.instance, link.is_dialler)

    async def _introduce(self, link: Link, signed: SignedRecord) -> None:
        """Ask what the directory says of a name that we do not know yet; frames wait meanwhile."""
        link.pause_reading()
        elsewhere = await self._elsewhere(signed.record.name, link.key)
        frames = self._pending.pop(link, None)
        number = self._numbers.get(link)
        if frames is None or number is None:
            return  # it ended, or another took its place
        self._submit(LinkOpened(number, signed, link.hello.stream, elsewhere))
        self._take(number, frames)
        link.resume_reading()

    def link_received(self, link: Link, frames: Sequence[Frame]) -> None:
        if (waiting := self._pending.get(link)) is not None:
            waiting.extend(frames)
            return
        if (number := self._numbers.get(link)) is not None:
            self._take(number, frames)
            if self._is_full():
                link.pause_reading()
                self._paused.add(link)

    def _take(self, number: int, frames: Sequence[Frame]) -> None:
        for frame in frames:
            match frame:
                case Items(base, items):
                    self._submit(ItemsArrived(number, base, items))
                case Receipt(ranges, results):
                    self._submit(ReceiptArrived(number, ranges, results))
                case Confirm(results):
                    self._submit(ConfirmArrived(number, results))
                case _:
                    pass  # the session takes the others for itself

    def link_lost(self, link: Link, reason: str) -> None:
        number = self._numbers.pop(link, None)
        if number is None:
            return
        del self._links[number]
        self._names.pop(link, None)
        self._pending.pop(link, None)
        self._paused.discard(link)
        if self._by_key.get(link.key) is link:
            del self._by_key[link.key]
        self._submit(LinkClosed(number, link.said_bye or reason, self._jitter()))

    def link_writable(self, link: Link) -> None:
        """Nothing to do: what may be on its way is bounded by the window of its lane."""
