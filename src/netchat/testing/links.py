"""What ``node.links`` does, done in virtual time: which links are open, and whose they are."""

from netchat.delivery.effects import Acknowledge, OpenLink, Transmit
from netchat.delivery.inputs import (
    ConfirmArrived,
    ItemsArrived,
    LinkClosed,
    LinkFailed,
    LinkOpened,
    ReceiptArrived,
)
from netchat.errors import RemoteError
from netchat.limits import FRAME_ITEMS_MAX
from netchat.model import Address, Name, PeerId, SignedRecord
from netchat.testing.cables import LinkEnd, LinkEvents, join
from netchat.testing.directory import open_record
from netchat.testing.host import Node
from netchat.testing.network import Host
from netchat.transport.pool import LinkFacts, keeps
from netchat.wire.frames import Confirm, Frame, Items, Receipt, split_items


class Links:
    """The links of one life, by number and by key; ``LinkEvents`` of all of them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._count = 0
        self._numbers: dict[LinkEnd, int] = {}
        self._links: dict[int, LinkEnd] = {}
        self._by_key: dict[PeerId, LinkEnd] = {}
        self._names: dict[LinkEnd, Name] = {}
        self._pending: dict[LinkEnd, list[Frame]] = {}
        self._dialling: set[Name] = set()
        self._gave_way: dict[LinkEnd, list[OpenLink]] = {}
        """What was dialled while another link with the same peer was being introduced."""
        self._dialled_as: dict[PeerId, Name] = {}
        self._ends: list[LinkEnd] = []

    def is_linked(self, name: Name) -> bool:
        return any(one == name for end, one in self._names.items() if end not in self._pending)

    def end(self) -> None:
        """The process is gone, and its ends of all links with it."""
        for end in self._ends:
            if not end.has_ended:
                end.out.break_off()

    # --- dialling --------------------------------------------------------------------------------

    def open(self, order: OpenLink) -> None:
        if order.peer not in self._dialling:
            self._dialling.add(order.peer)
            self._dialled_as[order.key] = order.peer
            self._try(order, order.addresses, "unreachable")

    def _try(self, order: OpenLink, addresses: tuple[Address, ...], reason: str) -> None:
        """Dial one address after the other, until one answers with the right key."""
        node = self._node
        if not addresses:
            self._failed(order, reason)
            return
        listener = node.peer_at(addresses[0])

        def failed(why: str) -> None:
            self._try(order, addresses[1:], why)

        def met() -> LinkEnd | None:
            assert listener is not None, "somebody met it"
            return listener.accept_link(node.host, node.key, self, order.key)

        def connected(end: LinkEnd | None) -> None:
            if end is None or end.has_ended:
                failed("wrong-key" if end is None else "broken")
                return
            end.on_end = lambda: self._dialled(order, end) if end.has_opened else failed("broken")
            self._ends.append(end)
            end.start(node.introduction.hello())

        node.network.connect(node.host, listener, met, connected, failed)

    def accept(self, caller: Host, key: PeerId, events: LinkEvents) -> LinkEnd:
        """Let the holder of ``key`` in; return the end that it gets."""
        node = self._node
        theirs = LinkEnd(node.network, caller, events, node.key)
        theirs.is_dialler = True
        ours = LinkEnd(node.network, node.host, self, key)
        join(node.network, theirs, ours)
        self._ends.append(ours)
        ours.start(node.introduction.hello())
        return theirs

    def _dialled(self, order: OpenLink, end: LinkEnd) -> None:
        standing = self._by_key.get(order.key)
        if standing is None:
            self._failed(order, "wrong-record")
        elif self._names[standing] != order.peer:
            self._failed(order, "other-name")
        elif standing in self._pending:
            self._gave_way.setdefault(standing, []).append(order)
        elif standing is not end:
            self._failed(order, "duplicate")
        else:
            self._dialling.discard(order.peer)

    def _failed(self, order: OpenLink, reason: str) -> None:
        self._dialling.discard(order.peer)
        self._node.submit(LinkFailed(order.peer, reason, self._node.jitter()))

    # --- orders ----------------------------------------------------------------------------------

    def transmit(self, order: Transmit) -> None:
        if (end := self._links.get(order.link)) is None:
            return
        for start in range(0, len(order.confirms), FRAME_ITEMS_MAX):
            end.send(Confirm(order.confirms[start : start + FRAME_ITEMS_MAX]))
        if order.items:
            for frame in split_items(order.base, order.items):
                end.send(frame)

    def acknowledge(self, order: Acknowledge) -> None:
        if (end := self._links.get(order.link)) is not None:
            end.send(Receipt(order.ranges, order.results))

    def close(self, number: int, code: str) -> None:
        if (end := self._links.get(number)) is not None:
            end.close(code)

    def close_all(self, code: str) -> None:
        for end in list(self._links.values()):
            end.close(code)

    # --- LinkEvents ------------------------------------------------------------------------------

    def link_opened(self, end: LinkEnd) -> None:
        try:
            signed = open_record(end.hello.record)
        except RemoteError:
            end.close("bad-record")
            return
        if signed.record.key != end.key:
            end.close("wrong-record")
            return
        older = self._by_key.get(end.key)
        if older is not None:
            if keeps(_facts(older), _facts(end), self._node.key):
                end.close("duplicate")
                return
            self._pending.pop(older, None)
            older.close("replaced")
        self._count += 1
        number = self._numbers[end] = self._count
        self._links[number] = end
        self._by_key[end.key] = end
        self._names[end] = signed.record.name
        if self._node.world.tracing:
            self._node.world.tell(f"{self._node.host.name}: link {number} to {signed.record.name}")
        if end.is_dialler and self._dialled_as.get(end.key) == signed.record.name:
            opened = LinkOpened(number, signed, end.hello.stream, is_dialled=True)
            self._node.submit(opened)
            return
        self._pending[end] = []

        def introduced(elsewhere: SignedRecord | None) -> None:
            frames = self._pending.pop(end, None)
            if frames is not None and end in self._numbers:
                self._node.submit(LinkOpened(number, signed, end.hello.stream, elsewhere))
                self._take(number, frames)
            for order in self._gave_way.pop(end, ()):
                self._failed(order, "duplicate")

        self._node.elsewhere(signed.record.name, end.key, introduced)

    def link_received(self, end: LinkEnd, frames: list[Frame]) -> None:
        if (waiting := self._pending.get(end)) is not None:
            waiting.extend(frames)
        elif (number := self._numbers.get(end)) is not None:
            self._take(number, frames)

    def _take(self, number: int, frames: list[Frame]) -> None:
        submit = self._node.submit
        for frame in frames:
            match frame:
                case Items(base, items):
                    submit(ItemsArrived(number, base, items))
                case Receipt(ranges, results):
                    submit(ReceiptArrived(number, ranges, results))
                case Confirm(results):
                    submit(ConfirmArrived(number, results))
                case _:
                    pass

    def link_lost(self, end: LinkEnd, reason: str) -> None:
        number = self._numbers.pop(end, None)
        if number is None:
            return
        del self._links[number]
        self._names.pop(end, None)
        self._pending.pop(end, None)
        if self._by_key.get(end.key) is end:
            del self._by_key[end.key]
        why = end.said_bye or reason
        if self._node.world.tracing:
            self._node.world.tell(f"{self._node.host.name}: link {number} lost, {why}")
        self._node.submit(LinkClosed(number, why, self._node.jitter()))


def _facts(end: LinkEnd) -> LinkFacts:
    return LinkFacts(end.key, end.hello.instance, end.is_dialler)
