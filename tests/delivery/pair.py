"""Two engines with the least of a store around each, and between them links and mailboxes that
may lose anything at any time: what ``pump``, ``ledger``, ``judge`` and the node do around it.

Nothing here decides by chance; whoever drives it says what happens next.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial

from tests.delivery.made import ALICE, ALICES_KEY, BOB, BOBS_KEY, HERE, NOW, STREAM

from netchat.delivery import effects as out
from netchat.delivery import inputs, notices, ranges
from netchat.delivery.checked import (
    Admitted,
    Carried,
    Checked,
    ConfirmChecked,
    DeleteChecked,
    Entry,
    HeadLoaded,
    ItemsChecked,
    OwnMessage,
    ReadChecked,
    Restored,
    Routed,
    SendChecked,
    Tally,
    Target,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import ItemState, Route
from netchat.delivery.policy import Policy
from netchat.limits import EXPIRY_MS, MAIL_TTL_MS
from netchat.model import (
    DeleteOutcome,
    DisplayText,
    Item,
    ItemKind,
    MessageId,
    MessageState,
    Ranges,
)

ENVELOPE_ITEMS = 3


@dataclass
class Waiting:
    item: Item
    until_ms: int | None = None
    """Until when it lies in the mailbox, too."""


@dataclass
class Store:
    """The least that a store has to remember, with assertions on what it is told to do."""

    own: dict[MessageId, MessageState] = field(default_factory=dict)
    seqs: dict[MessageId, int] = field(default_factory=dict)
    received: dict[MessageId, bool] = field(default_factory=dict)
    """Whether it is deleted."""
    hlcs: dict[MessageId, int] = field(default_factory=dict)
    erased: set[MessageId] = field(default_factory=set)
    changes: dict[MessageId, DeleteOutcome | None] = field(default_factory=dict)
    theirs: dict[MessageId, tuple[MessageId, str]] = field(default_factory=dict)
    outbox: dict[int, Waiting] = field(default_factory=dict)
    owed: dict[MessageId, str] = field(default_factory=dict)
    last_seq: int = 0
    left_seq: int = 0
    upto: int | None = None
    ahead: Ranges = ()

    def tally(self) -> Tally:
        return Tally(self.last_seq, self.left_seq, max(self.hlcs.values(), default=0))

    def base(self) -> int:
        return min(self.outbox, default=self.last_seq + 1)

    def behind(self, after: int, items_max: int) -> list[Item]:
        items = [self.outbox[seq].item for seq in sorted(self.outbox) if seq > after]
        return items[:items_max]

    def unstored(self, now_ms: int) -> list[Item]:
        found = (self.outbox[seq] for seq in sorted(self.outbox))
        items = [one.item for one in found if one.until_ms is None or one.until_ms <= now_ms]
        return items[:ENVELOPE_ITEMS]

    def apply(self, effect: out.StoreEffect) -> list[notices.Notice]:
        match effect:
            case out.StoreOwn(_, rows, _, left):
                for row in rows:
                    assert row.message_id not in self.own, "a message is stored once"
                    assert row.hlc > max(self.hlcs.values(), default=0), "it stands below all"
                    self.own[row.message_id] = MessageState.QUEUED
                    self.seqs[row.message_id] = row.seq
                    self.hlcs[row.message_id] = row.hlc
                    text = DisplayText(row.text)
                    self._append(Item(row.seq, ItemKind.TEXT, row.message_id, row.hlc, text), left)
            case out.StoreItem(_, item, _, left):
                self._append(item, left)
            case out.StoreReceived(_, _, items, deleted):
                for item in items:
                    assert item.item_id not in self.received, "a message is received once"
                    self.received[item.item_id] = item.item_id in deleted
                    self.hlcs[item.item_id] = item.hlc
            case out.SetMark(_, _, upto, ahead):
                self.upto, self.ahead = upto, ahead
            case out.StoreChange(change_id, _, _):
                assert change_id not in self.changes
                self.changes[change_id] = None
            case out.StoreChangeOf(_, change_id, _, target, result):
                assert change_id not in self.theirs, "a change is judged once"
                self.theirs[change_id] = (target, result)
            case out.SetMessageState(message_id, state, _):
                self.own[message_id] = state
            case out.EraseMessage(message_id, sender):
                if sender is None:
                    self.erased.add(message_id)
                else:
                    self.received[message_id] = True
            case out.VoidItem(_, seq):
                kept = self.outbox[seq]
                kept.item = Item(seq, ItemKind.VOID, kept.item.item_id, kept.item.hlc)
            case out.SettleItems():
                return self._settle(effect)
            case out.StoreDeposit(_, stored, until_ms):
                for seq in self._within(stored):
                    self.outbox[seq].until_ms = until_ms
                    if self.outbox[seq].item.kind is ItemKind.TEXT:
                        self.own[self.outbox[seq].item.item_id] = MessageState.STORED
            case out.MarkLeft(_, seq):
                self.left_seq = max(self.left_seq, seq)
            case out.MarkRead(_, hlc):
                for message_id, state in self.own.items():
                    if state is MessageState.DELIVERED and self.hlcs[message_id] <= hlc:
                        self.own[message_id] = MessageState.READ
            case out.StoreOwed(_, results):
                self.owed.update(results)
            case out.DropOwed(_, item_ids):
                for item_id in item_ids:
                    self.owed.pop(item_id, None)
            case out.ExpireItems():
                pass  # time does not run that long here
            case _:
                raise AssertionError(f"not for a peer with a key: {effect}")
        return []

    def _append(self, item: Item, left: bool) -> None:
        assert item.seq == self.last_seq + 1, "numbers have no holes"
        self.last_seq = item.seq
        if left:
            self.left_seq = item.seq
        self.outbox[item.seq] = Waiting(item)

    def _within(self, numbers: Ranges) -> list[int]:
        return [seq for seq in self.outbox if any(first <= seq <= last for first, last in numbers)]

    def _settle(self, effect: out.SettleItems) -> list[notices.Notice]:
        results = dict(effect.results)
        for seq in self._within(effect.ranges):
            item = self.outbox.pop(seq).item
            if item.kind is ItemKind.TEXT:
                self.own[item.item_id] = MessageState.DELIVERED
            elif item.kind is ItemKind.DELETE:
                assert results.get(seq, "") == "", "nobody here keeps or refuses"
                self.changes[item.item_id] = DeleteOutcome.APPLIED
        return []


@dataclass(frozen=True)
class Envelope:
    number: int
    base: int
    items: tuple[Item, ...]
    confirms: tuple[tuple[MessageId, str], ...]
    until_ms: int


@dataclass(frozen=True)
class Luck:
    """How well something goes: what the directory says, and whether what was begun comes about."""

    well: bool = True
    present: bool = True
    can_mail: bool = True
    there: bool = True


LinkEvent = Callable[["End", int], None]
"""Something that comes to one end of a link: called with the end, and the number of the link."""


class End:
    """One of the two: an engine, its store, and what is on its way for it."""

    def __init__(self, world: "World", is_alice: bool) -> None:
        self.world = world
        self.key, self.peer_key = (ALICES_KEY, BOBS_KEY) if is_alice else (BOBS_KEY, ALICES_KEY)
        self.peer = BOB if is_alice else ALICE
        self.store = Store()
        self.engine = Engine(self.key, Policy())
        self.is_stopped = False
        self.lookups = self.dials = 0
        self.timer_ms: int | None = None
        self.deposits: list[out.Deposit] = []
        self.is_depositing = False
        """By the engine that is; one that was thrown away may have left an envelope under way."""
        self.links: dict[int, deque[LinkEvent]] = {}
        self.mailbox: list[Envelope] = []
        self.shown: list[MessageId] = []
        self.failure: str | None = None
        """What becomes of the next commit: ``lost``, or on disk and its ``answer lost``."""

    @property
    def other(self) -> "End":
        return self.world.bob if self is self.world.alice else self.world.alice

    @property
    def route(self) -> Route:
        return Route.STOPPED if self.is_stopped else Route.KEYED

    # --- as the pump does it ---------------------------------------------------------------------

    def offer(self, *makes: Callable[[], Checked], again: bool = True) -> None:
        """Step through inputs with one commit; when that fails, begin anew, and offer them again
        if it is the node that would."""
        before = deepcopy(self.store)
        failure, self.failure = self.failure, None
        outward: list[out.Outward] = []
        for make in makes:
            outward += self._drained(self.engine.step(self.world.now_ms, make()))
        if failure is None:
            self._act(outward)
            return
        if failure == "lost":
            self.store = before
        self.begin_anew(restarted=False)
        if again:
            self.offer(*makes)

    def begin_anew(self, *, restarted: bool) -> None:
        """Build the engine from the store; its links are closed, and the other end finds out."""
        for link in list(self.links):
            self._close(link)
        if restarted:
            self.lookups = self.dials = 0
            self.timer_ms = None
            self.deposits.clear()
        self.is_depositing = False
        self.engine = Engine(self.key, Policy())
        if self.store.outbox or self.store.owed:
            entry = self._head()
            event = Restored(self.peer, entry, None, self.route, restarted)
            self._act(self._drained(self.engine.step(self.world.now_ms, event)))

    def _head(self) -> Entry | None:
        if not self.store.outbox:
            return None
        item = self.store.outbox[self.store.base()].item
        expires_ms = NOW + EXPIRY_MS
        return Entry(item.item_id, self.peer, item.seq, item.kind, ItemState.QUEUED, expires_ms)

    def _drained(self, effects: Sequence[out.Effect]) -> list[out.Outward]:
        waiting = deque(effects)
        outward: list[out.Outward] = []
        while waiting:
            effect = waiting.popleft()
            more: list[out.Effect] = []
            now_ms = self.world.now_ms
            match effect:
                case out.AskHead():
                    loaded = HeadLoaded(self.peer, self._head(), None, self.route)
                    more = self.engine.answer(now_ms, loaded)
                case out.AskTransmit():
                    more = self.engine.answer(now_ms, self._transmit(effect, outward))
                case out.AskDeposit():
                    more = self.engine.answer(now_ms, self._deposit(outward), by_mail=True)
                case _ if isinstance(effect, out.StoreEffect):
                    outward += self.store.apply(effect)
                case _:
                    outward.append(effect)  # type: ignore[arg-type]
            waiting.extendleft(reversed(more))
        return outward

    def _transmit(self, ask: out.AskTransmit, outward: list[out.Outward]) -> Carried:
        confirms = tuple(self.store.owed.items()) if ask.owed else ()
        if ask.owed:
            self.store.owed.clear()
        items = tuple(self.store.behind(ask.after, ask.items_max))
        if items or confirms:
            outward.append(out.Transmit(ask.link, self.store.base(), items, confirms))
        numbers = ranges.of(item.seq for item in items)
        self._check_leaving(items)
        if numbers:
            assert numbers[-1][1] <= self.store.left_seq, "it leaves before the disk says so"
        return Carried(self.peer, numbers, 64 * len(items), len(confirms))

    def _deposit(self, outward: list[out.Outward]) -> Carried:
        items = tuple(self.store.unstored(self.world.now_ms))
        confirms = tuple(self.store.owed.items())
        if not (items or confirms):
            return Carried(self.peer, (), 0)
        assert not self.is_stopped, "something is sealed to a key that may be the wrong one"
        self._check_leaving(items)
        deposit = out.Deposit(self.peer, self.peer_key, b"", self.store.base(), items, confirms)
        outward.append(deposit)
        numbers = ranges.of(item.seq for item in items)
        return Carried(self.peer, numbers, 64 * len(items), len(confirms))

    def _check_leaving(self, items: Sequence[Item]) -> None:
        texts = {item.item_id for item in items if item.kind is ItemKind.TEXT}
        assert not texts & self.store.erased, "a text leaves that was deleted before"

    # --- as the node does it ---------------------------------------------------------------------

    def _act(self, outward: Sequence[out.Outward]) -> None:
        for effect in outward:
            match effect:
                case out.Locate():
                    self.lookups += 1
                case out.SetTimer(_, at_ms):
                    self.timer_ms = at_ms
                case out.OpenLink():
                    self.dials += 1
                case out.CloseLink(link):
                    self._close(link)
                case out.Transmit(link, base, items, confirms):
                    if items:
                        self._write(link, partial(End.take_items, base=base, items=items))
                    if confirms:
                        self._write(link, partial(End.take_confirms, results=confirms))
                case out.Acknowledge(link, numbers, results):
                    self._write(link, partial(End.take_receipt, numbers=numbers, results=results))
                case out.Deposit():
                    assert not self.is_depositing, "one envelope at a time"
                    self.is_depositing = True
                    self.deposits.append(effect)
                case out.MailSettled(mail):
                    self.mailbox = [one for one in self.mailbox if one.number != mail]
                case notices.MessagesArrived(_, messages):
                    self.shown += [message_id for message_id, _ in messages]
                case notices.NumbersMissing():
                    raise AssertionError("nothing is missing")
                case _:
                    assert isinstance(effect, notices.Notice), f"nobody does {effect}"

    def _write(self, link: int, event: LinkEvent) -> None:
        """Bytes on a link; what is written to one that the other end closed is lost."""
        if link in self.links and link in self.other.links:
            self.other.links[link].append(event)

    def _close(self, link: int) -> None:
        """Close our end; the other end reads what was written, and then that it is closed."""
        if self.links.pop(link, None) is not None and link in self.other.links:
            self.other.links[link].append(End.lose_link)

    # --- what comes over a link ------------------------------------------------------------------

    def open_link(self, link: int) -> None:
        if self.is_stopped:
            self._close(link)
            self.offer(lambda: inputs.LinkFailed(self.peer, "key-not-accepted", 0.5))
            return

        def admitted() -> Checked:
            has_work = bool(self.store.outbox or self.store.owed)
            return Admitted(link, self.peer, self.store.last_seq, has_work)

        self.offer(admitted, again=False)

    def lose_link(self, link: int) -> None:
        self.links.pop(link, None)
        self.offer(lambda: inputs.LinkClosed(link, "lost", 0.5), again=False)

    def take_items(self, link: int, base: int, items: tuple[Item, ...]) -> None:
        self.offer(lambda: self._judged(base, items, link, None), again=False)

    def take_confirms(self, link: int, results: tuple[tuple[MessageId, str], ...]) -> None:
        self.offer(lambda: self._confirm(results), again=False)

    def take_receipt(
        self, link: int, numbers: Ranges, results: tuple[tuple[int, str], ...]
    ) -> None:
        self.offer(lambda: inputs.ReceiptArrived(link, numbers, results), again=False)

    def fetch(self, envelope: Envelope) -> None:
        """Read one of ours in the mailbox; it is there until it is settled."""
        self.offer(
            lambda: self._confirm(envelope.confirms),
            lambda: self._judged(envelope.base, envelope.items, None, envelope.number),
            again=False,
        )

    # --- as the judge does it --------------------------------------------------------------------

    def _judged(
        self, base: int, items: tuple[Item, ...], link: int | None, mail: int | None
    ) -> ItemsChecked:
        store, now_ms = self.store, self.world.now_ms
        seen = dict.fromkeys(store.received, "")
        seen |= {change_id: result for change_id, (_, result) in store.theirs.items()}
        return ItemsChecked(
            peer=self.peer,
            sender=self.peer_key,
            stream=STREAM,
            base=base,
            items=items,
            link=link,
            mail=mail,
            seen=seen,
            orphans=frozenset(target for target, _ in store.theirs.values()),
            targets={
                message_id: Target(message_id, now_ms, is_deleted)
                for message_id, is_deleted in store.received.items()
            },
            upto=store.upto,
            ahead=store.ahead,
        )

    def _confirm(self, results: tuple[tuple[MessageId, str], ...]) -> ConfirmChecked:
        said = dict(results)
        numbers = sorted(
            seq for seq, kept in self.store.outbox.items() if kept.item.item_id in said
        )
        return ConfirmChecked(self.peer, ranges.of(numbers))

    # --- what a person does ----------------------------------------------------------------------

    def send(self, *ids: MessageId) -> None:
        request = inputs.SendRequested(
            self.peer, tuple(inputs.NewMessage(one, "hi") for one in ids), None
        )
        self.offer(
            lambda: SendChecked(
                request, frozenset(self.store.own), self.route, HERE, self.store.tally()
            )
        )

    def delete(self, change_id: MessageId, target: MessageId) -> None:
        def checked() -> Checked:
            request = inputs.DeleteRequested(change_id, None, target)
            message = None
            if target not in self.store.erased:
                state = self.store.own[target]
                message = OwnMessage(target, self.peer, self.store.seqs[target], state)
            seen = change_id in self.store.changes
            return DeleteChecked(request, seen, message, self.route, self.store.tally())

        self.offer(checked)

    def read(self, change_id: MessageId) -> None:
        hlc = max((self.store.hlcs[one] for one in self.store.received), default=0)
        request = inputs.ReadNoted(change_id, self.peer, hlc)
        self.offer(lambda: ReadChecked(request, False, self.route, self.store.tally()), again=False)

    def stop(self) -> None:
        """Another key comes under the name of the peer."""
        self.is_stopped = True
        self._act(self._drained(self.engine.stopped(self.peer)))

    def decide(self) -> None:
        """A person says that the key is right."""
        self.is_stopped = False
        self._act(self._drained(self.engine.decided(self.peer)))


class World:
    """Alice and bob, and whatever is between them."""

    def __init__(self) -> None:
        self.now_ms = NOW
        self.numbers = 100
        self.alice, self.bob = End(self, True), End(self, False)

    @property
    def ends(self) -> tuple[End, End]:
        return self.alice, self.bob

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    # --- how orders end --------------------------------------------------------------------------

    def answer_lookup(self, end: End, *, present: bool, can_mail: bool, there: bool) -> None:
        end.lookups -= 1
        addresses = (HERE,) if there else ()
        routed = Routed(
            end.peer,
            0.5,
            end.route,
            key=end.peer_key,
            addresses=addresses,
            can_mail=can_mail,
            present=present,
        )
        end.offer(lambda: routed if not end.is_stopped else replace(routed, route=Route.STOPPED))

    def end_dial(self, end: End, *, well: bool) -> None:
        end.dials -= 1
        if not well:
            end.offer(lambda: inputs.LinkFailed(end.peer, "refused", 0.5))
            return
        link = self.number()
        for one in self.ends:
            one.links[link] = deque([End.open_link])

    def end_deposit(self, end: End, *, arrives: bool, well: bool) -> None:
        """An envelope may arrive and its sender be told that it did not."""
        deposit = end.deposits.pop(0)
        end.is_depositing = False
        until_ms = self.now_ms + MAIL_TTL_MS
        if arrives:
            end.other.mailbox.append(
                Envelope(self.number(), deposit.base, deposit.items, deposit.confirms, until_ms)
            )
        if not (arrives and well):
            end.offer(lambda: inputs.DepositFailed(end.peer, "mailbox-full", 0.5))
            return
        numbers = ranges.of(item.seq for item in deposit.items)
        owed = tuple(item_id for item_id, _ in deposit.confirms)
        end.offer(lambda: inputs.Deposited(end.peer, numbers, owed, until_ms))

    def fire_timer(self, end: End) -> None:
        assert end.timer_ms is not None
        self.now_ms, end.timer_ms = max(self.now_ms, end.timer_ms), None
        end.offer(lambda: inputs.TimerFired(end.peer, 0.5))

    def deliver(self, end: End, link: int) -> None:
        """The oldest thing on a link comes to one end of it."""
        event = end.links[link].popleft()
        event(end, link)

    def cut(self, link: int, kept: int) -> None:
        """A link is lost: of what is on it, ``kept`` pieces still come to each end. That it was
        opened always does: a dial ends in one way or the other."""
        for end in self.ends:
            if link in end.links:
                left = list(end.links[link])
                sure = 1 if End.open_link in left else 0
                end.links[link] = deque([*left[: max(kept, sure)], End.lose_link])

    def pass_time(self, ms: int) -> None:
        """Mailboxes forget what is too old."""
        self.now_ms += ms
        for end in self.ends:
            end.mailbox = [one for one in end.mailbox if one.until_ms > self.now_ms]

    # --- what happens next -----------------------------------------------------------------------

    def happenings(self) -> list[tuple[End, Callable[[Luck], None]]]:
        """All that is under way, with the end that it happens to; timers last."""
        found: list[tuple[End, Callable[[Luck], None]]] = []
        for end in self.ends:
            for link, come in end.links.items():
                if come:
                    found.append((end, partial(self._deliver, end, link)))
            found += [(end, partial(self._fetch, end, one)) for one in end.mailbox]
            if end.lookups:
                found.append((end, partial(self._answer_lookup, end)))
            if end.dials:
                found.append((end, partial(self._end_dial, end)))
            if end.deposits:
                found.append((end, partial(self._end_deposit, end)))
        timed = [end for end in self.ends if end.timer_ms is not None]
        return found + [(end, partial(self._fire_timer, end)) for end in timed]

    def _deliver(self, end: End, link: int, _luck: Luck) -> None:
        self.deliver(end, link)

    def _fetch(self, end: End, envelope: Envelope, _luck: Luck) -> None:
        end.fetch(envelope)

    def _answer_lookup(self, end: End, luck: Luck) -> None:
        self.answer_lookup(end, present=luck.present, can_mail=luck.can_mail, there=luck.there)

    def _end_dial(self, end: End, luck: Luck) -> None:
        self.end_dial(end, well=luck.well)

    def _end_deposit(self, end: End, luck: Luck) -> None:
        self.end_deposit(end, arrives=luck.there or luck.well, well=luck.well)

    def _fire_timer(self, end: End, _luck: Luck) -> None:
        self.fire_timer(end)

    def go_on(self) -> bool:
        """Let the next thing happen, and well; a person decides what waits for that."""
        for end in self.ends:
            if end.is_stopped:
                end.decide()
        happenings = self.happenings()
        if happenings:
            happenings[0][1](Luck())
        return bool(happenings)

    # --- the end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """From now on all goes well: everything arrives, and each side knows it."""
        for _ in range(2_000):
            if not (self.go_on() and any(self._has_work(end) for end in self.ends)):
                break
        for end in self.ends:
            assert end.store.outbox == {}, "something is stuck"
            self.check(end, at_end=True)

    @staticmethod
    def _has_work(end: End) -> bool:
        return bool(end.store.outbox or end.mailbox or any(end.links.values()))

    def check(self, end: End, *, at_end: bool = False) -> None:
        """What an end says about its messages is true at the other."""
        there = end.other.store.received
        for message_id, state in end.store.own.items():
            if state in (MessageState.DELIVERED, MessageState.READ):
                assert message_id in there, "shown as delivered, and is not there"
            if state is MessageState.CANCELLED:
                assert message_id not in there, "shown as cancelled, and arrived"
            if at_end and message_id not in end.store.erased:
                assert there.get(message_id) is False, "it is not there, or deleted there"
                assert state in (MessageState.DELIVERED, MessageState.READ)
            if at_end and message_id in end.store.erased:
                assert there.get(message_id, True), "deleted here, and shown there"
        assert len(end.shown) == len(set(end.shown)), "a message is shown twice"
        if at_end:
            seen_alike = {one: end.store.hlcs[one] for one in there if one in end.store.hlcs}
            assert all(end.other.store.hlcs[one] == hlc for one, hlc in seen_alike.items())
            assert None not in [end.store.changes[one] for one in self._told(end)]

    @staticmethod
    def _told(end: End) -> list[MessageId]:
        """The deletes of one end that its peer had to hear of."""
        return [change_id for change_id in end.store.changes if change_id in end.other.store.theirs]
