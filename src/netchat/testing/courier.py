"""What ``node.courier`` does with sockets and timers, done in virtual time."""

from typing import Protocol, assert_never

from netchat.delivery.effects import Abandon, Dial, HandOver, Locate, SetTimer
from netchat.delivery.inputs import (
    Connected,
    DialFailed,
    Handed,
    HandOverBroke,
    Located,
    LocateFailed,
    TimerFired,
)
from netchat.errors import DirectoryError, TextTooLong
from netchat.model import ItemKind, MessageId, Name
from netchat.testing.host import Node
from netchat.testing.wires import Wire
from netchat.wire.classic import encode_delete, encode_text


class Handing(Protocol):
    """Whoever remembers what was handed over."""

    handed: list[tuple[Name, bytes]]


class Courier:
    """One life's errands towards the directory, classic peers and time."""

    def __init__(self, node: Node, handing: Handing) -> None:
        self._node = node
        self._handing = handing
        self._wires: dict[MessageId, Wire] = {}
        self._busy: set[MessageId] = set()
        self._timers: dict[Name, int] = {}
        self._count = 0

    def carry_out(self, order: Locate | Dial | HandOver | Abandon | SetTimer) -> None:
        match order:
            case Locate(peer):
                self._node.soon(lambda: self._locate(peer))
            case Dial():
                self._dial(order)
            case HandOver():
                self._hand_over(order)
            case Abandon(item_id):
                self.abandon(item_id)
            case SetTimer(peer, at_ms):
                self._set_timer(peer, at_ms)
            case _ as never:
                assert_never(never)

    def abandon(self, item_id: MessageId) -> None:
        if (wire := self._wires.pop(item_id, None)) is not None:
            self._busy.discard(item_id)
            wire.close()

    def end(self) -> None:
        """The process is gone: the system resets what was open."""
        for wire in self._wires.values():
            wire.turn_away()

    def _locate(self, peer: Name) -> None:
        node = self._node
        try:
            found = node.find(peer)
        except DirectoryError:
            node.submit(LocateFailed(peer, node.jitter()))
        else:
            node.submit(Located(peer, found, node.jitter()))

    def _dial(self, order: Dial) -> None:
        node, item_id, peer = self._node, order.item_id, order.peer
        if item_id in self._busy:
            return
        self._busy.add(item_id)
        listener = node.peer_at(order.address)

        def met() -> Wire:
            assert listener is not None, "somebody met it"
            return Wire(node.network, node.host, listener)

        def connected(wire: Wire) -> None:
            self._wires[item_id] = wire
            node.submit(Connected(item_id, peer))

        def failed(reason: str) -> None:
            self._busy.discard(item_id)
            node.submit(DialFailed(item_id, peer, reason, node.jitter()))

        node.network.connect(node.host, listener, met, connected, failed)

    def _hand_over(self, order: HandOver) -> None:
        node = self._node
        wire = self._wires.pop(order.item_id, None)

        def ended(reason: str | None) -> None:
            self._busy.discard(order.item_id)
            if reason is None:
                node.submit(Handed(order.item_id, order.peer))
            else:
                node.submit(HandOverBroke(order.item_id, order.peer, reason))

        try:
            data = self._encoded(order)
        except TextTooLong as error:
            ended(error.code)
            return
        if wire is None:
            ended("interrupted")
            return
        self._handing.handed.append((order.peer, data))
        wire.hand_over(data, ended)

    def _encoded(self, order: HandOver) -> bytes:
        if order.kind is ItemKind.DELETE:
            return encode_delete(self._node.host.name)
        assert order.text is not None, "a text item carries its text"
        return encode_text(self._node.host.name, order.text)

    def _set_timer(self, peer: Name, at_ms: int) -> None:
        """A later timer of the same peer takes the place of this one."""
        node = self._node
        self._count += 1
        number = self._timers[peer] = self._count

        def wake() -> None:
            if self._timers.get(peer) == number:
                del self._timers[peer]
                node.submit(TimerFired(peer, node.jitter()))

        node.later(max(0, at_ms - node.now_ms), wake)
