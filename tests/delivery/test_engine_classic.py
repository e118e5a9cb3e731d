"""One engine with peers that speak classic: whatever the network reports in whatever order, and
whatever becomes of the commits, no item is handed over twice, too early, out of order, or lost."""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.delivery.made import ALICE, ALICES_KEY, BOB, HERE, NOW, an_id

from netchat.delivery.checked import (
    ArrivalChecked,
    Checked,
    DeleteChecked,
    Entry,
    HeadLoaded,
    NewestReceived,
    OwnMessage,
    Restored,
    Routed,
    SendChecked,
    Tally,
    Whereabouts,
)
from netchat.delivery.effects import (
    Abandon,
    AskHead,
    Dial,
    Effect,
    EraseMessage,
    HandOver,
    Locate,
    Outward,
    RemoveItem,
    SetItemState,
    SetMessageState,
    SetTimer,
    StoreAddress,
    StoreChange,
    StoreClassicReceived,
    StoreEffect,
    StoreItem,
    StoreOwn,
    VoidItem,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import (
    Connected,
    DeleteArrived,
    DeleteRequested,
    DialFailed,
    Found,
    Handed,
    HandOverBroke,
    Identified,
    Input,
    ItemState,
    Located,
    LocateFailed,
    NewMessage,
    ReadNoted,
    Route,
    SendRequested,
    TextArrived,
    TimerFired,
)
from netchat.delivery.notices import MessagesAccepted, MessagesArrived, MessagesProgressed
from netchat.delivery.outbox import NEVER_ARRIVED
from netchat.delivery.policy import Policy
from netchat.limits import EXPIRY_MS, RETRY_MS_MIN
from netchat.model import Address, DisplayText, ItemKind, MessageId, MessageState, Name

# --- a world in which anything may happen at any time ---------------------------------------------


@dataclass
class Store:
    """The least that a store has to remember, with assertions on what it is told to do."""

    messages: dict[MessageId, MessageState] = field(default_factory=dict)
    order: list[tuple[Name, bool, MessageId, str | None]] = field(default_factory=list)
    deleted: set[MessageId] = field(default_factory=set)
    changes: dict[MessageId, MessageId | None] = field(default_factory=dict)
    items: dict[tuple[Name, int], Entry] = field(default_factory=dict)
    seqs: dict[MessageId, int] = field(default_factory=dict)
    last_seq: int = 0
    last: dict[Name, Whereabouts] = field(default_factory=dict)

    def snapshot(self) -> "Store":
        return replace(self, **{name: copy(getattr(self, name)) for name in COPIED})

    def seen(self, request: Identified) -> bool:
        identifier = _id(request)
        return identifier in self.messages or identifier in self.changes

    def checked(self, event: Input, route: Route) -> Checked:
        """What the judge does: add what the store knows."""
        tally = Tally(self.last_seq, 0, len(self.order))
        match event:
            case SendRequested():
                address = None if event.found is None else event.found.address
                seen = frozenset(self.messages)
                return SendChecked(event, seen, Route.CLASSIC, address, tally)
            case DeleteRequested(peer=peer):
                assert peer is not None
                newest = self.newest_own(peer)
                return DeleteChecked(event, self.seen(event), newest, Route.CLASSIC, tally)
            case TextArrived() | DeleteArrived():
                seen_here = self.seen(event)
                newest_received = self.newest_received(event.sender)
                return ArrivalChecked(event, seen_here, event.sender, tally, newest_received)
            case Located(peer, found, jitter):
                return Routed(peer, jitter, route, found.address)
            case LocateFailed(peer, jitter):
                return Routed(peer, jitter, Route.CLASSIC, answered=False)
            case _:
                return event  # type: ignore[return-value]  # the rest goes as it is

    def newest_own(self, peer: Name) -> OwnMessage | None:
        newer: set[MessageState] = set()
        for whose, own, message_id, _ in reversed(self.order):
            if (whose, own) != (peer, True):
                continue
            state = self.messages[message_id]
            if message_id not in self.deleted:
                shadowed = MessageState.FAILED in newer
                seq = self.seqs[message_id]
                return OwnMessage(message_id, peer, seq, state, is_shadowed=shadowed)
            newer.add(state)
        return None

    def newest_received(self, peer: Name) -> NewestReceived | None:
        for whose, own, message_id, source in reversed(self.order):
            if (whose, own) == (peer, False) and message_id not in self.deleted:
                return NewestReceived(message_id, source)
        return None

    def head(self, peer: Name) -> Entry | None:
        seqs = [seq for whose, seq in self.items if whose == peer]
        if not seqs:
            return None
        item = self.items[peer, min(seqs)]
        if item.kind is ItemKind.TEXT:
            return replace(item, is_erased=item.item_id in self.deleted)
        if item.kind is ItemKind.VOID:
            return item
        target = self.changes[item.item_id]
        assert target is not None
        return replace(item, target_state=self.messages[target])

    def apply(self, now_ms: int, effect: StoreEffect) -> None:
        match effect:
            case StoreOwn(peer, rows, expires_ms, left):
                assert not left, "nothing of a classic peer's leaves before HANDING says so"
                for row in rows:
                    self._add(row.message_id, peer, MessageState.QUEUED, None)
                    self._enqueue(row.message_id, peer, row.seq, ItemKind.TEXT, expires_ms)
            case StoreItem(peer, item, expires_ms):
                self._enqueue(item.item_id, peer, item.seq, item.kind, expires_ms)
            case StoreClassicReceived(message_id, contact, _, source):
                assert isinstance(contact, Name)
                self._add(message_id, contact, MessageState.RECEIVED, source)
            case SetMessageState(message_id, state, _):
                assert self.messages[message_id] is MessageState.QUEUED, "a message ends once"
                self.messages[message_id] = state
            case EraseMessage(message_id):
                assert message_id not in self.deleted
                self.deleted.add(message_id)
            case StoreChange(change_id, _, target):
                assert change_id not in self.changes
                self.changes[change_id] = target
            case SetItemState(peer, seq, item_state):
                assert item_state is ItemState.HANDING
                self.items[peer, seq] = replace(self.items[peer, seq], state=item_state)
            case VoidItem(peer, seq):
                assert self.items[peer, seq].state is ItemState.QUEUED
                self.items[peer, seq] = replace(self.items[peer, seq], kind=ItemKind.VOID)
            case RemoveItem(peer, seq):
                del self.items[peer, seq]
            case StoreAddress(peer, address):
                self.last[peer] = Whereabouts(address, now_ms)
            case _:
                raise AssertionError(f"not for a classic peer: {effect}")

    def _add(
        self, message_id: MessageId, peer: Name, state: MessageState, source: str | None
    ) -> None:
        assert message_id not in self.messages, "a message is stored once"
        self.messages[message_id] = state
        self.order.append((peer, state is MessageState.QUEUED, message_id, source))

    def _enqueue(
        self, item_id: MessageId, peer: Name, seq: int, kind: ItemKind, expires_ms: int
    ) -> None:
        assert seq > self.last_seq
        self.last_seq = self.seqs[item_id] = seq
        self.items[peer, seq] = Entry(item_id, peer, seq, kind, ItemState.QUEUED, expires_ms)


COPIED = ("messages", "order", "deleted", "changes", "items", "seqs", "last")


def _id(request: Identified) -> MessageId:
    match request:
        case SendRequested():
            return request.messages[0].message_id
        case DeleteRequested() | ReadNoted():
            return request.change_id
        case _:
            return request.arrival_id


LOST, ANSWER_LOST = "lost", "answer lost"
"""How a commit fails: nothing is on disk; or all of it is, and the caller is told otherwise."""


class Node:
    """An engine, its store and its network: what ``pump``, ``node`` and ``courier`` do around it.

    The network ends its orders in any order, and what it reports waits in ``reports`` until it is
    offered to the engine.
    """

    def __init__(self) -> None:
        self.now_ms = NOW
        self.engine = Engine(ALICES_KEY, Policy())
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
        self.route = Route.CLASSIC

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
                self._act(self._run(self._step(event)))
            elif isinstance(event, Connected):
                self._close(event.item_id)
                self.reports.append(HandOverBroke(event.item_id, event.peer, "store-unavailable"))
            elif not isinstance(event, Identified):
                self.reports.append(event)

    def _commit(self, events: Sequence[Input], fates: deque[str]) -> bool:
        before = self.store.snapshot()
        outward: list[Outward] = []
        for event in events:
            outward += self._run(self._step(event))
        if not fates:
            self._act(outward)
            return True
        if fates.popleft() == LOST:
            self.store = before
        self._begin_anew(restarted=False)
        return False

    def _step(self, event: Input) -> list[Effect]:
        return self.engine.step(self.now_ms, self.store.checked(event, self.route))

    def _run(self, effects: Sequence[Effect]) -> list[Outward]:
        outward: list[Outward] = []
        for effect in effects:
            if isinstance(effect, AskHead):
                peer = effect.peer
                head, last = self.store.head(peer), self.store.last.get(peer)
                answer = HeadLoaded(peer, head, last, Route.CLASSIC)
                outward += self._run(self.engine.answer(self.now_ms, answer))
            elif isinstance(effect, StoreEffect):
                self.store.apply(self.now_ms, effect)
            else:
                outward.append(effect)
        return outward

    def _begin_anew(self, *, restarted: bool) -> None:
        """Build the engine from the store."""
        self.engine = Engine(ALICES_KEY, Policy())
        for peer in dict.fromkeys(item.peer for item in self.store.items.values()):
            item = self.store.head(peer)
            assert item is not None
            last = self.store.last.get(peer)
            event = Restored(peer, item, last, Route.CLASSIC, restarted)
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
                case MessagesProgressed(_, (message_id,), state):
                    assert self.told.setdefault(message_id, state) is state, "told twice, unlike"
                    assert self.store.messages[message_id] is state, "told what is not on disk"
                case MessagesAccepted(ids):
                    assert set(ids) <= set(self.store.messages), "told what is not on disk"
                case MessagesArrived(_, ((message_id, _),)):
                    assert message_id in self.store.messages, "told what is not on disk"

    def _hand_over(self, item_id: MessageId, peer: Name) -> None:
        assert all(item_id not in ids for ids in self.handed.values()), "an item is handed twice"
        assert peer not in {other for _, other in self.hand_overs}, "two at once to one peer"
        head = self.store.head(peer)
        assert head is not None
        assert head.item_id == item_id, "a younger item goes first"
        assert head.state is ItemState.HANDING, "bytes leave before the disk says so"
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
        return Located(peer, Found(None, HERE), 0.5)

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
        waits = (peer, self.store.seqs[message_id]) in self.store.items
        if state is MessageState.CANCELLED:
            waits = False  # its number may, and is dropped when its turn comes
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
        self.route = Route.CLASSIC
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


class ClassicMachine(RuleBasedStateMachine):
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
        message = NewMessage(self.new_id(), "hi")
        self.node.offer([SendRequested(peer, (message,), Found(None, address))], failures)

    @rule(route=st.sampled_from([Route.CLASSIC, Route.CLASSIC_REFUSED, Route.STOPPED]))
    def trust_changes(self, route: Route) -> None:
        """What the directory says from now on may go in plain text, or not."""
        self.node.route = route

    @rule(peer=PEERS, failures=FAILURES)
    def delete(self, peer: Name, failures: list[str]) -> None:
        self.node.offer([DeleteRequested(self.new_id(), peer)], failures)

    @rule(peer=PEERS, steps=st.integers(0, 2), well=st.booleans(), failures=FAILURES)
    def think_better_of_it(self, peer: Name, steps: int, well: bool, failures: list[str]) -> None:
        """A message is deleted while it may be on its way."""
        message = NewMessage(self.new_id(), "hi")
        self.node.offer([SendRequested(peer, (message,), Found(None, HERE))], [])
        for _ in range(steps):
            self.node.go_on()
        self.node.offer([DeleteRequested(self.new_id(), peer)], failures)
        if orders := self.node.orders():
            self.node.offer([orders[0](well)], [])

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
        self.node.offer([Located(peer, Found(None, None), 0.5)], [])

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


ClassicMachine.TestCase.settings = settings(
    max_examples=max(500, settings().max_examples), stateful_step_count=30
)


class TestClassic(ClassicMachine.TestCase):
    """No item is handed over twice, too early, out of order, or lost."""
