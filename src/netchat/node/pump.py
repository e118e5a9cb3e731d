"""Engine and store in one transaction; the only place that orders commit and act.

``step_batch`` feeds inputs to the engine, applies what it wants stored, answers its questions, and
commits; only then does it return what has to happen outside. It is synchronous and takes its time
from the caller, so the simulator runs this very code. It belongs to one thread at a time.
"""

import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from netchat.delivery import ranges
from netchat.delivery.checked import Carried, Checked, HeadLoaded
from netchat.delivery.effects import (
    AskDeposit,
    AskHead,
    AskTransmit,
    CloseLink,
    Deposit,
    Effect,
    HandOver,
    MailSettled,
    Outward,
    StoreEffect,
    Transmit,
)
from netchat.delivery.engine import Engine
from netchat.delivery.inputs import (
    ConfirmArrived,
    Connected,
    Decision,
    DeleteArrived,
    DeleteRequested,
    Deposited,
    Identified,
    Input,
    ItemsArrived,
    LinkClosed,
    LinkFailed,
    LinkOpened,
    Located,
    LocateFailed,
    MailArrived,
    PersonDecided,
    ReadNoted,
    ReceiptArrived,
    SendRequested,
    TextArrived,
)
from netchat.delivery.notices import DecisionDone, KeyMoved, KeyStopped, MailHeld
from netchat.delivery.policy import Policy
from netchat.errors import MalformedFrame, StoreUnavailable
from netchat.limits import (
    CLASSIC_SEND_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    ENVELOPE_ITEMS_MAX,
    FRAME_ITEMS_MAX,
    HELD_MAX,
    HELD_PER_SENDER_MAX,
    ORPHANS_MS,
    PREKEY_GRACE_MS,
    RECEIPTS_NOTED_MAX,
    WINDOW_ITEMS_MAX,
)
from netchat.model import Contact, Message, MessageId, MessageState, Name, PeerId, Pin
from netchat.node.judge import Judge
from netchat.node.ledger import Ledger
from netchat.node.trusted import Entrance, Trusted
from netchat.store.arrivals import Arrivals
from netchat.store.database import translated_errors
from netchat.store.history import History
from netchat.store.outbox import OutboxTable, size_of
from netchat.store.peers import Peers
from netchat.store.secrets import Own
from netchat.wire.classic import encode_text
from netchat.wire.mail import decode_mail

_STORE_EFFECTS = get_args(StoreEffect)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose node this is, and what its owner chose."""

    name: Name
    key: PeerId
    policy: Policy = field(default_factory=Policy)
    allow_classic: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """The disk did not take ``event``; nothing of it happened, or it is safe to offer it again."""

    event: Input
    error: StoreUnavailable


@dataclass(frozen=True, slots=True)
class Batch:
    """What one ``step_batch`` came to: what to do now, and which inputs the disk did not take.

    ``links_lost``: no link that is open is known any more, so all of them have to be closed.
    ``is_unread``: not even reading went, so nothing goes on before another input comes.
    """

    effects: Sequence[Outward]
    refused: Sequence[Refused] = ()
    links_lost: bool = False
    is_unread: bool = False


class Pump:
    """One engine over one history file.

    ``commit`` is how a transaction ends (the simulator lets it fail); call ``start`` once before
    the first ``step_batch``.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        owner: Owner,
        commit: Callable[[sqlite3.Connection], None] = sqlite3.Connection.commit,
    ) -> None:
        self._connection = connection
        self._commit = commit
        self._owner = owner
        self._history = History(connection)
        self._outbox = OutboxTable(connection)
        self._peers = Peers(connection)
        self._arrivals = Arrivals(connection)
        self._own = Own(connection)
        self._trusted = Trusted(
            self._peers, owner.name, owner.key, allow_classic=owner.allow_classic
        )
        self._judge = Judge(self._history, self._outbox, self._peers, self._arrivals, self._trusted)
        self._ledger = Ledger(self._history, self._outbox, self._peers, self._arrivals)
        self._engine = self._new_engine()
        self._is_unread = False
        self._noted = 0
        """How many inputs noted receipts in the transaction that is open; see ``step_batch``."""

    def _new_engine(self) -> Engine:
        """Return an engine that knows nothing yet."""
        around = len(encode_text(self._owner.name, ""))
        room = CLASSIC_SEND_BYTES_MAX - around
        return Engine(self._owner.key, self._owner.policy, room)

    def start(self, now_ms: int) -> Sequence[Outward]:
        """Take up what an earlier process left behind.

        Raises:
            StoreUnavailable: the disk refused.
        """

        def work() -> list[Outward]:
            self._history.drop_orphans(now_ms - ORPHANS_MS)
            self._own.erase_prekeys(now_ms - PREKEY_GRACE_MS)
            return self._restore(now_ms, restarted=True)

        return self._in_transaction(work)

    def step_batch(
        self,
        now_ms: int,
        events: Sequence[Input],
        early: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Step through ``events`` with one commit for all of them.

        What only notes receipts is told to ``early`` before its commit, and whoever sent need not
        wait for it: the peer has committed, and what a crash forgets here is sent and confirmed
        again (decision 0012). The items that a receipt makes room for go with it: they were marked
        as left in an earlier commit. Nothing else is ever acted on before a commit. Such a note
        shares the commit of what comes next; call ``settle`` when nothing does
        (``is_unsettled``).

        When that commit fails, the engine is read back from the store and each event gets a commit
        of its own, so that one that the disk cannot take does not hold up the others. Whether the
        failed commit reached the disk is not known then; the ids of the events keep them single.
        """
        if not self._is_unread and early is not None and _are_receipts(events):
            return self._note_receipts(now_ms, events, early)
        if not self._is_unread:
            try:
                return Batch(self._in_transaction(lambda: self._run_all(now_ms, events)))
            except StoreUnavailable:
                self._is_unread = True
        self._judge.is_repeat = True
        effects: list[Outward] = []
        refused: list[Refused] = []
        for event in events:
            try:
                effects += self._read_back(now_ms)
                effects += self._in_transaction(lambda event=event: self._run(now_ms, event))  # type: ignore[misc]  # lambda default
            except StoreUnavailable as error:
                self._is_unread = True
                stored = self._if_stored(now_ms, event)
                if stored is None:
                    refused.append(Refused(event, error))
                else:
                    effects += stored
        # Now if it goes: what an input unsaid left on disk may be all there is to come for a while.
        with contextlib.suppress(StoreUnavailable):
            effects += self._read_back(now_ms)
        self._judge.is_repeat = False
        return Batch(effects, refused, links_lost=True, is_unread=self._is_unread)

    @property
    def is_unsettled(self) -> bool:
        """Tell whether notes of receipts wait for a commit."""
        return self._noted > 0

    def settle(self, now_ms: int) -> Batch:
        """Commit the notes of receipts, if any wait for that."""
        if not self.is_unsettled:
            return Batch(())
        try:
            self._in_transaction(lambda: [])
        except StoreUnavailable:
            return self._lost(now_ms)
        return Batch(())

    def _note_receipts(
        self, now_ms: int, events: Sequence[Input], early: Callable[[Batch], None]
    ) -> Batch:
        try:
            effects = self._within_transaction(lambda: self._run_all(now_ms, events))
        except StoreUnavailable:
            return self._lost(now_ms)
        self._noted += len(events)
        early(Batch(effects))
        return self.settle(now_ms) if self._noted >= RECEIPTS_NOTED_MAX else Batch(())

    def _lost(self, now_ms: int) -> Batch:
        """Notes of receipts did not get to the disk: all of that comes again over new links."""
        self._is_unread = True
        effects: list[Outward] = []
        with contextlib.suppress(StoreUnavailable):
            effects += self._read_back(now_ms)
        return Batch(effects, links_lost=True, is_unread=self._is_unread)

    def _if_stored(self, now_ms: int, event: Input) -> list[Outward] | None:
        """Return what follows from an event that reached the disk after all; to refuse it then
        would be a lie. None when it did not."""
        with contextlib.suppress(StoreUnavailable), translated_errors():
            if isinstance(event, Identified) and self._seen(event):
                return self._run(now_ms, event)
        return None

    def _seen(self, event: Identified) -> bool:
        match event:
            case SendRequested():
                ids = [message.message_id for message in event.messages]
                return len(self._history.seen(None, ids)) == len(ids)
            case DeleteRequested() | ReadNoted():
                return bool(self._history.seen(None, [event.change_id]))
            case TextArrived() | DeleteArrived():
                return bool(self._history.seen(None, [event.arrival_id]))

    # --- questions of the node -------------------------------------------------------------------

    def page(
        self, peer: Contact, after: tuple[int, MessageId] | None, limit: int
    ) -> Sequence[Message]:
        """Read a page of a conversation (``History.page``)."""
        with translated_errors():
            return self._history.page(peer, after, limit)

    def waiting(self) -> Sequence[Name]:
        """Read for whom something still waits here."""
        with translated_errors():
            return [entry.peer for entry in self._outbox.heads()]

    def state(self, message_id: MessageId) -> tuple[MessageState, str | None] | None:
        """Read what became of a message of ours (``History.state``)."""
        with translated_errors():
            return self._history.state(message_id)

    def newest_from(self, peer: Name) -> int:
        """Read up to where a keyed peer has written (``History.newest_from``)."""
        with translated_errors():
            return self._history.newest_from(peer)

    def pin(self, name: Name) -> Pin:
        with translated_errors():
            return self._trusted.pin(name)

    def pins(self) -> Sequence[Pin]:
        with translated_errors():
            return self._trusted.pins()

    def own(self) -> Own:
        """Return the table of own entries and prekeys, for use with ``keep``."""
        return self._own

    def keep(self, work: Callable[[Own], None]) -> None:
        """Change own entries, in a transaction of their own. Raises StoreUnavailable."""
        assert not self.is_unsettled, "what was noted must not fail with them"

        def done() -> list[Outward]:
            work(self._own)
            return []

        self._in_transaction(done)

    # --- transactions ----------------------------------------------------------------------------

    def _in_transaction(self, work: Callable[[], list[Outward]]) -> list[Outward]:
        """Do ``work`` and commit it, with whatever was noted before it."""

        def committed() -> list[Outward]:
            outward = work()
            self._commit(self._connection)
            self._noted = 0
            return outward

        return self._within_transaction(committed)

    def _within_transaction(self, work: Callable[[], list[Outward]]) -> list[Outward]:
        """Do ``work`` in the open transaction, or in a new one; when it fails, nothing is left."""
        with translated_errors():
            try:
                if not self._connection.in_transaction:
                    self._connection.execute("BEGIN IMMEDIATE")
                return work()
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.rollback()
                self._noted = 0
                self._trusted.forget_all()
                raise

    def _read_back(self, now_ms: int) -> list[Outward]:
        """Make the engine what the store says, if it may be something else.

        The links are not in the store: whoever acts closes them all, and their lanes begin anew.

        Raises:
            StoreUnavailable: not even reading goes; the engine must not be asked anything.
        """
        if not self._is_unread:
            return []
        self._trusted.forget_all()
        self._judge.links.clear()
        self._engine = self._new_engine()
        with translated_errors():
            outward = self._restore(now_ms, restarted=False)
        self._is_unread = False
        return outward

    def _restore(self, now_ms: int, *, restarted: bool) -> list[Outward]:
        outward: list[Outward] = []
        for event in self._judge.restored(restarted=restarted):
            outward += self._stepped(now_ms, event)
        return outward + list(self._trusted.take_notices())

    # --- one input -------------------------------------------------------------------------------

    def _run_all(self, now_ms: int, events: Sequence[Input]) -> list[Outward]:
        outward: list[Outward] = []
        for event in events:
            outward += self._run(now_ms, event)
        return outward

    def _run(self, now_ms: int, event: Input) -> list[Outward]:
        """Judge one input and step; what a person has to be told about keys comes first."""
        match event:
            case LinkOpened():
                return self._open(now_ms, event)
            case MailArrived():
                return self._receive(now_ms, event)
            case PersonDecided():
                return self._decide(now_ms, event)
            case _:
                checked = self._checked(now_ms, event)
                told = self._told(now_ms)
                return told if checked is None else told + self._stepped(now_ms, checked)

    def _told(self, now_ms: int) -> list[Outward]:
        """Return what trust has to tell; a name that stands still or moved has its links cut."""
        outward: list[Outward] = []
        for notice in self._trusted.take_notices():
            outward.append(notice)
            if isinstance(notice, KeyStopped | KeyMoved):
                outward += self._cut(now_ms, notice.peer, "key-changed")
            if isinstance(notice, KeyStopped):
                outward += self._drained(now_ms, deque(self._engine.stopped(notice.peer)))
            if isinstance(notice, KeyMoved):
                outward += self._drained(now_ms, deque(self._engine.moved(notice.peer)))
                outward += self._release(now_ms, notice.peer)
        return outward

    def _cut(self, now_ms: int, peer: Name, code: str) -> list[Outward]:
        """End the links of a name whose key may not speak under it now, before anything goes."""
        pin = self._trusted.pin(peer)
        outward: list[Outward] = []
        for link, (name, key, _) in list(self._judge.links.items()):
            if name == peer and (key != pin.key or pin.pending is not None):
                del self._judge.links[link]
                closed = LinkClosed(link, code, jitter=0.5)
                outward += [CloseLink(link, code), *self._stepped(now_ms, closed)]
        return outward

    def _checked(self, now_ms: int, event: Input) -> Checked | None:
        judge = self._judge
        match event:
            case SendRequested():
                return judge.send(event)
            case DeleteRequested():
                return judge.delete(event)
            case ReadNoted():
                return judge.read(event)
            case TextArrived() | DeleteArrived():
                return judge.arrival(event)
            case Located() | LocateFailed():
                return judge.located(now_ms, event)
            case Connected():
                return judge.connected(event)
            case Deposited():
                return judge.deposited(event)
            case ItemsArrived():
                return judge.items(event)
            case ConfirmArrived():
                return judge.confirmed(event)
            case LinkClosed():
                judge.links.pop(event.link, None)
                return event
            case LinkOpened() | MailArrived() | PersonDecided():
                raise AssertionError("these have ways of their own")
            case _:
                return event

    def _open(self, now_ms: int, event: LinkOpened) -> list[Outward]:
        admission = self._trusted.admit(event)
        told = self._told(now_ms)
        if admission.entrance is not Entrance.OPEN:
            told.append(CloseLink(event.link, admission.code))
            if event.is_dialled:
                failed = LinkFailed(event.record.record.name, admission.code, jitter=0.5)
                told += self._stepped(now_ms, failed)
            return told
        return told + self._stepped(now_ms, self._judge.admitted(event))

    def _receive(self, now_ms: int, event: MailArrived) -> list[Outward]:
        entrance = self._trusted.receive(event).entrance
        told = self._told(now_ms)
        if entrance is Entrance.CLOSED:
            return [*told, MailSettled(event.mail)]
        if entrance is Entrance.HELD:
            told.append(MailSettled(event.mail))
            in_all, of_sender = self._arrivals.held_counts(event.name, event.sender)
            if in_all >= HELD_MAX or of_sender >= HELD_PER_SENDER_MAX:
                # Its sender keeps a copy; what lies behind it in the mailbox must not wait for it.
                return told
            if self._arrivals.hold(event.name, event.sender, event.body, now_ms):
                told.append(MailHeld(event.name, len(event.items)))
            return told
        told += self._stepped(now_ms, self._judge.confirm(event.name, event.confirms))
        return told + self._stepped(now_ms, self._judge.mail(event))

    def _decide(self, now_ms: int, event: PersonDecided) -> list[Outward]:
        """Put a decision into effect, and what it sets free with it."""
        refused = self._trusted.decide(event.peer, event.decision, event.key)
        outward: list[Outward] = [DecisionDone(event.request, event.peer, refused)]
        if refused is not None:
            return outward
        if event.decision is Decision.FORGET:
            outward += self._ledger.fail_all(now_ms, event.peer)
            self._arrivals.take_held(event.peer, None)
            outward += self._cut(now_ms, event.peer, "forgotten")
        outward += self._release(now_ms, event.peer)
        match event.decision:
            case Decision.ACCEPT:
                then = self._engine.moved
            case Decision.FORGET:
                then = self._engine.forgotten
            case _:
                then = self._engine.decided
        waiting: deque[Effect] = deque(then(event.peer))
        return outward + self._drained(now_ms, waiting)

    def _release(self, now_ms: int, peer: Name) -> list[Outward]:
        """Let in what was held of the key that may speak now; what other keys wrote goes."""
        pin = self._trusted.pin(peer)
        if pin.key is None or pin.pending is not None:
            return []
        outward: list[Outward] = []
        for body in self._arrivals.take_held(peer, pin.key):
            with contextlib.suppress(MalformedFrame):  # it was read before it was kept
                outward += self._stepped(now_ms, self._released(peer, pin.key, body))
        return outward

    def _released(self, peer: Name, sender: PeerId, body: bytes) -> Checked:
        mail = decode_mail(body)
        event = MailArrived(-1, sender, peer, mail.stream, mail.base, mail.items, mail.confirms)
        return replace(self._judge.mail(event), mail=None)

    # --- the engine ------------------------------------------------------------------------------

    def _stepped(self, now_ms: int, event: Checked) -> list[Outward]:
        return self._drained(now_ms, deque(self._engine.step(now_ms, event)))

    def _drained(self, now_ms: int, waiting: deque[Effect]) -> list[Outward]:
        """Go through effects until the engine has no more questions; their order stays."""
        outward: list[Outward] = []
        while waiting:
            effect = waiting.popleft()
            match effect:
                case AskHead(peer):
                    answer = HeadLoaded(
                        peer,
                        self._outbox.head(peer),
                        self._peers.last_seen_at(peer),
                        self._trusted.standing(peer),
                    )
                    waiting.extendleft(reversed(self._engine.answer(now_ms, answer)))
                case AskTransmit():
                    carried = self._transmit(effect, outward)
                    waiting.extendleft(reversed(self._engine.answer(now_ms, carried)))
                case AskDeposit(peer):
                    carried = self._deposit(now_ms, peer, outward)
                    more = self._engine.answer(now_ms, carried, by_mail=True)
                    waiting.extendleft(reversed(more))
                case HandOver():
                    text = self._outbox.text(effect.peer, effect.seq)
                    outward.append(replace(effect, text=text))
                case _ if isinstance(effect, _STORE_EFFECTS):
                    outward += self._ledger.apply(now_ms, effect)
                case _:
                    outward.append(effect)  # type: ignore[arg-type]  # what is left
        return outward

    def _transmit(self, ask: AskTransmit, outward: list[Outward]) -> Carried:
        """Bring items from the store to a link, and what is owed along with them."""
        confirms = self._outbox.owed(ask.peer, WINDOW_ITEMS_MAX) if ask.owed else ()
        if confirms:
            self._outbox.drop_owed(ask.peer, [item_id for item_id, _ in confirms])
        items = (
            self._outbox.items(ask.peer, ask.after, ask.items_max, ask.bytes_max)
            if ask.items_max
            else ()
        )
        if items or confirms:
            base = self._outbox.base(ask.peer) or 1
            outward.append(Transmit(ask.link, base, tuple(items), tuple(confirms)))
        numbers = ranges.of(item.seq for item in items)
        return Carried(ask.peer, numbers, size_of(items), len(confirms))

    def _deposit(self, now_ms: int, peer: Name, outward: list[Outward]) -> Carried:
        """Bring items from the store to an envelope, and what is owed along with them."""
        pin = self._trusted.pin(peer)
        confirms = self._outbox.owed(peer, FRAME_ITEMS_MAX)
        items = self._outbox.unstored(peer, now_ms, ENVELOPE_ITEMS_MAX, ENVELOPE_BYTES_MAX // 6)
        may = pin.key is not None and pin.pending is None
        if not may or pin.record is None or not (items or confirms):
            is_empty = not confirms and self._outbox.base(peer) is None
            return Carried(peer, (), 0, is_empty=is_empty)
        assert pin.key is not None
        outward.append(
            Deposit(
                peer,
                pin.key,
                pin.record.record.prekey,
                self._outbox.base(peer) or self._peers.numbers(peer)[0] + 1,
                tuple(items),
                tuple(confirms),
            )
        )
        return Carried(peer, ranges.of(item.seq for item in items), size_of(items), len(confirms))


def _are_receipts(events: Sequence[Input]) -> bool:
    return all(isinstance(event, ReceiptArrived) for event in events)
