"""The one door of delivery: who is asked for what, and a machine that looks for lost or doubled
messages in whatever order the world reports, whatever becomes of the commits."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from netchat.delivery.effects import (
    Abandon,
    AskChecked,
    AskHead,
    DeleteProgressed,
    Dial,
    Effect,
    EraseMessage,
    HandOver,
    Locate,
    MessageAccepted,
    MessageArrived,
    MessageProgressed,
    Outward,
    PeerDeleted,
    PeerPostponed,
    Question,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    Settle,
    StoreAddress,
    StoreChange,
    StoreEffect,
    StoreItem,
    StoreOwnMessage,
    StoreReceivedMessage,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import (
    Answer,
    Checked,
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Handed,
    HandOverBroke,
    HeadLoaded,
    Identified,
    Input,
    Item,
    ItemKind,
    ItemState,
    Located,
    LocateFailed,
    NewestMessage,
    Restored,
    SendRequested,
    TextArrived,
    TimerFired,
    Whereabouts,
)
from netchat.delivery.outbox import NEVER_ARRIVED
from netchat.limits import EXPIRY_MS, RETRY_MS_MIN
from netchat.model import Address, DeleteOutcome, DisplayText, MessageId, MessageState, Name

ALICE, BOB = Name("alice"), Name("bob")
HERE = Address("192.0.2.7", 54321)
NOW = 1_000_000


def an_id(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


ONE, TWO = an_id(1), an_id(2)
SEND = SendRequested(ONE, BOB, "hi", HERE)
ITEM = Item(ONE, BOB, ItemKind.TEXT, ItemState.QUEUED, NOW + EXPIRY_MS)
TEXT = TextArrived(ONE, BOB, DisplayText("hi"), "192.0.2.7")
DELETE = DeleteArrived(TWO, BOB, "192.0.2.7")


# --- who is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_", [SEND, DeleteRequested(TWO, BOB), TEXT, DELETE], ids=lambda x: type(x).__name__
)
def test_whatever_has_an_id_is_checked_first(request_: Identified) -> None:
    """It may be offered twice, so the store says first whether it has been taken."""
    assert Engine().step(NOW, request_) == [AskChecked(request_)]


def test_a_send_becomes_an_item_once() -> None:
    """The same request again changes nothing; that it was accepted is told again."""
    assert Engine().step(NOW, Checked(SEND, seen=False)) == [
        StoreOwnMessage(ONE, BOB, "hi"),
        StoreAddress(BOB, HERE),
        StoreItem(ITEM, "hi"),
        MessageAccepted(ONE),
        Dial(ONE, BOB, HERE),
    ]
    assert Engine().step(NOW, Checked(SEND, seen=True)) == [MessageAccepted(ONE)]


def test_a_delete_is_judged_by_the_inbox() -> None:
    """With what the store says is the newest message."""
    newest = NewestMessage(ONE, MessageState.FAILED, None)
    request = DeleteRequested(TWO, BOB)
    assert Engine().step(NOW, Checked(request, seen=False, newest=newest)) == [
        StoreChange(TWO, BOB, ONE),
        EraseMessage(ONE),
        DeleteProgressed(TWO, BOB, DeleteOutcome.LOCAL),
    ]


def test_an_arrival_is_judged_by_the_inbox() -> None:
    """A text is stored, a delete applied to the newest text."""
    assert Engine().step(NOW, Checked(TEXT, seen=False))[-1] == Settle(ONE)
    newest = NewestMessage(ONE, MessageState.RECEIVED, "192.0.2.7")
    effects = Engine().step(NOW, Checked(DELETE, seen=False, newest=newest))
    assert PeerDeleted(ONE, BOB) in effects


def test_reports_go_to_the_outbox() -> None:
    """A message on its way: each report of the network leads to the next step."""
    engine = Engine()
    engine.step(NOW, Checked(replace(SEND, address=None), seen=False))
    assert engine.step(NOW, LocateFailed(BOB, 0))[-1] == PeerPostponed(BOB, "directory-unreachable")
    assert engine.step(NOW, TimerFired(BOB, 0)) == [Locate(BOB)]
    assert engine.step(NOW, Located(BOB, HERE, 0))[-1] == Dial(ONE, BOB, HERE)
    assert engine.step(NOW, DialFailed(ONE, BOB, "refused", 0))[-1] == PeerPostponed(BOB, "refused")
    assert engine.step(NOW, Connected(ONE, BOB))[-1] == HandOver(ONE, BOB, ItemKind.TEXT)
    assert engine.step(NOW, Handed(ONE, BOB))[-1] == AskHead(BOB)
    second = replace(ITEM, item_id=TWO)
    assert engine.step(NOW, HeadLoaded(BOB, second, None)) == [Dial(TWO, BOB, HERE)]
    engine.step(NOW, Connected(TWO, BOB))
    assert engine.step(NOW, HandOverBroke(TWO, BOB, "reset"))[0] == SetMessageState(
        TWO, MessageState.FAILED, "reset"
    )


def test_a_lane_is_taken_up_from_the_store() -> None:
    """An engine can be thrown away at any time and built again."""
    restored = Restored(BOB, ITEM, None, restarted=True)
    assert Engine().step(NOW, restored) == [SetTimer(BOB, NOW)]


# --- a world in which anything may happen at any time ---------------------------------------------


@dataclass
class Store:
    """The least that a store has to remember, with assertions on what it is told to do."""

    messages: dict[MessageId, MessageState] = field(default_factory=dict)
    order: list[tuple[Name, bool, MessageId, str | None]] = field(default_factory=list)
    deleted: set[MessageId] = field(default_factory=set)
    changes: dict[MessageId, MessageId | None] = field(default_factory=dict)
    items: dict[MessageId, Item] = field(default_factory=dict)
    last: dict[Name, Whereabouts] = field(default_factory=dict)

    def snapshot(self) -> "Store":
        return Store(
            **{
                name: copy(getattr(self, name))
                for name in ("messages", "order", "deleted", "changes", "items", "last")
            }
        )

    def seen(self, request: Identified) -> bool:
        identifier = next(iter(_ids(request)))
        return identifier in self.messages or identifier in self.changes

    def newest(self, peer: Name, *, outgoing: bool) -> NewestMessage | None:
        for whose, own, message_id, source in reversed(self.order):
            if (whose, own) == (peer, outgoing) and message_id not in self.deleted:
                return NewestMessage(message_id, self.messages[message_id], source)
        return None

    def head(self, peer: Name) -> Item | None:
        item = next((item for item in self.items.values() if item.peer == peer), None)
        if item is None:
            return None
        if item.kind is ItemKind.TEXT:
            return replace(item, is_erased=item.item_id in self.deleted)
        target = self.changes[item.item_id]
        assert target is not None
        return replace(item, target_state=self.messages[target])

    def answer(self, question: Question) -> Answer:
        match question:
            case AskHead(peer):
                return HeadLoaded(peer, self.head(peer), self.last.get(peer))
            case AskChecked(DeleteRequested(peer=peer) as request):
                newest = self.newest(peer, outgoing=True)
            case AskChecked(DeleteArrived(sender=peer) as request):
                newest = self.newest(peer, outgoing=False)
            case AskChecked(request):
                newest = None
        return Checked(request, self.seen(request), newest)

    def apply(self, now_ms: int, effect: StoreEffect) -> None:
        match effect:
            case StoreOwnMessage(message_id, peer, _):
                self._add(message_id, peer, MessageState.QUEUED, None)
            case StoreReceivedMessage(message_id, peer, _, source):
                self._add(message_id, peer, MessageState.RECEIVED, source)
            case SetMessageState(message_id, state, _):
                assert self.messages[message_id] is MessageState.QUEUED, "a message ends once"
                self.messages[message_id] = state
            case EraseMessage(message_id):
                assert message_id not in self.deleted
                self.deleted.add(message_id)
            case StoreChange(change_id, _, target):
                assert change_id not in self.changes
                self.changes[change_id] = target
            case StoreItem(item, _):
                assert item.item_id not in self.items
                self.items[item.item_id] = item
            case SetItemState(item_id, state):
                assert state is ItemState.HANDING
                self.items[item_id] = replace(self.items[item_id], state=state)
            case RemoveItem(item_id):
                del self.items[item_id]
            case StoreAddress(peer, address):
                self.last[peer] = Whereabouts(address, now_ms)

    def _add(
        self, message_id: MessageId, peer: Name, state: MessageState, source: str | None
    ) -> None:
        assert message_id not in self.messages, "a message is stored once"
        self.messages[message_id] = state
        self.order.append((peer, state is MessageState.QUEUED, message_id, source))


def _ids(request: Identified) -> Iterator[MessageId]:
    for name in ("message_id", "change_id", "arrival_id"):
        if hasattr(request, name):
            yield getattr(request, name)


LOST, ANSWER_LOST = "lost", "answer lost"
"""How a commit fails: nothing is on disk; or all of it is, and the caller is told otherwise."""


class Node:
    """An engine, its store and its network: what ``pump``, ``node`` and ``courier`` do around it.

    The network ends its orders in any order, and what it reports waits in ``reports`` until it is
    offered to the engine.
    """

    def __init__(self) -> None:
        self.now_ms = NOW
        self.engine = Engine()
        self.store = Store()
        self.locates: list[Name] = []
        self.dials: list[tuple[MessageId, Name]] = []
        self.hand_overs: list[tuple[MessageId, Name]] = []
        self.timers: dict[Name, int] = {}
        self.busy: set[MessageId] = set()
        self.open: set[MessageId] = set()
        self.reports: list[Input] = []
        self.handed: dict[Name, list[MessageId]] = defaultdict(list)
        self.arrived_there: set[MessageId] = set()
        self.told: dict[MessageId, MessageState] = {}

    # --- as the pump does it ---------------------------------------------------------------------

    def offer(self, events: Sequence[Input], failures: Iterable[str]) -> None:
        """Step through ``events`` in one commit; after a failure, each in one of its own."""
        fates = deque(failures)
        if self._commit(events, fates):
            return
        for event in events:
            if self._commit([event], fates):
                continue
            if isinstance(event, Identified) and self.store.seen(event):
                self._act(self._run(self.engine.step(self.now_ms, event)))
            elif isinstance(event, Connected):
                self._close(event.item_id)
                self.reports.append(HandOverBroke(event.item_id, event.peer, "store-unavailable"))
            elif not isinstance(event, Identified):
                self.reports.append(event)

    def _commit(self, events: Sequence[Input], fates: deque[str]) -> bool:
        before = self.store.snapshot()
        outward: list[Outward] = []
        for event in events:
            outward += self._run(self.engine.step(self.now_ms, event))
        if not fates:
            self._act(outward)
            return True
        if fates.popleft() == LOST:
            self.store = before
        self._begin_anew(restarted=False)
        return False

    def _run(self, effects: Sequence[Effect]) -> list[Outward]:
        outward: list[Outward] = []
        for effect in effects:
            if isinstance(effect, AskChecked | AskHead):
                answer = self.store.answer(effect)
                outward += self._run(self.engine.step(self.now_ms, answer))
            elif isinstance(effect, StoreEffect):
                self.store.apply(self.now_ms, effect)
            else:
                outward.append(effect)
        return outward

    def _begin_anew(self, *, restarted: bool) -> None:
        """Build the engine from the store."""
        self.engine = Engine()
        for peer in dict.fromkeys(item.peer for item in self.store.items.values()):
            item = self.store.head(peer)
            assert item is not None
            event = Restored(peer, item, self.store.last.get(peer), restarted)
            self._act(self._run(self.engine.step(self.now_ms, event)))

    def restart(self) -> None:
        """The process is killed, with everything it was doing, and another one begins."""
        for pending in (self.locates, self.dials, self.hand_overs, self.reports):
            pending.clear()
        self.timers.clear()
        self.busy.clear()
        self.open.clear()
        self._begin_anew(restarted=True)

    # --- as the courier does it ------------------------------------------------------------------

    def _act(self, outward: Sequence[Outward]) -> None:
        for effect in outward:
            match effect:
                case Locate(peer):
                    self.locates.append(peer)
                case Dial(item_id, peer, _):
                    if item_id not in self.busy:  # an item never has two connections
                        self.busy.add(item_id)
                        self.dials.append((item_id, peer))
                case HandOver(item_id, peer):
                    self._hand_over(item_id, peer)
                case Abandon(item_id):
                    self._close(item_id)
                case SetTimer(peer, at_ms):
                    self.timers[peer] = at_ms
                case MessageProgressed(message_id, _, state):
                    assert self.told.setdefault(message_id, state) is state, "told twice, unlike"
                    assert self.store.messages[message_id] is state, "told what is not on disk"
                case MessageArrived(message_id) | MessageAccepted(message_id):
                    assert message_id in self.store.messages, "told what is not on disk"

    def _hand_over(self, item_id: MessageId, peer: Name) -> None:
        item = self.store.items[item_id]
        assert item.state is ItemState.HANDING, "bytes leave before the disk says so"
        assert all(item_id not in ids for ids in self.handed.values()), "an item is handed twice"
        assert peer not in {other for _, other in self.hand_overs}, "two at once to one peer"
        head = self.store.head(peer)
        assert head is not None
        assert head.item_id == item_id, "a younger item goes first"
        assert head.target_state in (None, MessageState.SENT), "a delete of what never arrived"
        assert item_id in self.open, "a hand-over without a connection"
        self.open.discard(item_id)
        self.handed[peer].append(item_id)
        self.hand_overs.append((item_id, peer))

    def _close(self, item_id: MessageId) -> None:
        if item_id in self.open:
            self.open.discard(item_id)
            self.busy.discard(item_id)

    # --- how the network ends its orders ----------------------------------------------------------

    def orders(self) -> list[Callable[[bool], Input]]:
        """Everything that is under way; called with whether it goes well, each ends in a report."""
        return [
            *(partial(self._end_hand_over, *order) for order in self.hand_overs),
            *(partial(self._end_dial, *order) for order in self.dials),
            *(partial(self._end_locate, peer) for peer in self.locates),
            *(partial(self._wake, peer) for peer in self.timers),
        ]

    def _end_hand_over(self, item_id: MessageId, peer: Name, well: bool) -> Input:
        self.hand_overs.remove((item_id, peer))
        self.busy.discard(item_id)
        if not well:
            return HandOverBroke(item_id, peer, "reset")
        self.arrived_there.add(item_id)
        return Handed(item_id, peer)

    def _end_dial(self, item_id: MessageId, peer: Name, well: bool) -> Input:
        self.dials.remove((item_id, peer))
        if not well:
            self.busy.discard(item_id)
            return DialFailed(item_id, peer, "refused", 0.5)
        self.open.add(item_id)
        return Connected(item_id, peer)

    def _end_locate(self, peer: Name, well: bool) -> Input:
        self.locates.remove(peer)
        if not well:
            return LocateFailed(peer, 0.5)
        return Located(peer, HERE, 0.5)

    def _wake(self, peer: Name, well: bool) -> Input:
        self.now_ms = max(self.now_ms, self.timers.pop(peer))
        return TimerFired(peer, 0.5)

    # --- what must hold --------------------------------------------------------------------------

    def check(self) -> None:
        handing = [item for item in self.store.items.values() if item.state is ItemState.HANDING]
        assert len({item.peer for item in handing}) == len(handing), "two at once to one peer"
        for peer, outgoing, message_id, _ in self.store.order:
            if outgoing:
                self._check_own(peer, message_id)

    def _check_own(self, peer: Name, message_id: MessageId) -> None:
        state = self.store.messages[message_id]
        waits = message_id in self.store.items
        assert waits == (state is MessageState.QUEUED), f"{state} and in the outbox: {waits}"
        left = message_id in self.handed[peer]
        if state is MessageState.SENT:
            assert message_id in self.arrived_there, "shown as sent, and never arrived"
        if state in (MessageState.CANCELLED, MessageState.EXPIRED):
            assert not left, f"shown as {state}, and handed over"

    def check_orders(self) -> None:
        """Each peer got its items in the order in which they were stored."""
        written = {message_id: at for at, (_, _, message_id, _) in enumerate(self.store.order)}
        for ids in self.handed.values():
            texts = [item_id for item_id in ids if item_id in written]
            assert texts == sorted(texts, key=lambda item_id: written[item_id])
            for item_id in ids:
                if (target := self.store.changes.get(item_id)) is not None:
                    assert self.store.messages[target] not in NEVER_ARRIVED
                    assert ids.index(target) < ids.index(item_id)

    def go_on(self, failures: Iterable[str] = ()) -> bool:
        """Let the next thing happen, and well; tell whether there was any."""
        if self.reports:
            self.offer([self.reports.pop(0)], failures)
            return True
        orders = self.orders()
        if orders:
            self.offer([orders[0](True)], failures)
        return bool(orders)

    def finish(self) -> None:
        """When the world is kind from now on, everything ends; nothing is stuck or lost."""
        for _ in range(10_000):
            if not self.go_on():
                break
        assert self.store.items == {}, "an item is stuck"
        assert self.open == set(), "a connection is left open"
        self.check()
        self.check_orders()


PEERS = st.sampled_from([ALICE, BOB])
FAILURES = st.sampled_from(
    [[], [], [], [LOST], [ANSWER_LOST], [LOST, LOST], [LOST, ANSWER_LOST], [ANSWER_LOST, LOST]]
)
INDEX = st.integers(0, 3)


class DeliveryMachine(RuleBasedStateMachine):
    """Drives a ``Node`` through any order of wishes, reports, failures and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.node = Node()
        self.ids = 0

    def new_id(self) -> MessageId:
        self.ids += 1
        return an_id(self.ids)

    @rule(peer=PEERS, address=st.sampled_from([HERE, None]), failures=FAILURES)
    def send(self, peer: Name, address: Address | None, failures: list[str]) -> None:
        self.node.offer([SendRequested(self.new_id(), peer, "hi", address)], failures)

    @rule(peer=PEERS, failures=FAILURES)
    def delete(self, peer: Name, failures: list[str]) -> None:
        self.node.offer([DeleteRequested(self.new_id(), peer)], failures)

    @rule(peer=PEERS, source=st.sampled_from(["a", "b"]), delete=st.booleans(), failures=FAILURES)
    def arrive(self, peer: Name, source: str, delete: bool, failures: list[str]) -> None:
        arrival_id = self.new_id()
        event: Input = TextArrived(arrival_id, peer, DisplayText("hi"), source)
        if delete:
            event = DeleteArrived(arrival_id, peer, source)
        self.node.offer([event], failures)

    @rule(steps=st.integers(0, 4), failures=FAILURES)
    def go_on(self, steps: int, failures: list[str]) -> None:
        """What is under way goes well, up to a commit that may fail."""
        for _ in range(steps):
            self.node.go_on()
        self.node.go_on(failures)

    @rule(steps=st.integers(0, 4))
    def restart(self, steps: int) -> None:
        for _ in range(steps):
            self.node.go_on()
        self.node.restart()

    @precondition(lambda self: self.node.orders())
    @rule(index=INDEX, well=st.booleans(), at_once=st.booleans(), failures=FAILURES)
    def end_order(self, index: int, well: bool, at_once: bool, failures: list[str]) -> None:
        """Something that is under way ends, and the engine hears of it now or later."""
        orders = self.node.orders()
        report = orders[index % len(orders)](well)
        if at_once:
            self.node.offer([report], failures)
        else:
            self.node.reports.append(report)

    @precondition(lambda self: self.node.locates)
    @rule(index=INDEX)
    def nobody_is_there(self, index: int) -> None:
        peer = self.node.locates.pop(index % len(self.node.locates))
        self.node.offer([Located(peer, None, 0.5)], [])

    @precondition(lambda self: self.node.reports)
    @rule(index=INDEX, count=st.integers(1, 3), failures=FAILURES)
    def report(self, index: int, count: int, failures: list[str]) -> None:
        reports = self.node.reports
        start = index % len(reports)
        events = reports[start : start + count]
        del reports[start : start + count]
        self.node.offer(events, failures)

    @rule(peer=PEERS)
    def report_of_nobody(self, peer: Name) -> None:
        """Reports of an item that is long gone, or was never there."""
        foreign = self.new_id()
        events: list[Input] = [
            Connected(foreign, peer),
            DialFailed(foreign, peer, "refused", 0.5),
            Handed(foreign, peer),
            HandOverBroke(foreign, peer, "reset"),
        ]
        self.node.offer(events, [])

    @rule(ms=st.sampled_from([RETRY_MS_MIN, EXPIRY_MS]))
    def let_time_pass(self, ms: int) -> None:
        self.node.now_ms += ms

    @invariant()
    def nothing_is_lost_doubled_or_untrue(self) -> None:
        self.node.check()

    def teardown(self) -> None:
        self.node.finish()


DeliveryMachine.TestCase.settings = settings(
    max_examples=max(500, settings().max_examples), stateful_step_count=30
)


class TestDelivery(DeliveryMachine.TestCase):
    """No item is handed over twice, too early, out of order, or lost."""
